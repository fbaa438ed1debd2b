//! Between WIT version 1 and the host's own model: the one place that knows both.

use super::bindings::exports::ringfence::strategy::state;
use super::bindings::ringfence::strategy::types as wit;
use crate::market::{
    Bar, Instrument, InstrumentId, InstrumentKind, Lots, Marks, Money, PriceTicks, Tick, UnixNanos,
};
use crate::orders::{
    AmendOrder, Mode, NewOrder, OrderId, OrderIntent, OrderKind, OrderOptions, RejectReason, Side,
    StrategyEvent, TimeInForce,
};
use crate::plugin::metadata::MetadataError;
use crate::plugin::text::printable;
use crate::plugin::{DataNeeds, Fault, Metadata, Session, SettingValue, StateSnapshot, TickContext};
use rust_decimal::Decimal;
use thiserror::Error;

/// The largest scale of a WIT `decimal`.
const SCALE_MAX: u32 = 18;
/// Bytes kept of a fault's words.
const FAULT_BYTES_MAX: usize = 1_024;

/// A number of the host that WIT version 1 cannot express.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum ConvertError {
    #[error("{what} is {value}, a strategy is given at most 63 bits and {SCALE_MAX} decimals")]
    Decimal { what: String, value: Decimal },
    #[error("{0} instruments are more than a strategy can number")]
    Instruments(usize),
}

/// The decimal exactly, or `None`.
pub(super) fn decimal_exact(value: Decimal) -> Option<wit::Decimal> {
    let value = value.normalize();
    let coefficient = i64::try_from(value.mantissa()).ok()?;
    let scale = u8::try_from(value.scale()).ok()?;
    (value.scale() <= SCALE_MAX).then_some(wit::Decimal { coefficient, scale })
}

/// The decimal to as many places as fit, rounded half to even; `None` when not even the whole part fits.
pub(super) fn decimal_nearest(value: Decimal) -> Option<wit::Decimal> {
    (0..=SCALE_MAX).rev().find_map(|scale| decimal_exact(value.round_dp(scale)))
}

fn exact(what: impl Into<String>, value: Decimal) -> Result<wit::Decimal, ConvertError> {
    decimal_exact(value).ok_or_else(|| ConvertError::Decimal { what: what.into(), value })
}

fn money(what: &str, value: Money) -> Result<wit::Decimal, ConvertError> {
    let value = value.decimal();
    decimal_nearest(value).ok_or_else(|| ConvertError::Decimal { what: what.into(), value })
}

pub(super) fn side_out(side: Side) -> wit::Side {
    match side {
        Side::Buy => wit::Side::Buy,
        Side::Sell => wit::Side::Sell,
    }
}

fn side_in(side: wit::Side) -> Side {
    match side {
        wit::Side::Buy => Side::Buy,
        wit::Side::Sell => Side::Sell,
    }
}

#[inline]
fn mode(mode: Mode) -> wit::Mode {
    match mode {
        Mode::Full => wit::Mode::Full,
        Mode::ReadOnly => wit::Mode::ReadOnly,
        Mode::Observation => wit::Mode::Observation,
        Mode::Shutdown => wit::Mode::Shutdown,
    }
}

#[inline]
fn marks(marks: Marks) -> wit::TickMarks {
    let mut out = wit::TickMarks::empty();
    for (mark, flag) in [
        (Marks::TRADE, wit::TickMarks::TRADE),
        (Marks::QUOTE, wit::TickMarks::QUOTE),
        (Marks::SNAPSHOT, wit::TickMarks::SNAPSHOT),
        (Marks::STALE, wit::TickMarks::STALE),
        (Marks::AUCTION, wit::TickMarks::AUCTION),
    ] {
        if marks.has(mark) {
            out |= flag;
        }
    }
    out
}

#[inline]
pub(super) fn tick(tick: &Tick) -> wit::Tick {
    wit::Tick {
        instrument: tick.instrument.0,
        seq: tick.seq,
        event_time: tick.event_time.0,
        bid_price: tick.bid_price.0,
        bid_size: tick.bid_size.0,
        ask_price: tick.ask_price.0,
        ask_size: tick.ask_size.0,
        last_price: tick.last_price.0,
        last_size: tick.last_size.0,
        volume: tick.volume.0,
        marks: marks(tick.marks),
    }
}

#[inline]
pub(super) fn context(context: &TickContext) -> wit::TickContext {
    wit::TickContext {
        now: context.now.0,
        position: context.position.0,
        open_orders: context.open_orders,
        intents_left: context.intents_left,
        mode: mode(context.mode),
    }
}

