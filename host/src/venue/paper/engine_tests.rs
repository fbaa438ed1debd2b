use super::super::config::{PaperAccount, PaperKeys};
use super::*;
use crate::market::UnixNanos;
use crate::venue::tests::instruments;
use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::{Value, json};

const ME: AccountId = AccountId(0);

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn rules() -> PaperConfig {
    PaperConfig {
        instruments: instruments().iter().map(|(_, instrument)| instrument.clone()).collect(),
        accounts: vec![PaperAccount::default(), PaperAccount { name: "other".into(), ..Default::default() }],
        taker_fee_bps: Decimal::from(10),
        maker_fee_bps: Decimal::from(-2),
        ..PaperConfig::default()
    }
}

/// A venue, driven without the network.
struct Paper {
    engine: Engine,
    time: u64,
}

impl Paper {
    fn new(rules: PaperConfig) -> Self {
        rules.check().unwrap();
        Self { engine: Engine::new(rules), time: 0 }
    }

    fn last(&mut self, price: &str) -> u64 {
        self.time += 1_000_000_000;
        let tick = MarketTick {
            symbol: "SPX".into(),
            at: UnixNanos(self.time),
            last: Some(d(price)),
            bid: None,
            ask: None,
        };
        self.engine.push(&[tick]).unwrap()
    }

    fn send(&mut self, key: &str, command: Command, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let fingerprint = Digest::of(&[format!("{command:?}").as_bytes(), &body].concat());
        let answer = match self.engine.begin(ME, key, fingerprint) {
            Ok(()) => self.engine.execute(ME, key, &command, &body),
            Err(answer) => answer,
        };
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    /// Places an order of 10 SPX that differs from a market buy by `change`.
    fn place(&mut self, key: &str, change: Value) -> (u16, Value) {
        let mut body = json!({"symbol": "SPX", "side": "buy", "type": "market", "quantity": "10"});
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.send(key, Command::Place, &body)
    }

    fn cancel(&mut self, key: &str, target: &str) -> (u16, Value) {
        self.send(key, Command::Cancel(target.into()), &Value::Null)
    }

    fn amend(&mut self, key: &str, target: &str, body: Value) -> (u16, Value) {
        self.send(key, Command::Amend(target.into()), &body)
    }

    /// The changes of an order in one line.
    fn history(&self, client_id: &str) -> String {
        let answer = self.engine.order(ME, client_id);
        let order: Value = serde_json::from_str(&answer.body).unwrap();
        let word = |update: &Value| {
            let change = &update["change"];
            let kind = change["type"].as_str().unwrap();
            match kind {
                "filled" => format!("filled {} at {}", change["quantity"], change["price"]).replace('"', ""),
                "rejected" => format!("rejected {}", change["code"].as_str().unwrap()),
                _ => kind.to_owned(),
            }
        };
        order["updates"].as_array().unwrap().iter().map(word).collect::<Vec<_>>().join(", ")
    }

    fn ledger(&self) -> super::super::AccountTruth {
        self.engine.truth().accounts.remove(0)
    }
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap())
}

#[test]
fn a_market_order_fills_and_is_paid_for() {
    let mut paper = Paper::new(rules());
    paper.last("100.5");
    let (status, reply) = paper.place("a", json!({}));
    assert_eq!((status, reply["status"].as_str()), (200, Some("filled")));
    assert_eq!(paper.history("a"), "accepted, filled 10 at 100.5");
    let ledger = paper.ledger();
    // 10 * 100.5 = 1005, and 10 basis points of it are 1.005.
    assert_eq!((ledger.cash, ledger.fees), (d("98993.995"), d("1.005")));
    assert_eq!(ledger.positions["SPX"], d("10"));
    assert_eq!(ledger.executions.len(), 1);
}

#[test]
fn a_resting_limit_makes_at_its_own_price() {
    let mut paper = Paper::new(rules());
    paper.last("100");
    paper.place("a", json!({"type": "limit", "limit_price": "99"}));
    assert_eq!(paper.history("a"), "accepted");
    paper.last("98");
    assert_eq!(paper.history("a"), "accepted, filled 10 at 99");
    let execution = &paper.ledger().executions[0];
    assert!(execution.maker && execution.fee == d("-0.198"), "{execution:?}");
}

