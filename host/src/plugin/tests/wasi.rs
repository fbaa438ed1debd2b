//! The virtual WASI: what a component that imports it is given, and what it is not.

use super::guest::{FREE, Guest, WIT, words};
use super::*;

/// As much of WASI as these guests import, word for word from its text.
const WASI: &str = "
package wasi:io@0.2.0 {
  interface error { resource error { to-debug-string: func() -> string; } }
  interface poll {
    resource pollable { ready: func() -> bool; block: func(); }
    poll: func(in: list<borrow<pollable>>) -> list<u32>;
  }
  interface streams {
    use error.{error};
    variant stream-error { last-operation-failed(error), closed }
    resource input-stream { blocking-read: func(len: u64) -> result<list<u8>, stream-error>; }
    resource output-stream {
      check-write: func() -> result<u64, stream-error>;
      blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
    }
  }
}
package wasi:cli@0.2.0 {
  interface environment {
    get-environment: func() -> list<tuple<string, string>>;
    get-arguments: func() -> list<string>;
  }
  interface exit { exit: func(status: result); }
  interface stdin { use wasi:io/streams@0.2.0.{input-stream}; get-stdin: func() -> input-stream; }
  interface stdout { use wasi:io/streams@0.2.0.{output-stream}; get-stdout: func() -> output-stream; }
  interface stderr { use wasi:io/streams@0.2.0.{output-stream}; get-stderr: func() -> output-stream; }
}
package wasi:clocks@0.2.0 {
  interface monotonic-clock {
    use wasi:io/poll@0.2.0.{pollable};
    now: func() -> u64;
    subscribe-duration: func(when: u64) -> pollable;
  }
  interface wall-clock {
    record datetime { seconds: u64, nanoseconds: u32 }
    now: func() -> datetime;
  }
}
package wasi:random@0.2.0 {
  interface random { get-random-bytes: func(len: u64) -> list<u8>; get-random-u64: func() -> u64; }
  interface insecure-seed { insecure-seed: func() -> tuple<u64, u64>; }
}
package wasi:filesystem@0.2.0 {
  interface types { resource descriptor; }
  interface preopens { use types.{descriptor}; get-directories: func() -> list<tuple<descriptor, string>>; }
}
package wasi:sockets@0.2.0 {
  interface network {
    resource network;
    enum error-code {
      unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout, concurrency-conflict,
      not-in-progress, would-block, invalid-state, new-socket-limit, address-not-bindable, address-in-use,
      remote-unreachable, connection-refused, connection-reset, connection-aborted, datagram-too-large,
      name-unresolvable, temporary-resolver-failure, permanent-resolver-failure,
    }
    enum ip-address-family { ipv4, ipv6 }
  }
  interface instance-network { use network.{network}; instance-network: func() -> network; }
  interface ip-name-lookup {
    use network.{network, error-code};
    resource resolve-address-stream;
    resolve-addresses: func(network: borrow<network>, name: string) -> result<resolve-address-stream, error-code>;
  }
  interface tcp { resource tcp-socket; }
  interface tcp-create-socket {
    use network.{error-code, ip-address-family};
    use tcp.{tcp-socket};
    create-tcp-socket: func(address-family: ip-address-family) -> result<tcp-socket, error-code>;
  }
  interface udp { resource udp-socket; }
  interface udp-create-socket {
    use network.{error-code, ip-address-family};
    use udp.{udp-socket};
    create-udp-socket: func(address-family: ip-address-family) -> result<udp-socket, error-code>;
  }
}
package wasi:http@0.2.0 { interface outgoing-handler { handle: func(); } }
";

fn virtual_wasi() -> SandboxLimits {
    SandboxLimits { wasi: WasiGrant::Virtual, ..limits() }
}

/// A guest that imports these functions of WASI and runs this tick; its answer stands at 256.
fn wasi_guest(imports: &[(&str, &str, &str)], tick: &str) -> Guest {
    let mut interfaces: Vec<_> = imports.iter().map(|(interface, ..)| *interface).collect();
    interfaces.dedup();
    let world: String = interfaces.iter().map(|it| format!("import wasi:{it}@0.2.0;")).collect();
    let functions = imports.iter().enumerate().map(|(index, (interface, function, ty))| {
        format!("(import \"wasi:{interface}@0.2.0\" \"{function}\" (func $f{index} {ty}))")
    });
    Guest {
        wit: format!("{WIT} world with-wasi {{ include strategy-plugin; {world} }} {WASI}"),
        world: "with-wasi",
        imports: functions.collect(),
        // One order, whose number and quantity the tick fills in.
        more: format!("(data (i32.const 256) \"{}\")", words(&[0, FREE, 1])),
        tick: format!("{tick} (i32.const 256)"),
        ..Guest::default()
    }
}

