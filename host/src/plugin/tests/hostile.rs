//! One component per attack; each ends as one exact verdict and leaves its neighbour running.

use super::guest::{FREE, Guest, words};
use super::*;
use crate::orders::StrategyEvent;

const FOREVER: &str = "(loop $l (br $l)) unreachable";
const LOG: &str = "(import \"ringfence:strategy/log@1.0.0\" \"write\" (func $log (param i32 i32 i32)))";

/// The verdict on a component that is caught while it is loaded.
fn caught_at_load(guest: &Guest) -> TrapKind {
    match beside_a_neighbour(|| load(guest)) {
        Err(PluginError::Describe { source, .. }) => kind::<()>(Err(source)),
        other => panic!("expected describe to trap, found {other:?}"),
    }
}

/// The verdict on a component that is caught in its first tick; it is dead afterwards.
fn caught_in_tick(guest: &Guest) -> TrapKind {
    beside_a_neighbour(|| {
        let mut strategy = run(guest);
        let verdict = kind(tick(&mut strategy));
        assert_eq!(tick(&mut strategy), Err(CallError::Dead));
        assert!(strategy.is_dead());
        verdict
    })
}

fn caught_in(guest: &Guest, call: impl FnOnce(&mut ComponentStrategy) -> Result<(), CallError>) -> TrapKind {
    beside_a_neighbour(|| kind(call(&mut run(guest))))
}

fn init(strategy: &mut ComponentStrategy) -> Result<(), CallError> {
    let session = Session {
        run_id: 1,
        seed: 1,
        now: UnixNanos(0),
        next_order_id: crate::orders::OrderId(1),
        instruments: Instruments::default(),
        settings: vec![Setting { key: "key".into(), value: SettingValue::Text("value".into()) }],
        live: false,
    };
    strategy.init(&session, &mut services())
}

fn event(strategy: &mut ComponentStrategy) -> Result<(), CallError> {
    let words = StrategyEvent::Operator("words".into());
    strategy.on_event(&words, &context(), &mut services(), &mut Vec::new())
}

fn stop(strategy: &mut ComponentStrategy) -> Result<(), CallError> {
    strategy.stop(&mut services(), &mut Vec::new())
}

#[test]
fn a_loop_in_start_code_is_ended_at_load() {
    let more = format!("(func $start {FOREVER}) (start $start)");
    assert_eq!(caught_at_load(&Guest { more, ..Guest::default() }), TrapKind::Fuel);
}

#[test]
fn a_loop_in_describe_is_ended_at_load() {
    assert_eq!(caught_at_load(&Guest { describe: FOREVER.into(), ..Guest::default() }), TrapKind::Fuel);
}

#[test]
fn a_loop_in_init_is_ended() {
    assert_eq!(caught_in(&Guest { init: FOREVER.into(), ..Guest::default() }, init), TrapKind::Fuel);
}

#[test]
fn a_loop_in_tick_is_ended() {
    assert_eq!(caught_in_tick(&Guest { tick: FOREVER.into(), ..Guest::default() }), TrapKind::Fuel);
}

#[test]
fn a_loop_in_event_is_ended() {
    assert_eq!(caught_in(&Guest { event: FOREVER.into(), ..Guest::default() }, event), TrapKind::Fuel);
}

#[test]
fn a_loop_in_stop_is_ended() {
    assert_eq!(caught_in(&Guest { stop: FOREVER.into(), ..Guest::default() }, stop), TrapKind::Fuel);
}

#[test]
fn a_loop_in_realloc_is_ended() {
    let guest = Guest { realloc: FOREVER.into(), ..Guest::default() };
    assert_eq!(caught_in(&guest, init), TrapKind::Fuel);
    assert_eq!(caught_in(&guest, event), TrapKind::Fuel);
}

#[test]
fn a_loop_in_post_return_is_ended() {
    assert_eq!(caught_in_tick(&Guest { post_tick: FOREVER.into(), ..Guest::default() }), TrapKind::Fuel);
}

#[test]
fn a_loop_that_has_all_the_fuel_is_ended_by_the_deadline() {
    let limits = SandboxLimits { fuel_per_call: u64::MAX, deadline_ms: 20, ..limits() };
    let guest = Guest { tick: FOREVER.into(), ..Guest::default() };
    let verdict = beside_a_neighbour(|| {
        let plugin = SANDBOX.load(&guest.build(), "test", None, &limits).unwrap();
        kind(tick(&mut plugin.instantiate().unwrap()))
    });
    assert_eq!(verdict, TrapKind::Deadline);
}

#[test]
fn the_deadline_is_armed_again_for_every_call() {
    let limits = SandboxLimits { deadline_ms: 50, ..limits() };
    let plugin = SANDBOX.load(&Guest::default().build(), "test", None, &limits).unwrap();
    let mut strategy = plugin.instantiate().unwrap();
    let started = SANDBOX.heartbeat().nanos();
    // Many calls, together far longer than the deadline of one.
    while SANDBOX.heartbeat().nanos() - started < 200_000_000 {
        assert_eq!(tick(&mut strategy), Ok(vec![]));
    }
}

