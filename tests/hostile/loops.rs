//! Code that does not end, wherever the host enters a component.

use crate::attack::{
    SANDBOX, Strike, at_load, attacks, context, in_call, in_tick, limits, loading, services, tick, verdict,
};
use crate::guest::{Guest, WIT};
use ringfence::market::{Bar, Instruments, UnixNanos};
use ringfence::orders::{OrderId, StrategyEvent};
use ringfence::plugin::{
    CallError, ComponentStrategy, SandboxLimits, Session, Setting, SettingValue, StateSnapshot, Strategy as _,
};

const FOREVER: &str = "(loop $l (br $l)) unreachable";

pub fn init(strategy: &mut ComponentStrategy) -> Result<(), CallError> {
    let session = Session {
        run_id: 1,
        seed: 1,
        now: UnixNanos(0),
        next_order_id: OrderId(1),
        instruments: Instruments::default(),
        settings: vec![Setting { key: "key".into(), value: SettingValue::Text("value".into()) }],
        live: false,
    };
    strategy.init(&session, &mut services())
}

pub fn event(strategy: &mut ComponentStrategy) -> Result<(), CallError> {
    let words = StrategyEvent::Operator("words".into());
    strategy.on_event(&words, &context(), &mut services(), &mut Vec::new())
}

pub fn bar(strategy: &mut ComponentStrategy) -> Result<(), CallError> {
    strategy.on_bar(&Bar::default(), &context(), &mut services(), &mut Vec::new())
}

pub fn batch(strategy: &mut ComponentStrategy) -> Result<(), CallError> {
    strategy.run_batch(&[0; 22], &context(), &mut services(), &mut Vec::new()).map(|_| ())
}

pub fn save(strategy: &mut ComponentStrategy) -> Result<(), CallError> {
    strategy.save(&mut services()).map(|_| ())
}

pub fn reload(strategy: &mut ComponentStrategy) -> Result<(), CallError> {
    let state = StateSnapshot { schema: 1, data: vec![1, 2, 3] };
    strategy.load(&state, &mut services())
}

pub fn stop(strategy: &mut ComponentStrategy) -> Result<(), CallError> {
    strategy.stop(&mut services(), &mut Vec::new())
}

/// Bodies of the optional interfaces.
pub struct Optional<'a> {
    pub save: &'a str,
    pub load: &'a str,
    pub bar: &'a str,
    pub run: &'a str,
    pub more: &'a str,
}

impl Default for Optional<'_> {
    fn default() -> Self {
        let zeros = "(i32.const 512)";
        Self { save: zeros, load: zeros, bar: zeros, run: zeros, more: "" }
    }
}

