use super::setup::{Plan, Rig, component, text, trades};
use proptest::prelude::*;
use ringfence::agent::core::{
    Candidate, Core, CoreConfig, CoreLimits, Effect, Event, FailAction, Parts, Snapshot, State, Supervision,
    SwapEvent, TimeSource,
};
use ringfence::market::{
    CheckConfig, Instrument, InstrumentKind, Instruments, Lots, Money, MonoNanos, Now, PriceTicks, Tick,
    UnixNanos,
};
use ringfence::orders::{Answer, Books, Digest, Entry, FedInput, Record, RiskLimits};
use ringfence::plugin::{
    Compiler, Memory, Plugin, Sandbox, SandboxConfig, SandboxLimits, Setting, SettingValue, StateSnapshot,
};
use ringfence::resilience::{DegradationConfig, Gate, GateConfig, LimiterConfig, RetryConfig, SharedGate};
use ringfence::venue::http::{HttpDialect, HttpVenueConfig};
use ringfence::venue::{OrderChange, OrderUpdate, Outcome, Reply, RequestKind};
use std::io::Write as _;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// The data before the host stopped, and the data after it.
fn split(rows: usize, at: usize) -> (String, String) {
    let all = trades(rows);
    let (header, lines) = all.split_once('\n').unwrap();
    let lines: Vec<_> = lines.lines().collect();
    let file = |lines: &[&str]| format!("{header}\n{}\n", lines.join("\n"));
    (file(&lines[..at]), file(&lines[at..]))
}

#[test]
fn averages_go_on_where_they_stood_when_every_checkpoint_is_lost() {
    let plan = || Plan { settings: "{ fast = 3, slow = 90, quantity = 3 }", ticks: 300, ..Plan::default() };
    let executed = |rig: &Rig| format!("{:?}", rig.truth().positions) + &rig.truth().orders.len().to_string();
    let whole = Rig::new(plan());
    assert!(whole.run().status.success());

    let rig = Rig::new(plan());
    let (before, after) = split(300, 133);
    std::fs::write(rig.dir.path().join("trades.csv"), before).unwrap();
    assert!(rig.run().status.success());
    for file in std::fs::read_dir(rig.dir.path().join("state/checkpoints/agent")).unwrap() {
        std::fs::write(file.unwrap().path(), b"lost").unwrap();
    }
    std::fs::write(rig.dir.path().join("trades.csv"), after).unwrap();
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("replay_"), "{}", text(&output.stderr));
    assert_eq!(executed(&rig), executed(&whole), "it crossed elsewhere than without a stop");
    rig.assert_nothing_twice();
}

#[test]
fn what_a_strategy_was_called_with_can_be_read_in_the_journal() {
    let rig = Rig::new(Plan { ticks: 60, ..Plan::default() });
    assert!(rig.run().status.success());
    let dump = text(&rig.state(&["journal", "dump"]).stdout);
    let records = dump.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let calls = records.filter_map(|record| record["entry"]["record"]["fed"]["calls"].as_array().cloned());
    let calls: Vec<_> = calls.flatten().collect();
    let ticks: Vec<_> = calls.iter().filter(|call| call["input"]["tick"].is_object()).collect();
    assert_eq!(ticks.len(), 60);
    assert_eq!(ticks[4]["input"]["tick"]["last_price"], 100_700);
    assert!(calls.iter().any(|call| call["input"]["event"]["filled"].is_object()), "{}", calls[0]);
    assert!(calls.iter().any(|call| call["answer"]["wanted"].is_string()));
}

fn plugin(name: &str) -> Plugin {
    static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
        Sandbox::new(SandboxConfig { compiler: Compiler::InProcess, ..SandboxConfig::default() }).unwrap()
    });
    SANDBOX.load_file(&component(name), None, &SandboxLimits::default()).unwrap()
}

pub(super) static EMA: LazyLock<Plugin> = LazyLock::new(|| plugin("ema-cross"));
pub(super) static REVERSION: LazyLock<Plugin> = LazyLock::new(|| plugin("mean-reversion"));
static BREAKOUT: LazyLock<Plugin> = LazyLock::new(|| plugin("breakout"));

