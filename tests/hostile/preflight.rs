//! Components that no host should take, and what is told of them.

use crate::attack::{SANDBOX, Strike, at_load, attacks, bytes_at_load, limits, loading};
use crate::guest::{FREE, Guest, NAME, WIT};
use crate::values::describing;
use ringfence::orders::Digest;
use std::collections::BTreeSet;

/// A guest that imports something more, as this WIT and this text have it.
fn importing(declared: &str, imported: &str, import: &str) -> Guest {
    let wit = WIT.replace(
        "  import kv;\n  export strategy;",
        &format!("  import kv;\n  import {imported};\n  export strategy;"),
    );
    Guest { wit: wit + declared, imports: import.into(), ..Guest::default() }
}

fn wasi(package: &str, interface: &str, function: &str) -> Strike {
    let declared =
        format!("package wasi:{package}@0.2.0 {{ interface {interface} {{ {function}: func() -> u32; }} }}");
    let imported = format!("wasi:{package}/{interface}@0.2.0");
    let import = format!("(import \"{imported}\" \"{function}\" (func (result i32)))");
    refused_with(&importing(&declared, &imported, &import), &format!("the import {imported} is not granted"))
}

/// An attack at load whose refusal says this.
fn refused_with(guest: &Guest, words: &str) -> Strike {
    let (bytes, words) = (guest.build(), words.to_owned());
    Box::new(move || {
        let result = SANDBOX.load(&bytes, "hostile", None, &limits());
        let error = result.as_ref().unwrap_err().to_string();
        assert!(error.contains(&words), "{error}");
        loading(result)
    })
}

/// Every prefix of the bytes that ends where a part of the component begins or ends, at any depth, up to the last
/// part that has a meaning.
fn boundaries(bytes: &[u8]) -> BTreeSet<usize> {
    let mut places = BTreeSet::from([0, 1, 4, 7, 8]);
    let mut end = 0;
    for payload in wasmparser::Parser::new(0).parse_all(bytes) {
        let payload = payload.unwrap();
        if let Some((_, range)) = payload.as_section() {
            places.extend([range.start, range.start + 1, range.end - 1, range.end]);
            if !matches!(payload, wasmparser::Payload::CustomSection(_)) {
                end = end.max(range.end);
            }
        }
    }
    places.retain(|place| *place < end);
    places
}

