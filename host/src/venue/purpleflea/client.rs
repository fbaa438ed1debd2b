//! The venue itself: which request goes where, and which readings are taken around it.

use super::super::number::Exact;
use super::super::observation::Undecodable;
use super::super::setup::VenueSetupError;
use super::super::transport::{Exchange, Roots, Transport};
use super::super::{
    Baseline, BoxFuture, OrderChange, OrderUpdate, Outcome, Question, Readiness, Reply, Request, RequestKind,
    UpdatesPage, Venue, VenuePosition, VenueProfile,
};
use super::classify::{self, Effect, Judged};
use super::config::PurpleFleaConfig;
use super::evidence::{Asked, Finding, Reads, evidence, lots_max, rows_of};
use super::instruction::Instruction;
use super::wire::{self, Execution, HISTORY_ROWS_MAX, Holding, PositionRow, Trade, Waiting, WaitingState};
use crate::market::{Instrument, Instruments, Lots, UnixNanos};
use crate::orders::{IntentKey, Sendable, Side};
use crate::resilience::{Class, Failure, Phase};
use rust_decimal::Decimal;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Where the venue's client takes the time of a reading from.
pub type WallClock = Arc<dyn Fn() -> UnixNanos + Send + Sync>;

/// The list of waiting orders. With the state that the list of positions takes, in the hope for those that wait
/// no more; a venue that does not know it lists those that wait.
const LIMIT_ORDERS: &str = "/v1/trade/limit-orders?status=all";

/// Connections kept open between reads.
const IDLE_READS: usize = 4;

/// A venue of kind `purpleflea`. It sends each request once and says what is known; the core decides what follows.
pub struct PurpleFleaVenue {
    pub(super) reads: Transport,
    writes: Transport,
    profile: VenueProfile,
    pub(super) config: PurpleFleaConfig,
    pub(super) instruments: Arc<Instruments>,
    pub(super) clock: WallClock,
    pub(super) watch: super::prices::Watch,
}