pub(super) fn bar(bar: &Bar) -> wit::Bar {
    wit::Bar {
        instrument: bar.instrument.0,
        start: bar.start.0,
        seconds: bar.seconds,
        open: bar.open.0,
        high: bar.high.0,
        low: bar.low.0,
        close: bar.close.0,
        volume: bar.volume.0,
        trades: bar.trades,
    }
}

fn reject_reason(reason: RejectReason) -> wit::RejectReason {
    match reason {
        RejectReason::Risk => wit::RejectReason::Risk,
        RejectReason::Mode => wit::RejectReason::Mode,
        RejectReason::Venue => wit::RejectReason::Venue,
        RejectReason::InsufficientFunds => wit::RejectReason::InsufficientFunds,
        RejectReason::DuplicateId => wit::RejectReason::DuplicateId,
        RejectReason::UnknownOrder => wit::RejectReason::UnknownOrder,
        RejectReason::UnknownInstrument => wit::RejectReason::UnknownInstrument,
        RejectReason::WouldCross => wit::RejectReason::WouldCross,
        RejectReason::RateLimited => wit::RejectReason::RateLimited,
        RejectReason::Invalid => wit::RejectReason::Invalid,
        RejectReason::DeadLettered => wit::RejectReason::DeadLettered,
        RejectReason::Other => wit::RejectReason::Other,
    }
}

pub(super) fn event(event: &StrategyEvent) -> Result<wit::Event, ConvertError> {
    Ok(match event {
        StrategyEvent::Accepted(id) => wit::Event::Accepted(id.0),
        StrategyEvent::Amended(id) => wit::Event::Amended(id.0),
        StrategyEvent::Filled { order, instrument, side, quantity, price, leaves, fee, maker } => {
            wit::Event::Filled(wit::Fill {
                order: order.0,
                instrument: instrument.0,
                side: side_out(*side),
                quantity: quantity.0,
                price: price.0,
                leaves: leaves.0,
                fee: money("fee", *fee)?,
                maker: *maker,
            })
        }
        StrategyEvent::Cancelled(id) => wit::Event::Cancelled(id.0),
        StrategyEvent::Expired(id) => wit::Event::Expired(id.0),
        StrategyEvent::Rejected { order, reason, detail } => wit::Event::Rejected(wit::Rejection {
            order: order.0,
            reason: reject_reason(*reason),
            detail: detail.clone(),
        }),
        StrategyEvent::Unresolved(id) => wit::Event::Unresolved(id.0),
        StrategyEvent::Funded { instrument, amount } => {
            wit::Event::Funded(wit::Funding { instrument: instrument.0, amount: money("funding", *amount)? })
        }
        StrategyEvent::Timer(id) => wit::Event::Timer(*id),
        StrategyEvent::ModeChanged(to) => wit::Event::ModeChanged(mode(*to)),
        StrategyEvent::Operator(words) => wit::Event::Operator(words.clone()),
    })
}

fn instrument_kind(kind: InstrumentKind) -> wit::InstrumentKind {
    match kind {
        InstrumentKind::Spot => wit::InstrumentKind::Spot,
        InstrumentKind::Perpetual => wit::InstrumentKind::Perpetual,
        InstrumentKind::DatedFuture => wit::InstrumentKind::DatedFuture,
        InstrumentKind::OptionContract => wit::InstrumentKind::OptionContract,
        InstrumentKind::Equity => wit::InstrumentKind::Equity,
        InstrumentKind::Index => wit::InstrumentKind::Index,
        InstrumentKind::Other => wit::InstrumentKind::Other,
    }
}

fn instrument(id: InstrumentId, instrument: &Instrument) -> Result<wit::Instrument, ConvertError> {
    let exact = |field: &str, value| exact(format!("{field} of {}", instrument.symbol), value);
    Ok(wit::Instrument {
        id: id.0,
        symbol: instrument.symbol.clone(),
        venue: instrument.venue.clone(),
        kind: instrument_kind(instrument.kind),
        quote_currency: instrument.quote_currency.clone(),
        multiplier: exact("multiplier", instrument.multiplier)?,
        tick_size: exact("tick_size", instrument.tick_size)?,
        lot_size: exact("lot_size", instrument.lot_size)?,
        min_lots: instrument.min_lots.0,
        max_lots: instrument.max_lots.0,
    })
}

