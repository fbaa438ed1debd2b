//! States that are not what they should be.

use crate::attack::{attacks, in_call};
use crate::loops::{Optional, save};
use ringfence::plugin::{StateSnapshot, Strategy as _};

attacks! {
    a_state_of_a_later_schema: "strategy_fault", Nothing, || {
        // The component, which loads schema 1 alone, would trap if it were asked.
        let guest = Optional { load: "unreachable", ..Optional::default() }.guest();
        in_call(&guest, |it| it.load(&StateSnapshot { schema: 2, data: vec![0; 64] }, &mut crate::attack::services()))
    };
    a_state_of_an_older_schema_than_it_loads: "strategy_fault", Nothing, || {
        let guest = Optional { load: "unreachable", ..Optional::default() }.guest();
        in_call(&guest, |it| it.load(&StateSnapshot { schema: 0, data: vec![] }, &mut crate::attack::services()))
    };
    a_saved_state_of_a_schema_that_it_does_not_announce: "trap_output", Call, || {
        let body = "(i32.store offset=4 (i32.const 600) (i32.const 9)) (i32.const 600)";
        in_call(&Optional { save: body, ..Optional::default() }.guest(), save)
    };
    a_damaged_state: "trap_unreachable", Setup, || {
        let body = "(if (i32.ne (i32.load8_u (local.get 1)) (i32.const 7)) (then unreachable)) (i32.const 512)";
        let guest = Optional { load: body, ..Optional::default() }.guest();
        in_call(&guest, |it| it.load(&StateSnapshot { schema: 1, data: vec![1] }, &mut crate::attack::services()))
    };
    a_state_that_it_has_no_room_for: "trap_output", Setup, || {
        let guest = Optional::default().guest();
        in_call(&guest, |it| {
            it.load(&StateSnapshot { schema: 1, data: vec![0; 1 << 20] }, &mut crate::attack::services())
        })
    };
}