pub(super) fn config(plugin: &Plugin, settings: &[(&str, i64)]) -> CoreConfig {
    let many = NonZeroU32::new(1_000_000).unwrap();
    let setting =
        |(key, value): &(&str, i64)| Setting { key: (*key).into(), value: SettingValue::Integer(*value) };
    CoreConfig {
        name: "agent".parse().unwrap(),
        incarnation: 1,
        configured: None,
        plugin: plugin.digest(),
        instruments: Arc::new(
            Instruments::new(vec![Instrument {
                symbol: "X".into(),
                venue: "test".into(),
                kind: InstrumentKind::Spot,
                quote_currency: "USD".into(),
                multiplier: "1".parse().unwrap(),
                tick_size: "0.01".parse().unwrap(),
                lot_size: "1".parse().unwrap(),
                min_lots: Lots(1),
                max_lots: Lots(1_000_000),
            }])
            .unwrap(),
        ),
        settings: settings.iter().map(setting).collect(),
        cash: Money::new(1_000_000_000.into()),
        seed: 1,
        run_id: 1,
        live: false,
        time: TimeSource::Data,
        record_inputs: true,
        risk: RiskLimits { orders_per_second_max: many, ..RiskLimits::default() },
        retry: RetryConfig::default(),
        degradation: DegradationConfig::default(),
        limits: CoreLimits { checkpoint_interval_ms: 5_000, ..CoreLimits::default() },
        supervision: Supervision::default(),
        on_halt: FailAction::Hold,
        on_stop: FailAction::Hold,
    }
}

/// A core whose disk and venue answer at once.
pub(super) struct Desk {
    pub(super) core: Core,
    pub(super) entries: Vec<Entry>,
    checkpoints: Vec<Snapshot>,
    pub(super) alerts: Vec<String>,
    /// News of swaps.
    pub(super) swaps: Vec<SwapEvent>,
    sequence: u64,
    price: PriceTicks,
    now: Now,
}

impl Desk {
    pub(super) fn start(
        plugin: &Plugin,
        config: CoreConfig,
        checkpoint: Option<&Snapshot>,
        entries: Vec<Entry>,
    ) -> Self {
        let many = NonZeroU32::new(1_000_000).unwrap();
        let limiter = LimiterConfig { calls_per_second: many, burst_calls: many };
        let gate = SharedGate::new(Gate::new(GateConfig { limiter, ..GateConfig::default() }, 1));
        let parts = Parts {
            strategy: Box::new(plugin.instantiate().unwrap()),
            dialect: Arc::new(HttpDialect::new(HttpVenueConfig::default().profile())),
            gate: Box::new(gate),
            check: CheckConfig::default().recorded(),
        };
        let state = checkpoint.map(|it| State::decode(&config.name, &it.payload).unwrap());
        let now = Now { mono: MonoNanos(0), wall: UnixNanos(1) };
        let sequence = entries.len() as u64 * 10;
        let core = Core::recover(config, parts, state, &entries, now).unwrap();
        let (checkpoints, alerts, swaps) = (Vec::new(), Vec::new(), Vec::new());
        let price = PriceTicks(1);
        let mut desk = Self { core, entries, checkpoints, alerts, swaps, sequence, price, now };
        let mut effects = Vec::new();
        desk.core.start(now, &mut effects);
        desk.perform(now, effects);
        desk
    }

    pub(super) fn swap(&mut self, candidate: Candidate) {
        let (now, mut effects) = (self.now, Vec::new());
        self.core.step(now, Event::Swap(Box::new(candidate)), &mut effects);
        self.perform(now, effects);
    }

    pub(super) fn tick(&mut self, tick: &Tick) {
        let now = Now { mono: MonoNanos(tick.seq * 100_000_000), wall: tick.event_time };
        (self.price, self.now) = (tick.last_price, now);
        let mut effects = Vec::new();
        self.core.step(now, Event::Sample(Ok(*tick)), &mut effects);
        self.perform(now, effects);
    }

