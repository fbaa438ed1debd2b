//! Whatever is sent, the two books follow their own rules, and nothing makes the venue panic.

use super::*;
use crate::orders::Digest;
use crate::venue::paper::purpleflea::engine::{Delivery, Engine};
use crate::venue::paper::purpleflea::request::Incoming;
use crate::venue::paper::purpleflea::{FleaAccountTruth, FleaFault, FleaRoute, RestingStatus, RowStatus};
use proptest::prelude::*;

/// One step of a sequence.
#[derive(Clone, Debug)]
enum Step {
    Open { coin: &'static str, long: bool, size_usd: u32 },
    Close { index: usize },
    Limit { coin: &'static str, long: bool, size_usd: u32, percent: u32 },
    Exit { index: usize, stop: bool, percent: u32 },
    CloseAll,
    Price { coin: &'static str, percent: u32 },
    Wait { ms: u64 },
    Fault(FleaFault),
}

fn coin() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("BTC"), Just("SPX")]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (coin(), any::<bool>(), 1_u32..10_000)
            .prop_map(|(coin, long, size_usd)| Step::Open { coin, long, size_usd }),
        3 => (0_usize..8).prop_map(|index| Step::Close { index }),
        2 => (coin(), any::<bool>(), 1_u32..10_000, 80_u32..120)
            .prop_map(|(coin, long, size_usd, percent)| Step::Limit { coin, long, size_usd, percent }),
        1 => (0_usize..8, any::<bool>(), 80_u32..120)
            .prop_map(|(index, stop, percent)| Step::Exit { index, stop, percent }),
        1 => Just(Step::CloseAll),
        3 => (coin(), 80_u32..120).prop_map(|(coin, percent)| Step::Price { coin, percent }),
        3 => (0_u64..60_000).prop_map(|ms| Step::Wait { ms }),
        2 => prop::sample::select(FleaFault::EXAMPLES.to_vec()).prop_map(Step::Fault),
    ]
}

struct Bare {
    engine: Engine,
    clock: PaperClock,
}

impl Bare {
    fn new() -> Self {
        let clock = PaperClock::stopped_at(NOON_MS);
        let config = FleaConfig { trades_per_minute: 0, ..config() };
        let mut bare =
            Self { engine: Engine::new(config, &[Digest::of(KEY.as_bytes())], clock.clone()), clock };
        bare.price("BTC", 100);
        bare.price("SPX", 100);
        bare
    }

    fn base(coin: &str) -> u32 {
        if coin == "BTC" { 60_000 } else { 100 }
    }

    fn price(&mut self, coin: &str, percent: u32) {
        let last = Decimal::from(Self::base(coin) * percent / 100);
        let tick =
            MarketTick { symbol: coin.into(), at: UnixNanos(1), last: Some(last), bid: None, ask: None };
        self.engine.push(&[tick]).unwrap();
    }

    fn send(&mut self, method: &str, path: &str, body: &[u8]) -> Delivery {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        self.engine.receive(Incoming {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            authorization: Some(format!("Bearer {KEY}")),
            body: body.to_vec(),
            ..Incoming::default()
        })
    }

    fn account(&mut self) -> FleaAccountTruth {
        self.engine.truth().accounts.remove(0)
    }

    fn position(&mut self, index: usize) -> String {
        self.account().rows.get(index).map_or_else(|| "pos_none".into(), |row| row.id.clone())
    }

    fn take(&mut self, step: Step) {
        let side = |long| if long { "long" } else { "short" };
        let (path, body) = match step {
            Step::Price { coin, percent } => return self.price(coin, percent),
            Step::Wait { ms } => return self.clock.advance_ms(ms),
            Step::Fault(fault) => {
                let rule = FaultRule { route: None, fault, when: super::super::When::Next(1) };
                let faults = FleaFaults { rules: vec![rule], ..FleaFaults::default() };
                return self.engine.set_faults(faults).unwrap();
            }
            Step::Open { coin, long, size_usd } => {
                ("open", json!({ "coin": coin, "side": side(long), "size_usd": size_usd }))
            }
            Step::Close { index } => ("close", json!({ "position_id": self.position(index) })),
            Step::Limit { coin, long, size_usd, percent } => {
                let price = Self::base(coin) * percent / 100;
                let body = json!({
                    "coin": coin, "side": side(long), "size_usd": size_usd, "limit_price": price,
                });
                ("limit", body)
            }
            Step::Exit { index, stop, percent } => {
                let body = json!({ "position_id": self.position(index), "trigger_price": percent });
                (if stop { "stop-loss" } else { "take-profit" }, body)
            }
            Step::CloseAll => ("close-all", json!({})),
        };
        self.send("POST", &format!("/v1/trade/{path}"), body.to_string().as_bytes());
    }
}

