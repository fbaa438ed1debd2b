//! What comes after a trap, and what a second instance can do differently.

use crate::attack::{SANDBOX, Strike, attacks, in_call, limits, load, loading, tick, tick_with, verdict};
use crate::guest::{Guest, NAME};
use crate::loops::{Optional, bar, batch, event, init, reload, save, stop};
use ringfence::plugin::{CallError, ComponentStrategy, Strategy as _};

/// A call after a trap, on the same instance; and a healthy one beside it.
fn after_a_trap(call: fn(&mut ComponentStrategy) -> Result<(), CallError>) -> Strike {
    // It traps in its first tick of all, and never again: nobody may find that out.
    let guest = Optional { more: "(global $before (mut i32) (i32.const 0))", ..Optional::default() }.guest();
    let body = "(if (i32.eqz (global.get $before)) (then (global.set $before (i32.const 1)) unreachable))
        (i32.const 512)";
    let plugin = load(&Guest { tick: body.into(), ..guest });
    Box::new(move || {
        let mut strategy = plugin.instantiate().unwrap();
        assert_eq!(verdict(&tick(&mut strategy)), "trap_unreachable");
        let result = call(&mut strategy);
        // The next instance knows nothing of it.
        assert_eq!(verdict(&tick(&mut plugin.instantiate().unwrap())), "trap_unreachable");
        verdict(&result)
    })
}

attacks! {
    a_tick_after_a_trap: "strategy_dead", Nothing, || after_a_trap(|it| tick(it).map(|_| ()));
    an_event_after_a_trap: "strategy_dead", Nothing, || after_a_trap(event);
    a_bar_after_a_trap: "strategy_dead", Nothing, || after_a_trap(bar);
    a_batch_after_a_trap: "strategy_dead", Nothing, || after_a_trap(batch);
    a_save_after_a_trap: "strategy_dead", Nothing, || after_a_trap(save);
    a_load_after_a_trap: "strategy_dead", Nothing, || after_a_trap(reload);
    an_init_after_a_trap: "strategy_dead", Nothing, || after_a_trap(init);
    a_stop_after_a_trap: "strategy_dead", Nothing, || after_a_trap(stop);
    start_code_that_fails_on_a_whim: "plugin_describe, trap_unreachable", Setup, || {
        // It draws a number to decide. Before the first call nobody lends it a stream of its own, so that every
        // instance draws the same and decides the same.
        let imports = "(import \"ringfence:strategy/random@1.0.0\" \"next\" (func $next (result i64)))";
        let whim = |wanted: u32| Guest {
            imports: imports.into(),
            more: format!(
                "(func $start (if (i32.eq (i32.wrap_i64 (i64.and (call $next) (i64.const 1)))
                    (i32.const {wanted})) (then unreachable))) (start $start)"
            ),
            ..Guest::default()
        };
        let bytes = [whim(0).build(), whim(1).build()];
        Box::new(move || {
            let mut verdicts = bytes.each_ref().map(|bytes| {
                let loaded = SANDBOX.load(bytes, "hostile", None, &limits());
                if let Ok(plugin) = &loaded {
                    assert!((0..20).all(|_| plugin.instantiate().is_ok()));
                }
                loading(loaded)
            });
            verdicts.sort();
            assert_eq!(verdicts[0], "harmless");
            verdicts[1].clone()
        })
    };
    start_code_that_talks_to_the_host: "harmless", Setup, || {
        // Start code can call what needs no memory: the component around the module is not complete yet.
        let imports = "(import \"ringfence:strategy/clock@1.0.0\" \"set-timer\" (func $set_timer (param i32 i64)))
            (import \"ringfence:strategy/metrics@1.0.0\" \"observe\" (func $observe (param i32 f64)))"
            .into();
        let more = "(func $start (call $set_timer (i32.const 1) (i64.const 0))
            (call $observe (i32.const 0) (f64.const 1))) (start $start)"
            .into();
        let plugin = load(&Guest { imports, more, ..Guest::default() });
        Box::new(move || {
            let (mut strategy, mut lent) = (plugin.instantiate().unwrap(), crate::attack::services());
            let result = tick_with(&mut strategy, &mut lent);
            lent.commit();
            assert_eq!((lent.next_timer(), lent.telemetry.observations_dropped), (None, 0));
            verdict(&result)
        })
    };
    a_component_that_is_another_one_after_it_was_described: "harmless", Setup, || {
        // It knows that it is only being described by the time, which is zero then, and says another name later.
        // Nobody asks again: what was said at the door is what holds, and what was vetted is what runs.
        let imports = "(import \"ringfence:strategy/clock@1.0.0\" \"now\" (func $now (result i64)))".into();
        let describe = format!(
            "(if (i64.ne (call $now) (i64.const 0))
                (then (i32.store8 (i32.const {NAME}) (i32.const 0x58)))) (i32.const 64)"
        );
        let plugin = load(&Guest { imports, describe, ..Guest::default() });
        Box::new(move || {
            let mut strategy = plugin.instantiate().unwrap();
            let result = init(&mut strategy).and_then(|()| tick(&mut strategy));
            assert_eq!(strategy.metadata().name, "healthy");
            verdict(&result)
        })
    };
    memory_that_should_outlive_an_instance: "harmless", Call, || {
        // It leaves a mark and traps where it finds one: a second instance finds none.
        let body = "(if (i32.load (i32.const 20000)) (then unreachable))
            (i32.store (i32.const 20000) (i32.const 1)) (i32.const 512)";
        in_call(&Guest { tick: body.into(), ..Guest::default() }, tick)
    };
}