#[test]
fn a_memory_bomb_traps_at_the_cap() {
    let tick = "(loop $l (drop (memory.grow (i32.const 16))) (br $l)) unreachable".into();
    assert_eq!(caught_in_tick(&Guest { tick, ..Guest::default() }), TrapKind::Memory);
}

#[test]
fn a_memory_that_is_too_large_from_the_start_is_refused() {
    assert_eq!(caught_at_load(&Guest { pages: 1_000, ..Guest::default() }), TrapKind::Memory);
}

#[test]
fn a_table_bomb_traps_at_the_cap() {
    let more = "(table $t 1 funcref)".into();
    let tick = "(loop $l (drop (table.grow $t (ref.null func) (i32.const 100))) (br $l)) unreachable".into();
    assert_eq!(caught_in_tick(&Guest { more, tick, ..Guest::default() }), TrapKind::Memory);
}

#[test]
fn a_table_that_is_too_large_from_the_start_is_refused() {
    let more = "(table $t 1000000 funcref)".into();
    assert_eq!(caught_at_load(&Guest { more, ..Guest::default() }), TrapKind::Memory);
}

#[test]
fn deep_recursion_traps_before_the_hosts_stack_ends() {
    let more = "(func $deep (param i32) (result i32)
        (i32.add (i32.const 1) (call $deep (local.get 0))))"
        .into();
    let tick = "(call $deep (i32.const 0))".into();
    assert_eq!(caught_in_tick(&Guest { more, tick, ..Guest::default() }), TrapKind::Stack);
}

fn first_tick(more: String, body: String) -> Result<Vec<OrderIntent>, CallError> {
    let mut strategy = run(&Guest { more, tick: body, ..Guest::default() });
    beside_a_neighbour(|| tick(&mut strategy))
}

#[test]
fn a_panic_is_the_strategys_own() {
    let more = "(func $broken_indicator unreachable)".into();
    let tick = "(call $broken_indicator) unreachable".into();
    let Err(CallError::Trap { kind: TrapKind::Unreachable, detail }) = first_tick(more, tick) else {
        panic!("expected the trap of an unreachable instruction")
    };
    assert!(detail.contains("broken_indicator"), "{detail}");
}

#[test]
fn names_in_a_backtrace_cannot_drive_a_terminal() {
    let more = "(func $\"\\1b[2Jgone\" unreachable)".into();
    let tick = "(call $\"\\1b[2Jgone\") unreachable".into();
    let error = first_tick(more, tick).unwrap_err();
    assert!(error.to_string().contains("\\u{1b}[2Jgone"), "{error}");
}

#[test]
fn division_by_zero_and_wild_pointers_trap() {
    let tick = "(i32.div_u (i32.const 1) (i32.const 0))".into();
    assert_eq!(caught_in_tick(&Guest { tick, ..Guest::default() }), TrapKind::Unreachable);
    let tick = "(i32.load (i32.const -4))".into();
    assert_eq!(caught_in_tick(&Guest { tick, ..Guest::default() }), TrapKind::Memory);
}

/// A guest whose tick returns these words.
fn returning(answer: &[u32]) -> Guest {
    let more = format!("(data (i32.const 256) \"{}\")", words(answer));
    Guest { more, tick: "i32.const 256".into(), ..Guest::default() }
}

#[test]
fn a_list_that_spans_the_address_space_is_not_read() {
    assert_eq!(caught_in_tick(&returning(&[0, 0xffff_fff0, 0x0fff_ffff])), TrapKind::Output);
    assert_eq!(caught_in_tick(&returning(&[0, FREE, 0x0333_3333])), TrapKind::Output);
}

#[test]
fn a_result_outside_of_the_memory_is_not_read() {
    let tick = "i32.const -16".into();
    assert_eq!(caught_in_tick(&Guest { tick, ..Guest::default() }), TrapKind::Output);
}

#[test]
fn an_unknown_case_is_no_value() {
    assert_eq!(caught_in_tick(&returning(&[7, 0, 0])), TrapKind::Output);
}

#[test]
fn bad_utf8_in_a_fault_is_no_value() {
    let mut guest = returning(&[1, 3, FREE, 2]);
    guest.more += &format!("(data (i32.const {FREE}) \"\\ff\\fe\")");
    assert_eq!(caught_in_tick(&guest), TrapKind::Output);
}

#[test]
fn bad_utf8_in_a_name_is_caught_at_load() {
    let more = format!("(data (i32.const {}) \"\\ff\\fe\")", guest::NAME);
    let describe = "(i32.store8 (i32.const 1024) (i32.const 255)) (i32.const 64)".into();
    assert_eq!(caught_at_load(&Guest { more, describe, ..Guest::default() }), TrapKind::Output);
}

#[test]
fn bad_utf8_in_a_log_line_ends_the_call() {
    let tick = format!("(call $log (i32.const 2) (i32.const {FREE}) (i32.const 1)) (i32.const 512)");
    let more = format!("(data (i32.const {FREE}) \"\\ff\")");
    let guest = Guest { imports: LOG.into(), more, tick, ..Guest::default() };
    assert_eq!(caught_in_tick(&guest), TrapKind::HostCalls);
}