    fn perform(&mut self, now: Now, mut effects: Vec<Effect>) {
        while !effects.is_empty() {
            let event = match effects.remove(0) {
                Effect::Journal(entry) => {
                    let number = entry.number;
                    self.entries.push(Entry::decode(0, &entry.encode().unwrap()).unwrap());
                    Event::Journaled(number)
                }
                Effect::Send { request, attempt } if request.kind == RequestKind::Place => {
                    self.sequence += 1;
                    let (quantity, leaves) = (Lots(2), Lots::ZERO);
                    let change = OrderChange::Filled {
                        quantity,
                        price: self.price,
                        leaves,
                        fee: Money::ZERO,
                        maker: false,
                    };
                    let update =
                        OrderUpdate { sequence: self.sequence, key: request.key, change, venue_id: None };
                    let reply = Reply {
                        outcome: Outcome::Done { updates: vec![update] },
                        latency: Duration::ZERO,
                        retry_after: None,
                    };
                    Event::Replied { key: request.key, attempt, reply }
                }
                Effect::Checkpoint(snapshot) => {
                    self.checkpoints.push(snapshot);
                    Event::Checkpointed(Ok(()))
                }
                Effect::Alert(alert) => {
                    self.alerts.push(alert.code);
                    continue;
                }
                Effect::Swap(news) => {
                    self.swaps.push(news.event);
                    continue;
                }
                _ => continue,
            };
            self.core.step(now, event, &mut effects);
        }
    }

    /// What the first checkpoint after a start holds.
    fn rebuilt(
        plugin: &Plugin,
        config: &CoreConfig,
        checkpoint: Option<&Snapshot>,
        entries: &[Entry],
    ) -> (Option<StateSnapshot>, Memory, Books, u64) {
        let desk = Self::start(plugin, config.clone(), checkpoint, entries.to_vec());
        assert!(!desk.alerts.iter().any(|code| code.starts_with("replay_")), "{:?}", desk.alerts);
        let state = State::decode(&config.name, &desk.checkpoints[0].payload).unwrap();
        assert!(!state.halted);
        (state.strategy, state.memory, state.books, state.call)
    }
}

pub(super) fn ticks(steps: &[i64], every_ms: u64) -> Vec<Tick> {
    let mut price = 100_000;
    let tick = |(seq, step): (u64, &i64)| {
        price = (price + step).max(1_000);
        Tick {
            seq,
            event_time: UnixNanos(1_700_000_000_000_000_000 + seq * every_ms * 1_000_000),
            last_price: PriceTicks(price),
            last_size: Lots(3),
            marks: ringfence::market::Marks::TRADE,
            ..Tick::default()
        }
    };
    (1..).zip(steps).map(tick).collect()
}

