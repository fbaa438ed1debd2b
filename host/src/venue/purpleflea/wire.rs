//! The replies of this venue, and what they mean in the steps of our instruments.
//!
//! The venue computes in floats. A number that cannot be what it stands for (missing, infinite, negative, or
//! not near a whole number of lots) makes the reply one that says nothing; it is never rounded into a guess.

use super::super::observation::{Undecodable, excerpt};
use super::instruction::{Terms, direction};
use crate::market::{Instrument, Lots, Money, PriceTicks};
use crate::orders::Side;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Deserialize;
use serde_json::{Number, Value};

/// What the account holds in one coin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) lots: Lots,
    pub(super) position_id: Option<String>,
    /// Average price of the position.
    pub(super) entry: Option<Decimal>,
    /// Price of the coin now.
    pub(super) price: Option<Decimal>,
}

/// One row of the trade history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trade {
    pub(super) id: String,
    pub(super) order_id: Option<String>,
    /// `None` for a row of another coin.
    pub(super) side: Option<Side>,
    pub(super) size_usd: Option<Decimal>,
    pub(super) price: Option<Decimal>,
    pub(super) fee: Option<Decimal>,
    /// Seconds since the epoch by the venue's clock, as far as it says.
    pub(super) created_s: Option<u64>,
}

/// An order that waits for its price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) id: String,
    pub(super) state: WaitingState,
    /// `None` for an order in another coin.
    pub(super) side: Option<Side>,
    pub(super) size_usd: Option<Decimal>,
    pub(super) limit_price: Option<Decimal>,
}

/// What became of an order that waits for its price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitingState {
    Pending,
    Cancelled,
    /// Executed, failed, or a word that we do not know.
    Left,
}

impl WaitingState {
    /// A list that names no state is a list of those that wait.
    fn of(status: Option<&str>) -> Self {
        match status {
            None | Some("pending" | "open") => Self::Pending,
            Some("cancelled" | "canceled") => Self::Cancelled,
            Some(_) => Self::Left,
        }
    }
}

/// What was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Execution {
    pub(super) lots: Lots,
    pub(super) price: PriceTicks,
    pub(super) fee: Money,
    /// The venue's own id of the order, unless it has no record of it.
    pub(super) order_id: Option<String>,
}

/// The refusal in a reply.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) error: String,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Deserialize)]
struct OpenReply {
    order_id: String,
    coin: String,
    side: String,
    size_usd: Number,
    entry_price: Number,
    fee: Number,
}

#[derive(Deserialize)]
struct CloseReply {
    position_id: String,
    exit_price: Number,
    size_usd: Number,
    fee: Number,
}

#[derive(Deserialize)]
struct PriceReply {
    price: Option<Number>,
}

#[derive(Deserialize)]
struct LimitReply {
    order_id: String,
    status: String,
}

#[derive(Deserialize)]
struct PositionsReply {
    source: String,
    count: Option<usize>,
    positions: Value,
}

/// One position as the exchange has it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PositionRow {
    position_id: Option<String>,
    coin: String,
    side: String,
    size: Number,
    #[serde(default)]
    entry_price: Value,
    #[serde(default)]
    current_price: Value,
}

