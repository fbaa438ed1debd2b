//! What is refused before it runs, and in which words.

use super::guest::{Guest, WIT};
use super::*;
use crate::orders::Digest;
use crate::resilience::Classified;
use proptest::prelude::*;
use wasmtime::component::Component;

fn refused(bytes: &[u8]) -> PluginError {
    beside_a_neighbour(|| SANDBOX.load(bytes, "test", None, &limits()).unwrap_err())
}

fn mismatches(guest: &Guest) -> Vec<Mismatch> {
    match refused(&guest.build()) {
        PluginError::Contract { mismatches, .. } => mismatches,
        other => panic!("expected mismatches, found {other}"),
    }
}

#[test]
fn a_component_that_fits_says_what_it_is() {
    let bytes = Guest::default().build();
    let plugin = SANDBOX.load(&bytes, "test", Some(Digest::of(&bytes)), &limits()).unwrap();
    assert_eq!(plugin.digest(), Digest::of(&bytes));
    assert_eq!((plugin.metadata().name.as_str(), plugin.metadata().version.as_str()), ("healthy", "1.0.0"));
    assert_eq!(plugin.metadata().settings_schema, "{}");
    assert_eq!(plugin.wit_version(), "1.0.0");
    assert_eq!(plugin.size_bytes(), bytes.len() as u64);
    assert!(plugin.exports().contains(&"ringfence:strategy/strategy@1.0.0".to_owned()));
    assert!(!(plugin.has_state() || plugin.has_bars() || plugin.has_batch()));
}

