//! Deadlines, and the thread that enforces them.

use super::guest::Guest;
use super::*;

#[test]
fn the_deadline_is_armed_again_for_every_call() {
    // A tick of the epoch comes by itself ten times a second: what passes here is made to pass.
    let slow =
        SandboxConfig { epoch_tick_us: 100_000, heartbeat_stale_ms: 60_000, ..SandboxConfig::default() };
    let sandbox = Sandbox::new(slow).unwrap();
    let limits = SandboxLimits { deadline_ms: 100_000, ..limits() };
    let plugin = sandbox.load(&Guest::default().build(), "test", None, &limits).unwrap();
    let mut strategy = plugin.instantiate().unwrap();
    for _ in 0..10 {
        assert_eq!(tick(&mut strategy), Ok(vec![]));
        // Sixty of the hundred seconds that a call has; together far more than that.
        (0..600).for_each(|_| sandbox.engine().increment_epoch());
    }
}

#[test]
fn a_ticker_that_stands_still_refuses_calls_and_harms_nobody() {
    let slow = SandboxConfig { epoch_tick_us: 60_000, heartbeat_stale_ms: 20, ..SandboxConfig::default() };
    // Between two beats the heartbeat is stale for two thirds of the time.
    let sandbox = Sandbox::start(slow).unwrap();
    let bytes = Guest::default().build();
    let plugin = loop {
        match sandbox.load(&bytes, "test", None, &limits()) {
            Ok(plugin) => break plugin,
            Err(PluginError::Describe { source: CallError::Refused(_), .. }) => {}
            Err(other) => panic!("{other}"),
        }
    };
    let mut strategy = loop {
        match plugin.instantiate() {
            Ok(strategy) => break strategy,
            Err(error) => assert!(matches!(error, CallError::Refused(_)), "{error}"),
        }
    };
    let refused = loop {
        if let Err(error) = tick(&mut strategy) {
            break error;
        }
    };
    assert!(refused.to_string().contains("the thread that enforces deadlines was last seen"), "{refused}");
    assert!(!strategy.is_dead());
    // The next beat brings it back.
    while tick(&mut strategy).is_err() {}
}

#[test]
fn when_the_ticker_has_died_nothing_is_called_any_more() {
    let quick = SandboxConfig { heartbeat_stale_ms: 100, ..SandboxConfig::default() };
    let sandbox = Sandbox::new(quick).unwrap();
    let bytes = Guest::default().build();
    let limits = limits();
    // A machine that is busy enough makes a healthy ticker late as well; it comes back.
    let plugin =
        std::iter::repeat_with(|| sandbox.load(&bytes, "test", None, &limits)).find_map(Result::ok).unwrap();
    let mut strategy = std::iter::repeat_with(|| plugin.instantiate()).find_map(Result::ok).unwrap();
    while tick(&mut strategy).is_err() {}
    sandbox.stop_ticker();
    while tick(&mut strategy).is_ok() {}
    for _ in 0..1_000 {
        let refused = tick(&mut strategy).unwrap_err();
        assert!(matches!(&refused, CallError::Refused(why) if why.contains("was last seen")), "{refused}");
    }
    assert!(!strategy.is_dead());
    assert!(matches!(plugin.instantiate(), Err(CallError::Refused(_))));
    let refused = sandbox.load(&bytes, "test", None, &limits).unwrap_err();
    assert!(matches!(refused, PluginError::Describe { source: CallError::Refused(_), .. }), "{refused}");
}