#[derive(Deserialize)]
struct HistoryReply {
    trades: Vec<TradeRow>,
    count: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TradeRow {
    id: String,
    order_id: Option<String>,
    coin: String,
    side: String,
    #[serde(default)]
    size_usd: Value,
    #[serde(default)]
    price: Value,
    #[serde(default)]
    fee: Value,
    #[serde(default)]
    created_at: Value,
}

/// The facts about this list name no fields, so both spellings that the venue has elsewhere are read.
#[derive(Deserialize)]
struct WaitingReply {
    #[serde(alias = "limit_orders", alias = "pending_orders")]
    orders: Vec<WaitingRow>,
}

#[derive(Deserialize)]
struct WaitingRow {
    #[serde(alias = "order_id")]
    id: String,
    status: Option<String>,
    coin: String,
    side: String,
    #[serde(default, alias = "sizeUsd")]
    size_usd: Value,
    #[serde(default, alias = "limitPrice")]
    limit_price: Value,
}

/// The part of the account that decides whether it can trade.
#[derive(Debug, Deserialize)]
pub(super) struct Account {
    pub(super) max_leverage: Number,
    pub(super) max_position_usd: Number,
    pub(super) hl_wallet: Wallet,
}

#[derive(Debug, Deserialize)]
pub(super) struct Wallet {
    pub(super) connected: bool,
    pub(super) signing_key_stored: Option<bool>,
    #[serde(default)]
    pub(super) execution: Value,
}

/// The fee that is assumed where the venue does not tell one: that of its lowest tier, 5.5 basis points.
pub(super) const FEE_ASSUMED: Decimal = Decimal::from_parts(55, 0, 0, false, 5);

/// Fees below this are rounded to cents too roughly for a rate.
const FEE_TELLING: Decimal = Decimal::from_parts(5, 0, 0, false, 2);

/// Rows of the history that are asked for: the most that the venue gives.
pub(super) const HISTORY_ROWS_MAX: usize = 200;

/// A filled open, of at most so many lots, that was sized by a price.
pub(super) fn opened(
    body: &[u8],
    terms: Terms<'_>,
    instrument: &Instrument,
    (lots_max, sized_at): (Lots, Decimal),
) -> Result<Execution, Undecodable> {
    let reply: OpenReply = json(body)?;
    if !is_coin(&reply.coin, terms.coin) || reply.side != direction(terms.side) {
        let found = excerpt(format!("{} {}", reply.side, reply.coin).as_bytes());
        return Err(Undecodable::new(format!("it speaks of a {found} position, which was not ordered")));
    }
    let size_usd = positive("size_usd", &reply.size_usd)?;
    let price = positive("entry_price", &reply.entry_price)?;
    // No market halves or doubles while one order is under way.
    let ratio = price.checked_div(sized_at).unwrap_or_default();
    if !(Decimal::new(5, 1)..=Decimal::TWO).contains(&ratio) {
        return Err(Undecodable::new(format!("its price is {price}, and the order was sized at {sized_at}")));
    }
    let lots = lots_of_dollars(size_usd, price, instrument)?;
    if lots > lots_max {
        return Err(Undecodable::new(format!(
            "it says that {lots} lots were filled, at most {lots_max} are possible"
        )));
    }
    Ok(Execution {
        lots,
        price: ticks(price, instrument)?,
        fee: fee(decimal(&reply.fee), size_usd)?,
        order_id: Some(reply.order_id),
    })
}

/// What a close says of itself. How much was closed is not in it: its dollars, and the fee on them, are those of
/// the venue's own row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    price: Decimal,
    row_usd: Decimal,
    row_fee: Decimal,
}

impl Closed {
    /// What so many lots at this price were, with their part of the fee.
    pub(super) fn execution(
        self,
        lots: Lots,
        order_id: Option<String>,
        instrument: &Instrument,
    ) -> Result<Execution, Undecodable> {
        let dollars = instrument.quantity(lots).and_then(|quantity| quantity.checked_mul(self.price));
        let fee = dollars.and_then(|dollars| {
            if dollars > self.row_usd && self.row_fee < FEE_TELLING {
                return dollars.checked_mul(FEE_ASSUMED);
            }
            self.row_fee.checked_mul(dollars)?.checked_div(self.row_usd)
        });
        let fee = fee.ok_or_else(|| Undecodable::new("its fee is out of range"))?;
        Ok(Execution {
            lots,
            price: ticks(self.price, instrument)?,
            fee: Money::new(fee.round_dp(4)),
            order_id,
        })
    }
}

/// A close that was executed.
pub(super) fn closed(body: &[u8], position_id: &str) -> Result<Closed, Undecodable> {
    let reply: CloseReply = json(body)?;
    if reply.position_id != position_id {
        let found = excerpt(reply.position_id.as_bytes());
        return Err(Undecodable::new(format!("it speaks of position {found}, which was not to be closed")));
    }
    let (price, row_usd) =
        (positive("exit_price", &reply.exit_price)?, positive("size_usd", &reply.size_usd)?);
    closed_row(Some(price), Some(row_usd), decimal(&reply.fee))
}

/// A close by its row in the history.
pub(super) fn closed_row(
    price: Option<Decimal>,
    row_usd: Option<Decimal>,
    fee: Option<Decimal>,
) -> Result<Closed, Undecodable> {
    let positive = |value: Option<Decimal>| value.filter(|value| *value > Decimal::ZERO);
    let (Some(price), Some(row_usd)) = (positive(price), positive(row_usd)) else {
        return Err(Undecodable::new("a close has a price or size that cannot be"));
    };
    Ok(Closed { price, row_usd, row_fee: fee_of(fee, row_usd)? })
}

/// The price by which the venue turns dollars into coin.
pub(super) fn sizing_price(body: &[u8]) -> Result<Decimal, Undecodable> {
    let reply: PriceReply = json(body)?;
    let price = reply.price.as_ref().and_then(decimal).filter(|price| *price > Decimal::ZERO);
    price.ok_or_else(|| Undecodable::new("it has no price, so no order can be sized"))
}

