//! More and more of something that the host has to hold.

use crate::attack::{at_load, attacks, bytes_at_load, in_call, in_tick, tick_of};
use crate::guest::{Guest, WIT};
use crate::loops::{Optional, save};

attacks! {
    a_memory_that_grows_for_ever: "trap_memory", Memory, || {
        tick_of("", "(loop $l (drop (memory.grow (i32.const 16))) (br $l)) unreachable")
    };
    a_memory_that_grows_to_four_gigabytes_at_once: "trap_memory", Memory, || {
        tick_of("", "(drop (memory.grow (i32.const 65533))) (i32.const 512)")
    };
    a_memory_that_grows_while_it_is_saved: "trap_memory", Memory, || {
        let save_body = "(loop $l (drop (memory.grow (i32.const 1))) (br $l)) unreachable";
        in_call(&Optional { save: save_body, ..Optional::default() }.guest(), save)
    };
    a_memory_that_grows_when_the_host_asks_for_room: "trap_memory", Memory, || {
        let realloc = "(loop $l (drop (memory.grow (i32.const 1))) (br $l)) unreachable".into();
        in_call(&Guest { realloc, ..Guest::default() }, crate::loops::event)
    };
    a_memory_that_is_too_large_from_the_start: "plugin_describe, trap_memory", Nothing, || {
        at_load(&Guest { pages: 1_000, ..Guest::default() })
    };
    four_memories_that_are_too_large_together: "plugin_describe, trap_memory", Nothing, || {
        at_load(&Guest { more: "(memory 90)".repeat(3), ..Guest::default() })
    };
    four_memories_that_grow_too_large_together: "trap_memory", Memory, || {
        let grow = |memory| format!("(drop (memory.grow {memory} (i32.const 90)))");
        tick_of("(memory $b 1) (memory $c 1) (memory $d 1)", &(grow("$b") + &grow("$c") + &grow("$d") + "(i32.const 512)"))
    };
    a_fifth_memory: "plugin_malformed, memories_max", Nothing, || {
        at_load(&Guest { more: "(memory 1)".repeat(4), ..Guest::default() })
    };
    a_table_that_grows_for_ever: "trap_memory", Table, || {
        tick_of(
            "(table $t 1 funcref)",
            "(loop $l (drop (table.grow $t (ref.null func) (i32.const 100))) (br $l)) unreachable",
        )
    };
    a_table_that_is_too_large_from_the_start: "plugin_describe, trap_memory", Nothing, || {
        at_load(&Guest { more: "(table 1000000 funcref)".into(), ..Guest::default() })
    };
    eight_tables_that_are_too_large_together: "plugin_describe, trap_memory", Nothing, || {
        at_load(&Guest { more: "(table 3000 funcref)".repeat(8), ..Guest::default() })
    };
    a_ninth_table: "plugin_malformed, tables_max", Nothing, || {
        at_load(&Guest { more: "(table 1 funcref)".repeat(9), ..Guest::default() })
    };
    too_many_instances_of_a_core_module: "plugin_malformed, core_instances_max", Nothing, || {
        let instances = "(core instance (instantiate $m))".repeat(33);
        bytes_at_load(wat::parse_str(format!("(component (core module $m) {instances})")).unwrap())
    };
    components_that_double_at_each_level: "plugin_malformed, declarations_max", Nothing, || {
        // Six levels of eight instances each are a quarter of a million; the text is a few hundred bytes.
        let mut text = String::from("(core module $m) (core instance (instantiate $m))");
        for _ in 0..6 {
            text = format!("(component $c {text}) {}", "(instance (instantiate $c))".repeat(8));
        }
        bytes_at_load(wat::parse_str(format!("(component {text})")).unwrap())
    };
    handles_that_are_never_given_back: "trap_host_calls", Handles, || {
        in_tick(&with_resource("(loop $l (drop (call $new (i32.const 1))) (br $l)) unreachable", ""))
    };
    a_handle_whose_destructor_never_ends: "trap_fuel", Call, || {
        in_tick(&with_resource("(call $drop (call $new (i32.const 1))) (i32.const 512)", "(loop $l (br $l))"))
    };
    a_handle_that_is_given_back_twice: "trap_host_calls", Call, || {
        in_tick(&with_resource(
            "(local $h i32) (local.set $h (call $new (i32.const 1)))
             (call $drop (local.get $h)) (call $drop (local.get $h)) (i32.const 512)",
            "",
        ))
    };
    recursion_without_an_end: "trap_stack", Stack, || {
        tick_of(
            "(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))",
            "(call $deep (i32.const 0))",
        )
    };
    recursion_through_a_table: "trap_stack", Stack, || {
        tick_of(
            "(type $f (func (param i32) (result i32))) (table 1 1 funcref) (elem (i32.const 0) $deep)
             (func $deep (type $f) (i32.add (i32.const 1)
                (call_indirect (type $f) (local.get 0) (i32.const 0))))",
            "(call $deep (i32.const 0))",
        )
    };
    recursion_with_frames_of_a_kilobyte: "trap_stack", Stack, || {
        // Values that all live across the call are spilt, so that each frame is large.
        let values: String = (0..120).map(|i| format!("(local.set {} (i64.mul (local.get 0) (i64.const {i})))", i + 1)).collect();
        let sum: String = (0..120).map(|i| format!("(i64.add (local.get {})", i + 1)).collect();
        let more = format!(
            "(func $deep (param i64) (result i64) (local {}) {values} {sum} (call $deep (local.get 1)) {})",
            "i64 ".repeat(120),
            ")".repeat(120)
        );
        tick_of(&more, "(drop (call $deep (i64.const 3))) (i32.const 512)")
    };
    filling_all_of_the_memory_for_ever: "trap_fuel", Call, || {
        let tick = "(loop $l (memory.fill (i32.const 131072) (i32.const 0) (i32.const 12976128)) (br $l)) unreachable".into();
        in_tick(&Guest { pages: 200, tick, ..Guest::default() })
    };
    copying_all_of_the_memory_for_ever: "trap_fuel", Call, || {
        let tick = "(loop $l (memory.copy (i32.const 131072) (i32.const 131073) (i32.const 12976127)) (br $l)) unreachable".into();
        in_tick(&Guest { pages: 200, tick, ..Guest::default() })
    };
    filling_a_whole_table_for_ever: "trap_fuel", Call, || {
        tick_of(
            "(table $t 19000 funcref)",
            "(loop $l (table.fill $t (i32.const 0) (ref.null func) (i32.const 19000)) (br $l)) unreachable",
        )
    };
    a_fill_beyond_the_memory: "trap_fuel", Call, || {
        tick_of("", "(memory.fill (i32.const 65536) (i32.const 1) (i32.const -1)) (i32.const 512)")
    };
}

/// A guest that makes and drops handles of a resource of its own; `destructor` is the body of that.
fn with_resource(tick: &str, destructor: &str) -> Guest {
    let wit = format!(
        "{WIT} interface things {{ resource thing; }} world hoarder {{ include strategy-plugin; export things; }}"
    );
    let things = "[export]ringfence:strategy/things@1.0.0";
    let imports = format!(
        "(import \"{things}\" \"[resource-new]thing\" (func $new (param i32) (result i32)))
         (import \"{things}\" \"[resource-drop]thing\" (func $drop (param i32)))"
    );
    let more =
        format!("(func (export \"ringfence:strategy/things@1.0.0#[dtor]thing\") (param i32) {destructor})");
    Guest { wit, world: "hoarder", imports, more, tick: tick.into(), ..Guest::default() }
}