#[test]
fn the_oldest_order_is_filled_first_and_the_numbers_rise() {
    let mut paper = Paper::new(rules());
    paper.last("100");
    for key in ["c", "a", "b"] {
        paper.place(key, json!({"type": "limit", "limit_price": "99"}));
    }
    paper.last("99");
    let ledger = paper.ledger();
    let keys: Vec<&str> = ledger.executions.iter().map(|execution| execution.key.as_str()).collect();
    assert_eq!(keys, ["c", "a", "b"]);
    assert!(ledger.executions.is_sorted_by(|a, b| a.sequence < b.sequence));
}

#[test]
fn an_order_fills_in_parts_over_several_ticks() {
    let mut paper = Paper::new(PaperConfig { fill_quantity_max: Some(d("4")), ..rules() });
    paper.last("100");
    paper.place("a", json!({}));
    paper.last("101");
    paper.last("102");
    paper.last("103");
    assert_eq!(paper.history("a"), "accepted, filled 4 at 100, filled 4 at 101, filled 2 at 102");
    paper.place("b", json!({"time_in_force": "ioc"}));
    assert_eq!(paper.history("b"), "accepted, filled 4 at 103, cancelled");
    paper.place("c", json!({"time_in_force": "fok"}));
    assert_eq!(paper.history("c"), "accepted, cancelled");
}

#[test]
fn a_stop_wakes_and_a_stop_limit_then_rests() {
    let mut paper = Paper::new(rules());
    paper.last("100");
    paper.place("a", json!({"type": "stop", "stop_price": "105"}));
    paper.place("b", json!({"type": "stop-limit", "stop_price": "105", "limit_price": "104"}));
    paper.last("104");
    assert_eq!((paper.history("a"), paper.history("b")), ("accepted".into(), "accepted".into()));
    paper.last("106");
    assert_eq!(
        (paper.history("a").as_str(), paper.history("b").as_str()),
        ("accepted, filled 10 at 106", "accepted")
    );
    paper.last("103");
    assert_eq!(paper.history("b"), "accepted, filled 10 at 104");
}

#[test]
fn post_only_never_takes() {
    let mut paper = Paper::new(rules());
    paper.last("100");
    let post_only = |price: &str| json!({"type": "limit", "limit_price": price, "post_only": true});
    assert_eq!(code(&paper.place("a", post_only("100"))), (400, "would_cross"));
    assert_eq!(paper.history("a"), "rejected would_cross");
    assert_eq!(paper.place("b", post_only("99")).0, 200);
    let crossing = paper.amend("b2", "b", json!({"quantity": "10", "limit_price": "100"}));
    assert_eq!(code(&crossing), (400, "would_cross"));
    assert_eq!(code(&paper.place("c", json!({"post_only": true}))), (400, "invalid_order"));
}

#[test]
fn reduce_only_closes_and_never_flips() {
    let mut paper = Paper::new(rules());
    paper.last("100");
    let sell = json!({"side": "sell", "reduce_only": true, "quantity": "25"});
    assert_eq!(code(&paper.place("a", sell.clone())), (400, "reduce_only"));
    paper.place("b", json!({}));
    paper.place("c", sell.clone());
    assert_eq!(paper.history("c"), "accepted, filled 10 at 100, cancelled");
    assert_eq!(paper.ledger().positions["SPX"], Decimal::ZERO);
    paper.place("d", json!({}));
    paper.place("e", json!({"side": "sell", "reduce_only": true, "type": "limit", "limit_price": "101"}));
    paper.place("f", json!({"side": "sell"}));
    paper.last("102");
    assert_eq!(paper.history("e"), "accepted, cancelled", "the position was gone before");
}

