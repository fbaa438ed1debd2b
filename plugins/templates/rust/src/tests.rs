use super::*;
use ringfence_sdk::test::Harness;

fn started() -> Harness<NewHigh> {
    Harness::new().setting("drop", 3).start().unwrap()
}

#[test]
fn a_new_high_is_bought_and_sold_when_it_fades() {
    let mut run = started();
    assert!(run.trade(100).is_empty(), "the first price is no new high");
    assert_eq!(run.trade(101).len(), 1);
    run.fill(OrderId(1), Lots(1), 101);
    assert_eq!(run.position(), Lots(1));
    assert!(run.trade(99).is_empty());
    assert_eq!(run.trade(98).len(), 1);
}

#[test]
fn nothing_is_ordered_while_an_order_works() {
    let mut run = started();
    run.trade(100);
    assert_eq!(run.trade(101).len(), 1);
    assert!(run.trade(102).is_empty());
}

#[test]
fn a_swap_in_the_middle_keeps_the_high() {
    let mut run = started();
    run.trade(100);
    run.swap().unwrap();
    assert!(run.trade(100).is_empty());
    assert_eq!(run.trade(101).len(), 1);
}

#[test]
fn damaged_state_is_refused() {
    let (schema, data) = started().save().unwrap();
    assert!(matches!(started().load(schema, &data[1..]), Err(Fault::IncompatibleState(_))));
}