fn run_wasi(guest: &Guest) -> ComponentStrategy {
    SANDBOX.load(&guest.build(), "test", None, &virtual_wasi()).unwrap().instantiate().unwrap()
}

/// Stores an i64 where the order number of the answer is, and one where its quantity is.
fn answer(id: &str, quantity: &str) -> String {
    let (at_id, at_quantity) = (FREE + 8, FREE + 24);
    format!("(i64.store (i32.const {at_id}) {id}) (i64.store (i32.const {at_quantity}) {quantity})")
}

fn call(strategy: &mut ComponentStrategy, services: &mut Box<Services>) -> Result<(u64, i64), CallError> {
    let mut intents = Vec::new();
    strategy.on_tick(&Tick::default(), &context(), services, &mut intents)?;
    let [OrderIntent::Submit(order)] = intents.as_slice() else { panic!("expected an order: {intents:?}") };
    Ok((order.id.0, order.quantity.0))
}

fn asked(imports: &[(&str, &str, &str)], tick: &str) -> (u64, i64) {
    call(&mut run_wasi(&wasi_guest(imports, tick)), &mut services()).unwrap()
}

const STDOUT: [(&str, &str, &str); 2] = [
    ("cli/stdout", "get-stdout", "(result i32)"),
    ("io/streams", "[method]output-stream.blocking-write-and-flush", "(param i32 i32 i32 i32)"),
];

#[test]
fn wasi_takes_a_grant_and_the_grant_takes_no_more_than_its_list() {
    let bytes = wasi_guest(&[("clocks/monotonic-clock", "now", "(result i64)")], "(drop (call $f0))").build();
    let refused = SANDBOX.load(&bytes, "test", None, &limits()).unwrap_err().to_string();
    assert!(refused.contains("wasi:clocks/monotonic-clock@0.2.0 is not granted"), "{refused}");
    assert!(refused.contains("wasi = \"virtual\""), "{refused}");
    SANDBOX.load(&bytes, "test", None, &virtual_wasi()).unwrap();
    let bytes = wasi_guest(&[("http/outgoing-handler", "handle", "")], "(call $f0)").build();
    let refused = SANDBOX.load(&bytes, "test", None, &virtual_wasi()).unwrap_err();
    let PluginError::Contract { mismatches, .. } = refused else { panic!("expected mismatches: {refused}") };
    let name = "wasi:http/outgoing-handler@0.2.0".into();
    assert_eq!(mismatches, [Mismatch::ForeignImport { name }]);
}

#[test]
fn a_function_that_wasi_does_not_have_is_refused_by_name() {
    let mut guest =
        wasi_guest(&[("clocks/monotonic-clock", "tomorrow", "(result i64)")], "(drop (call $f0))");
    guest.wit = guest.wit.replace("now: func() -> u64;", "now: func() -> u64; tomorrow: func() -> u64;");
    let refused = SANDBOX.load(&guest.build(), "test", None, &virtual_wasi()).unwrap_err().to_string();
    assert!(refused.contains("tomorrow"), "{refused}");
}

#[test]
fn both_clocks_show_the_time_of_the_call() {
    let imports =
        [("clocks/monotonic-clock", "now", "(result i64)"), ("clocks/wall-clock", "now", "(param i32)")];
    // The wall clock in nanoseconds, from its two parts.
    let wall = "(i64.add (i64.mul (i64.load (i32.const 600)) (i64.const 1000000000))
        (i64.extend_i32_u (i32.load (i32.const 608))))";
    let tick = format!("(call $f1 (i32.const 600)) {}", answer("(call $f0)", wall));
    let (mut strategy, mut lent) = (run_wasi(&wasi_guest(&imports, &tick)), services());
    let now = 1_723_161_600_000_000_005;
    lent.now = UnixNanos(now);
    assert_eq!(call(&mut strategy, &mut lent), Ok((now, 1_723_161_600_000_000_005)));
    // A feed that steps back takes the wall clock along, and not the monotonic one.
    lent.now = UnixNanos(now - 7);
    assert_eq!(call(&mut strategy, &mut lent), Ok((now, 1_723_161_599_999_999_998)));
}

