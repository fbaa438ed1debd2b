//! Misuse of what the host lends: log, metrics, values, timers, random numbers, books.

use crate::attack::{Strike, attacks, in_tick, load, tick_with, verdict};
use crate::guest::{FREE, Guest, NAME, words};
use ringfence::market::UnixNanos;
use ringfence::plugin::{ServiceLimits, Services, Telemetry};

const LOG: &str = "(import \"ringfence:strategy/log@1.0.0\" \"write\" (func $log (param i32 i32 i32)))
    (import \"ringfence:strategy/log@1.0.0\" \"enabled\" (func $enabled (param i32) (result i32)))";
const METRICS: &str =
    "(import \"ringfence:strategy/metrics@1.0.0\" \"register\" (func $register (param i32 i32 i32) (result i32)))
    (import \"ringfence:strategy/metrics@1.0.0\" \"observe\" (func $observe (param i32 f64)))";
const CLOCK: &str = "(import \"ringfence:strategy/clock@1.0.0\" \"now\" (func $now (result i64)))
    (import \"ringfence:strategy/clock@1.0.0\" \"set-timer\" (func $set_timer (param i32 i64)))
    (import \"ringfence:strategy/clock@1.0.0\" \"cancel-timer\" (func $cancel_timer (param i32)))";
const RANDOM: &str = "(import \"ringfence:strategy/random@1.0.0\" \"next\" (func $next (result i64)))";
const KV: &str = "(import \"ringfence:strategy/kv@1.0.0\" \"set\" (func $set (param i32 i32 i32 i32 i32)))
    (import \"ringfence:strategy/kv@1.0.0\" \"get\" (func $get (param i32 i32 i32)))
    (import \"ringfence:strategy/kv@1.0.0\" \"delete\" (func $delete (param i32 i32 i32)))";
const ACCOUNT: &str = "(import \"ringfence:strategy/account@1.0.0\" \"cash\" (func $cash (param i32)))
    (import \"ringfence:strategy/account@1.0.0\" \"open-orders\" (func $open (param i32 i32)))
    (import \"ringfence:strategy/account@1.0.0\" \"position\" (func $position (param i32 i32)))";

fn guest(imports: &str, more: &str, tick: &str) -> Guest {
    Guest { imports: imports.into(), more: more.into(), tick: tick.into(), ..Guest::default() }
}

/// A body that does something so many times and then returns.
fn times(count: u32, what: &str) -> String {
    format!(
        "(local $i i32) (loop $l {what}
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $l (i32.lt_u (local.get $i) (i32.const {count}))))
         (i32.const 512)"
    )
}

fn for_ever(what: &str) -> String {
    format!("(loop $l {what} (br $l)) unreachable")
}

/// A tick, and a look at the services when it is over.
fn looked_at(guest: &Guest, look: impl Fn(&mut Services) + 'static) -> Strike {
    let plugin = load(guest);
    Box::new(move || {
        let (mut strategy, mut lent) = (plugin.instantiate().unwrap(), crate::attack::services());
        let result = tick_with(&mut strategy, &mut lent);
        look(&mut lent);
        verdict(&result)
    })
}

attacks! {
    a_flood_of_log_lines: "trap_host_calls", HostCalls, || {
        let body = for_ever(&format!("(call $log (i32.const 2) (i32.const {NAME}) (i32.const 7))"));
        looked_at(&guest(LOG, "", &body), |lent| {
            // What it said before it was ended is kept, as far as it fits, and the rest is counted.
            let max = ServiceLimits::default().log_lines_per_call_max;
            assert_eq!(lent.telemetry.lines.len(), max);
            assert_eq!(lent.telemetry.lines_dropped, 1_000 - max as u64);
        })
    };
    a_log_line_of_a_hundred_kilobytes: "harmless", Services, || {
        let body = format!("(call $log (i32.const 2) (i32.const {FREE}) (i32.const 102400)) (i32.const 512)");
        looked_at(&guest(LOG, "", &body), |lent| {
            let text = &lent.telemetry.lines[0].text;
            assert!(text.len() <= ServiceLimits::default().log_line_bytes_max, "{}", text.len());
        })
    };
    a_log_line_of_four_gigabytes: "trap_host_calls", Returned, || {
        in_tick(&guest(LOG, "", "(call $log (i32.const 2) (i32.const 0) (i32.const -1)) (i32.const 512)"))
    };
    a_log_line_in_bad_utf8: "trap_host_calls", Call, || {
        let body = format!("(call $log (i32.const 2) (i32.const {FREE}) (i32.const 1)) (i32.const 512)");
        in_tick(&guest(LOG, &format!("(data (i32.const {FREE}) \"\\ff\")"), &body))
    };
    a_log_line_of_an_unknown_level: "trap_host_calls", Call, || {
        in_tick(&guest(LOG, "", &format!("(call $log (i32.const 99) (i32.const {NAME}) (i32.const 7)) (i32.const 512)")))
    };
    a_log_line_that_drives_the_terminal: "harmless", Services, || {
        let text = "\\1b[2J\\1b]0;owned\\07\\0dok\\0a\\e2\\80\\aeevil";
        let more = format!("(data (i32.const {FREE}) \"{text}\")");
        let body = format!("(call $log (i32.const 4) (i32.const {FREE}) (i32.const 25)) (i32.const 512)");
        looked_at(&guest(LOG, &more, &body), |lent| {
            let text = &lent.telemetry.lines[0].text;
            assert_eq!(text, "\\u{1b}[2J\\u{1b}]0;owned\\u{7}\\rok\\n\\u{202e}evil");
        })
    };
    a_log_line_while_cleaning_up: "trap_host_calls", Call, || {
        let post_tick = format!("(call $log (i32.const 2) (i32.const {NAME}) (i32.const 7))");
        in_tick(&Guest { imports: LOG.into(), post_tick, ..Guest::default() })
    };
    a_log_line_where_the_host_asks_for_memory: "trap_host_calls", Call, || {
        let realloc = format!("(call $log (i32.const 2) (i32.const {NAME}) (i32.const 7)) (i32.const 20000)");
        crate::attack::in_call(
            &Guest { imports: LOG.into(), realloc, ..Guest::default() },
            crate::loops::event,
        )
    };
    asking_the_log_for_ever: "trap_host_calls", HostCalls, || {
        in_tick(&guest(LOG, "", &for_ever("(drop (call $enabled (i32.const 0)))")))
    };
    a_name_in_a_backtrace_that_drives_the_terminal: "trap_unreachable", Call, || {
        let plugin = load(&guest("", "(func $\"\\1b[2Jgone\" unreachable)", "(call $\"\\1b[2Jgone\") unreachable"));
        Box::new(move || {
            let error = crate::attack::tick(&mut plugin.instantiate().unwrap());
            let words = error.as_ref().unwrap_err().to_string();
            assert!(words.contains("\\u{1b}[2Jgone") && !words.contains('\u{1b}'), "{words}");
            verdict(&error)
        })
    };
    observations_that_are_no_numbers: "harmless", Services, || {
        let body = format!(
            "(local $id i32) (local.set $id (call $register (i32.const {NAME}) (i32.const 7) (i32.const 1)))
             (call $observe (local.get $id) (f64.const nan)) (call $observe (local.get $id) (f64.const inf))
             (call $observe (local.get $id) (f64.const -inf)) (call $observe (local.get $id) (f64.const 2))
             (call $observe (i32.const 77) (f64.const 1)) (i32.const 512)"
        );
        looked_at(&guest(METRICS, "", &body), |lent| {
            assert_eq!(lent.telemetry.settle(), 4);
            assert_eq!((lent.telemetry.metrics()[0].count, lent.telemetry.metrics()[0].sum), (1, 2.0));
        })
    };
    a_flood_of_metrics: "harmless", Services, || {
        // Names a, aa, aaa and so on; what is too long is refused as well.
        let more = format!("(data (i32.const {FREE}) \"{}\")", "a".repeat(200));
        let what = format!("(drop (call $register (i32.const {FREE}) (i32.add (local.get $i) (i32.const 1)) (i32.const 0)))");
        looked_at(&guest(METRICS, &more, &times(200, &what)), |lent| {
            assert_eq!(lent.telemetry.metrics().len(), ServiceLimits::default().metrics_max);
        })
    };
    a_flood_of_observations: "trap_host_calls", HostCalls, || {
        let what = "(call $observe (i32.const 0) (f64.const 1))";
        in_tick(&guest(METRICS, "", &for_ever(what)))
    };
    a_metric_that_no_database_takes: "harmless", Services, || {
        let more = format!("(data (i32.const {FREE}) \"a{{b=\\\"c\\\"}} 1\\0a# EOF\\0a\")");
        let body = format!("(drop (call $register (i32.const {FREE}) (i32.const 17) (i32.const 0))) (i32.const 512)");
        looked_at(&guest(METRICS, &more, &body), |lent| {
            assert!(lent.telemetry.metrics().is_empty());
            assert!(lent.telemetry.lines[0].text.contains("was not registered"));
            assert_eq!(lent.telemetry.register("a b", ringfence::plugin::MetricKind::Gauge), Telemetry::NO_METRIC);
        })
    };
    a_flood_of_values: "harmless", Services, || {
        // Nine hundred keys of four bytes with a kilobyte each.
        let what = format!(
            "(i32.store (i32.const {FREE}) (i32.or (i32.const 0x30303030) (local.get $i)))
             (i32.store (i32.const {FREE}) (i32.add (i32.const 0x30303030)
                (i32.add (i32.rem_u (local.get $i) (i32.const 64))
                    (i32.shl (i32.div_u (local.get $i) (i32.const 64)) (i32.const 8)))))
             (call $set (i32.const {FREE}) (i32.const 4) (i32.const {FREE}) (i32.const 1024) (i32.const 600))"
        );
        looked_at(&guest(KV, "", &times(900, &what)), |lent| {
            lent.commit();
            let taken = (0..900_u32).filter(|i| {
                let key = (0x3030_3030 + i % 64 + ((i / 64) << 8)).to_le_bytes();
                lent.kv_get(std::str::from_utf8(&key).unwrap()).is_some()
            });
            assert_eq!(taken.count(), ServiceLimits::default().kv_bytes_max / 1_028);
        })
    };
    a_flood_of_values_in_a_call_that_fails: "trap_host_calls", HostCalls, || {
        let what = format!("(call $set (i32.const {NAME}) (i32.const 7) (i32.const {FREE}) (i32.const 9) (i32.const 600))");
        looked_at(&guest(KV, "", &for_ever(&what)), |lent| {
            lent.abort();
            lent.commit();
            assert_eq!(lent.kv_get("healthy"), None);
        })
    };
    a_key_that_is_too_long: "harmless", Services, || {
        let body = format!("(call $set (i32.const {FREE}) (i32.const 129) (i32.const {FREE}) (i32.const 1) (i32.const 600)) (i32.const 512)");
        looked_at(&guest(KV, "", &body), |lent| {
            lent.commit();
            assert_eq!(lent.kv_get(&"\0".repeat(129)), None);
        })
    };
    a_key_of_a_megabyte: "trap_host_calls", Returned, || {
        let body = format!("(call $set (i32.const {FREE}) (i32.const 1048576) (i32.const {FREE}) (i32.const 1) (i32.const 600)) (i32.const 512)");
        in_tick(&Guest { pages: 40, ..guest(KV, "", &body) })
    };
    a_key_in_bad_utf8: "trap_host_calls", Call, || {
        let body = format!("(call $get (i32.const {FREE}) (i32.const 2) (i32.const 600)) (i32.const 512)");
        in_tick(&guest(KV, &format!("(data (i32.const {FREE}) \"\\c0\\80\")"), &body))
    };
    a_value_of_a_gigabyte: "trap_host_calls", Returned, || {
        let body = format!("(call $set (i32.const {NAME}) (i32.const 7) (i32.const 0) (i32.const 1073741824) (i32.const 600)) (i32.const 512)");
        in_tick(&guest(KV, "", &body))
    };
    a_value_that_is_read_into_nowhere: "trap_host_calls", Call, || {
        let body = format!("(call $get (i32.const {NAME}) (i32.const 7) (i32.const -4)) (i32.const 512)");
        in_tick(&guest(KV, "", &body))
    };
    deleting_what_was_never_there: "trap_host_calls", HostCalls, || {
        let what = format!("(call $delete (i32.const {NAME}) (i32.const 7) (i32.const 600))");
        in_tick(&guest(KV, "", &for_ever(&what)))
    };
    a_flood_of_timers: "harmless", Services, || {
        let body = times(900, "(call $set_timer (local.get $i) (i64.const 5))");
        looked_at(&guest(CLOCK, "", &body), |lent| {
            lent.commit();
            let mut fired = 0;
            while lent.take_due_timer(UnixNanos(5)).is_some() {
                fired += 1;
            }
            assert_eq!(fired, ServiceLimits::default().timers_max);
            let words = &lent.telemetry.lines[0].text;
            assert!(words.contains("timer 64 was not set"), "{words}");
        })
    };
    one_timer_set_and_cancelled_for_ever: "trap_host_calls", HostCalls, || {
        in_tick(&guest(CLOCK, "", &for_ever("(call $set_timer (i32.const 1) (i64.const -1)) (call $cancel_timer (i32.const 1))")))
    };
    asking_the_time_for_ever: "trap_host_calls", HostCalls, || {
        in_tick(&guest(CLOCK, "", &for_ever("(drop (call $now))")))
    };
    drawing_random_numbers_for_ever: "trap_host_calls", HostCalls, || {
        in_tick(&guest(RANDOM, "", &for_ever("(drop (call $next))")))
    };
    asking_for_the_books_for_ever: "trap_host_calls", HostCalls, || {
        in_tick(&guest(ACCOUNT, "", &for_ever("(call $open (i32.const 0) (i32.const 600))")))
    };
    a_position_in_an_unknown_instrument: "harmless", Call, || {
        in_tick(&guest(ACCOUNT, "", "(call $position (i32.const -1) (i32.const 600)) (i32.const 512)"))
    };
    cash_that_is_written_into_nowhere: "trap_host_calls", Call, || {
        in_tick(&guest(ACCOUNT, "", "(call $cash (i32.const -16)) (i32.const 512)"))
    };
    a_metric_named_by_four_gigabytes: "trap_host_calls", Returned, || {
        in_tick(&guest(METRICS, "", "(drop (call $register (i32.const 8) (i32.const -16) (i32.const 0))) (i32.const 512)"))
    };
    a_fault_that_drives_the_terminal: "strategy_fault", Call, || {
        let more = format!(
            "(data (i32.const 256) \"{}\") (data (i32.const {FREE}) \"\\1b[2J\")",
            words(&[1, 3, FREE, 4])
        );
        let plugin = load(&guest("", &more, "i32.const 256"));
        Box::new(move || {
            let fault = crate::attack::tick(&mut plugin.instantiate().unwrap());
            let text = fault.as_ref().unwrap_err().to_string();
            assert_eq!(text, "the strategy reported a fault: internal: \\u{1b}[2J");
            verdict(&fault)
        })
    };
}