/// The id of an order that now waits.
pub(super) fn limit_placed(body: &[u8]) -> Result<String, Undecodable> {
    let reply: LimitReply = json(body)?;
    if reply.status != "pending" || reply.order_id.is_empty() {
        let found = excerpt(reply.status.as_bytes());
        return Err(Undecodable::new(format!("it calls the order {found} instead of pending")));
    }
    Ok(reply.order_id)
}

/// A reply in which only yes or no counts.
pub(super) fn agreed(body: &[u8]) -> Result<(), Undecodable> {
    let reply: serde_json::Map<String, Value> = json(body)?;
    if reply.contains_key("error") {
        return Err(Undecodable::new(format!("it holds an error: {}", excerpt(body))));
    }
    Ok(())
}

/// The positions, when they are the exchange's own; else the name of where they are from.
pub(super) fn positions(body: &[u8]) -> Result<Result<Vec<PositionRow>, String>, Undecodable> {
    let reply: PositionsReply = json(body)?;
    if reply.source != "hyperliquid" {
        return Ok(Err(excerpt(reply.source.as_bytes())));
    }
    // The rows again, and not the value above, so that a key that comes twice is seen.
    #[derive(Deserialize)]
    struct Rows {
        positions: Vec<PositionRow>,
    }
    let rows = json::<Rows>(body)?.positions;
    counted(reply.count, rows.len())?;
    if !reply.positions.is_array() {
        return Err(Undecodable::new("its positions are no list"));
    }
    Ok(Ok(rows))
}

/// What the account holds in an instrument; nothing when no row is about it.
pub(super) fn holding(rows: &[PositionRow], instrument: &Instrument) -> Result<Holding, Undecodable> {
    let mut found: Vec<&PositionRow> =
        rows.iter().filter(|row| row.coin.eq_ignore_ascii_case(&instrument.symbol)).collect();
    if found.is_empty() {
        found = rows.iter().filter(|row| is_coin(&row.coin, &instrument.symbol)).collect();
    }
    let row = match found.as_slice() {
        [] => return Ok(Holding::default()),
        [row] => row,
        _ => return Err(Undecodable::new(format!("it lists {} more than once", instrument.symbol))),
    };
    let size = positive("size", &row.size)?;
    let lots = whole_lots(size, instrument, Decimal::new(1, 2)).ok_or_else(|| {
        Undecodable::new(format!("a size of {size} is no multiple of {}", instrument.lot_size))
    })?;
    let lots = match row.side.as_str() {
        "long" => lots,
        "short" => Lots(-lots.0),
        other => return Err(Undecodable::new(format!("a position is {}", excerpt(other.as_bytes())))),
    };
    let above_zero = |value: &Value| number(value).filter(|number| *number > Decimal::ZERO);
    Ok(Holding {
        lots,
        position_id: row.position_id.clone(),
        entry: above_zero(&row.entry_price),
        price: above_zero(&row.current_price),
    })
}

/// The history, newest first.
pub(super) fn history(body: &[u8], instrument: &Instrument) -> Result<Vec<Trade>, Undecodable> {
    let reply: HistoryReply = json(body)?;
    counted(reply.count, reply.trades.len())?;
    let trade = |row: TradeRow| Trade {
        side: side(&row.coin, &row.side, instrument),
        id: row.id,
        order_id: row.order_id,
        size_usd: number(&row.size_usd),
        price: number(&row.price),
        fee: number(&row.fee),
        created_s: number(&row.created_at).and_then(|seconds| seconds.to_u64()),
    };
    Ok(reply.trades.into_iter().map(trade).collect())
}

/// The orders that wait for their price.
pub(super) fn waiting(body: &[u8], instrument: &Instrument) -> Result<Vec<Waiting>, Undecodable> {
    let reply: WaitingReply = json(body)?;
    let order = |row: WaitingRow| Waiting {
        side: side(&row.coin, &row.side, instrument),
        state: WaitingState::of(row.status.as_deref()),
        id: row.id,
        size_usd: number(&row.size_usd),
        limit_price: number(&row.limit_price),
    };
    Ok(reply.orders.into_iter().map(order).collect())
}

/// What became of one order, of whatever coin; `None` when it is not listed.
pub(super) fn waiting_state(body: &[u8], id: &str) -> Result<Option<WaitingState>, Undecodable> {
    let reply: WaitingReply = json(body)?;
    let row = reply.orders.iter().find(|row| row.id == id);
    Ok(row.map(|row| WaitingState::of(row.status.as_deref())))
}

/// Whether the account can trade.
pub(super) fn account(body: &[u8]) -> Result<Account, Undecodable> {
    json(body)
}

