//! The same component, the same inputs and the same seed: the same outputs and the same fuel, call by call, in
//! another instance, on another engine and in another process.

use crate::attack::{SANDBOX, limits, services};
use crate::guest::{FREE, Guest, words};
use ringfence::market::{InstrumentId, Instruments, Lots, PriceTicks, Tick, UnixNanos};
use ringfence::orders::{Digest, Mode, OrderId, OrderIntent, StrategyEvent};
use ringfence::plugin::{Compiler, Sandbox, SandboxConfig, Services, Session, Strategy as _, TickContext};
use std::process::Command;

/// Decides by everything that a strategy can know: prices, time, random numbers, values that it kept, and float
/// arithmetic that ends in a NaN now and then.
fn decider() -> Vec<u8> {
    let imports = "(import \"ringfence:strategy/clock@1.0.0\" \"now\" (func $now (result i64)))
        (import \"ringfence:strategy/random@1.0.0\" \"next\" (func $next (result i64)))
        (import \"ringfence:strategy/kv@1.0.0\" \"get\" (func $get (param i32 i32 i32)))
        (import \"ringfence:strategy/kv@1.0.0\" \"set\" (func $set (param i32 i32 i32 i32 i32)))
        (import \"ringfence:strategy/log@1.0.0\" \"write\" (func $log (param i32 i32 i32)))";
    let order = FREE;
    // As many turns as the random number says, so that fuel differs from tick to tick.
    let tick = format!(
        "(local $x f64) (local $turns i32)
        (local.set $x (f64.convert_i64_s (local.get 7)))
        (local.set $turns (i32.add (i32.const 1) (i32.wrap_i64 (i64.and (call $next) (i64.const 255)))))
        (loop $l
            (local.set $x (f64.sqrt (f64.sub (f64.mul (local.get $x) (f64.const 1.0000001)) (f64.const 900))))
            (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
            (br_if $l (local.get $turns)))
        (call $get (i32.const 1024) (i32.const 7) (i32.const 600))
        (call $set (i32.const 1024) (i32.const 7) (i32.const {order}) (i32.const 80) (i32.const 640))
        (if (i32.and (i32.wrap_i64 (local.get 1)) (i32.const 8))
            (then (call $log (i32.const 2) (i32.const 1024) (i32.const 7))))
        (i64.store (i32.const {}) (local.get 1))
        (i64.store (i32.const {}) (i64.reinterpret_f64 (local.get $x)))
        (i64.store (i32.const {}) (i64.xor (call $now) (i64.extend_i32_u (i32.load (i32.const 604)))))
        (global.set $heap (i32.const 4096))
        (i32.const 256)",
        order + 8,
        order + 24,
        order + 40
    );
    let mut intent = [0_u32; 20];
    intent[8] = 1;
    let more = format!(
        "(data (i32.const 256) \"{}\") (data (i32.const {order}) \"{}\")",
        words(&[0, FREE, 1]),
        words(&intent)
    );
    Guest { imports: imports.into(), more, tick, ..Guest::default() }.build()
}

/// Everything that comes out of the sandbox in some hundred calls, and the fuel of each.
fn transcript(sandbox: &Sandbox) -> Vec<String> {
    let plugin = sandbox.load(&decider(), "decider", None, &limits()).unwrap();
    let mut strategy = plugin.instantiate().unwrap();
    let mut services = services();
    let session = Session {
        run_id: 3,
        seed: 7,
        now: UnixNanos(5),
        next_order_id: OrderId(1),
        instruments: Instruments::default(),
        settings: Vec::new(),
        live: false,
    };
    strategy.init(&session, &mut services).unwrap();
    let mut out = vec![format!("init {:?}", strategy.fuel_used())];
    for seq in 1..=200_u64 {
        let tick = Tick {
            instrument: InstrumentId(0),
            seq,
            event_time: UnixNanos(seq * 1_000),
            last_price: PriceTicks(seq.cast_signed() % 17 * 1_000),
            ..Tick::default()
        };
        let context = TickContext {
            now: UnixNanos(seq * 1_000),
            position: Lots(seq.cast_signed() % 5),
            open_orders: 0,
            intents_left: 64,
            mode: Mode::Full,
        };
        services.now = context.now;
        let mut intents: Vec<OrderIntent> = Vec::new();
        strategy.on_tick(&tick, &context, &mut services, &mut intents).unwrap();
        services.commit();
        out.push(format!("{intents:?} {:?} {}", strategy.fuel_used(), services.telemetry.lines.len()));
        let event = StrategyEvent::Operator(format!("words {seq}"));
        strategy.on_event(&event, &context, &mut services, &mut Vec::new()).unwrap();
        out.push(format!("event {:?}", strategy.fuel_used()));
    }
    out.push(format!("{:?}", services.memory()));
    out
}

fn digest(transcript: &[String]) -> String {
    Digest::of(transcript.join("\n").as_bytes()).to_string()
}

#[test]
fn two_instances_and_two_engines_do_the_same_for_the_same_fuel() {
    let first = transcript(&SANDBOX);
    assert_eq!(first, transcript(&SANDBOX), "another instance");
    let another = Sandbox::new(SandboxConfig {
        epoch_tick_us: 777,
        compiler: Compiler::InProcess,
        ..SandboxConfig::default()
    })
    .unwrap();
    assert_eq!(first, transcript(&another), "another engine");
    // The test would prove nothing if every call were the same: fuel, prices and NaNs all occur.
    let distinct = std::collections::BTreeSet::from_iter(&first);
    assert!(distinct.len() > 200, "{}", distinct.len());
    assert!(first.iter().any(|line| line.contains(&CANONICAL_NAN.to_string())), "no NaN occurred");
}

/// Says the digest of its transcript, for a process that compares.
#[test]
fn two_processes_do_the_same_for_the_same_fuel() {
    const ALONE: &str = "RINGFENCE_HOSTILE_TRANSCRIPT";
    let here = digest(&transcript(&SANDBOX));
    if std::env::var_os(ALONE).is_some() {
        println!("transcript {here}");
        return;
    }
    let name = "determinism::two_processes_do_the_same_for_the_same_fuel";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let there =
        said.lines().find_map(|line| line.split("transcript ").nth(1)).unwrap_or_else(|| panic!("{said}"));
    assert_eq!(there.trim(), here);
}

const CANONICAL_NAN: i64 = 0x7ff8_0000_0000_0000;

/// The bits of a float that this arithmetic ends with, as they leave the sandbox in an order's quantity.
fn bits_of(arithmetic: &str) -> i64 {
    let more = format!("(data (i32.const 256) \"{}\")", words(&[0, FREE, 1]));
    let tick =
        format!("(i64.store (i32.const {}) (i64.reinterpret_f64 {arithmetic})) (i32.const 256)", FREE + 24);
    let mut strategy = crate::attack::load(&Guest { more, tick, ..Guest::default() }).instantiate().unwrap();
    let intents = crate::attack::tick(&mut strategy).unwrap();
    let [OrderIntent::Submit(order)] = intents.as_slice() else { panic!("one order expected: {intents:?}") };
    order.quantity.0
}

#[test]
fn a_nan_has_the_same_bits_however_it_came_about() {
    // Values that the compiler cannot work out beforehand.
    let zero = "(f64.convert_i64_s (i64.sub (local.get 1) (local.get 1)))";
    let payload = "(f64.reinterpret_i64 (i64.or (local.get 1) (i64.const 0xfff4000000000123)))";
    for arithmetic in [
        format!("(f64.div {zero} {zero})"),
        format!("(f64.sqrt (f64.sub {zero} (f64.const 1)))"),
        format!("(f64.sub (f64.div (f64.const 1) {zero}) (f64.div (f64.const 1) {zero}))"),
        format!("(f64.mul {payload} (f64.const -1))"),
        format!("(f64.add (f64.const 1) {payload})"),
        format!("(f64.min {payload} {zero})"),
        format!("(f64.max {zero} {payload})"),
        format!("(f64.floor {payload})"),
        format!("(f64.promote_f32 (f32.demote_f64 {payload}))"),
        format!("(f64x2.extract_lane 1 (f64x2.add (f64x2.splat {payload}) (f64x2.splat {zero})))"),
    ] {
        assert_eq!(bits_of(&arithmetic), CANONICAL_NAN, "{arithmetic}");
    }
    // What moves bits and does not compute leaves them as they are, on every machine.
    assert_eq!(bits_of(payload), 0xfff4_0000_0000_0123_u64.cast_signed());
    assert_eq!(bits_of(&format!("(f64.neg {payload})")), 0x7ff4_0000_0000_0123);
}

#[test]
fn another_seed_draws_other_numbers_and_the_same_one_the_same() {
    let draw = |seed| {
        let imports =
            "(import \"ringfence:strategy/random@1.0.0\" \"next\" (func $next (result i64)))".into();
        let more = format!("(data (i32.const 256) \"{}\")", words(&[0, FREE, 1]));
        let tick = format!("(i64.store (i32.const {}) (call $next)) (i32.const 256)", FREE + 24);
        let guest = Guest { imports, more, tick, ..Guest::default() };
        let mut strategy = crate::attack::load(&guest).instantiate().unwrap();
        let mut services = Box::new(Services::new(
            ringfence::orders::Books::default(),
            std::sync::Arc::new(Instruments::default()),
            seed,
        ));
        let mut drawn = Vec::new();
        for _ in 0..10 {
            drawn.extend(crate::attack::tick_with(&mut strategy, &mut services).unwrap());
            services.commit();
        }
        format!("{drawn:?}")
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}