#[test]
fn a_log_line_of_four_gigabytes_ends_the_call() {
    let tick = "(call $log (i32.const 2) (i32.const 0) (i32.const -1)) (i32.const 512)".into();
    let guest = Guest { imports: LOG.into(), tick, ..Guest::default() };
    assert_eq!(caught_in_tick(&guest), TrapKind::HostCalls);
}

#[test]
fn a_flood_of_log_lines_ends_at_the_cap_and_is_kept_bounded() {
    let tick =
        "(loop $l (call $log (i32.const 2) (i32.const 1024) (i32.const 7)) (br $l)) unreachable".into();
    let guest = Guest { imports: LOG.into(), tick, ..Guest::default() };
    beside_a_neighbour(|| {
        let (mut strategy, mut lent) = (run(&guest), services());
        let result = strategy.on_tick(&Tick::default(), &context(), &mut lent, &mut Vec::new());
        assert_eq!(kind(result), TrapKind::HostCalls);
        // The services came back although the call trapped, with what was said before.
        assert_eq!(lent.telemetry.lines.len(), Telemetry::LINES_MAX);
        let dropped = usize::try_from(lent.telemetry.lines_dropped).unwrap();
        assert_eq!(dropped + Telemetry::LINES_MAX, 1_000);
    });
}

#[test]
fn calling_the_host_while_cleaning_up_is_forbidden() {
    let post_tick = "(call $log (i32.const 2) (i32.const 1024) (i32.const 7))".into();
    let guest = Guest { imports: LOG.into(), post_tick, ..Guest::default() };
    assert_eq!(caught_in_tick(&guest), TrapKind::HostCalls);
}

#[test]
fn more_intents_than_allowed_end_the_strategy() {
    let verdict = beside_a_neighbour(|| {
        let mut strategy = run(&returning(&[0, FREE, 65]));
        let error = tick(&mut strategy).unwrap_err();
        assert!(error.to_string().contains("returned 65 order intents, 64 allowed"), "{error}");
        assert_eq!(tick(&mut strategy), Err(CallError::Dead));
        kind::<()>(Err(error))
    });
    assert_eq!(verdict, TrapKind::Output);
    assert_eq!(tick(&mut run(&returning(&[0, FREE, 64]))).unwrap().len(), 64);
}

#[test]
fn more_intents_than_the_context_admits_end_the_strategy() {
    let mut strategy = run(&returning(&[0, FREE, 3]));
    let context = TickContext { intents_left: 2, ..context() };
    let mut intents = Vec::new();
    let result = strategy.on_tick(&Tick::default(), &context, &mut services(), &mut intents);
    assert_eq!(kind(result), TrapKind::Output);
    assert!(intents.is_empty());
}

#[test]
fn a_state_of_a_gigabyte_is_not_read() {
    let more = format!(
        "(data (i32.const 256) \"{}\")
         (func (export \"ringfence:strategy/state@1.0.0#save\") (result i32) (i32.const 256))
         (func (export \"ringfence:strategy/state@1.0.0#load\") (param i32 i32 i32) (result i32) unreachable)",
        words(&[0, 1, FREE, 1 << 30])
    );
    let wit = format!("{} world stateful {{ include strategy-plugin; export state; }}", guest::WIT);
    let guest = Guest { wit, world: "stateful", more, ..Guest::default() };
    assert_eq!(caught_in(&guest, |it| it.save(&mut services()).map(|_| ())), TrapKind::Output);
    let snapshot = StateSnapshot { schema: 1, data: vec![1, 2, 3] };
    assert_eq!(caught_in(&guest, |it| it.load(&snapshot, &mut services())), TrapKind::Unreachable);
}

#[test]
fn a_ticker_that_stands_still_refuses_calls_and_harms_nobody() {
    let slow = SandboxConfig { epoch_tick_us: 60_000, heartbeat_stale_ms: 20, ..SandboxConfig::default() };
    // Between two beats the heartbeat is stale for two thirds of the time.
    let sandbox = Sandbox::start(slow).unwrap();
    let bytes = Guest::default().build();
    let plugin = loop {
        match sandbox.load(&bytes, "test", None, &limits()) {
            Ok(plugin) => break plugin,
            Err(PluginError::Describe { source: CallError::Refused(_), .. }) => {}
            Err(other) => panic!("{other}"),
        }
    };
    let mut strategy = loop {
        match plugin.instantiate() {
            Ok(strategy) => break strategy,
            Err(error) => assert!(matches!(error, CallError::Refused(_)), "{error}"),
        }
    };
    let refused = loop {
        if let Err(error) = tick(&mut strategy) {
            break error;
        }
    };
    assert!(refused.to_string().contains("the thread that enforces deadlines was last seen"), "{refused}");
    assert!(!strategy.is_dead());
    // The next beat brings it back.
    while tick(&mut strategy).is_err() {}
}
