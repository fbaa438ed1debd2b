//! The components, each compiled once, and a way to run one.

use ringfence::market::{Instrument, InstrumentId, InstrumentKind, Instruments, Lots, Tick, UnixNanos};
use ringfence::orders::{Books, Mode, OrderId, OrderIntent, Side, StrategyEvent};
use ringfence::plugin::{
    CallError, Compiler, ComponentStrategy, LogLevel, Plugin, Profile, Sandbox, SandboxConfig, SandboxLimits,
    Services, Session, Setting, SettingValue, StateSnapshot, Strategy, TickContext, WasiGrant,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
    Sandbox::new(SandboxConfig { compiler: Compiler::InProcess, ..SandboxConfig::default() }).unwrap()
});

/// A component of the examples.
pub struct Example {
    pub name: &'static str,
    limits: fn() -> SandboxLimits,
    plugin: LazyLock<Plugin>,
}

macro_rules! examples {
    ($($constant:ident = $name:literal, $limits:path;)*) => {$(
        pub static $constant: Example = Example {
            name: $name,
            limits: $limits,
            plugin: LazyLock::new(|| load($name, $limits())),
        };
    )*};
}

examples! {
    RUST = "ema-cross", native;
    C = "ema-cross-c", native;
    JAVASCRIPT = "ema-cross-js", managed;
    PYTHON = "ema-cross-python", managed;
    JAVASCRIPT_WASI = "wasi-js", managed_with_wasi;
    PYTHON_WASI = "wasi-python", managed_with_wasi;
}

/// Those that are not written in Rust.
pub static OTHERS: [&Example; 5] = [&C, &JAVASCRIPT, &PYTHON, &JAVASCRIPT_WASI, &PYTHON_WASI];
/// Those that run with the virtual WASI.
pub static WITH_WASI: [&Example; 2] = [&JAVASCRIPT_WASI, &PYTHON_WASI];

/// Fuel decides alone: a loaded machine may take as long as it likes.
fn patient(limits: SandboxLimits) -> SandboxLimits {
    SandboxLimits { deadline_ms: 600_000, setup_deadline_ms: 600_000, ..limits }
}

fn native() -> SandboxLimits {
    patient(SandboxLimits::default())
}

fn managed() -> SandboxLimits {
    patient(SandboxLimits::of(Profile::Managed))
}