#[test]
fn random_numbers_are_the_strategys_own_stream() {
    let imports = [
        ("random/random", "get-random-u64", "(result i64)"),
        ("random/random", "get-random-bytes", "(param i64 i32)"),
    ];
    let bytes = "(i64.load (i32.load (i32.const 600)))";
    let tick = format!("(call $f1 (i64.const 8) (i32.const 600)) {}", answer("(call $f0)", bytes));
    let guest = wasi_guest(&imports, &tick);
    let draw = |seed| {
        let mut lent = Box::new(Services::new(Books::default(), Arc::new(Instruments::default()), seed));
        let drawn = call(&mut run_wasi(&guest), &mut lent).unwrap();
        lent.commit();
        (drawn, lent.random_next())
    };
    let mut contract = Services::new(Books::default(), Arc::new(Instruments::default()), 7);
    let (first, second, third) = (contract.random_next(), contract.random_next(), contract.random_next());
    assert_eq!(draw(7), ((second, i64::from_le_bytes(first.to_le_bytes())), third));
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}

#[test]
fn there_is_no_environment_no_argument_no_folder_and_no_input() {
    let length = "(i64.extend_i32_u (i32.load (i32.const 604)))";
    for (interface, function) in [
        ("cli/environment", "get-environment"),
        ("cli/environment", "get-arguments"),
        ("filesystem/preopens", "get-directories"),
    ] {
        // Anything but zero shows that it was written.
        let tick = format!(
            "(i32.store (i32.const 604) (i32.const 9)) (call $f0 (i32.const 600)) {}",
            answer("(i64.const 1)", length)
        );
        assert_eq!(asked(&[(interface, function, "(param i32)")], &tick), (1, 0), "{function}");
    }
    let stdin = [
        ("cli/stdin", "get-stdin", "(result i32)"),
        ("io/streams", "[method]input-stream.blocking-read", "(param i32 i64 i32)"),
    ];
    let tick = format!(
        "(call $f1 (call $f0) (i64.const 64) (i32.const 600)) {}",
        answer(
            "(i64.extend_i32_u (i32.load8_u (i32.const 600)))",
            "(i64.extend_i32_u (i32.load8_u (i32.const 604)))"
        )
    );
    assert_eq!(asked(&stdin, &tick), (1, 1), "an error, and the one that says closed");
}

#[test]
fn a_socket_and_a_name_are_denied() {
    // The error's case stands after the result's; access-denied is the second.
    let parts = (
        "(i64.extend_i32_u (i32.load8_u (i32.const 600)))",
        "(i64.extend_i32_u (i32.load8_u (i32.const 604)))",
    );
    for (interface, function) in [
        ("sockets/tcp-create-socket", "create-tcp-socket"),
        ("sockets/udp-create-socket", "create-udp-socket"),
    ] {
        let tick = format!("(call $f0 (i32.const 0) (i32.const 600)) {}", answer(parts.0, parts.1));
        assert_eq!(asked(&[(interface, function, "(param i32 i32)")], &tick), (1, 1), "{function}");
    }
    let lookup = [
        ("sockets/instance-network", "instance-network", "(result i32)"),
        ("sockets/ip-name-lookup", "resolve-addresses", "(param i32 i32 i32 i32)"),
    ];
    let tick = format!(
        "(call $f1 (call $f0) (i32.const 1024) (i32.const 7) (i32.const 600)) {}",
        answer(parts.0, parts.1)
    );
    assert_eq!(asked(&lookup, &tick), (1, 1));
}

#[test]
fn a_wait_without_end_is_over_at_once() {
    let imports = [
        ("clocks/monotonic-clock", "subscribe-duration", "(param i64) (result i32)"),
        ("io/poll", "[method]pollable.block", "(param i32)"),
        ("io/poll", "poll", "(param i32 i32 i32)"),
    ];
    let tick = format!(
        "(i32.store (i32.const 640) (call $f0 (i64.const -1)))
         (call $f1 (i32.load (i32.const 640)))
         (call $f2 (i32.const 640) (i32.const 1) (i32.const 600)) {}",
        answer("(i64.extend_i32_u (i32.load (i32.const 604)))", "(i64.const 5)")
    );
    assert_eq!(asked(&imports, &tick), (1, 5), "one of one is ready");
}

/// What a guest leaves in the log that prints these bytes to a stream in one call.
fn printed(imports: &[(&str, &str, &str)], text: &[u8]) -> Vec<(LogLevel, String)> {
    let escaped: String = text.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let tick = format!(
        "(call $f1 (call $f0) (i32.const 32768) (i32.const {}) (i32.const 600)) {}",
        text.len(),
        answer("(i64.const 1)", "(i64.const 1)")
    );
    let mut guest = wasi_guest(imports, &tick);
    guest.more += &format!("(data (i32.const 32768) \"{escaped}\")");
    let (mut strategy, mut lent) = (run_wasi(&guest), services());
    call(&mut strategy, &mut lent).unwrap();
    lent.telemetry.lines.iter().map(|line| (line.level, line.text.clone())).collect()
}