#[test]
fn everything_that_does_not_fit_is_said_at_once() {
    let wit = WIT
        .replace("  stop: func() -> list<order-intent>;\n", "")
        .replace("volume: lots,\n    marks", "volume: u64,\n    marks")
        .replace("interface random {\n", "interface random {\n  reseed: func();\n")
        .replace(
            "  import kv;\n  export strategy;",
            "  import kv;\n  import oracle;\n  import wasi:cli/environment@0.2.0;\n  export strategy;",
        )
        + "interface oracle { tomorrow: func() -> s64; }
           package wasi:cli@0.2.0 { interface environment { current: func() -> u32; } }";
    let imports = "(import \"ringfence:strategy/random@1.0.0\" \"reseed\" (func))
        (import \"ringfence:strategy/oracle@1.0.0\" \"tomorrow\" (func (result i64)))
        (import \"wasi:cli/environment@0.2.0\" \"current\" (func (result i32)))"
        .into();
    let functions = vec!["describe", "init", "strategy-tick", "on-event"];
    let error = refused(&Guest { wit, imports, functions, ..Guest::default() }.build());
    assert_eq!(error.code(), "plugin_contract");
    assert_eq!(
        error.to_string(),
        "test: the component does not fit this host
  - the import ringfence:strategy/random@1.0.0 asks for the function reseed, which this host does not offer: it knows ringfence:strategy up to 1.0.0; a newer host may
  - the import ringfence:strategy/oracle@1.0.0 is not offered by this host, which knows ringfence:strategy up to 1.0.0; a newer host may
  - the import wasi:cli/environment@0.2.0 is not granted: a strategy has no files, sockets, clocks or arguments; build for wasm32-unknown-unknown, or stub WASI out
  - the export ringfence:strategy/strategy@1.0.0 lacks the function stop
  - ringfence:strategy/strategy@1.0.0, strategy-tick(tick).volume: expected s64, found u64"
    );
}

#[test]
fn another_major_version_is_refused_with_the_one_this_host_takes() {
    let wit = WIT.replace("strategy@1.0.0", "strategy@2.0.0");
    let found = mismatches(&Guest { wit, version: "2.0.0", ..Guest::default() });
    assert!(found.iter().all(|it| matches!(it, Mismatch::Major { takes: 1, .. })), "{found:?}");
    let strategy = "ringfence:strategy/strategy@2.0.0".to_owned();
    assert!(found.iter().any(|it| matches!(it, Mismatch::Major { interface, .. } if *interface == strategy)));
}

#[test]
fn a_later_minor_version_with_the_same_functions_is_taken() {
    let wit = WIT.replace("strategy@1.0.0", "strategy@1.4.0");
    let mut strategy = run(&Guest { wit, version: "1.4.0", ..Guest::default() });
    assert_eq!(tick(&mut strategy), Ok(vec![]));
}

#[test]
fn a_component_without_the_interface_is_no_strategy() {
    let bytes = wat::parse_str("(component)").unwrap();
    let PluginError::Contract { mismatches, .. } = refused(&bytes) else { panic!("expected mismatches") };
    let interface = "ringfence:strategy/strategy@1.0.0".into();
    assert_eq!(mismatches, [Mismatch::MissingInterface { interface }]);
}

#[test]
fn an_unknown_import_is_named_in_printable_form() {
    let bytes = wat::parse_str("(component (import \"evil:corp/wallet\" (instance)))").unwrap();
    let PluginError::Contract { mismatches, .. } = refused(&bytes) else { panic!("expected mismatches") };
    assert!(mismatches.contains(&Mismatch::ForeignImport { name: "evil:corp/wallet".into() }));
}

#[test]
fn a_core_module_is_refused_with_the_way_out() {
    let error = refused(&wat::parse_str("(module)").unwrap());
    assert!(matches!(error, PluginError::Scan { source: ScanError::CoreModule, .. }), "{error}");
    assert!(error.to_string().contains("wasm-tools component new"), "{error}");
}

#[test]
fn a_truncated_file_is_refused_wherever_it_breaks_off() {
    let bytes = Guest::default().build();
    for length in [0, 3, 6, 8, 9, bytes.len() / 2, bytes.len() - 1] {
        let error = refused(&bytes[..length]);
        let broken = matches!(error, PluginError::Scan { .. } | PluginError::Contract { .. });
        assert!(broken, "{length} bytes: {error}");
    }
}

#[test]
fn bytes_that_are_no_webassembly_are_refused() {
    let error = refused(b"(component)");
    assert!(matches!(error, PluginError::Scan { source: ScanError::NotWasm, .. }), "{error}");
}

#[test]
fn precompiled_code_is_refused() {
    let machine_code = SANDBOX.engine().precompile_component(&Guest::default().build()).unwrap();
    let error = refused(&machine_code);
    assert!(matches!(error, PluginError::Precompiled { .. }), "{error}");
}

#[test]
fn a_component_beyond_the_size_limit_is_refused_before_it_is_looked_at() {
    let limits = SandboxLimits { component_bytes_max: 100, ..limits() };
    let error = SANDBOX.load(&[0; 101], "test", None, &limits).unwrap_err();
    assert!(matches!(error, PluginError::TooLarge { max: 100, .. }), "{error}");
    assert!(!matches!(SANDBOX.load(&[0; 100], "test", None, &limits), Err(PluginError::TooLarge { .. })));
}

#[test]
fn a_file_is_read_no_further_than_the_size_limit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("strategy.wasm");
    std::fs::write(&path, Guest::default().build()).unwrap();
    assert!(SANDBOX.load_file(&path, None, &limits()).is_ok());
    let small = SandboxLimits { component_bytes_max: 16, ..limits() };
    let error = SANDBOX.load_file(&path, None, &small).unwrap_err();
    assert!(matches!(error, PluginError::TooLarge { max: 16, .. }), "{error}");
    let error = SANDBOX.load_file(&directory.path().join("none.wasm"), None, &limits()).unwrap_err();
    assert!(matches!(error, PluginError::Read { .. }), "{error}");
    assert!(error.to_string().contains("none.wasm"), "{error}");
}

#[test]
fn another_digest_than_the_pinned_one_is_refused() {
    let pin = Digest::of(b"another");
    let error = SANDBOX.load(&Guest::default().build(), "test", Some(pin), &limits()).unwrap_err();
    assert!(matches!(error, PluginError::Pin { expected, .. } if expected == pin), "{error}");
}

#[test]
fn a_component_with_too_many_parts_is_refused_before_it_is_compiled() {
    let too_large = |limits: SandboxLimits, text: &str| {
        let bytes = wat::parse_str(text).unwrap();
        match SANDBOX.load(&bytes, "test", None, &limits) {
            Err(PluginError::Scan { source: ScanError::TooLarge { what, limit, .. }, .. }) => (what, limit),
            other => panic!("expected a part to be too large, found {other:?}"),
        }
    };
    let functions = "(component (core module (func) (func) (func)))";
    let few = SandboxLimits { functions_max: 2, ..limits() };
    assert_eq!(too_large(few, functions), ("functions", "functions_max"));
    let long = "(component (core module (func (drop (i32.const 1)) (drop (i32.const 1)))))";
    let short = SandboxLimits { function_bytes_max: 5, ..limits() };
    assert_eq!(too_large(short, long), ("bytes in one function", "function_bytes_max"));
    let twice = "(component (core module $m)
        (core instance (instantiate $m)) (core instance (instantiate $m)))";
    let one = SandboxLimits { core_instances_max: 1, ..limits() };
    assert_eq!(too_large(one, twice), ("core instances", "core_instances_max"));
}