/// What has to hold between the executions, the rows and the history, whatever has happened.
fn check(account: &FleaAccountTruth) {
    for coin in ["BTC", "SPX"] {
        let signed = |side: &str, quantity: Decimal| if side == "buy" { quantity } else { -quantity };
        let executions = account.executions.iter().filter(|execution| execution.coin == coin);
        let sum: Decimal = executions.map(|execution| signed(&execution.side, execution.quantity)).sum();
        assert_eq!(account.position(coin), sum, "{coin}: the net is the sum of the fills");
    }
    for execution in &account.executions {
        assert!(execution.quantity > Decimal::ZERO && execution.fee >= Decimal::ZERO, "{execution:?}");
        let digits = if execution.coin == "BTC" { 3 } else { 1 };
        assert!(execution.quantity.normalize().scale() <= digits, "{execution:?}");
        assert!(execution.request.is_some(), "somebody asked for it: {execution:?}");
    }
    let recorded = account.executions.iter().filter(|execution| execution.order_id.is_some()).count();
    assert_eq!(
        account.trades.len(),
        recorded,
        "a trade for each execution that was written down, and no other"
    );
    for row in &account.rows {
        assert_eq!(row.closed_at.is_some(), row.status == RowStatus::Closed, "{row:?}");
        assert!(row.size_usd > Decimal::ZERO && row.entry_price > Decimal::ZERO, "{row:?}");
        let opened = account.executions.iter().filter(|execution| execution.number == row.hl_order_id);
        assert_eq!(opened.count(), 1, "a row stands for one fill: {row:?}");
    }
    for row in account.resting.iter().filter(|row| row.status == RestingStatus::Pending) {
        assert!(!account.trades.iter().any(|trade| trade.order_id == row.id), "{row:?}");
    }
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec!["BTC", "SPX", "long", "short", "pos_1", "", "xyz:", "\u{1}NaN\u{1}"])
            .prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    let name = prop::sample::select(vec![
        "coin",
        "side",
        "size_usd",
        "leverage",
        "position_id",
        "limit_price",
        "trigger_price",
        "max_daily_loss_usd",
        "max_leverage",
        "max_position_usd",
        "hl_wallet_address",
        "hl_signing_key",
    ]);
    let object = prop::collection::btree_map(name, leaf.clone(), 0..8).prop_map(|map| {
        Value::Object(map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    });
    prop_oneof![4 => object, 1 => leaf]
}

fn path() -> impl Strategy<Value = (&'static str, String)> {
    let known = prop::sample::select(vec![
        ("POST", "/v1/auth/register"),
        ("POST", "/v1/trade/open"),
        ("POST", "/v1/trade/close"),
        ("POST", "/v1/trade/limit"),
        ("POST", "/v1/trade/stop-loss"),
        ("POST", "/v1/trade/take-profit"),
        ("POST", "/v1/trade/risk-settings"),
        ("POST", "/v1/trade/close-all"),
        ("GET", "/v1/trade/positions"),
        ("GET", "/v1/trade/risk-settings"),
        ("GET", "/v1/auth/account"),
        ("GET", "/v1/markets"),
    ])
    .prop_map(|(method, path)| (method, path.to_owned()));
    prop_oneof![
        8 => known,
        1 => ".{0,20}".prop_map(|text| ("GET", format!("/v1/markets/{text}/price"))),
        1 => ".{0,20}".prop_map(|text| ("GET", format!("/v1/markets/multi-price?coins={text}"))),
        1 => ".{0,20}".prop_map(|text| ("GET", format!("/v1/trade/history?limit={text}"))),
        1 => ".{0,20}".prop_map(|text| ("DELETE", format!("/v1/trade/limit-orders/{text}"))),
        1 => ".{0,20}".prop_map(|text| ("GET", text)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_books_follow_their_rules(steps in prop::collection::vec(step(), 1..40)) {
        let mut bare = Bare::new();
        for step in steps {
            bare.take(step);
            check(&bare.account());
        }
        // Whatever was late or waiting is done by now.
        bare.clock.advance_ms(120_000);
        check(&bare.account());
    }

    #[test]
    fn any_json_is_answered_with_an_object_and_its_tail(
        requests in prop::collection::vec((path(), anything()), 1..8),
    ) {
        let mut bare = Bare::new();
        for ((method, path), body) in requests {
            let delivery = bare.send(method, &path, body.to_string().as_bytes());
            let Delivery::Send(reply) = delivery else { panic!("{delivery:?}") };
            strip(&reply.body);
            prop_assert!((200..=503).contains(&reply.status));
        }
        check(&bare.account());
    }

    #[test]
    fn any_bytes_are_answered_with_an_object_and_its_tail(
        (method, path) in path(), body in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bare = Bare::new();
        let Delivery::Send(reply) = bare.send(method, &path, &body) else { panic!("no reply") };
        strip(&reply.body);
    }

    #[test]
    fn one_intent_is_one_fill_unless_the_request_is_delivered_twice(
        fault in prop::sample::select(FleaFault::EXAMPLES.to_vec()),
    ) {
        let mut bare = Bare::new();
        bare.take(Step::Fault(fault));
        bare.take(Step::Open { coin: "SPX", long: true, size_usd: 1_000 });
        bare.clock.advance_ms(3_600_000);
        let truth = bare.engine.truth();
        let expected = match fault {
            FleaFault::DropBefore
            | FleaFault::HtmlBefore(_)
            | FleaFault::RateLimited
            | FleaFault::NullPrice
            | FleaFault::NanPrice => 0,
            FleaFault::Duplicate => 2,
            _ => 1,
        };
        prop_assert_eq!((truth.caused_by(1).len(), truth.arrived(FleaRoute::Open)), (expected, 1));
    }
}