impl Optional<'_> {
    /// A guest with all optional interfaces.
    pub fn guest(&self) -> Guest {
        let Self { save, load, bar, run, more } = self;
        let more = format!(
            "(func (export \"ringfence:strategy/state@1.0.0#save\") (result i32) {save})
             (func (export \"ringfence:strategy/state@1.0.0#load\") (param i32 i32 i32) (result i32) {load})
             (func (export \"ringfence:strategy/bars@1.0.0#on-bar\")
                (param i32 i64 i32 i64 i64 i64 i64 i64 i32 i64 i64 i32 i32 i32) (result i32) {bar})
             (func (export \"ringfence:strategy/batch@1.0.0#run\")
                (param i32 i32 i64 i64 i32 i32 i32) (result i32) {run})
             {more}"
        );
        Guest { wit: WIT.to_owned(), world: "full-strategy-plugin", more, ..Guest::default() }
    }
}

/// A loop in the function that cleans up after `export`.
fn cleaning_up(export: &str) -> Guest {
    let more =
        format!("(func (export \"cabi_post_ringfence:strategy/{export}\") (param i32) (loop $l (br $l)))");
    Optional { more: &more, ..Optional::default() }.guest()
}

/// A loop with as much fuel as there can be.
fn until_the_deadline(guest: &Guest) -> Strike {
    let bytes = guest.build();
    let limits = SandboxLimits {
        fuel_per_call: u64::MAX,
        fuel_per_setup_call: u64::MAX,
        deadline_ms: 20,
        setup_deadline_ms: 20,
        ..limits()
    };
    Box::new(move || {
        // A healthy start may itself be late on a machine that is busy enough; it is tried again.
        loop {
            match SANDBOX.load(&bytes, "hostile", None, &limits).map(|plugin| plugin.instantiate()) {
                Ok(Ok(mut strategy)) => break verdict(&tick(&mut strategy)),
                Ok(Err(CallError::Trap { .. })) => {}
                Ok(Err(error)) => panic!("{error}"),
                Err(error) => break loading(Err(error)),
            }
        }
    })
}

attacks! {
    a_loop_in_start_code: "plugin_describe, trap_fuel", Setup, || {
        let more = format!("(func $start {FOREVER}) (start $start)");
        at_load(&Guest { more, ..Guest::default() })
    };
    a_loop_in_describe: "plugin_describe, trap_fuel", Setup, || {
        at_load(&Guest { describe: FOREVER.into(), ..Guest::default() })
    };
    a_loop_while_cleaning_up_after_describe: "plugin_describe, trap_fuel", Setup, || {
        at_load(&cleaning_up("strategy@1.0.0#describe"))
    };
    a_loop_in_init: "trap_fuel", Setup, || {
        in_call(&Guest { init: FOREVER.into(), ..Guest::default() }, init)
    };
    a_loop_where_the_host_asks_for_memory_for_the_session: "trap_fuel", Setup, || {
        in_call(&Guest { realloc: FOREVER.into(), ..Guest::default() }, init)
    };
    a_loop_where_the_host_asks_for_memory_for_an_event: "trap_fuel", Call, || {
        in_call(&Guest { realloc: FOREVER.into(), ..Guest::default() }, event)
    };
    a_loop_in_tick: "trap_fuel", Call, || in_tick(&Guest { tick: FOREVER.into(), ..Guest::default() });
    a_loop_while_cleaning_up_after_a_tick: "trap_fuel", Call, || {
        in_tick(&Guest { post_tick: "(loop $l (br $l))".into(), ..Guest::default() })
    };
    a_loop_in_event: "trap_fuel", Call, || {
        in_call(&Guest { event: FOREVER.into(), ..Guest::default() }, event)
    };
    a_loop_in_bar: "trap_fuel", Call, || {
        in_call(&Optional { bar: FOREVER, ..Optional::default() }.guest(), bar)
    };
    a_loop_in_batch: "trap_fuel", Batch, || {
        in_call(&Optional { run: FOREVER, ..Optional::default() }.guest(), batch)
    };
    a_loop_in_save: "trap_fuel", Setup, || {
        in_call(&Optional { save: FOREVER, ..Optional::default() }.guest(), save)
    };
    a_loop_while_cleaning_up_after_save: "trap_fuel", Setup, || {
        in_call(&cleaning_up("state@1.0.0#save"), save)
    };
    a_loop_in_load: "trap_fuel", Setup, || {
        in_call(&Optional { load: FOREVER, ..Optional::default() }.guest(), reload)
    };
    a_loop_in_stop: "trap_fuel", Setup, || {
        in_call(&Guest { stop: FOREVER.into(), ..Guest::default() }, stop)
    };
    a_loop_in_tick_with_all_the_fuel: "trap_deadline", Deadline, || {
        until_the_deadline(&Guest { tick: FOREVER.into(), ..Guest::default() })
    };
    a_loop_in_start_code_with_all_the_fuel: "plugin_describe, trap_deadline", Deadline, || {
        let more = format!("(func $start {FOREVER}) (start $start)");
        until_the_deadline(&Guest { more, ..Guest::default() })
    };
    two_functions_that_call_each_other_in_a_loop: "trap_fuel", Call, || {
        let more = "(func $a (param i32)) (func $b (param i32) (call $a (local.get 0)))".into();
        let tick = "(loop $l (call $b (i32.const 1)) (br $l)) unreachable".into();
        in_tick(&Guest { more, tick, ..Guest::default() })
    };
    fuel_that_ends_one_instruction_too_early: "trap_fuel", Call, || {
        // The number is the same each time it is measured, on one instance and on the next.
        let body = "(local $i i32) (local.set $i (i32.const 1000))
            (loop $l (local.set $i (i32.sub (local.get $i) (i32.const 1))) (br_if $l (local.get $i)))
            (i32.const 512)";
        let bytes = Guest { tick: body.into(), ..Guest::default() }.build();
        let with_fuel = move |fuel_per_call| {
            let limits = SandboxLimits { fuel_per_call, ..limits() };
            SANDBOX.load(&bytes, "hostile", None, &limits).unwrap().instantiate().unwrap()
        };
        let spent = |strategy: &mut ComponentStrategy| {
            tick(strategy).unwrap();
            strategy.fuel_used().unwrap()
        };
        let fuel = spent(&mut with_fuel(1_000_000));
        assert_eq!(spent(&mut with_fuel(1_000_000)), fuel);
        Box::new(move || {
            // A tank may not run empty, so that one more than is spent is just enough.
            let mut enough = with_fuel(fuel + 1);
            assert_eq!((spent(&mut enough), spent(&mut enough)), (fuel, fuel));
            verdict(&tick(&mut with_fuel(fuel)))
        })
    };
}
