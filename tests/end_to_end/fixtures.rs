//! Components of the first release, kept as they were built, on the host of now.
//!
//! `tests/fixtures/v1` says how they were made. They are never built again: what is held here is that a host
//! of version 1 runs them as long as there is one. The pinned fuel is a promise to authors as well. If an
//! engine counts otherwise, budgets of running strategies change, and the change log has to say so.

use ringfence::market::{
    Bar, Instrument, InstrumentId, InstrumentKind, Instruments, Lots, Marks, PriceTicks, Tick, UnixNanos,
};
use ringfence::orders::{Books, Digest, Mode, OrderId, OrderIntent, StrategyEvent};
use ringfence::plugin::{
    Compiler, ComponentStrategy, DataNeeds, Metadata, Plugin, Sandbox, SandboxConfig, SandboxLimits,
    Services, Session, Setting, SettingValue, StateSnapshot, Strategy, TickContext, batch_row,
};
use std::sync::{Arc, LazyLock};

const EMA_CROSS: &[u8] = include_bytes!("../fixtures/v1/ema-cross.wasm");
const MINIMAL: &[u8] = include_bytes!("../fixtures/v1/minimal.wasm");

/// What the kept components are and do.
const EMA_CROSS_DIGEST: &str = "efd6a08edc6e6bf62ac57c5ef439d01ab3759d7f27cc194475c107376788c81e";
const EMA_CROSS_INTENTS: usize = 50;
const EMA_CROSS_WANTED: &str = "93b1bfaef58ec5fc5aa26d2a46c9dc487ac38a245e374910bda13ea544d4a926";
const EMA_CROSS_FUEL: (u64, u64) = (274, 1_070);
const MINIMAL_DIGEST: &str = "b5301aba3120a6ee6e8602b93f2adf5b0a1140346d313481626ac7dfdc790f85";
const MINIMAL_WANTED: &str = "2af2c532034ea42b5b277de335f1317f972a71d947ccbf90e710796cfa02aa26";
const MINIMAL_FUEL: (u64, u64) = (10, 27);

const TICKS: u64 = 600;

fn loaded(bytes: &[u8]) -> Plugin {
    static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
        Sandbox::new(SandboxConfig { compiler: Compiler::InProcess, ..SandboxConfig::default() }).unwrap()
    });
    // Fuel decides alone.
    let patient =
        SandboxLimits { deadline_ms: 600_000, setup_deadline_ms: 600_000, ..SandboxLimits::default() };
    SANDBOX.load(bytes, "fixture", None, &patient).unwrap()
}

fn instruments() -> Instruments {
    let instrument = Instrument {
        symbol: "BTCUSDT".into(),
        venue: "test".into(),
        kind: InstrumentKind::Spot,
        quote_currency: "USDT".into(),
        multiplier: "1".parse().unwrap(),
        tick_size: "0.01".parse().unwrap(),
        lot_size: "0.00001".parse().unwrap(),
        min_lots: Lots(1),
        max_lots: Lots(1_000_000_000),
    };
    Instruments::new(vec![instrument]).unwrap()
}

/// A price that wanders, the same for ever.
fn market() -> Vec<Tick> {
    let mut noise = 20_240_809_u64;
    let mut price = 6_120_000;
    let tick = |seq| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        price += i64::try_from(noise >> 40).unwrap() % 401 - 200;
        Tick {
            instrument: InstrumentId(0),
            seq,
            event_time: UnixNanos(1_723_161_600_000_000_000 + seq * 250_000_000),
            last_price: PriceTicks(price),
            last_size: Lots(7),
            volume: Lots(7),
            marks: Marks::TRADE,
            ..Tick::default()
        }
    };
    (1..=TICKS).map(tick).collect()
}

/// A strategy in its session, and what it has wanted so far.
struct Run {
    strategy: ComponentStrategy,
    services: Box<Services>,
    wanted: Vec<(u64, OrderIntent)>,
    fuel: Vec<u64>,
}

