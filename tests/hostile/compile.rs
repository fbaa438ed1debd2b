//! Small files that are much work for the compiler. What is refused is refused before it sees them; what is not
//! is within its limits.

use crate::attack::{at_load, attacks, bytes_at_load, tick_of};
use crate::guest::Guest;
use wasm_encoder::ValType;

fn more(text: String) -> Guest {
    Guest { more: text, ..Guest::default() }
}

attacks! {
    twenty_thousand_functions_and_more: "plugin_malformed, functions_max", Nothing, || {
        at_load(&more("(func)".repeat(20_001)))
    };
    a_function_of_three_hundred_kilobytes: "plugin_malformed, function_bytes_max", Nothing, || {
        at_load(&more(format!("(func {})", "nop ".repeat(300 << 10))))
    };
    a_branch_table_of_three_hundred_thousand_targets: "plugin_malformed, function_bytes_max", Nothing, || {
        at_load(&more(format!("(func (br_table {} (i32.const 0)))", "0 ".repeat(300_000))))
    };
    a_branch_table_as_large_as_a_function_may_be: "plugin_compile", Nothing, || {
        at_load(&more(format!("(func (param i32) (block (br_table {} (local.get 0))))", "0 ".repeat(250_000))))
    };
    a_branch_table_as_large_as_the_compiler_takes: "harmless", Call, || {
        tick_of(
            &format!("(func $f (param i32) (block (br_table {} (local.get 0))))", "0 ".repeat(65_000)),
            "(call $f (i32.const 9)) (i32.const 512)",
        )
    };
    blocks_nested_sixty_thousand_deep: "harmless", Call, || {
        let (open, close) = ("block ".repeat(60_000), "end ".repeat(60_000));
        tick_of(&format!("(func $f {open} {close})"), "(call $f) (i32.const 512)")
    };
    loops_nested_sixty_thousand_deep: "plugin_malformed, loops_nested_max", Nothing, || {
        // Two hundred kilobytes that would take the compiler a minute and gigabytes.
        at_load(&more(format!("(func {} {})", "loop ".repeat(60_000), "end ".repeat(60_000))))
    };
    loops_nested_as_deep_as_allowed_in_many_functions: "harmless", Setup, || {
        let nested = format!("(func {} {})", "loop ".repeat(200), "end ".repeat(200));
        at_load(&more(nested.repeat(200)))
    };
    as_many_locals_as_allowed: "harmless", Call, || {
        tick_of(&format!("(func $f (local {}))", "i64 ".repeat(2_000)), "(call $f) (i32.const 512)")
    };
    fifty_thousand_locals_in_each_of_thirty_functions: "plugin_malformed, function_locals_max", Nothing, || {
        at_load(&more(format!("(func (local {}))", "i64 ".repeat(50_000)).repeat(30)))
    };
    a_function_of_a_thousand_parameters_and_one: "plugin_malformed", Nothing, || {
        let module = format!("(core module (func (param {})))", "i64 ".repeat(1_001));
        bytes_at_load(wat::parse_str(format!("(component {module})")).unwrap())
    };
    a_hundred_functions_of_a_thousand_parameters: "plugin_malformed, function_params_max", Nothing, || {
        at_load(&more(format!("(func (param {}))", "i64 ".repeat(1_000)).repeat(100)))
    };
    a_hundred_thousand_types: "plugin_malformed, types_max", Nothing, || {
        let mut types = wasm_encoder::TypeSection::new();
        for number in 0..100_000 {
            let bit = |bit: u32| if number >> bit & 1 == 1 { ValType::I64 } else { ValType::I32 };
            types.ty().function((0..17).map(bit), []);
        }
        let mut module = wasm_encoder::Module::new();
        module.section(&types);
        let mut component = wasm_encoder::Component::new();
        component.section(&wasm_encoder::ModuleSection(&module));
        bytes_at_load(component.finish())
    };
    ten_thousand_exports_and_more: "plugin_malformed, declarations_max", Nothing, || {
        let exports: String = (0..10_001).map(|i| format!("(export \"e{i}\" (func $f))")).collect();
        let text = format!(
            "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m))
                (func $f (canon lift (core func $i \"f\"))) {exports})"
        );
        bytes_at_load(wat::parse_str(text).unwrap())
    };
    components_nested_nine_deep: "plugin_malformed, fixed", Nothing, || {
        let text = (0..9).fold(String::new(), |inner, _| format!("(component {inner})"));
        bytes_at_load(wat::parse_str(text).unwrap())
    };
    a_type_that_doubles_at_each_step: "plugin_malformed", Nothing, || {
        // Each record holds the one before it twice: a billion fields in a few hundred bytes.
        let records: String = (1..=30)
            .map(|i| format!("(type $t{i} (tuple $t{} $t{}))", i - 1, i - 1))
            .collect();
        let text = format!("(component (type $t0 (tuple u8 u8)) {records} (import \"f\" (func (param \"x\" $t30))))");
        bytes_at_load(wat::parse_str(text).unwrap())
    };
}
