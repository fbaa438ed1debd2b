//! What cannot work is refused before anything is sent, in words.

use super::super::bad_input::refused;
use super::super::setup::{component, text};
use super::rig::{Plan, Rig};

fn second_agent(symbol: &str) -> String {
    format!(
        "[[agent]]\nname = \"other\"\ncomponent = \"{}\"\nvenue = \"flea\"\ninstruments = [\"{symbol}\"]\n\
         cash = \"1000\"\n",
        component("ema-cross").display()
    )
}

/// The same coin under another name.
fn instrument(symbol: &str) -> String {
    format!(
        "[[instrument]]\nsymbol = \"{symbol}\"\nvenue = \"flea\"\nkind = \"perpetual\"\nquote_currency = \"USD\"\n\
         multiplier = \"1\"\ntick_size = \"0.01\"\nlot_size = \"0.1\"\nmin_lots = 1\nmax_lots = 1000\n\n"
    )
}

#[test]
fn two_agents_on_one_coin_are_refused_with_place_and_advice() {
    let rig = Rig::new(&Plan::default());
    let good = std::fs::read_to_string(rig.path("host.toml")).unwrap();
    std::fs::write(rig.path("two.toml"), format!("{good}\n{}", second_agent("TEST"))).unwrap();
    let words = ["two.toml", "agent \"other\", instruments", "TEST", "accounts of their own"];
    refused(&["run", &rig.path("two.toml")], &words);
    for name in ["test", "xyz:TEST"] {
        let same = format!("{good}\n{}{}", instrument(name), second_agent(name));
        std::fs::write(rig.path("same.toml"), same).unwrap();
        let words = ["same.toml", name, "the same coin"];
        refused(&["run", &rig.path("same.toml")], &words);
    }
    assert!(!rig.dir.path().join("state").exists());
    assert!(rig.truth().arrived.is_empty(), "{:?}", rig.truth().arrived);
}

#[test]
fn an_account_without_a_wallet_is_refused_at_the_start() {
    let rig = Rig::new(&Plan { wallet: false, ..Plan::default() });
    refused(&["run", &rig.path("host.toml")], &["flea", "no wallet is connected", "connect one"]);
    assert!(!rig.dir.path().join("state").exists());
    assert!(rig.truth().requests.is_empty());
}

#[test]
fn a_key_that_the_venue_does_not_know_is_refused_at_the_start_and_not_shown() {
    let rig = Rig::new(&Plan::default());
    let wrong = "sk_trade_ffffffffffffffffffffffffffffffffffffffffffffffff";
    std::fs::write(rig.path("venue.key"), wrong).unwrap();
    refused(&["run", &rig.path("host.toml")], &["flea", "does not know the API key"]);
    let output = rig.run();
    assert!(!text(&output.stderr).contains(wrong) && !text(&output.stdout).contains(wrong));
}

#[test]
fn a_leverage_that_the_venue_would_lower_without_a_word_is_refused() {
    let rig = Rig::new(&Plan { venue: "leverage = 11", ..Plan::default() });
    refused(&["run", &rig.path("host.toml")], &["leverage = 11", "10"]);
}

/// An order at this venue is in dollars and a close takes the coin: the largest order is no limit of a close.
#[test]
fn a_position_above_the_largest_order_is_closed_as_a_whole() {
    let rig = Rig::new(&Plan { ticks: 7, ..Plan::default() });
    assert!(rig.run().status.success());
    assert!(!rig.account().position("TEST").is_zero());
    rig.reconfigure("on_stop = \"hold\"", "on_stop = \"flatten\"");
    rig.reconfigure("max_lots = 1000", "max_lots = 2");
    rig.feed(1);
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(rig.account().position("TEST").is_zero());
    rig.assert_books_equal(&output);
}

/// In read-only mode an order against the position is one that may only reduce it.
#[test]
fn a_part_of_a_position_cannot_be_returned_and_the_strategy_is_told_why() {
    let rig = Rig::new(&Plan { ticks: 7, ..Plan::default() });
    assert!(rig.run().status.success());
    assert!(!rig.account().position("TEST").is_zero());
    rig.reconfigure("quantity = 3", "quantity = 2");
    let band = "drawdown_read_only = { enter_permille = 0, leave_permille = 0 }, dwell_ms = 20";
    rig.reconfigure("dwell_ms = 20", band);
    rig.feed(60);
    let executions = rig.account().executions.len();
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(rig.account().executions.len(), executions, "{}", text(&output.stderr));
    let journal = text(&rig.state(&["journal", "dump"]).stdout);
    assert!(journal.contains("NOT_ENCODABLE"), "{journal}");
    assert!(journal.contains("order exactly what is held"), "{journal}");
}
