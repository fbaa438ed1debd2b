//! What an attack is, and how it is held.

use crate::guest::Guest;
use crate::neighbour::Neighbour;
use ringfence::market::{Instruments, Lots, Tick, UnixNanos};
use ringfence::orders::{Books, Mode, OrderIntent};
use ringfence::plugin::{
    CallError, Compiler, ComponentStrategy, Finding, Plugin, PluginError, Sandbox, SandboxConfig,
    SandboxLimits, ScanError, Services, Strategy as _, TickContext,
};
use ringfence::resilience::Classified as _;
use std::sync::{Arc, LazyLock};

/// One sandbox for all attacks and all neighbours, as one host has one for all strategies.
///
/// The heartbeat may be as old as it likes: on a machine that is loaded enough the ticker waits for seconds, and a
/// call that is refused for that is not what is tried here.
pub static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
    let compiler = Compiler::InProcess;
    Sandbox::new(SandboxConfig { compiler, heartbeat_stale_ms: 600_000, ..SandboxConfig::default() }).unwrap()
});

/// One attack. The verdict is what the host's error says by its stable code; `harmless` where there is none.
pub struct Attack {
    /// In words, with `_` between them.
    pub name: &'static str,
    /// How it ends.
    pub verdict: &'static str,
    /// What it can spend before that.
    pub budget: Budget,
    /// Builds the component and returns the attack with it, which can be made again and again.
    pub prepare: fn() -> Strike,
}

/// An attack that is ready; each run gives the verdict.
pub type Strike = Box<dyn FnMut() -> String>;

/// What ends an attack, and so all that it can spend.
#[derive(Clone, Copy, Debug)]
pub enum Budget {
    /// It is refused before any of it runs.
    Nothing,
    /// Instructions of one tick, bar or event.
    Call,
    /// Instructions of a call that happens once in a life.
    Setup,
    /// Instructions of as many calls as a batch has rows.
    Batch,
    /// The wall time of a call.
    Deadline,
    /// Linear memory.
    Memory,
    /// Elements of tables.
    Table,
    /// Stack.
    Stack,
    /// Component handles.
    Handles,
    /// Calls into the host.
    HostCalls,
    /// Bytes copied out.
    Returned,
    /// Bytes of a saved state.
    State,
    /// What the strategy keeps with the host or says to it.
    Services,
    /// One call, and one refusal in the journal for each intent.
    Refusal,
    /// Intents and calls in a row, until the strategy is halted or a rate refuses.
    Rate,
}