fn check(plugin: &Plugin, settings: &[(&str, i64)], steps: &[i64], every_ms: u64, cut: usize) -> usize {
    let config = config(plugin, settings);
    let ticks = ticks(steps, every_ms);
    let mut desk = Desk::start(plugin, config.clone(), None, Vec::new());
    ticks.iter().for_each(|tick| desk.tick(tick));
    // The host dies after any record: whatever it starts from, it finds the same strategy.
    let cut = 1 + cut % desk.entries.len();
    let journal = &desk.entries[..cut];
    let genesis = Desk::rebuilt(plugin, &config, None, journal);
    let fed = || {
        let fed = journal.iter().filter_map(|entry| match &entry.record {
            Record::Fed { calls } => Some(calls),
            _ => None,
        });
        fed.flatten()
    };
    let journaled = fed().map(|fed| fed.call).max().unwrap_or(0);
    // One that holds a tick which the journal was not given in time remembers more than the journal.
    let is_ahead = |checkpoint: &Snapshot| {
        let state = State::decode(&config.name, &checkpoint.payload).unwrap();
        state.unjournaled.last().is_some_and(|last| last.call > journaled)
    };
    let within = desk.checkpoints.iter().rev().filter(|it| it.number <= cut as u64 && !is_ahead(it));
    for checkpoint in within.take(3) {
        assert_eq!(Desk::rebuilt(plugin, &config, Some(checkpoint), journal), genesis);
    }
    // And goes on like one that never died, over the ticks that the journal does not hold.
    let is_decided = |call: u64| {
        journal
            .iter()
            .any(|entry| matches!(&entry.record, Record::Decided(decision) if decision.call == call))
    };
    // A call whose decision is not in the journal has not happened.
    let happened = fed().filter(|fed| !matches!(fed.answer, Answer::Wanted(_)) || is_decided(fed.call));
    let known = happened.filter_map(|call| match &call.input {
        FedInput::Tick(tick) => Some(tick.seq),
        FedInput::Bar(_) | FedInput::Event(_) => None,
    });
    let seen = known.max().unwrap_or(0);
    let mut again = Desk::start(plugin, config, None, journal.to_vec());
    let rest = ticks.iter().filter(|tick| tick.seq > seen);
    rest.for_each(|tick| again.tick(tick));
    let outputs = |entries: &[Entry]| -> Vec<(Option<Digest>, UnixNanos)> {
        let decided = entries.iter().filter_map(|entry| match &entry.record {
            Record::Decided(decision) => Some((decision.output, entry.at)),
            _ => None,
        });
        decided.collect()
    };
    // What had been decided before the death is not decided again; what comes after it is the same.
    let (was, is) = (outputs(&desk.entries), outputs(&again.entries));
    assert!(was == is, "{} decisions without a death, {} with it", was.len(), is.len());
    was.len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_component_with_averages_is_rebuilt_to_the_byte_wherever_the_journal_ends(
        steps in prop::collection::vec(-300_i64..300, 40..220),
        cut: usize,
    ) {
        check(&EMA, &[("fast", 3), ("slow", 8), ("quantity", 2)], &steps, 100, cut);
    }

    #[test]
    fn a_component_with_a_window_is_rebuilt_to_the_byte_wherever_the_journal_ends(
        steps in prop::collection::vec(-300_i64..300, 40..220),
        cut: usize,
    ) {
        check(&REVERSION, &[("window", 8), ("quantity", 2)], &steps, 100, cut);
    }

    #[test]
    fn a_component_on_bars_is_rebuilt_to_the_byte_wherever_the_journal_ends(
        steps in prop::collection::vec(-300_i64..300, 80..220),
        cut: usize,
    ) {
        // Four to seven ticks a bar.
        check(&BREAKOUT, &[("bars", 2), ("quantity", 2)], &steps, 11_000, cut);
    }
}

#[test]
#[ignore = "a measurement: cargo test --release -p ringfence --test end_to_end -- --ignored refed --nocapture"]
fn how_long_a_hundred_thousand_refed_ticks_take() {
    let mut config = config(&EMA, &[("fast", 30), ("slow", 4_000), ("quantity", 2)]);
    config.limits.checkpoint_interval_ms = u64::MAX;
    // Rising, so that the averages cross once: what is measured is the ticks.
    let steps: Vec<i64> = (0..100_000).map(|step| (step * 7_919) % 101 - 40).collect();
    let mut desk = Desk::start(&EMA, config.clone(), None, Vec::new());
    ticks(&steps, 100).iter().for_each(|tick| desk.tick(tick));
    let bytes = |entry: &Entry| entry.encode().unwrap().len();
    let fed = desk.entries.iter().filter(|entry| matches!(entry.record, Record::Fed { .. }));
    let (records, size) = fed.fold((0, 0), |(records, size), entry| (records + 1, size + bytes(entry)));
    #[expect(clippy::disallowed_methods, reason = "it is measured how long this takes")]
    let start = Instant::now();
    let again = Desk::start(&EMA, config, None, desk.entries);
    let _ = writeln!(
        std::io::stderr(),
        "{} calls in {records} records of {size} bytes made again in {:?}",
        again.core.stats().refed,
        start.elapsed()
    );
}