impl std::fmt::Debug for PurpleFleaVenue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PurpleFleaVenue").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl PurpleFleaVenue {
    /// A venue from its configuration, with the instruments that it trades. Fetches the key; sends nothing.
    ///
    /// # Errors
    /// When the address is wrong, the key is missing, or the HTTP client cannot start.
    pub fn new(
        name: &str,
        config: &PurpleFleaConfig,
        instruments: Arc<Instruments>,
        clock: WallClock,
    ) -> Result<Self, VenueSetupError> {
        super::super::setup::check_url(name, &config.base_url, false)?;
        let key =
            config.key.load().map_err(|source| VenueSetupError::Key { venue: name.to_owned(), source })?;
        let roots = Roots::of(&config.base_url);
        Ok(Self {
            reads: Transport::new(&config.transport(name, IDLE_READS), &key, roots)?,
            writes: Transport::new(&config.transport(name, 0), &key, roots)?,
            profile: config.profile(name),
            config: config.clone(),
            instruments,
            clock,
            watch: super::prices::Watch::default(),
        })
    }

    /// What the venue promises.
    pub fn profile(&self) -> &VenueProfile {
        &self.profile
    }

    pub(super) async fn read<T>(
        &self,
        path: &str,
        decode: impl FnOnce(&[u8]) -> Result<T, Undecodable>,
    ) -> Result<T, Failure> {
        let body = classify::read_body(self.reads.read(path).await.observation)?;
        decode(&body).map_err(|error| undecodable(&error, Phase::Done))
    }

    /// The positions as the exchange has them. The venue falls back to its own rows when the exchange does not
    /// answer, and those say what it believes and not what is.
    async fn position_rows(&self) -> Result<Vec<PositionRow>, Failure> {
        self.read("/v1/trade/positions", wire::positions).await?.map_err(|source| {
            let message = format!(
                "the venue answered with positions from its {source}, because the exchange did not answer; only \
                 the exchange's own count"
            );
            Failure::new(Class::Data, "positions_from_database", Phase::Done, message)
        })
    }

    async fn holding(&self, instrument: &Instrument) -> Result<Holding, Failure> {
        let rows = self.position_rows().await?;
        wire::holding(&rows, instrument).map_err(|error| undecodable(&error, Phase::Done))
    }

    /// What the account holds in an instrument. That it holds nothing is believed when it is read twice, since
    /// the list is empty too when the exchange answered with half a reply.
    pub(super) async fn settled_holding(&self, instrument: &Instrument) -> Result<Holding, Failure> {
        let first = self.holding(instrument).await?;
        if !first.lots.is_zero() {
            return Ok(first);
        }
        self.pause().await;
        let second = self.holding(instrument).await?;
        if second.lots.is_zero() { Ok(second) } else { Err(disagreement(instrument)) }
    }

    pub(super) async fn history(&self, instrument: &Instrument) -> Result<Vec<Trade>, Failure> {
        let path = format!("/v1/trade/history?limit={HISTORY_ROWS_MAX}");
        self.read(&path, |body| wire::history(body, instrument)).await
    }

    /// The orders that wait, and those that did, if the venue lists them.
    pub(super) async fn waiting(&self, instrument: &Instrument) -> Result<Vec<Waiting>, Failure> {
        self.read(LIMIT_ORDERS, |body| wire::waiting(body, instrument)).await
    }

    async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(self.config.read_again_ms)).await;
    }

    fn instrument(&self, coin: &str) -> Option<&Instrument> {
        self.instruments.get(self.instruments.find(coin)?)
    }

    /// What a journaled body asks, and about which instrument.
    pub(super) fn asked(&self, request: &Request) -> Result<(Instruction, Option<&Instrument>), Failure> {
        let defect = |text: &str| Failure::new(Class::Logic, "instruction", Phase::NotSent, text);
        let instruction = Instruction::decode(&request.body.0).ok_or_else(|| {
            defect("the journaled body is no instruction for this venue; resolve the intent")
        })?;
        let instrument = match instruction.terms() {
            None => None,
            Some(terms) => Some(self.instrument(terms.coin).ok_or_else(|| {
                defect(&format!("the configuration has no instrument {}; add it again", terms.coin))
            })?),
        };
        Ok((instruction, instrument))
    }

    async fn write(&self, request: &Sendable) -> (Outcome, Option<Exchange>) {
        let refused = |mut failure: Failure| {
            failure.phase = Phase::Done;
            (Outcome::Refused(failure), None)
        };
        let (instruction, instrument) = match self.asked(request) {
            Ok(asked) => asked,
            Err(failure) => return refused(failure),
        };
        let position_id = match position_id(&instruction, request.baseline()) {
            Ok(position_id) => position_id,
            Err(failure) => return refused(failure),
        };
        let size_usd = match sized(&instruction, instrument, request.baseline()) {
            Ok(size_usd) => size_usd,
            Err(failure) => return refused(failure),
        };
        let wire = instruction.wire(position_id, size_usd);
        // Nobody promises to honour the key. A venue or a gateway that does makes the account safer, not less.
        let exchange = self.writes.write(wire.method, &wire.path, request.key, wire.body.as_bytes()).await;
        let effect = match instruction {
            Instruction::Open { .. } => Effect::Trades,
            Instruction::Close { .. } => Effect::Closes,
            Instruction::CancelLimit { .. } => Effect::TakesBack,
            _ => Effect::Notes,
        };
        let outcome = match classify::judge(effect, exchange.observation.clone()) {
            Judged::Known(outcome) => outcome,
            Judged::Success(body) => {
                let key = match request.kind {
                    RequestKind::Place => request.key,
                    RequestKind::Cancel(target) | RequestKind::Amend(target) => target,
                };
                self.succeeded(&instruction, instrument, request.baseline(), key, position_id, &body).await
            }
        };
        (outcome, Some(exchange))
    }

    /// What a yes means. One that does not add up means nothing.
    async fn succeeded(
        &self,
        instruction: &Instruction,
        instrument: Option<&Instrument>,
        baseline: Option<&Baseline>,
        key: IntentKey,
        position_id: &str,
        body: &[u8],
    ) -> Outcome {
        let unread = |error: Undecodable| Outcome::Ambiguous(undecodable(&error, Phase::MaybeSent));
        let (Some(instrument), Some(terms)) = (instrument, instruction.terms()) else {
            return match wire::agreed(body) {
                Ok(()) => Outcome::Done { updates: vec![update(key, 3, OrderChange::Cancelled, None)] },
                Err(error) => unread(error),
            };
        };
        match instruction {
            Instruction::Open { .. } => {
                let most = lots_max(terms.lots, self.config.price_off_permille_max);
                let sized_at = baseline.and_then(|baseline| baseline.sizing_price).unwrap_or_default();
                let execution = wire::opened(body, terms, instrument, (most, sized_at));
                execution.map_or_else(unread, |execution| filled(key, terms.lots, execution))
            }
            Instruction::Limit { .. } => wire::limit_placed(body).map_or_else(unread, |id| accepted(key, id)),
            Instruction::StopLoss { .. } | Instruction::TakeProfit { .. } => {
                wire::agreed(body).map_or_else(unread, |()| accepted(key, note_id(instruction, position_id)))
            }
            Instruction::Close { .. } => match wire::closed(body, position_id) {
                Ok(closed) => match baseline {
                    Some(baseline) => self.verified_close(instrument, key, baseline, closed).await,
                    None => unread(Undecodable::new("nothing was read before it")),
                },
                Err(error) => unread(error),
            },
            Instruction::CancelLimit { .. } => Outcome::Unknown,
        }
    }

    /// A close that the venue calls done may have left a rest: it marks its row closed however much was filled.
    async fn verified_close(
        &self,
        instrument: &Instrument,
        key: IntentKey,
        baseline: &Baseline,
        said: wire::Closed,
    ) -> Outcome {
        let before = baseline.position;
        let after = match self.settled_holding(instrument).await {
            Ok(holding) => holding.lots,
            Err(failure) => {
                let message = format!("the venue says that it closed, and no reading confirms it: {failure}");
                return Outcome::Ambiguous(Failure { phase: Phase::MaybeSent, message, ..failure });
            }
        };
        let closed = Lots(before.abs().0.saturating_sub(after.abs().0));
        let same_side = after.is_zero() || after.0.is_positive() == before.0.is_positive();
        if closed.0 <= 0 || !same_side {
            let message = format!(
                "the venue says that it closed {}, which was {before} lots before and is {after} lots now",
                instrument.symbol
            );
            return Outcome::Ambiguous(Failure::new(
                Class::Data,
                "close_unverified",
                Phase::MaybeSent,
                message,
            ));
        }
        let order_id = self.row_of_close(instrument, baseline).await;
        match said.execution(closed, order_id, instrument) {
            Ok(execution) => filled(key, before.abs(), execution),
            Err(error) => Outcome::Ambiguous(undecodable(&error, Phase::MaybeSent)),
        }
    }

    /// The order id of the row that a close has left, which its reply does not tell. With it the row is never
    /// taken for another order's.
    async fn row_of_close(&self, instrument: &Instrument, baseline: &Baseline) -> Option<String> {
        let side = if baseline.position.0.is_positive() { Side::Sell } else { Side::Buy };
        let trades = self.history(instrument).await.ok()?;
        match rows_of(baseline, &trades)?.as_slice() {
            [row] if row.side == Some(side) => row.order_id.clone(),
            _ => None,
        }
    }

    async fn reads(&self, instruction: &Instruction, instrument: &Instrument) -> Result<Reads, Failure> {
        let first = self.holding(instrument).await?;
        let trades = self.history(instrument).await?;
        let waiting = match instruction {
            Instruction::Limit { .. } => self.waiting(instrument).await?,
            _ => Vec::new(),
        };
        self.pause().await;
        let second = self.holding(instrument).await?;
        Ok(Reads { positions: [first, second], trades, waiting })
    }

    async fn ask(&self, question: &Question) -> Result<Outcome, Failure> {
        let (instruction, instrument) = self.asked(&question.request)?;
        let Some(instrument) = instrument else { return self.ask_about_cancel(&instruction, question).await };
        let lots = instruction.terms().map_or(Lots::ZERO, |terms| terms.lots);
        let baseline = question.baseline.as_ref().ok_or_else(|| {
            let text = "nothing was read before the attempt, so nothing can be compared; resolve the intent";
            Failure::new(Class::State, "no_baseline", Phase::MaybeSent, text)
        })?;
        let asked = Asked {
            instruction: &instruction,
            baseline,
            venue_id: question.venue_id.as_deref(),
            others: &question.others,
            instrument,
            tolerance_permille: self.config.size_tolerance_permille,
            price_off_permille: self.config.price_off_permille_max,
        };
        let key = question.request.key;
        Ok(match evidence(&asked, &self.reads(&instruction, instrument).await?) {
            Finding::Executed { execution, .. } => filled(key, lots, execution),
            Finding::Waits(id) => accepted(key, id),
            Finding::TakenBack => Outcome::Done {
                updates: vec![
                    update(key, 1, OrderChange::Accepted, asked.venue_id.map(str::to_owned)),
                    update(key, 3, OrderChange::Cancelled, None),
                ],
            },
            // One that was confirmed rests, as far as the account shows.
            Finding::Unchanged => match (&instruction, &question.venue_id) {
                (Instruction::StopLoss { .. } | Instruction::TakeProfit { .. }, Some(id)) => {
                    accepted(key, id.clone())
                }
                _ => Outcome::Unknown,
            },
            Finding::Unclear(words) => {
                let message = format!("{}: {words}; see the account at the venue", instrument.symbol);
                Outcome::Ambiguous(Failure::new(Class::State, "evidence_unclear", Phase::MaybeSent, message))
            }
        })
    }

    /// A cancel has worked when the order is listed as cancelled, and has not when it still waits. One that is
    /// gone may have been executed, which the order's own question finds out.
    async fn ask_about_cancel(&self, cancel: &Instruction, question: &Question) -> Result<Outcome, Failure> {
        let (Instruction::CancelLimit { order_id }, RequestKind::Cancel(target)) =
            (cancel, &question.request.kind)
        else {
            return Ok(Outcome::Unknown);
        };
        let state = self.read(LIMIT_ORDERS, |body| wire::waiting_state(body, order_id)).await?;
        Ok(match state {
            Some(WaitingState::Pending) => accepted(*target, order_id.clone()),
            Some(WaitingState::Cancelled) => {
                Outcome::Done { updates: vec![update(*target, 3, OrderChange::Cancelled, None)] }
            }
            Some(WaitingState::Left) | None => Outcome::Unknown,
        })
    }

    async fn account(&self) -> Result<wire::Account, Failure> {
        self.read("/v1/auth/account", wire::account).await
    }
}