pub(super) fn session(session: &Session) -> Result<wit::Session, ConvertError> {
    let count = session.instruments.len();
    u32::try_from(count).map_err(|_| ConvertError::Instruments(count))?;
    let settings = session.settings.iter().map(|setting| {
        let value = match &setting.value {
            SettingValue::Boolean(value) => wit::SettingValue::Boolean(*value),
            SettingValue::Integer(value) => wit::SettingValue::Integer(*value),
            SettingValue::Exact(value) => {
                wit::SettingValue::Exact(exact(format!("setting {}", setting.key), *value)?)
            }
            SettingValue::Real(value) => wit::SettingValue::Real(*value),
            SettingValue::Text(value) => wit::SettingValue::Text(value.clone()),
        };
        Ok(wit::Setting { key: setting.key.clone(), value })
    });
    Ok(wit::Session {
        run_id: session.run_id,
        seed: session.seed,
        now: session.now.0,
        next_order_id: session.next_order_id.0,
        instruments: session
            .instruments
            .iter()
            .map(|(id, it)| instrument(id, it))
            .collect::<Result<_, _>>()?,
        settings: settings.collect::<Result<_, _>>()?,
        live: session.live,
    })
}

fn order(order: &wit::NewOrder) -> NewOrder {
    NewOrder {
        id: OrderId(order.id),
        instrument: InstrumentId(order.instrument),
        side: side_in(order.side),
        quantity: Lots(order.quantity),
        kind: match order.kind {
            wit::OrderKind::Market => OrderKind::Market,
            wit::OrderKind::Limit(price) => OrderKind::Limit(PriceTicks(price)),
            wit::OrderKind::Stop(trigger) => OrderKind::Stop(PriceTicks(trigger)),
            wit::OrderKind::StopLimit(wit::StopLimit { trigger, limit }) => {
                OrderKind::StopLimit { trigger: PriceTicks(trigger), limit: PriceTicks(limit) }
            }
        },
        tif: match order.tif {
            wit::TimeInForce::Gtc => TimeInForce::Gtc,
            wit::TimeInForce::Ioc => TimeInForce::Ioc,
            wit::TimeInForce::Fok => TimeInForce::Fok,
            wit::TimeInForce::Day => TimeInForce::Day,
            wit::TimeInForce::Gtd(until) => TimeInForce::Gtd(UnixNanos(until)),
        },
        options: OrderOptions {
            post_only: order.options.contains(wit::OrderOptions::POST_ONLY),
            reduce_only: order.options.contains(wit::OrderOptions::REDUCE_ONLY),
        },
        tag: order.tag,
    }
}

/// Every value of the contract is a value of the model; what makes no sense is the risk gate's to refuse.
pub(super) fn intent(intent: &wit::OrderIntent) -> OrderIntent {
    match *intent {
        wit::OrderIntent::Submit(ref new) => OrderIntent::Submit(order(new)),
        wit::OrderIntent::Cancel(id) => OrderIntent::Cancel(OrderId(id)),
        wit::OrderIntent::Amend(amend) => OrderIntent::Amend(AmendOrder {
            id: OrderId(amend.id),
            quantity: Lots(amend.quantity),
            limit: amend.limit.map(PriceTicks),
        }),
        wit::OrderIntent::CancelAll(instrument) => OrderIntent::CancelAll(InstrumentId(instrument)),
    }
}

pub(super) fn fault(fault: wit::Fault) -> Fault {
    let words = |text: String| printable(&text, FAULT_BYTES_MAX);
    match fault {
        wit::Fault::InvalidSettings(text) => Fault::InvalidSettings(words(text)),
        wit::Fault::IncompatibleState(text) => Fault::IncompatibleState(words(text)),
        wit::Fault::NotReady => Fault::NotReady,
        wit::Fault::Internal(text) => Fault::Internal(words(text)),
    }
}

pub(super) fn snapshot_in(snapshot: state::Snapshot) -> StateSnapshot {
    StateSnapshot { schema: snapshot.schema, data: snapshot.data }
}

pub(super) fn snapshot_out(snapshot: &StateSnapshot) -> state::Snapshot {
    state::Snapshot { schema: snapshot.schema, data: snapshot.data.clone() }
}

