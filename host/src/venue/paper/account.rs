//! One account: its orders, what was executed, cash and positions.

use super::config::{PaperConfig, PaperKeys};
use super::keys::Keys;
use super::market::Market;
use super::matching::{self, Fill};
use super::order::{Amendment, Order, Refusal, Status, check_terms};
use super::truth::{AccountTruth, Execution, OrderTruth};
use rust_decimal::{Decimal, RoundingStrategy};
use std::collections::{BTreeMap, BTreeSet};

/// Digits of a fee after the point.
const FEE_DIGITS: u32 = 8;

/// Numbers the changes of all accounts of one venue.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sequence(u64);

impl Sequence {
    pub(super) fn newest(self) -> u64 {
        self.0
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.saturating_add(1);
        self.0
    }
}

/// One change of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Update {
    pub(super) sequence: u64,
    /// Position in the account's list of orders.
    pub(super) order: usize,
    pub(super) change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Accepted,
    Filled { fill: Fill, leaves: Decimal, fee: Decimal },
    Amended { leaves: Decimal, limit: Option<Decimal> },
    Cancelled,
    Expired,
    Rejected(Refusal),
}

/// The rules of the venue and its market, as one operation sees them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) market: &'a Market,
    pub(super) rules: &'a PaperConfig,
}

#[derive(Debug)]
pub(super) struct Account {
    name: String,
    cash_at_start: Decimal,
    cash: Decimal,
    fees: Decimal,
    positions: BTreeMap<String, Decimal>,
    orders: Vec<Order>,
    by_client: BTreeMap<String, usize>,
    working: BTreeMap<String, BTreeSet<usize>>,
    updates: Vec<Update>,
    executions: Vec<Execution>,
    placements: BTreeMap<String, u64>,
    pub(super) keys: Keys,
    pub(super) repeats: u64,
}

impl Account {
    pub(super) fn new(name: &str, cash: Decimal, keys_max: usize) -> Self {
        Self {
            name: name.to_owned(),
            cash_at_start: cash,
            cash,
            fees: Decimal::ZERO,
            positions: BTreeMap::new(),
            orders: Vec::new(),
            by_client: BTreeMap::new(),
            working: BTreeMap::new(),
            updates: Vec::new(),
            executions: Vec::new(),
            placements: BTreeMap::new(),
            keys: Keys::new(keys_max),
            repeats: 0,
        }
    }

    /// Takes an order, or keeps it as rejected. Returns its number.
    pub(super) fn place(
        &mut self,
        mut order: Order,
        context: Context,
        sequence: &mut Sequence,
    ) -> Result<usize, Refusal> {
        if self.orders.len() >= context.rules.orders_max || self.updates.len() >= context.rules.updates_max {
            return Err(Refusal::new("ledger_full", "this venue keeps no more orders; start it again"));
        }
        let taken = match (context.rules.keys, self.find(&order.client_id)) {
            (PaperKeys::Honoured, Some(_)) => Some("an order with this client_id was placed before"),
            (PaperKeys::UniqueWhileOpen, Some((_, known))) if known.is_working() => {
                Some("an open order has this client_id")
            }
            _ => None,
        };
        if let Some(words) = taken {
            return Err(Refusal::new("duplicate_client_id", words));
        }
        if context.market.instrument(&order.symbol).is_none() {
            return Err(Refusal::new(
                "unknown_symbol",
                format!("this venue has no instrument {}", order.symbol),
            ));
        }
        let refusal = self.refusal(&order, context);
        if refusal.is_some() {
            order.status = Status::Rejected;
        }
        let number = self.orders.len();
        self.by_client.insert(order.client_id.clone(), number);
        *self.placements.entry(order.client_id.clone()).or_default() += 1;
        if refusal.is_none() {
            self.working.entry(order.symbol.clone()).or_default().insert(number);
        }
        self.orders.push(order);
        match refusal {
            Some(refusal) => {
                self.note(number, Change::Rejected(refusal.clone()), sequence);
                Err(refusal)
            }
            None => {
                self.note(number, Change::Accepted, sequence);
                self.advance(number, context, sequence, true);
                Ok(number)
            }
        }
    }

    fn refusal(&self, order: &Order, context: Context) -> Option<Refusal> {
        let instrument = context.market.instrument(&order.symbol)?;
        if let Err(refusal) = check_terms(instrument, order.quantity, [order.limit, order.armed]) {
            return Some(refusal);
        }
        let quote = context.market.quote(&order.symbol);
        let market_order = order.limit.is_none() && order.armed.is_none();
        if market_order && quote.touch(order.side).is_none() {
            return Some(Refusal::new("no_market", format!("there is no price of {} yet", order.symbol)));
        }
        if order.post_only && matching::would_cross(order.side, order.limit, &quote) {
            return Some(Refusal::new("would_cross", "a post_only order would take"));
        }
        let nothing_to_reduce = matching::reducible(order.side, self.position(&order.symbol)).is_zero();
        if order.reduce_only && order.armed.is_none() && nothing_to_reduce {
            return Some(Refusal::new("reduce_only", "there is no position that the order would reduce"));
        }
        None
    }