#[test]
fn a_cancel_and_a_fill_come_one_after_the_other() {
    let mut paper = Paper::new(rules());
    paper.last("100");
    let limit = json!({"type": "limit", "limit_price": "99"});
    paper.place("a", limit.clone());
    assert_eq!(paper.cancel("a-cancel", "a").0, 200);
    paper.last("98");
    assert_eq!(paper.history("a"), "accepted, cancelled", "cancelled first");
    paper.place("b", limit);
    assert_eq!(paper.history("b"), "accepted, filled 10 at 98", "filled first");
    assert_eq!(code(&paper.cancel("b-cancel", "b")), (400, "order_closed"));
    assert_eq!(code(&paper.cancel("x-cancel", "x")), (404, "unknown_order"));
    assert_eq!(paper.cancel("a-cancel", "a").0, 200, "the same cancel again gets the stored reply");
}

#[test]
fn an_amended_order_may_fill_at_once() {
    let mut paper = Paper::new(PaperConfig { fill_quantity_max: Some(d("4")), ..rules() });
    paper.last("100");
    paper.place("a", json!({"type": "limit", "limit_price": "99"}));
    assert_eq!(paper.amend("1", "a", json!({"quantity": "12", "limit_price": "101"})).0, 200);
    assert_eq!(paper.history("a"), "accepted, amended, filled 4 at 100");
    assert_eq!(code(&paper.amend("2", "a", json!({"quantity": "4"}))), (400, "invalid_quantity"));
    assert_eq!(code(&paper.amend("3", "a", json!({"quantity": "0.05"}))), (400, "invalid_quantity"));
    assert_eq!(code(&paper.amend("4", "zz", json!({"quantity": "5"}))), (404, "unknown_order"));
    assert_eq!(paper.amend("5", "a", json!({"quantity": "5"})).0, 200);
    assert_eq!(paper.history("a"), "accepted, amended, filled 4 at 100, amended, filled 1 at 100");
}

#[test]
fn an_order_ends_with_its_day_or_at_its_time() {
    let mut paper = Paper::new(rules());
    paper.last("100");
    let limit = |tif: &str| json!({"type": "limit", "limit_price": "90", "time_in_force": tif});
    paper.place("day", limit("day"));
    let mut until = limit("gtd");
    until["expires_at_ns"] = json!(3_000_000_000_u64);
    paper.place("until", until);
    assert_eq!(code(&paper.place("never", limit("gtd"))), (400, "invalid_order"));
    paper.last("100");
    assert_eq!(paper.history("until"), "accepted");
    paper.last("90");
    assert_eq!(paper.history("until"), "accepted, expired", "it was over when the price came");
    assert_eq!(paper.history("day"), "accepted, filled 10 at 90");
    paper.place("day2", json!({"type": "limit", "limit_price": "80", "time_in_force": "day"}));
    paper.time = 86_400_000_000_000;
    paper.last("80");
    assert_eq!(paper.history("day2"), "accepted, expired");
}

#[test]
fn what_no_order_can_be_is_refused_with_a_code() {
    let mut paper = Paper::new(rules());
    assert_eq!(code(&paper.place("0", json!({}))), (400, "no_market"));
    paper.last("100");
    let cases = [
        (json!({"symbol": "NDX"}), "unknown_symbol"),
        (json!({"quantity": "0"}), "invalid_quantity"),
        (json!({"quantity": "-1"}), "invalid_quantity"),
        (json!({"quantity": "0.15"}), "invalid_quantity"),
        (json!({"quantity": "100000.1"}), "invalid_quantity"),
        (json!({"quantity": 10}), "invalid_json"),
        (json!({"quantity": "1e5"}), "invalid_json"),
        (json!({"side": "hold"}), "invalid_json"),
        (json!({"leverage": 5}), "invalid_json"),
        (json!({"limit_price": "100"}), "invalid_order"),
        (json!({"type": "limit"}), "invalid_order"),
        (json!({"type": "limit", "limit_price": "100.001"}), "invalid_price"),
        (json!({"type": "stop", "stop_price": "0"}), "invalid_price"),
        (json!({"client_id": "another"}), "client_id_mismatch"),
    ];
    for (index, (change, expected)) in cases.into_iter().enumerate() {
        assert_eq!(code(&paper.place(&format!("k{index}"), change.clone())), (400, expected), "{change}");
    }
    assert!(paper.ledger().executions.is_empty());
    for key in ["", "a b", "ü", &"k".repeat(65)] {
        assert_eq!(code(&paper.place(key, json!({}))), (400, "missing_key"));
    }
}

