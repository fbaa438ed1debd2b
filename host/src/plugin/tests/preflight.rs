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
  - the import ringfence:strategy/random@1.0.0 asks for the function reseed, which this host does not offer: it knows ringfence:strategy up to 1.0.0; no host has it in that version: build it against the published text, or with the SDK
  - the import ringfence:strategy/oracle@1.0.0 is not offered by this host, which knows ringfence:strategy up to 1.0.0; no host has it in that version: build it against the published text, or with the SDK
  - the import wasi:cli/environment@0.2.0 is not granted: a strategy has no files, sockets, clocks or arguments; build for wasm32-unknown-unknown, stub WASI out, or grant the virtual one (wasi = \"virtual\")
  - the export ringfence:strategy/strategy@1.0.0 lacks the function stop
  - ringfence:strategy/strategy@1.0.0, strategy-tick(tick).volume: expected s64, found u64"
    );
}

#[test]
fn what_only_a_later_version_has_is_refused_with_the_hosts_that_take_it() {
    let wit = WIT
        .replace("strategy@1.0.0", "strategy@1.4.0")
        .replace("interface random {\n", "interface random {\n  reseed: func();\n");
    let imports = "(import \"ringfence:strategy/random@1.4.0\" \"reseed\" (func))".into();
    let found = mismatches(&Guest { wit, imports, version: "1.4.0", ..Guest::default() });
    let words = found[0].to_string();
    assert!(
        words.ends_with(
            "a host that knows ringfence:strategy 1.4.0 takes it, or build it with an SDK of 1.0.0 or earlier"
        ),
        "{words}"
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
fn what_a_component_said_before_it_failed_to_load_is_part_of_the_refusal() {
    let imports =
        "(import \"ringfence:strategy/log@1.0.0\" \"write\" (func $log (param i32 i32 i32)))".into();
    let describe = "(call $log (i32.const 4) (i32.const 1024) (i32.const 7)) unreachable".into();
    let error = refused(&Guest { imports, describe, ..Guest::default() }.build()).to_string();
    assert!(error.ends_with("; its last words: healthy"), "{error}");
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
        let bytes = wat::parse_str(format!("(component {text})")).unwrap();
        let seen = SANDBOX.preflight(&bytes, &Terms { limits, ..Terms::default() });
        let parts = seen.findings.iter().find_map(|finding| match finding {
            Finding::Scan(ScanError::TooLarge { what, limit, .. }) => Some((*what, *limit)),
            _ => None,
        });
        parts.unwrap_or_else(|| panic!("expected a part to be too large, found {:?}", seen.findings))
    };
    let functions = "(core module (func) (func) (func))";
    let few = SandboxLimits { functions_max: 2, ..limits() };
    assert_eq!(too_large(few, functions), ("functions", "functions_max"));
    let long = "(core module (func (drop (i32.const 1)) (drop (i32.const 1))))";
    let short = SandboxLimits { function_bytes_max: 5, ..limits() };
    assert_eq!(too_large(short, long), ("bytes in one function", "function_bytes_max"));
    let twice = "(core module $m) (core instance (instantiate $m)) (core instance (instantiate $m))";
    let one = SandboxLimits { core_instances_max: 1, ..limits() };
    assert_eq!(too_large(one, twice), ("core instances", "core_instances_max"));
    // The defaults, each with something small that is large once it is compiled.
    let locals = format!("(core module (func (local {})))", "i32 ".repeat(2_001));
    assert_eq!(too_large(limits(), &locals), ("locals in one function", "function_locals_max"));
    let params = format!("(core module (func (param {})))", "i32 ".repeat(101));
    assert_eq!(too_large(limits(), &params), ("parameters of one function", "function_params_max"));
    let many = format!(
        "(core module (type $t (func (param {}))) {})",
        "i32 ".repeat(100),
        "(func (type $t))".repeat(601)
    );
    assert_eq!(too_large(limits(), &many), ("parameters of all functions", "params_max"));
    let imports: String = (0..601).map(|it| format!("(import \"\" \"{it}\" (func (type $t)))")).collect();
    let imported = format!("(core module (type $t (func (param {}))) {imports})", "i32 ".repeat(100));
    assert_eq!(too_large(limits(), &imported), ("parameters of all functions", "params_max"));
    let types: String = (0..5_001).map(|_| "(type (func))").collect();
    assert_eq!(too_large(limits(), &format!("(core module {types})")), ("core types", "types_max"));
    let memories = format!("(core module {})", "(memory 1)".repeat(5));
    assert_eq!(too_large(limits(), &memories), ("memories", "memories_max"));
    let elements = format!("(core module (func $f) (elem func {}))", "$f ".repeat(20_001));
    assert_eq!(too_large(limits(), &elements), ("elements for its tables", "table_elements_max"));
    let segments = format!("(core module (memory 1) {})", "(data \"\")".repeat(10_001));
    assert_eq!(too_large(limits(), &segments), ("data segments", "data_segments_max"));
    let data = format!("(core module (memory 1) (data \"{}\"))", "x".repeat(101));
    let little = SandboxLimits { memory_bytes_max: 100, ..limits() };
    assert_eq!(too_large(little, &data), ("bytes of data", "memory_bytes_max"));
    let declared = SandboxLimits { declarations_max: 3, ..limits() };
    let types = "(type (instance (type u8) (type u8) (type u8)))";
    assert_eq!(too_large(declared, types), ("declarations", "declarations_max"));
}

#[test]
fn every_part_that_is_too_large_is_said_together_with_every_other_mistake() {
    let bytes = wat::parse_str(format!(
        "(component (import \"evil:corp/wallet\" (instance))
            (core module (func (param {}) (local {}))))",
        "i32 ".repeat(101),
        "i32 ".repeat(2_001)
    ))
    .unwrap();
    let pin = Digest::of(b"another");
    let error = SANDBOX.load(&bytes, "test", Some(pin), &limits()).unwrap_err();
    assert_eq!((error.code(), error.class()), ("plugin_pin", crate::resilience::Class::State));
    let expected = format!(
        "test: the component is refused for 5 reasons
  - the component's digest is {}, {pin} is pinned: get the pinned component, or pin this one after looking at it
  - the component has 2001 locals in one function, 2000 allowed (limit function_locals_max)
  - the component has 101 parameters of one function, 100 allowed (limit function_params_max)
  - the import evil:corp/wallet is not offered: a strategy imports ringfence:strategy only
  - the export ringfence:strategy/strategy@1.0.0 is missing: every strategy has it, the SDK writes it",
        Digest::of(&bytes)
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn types_nested_as_deep_as_the_file_is_long_do_not_overflow_the_stack() {
    // An instance type that declares an instance type that …: three bytes a level, and the parser descends.
    let levels = 1_000_000_u32;
    let mut types = vec![0x01];
    (0..levels).for_each(|_| types.extend([0x42, 0x01, 0x01]));
    types.extend([0x42, 0x00]);
    let mut bytes = b"\0asm\x0d\0\x01\0\x07".to_vec();
    let mut length = types.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(types);
    let error = refused(&bytes);
    let PluginError::Scan { source: ScanError::TooLarge { what, found, .. }, .. } = error else {
        panic!("expected the nesting to be refused, found {error}")
    };
    assert!(what == "types inside of types" && found >= u64::from(levels), "{found} {what}");
}

#[test]
fn the_asynchronous_abi_is_refused_in_words() {
    let function = "(component
        (core module $m (func (export \"f\") (result i32) (i32.const 0)) (func (export \"c\") (param i32 i32 i32) (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (func (export \"nop\") (canon lift (core func $i \"f\") async (callback (core func $i \"c\")))))";
    let ty = "(component (type (instance (type (func async)))))";
    let stream = "(component (core func (canon waitable-set.new)))";
    for text in [function, ty, stream] {
        let error = refused(&wat::parse_str(text).unwrap());
        assert!(
            matches!(error, PluginError::Scan { source: ScanError::Asynchronous { .. }, .. }),
            "{text}: {error}"
        );
        assert!(error.to_string().contains("one synchronous step"), "{error}");
    }
}

#[test]
fn an_import_that_is_not_granted_is_named_with_the_grant() {
    let imports = "(import \"ringfence:strategy/kv@1.0.0\" \"delete\" (func (param i32 i32 i32)))
        (import \"ringfence:strategy/random@1.0.0\" \"next\" (func (result i64)))"
        .to_owned();
    let bytes = Guest { imports, ..Guest::default() }.build();
    let terms =
        |grants: &[Grant]| Terms { grants: grants.iter().copied().collect(), limits: limits(), pin: None };
    let error = SANDBOX.admit(&bytes, "test", &terms(&[Grant::Log, Grant::Random])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "test: the component does not fit this host
  - the import ringfence:strategy/kv@1.0.0 is not granted, only log, random: add \"kv\" to the agent's grants, or build the strategy without it"
    );
    assert_eq!(error.code(), "plugin_contract");
    let plugin = SANDBOX.admit(&bytes, "test", &terms(&[Grant::Kv, Grant::Random])).unwrap();
    assert_eq!(tick(&mut plugin.instantiate().unwrap()), Ok(vec![]));
    let seen = SANDBOX.preflight(&bytes, &terms(&[Grant::Random]));
    let verdicts: Vec<_> = seen.imports.iter().map(|import| (import.grant, import.granted)).collect();
    assert!(verdicts.contains(&(Some(Grant::Kv), false)) && verdicts.contains(&(Some(Grant::Random), true)));
}

#[test]
fn what_is_not_granted_is_not_linked_either() {
    let imports = "(import \"ringfence:strategy/random@1.0.0\" \"next\" (func (result i64)))".into();
    let component =
        Component::from_binary(SANDBOX.engine(), &Guest { imports, ..Guest::default() }.build()).unwrap();
    let links = |grants: &[Grant]| {
        let grants: Grants = grants.iter().copied().collect();
        let adapter = SANDBOX.adapters().iter().next().unwrap();
        SANDBOX.linker(adapter, &grants, WasiGrant::None).unwrap().instantiate_pre(&component).is_ok()
    };
    assert!(links(&[Grant::Random]));
    assert!(!links(&[Grant::Kv]));
}

#[test]
fn a_schema_that_is_not_taken_refuses_the_component() {
    // The schema is the two bytes at 1056.
    for (schema, words) in
        [("{]", "it is no JSON"), ("[]", "not a valid JSON Schema"), ("\\22\\22", "not a valid JSON Schema")]
    {
        let more = format!("(data (i32.const {}) \"{schema}\")", guest::FREE);
        let describe = format!(
            "(memory.copy (i32.const 1056) (i32.const {}) (i32.const 2)) (i32.const 64)",
            guest::FREE
        );
        let error = refused(&Guest { more, describe, ..Guest::default() }.build());
        assert_eq!(error.code(), "plugin_schema", "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn settings_are_held_against_the_components_own_schema() {
    let schema = r#"{"properties":{"a":{"type":"integer","maximum":3}},"additionalProperties":false}"#;
    let escaped = schema.replace('"', "\\22");
    let more = format!("(data (i32.const {}) \"{escaped}\")", guest::FREE);
    let describe = format!(
        "(i32.store (i32.const 88) (i32.const {})) (i32.store (i32.const 92) (i32.const {})) (i32.const 64)",
        guest::FREE,
        schema.len()
    );
    let plugin = load(&Guest { more, describe, ..Guest::default() }).unwrap();
    let setting = |value| [Setting { key: "a".into(), value: SettingValue::Integer(value) }];
    assert_eq!(plugin.check_settings(&setting(3)), Ok(()));
    let problems = plugin.check_settings(&setting(4)).unwrap_err().problems;
    assert_eq!(problems, ["setting \"a\" is 4: give a whole number of at most 3"]);
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