impl Venue for PurpleFleaVenue {
    fn send<'a>(&'a self, request: &'a Sendable) -> BoxFuture<'a, Reply> {
        Box::pin(async move {
            let started = Instant::now();
            let (outcome, exchange) = self.write(request).await;
            // What the breaker judges is the order's own call, not the readings after it.
            let latency = exchange.as_ref().map_or_else(|| started.elapsed(), |exchange| exchange.latency);
            Reply { outcome, latency, retry_after: exchange.and_then(|exchange| exchange.retry_after) }
        })
    }

    fn query<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Reply> {
        Box::pin(async move {
            let started = Instant::now();
            // A reading that fails says nothing about the order.
            let outcome = self
                .ask(question)
                .await
                .unwrap_or_else(|failure| Outcome::Ambiguous(Failure { phase: Phase::MaybeSent, ..failure }));
            Reply { outcome, latency: started.elapsed(), retry_after: None }
        })
    }

    fn baseline<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Baseline, Failure>> {
        Box::pin(self.read_baseline(request))
    }

    fn positions<'a>(&'a self) -> BoxFuture<'a, Result<Vec<VenuePosition>, Failure>> {
        Box::pin(async move {
            let mut rows = self.position_rows().await?;
            if rows.is_empty() {
                self.pause().await;
                rows = self.position_rows().await?;
                if !rows.is_empty() {
                    let text = "the venue listed no position and then some; ask again";
                    return Err(Failure::new(Class::Data, "positions_disagree", Phase::Done, text));
                }
            }
            let mut positions = Vec::new();
            for (id, instrument) in self.instruments.iter().filter(|(_, found)| self.trades(found)) {
                let holding = wire::holding(&rows, instrument);
                let holding = holding.map_err(|error| undecodable(&error, Phase::Done))?;
                positions.push(VenuePosition { instrument: id, quantity: holding.lots });
            }
            Ok(positions)
        })
    }

    /// The venue reports no changes by itself; the core asks about working orders one by one.
    fn updates<'a>(&'a self, after: u64) -> BoxFuture<'a, Result<UpdatesPage, Failure>> {
        Box::pin(async move { Ok(UpdatesPage { through: after, ..UpdatesPage::default() }) })
    }

    fn probe<'a>(&'a self) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move { self.account().await.map(drop) })
    }

    fn readiness<'a>(&'a self) -> BoxFuture<'a, Result<Readiness, Failure>> {
        Box::pin(async move {
            match self.account().await {
                Ok(account) => Ok(tradeable(&account, self.config.leverage)),
                Err(failure) if failure.code == "unauthorized" => Ok(Readiness::Refused(
                    "the venue does not know the API key; register, and put its key where `key` says".into(),
                )),
                Err(failure) => Err(failure),
            }
        })
    }
}

