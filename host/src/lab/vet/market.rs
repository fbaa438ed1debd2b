//! The scenarios: what markets and hosts do, each as steps that a seed decides.

use super::session::{Session, Step};
use crate::lab::exchange::{Liquidity, Model};
use crate::market::{Instrument, InstrumentId, InstrumentKind, Lots, Marks, PriceTicks, Tick, UnixNanos};
use crate::plugin::{Plugin, Setting, SettingValue};
use crate::random::SplitMix64;
use crate::resilience::Mode;
use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use serde_json::Value;

/// One way to try a strategy.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What happens in it, in a few words.
    pub about: &'static str,
    /// What the strategy is put through.
    pub session: Session,
}

/// Steps of a scenario: enough for averages of a few dozen prices to cross many times.
const STEPS: usize = 600;
/// Steps of one that tries a setting.
const SETTING_STEPS: usize = 200;
/// A Monday morning: no day ends in the first hours.
const BEGIN_NS: u64 = 1_700_460_000_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;
const PRICE: i64 = 10_000;

/// A market that a seed moves.
struct Market {
    random: SplitMix64,
    prices: Vec<i64>,
    at: u64,
    seq: u64,
    step_ns: u64,
    /// Most ticks by which a price moves at once.
    most: u64,
}

impl Market {
    fn new(seed: u64, instruments: usize, step_ns: u64) -> Self {
        let random = SplitMix64(seed);
        Self { random, prices: vec![PRICE; instruments], at: BEGIN_NS, seq: 0, step_ns, most: 40 }
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.random.below(one_in) == 0
    }

    /// The next update: a trade within a quote of two ticks.
    fn tick(&mut self) -> Tick {
        let index = self.random.below(self.prices.len() as u64) as usize;
        let moved = self.random.below(2 * self.most + 1) as i64 - self.most as i64;
        let size = Lots(1 + self.random.below(50) as i64);
        let price = self.prices.get(index).copied().unwrap_or(PRICE).saturating_add(moved).clamp(10, 1 << 40);
        self.set(index, price);
        self.at += self.step_ns;
        self.seq += 1;
        Tick {
            instrument: InstrumentId(index as u32),
            seq: self.seq,
            event_time: UnixNanos(self.at),
            bid_price: PriceTicks(price - 1),
            bid_size: size,
            ask_price: PriceTicks(price + 1),
            ask_size: size,
            last_price: PriceTicks(price),
            last_size: size,
            volume: size,
            marks: Marks::TRADE.with(Marks::QUOTE),
        }
    }

    fn set(&mut self, index: usize, price: i64) {
        if let Some(slot) = self.prices.get_mut(index) {
            *slot = price;
        }
    }

    /// Prices of now times this many thousandths.
    fn scale(&mut self, permille: i64) {
        for price in &mut self.prices {
            *price = (price.saturating_mul(permille) / 1_000).clamp(10, 1 << 40);
        }
    }
}

fn trade(mut tick: Tick) -> Tick {
    (tick.bid_price, tick.bid_size, tick.ask_price, tick.ask_size) = Default::default();
    Tick { marks: Marks::TRADE, ..tick }
}

fn quote(mut tick: Tick) -> Tick {
    (tick.last_price, tick.last_size, tick.volume) = Default::default();
    Tick { marks: Marks::QUOTE, ..tick }
}

type Act = fn(&mut Market, usize, &mut Vec<Step>);