#[test]
fn a_component_with_too_many_tables_is_refused() {
    let error = refused(&Guest { more: "(table 1 funcref)".repeat(9), ..Guest::default() }.build());
    let expected = "test: the component has 9 tables, 8 allowed (limit tables_max)";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn components_that_double_at_each_level_are_refused() {
    // Six levels of eight instances each are a quarter of a million; the text is a few hundred bytes.
    let mut text = String::from("(core module $m) (core instance (instantiate $m))");
    for _ in 0..6 {
        text = format!("(component $c {text}) {}", "(instance (instantiate $c))".repeat(8));
    }
    let error = refused(&wat::parse_str(format!("(component {text})")).unwrap());
    assert!(matches!(error, PluginError::Scan { source: ScanError::TooLarge { .. }, .. }), "{error}");
}

#[test]
fn features_that_strategies_are_not_given_do_not_compile() {
    let compile = |module: &str| {
        let bytes = wat::parse_str(format!("(component (core module {module}))")).unwrap();
        Component::from_binary(SANDBOX.engine(), &bytes)
    };
    assert!(compile("(memory 1) (func (result i32) (i32.const 1))").is_ok());
    let zero = "(v128.const i64x2 0 0)";
    for (feature, module) in [
        ("threads", "(memory 1 1 shared)".to_owned()),
        ("64-bit memories", "(memory i64 1)".to_owned()),
        ("tail calls", "(func $f (return_call $f))".to_owned()),
        ("relaxed SIMD", format!("(func (drop (i8x16.relaxed_swizzle {zero} {zero})))")),
        ("garbage collection", "(type (struct (field i32)))".to_owned()),
        ("exceptions", "(tag (param i32))".to_owned()),
    ] {
        assert!(compile(&module).is_err(), "{feature}");
    }
}

#[test]
fn metadata_that_cannot_be_is_refused() {
    let describe = "(i32.store (i32.const 68) (i32.const 0)) (i32.const 64)".into();
    let error = refused(&Guest { describe, ..Guest::default() }.build());
    assert!(matches!(error, PluginError::Metadata { source: MetadataError::NoName, .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_loading_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..512), header in any::<bool>()) {
        if header {
            bytes.splice(0..0, *b"\0asm\x0d\0\x01\0");
        }
        let _ = SANDBOX.load(&bytes, "test", None, &limits());
    }

    #[test]
    fn no_damage_to_a_good_component_makes_loading_panic(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| Guest::default().build());
        let mut bytes = GOOD.clone();
        *at.get_mut(&mut bytes) = value;
        let small = SandboxLimits { fuel_per_setup_call: 1_000_000, ..limits() };
        if let Ok(plugin) = SANDBOX.load(&bytes, "test", None, &small) {
            let _ = plugin.instantiate().map(|mut strategy| tick(&mut strategy));
        }
    }
}