/// What a component says about itself, checked; the short texts are made printable.
pub(super) fn metadata(told: wit::Metadata, has_bars: bool) -> Result<Metadata, MetadataError> {
    let bytes = |field, text: &str, max| match text.len() {
        found if found > max => Err(MetadataError::TooLong { field, found, unit: "bytes", max }),
        // The longest escape of one byte has six.
        _ => Ok(printable(text, 6 * max)),
    };
    let needs = told.needs;
    let (schema, oldest) = (told.state_schema, told.oldest_loadable_state);
    if told.name.is_empty() {
        return Err(MetadataError::NoName);
    }
    if needs.instruments_min > needs.instruments_max {
        return Err(MetadataError::NoInstruments { min: needs.instruments_min, max: needs.instruments_max });
    }
    if oldest > schema {
        return Err(MetadataError::StateOrder { oldest, schema });
    }
    if needs.bar_seconds.contains(&0) {
        return Err(MetadataError::EmptyBar);
    }
    if !has_bars && !needs.bar_seconds.is_empty() {
        return Err(MetadataError::BarsWithoutExport);
    }
    if needs.bar_seconds.len() > 16 {
        let found = needs.bar_seconds.len();
        return Err(MetadataError::TooLong { field: "needs.bar-seconds", found, unit: "lengths", max: 16 });
    }
    bytes("settings-schema", &told.settings_schema, 64 << 10)?;
    Ok(Metadata {
        name: bytes("name", &told.name, 64)?,
        version: bytes("version", &told.version, 64)?,
        summary: bytes("summary", &told.summary, 512)?,
        settings_schema: told.settings_schema,
        state_schema: schema,
        oldest_loadable_state: oldest,
        needs: DataNeeds {
            instruments_min: needs.instruments_min,
            instruments_max: needs.instruments_max,
            trades: needs.trades,
            quotes: needs.quotes,
            bar_seconds: needs.bar_seconds,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told() -> wit::Metadata {
        wit::Metadata {
            name: "x".into(),
            version: "1.0.0".into(),
            summary: String::new(),
            settings_schema: "{}".into(),
            state_schema: 2,
            oldest_loadable_state: 1,
            needs: wit::DataNeeds {
                instruments_min: 1,
                instruments_max: 1,
                trades: true,
                quotes: false,
                bar_seconds: vec![60],
            },
        }
    }

    #[test]
    fn metadata_that_a_host_cannot_work_with_is_refused() {
        assert!(metadata(told(), true).is_ok());
        let refused = |change: fn(&mut wit::Metadata)| {
            let mut changed = told();
            change(&mut changed);
            metadata(changed, true).unwrap_err()
        };
        assert_eq!(refused(|m| m.name.clear()), MetadataError::NoName);
        assert_eq!(refused(|m| m.needs.instruments_min = 2), MetadataError::NoInstruments { min: 2, max: 1 });
        assert_eq!(
            refused(|m| m.oldest_loadable_state = 3),
            MetadataError::StateOrder { oldest: 3, schema: 2 }
        );
        assert_eq!(refused(|m| m.needs.bar_seconds.push(0)), MetadataError::EmptyBar);
        assert!(matches!(
            refused(|m| m.summary = "x".repeat(513)),
            MetadataError::TooLong { field: "summary", found: 513, .. }
        ));
        assert_eq!(metadata(told(), false), Err(MetadataError::BarsWithoutExport));
    }

    #[test]
    fn a_name_cannot_drive_a_terminal() {
        let name = "a\u{1b}]0;owned\u{7}".into();
        let seen = metadata(wit::Metadata { name, ..told() }, true).unwrap();
        assert_eq!(seen.name, "a\\u{1b}]0;owned\\u{7}");
    }

    #[test]
    fn a_number_that_does_not_fit_exactly_is_refused_in_settings() {
        let value = Decimal::new(1, 19);
        assert!(decimal_exact(value).is_none());
        let error = exact("setting x", value).unwrap_err();
        assert_eq!(
            error.to_string(),
            "setting x is 0.0000000000000000001, a strategy is given at most 63 bits and 18 decimals"
        );
    }

    #[test]
    fn money_keeps_as_many_digits_as_fit() {
        let third = Decimal::ONE / Decimal::from(3);
        let seen = decimal_nearest(third).unwrap();
        assert_eq!((seen.coefficient, seen.scale), (333_333_333_333_333_333, 18));
        let seen = decimal_nearest(third + Decimal::from(1_000_000)).unwrap();
        assert_eq!((seen.coefficient, seen.scale), (1_000_000_333_333_333_333, 12));
        assert!(decimal_nearest(Decimal::MAX).is_none());
    }

    proptest! {
        #[test]
        fn every_mark_crosses_as_itself(bits in 0_u8..32) {
            prop_assert_eq!(marks(Marks(bits)).as_array(), [u32::from(bits)]);
        }

        #[test]
        fn a_decimal_that_fits_is_exact(coefficient in any::<i64>(), scale in 0_u32..=18) {
            let value = Decimal::new(coefficient, scale);
            let seen = decimal_exact(value).unwrap();
            prop_assert_eq!(Decimal::new(seen.coefficient, seen.scale.into()), value);
        }
    }
}