/// Scenarios of the market alone, and of what a host does; the function adds the steps of one update.
const SCENARIOS: [(&str, &str, Act); 16] = [
    ("calm", "a random walk of trades within quotes", |market, _, steps| steps.push(market.tick().into())),
    ("trades-only", "no quotes at all", |market, _, steps| steps.push(trade(market.tick()).into())),
    ("quotes-only", "no trades at all", |market, _, steps| steps.push(quote(market.tick()).into())),
    ("gaps", "prices leap by a third, hours pass without a word", |market, index, steps| {
        if index % 50 == 49 {
            let up = market.chance(2);
            market.scale(if up { 1_330 } else { 670 });
            market.at += 3_600 * SECOND_NS * (1 + market.random.below(60));
        }
        steps.push(market.tick().into());
    }),
    ("crossed-quotes", "bids at and above the ask", |market, index, steps| {
        let mut tick = market.tick();
        match index % 5 {
            3 => tick.ask_price = tick.bid_price,
            4 => std::mem::swap(&mut tick.bid_price, &mut tick.ask_price),
            _ => {}
        }
        steps.push(tick.into());
    }),
    ("absent-sides", "no bid, no ask, neither, or no price at all", |market, _, steps| {
        let mut tick = market.tick();
        match market.random.below(6) {
            0 => (tick.bid_price, tick.bid_size) = Default::default(),
            1 => (tick.ask_price, tick.ask_size) = Default::default(),
            2 => tick = trade(tick),
            3 => tick = quote(tick),
            4 => {
                tick = quote(tick);
                (tick.bid_price, tick.bid_size, tick.ask_price, tick.ask_size) = Default::default();
            }
            _ => {}
        }
        steps.push(tick.into());
    }),
    (
        "limit-days",
        "the price stands at its limit and one side of the book is empty",
        |market, index, steps| {
            let (up, pinned) = (index / 150 % 2 == 0, index % 150 >= 30);
            if index % 150 == 30 {
                market.scale(if up { 1_100 } else { 900 });
            }
            market.most = if pinned { 0 } else { 40 };
            let mut tick = market.tick();
            if pinned && up {
                (tick.ask_price, tick.ask_size) = Default::default();
            } else if pinned {
                (tick.bid_price, tick.bid_size) = Default::default();
            }
            steps.push(tick.into());
        },
    ),
    ("zero-volume", "sizes and volumes of nothing", |market, _, steps| {
        let mut tick = market.tick();
        (tick.bid_size, tick.ask_size, tick.last_size, tick.volume) = Default::default();
        steps.push(tick.into());
    }),
    ("late-and-repeated", "updates that come twice, late or all at one moment", |market, _, steps| {
        let tick = market.tick();
        match market.random.below(8) {
            0 => steps.extend([tick.into(), tick.into()]),
            1 => steps.push(Tick { event_time: UnixNanos(market.at - 90 * SECOND_NS), ..tick }.into()),
            2 => {
                market.at -= market.step_ns;
                steps.push(Tick { event_time: UnixNanos(market.at), ..tick }.into());
            }
            _ => steps.push(tick.into()),
        }
    }),
    ("flat", "a price that never moves", |market, _, steps| {
        market.most = 0;
        steps.push(market.tick().into());
    }),
    ("extremes", "prices from a few ticks to billions", |market, index, steps| {
        market.scale(if index / 60 % 2 == 0 { 920 } else { 1_100 });
        market.most = (market.prices.iter().max().copied().unwrap_or(PRICE) / 100).max(0) as u64;
        steps.push(market.tick().into());
    }),
    (
        "mode-changes",
        "an operator lets it trade, reduce, only look, and trade again",
        |market, index, steps| {
            if index % 40 == 39 {
                let modes = [Mode::ReadOnly, Mode::Observation, Mode::Full];
                let mode = modes.get(market.random.below(3) as usize).copied().unwrap_or_default();
                steps.push(Step::Floor(mode));
            }
            steps.push(market.tick().into());
        },
    ),
    ("rejected-orders", "the exchange refuses one order after another", |market, index, steps| {
        if index % 20 == 19 {
            steps.push(Step::Refuse(1 + market.random.below(3) as u32));
        }
        steps.push(market.tick().into());
    }),
    ("partial-fills", "a book of a few lots, an order a second away", |market, _, steps| {
        let mut tick = market.tick();
        let size = Lots(1 + market.random.below(2) as i64);
        (tick.bid_size, tick.ask_size, tick.last_size, tick.volume) = (size, size, size, size);
        steps.push(tick.into());
    }),
    ("restarts", "a fresh instance loads the state and goes on", |market, index, steps| {
        if index % 60 == 59 {
            steps.push(Step::Restart);
        }
        steps.push(market.tick().into());
    }),
    (
        "lost-state",
        "a fresh instance begins anew over positions and orders that are there",
        |market, index, steps| {
            if index % 200 == 150 {
                steps.push(Step::Forget);
            }
            steps.push(market.tick().into());
        },
    ),
];

/// Everything that a component is vetted on: the scenarios, its settings at their bounds, and `random` sessions of
/// everything at once.
pub fn scenarios(plugin: &Plugin, settings: &[Setting], seed: u64, random: u32) -> Vec<Scenario> {
    let needs = &plugin.metadata().needs;
    let instruments = instruments(needs.instruments_min.max(1));
    // Five updates a bar, so that bars are whole and there are more than a hundred of them.
    let shortest = needs.bar_seconds.iter().copied().min().unwrap_or(0);
    let step_ns = (u64::from(shortest) * SECOND_NS / 5).max(SECOND_NS);
    let begin = |name: &str, salt: u64, settings: Vec<Setting>| {
        let session = Session::new(name, seed, settings, instruments.clone());
        (Market::new(seed ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15), instruments.len(), step_ns), session)
    };
    let mut all = Vec::new();
    for (salt, (name, about, act)) in SCENARIOS.into_iter().enumerate() {
        let (mut market, mut session) = begin(name, salt as u64 + 1, settings.to_vec());
        if name == "partial-fills" {
            let latency = SECOND_NS;
            (session.model.order_latency_ns, session.model.reply_latency_ns) = (latency, latency);
            session.model.liquidity = Liquidity::Displayed;
        }
        (0..STEPS).for_each(|index| act(&mut market, index, &mut session.steps));
        all.push(Scenario { name: name.to_owned(), about, session });
    }
    for (key, value) in bounds(plugin.settings_schema().json()) {
        let name = format!("setting {}={}", key.escape_debug(), shown(&value));
        let mut given: Vec<Setting> = settings.iter().filter(|it| it.key != key).cloned().collect();
        given.push(Setting { key, value });
        let (mut market, mut session) = begin(&name, 100, given);
        session.steps = (0..SETTING_STEPS).map(|_| market.tick().into()).collect();
        all.push(Scenario { name, about: "a setting at a bound of what it may be", session });
    }
    for number in 0..random {
        let name = format!("random-{}", number + 1);
        let (mut market, mut session) = begin(&name, 1_000 + u64::from(number), settings.to_vec());
        session.model = model(&mut market);
        for index in 0..STEPS {
            let which =
                if market.chance(3) { market.random.below(SCENARIOS.len() as u64) as usize } else { 0 };
            if let Some((.., act)) = SCENARIOS.get(which) {
                market.most = 40;
                // Another place in its script each time.
                act(&mut market, index * 7 + which, &mut session.steps);
            }
            if market.chance(97) {
                session.steps.push(Step::Say("carry on".into()));
            }
        }
        all.push(Scenario { name, about: "all of it, as a seed draws it", session });
    }
    all
}