/// Code and words of a refusal, when the body is one.
pub(super) fn refusal(body: &[u8]) -> Option<Refusal> {
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    (!refusal.error.is_empty() && refusal.error.len() <= 64).then_some(refusal)
}

/// A JSON number as it is written; `None` for what is no number or needs more than 28 digits.
pub(super) fn decimal(number: &Number) -> Option<Decimal> {
    let text = number.to_string();
    let scientific = text.contains(['e', 'E']);
    if scientific { Decimal::from_scientific(&text).ok() } else { Decimal::from_str_exact(&text).ok() }
}

/// The whole lots that a number of dollars bought. The venue rounds dollars to cents, so the quotient is rarely
/// whole; one that is a quarter of a lot off could be either neighbour's.
pub(super) fn lots_of_dollars(
    dollars: Decimal,
    price: Decimal,
    instrument: &Instrument,
) -> Result<Lots, Undecodable> {
    let quantity = dollars.checked_div(price);
    let lots = quantity.and_then(|quantity| whole_lots(quantity, instrument, Decimal::new(25, 2)));
    lots.filter(|lots| lots.0 > 0).ok_or_else(|| {
        Undecodable::new(format!(
            "{dollars} dollars at {price} are no whole number of {}",
            instrument.lot_size
        ))
    })
}

/// The nearest tick of a price, which is an average and may lie between two.
pub(super) fn ticks(price: Decimal, instrument: &Instrument) -> Result<PriceTicks, Undecodable> {
    let ticks = price.checked_div(instrument.tick_size).and_then(|ticks| ticks.round().to_i64());
    let ticks = ticks.filter(|ticks| (1..STEPS_MAX).contains(ticks)).map(PriceTicks);
    ticks.ok_or_else(|| Undecodable::new(format!("a price of {price} is not near a tick above zero")))
}

/// A fee that can be one.
pub(super) fn fee(found: Option<Decimal>, dollars: Decimal) -> Result<Money, Undecodable> {
    fee_of(found, dollars).map(Money::new)
}

fn fee_of(found: Option<Decimal>, dollars: Decimal) -> Result<Decimal, Undecodable> {
    let fee = found.filter(|fee| (Decimal::ZERO..=dollars).contains(fee));
    fee.ok_or_else(|| Undecodable::new("its fee is missing, negative or above the order"))
}

/// Leaves room for sums without overflow.
const STEPS_MAX: i64 = 1 << 62;

fn whole_lots(quantity: Decimal, instrument: &Instrument, off_max: Decimal) -> Option<Lots> {
    let lots = quantity.checked_div(instrument.lot_size)?;
    let whole = lots.round();
    let near = (lots - whole).abs() <= off_max;
    whole.to_i64().filter(|lots| near && (1..STEPS_MAX).contains(lots)).map(Lots)
}

fn positive(name: &str, found: &Number) -> Result<Decimal, Undecodable> {
    let value = decimal(found).filter(|value| *value > Decimal::ZERO);
    value.ok_or_else(|| Undecodable::new(format!("its {name} is {found}")))
}

fn number(value: &Value) -> Option<Decimal> {
    value.as_number().and_then(decimal)
}

fn counted(said: Option<usize>, found: usize) -> Result<(), Undecodable> {
    match said {
        Some(said) if said != found => {
            Err(Undecodable::new(format!("it says that it lists {said} rows and lists {found}")))
        }
        _ => Ok(()),
    }
}

/// The venue writes stocks and the like as `xyz:TSLA` and takes them without.
fn is_coin(found: &str, symbol: &str) -> bool {
    let bare = |coin: &str| coin.get(..4).is_some_and(|dex| dex.eq_ignore_ascii_case("xyz:"));
    let name = |coin: &'_ str| if bare(coin) { coin.get(4..).map(str::to_owned) } else { None };
    found.eq_ignore_ascii_case(symbol)
        || (!bare(symbol) && name(found).is_some_and(|name| name.eq_ignore_ascii_case(symbol)))
}

/// Which way a row of this instrument goes; orders are `long` or `short` and trades `buy` or `sell`.
fn side(coin: &str, side: &str, instrument: &Instrument) -> Option<Side> {
    match side {
        _ if !is_coin(coin, &instrument.symbol) => None,
        "buy" | "long" => Some(Side::Buy),
        "sell" | "short" => Some(Side::Sell),
        _ => None,
    }
}

fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Undecodable> {
    serde_json::from_slice(body).map_err(|error| {
        Undecodable::new(format!("its body does not fit the contract ({error}): {}", excerpt(body)))
    })
}