impl Run {
    fn start(plugin: &Plugin, next_order_id: u64) -> Self {
        let mut strategy = plugin.instantiate().unwrap();
        let instruments = instruments();
        let mut services = Box::new(Services::new(Books::default(), Arc::new(instruments.clone()), 7));
        let number = |key: &str, value| Setting { key: key.into(), value: SettingValue::Integer(value) };
        let settings = match plugin.metadata().name.as_str() {
            "ema-cross" => vec![number("fast", 5), number("slow", 12), number("quantity", 3)],
            _ => Vec::new(),
        };
        let session = Session {
            run_id: 1,
            seed: 7,
            now: UnixNanos(1_723_161_600_000_000_000),
            next_order_id: OrderId(next_order_id),
            instruments,
            settings,
            live: false,
        };
        strategy.init(&session, &mut services).unwrap();
        services.commit();
        Self { strategy, services, wanted: Vec::new(), fuel: Vec::new() }
    }

    fn context(tick: &Tick) -> TickContext {
        TickContext {
            now: tick.event_time,
            position: Lots(0),
            open_orders: 0,
            intents_left: 64,
            mode: Mode::Full,
        }
    }

    fn ticks(&mut self, ticks: &[Tick]) {
        for tick in ticks {
            let mut intents = Vec::new();
            let context = Self::context(tick);
            self.services.now = context.now;
            self.strategy.on_tick(tick, &context, &mut self.services, &mut intents).unwrap();
            self.services.commit();
            self.fuel.push(self.strategy.fuel_used().unwrap());
            self.wanted.extend(intents.into_iter().map(|intent| (tick.seq, intent)));
        }
    }

    fn batches(&mut self, ticks: &[Tick], rows: usize) {
        let mut left = ticks;
        while let Some(first) = left.first() {
            let chunk = &left[..rows.min(left.len())];
            let packed: Vec<i64> = chunk.iter().flat_map(batch_row).collect();
            let mut intents = Vec::new();
            let context = Self::context(first);
            let outcome =
                self.strategy.run_batch(&packed, &context, &mut self.services, &mut intents).unwrap();
            self.services.commit();
            assert_eq!(outcome.fault, None);
            let consumed = outcome.consumed as usize;
            let seq = left[consumed - 1].seq;
            self.wanted.extend(intents.into_iter().map(|intent| (seq, intent)));
            left = &left[consumed..];
        }
    }

    fn digest(&self) -> String {
        let mut bytes = Vec::new();
        ciborium::into_writer(&self.wanted, &mut bytes).unwrap();
        Digest::of(&bytes).to_string()
    }

    /// The median and the most of all calls.
    fn fuel(&self) -> (u64, u64) {
        let mut sorted = self.fuel.clone();
        sorted.sort_unstable();
        (sorted[sorted.len() / 2], sorted[sorted.len() - 1])
    }
}

#[test]
fn the_kept_components_are_those_that_were_kept() {
    let bytes = [EMA_CROSS, MINIMAL];
    let digests = bytes.map(|bytes| Digest::of(bytes).to_string());
    assert_eq!(digests, [EMA_CROSS_DIGEST, MINIMAL_DIGEST]);
    assert!(bytes.iter().map(|bytes| bytes.len()).sum::<usize>() < 200_000, "they travel with every clone");
}

#[test]
fn a_component_of_the_first_sdk_says_what_it_said() {
    let plugin = loaded(EMA_CROSS);
    let Metadata { name, version, state_schema, oldest_loadable_state, needs, .. } = plugin.metadata();
    assert_eq!((name.as_str(), version.as_str()), ("ema-cross", "0.1.0"));
    assert_eq!((*state_schema, *oldest_loadable_state), (1, 1));
    let expected = DataNeeds {
        instruments_min: 1,
        instruments_max: 64,
        trades: true,
        quotes: true,
        bar_seconds: Vec::new(),
    };
    assert_eq!(*needs, expected);
    assert!(plugin.has_state() && plugin.has_bars() && plugin.has_batch());
}