fn model(market: &mut Market) -> Model {
    let liquidity = if market.chance(2) { Liquidity::Displayed } else { Liquidity::Unlimited };
    let latency = market.random.below(3) * market.step_ns;
    let slippage_ticks = market.random.below(3) as u32;
    Model {
        liquidity,
        order_latency_ns: latency,
        reply_latency_ns: latency / 2,
        slippage_ticks,
        ..Model::default()
    }
}

fn instruments(count: u32) -> Vec<Instrument> {
    let instrument = |number: u32| Instrument {
        symbol: format!("VET{}", number + 1),
        venue: "lab".into(),
        kind: InstrumentKind::Spot,
        quote_currency: "USD".into(),
        multiplier: Decimal::ONE,
        tick_size: Decimal::new(1, 2),
        lot_size: Decimal::ONE,
        min_lots: Lots(1),
        // What is too much for an account is for the risk gate to say.
        max_lots: Lots(1 << 40),
    };
    (0..count).map(instrument).collect()
}

/// The settings of a schema, one at a time, at the ends of what they may be.
fn bounds(schema: &Value) -> Vec<(String, SettingValue)> {
    let mut found = Vec::new();
    for (key, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if let Some(values) = property.get("enum").and_then(Value::as_array) {
            found.extend(values.iter().filter_map(value).map(|value| (key.clone(), value)));
            continue;
        }
        match property.get("type").and_then(Value::as_str) {
            Some("boolean") => {
                found.extend([false, true].map(|value| (key.clone(), SettingValue::Boolean(value))));
            }
            Some("integer" | "number") => {
                let ends = ["minimum", "maximum"].iter().filter_map(|end| property.get(*end));
                found.extend(ends.filter_map(value).map(|value| (key.clone(), value)));
            }
            _ => {}
        }
    }
    found
}

fn value(json: &Value) -> Option<SettingValue> {
    match json {
        Value::Bool(value) => Some(SettingValue::Boolean(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(value) => Some(SettingValue::Integer(value)),
            None => number.as_f64().filter(|value| value.is_finite()).map(SettingValue::Real),
        },
        // Exact decimals are text in a schema.
        Value::String(text) => Some(SettingValue::Text(text.clone())),
        _ => None,
    }
}

fn shown(value: &SettingValue) -> String {
    match value {
        SettingValue::Boolean(value) => value.to_string(),
        SettingValue::Integer(value) => value.to_string(),
        SettingValue::Real(value) => {
            Decimal::from_f64(*value).map_or_else(|| value.to_string(), |it| it.to_string())
        }
        SettingValue::Exact(value) => value.to_string(),
        SettingValue::Text(text) => text.escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_are_tried_at_both_ends_and_at_every_word() {
        let schema = json!({ "properties": {
            "fast": { "type": "integer", "minimum": 1, "maximum": 9 },
            "band": { "type": "number", "minimum": 0.5 },
            "on": { "type": "boolean" },
            "side": { "enum": ["a", "b"] },
            "name": { "type": "string" },
        }});
        let found: Vec<String> =
            bounds(&schema).iter().map(|(key, value)| format!("{key}={}", shown(value))).collect();
        assert_eq!(found, ["band=0.5", "fast=1", "fast=9", "on=false", "on=true", "side=a", "side=b"]);
    }

    #[test]
    fn every_scenario_is_in_its_file_what_it_was() {
        for (salt, (name, _, act)) in SCENARIOS.into_iter().enumerate() {
            let mut session = Session::new(name, 1, Vec::new(), instruments(2));
            let mut market = Market::new(salt as u64, 2, SECOND_NS);
            (0..STEPS).for_each(|index| act(&mut market, index, &mut session.steps));
            assert!(session.steps.len() >= STEPS, "{name}");
            assert_eq!(Session::decode(&session.encode()).as_ref(), Ok(&session), "{name}");
        }
    }
}