#[test]
fn what_is_printed_is_in_the_log_line_by_line_and_escaped() {
    let lines = printed(&STDOUT, b"one\r\n\x1b[2Jtwo\n\xff\xe2\x80\xaerest");
    let expected =
        ["one", "\\u{1b}[2Jtwo", "\u{fffd}\\u{202e}rest"].map(|text| (LogLevel::Info, text.to_owned()));
    assert_eq!(lines, expected, "the line without an end comes with the end of the call");
    let stderr = [("cli/stderr", "get-stderr", "(result i32)"), STDOUT[1]];
    assert_eq!(printed(&stderr, b"words\n"), [(LogLevel::Warn, "words".to_owned())]);
}

#[test]
fn a_line_without_an_end_is_cut_into_lines() {
    let lines = printed(&STDOUT, &[b'x'; 2_500]);
    let lengths: Vec<_> = lines.iter().map(|(_, text)| text.len()).collect();
    assert_eq!(lengths, [1_024, 1_024, 452]);
}

#[test]
fn a_flood_of_prints_is_bounded_like_any_other_call_into_the_host() {
    let tick = "(local $s i32) (local.set $s (call $f0))
        (loop $l (call $f1 (local.get $s) (i32.const 1024) (i32.const 7) (i32.const 600)) (br $l))";
    let (mut strategy, mut lent) = (run_wasi(&wasi_guest(&STDOUT, tick)), services());
    assert_eq!(kind(call(&mut strategy, &mut lent)), TrapKind::HostCalls);
    // 999 times seven letters without a line break: what is not cut off yet comes out when the call ends.
    let text: String = lent.telemetry.lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(text.len(), 999 * 7);
    // The log drops what it cannot keep, as it does with other lines.
    assert!(printed(&STDOUT, &[b'\n'; 2_000]).len() < 2_000);
}

#[test]
fn every_call_of_wasi_counts_as_a_call_into_the_host() {
    for (interface, function, ty, arguments) in [
        ("clocks/monotonic-clock", "now", "(result i64)", ""),
        ("random/random", "get-random-u64", "(result i64)", ""),
    ] {
        let tick = format!("(loop $l (drop (call $f0 {arguments})) (br $l))");
        let mut strategy = run_wasi(&wasi_guest(&[(interface, function, ty)], &tick));
        assert_eq!(kind(call(&mut strategy, &mut services())), TrapKind::HostCalls, "{function}");
    }
}

#[test]
fn more_than_anybody_needs_ends_the_call() {
    let random = [("random/random", "get-random-bytes", "(param i64 i32)")];
    let mut strategy = run_wasi(&wasi_guest(&random, "(call $f0 (i64.const 4097) (i32.const 600))"));
    assert_eq!(kind(call(&mut strategy, &mut services())), TrapKind::HostCalls);
    let tick = "(call $f1 (call $f0) (i32.const 0) (i32.const 4097) (i32.const 600))";
    let mut strategy = run_wasi(&wasi_guest(&STDOUT, tick));
    assert_eq!(kind(call(&mut strategy, &mut services())), TrapKind::HostCalls);
    // Handles that are never given back.
    let waits = [("clocks/monotonic-clock", "subscribe-duration", "(param i64) (result i32)")];
    let mut strategy = run_wasi(&wasi_guest(&waits, "(loop $l (drop (call $f0 (i64.const 1))) (br $l))"));
    let Err(CallError::Trap { kind: TrapKind::HostCalls, detail }) = call(&mut strategy, &mut services())
    else {
        panic!("expected a trap")
    };
    assert!(!detail.contains("host_calls_per_call_max"), "the handles end first: {detail}");
}

#[test]
fn leaving_is_a_trap_that_says_so() {
    let exit = [("cli/exit", "exit", "(param i32)")];
    let error = call(&mut run_wasi(&wasi_guest(&exit, "(call $f0 (i32.const 1))")), &mut services());
    let Err(CallError::Trap { kind: TrapKind::Unreachable, detail }) = error else { panic!("{error:?}") };
    assert!(detail.contains("ended itself with exit code 1"), "{detail}");
}

#[test]
fn a_component_with_wasi_spends_the_same_fuel_in_every_run() {
    let tick = format!(
        "(call $f1 (call $f0) (i32.const 1024) (i32.const 7) (i32.const 600)) {}",
        answer("(i64.const 1)", "(i64.const 1)")
    );
    let guest = wasi_guest(&STDOUT, &tick);
    let fuel = || {
        let mut strategy = run_wasi(&guest);
        let spent = (0..3).map(|_| {
            call(&mut strategy, &mut services()).unwrap();
            strategy.fuel_used().unwrap()
        });
        spent.collect::<Vec<_>>()
    };
    assert_eq!(fuel(), fuel());
}