#[test]
fn a_component_of_the_first_sdk_wants_what_it_wanted_for_the_same_fuel() {
    let mut run = Run::start(&loaded(EMA_CROSS), 1);
    run.ticks(&market());
    assert_eq!((run.wanted.len(), run.digest().as_str()), (EMA_CROSS_INTENTS, EMA_CROSS_WANTED));
    assert_eq!(run.fuel(), EMA_CROSS_FUEL);
}

#[test]
fn a_component_of_the_first_sdk_goes_on_from_its_saved_state() {
    let (plugin, market) = (loaded(EMA_CROSS), market());
    let mut whole = Run::start(&plugin, 1);
    whole.ticks(&market);
    let (first, second) = market.split_at(market.len() / 2);
    let mut before = Run::start(&plugin, 1);
    before.ticks(first);
    let saved = before.strategy.save(&mut before.services).unwrap().unwrap();
    assert_eq!(saved.schema, 1);
    let mut after = Run::start(&plugin, 1 + before.wanted.len() as u64);
    after.strategy.load(&saved, &mut after.services).unwrap();
    after.ticks(second);
    assert!(!after.wanted.is_empty());
    assert_eq!([before.wanted, after.wanted].concat(), whole.wanted);
    assert_eq!([before.fuel, after.fuel].concat(), whole.fuel, "also for the same fuel");
}

#[test]
fn a_component_of_the_first_sdk_wants_the_same_in_batches() {
    let plugin = loaded(EMA_CROSS);
    for rows in [1, 7, 1_000] {
        let mut run = Run::start(&plugin, 1);
        run.batches(&market(), rows);
        assert_eq!(run.digest(), EMA_CROSS_WANTED, "{rows} rows a call");
    }
}

#[test]
fn a_component_of_the_first_sdk_runs_through_bars_events_and_its_end() {
    let mut run = Run::start(&loaded(EMA_CROSS), 1);
    run.ticks(&market()[..50]);
    let Run { strategy, services, .. } = &mut run;
    let mut intents = Vec::new();
    strategy.on_bar(&Bar::default(), &Run::context(&Tick::default()), services, &mut intents).unwrap();
    let event = StrategyEvent::Timer(1);
    strategy.on_event(&event, &Run::context(&Tick::default()), services, &mut intents).unwrap();
    strategy.stop(services, &mut intents).unwrap();
    assert!(intents.is_empty() && !strategy.is_dead());
}

#[test]
fn the_least_component_there_can_be_runs() {
    let plugin = loaded(MINIMAL);
    // Types are no function: there is nothing that the host has to do for it.
    assert_eq!(plugin.imports(), ["ringfence:strategy/types@1.0.0"]);
    assert_eq!(plugin.exports(), ["ringfence:strategy/strategy@1.0.0"]);
    assert!(!(plugin.has_state() || plugin.has_bars() || plugin.has_batch()));
    let Metadata { name, version, summary, .. } = plugin.metadata();
    let said = (name.as_str(), version.as_str(), summary.as_str());
    assert_eq!(said, ("minimal", "1.0.0", "trades in even turns"));
    let mut run = Run::start(&plugin, 5);
    run.ticks(&market());
    assert_eq!((run.wanted.len(), run.digest().as_str()), (200, MINIMAL_WANTED));
    assert_eq!(run.fuel(), MINIMAL_FUEL);
    // What is optional is not missed.
    let Run { strategy, services, .. } = &mut run;
    let saved = StateSnapshot { schema: 0, data: Vec::new() };
    assert_eq!(strategy.save(services), Ok(None));
    assert_eq!(strategy.load(&saved, services), Ok(()));
    assert_eq!(
        strategy.on_bar(&Bar::default(), &Run::context(&Tick::default()), services, &mut Vec::new()),
        Ok(())
    );
    assert_eq!(strategy.stop(services, &mut Vec::new()), Ok(()));
}