    /// Changes quantity and limit of a working order.
    pub(super) fn amend(
        &mut self,
        client_id: &str,
        amendment: Amendment,
        context: Context,
        sequence: &mut Sequence,
    ) -> Result<usize, Refusal> {
        let (number, order) = self.working_order(client_id)?;
        let quantity = amendment.quantity.0;
        let limit = match (order.limit, amendment.limit_price) {
            (None, Some(_)) => return Err(Refusal::new("invalid_order", "the order has no limit to change")),
            (old, new) => new.map(|new| new.0).or(old),
        };
        if let Some(instrument) = context.market.instrument(&order.symbol) {
            check_terms(instrument, quantity, [limit, None])?;
        }
        if quantity <= order.filled {
            let message = format!("{} are filled, the new quantity must be above that", order.filled);
            return Err(Refusal::new("invalid_quantity", message));
        }
        let quote = context.market.quote(&order.symbol);
        if order.post_only && matching::would_cross(order.side, limit, &quote) {
            return Err(Refusal::new("would_cross", "a post_only order would take"));
        }
        let leaves = quantity - order.filled;
        if let Some(order) = self.orders.get_mut(number) {
            (order.quantity, order.limit) = (quantity, limit);
        }
        self.note(number, Change::Amended { leaves, limit }, sequence);
        self.advance(number, context, sequence, true);
        Ok(number)
    }

    /// Takes a working order back.
    pub(super) fn cancel(&mut self, client_id: &str, sequence: &mut Sequence) -> Result<usize, Refusal> {
        let (number, _) = self.working_order(client_id)?;
        self.close(number, Status::Cancelled, sequence);
        Ok(number)
    }

    /// Ends every order whose time has come.
    pub(super) fn expire(&mut self, context: Context, sequence: &mut Sequence) {
        let now = context.market.clock();
        let due = |number: &&usize| {
            let lifetime = self.orders.get(**number).map(|order| order.lifetime);
            matches!(lifetime, Some(super::order::Lifetime::Until(at)) if at <= now)
        };
        let mut due: Vec<usize> = self.working.values().flatten().filter(due).copied().collect();
        due.sort_unstable();
        for number in due {
            self.close(number, Status::Expired, sequence);
        }
    }

    /// Matches every working order of an instrument, oldest first, after a tick.
    pub(super) fn match_symbol(&mut self, symbol: &str, context: Context, sequence: &mut Sequence) {
        let numbers: Vec<usize> = self.working.get(symbol).into_iter().flatten().copied().collect();
        for number in numbers {
            self.advance(number, context, sequence, false);
        }
    }

    fn advance(&mut self, number: usize, context: Context, sequence: &mut Sequence, arriving: bool) {
        let Some(order) = self.orders.get(number).filter(|order| order.is_working()) else { return };
        if self.updates.len() >= context.rules.updates_max {
            return;
        }
        let quote = context.market.quote(&order.symbol);
        let position = self.position(&order.symbol);
        let decision = matching::decide(order, &quote, position, context.rules.fill_quantity_max, arriving);
        if decision.triggered
            && let Some(order) = self.orders.get_mut(number)
        {
            order.armed = None;
        }
        // A fill whose sums do not fit the ledger is not made, and the order cannot stay.
        let booked = decision.fill.is_none_or(|fill| self.book(number, fill, context, sequence).is_some());
        let filled = self.orders.get(number).is_some_and(|order| order.leaves().is_zero());
        if filled {
            self.retire(number, Status::Filled);
        } else if !decision.rests || !booked {
            self.close(number, Status::Cancelled, sequence);
        }
    }