#[test]
fn market_data_that_cannot_be_is_refused_as_a_whole() {
    let mut paper = Paper::new(rules());
    let tick = |symbol: &str, last: Option<&str>| MarketTick {
        symbol: symbol.into(),
        at: UnixNanos(1),
        last: last.map(d),
        bid: None,
        ask: None,
    };
    for bad in [tick("NDX", Some("1")), tick("SPX", Some("0")), tick("SPX", Some("1.001")), tick("SPX", None)]
    {
        let error = paper.engine.push(&[tick("SPX", Some("100")), bad]).unwrap_err();
        assert!(error.to_string().starts_with("tick 1"), "{error}");
        assert_eq!(&*paper.engine.prices().body, r#"{"prices":[]}"#);
    }
}

#[test]
fn the_ledger_is_bounded_and_says_so() {
    let mut paper = Paper::new(PaperConfig { orders_max: 1, keys_max: 2, ..rules() });
    paper.last("100");
    assert_eq!(paper.place("a", json!({})).0, 200);
    assert_eq!(code(&paper.place("b", json!({}))), (503, "ledger_full"));
    assert_eq!(code(&paper.place("c", json!({}))), (503, "keys_full"));
    assert_eq!(paper.place("a", json!({})).0, 200, "what is known stays known");
}

#[test]
fn a_venue_that_ignores_keys_counts_its_duplicates() {
    let mut paper = Paper::new(PaperConfig { keys: PaperKeys::Ignored, ..rules() });
    paper.last("100");
    paper.place("a", json!({}));
    paper.place("a", json!({}));
    let truth = paper.engine.truth();
    assert_eq!((truth.accounts[0].placements["a"], truth.duplicated()), (2, 1));
    assert_eq!(truth.accounts[0].executions.len(), 2);
}

#[test]
fn an_open_order_protects_its_id_and_a_filled_one_does_not() {
    let mut paper = Paper::new(PaperConfig { keys: PaperKeys::UniqueWhileOpen, ..rules() });
    paper.last("100");
    let rests = json!({"type": "limit", "limit_price": "99"});
    assert_eq!(paper.place("a", rests.clone()).0, 200);
    assert_eq!(code(&paper.place("a", rests.clone())), (400, "duplicate_client_id"));
    assert_eq!(paper.history("a"), "accepted");
    paper.last("99");
    assert_eq!(paper.place("a", json!({})).0, 200, "its order is filled");
    assert_eq!(paper.engine.truth().duplicated(), 1);
}

#[test]
fn accounts_do_not_see_each_other() {
    let mut paper = Paper::new(rules());
    paper.last("100");
    paper.place("a", json!({}));
    assert_eq!(paper.engine.order(AccountId(1), "a").status, 404);
    let page: Value = serde_json::from_str(&paper.engine.updates(AccountId(1), 0, 10).body).unwrap();
    assert_eq!(page, json!({"updates": [], "through": 2, "more": false}));
    assert_eq!(paper.engine.truth().accounts[1].cash, d("100000"));
}

#[test]
fn updates_come_in_pages_that_leave_nothing_out() {
    let mut paper = Paper::new(rules());
    paper.last("100");
    for key in ["a", "b", "c"] {
        paper.place(key, json!({}));
    }
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page: Value = serde_json::from_str(&paper.engine.updates(ME, after, 4).body).unwrap();
        seen.extend(
            page["updates"].as_array().unwrap().iter().map(|update| update["sequence"].as_u64().unwrap()),
        );
        after = page["through"].as_u64().unwrap();
        if page["more"] == json!(false) {
            break;
        }
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
}

/// One step of a random session.
#[derive(Clone, Debug)]
enum Step {
    Tick { cents: u32 },
    Place { key: u8, body: Value },
    Cancel { target: u8 },
    Amend { target: u8, tenths: u32, cents: u32 },
}

fn steps() -> impl Strategy<Value = Step> {
    let cents = || 9_000_u32..11_000;
    let price = |cents: u32| Decimal::new(cents.into(), 2).to_string();
    let place = (any::<u8>(), cents(), cents(), 1_u32..200, 0_u8..4, 0_u8..4, any::<[bool; 3]>()).prop_map(
        move |(key, limit, stop, tenths, kind, tif, [sell, post_only, reduce_only])| {
            let kind = ["market", "limit", "stop", "stop-limit"][usize::from(kind)];
            let tif = ["gtc", "ioc", "fok", "day"][usize::from(tif)];
            let mut body = json!({
                "symbol": "SPX",
                "side": if sell { "sell" } else { "buy" },
                "type": kind,
                "quantity": Decimal::new(tenths.into(), 1).to_string(),
                "time_in_force": tif,
                "post_only": post_only && kind == "limit",
                "reduce_only": reduce_only,
            });
            if kind.ends_with("limit") {
                body["limit_price"] = json!(price(limit));
            }
            if kind.starts_with("stop") {
                body["stop_price"] = json!(price(stop));
            }
            Step::Place { key, body }
        },
    );
    prop_oneof![
        3 => cents().prop_map(|cents| Step::Tick { cents }),
        4 => place,
        1 => any::<u8>().prop_map(|target| Step::Cancel { target }),
        1 => (any::<u8>(), 1_u32..300, cents())
            .prop_map(|(target, tenths, cents)| Step::Amend { target, tenths, cents }),
    ]
}

fn play(steps: &[Step]) -> Paper {
    let mut paper = Paper::new(PaperConfig { fill_quantity_max: Some(d("5")), ..rules() });
    for (index, step) in steps.iter().enumerate() {
        match step {
            Step::Tick { cents } => {
                paper.last(&Decimal::new((*cents).into(), 2).to_string());
            }
            Step::Place { key, body } => {
                paper.send(&format!("p{key}"), Command::Place, body);
            }
            Step::Cancel { target } => {
                paper.cancel(&format!("c{index}"), &format!("p{target}"));
            }
            Step::Amend { target, tenths, cents } => {
                let (quantity, limit) = (Decimal::new((*tenths).into(), 1), Decimal::new((*cents).into(), 2));
                let body = json!({"quantity": quantity.to_string(), "limit_price": limit.to_string()});
                paper.amend(&format!("m{index}"), &format!("p{target}"), body);
            }
        }
    }
    paper
}

proptest! {
    #[test]
    fn the_ledger_balances_whatever_is_asked(steps in proptest::collection::vec(steps(), 0..120)) {
        let paper = play(&steps);
        let ledger = paper.ledger();
        let (mut cash, mut fees, mut position) = (ledger.cash_at_start, Decimal::ZERO, Decimal::ZERO);
        for execution in &ledger.executions {
            let sign = if execution.side == "buy" { Decimal::ONE } else { -Decimal::ONE };
            prop_assert!(execution.quantity > Decimal::ZERO && execution.price > Decimal::ZERO);
            cash -= sign * execution.quantity * execution.price + execution.fee;
            fees += execution.fee;
            position += sign * execution.quantity;
        }
        prop_assert_eq!((ledger.cash, ledger.fees), (cash, fees));
        prop_assert_eq!(ledger.positions.get("SPX").copied().unwrap_or_default(), position);
        for order in &ledger.orders {
            let of_order = ledger.executions.iter().filter(|execution| execution.key == order.key);
            let filled: Decimal = of_order.map(|execution| execution.quantity).sum();
            prop_assert_eq!(filled, order.filled);
            prop_assert!(filled <= order.quantity);
            prop_assert_eq!(order.status == "filled", filled == order.quantity && order.status != "rejected");
        }
        prop_assert!(ledger.placements.values().all(|count| *count == 1));
        prop_assert!(ledger.executions.is_sorted_by(|a, b| a.sequence < b.sequence));
    }

    #[test]
    fn the_same_session_gives_the_same_ledger(steps in proptest::collection::vec(steps(), 0..60)) {
        prop_assert_eq!(play(&steps).engine.truth(), play(&steps).engine.truth());
    }

    #[test]
    fn no_body_makes_the_venue_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut paper = Paper::new(rules());
        paper.last("100");
        for command in [Command::Place, Command::Amend("a".into())] {
            paper.engine.execute(ME, "a", &command, &body);
        }
    }
}