impl PurpleFleaVenue {
    /// Whether an instrument of the table is traded here; the table is the whole host's.
    pub(super) fn trades(&self, instrument: &Instrument) -> bool {
        instrument.venue == self.profile.name
    }
}

/// Whether an account can trade as it is configured.
fn tradeable(account: &wire::Account, leverage: u32) -> Readiness {
    let wallet = &account.hl_wallet;
    let execution = super::super::observation::excerpt(wallet.execution.to_string().as_bytes());
    if !wallet.connected {
        return Readiness::Refused(format!(
            "no wallet is connected to the account (execution: {execution}); connect one with its signing key at \
             the venue"
        ));
    }
    if wallet.signing_key_stored == Some(false) {
        return Readiness::Refused(format!(
            "the account has a wallet and no signing key (execution: {execution}), so it cannot trade; store an \
             agent wallet's key at the venue"
        ));
    }
    let above = |limit: &serde_json::Number, least: Decimal| {
        wire::decimal(limit).is_some_and(|limit| limit >= least && !limit.is_zero())
    };
    if !above(&account.max_leverage, leverage.into()) {
        return Readiness::Refused(format!(
            "leverage = {leverage} is above what the account may have, {}; the venue would lower it without a word",
            account.max_leverage
        ));
    }
    if !above(&account.max_position_usd, Decimal::ZERO) {
        return Readiness::Refused(format!(
            "the account's largest position is {} dollars, so every order would be refused; raise its limits or tier",
            account.max_position_usd
        ));
    }
    Readiness::Ready
}