    fn book(&mut self, number: usize, fill: Fill, context: Context, sequence: &mut Sequence) -> Option<()> {
        let order = self.orders.get_mut(number)?;
        let instrument = context.market.instrument(&order.symbol)?;
        let notional = fill.price.checked_mul(fill.quantity)?.checked_mul(instrument.multiplier)?;
        let bps = if fill.maker { context.rules.maker_fee_bps } else { context.rules.taker_fee_bps };
        let fee = notional
            .checked_mul(bps)?
            .checked_div(Decimal::from(10_000))?
            .round_dp_with_strategy(FEE_DIGITS, RoundingStrategy::MidpointAwayFromZero);
        let cash = self.cash.checked_sub(order.side.signed(notional))?.checked_sub(fee)?;
        let fees = self.fees.checked_add(fee)?;
        let held = self.positions.get(&order.symbol).copied().unwrap_or_default();
        let position = held.checked_add(order.side.signed(fill.quantity))?;

        order.filled += fill.quantity;
        let leaves = order.leaves();
        (self.cash, self.fees) = (cash, fees);
        self.positions.insert(order.symbol.clone(), position);
        let execution = Execution {
            sequence: sequence.newest() + 1,
            key: order.client_id.clone(),
            symbol: order.symbol.clone(),
            side: order.side.name().to_owned(),
            quantity: fill.quantity,
            price: fill.price,
            fee,
            maker: fill.maker,
            at_ns: context.market.quote(&order.symbol).at.0,
        };
        self.executions.push(execution);
        self.note(number, Change::Filled { fill, leaves, fee }, sequence);
        Some(())
    }

    fn close(&mut self, number: usize, status: Status, sequence: &mut Sequence) {
        self.retire(number, status);
        let change = if status == Status::Expired { Change::Expired } else { Change::Cancelled };
        self.note(number, change, sequence);
    }

    fn retire(&mut self, number: usize, status: Status) {
        let Some(order) = self.orders.get_mut(number) else { return };
        order.status = status;
        if let Some(working) = self.working.get_mut(&order.symbol) {
            working.remove(&number);
        }
    }

    fn note(&mut self, number: usize, change: Change, sequence: &mut Sequence) {
        if let Some(order) = self.orders.get_mut(number) {
            order.updates.push(self.updates.len());
            self.updates.push(Update { sequence: sequence.next(), order: number, change });
        }
    }

    fn working_order(&self, client_id: &str) -> Result<(usize, &Order), Refusal> {
        let (number, order) = self
            .find(client_id)
            .ok_or_else(|| Refusal::new("unknown_order", format!("no order was placed as {client_id}")))?;
        if !order.is_working() {
            let message = format!("the order is {} and cannot be changed", order.status.name());
            return Err(Refusal::new("order_closed", message));
        }
        Ok((number, order))
    }

    fn find(&self, client_id: &str) -> Option<(usize, &Order)> {
        let number = *self.by_client.get(client_id)?;
        self.orders.get(number).map(|order| (number, order))
    }

    /// The number of the newest order placed under a client id.
    pub(super) fn number(&self, client_id: &str) -> Option<usize> {
        self.find(client_id).map(|(number, _)| number)
    }

    pub(super) fn order(&self, number: usize) -> Option<&Order> {
        self.orders.get(number)
    }

    /// Everything that happened to an order so far.
    pub(super) fn updates_of(&self, number: usize) -> impl Iterator<Item = &Update> {
        let positions = self.orders.get(number).map(|order| order.updates.as_slice()).unwrap_or_default();
        positions.iter().filter_map(|position| self.updates.get(*position))
    }

    /// The changes after a sequence number, oldest first.
    pub(super) fn updates_after(&self, after: u64) -> &[Update] {
        let start = self.updates.partition_point(|update| update.sequence <= after);
        self.updates.get(start..).unwrap_or_default()
    }

    pub(super) fn position(&self, symbol: &str) -> Decimal {
        self.positions.get(symbol).copied().unwrap_or_default()
    }

    pub(super) fn positions(&self) -> impl Iterator<Item = (&str, Decimal)> {
        self.positions.iter().map(|(symbol, quantity)| (symbol.as_str(), *quantity))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn cash(&self) -> Decimal {
        self.cash
    }

    pub(super) fn fees(&self) -> Decimal {
        self.fees
    }

    /// Cash and positions at the last prices; `None` while a position has no price.
    pub(super) fn equity(&self, market: &Market) -> Option<Decimal> {
        self.positions().filter(|(_, quantity)| !quantity.is_zero()).try_fold(
            self.cash,
            |sum, (symbol, held)| {
                let multiplier = market.instrument(symbol)?.multiplier;
                let value = market.quote(symbol).mark()?.checked_mul(held)?.checked_mul(multiplier)?;
                sum.checked_add(value)
            },
        )
    }

    pub(super) fn truth(&self) -> AccountTruth {
        let order = |order: &Order| OrderTruth {
            key: order.client_id.clone(),
            symbol: order.symbol.clone(),
            side: order.side.name().to_owned(),
            quantity: order.quantity,
            filled: order.filled,
            status: order.status.name().to_owned(),
        };
        AccountTruth {
            name: self.name.clone(),
            cash_at_start: self.cash_at_start,
            cash: self.cash,
            fees: self.fees,
            positions: self.positions.clone(),
            orders: self.orders.iter().map(order).collect(),
            executions: self.executions.clone(),
            placements: self.placements.clone(),
            repeats: self.repeats,
            running: self.keys.running() as u64,
        }
    }
}