fn managed_with_wasi() -> SandboxLimits {
    SandboxLimits { wasi: WasiGrant::Virtual, ..managed() }
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A built example strategy. A missing one is a failure that says how to get it.
pub fn component(name: &str) -> PathBuf {
    let path = workspace().join("target/components").join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is missing: run `make components`", path.display());
    path
}

fn load(name: &str, limits: SandboxLimits) -> Plugin {
    SANDBOX.load_file(&component(name), None, &limits).unwrap_or_else(|error| panic!("{error}"))
}

/// A file of recorded data, which is no part of the repository: a test without it says so.
pub fn recorded(file: &str) -> Option<PathBuf> {
    use std::io::Write as _;
    let dir = std::env::var_os("RINGFENCE_DATA_DIR")
        .map_or_else(|| workspace().join("../shared/data"), PathBuf::from);
    let path = dir.join(file);
    if path.is_file() {
        return Some(path);
    }
    // Past the test runner's capture.
    let words = "is absent; set RINGFENCE_DATA_DIR to the folder of the recorded data";
    let _ = writeln!(std::io::stderr(), "NOT RUN: {} {words}", path.display());
    None
}

pub fn instrument() -> Instrument {
    Instrument {
        symbol: "BTCUSDT".into(),
        venue: "test".into(),
        kind: InstrumentKind::Spot,
        quote_currency: "USDT".into(),
        multiplier: "1".parse().unwrap(),
        tick_size: "0.01".parse().unwrap(),
        lot_size: "0.00001".parse().unwrap(),
        min_lots: Lots(1),
        max_lots: Lots(1_000_000_000),
    }
}

pub fn integer(key: &str, value: i64) -> Setting {
    Setting { key: key.into(), value: SettingValue::Integer(value) }
}

/// One running instance and what the host lends to it.
pub struct Run {
    pub strategy: ComponentStrategy,
    pub services: Box<Services>,
    /// Fuel of each call since the start.
    pub fuel: Vec<u64>,
}

/// What one tick gave, as the traces of all languages are compared.
#[derive(Debug, PartialEq, Eq)]
pub struct Order {
    pub id: OrderId,
    pub side: Side,
    pub quantity: Lots,
}

impl Example {
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    pub fn limits(&self) -> SandboxLimits {
        (self.limits)()
    }

    /// An instance that is told these settings.
    pub fn init(&self, settings: Vec<Setting>, seed: u64) -> (Run, Result<(), CallError>) {
        init(&self.plugin, settings, seed)
    }

    /// A started instance of the component compiled anew under other limits.
    pub fn start_with(&self, limits: SandboxLimits) -> Run {
        let (run, answer) = init(&load(self.name, limits), Vec::new(), 1);
        answer.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        run
    }

    /// A started instance with averages of 10 and 20 prices.
    pub fn start(&self) -> Run {
        let settings = vec![integer("fast", 10), integer("slow", 20), integer("quantity", 1)];
        let (run, answer) = self.init(settings, 1);
        answer.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        run
    }
}

fn init(plugin: &Plugin, settings: Vec<Setting>, seed: u64) -> (Run, Result<(), CallError>) {
    let instruments = Instruments::new(vec![instrument()]).unwrap();
    let services = Services::new(Books::default(), Arc::new(instruments.clone()), seed);
    let mut run =
        Run { strategy: plugin.instantiate().unwrap(), services: Box::new(services), fuel: Vec::new() };
    let session = Session {
        run_id: 1,
        seed,
        now: UnixNanos(0),
        next_order_id: OrderId(1),
        instruments,
        settings,
        live: false,
    };
    let answer = run.strategy.init(&session, &mut run.services);
    run.services.commit();
    (run, answer)
}

impl Run {
    fn context(&self) -> TickContext {
        TickContext {
            now: self.services.now,
            position: Lots::ZERO,
            open_orders: 0,
            intents_left: 16,
            mode: Mode::Full,
        }
    }

    pub fn tick(&mut self, tick: &Tick) -> Result<Vec<Order>, CallError> {
        self.services.now = tick.event_time;
        let (context, mut intents) = (self.context(), Vec::new());
        let answer = self.strategy.on_tick(tick, &context, &mut self.services, &mut intents);
        self.fuel.extend(self.strategy.fuel_used());
        answer?;
        self.services.commit();
        let orders = intents.into_iter().map(|intent| match intent {
            OrderIntent::Submit(order) => {
                assert_eq!(order.instrument, InstrumentId(0));
                Order { id: order.id, side: order.side, quantity: order.quantity }
            }
            other => panic!("{other:?}"),
        });
        Ok(orders.collect())
    }

    pub fn price(&mut self, ticks: i64) -> Vec<Order> {
        self.tick(&trade(ticks)).unwrap()
    }

    /// The operator's words, and what the strategy logged of them.
    pub fn say(&mut self, words: &str) -> (Result<(), CallError>, Vec<(LogLevel, String)>) {
        self.services.telemetry.forget();
        let (event, context) = (StrategyEvent::Operator(words.into()), self.context());
        let answer = self.strategy.on_event(&event, &context, &mut self.services, &mut Vec::new());
        self.fuel.extend(self.strategy.fuel_used());
        self.services.commit();
        let lines = self.services.telemetry.lines.iter();
        (answer, lines.map(|line| (line.level, line.text.clone())).collect())
    }

    pub fn save(&mut self) -> StateSnapshot {
        self.strategy.save(&mut self.services).unwrap().expect("the strategy keeps state")
    }

    pub fn load(&mut self, state: &StateSnapshot) -> Result<(), CallError> {
        self.strategy.load(state, &mut self.services)
    }
}

pub fn trade(ticks: i64) -> Tick {
    Tick { last_price: ringfence::market::PriceTicks(ticks), last_size: Lots(1), ..Tick::default() }
}

/// A wave with noise, from a fixed linear congruence, as ticks that carry trades and others that carry quotes.
pub fn generated(count: u64) -> Vec<Tick> {
    use ringfence::market::PriceTicks;
    let mut noise = 12_345_u64;
    let ticks = (0..count).map(|index| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wave = if index / 40 % 2 == 0 { -300 } else { 300 };
        let price = 6_000_000 + wave + i64::try_from(noise >> 54).unwrap();
        let mut tick = Tick {
            seq: index,
            event_time: UnixNanos(1_723_161_600_000_000_000 + index * 29_565_433),
            ..Tick::default()
        };
        match noise >> 20 & 7 {
            0 => (tick.bid_price, tick.ask_price) = (PriceTicks(price - 1), PriceTicks(price + 2)),
            // One side alone is no price.
            1 => tick.bid_price = PriceTicks(price),
            _ => tick.last_price = PriceTicks(price),
        }
        tick
    });
    ticks.collect()
}