attacks! {
    another_major_version: "plugin_contract", Nothing, || {
        let wit = WIT.replace("strategy@1.0.0", "strategy@2.0.0");
        refused_with(&Guest { wit, version: "2.0.0", ..Guest::default() }, "this host takes ringfence:strategy@1")
    };
    a_missing_function: "plugin_contract", Nothing, || {
        let wit = WIT.replace("  stop: func() -> list<order-intent>;\n", "");
        let functions = vec!["describe", "init", "strategy-tick", "on-event"];
        refused_with(&Guest { wit, functions, ..Guest::default() }, "lacks the function stop")
    };
    a_function_of_another_type: "plugin_contract", Nothing, || {
        let wit = WIT.replace("volume: lots,\n    marks", "volume: u64,\n    marks");
        refused_with(&Guest { wit, ..Guest::default() }, "expected s64, found u64")
    };
    a_component_that_exports_nothing: "plugin_contract", Nothing, || {
        bytes_at_load(wat::parse_str("(component)").unwrap())
    };
    an_interface_that_this_host_does_not_have: "plugin_contract", Nothing, || {
        let import = "(import \"ringfence:strategy/oracle@1.0.0\" \"tomorrow\" (func (result i64)))";
        let guest = importing("interface oracle { tomorrow: func() -> s64; }", "oracle", import);
        refused_with(&guest, "the import ringfence:strategy/oracle@1.0.0 is not offered by this host")
    };
    a_function_that_this_host_does_not_have: "plugin_contract", Nothing, || {
        let wit = WIT.replace("interface random {\n", "interface random {\n  reseed: func();\n");
        let imports = "(import \"ringfence:strategy/random@1.0.0\" \"reseed\" (func))".into();
        refused_with(&Guest { wit, imports, ..Guest::default() }, "asks for the function reseed")
    };
    an_import_of_somebody_else: "plugin_contract", Nothing, || {
        let declared = "package evil:corp@1.0.0 { interface wallet { drain: func() -> u32; } }";
        let import = "(import \"evil:corp/wallet@1.0.0\" \"drain\" (func (result i32)))";
        refused_with(&importing(declared, "evil:corp/wallet@1.0.0", import), "a strategy imports ringfence:strategy only")
    };
    files: "plugin_contract", Nothing, || wasi("filesystem", "preopens", "get-directories");
    sockets: "plugin_contract", Nothing, || wasi("sockets", "tcp-create-socket", "create-tcp-socket");
    outgoing_requests: "plugin_contract", Nothing, || wasi("http", "outgoing-handler", "handle");
    the_real_clock: "plugin_contract", Nothing, || wasi("clocks", "wall-clock", "now");
    real_random_numbers: "plugin_contract", Nothing, || wasi("random", "random", "get-random-u64");
    the_hosts_environment: "plugin_contract", Nothing, || wasi("cli", "environment", "get-environment");
    a_core_module: "plugin_malformed", Nothing, || bytes_at_load(wat::parse_str("(module)").unwrap());
    no_bytes_at_all: "plugin_malformed", Nothing, || bytes_at_load(Vec::new());
    webassembly_as_text: "plugin_malformed", Nothing, || bytes_at_load(b"(component)".to_vec());
    an_unknown_version_of_the_format: "plugin_malformed", Nothing, || {
        bytes_at_load(b"\0asm\x0e\0\x01\0".to_vec())
    };
    a_file_cut_off_at_every_boundary: "plugin_contract, plugin_malformed", Nothing, || {
        let bytes = Guest::default().build();
        let places = boundaries(&bytes);
        assert!(places.len() > 60, "{places:?}");
        Box::new(move || {
            let verdicts: BTreeSet<String> = (places.iter())
                .map(|place| loading(SANDBOX.load(&bytes[..*place], "hostile", None, &limits())))
                .collect();
            Vec::from_iter(verdicts).join(", ")
        })
    };
    machine_code_instead_of_a_component: "plugin_precompiled", Nothing, || {
        let engine = wasmtime::Engine::default();
        bytes_at_load(engine.precompile_component(&Guest::default().build()).unwrap())
    };
    another_component_than_the_pinned_one: "plugin_pin", Nothing, || {
        let (bytes, pin) = (Guest::default().build(), Digest::of(b"another"));
        Box::new(move || loading(SANDBOX.load(&bytes, "hostile", Some(pin), &limits())))
    };
    five_megabytes_of_nothing: "plugin_too_large", Nothing, || bytes_at_load(vec![0; 5 << 20]);
    four_megabytes_of_custom_sections: "harmless", Setup, || {
        let mut bytes = Guest::default().build();
        let section = wasm_encoder::CustomSection { name: "padding".into(), data: vec![0; 3 << 20].into() };
        wasm_encoder::Encode::encode(&wasm_encoder::ComponentSectionId::CoreCustom, &mut bytes);
        wasm_encoder::Encode::encode(&section, &mut bytes);
        bytes_at_load(bytes)
    };
    threads: "plugin_malformed", Nothing, || {
        refused_with(&Guest { more: "(memory $m 1 1 shared)".into(), ..Guest::default() }, "threads")
    };
    memories_of_64_bits: "plugin_malformed", Nothing, || {
        refused_with(&Guest { more: "(memory $m i64 1)".into(), ..Guest::default() }, "memory64")
    };
    exceptions: "plugin_malformed", Nothing, || {
        refused_with(&Guest { more: "(tag (param i32))".into(), ..Guest::default() }, "exceptions")
    };
    garbage_collection: "plugin_malformed", Nothing, || {
        refused_with(&Guest { more: "(type (struct (field i32)))".into(), ..Guest::default() }, "gc")
    };
    vectors_whose_results_depend_on_the_machine: "plugin_compile", Nothing, || {
        let zero = "(v128.const i64x2 0 0)";
        let more = format!("(func (drop (i8x16.relaxed_swizzle {zero} {zero})))");
        refused_with(&Guest { more, ..Guest::default() }, "relaxed SIMD")
    };
    atomic_instructions: "plugin_compile", Nothing, || {
        refused_with(&Guest { more: "(func (atomic.fence))".into(), ..Guest::default() }, "threads")
    };
    tail_calls: "plugin_compile", Nothing, || {
        refused_with(&Guest { more: "(func $f (return_call $f))".into(), ..Guest::default() }, "tail calls")
    };
    code_that_is_not_valid: "plugin_compile", Nothing, || {
        // The text is valid and the bytes are not: an i32 is returned where an i64 was promised.
        let mut bytes = Guest { more: "(func (result i64) (i64.const 71))".into(), ..Guest::default() }.build();
        let code = [0x42, 0xc7, 0x00, 0x0b];
        let at = bytes.windows(4).position(|window| window == code).unwrap();
        bytes[at] = 0x41;
        bytes_at_load(bytes)
    };
    a_name_that_drives_the_terminal: "harmless", Setup, || {
        // It names itself with an escape and a bell in it.
        let describe = format!(
            "(i32.store8 (i32.const {NAME}) (i32.const 27)) (i32.store8 (i32.const {}) (i32.const 7)) (i32.const 64)",
            NAME + 1
        );
        let bytes = Guest { describe, ..Guest::default() }.build();
        Box::new(move || {
            let result = SANDBOX.load(&bytes, "hostile", None, &limits());
            assert_eq!(result.as_ref().unwrap().metadata().name, "\\u{1b}\\u{7}althy");
            loading(result)
        })
    };
    an_import_whose_name_drives_the_terminal: "plugin_malformed", Nothing, || {
        bytes_at_load(wat::parse_str("(component (import \"a\\1b[2J\" (func)))").unwrap())
    };
    a_settings_schema_of_seventy_kilobytes: "plugin_metadata", Returned, || {
        at_load(&describing(3, &[(24, FREE), (28, 70 << 10)]))
    };
}