impl Budget {
    /// The budget in words, from the limits themselves.
    pub fn text(self) -> String {
        let SandboxLimits {
            fuel_per_call,
            fuel_per_setup_call,
            deadline_ms,
            memory_bytes_max,
            table_elements_max,
            handles_max,
            host_calls_per_call_max,
            bytes_returned_max,
            state_bytes_max,
            ..
        } = SandboxLimits::default();
        let stack = SandboxConfig::default().stack_bytes_max;
        match self {
            Self::Nothing => "nothing: none of it runs".into(),
            Self::Call => format!("{} instructions (`fuel_per_call`)", grouped(fuel_per_call)),
            Self::Setup => format!("{} instructions (`fuel_per_setup_call`)", grouped(fuel_per_setup_call)),
            Self::Batch => format!("{} instructions a row (`fuel_per_call`)", grouped(fuel_per_call)),
            Self::Deadline => format!("{deadline_ms} ms (`deadline_ms`)"),
            Self::Memory => format!("{} bytes (`memory_bytes_max`)", grouped(memory_bytes_max as u64)),
            Self::Table => format!("{} elements (`table_elements_max`)", grouped(table_elements_max as u64)),
            Self::Stack => format!("{} bytes (`stack_bytes_max`)", grouped(stack as u64)),
            Self::Handles => format!("{handles_max} handles (`handles_max`)"),
            Self::HostCalls => {
                format!("{} calls (`host_calls_per_call_max`)", grouped(host_calls_per_call_max.into()))
            }
            Self::Returned => format!("{} bytes (`bytes_returned_max`)", grouped(bytes_returned_max as u64)),
            Self::State => format!("{} bytes (`state_bytes_max`)", grouped(state_bytes_max as u64)),
            Self::Services => "its own share (`limits.services`)".into(),
            Self::Refusal => "one call and a refusal".into(),
            Self::Rate => "the intents of a second (`risk`)".into(),
        }
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A list of attacks, and a test for each.
macro_rules! attacks {
    ($($name:ident: $verdict:literal, $budget:ident, $prepare:expr;)*) => {
        /// The attacks of this file.
        pub const ATTACKS: &[crate::attack::Attack] = &[$(crate::attack::Attack {
            name: stringify!($name),
            verdict: $verdict,
            budget: crate::attack::Budget::$budget,
            prepare: $prepare,
        },)*];

        $(#[test]
        fn $name() {
            let attack = ATTACKS.iter().find(|attack| attack.name == stringify!($name)).unwrap();
            attack.hold();
        })*
    };
}
pub(crate) use attacks;

impl Attack {
    /// Runs the attack until the neighbour has begun and ended a tick in its midst, so that one that is over
    /// at once proves as much as one that takes long. No clock is read: on a loaded machine it takes longer.
    pub fn hold(&self) {
        let mut strike = (self.prepare)();
        let neighbour = Neighbour::start();
        loop {
            let before = neighbour.ticks();
            assert_eq!(strike(), self.verdict, "{}", self.name);
            // One tick may have begun before; two mean that one of them was all within.
            if neighbour.ticks() >= before + 2 {
                break;
            }
        }
        let after = neighbour.ticks();
        neighbour.wait_for(after + 1);
        neighbour.leave();
    }
}

/// Fuel decides alone: the deadline is far beyond what any attack takes on any machine.
pub fn limits() -> SandboxLimits {
    SandboxLimits { deadline_ms: 600_000, setup_deadline_ms: 600_000, ..SandboxLimits::default() }
}

pub fn services() -> Box<Services> {
    Box::new(Services::new(Books::default(), Arc::new(Instruments::default()), 7))
}

pub fn context() -> TickContext {
    TickContext {
        now: UnixNanos(1),
        position: Lots(0),
        open_orders: 0,
        intents_left: u32::MAX,
        mode: Mode::Full,
    }
}

pub fn load(guest: &Guest) -> Plugin {
    SANDBOX.load(&guest.build(), "hostile", None, &limits()).unwrap()
}

pub fn tick(strategy: &mut ComponentStrategy) -> Result<Vec<OrderIntent>, CallError> {
    tick_with(strategy, &mut services())
}

pub fn tick_with(
    strategy: &mut ComponentStrategy,
    services: &mut Box<Services>,
) -> Result<Vec<OrderIntent>, CallError> {
    let mut intents = Vec::new();
    strategy.on_tick(&Tick::default(), &context(), services, &mut intents)?;
    Ok(intents)
}

/// The verdict on a call.
pub fn verdict<R>(result: &Result<R, CallError>) -> String {
    match result {
        Ok(_) => "harmless".into(),
        Err(error) => error.code().into(),
    }
}

/// The verdict on loading: the code, and where there are several kinds behind it, which.
pub fn loading(result: Result<Plugin, PluginError>) -> String {
    match result {
        Ok(_) => "harmless".into(),
        Err(PluginError::Describe { source, .. }) => format!("plugin_describe, {}", source.code()),
        Err(PluginError::Scan { source: ScanError::TooLarge { limit, .. }, .. }) => {
            format!("plugin_malformed, {limit}")
        }
        Err(PluginError::Several { findings, .. }) => match findings.first() {
            Some(Finding::Scan(ScanError::TooLarge { limit, .. })) => format!("plugin_malformed, {limit}"),
            Some(finding) => finding.code().into(),
            None => "plugin_refused".into(),
        },
        Err(error) => error.code().into(),
    }
}

/// An attack by bytes that are loaded.
pub fn bytes_at_load(bytes: Vec<u8>) -> Strike {
    Box::new(move || loading(SANDBOX.load(&bytes, "hostile", None, &limits())))
}

/// An attack while a component is loaded.
pub fn at_load(guest: &Guest) -> Strike {
    bytes_at_load(guest.build())
}

/// An attack in some call of a fresh instance. One that ends in a trap leaves a dead instance.
pub fn in_call<R>(
    guest: &Guest,
    call: impl Fn(&mut ComponentStrategy) -> Result<R, CallError> + 'static,
) -> Strike {
    let plugin = load(guest);
    Box::new(move || {
        let mut strategy = plugin.instantiate().unwrap();
        let result = call(&mut strategy);
        assert_eq!(strategy.is_dead(), matches!(result, Err(CallError::Trap { .. })));
        if strategy.is_dead() {
            assert_eq!(tick(&mut strategy), Err(CallError::Dead));
        }
        verdict(&result)
    })
}

/// An attack in a tick.
pub fn in_tick(guest: &Guest) -> Strike {
    in_call(guest, tick)
}

/// An attack in a tick of this text, with more of the module around it.
pub fn tick_of(more: &str, body: &str) -> Strike {
    in_tick(&Guest { more: more.into(), tick: body.into(), ..Guest::default() })
}
