//! Answers and arguments that are no values of the contract.

use crate::attack::{at_load, attacks, in_call, in_tick, tick_of};
use crate::guest::{FREE, Guest, NAME, words};
use crate::loops::{Optional, batch, event, init, save};

/// A guest whose tick returns these words.
pub fn returning(answer: &[u32]) -> Guest {
    let more = format!("(data (i32.const 256) \"{}\")", words(answer));
    Guest { more, tick: "i32.const 256".into(), ..Guest::default() }
}

/// A guest whose tick returns one intent of these words.
fn one_intent(intent: &[u32]) -> Guest {
    let mut guest = returning(&[0, FREE, 1]);
    guest.more += &format!("(data (i32.const {FREE}) \"{}\")", words(intent));
    guest
}

/// An order to submit; the words are id, instrument and side, quantity, kind with two values, time in force
/// with one, options, tag.
fn order(change: impl FnOnce(&mut [u32; 20])) -> Guest {
    let mut words = [0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    change(&mut words);
    one_intent(&words)
}

/// A guest that rewrites words of what it says about itself.
pub fn describing(pages: u32, changes: &[(u32, u32)]) -> Guest {
    let stores: String = changes
        .iter()
        .map(|(at, value)| format!("(i32.store (i32.const {}) (i32.const {}))", 64 + at, value.cast_signed()))
        .collect();
    Guest { pages, describe: format!("{stores} (i32.const 64)"), ..Guest::default() }
}

attacks! {
    a_list_of_intents_as_long_as_the_address_space: "trap_output", Returned, || {
        in_tick(&returning(&[0, 0xffff_fff0, 0x0fff_ffff]))
    };
    a_list_of_four_gigabytes: "trap_output", Returned, || in_tick(&returning(&[0, FREE, 0x0333_3333]));
    a_list_that_ends_beyond_the_memory: "trap_output", Returned, || {
        in_tick(&returning(&[0, 2 * 65_536 - 80, 2]))
    };
    a_list_that_is_not_aligned: "trap_output", Call, || in_tick(&returning(&[0, FREE + 4, 1]));
    an_empty_list_that_lies_nowhere: "trap_output", Call, || in_tick(&returning(&[0, 0xffff_ffff, 0]));
    an_answer_that_lies_nowhere: "trap_output", Call, || tick_of("", "i32.const -16");
    an_answer_that_ends_beyond_the_memory: "trap_output", Call, || tick_of("", "i32.const 131064");
    an_answer_that_is_not_aligned: "trap_output", Call, || tick_of("", "i32.const 513");
    a_result_that_is_neither_ok_nor_error: "trap_output", Call, || in_tick(&returning(&[7, 0, 0]));
    an_intent_of_an_unknown_kind: "trap_output", Call, || in_tick(&one_intent(&[9; 20]));
    an_order_on_no_side: "trap_output", Call, || in_tick(&order(|words| words[5] = 7));
    an_order_of_an_unknown_kind: "trap_output", Call, || in_tick(&order(|words| words[8] = 9));
    an_order_that_is_good_for_no_known_time: "trap_output", Call, || in_tick(&order(|words| words[14] = 5));
    an_order_with_options_that_do_not_exist: "harmless", Call, || in_tick(&order(|words| words[18] = 0xfc));
    a_limit_that_is_neither_there_nor_absent: "trap_output", Call, || {
        in_tick(&one_intent(&[2, 0, 1, 0, 1, 0, 2, 0, 0, 0]))
    };
    a_fault_of_an_unknown_kind: "trap_output", Call, || in_tick(&returning(&[1, 9, FREE, 2]));
    a_fault_in_bad_utf8: "trap_output", Call, || {
        let mut guest = returning(&[1, 3, FREE, 2]);
        guest.more += &format!("(data (i32.const {FREE}) \"\\ff\\fe\")");
        in_tick(&guest)
    };
    a_fault_in_half_a_surrogate_pair: "trap_output", Call, || {
        let mut guest = returning(&[1, 3, FREE, 3]);
        guest.more += &format!("(data (i32.const {FREE}) \"\\ed\\a0\\80\")");
        in_tick(&guest)
    };
    a_fault_of_four_gigabytes: "trap_output", Returned, || in_tick(&returning(&[1, 3, 0, 0xffff_ffff]));
    a_name_in_bad_utf8: "plugin_describe, trap_output", Setup, || {
        let describe = format!("(i32.store8 (i32.const {NAME}) (i32.const 255)) (i32.const 64)");
        at_load(&Guest { describe, ..Guest::default() })
    };
    a_name_of_four_gigabytes: "plugin_describe, trap_output", Returned, || {
        at_load(&describing(2, &[(0, 8), (4, 0xffff_fff0)]))
    };
    a_name_of_ten_megabytes: "plugin_describe, trap_output", Returned, || {
        at_load(&describing(200, &[(0, FREE), (4, 10 << 20)]))
    };
    a_summary_of_a_hundred_kilobytes: "plugin_metadata", Returned, || {
        at_load(&describing(2, &[(16, FREE), (20, 100 << 10)]))
    };
    names_that_overlap: "harmless", Setup, || {
        // Every text is a part of the same seven letters; each is read as it lies.
        at_load(&describing(2, &[(8, NAME + 1), (12, 6), (16, NAME + 2), (20, 5)]))
    };
    an_empty_name: "plugin_metadata", Setup, || at_load(&describing(2, &[(4, 0)]));
    a_state_that_it_cannot_load_itself: "plugin_metadata", Setup, || at_load(&describing(2, &[(36, 9)]));
    an_instrument_count_that_cannot_be: "plugin_metadata", Setup, || at_load(&describing(2, &[(40, 9)]));
    a_description_that_lies_nowhere: "plugin_describe, trap_output", Setup, || {
        at_load(&Guest { describe: "i32.const -4".into(), ..Guest::default() })
    };
    room_for_the_session_that_lies_nowhere: "trap_output", Setup, || {
        in_call(&Guest { realloc: "i32.const -16".into(), ..Guest::default() }, init)
    };
    room_for_an_event_that_is_not_aligned: "trap_output", Setup, || {
        let realloc = "(i32.const 20001)".into();
        in_call(&Guest { realloc, ..Guest::default() }, init)
    };
    room_for_everything_in_the_same_place: "harmless", Setup, || {
        in_call(&Guest { realloc: "(i32.const 20000)".into(), ..Guest::default() }, init)
    };
    room_within_its_own_code_pointers: "harmless", Call, || {
        in_call(&Guest { realloc: "(i32.const 0)".into(), ..Guest::default() }, event)
    };
    a_batch_that_consumed_more_rows_than_there_were: "trap_output", Batch, || {
        let run = "(i32.store (i32.const 600) (i32.const 3)) (i32.const 600)";
        in_call(&Optional { run, ..Optional::default() }.guest(), batch)
    };
    a_batch_that_consumed_nothing: "trap_output", Batch, || {
        in_call(&Optional::default().guest(), batch)
    };
    a_state_of_a_gigabyte: "trap_output", State, || {
        let body = "(i32.store offset=4 (i32.const 600) (i32.const 1))
            (i32.store offset=12 (i32.const 600) (i32.const 1073741824)) (i32.const 600)";
        in_call(&Optional { save: body, ..Optional::default() }.guest(), save)
    };
    a_state_of_two_megabytes_that_is_really_there: "trap_output", State, || {
        let body = "(i32.store offset=4 (i32.const 600) (i32.const 1))
            (i32.store offset=12 (i32.const 600) (i32.const 2097152)) (i32.const 600)";
        let guest = Optional { save: body, ..Optional::default() }.guest();
        in_call(&Guest { pages: 40, ..guest }, save)
    };
    division_by_zero: "trap_unreachable", Call, || tick_of("", "(i32.div_u (i32.const 1) (i32.const 0))");
    a_pointer_into_nowhere: "trap_memory", Call, || tick_of("", "(i32.load (i32.const -4))");
    a_call_through_a_pointer_of_the_wrong_type: "trap_unreachable", Call, || {
        tick_of(
            "(type $f (func (result i32))) (table 1 1 funcref) (elem (i32.const 0) $g) (func $g (param i64))",
            "(call_indirect (type $f) (i32.const 0))",
        )
    };
    a_float_that_is_no_integer: "trap_unreachable", Call, || {
        tick_of("", "(i32.trunc_f64_s (f64.const nan))")
    };
    a_panic: "trap_unreachable", Call, || tick_of("(func $broken_indicator unreachable)", "(call $broken_indicator) unreachable");
    ten_thousand_intents_in_one_call: "trap_output", Returned, || {
        let guest = Guest { pages: 40, ..returning(&[0, FREE, 10_000]) };
        in_tick(&guest)
    };
    one_intent_more_than_allowed: "trap_output", Call, || in_tick(&returning(&[0, FREE, 65]));
}

#[test]
fn as_many_intents_as_allowed_are_taken() {
    let mut strategy = crate::attack::load(&returning(&[0, FREE, 64])).instantiate().unwrap();
    assert_eq!(crate::attack::tick(&mut strategy).unwrap().len(), 64);
}