/// The position that a request names: the one that was read before the attempt, if it is the one that was meant.
fn position_id<'a>(instruction: &Instruction, baseline: Option<&'a Baseline>) -> Result<&'a str, Failure> {
    let Some(terms) = instruction.terms().filter(|_| instruction.needs_position()) else { return Ok("") };
    let fail = |code: &'static str, text: String| Err(Failure::new(Class::State, code, Phase::NotSent, text));
    let Some(baseline) = baseline else {
        return fail("no_baseline", "a close needs the position as it was read before the attempt".into());
    };
    let meant = terms.side.signed(Lots(-terms.lots.0));
    if baseline.position != meant {
        let text = format!(
            "{}: the account holds {} lots and the order was to close {meant}; nothing was sent, because the venue \
             would close all of it",
            terms.coin, baseline.position
        );
        return fail("position_changed", text);
    }
    let Some(id) = &baseline.position_id else {
        let text = format!(
            "{}: the venue has no id for the position, as after a partial close or a fill that it did not record; \
             close it at the exchange",
            terms.coin
        );
        return fail("position_without_id", text);
    };
    Ok(id)
}

/// The dollars of a market order: what its lots cost at the price by which the venue sizes it.
fn sized(
    instruction: &Instruction,
    instrument: Option<&Instrument>,
    baseline: Option<&Baseline>,
) -> Result<Exact, Failure> {
    let (Instruction::Open { lots, .. }, Some(instrument)) = (instruction, instrument) else {
        return Ok(Exact::default());
    };
    let price = baseline.and_then(|baseline| baseline.sizing_price);
    let dollars = price.and_then(|price| instrument.quantity(*lots)?.checked_mul(price));
    dollars.map(|dollars| Exact(dollars.normalize())).ok_or_else(|| {
        let text = "an order needs the price by which the venue sizes it, as it was read before the attempt";
        Failure::new(Class::State, "no_baseline", Phase::NotSent, text)
    })
}

/// The sequence of an order's changes is its own: accepted, executed, and the rest cancelled. The same changes
/// found again have the same numbers.
fn filled(key: IntentKey, ordered: Lots, execution: Execution) -> Outcome {
    let Execution { lots, price, fee, order_id } = execution;
    let leaves = Lots(ordered.0.saturating_sub(lots.0).max(0));
    let mut updates = vec![
        update(key, 1, OrderChange::Accepted, order_id),
        update(key, 2, OrderChange::Filled { quantity: lots, price, leaves, fee, maker: false }, None),
    ];
    if !leaves.is_zero() {
        updates.push(update(key, 3, OrderChange::Cancelled, None));
    }
    Outcome::Done { updates }
}

fn accepted(key: IntentKey, venue_id: String) -> Outcome {
    Outcome::Done { updates: vec![update(key, 1, OrderChange::Accepted, Some(venue_id))] }
}

const fn update(key: IntentKey, sequence: u64, change: OrderChange, venue_id: Option<String>) -> OrderUpdate {
    OrderUpdate { sequence, key, change, venue_id }
}

/// The id of an order to which the venue gives none; never one that a cancel takes.
fn note_id(instruction: &Instruction, position_id: &str) -> String {
    let kind = if matches!(instruction, Instruction::StopLoss { .. }) { "stop-loss" } else { "take-profit" };
    format!("{kind}:{position_id}")
}

fn undecodable(error: &Undecodable, phase: Phase) -> Failure {
    Failure::new(Class::Data, "reply_undecodable", phase, format!("the venue answered, but {error}"))
}

pub(super) fn disagreement(instrument: &Instrument) -> Failure {
    let text = format!("{}: two readings of the account disagree; ask again", instrument.symbol);
    Failure::new(Class::Data, "positions_disagree", Phase::Done, text)
}
