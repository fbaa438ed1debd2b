//! State crosses from each language to each other, as in a hot swap.

use super::rig::{C, JAVASCRIPT, OTHERS, PYTHON, RUST, generated, integer};
use ringfence::plugin::{CallError, Fault, StateSnapshot, Strategy as _};

#[test]
fn a_swap_from_any_language_to_any_other_changes_no_order() {
    let ticks = generated(1_200);
    let whole: Vec<_> = {
        let mut run = RUST.start();
        ticks.iter().map(|tick| run.tick(tick).unwrap()).collect()
    };
    let languages = [&RUST, &C, &JAVASCRIPT, &PYTHON];
    for (position, from) in languages.into_iter().enumerate() {
        let to = languages[(position + 1) % languages.len()];
        // Before the first price, before the averages count, and in the middle.
        for at in [0, 11, 700] {
            let mut run = from.start();
            let before: Vec<_> = ticks[..at].iter().map(|tick| run.tick(tick).unwrap()).collect();
            assert!(before == whole[..at]);
            let mut next = to.start();
            next.load(&run.save()).unwrap();
            assert_eq!(next.save(), run.save(), "{} to {}", from.name, to.name);
            for (tick, expected) in ticks.iter().zip(&whole).skip(at) {
                let found = next.tick(tick).unwrap();
                // Order numbers go on with the session and not with the state.
                let sides = |orders: &[super::rig::Order]| orders.iter().map(|o| o.side).collect::<Vec<_>>();
                assert_eq!(sides(&found), sides(expected), "{} to {} at {at}", from.name, to.name);
            }
        }
    }
}

#[test]
fn damaged_state_is_refused_and_changes_nothing() {
    for example in OTHERS {
        let mut run = example.start();
        for tick in generated(60) {
            run.tick(&tick).unwrap();
        }
        let good = run.save();
        let mut bad_flag = good.data.clone();
        *bad_flag.last_mut().unwrap() = 2;
        let shorter = good.data[..good.data.len() - 1].to_vec();
        for (schema, data) in [
            (1, shorter),
            (1, [&good.data[..], &[0]].concat()),
            (1, good.data[..7].to_vec()),
            (1, bad_flag),
            (2, good.data.clone()),
        ] {
            let answer = run.load(&StateSnapshot { schema, data });
            let refused = matches!(&answer, Err(CallError::Fault(Fault::IncompatibleState(_))));
            assert!(refused, "{}: {answer:?}", example.name);
            assert_eq!(run.save(), good, "{}", example.name);
        }
    }
}

#[test]
fn state_of_other_averages_starts_them_anew_and_says_so() {
    for example in OTHERS {
        let (mut other, answer) = example.init(vec![integer("fast", 5)], 1);
        answer.unwrap();
        other.price(100);
        let mut run = example.start();
        let fresh = run.save();
        run.load(&other.save()).unwrap();
        assert_eq!(run.save(), fresh, "{}", example.name);
        let said = run.services.telemetry.lines.iter().any(|line| line.text.contains("of 5 and 20 prices"));
        assert!(said, "{}: {:?}", example.name, run.services.telemetry.lines);
    }
}

#[test]
fn before_init_there_is_nothing_to_save() {
    for example in OTHERS {
        let (run, _) = example.init(vec![integer("fast", 20)], 1);
        let mut run = run;
        let answer = run.strategy.save(&mut run.services);
        assert_eq!(answer, Err(CallError::Fault(Fault::NotReady)), "{}", example.name);
    }
}
