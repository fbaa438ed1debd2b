//! What a strategy asked for, in order, and the digest of it.

use crate::market::{Instrument, Instruments, UnixNanos};
use crate::orders::{Action, Decision, OrderKind, Origin, Side, Verdict};
use rust_decimal::Decimal;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// One thing that a strategy asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The market update that it answers, counted from zero over all that were read; for an answer to other news, the
    /// last one before it.
    pub event: u64,
    /// When, by the data.
    pub at: UnixNanos,
    /// What.
    pub action: Action,
    /// Why the host does not send it: the risk gate's code, or the mode.
    pub refused: Option<Box<str>>,
}

impl Intent {
    /// The letter in the digest: the side of an order, `C` for a cancel, `A` for a change.
    pub const fn letter(&self) -> char {
        match &self.action {
            Action::Submit(order) => match order.side {
                Side::Buy => 'B',
                Side::Sell => 'S',
            },
            Action::Cancel(_) => 'C',
            Action::Amend(_) => 'A',
        }
    }

    /// The intent as one line of JSON says it.
    pub fn line<'a>(&'a self, instruments: &'a Instruments) -> IntentLine<'a> {
        let mut line = IntentLine {
            event: self.event,
            time: self.at,
            order: self.action.order().0,
            symbol: None,
            side: None,
            quantity: None,
            lots: None,
            kind: "cancel",
            price: None,
            trigger: None,
            refused: self.refused.as_deref(),
        };
        let price = |instrument: Option<&Instrument>, ticks| Some(instrument?.price(ticks)?.normalize());
        match &self.action {
            Action::Cancel(_) => {}
            Action::Amend(amend) => {
                line.kind = "amend";
                line.lots = Some(amend.quantity.0);
            }
            Action::Submit(order) => {
                let instrument = instruments.get(order.instrument);
                line.symbol = instrument.map(|instrument| instrument.symbol.as_str());
                line.side = Some(order.side.name());
                line.lots = Some(order.quantity.0);
                line.quantity = instrument
                    .and_then(|instrument| instrument.quantity(order.quantity))
                    .map(|quantity| quantity.normalize());
                let (kind, limit, trigger) = match order.kind {
                    OrderKind::Market => ("market", None, None),
                    OrderKind::Limit(limit) => ("limit", Some(limit), None),
                    OrderKind::Stop(trigger) => ("stop", None, Some(trigger)),
                    OrderKind::StopLimit { trigger, limit } => ("stop-limit", Some(limit), Some(trigger)),
                };
                line.kind = kind;
                line.price = limit.and_then(|ticks| price(instrument, ticks));
                line.trigger = trigger.and_then(|ticks| price(instrument, ticks));
            }
        }
        line
    }
}

/// One intent as a line of JSON. Numbers with a point are text, so that nobody reads them as binary fractions.
#[derive(Debug, Serialize)]
pub struct IntentLine<'a> {
    /// The market update that it answers, from zero.
    pub event: u64,
    /// Nanoseconds since the Unix epoch, by the data.
    pub time: UnixNanos,
    /// The strategy's own number of the order.
    pub order: u64,
    /// In what; only for new orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<&'a str>,
    /// `buy` or `sell`; null for a cancel or a change.
    pub side: Option<&'static str>,
    /// In units of the instrument.
    pub quantity: Option<Decimal>,
    /// In lots.
    pub lots: Option<i64>,
    /// `market`, `limit`, `stop`, `stop-limit`, `cancel` or `amend`.
    pub kind: &'static str,
    /// The limit; null where there is none.
    pub price: Option<Decimal>,
    /// The price that wakes a stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Decimal>,
    /// Why it was not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<&'a str>,
}

/// The intents of one decision, if a strategy made it.
pub(super) fn intents_of(decision: &Decision, event: u64, at: UnixNanos) -> impl Iterator<Item = Intent> {
    let by_strategy = decision.origin != Origin::Host;
    decision.intents.iter().filter(move |_| by_strategy).map(move |decided| {
        let refused = match &decided.verdict {
            Verdict::Intended(_) => None,
            Verdict::Suppressed(mode) => Some(format!("suppressed in mode {mode}").into()),
            Verdict::Refused { code, .. } => Some((&**code).into()),
        };
        Intent { event, at, action: decided.action, refused }
    })
}

/// SHA-256 over `{event};` of every intent in order, as `17:B;42:S;`. It says what was wanted and when, not how it
/// ended: the same for every run of the same strategy over the same data, whoever fills its orders.
#[derive(Clone, Debug, Default)]
pub struct IntentDigest(Sha256);

impl IntentDigest {
    /// Takes the next intent.
    pub fn note(&mut self, event: u64, letter: char) {
        // Twenty digits, a colon, a letter and a semicolon.
        let mut text = [0_u8; 24];
        let mut start = text.len();
        let mut put = |byte: u8| {
            start = start.saturating_sub(1);
            if let Some(slot) = text.get_mut(start) {
                *slot = byte;
            }
        };
        put(b';');
        put(u8::try_from(letter).unwrap_or(b'?'));
        put(b':');
        let mut rest = event;
        loop {
            put(b'0' + (rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.0.update(text.get(start..).unwrap_or_default());
    }

    /// The digest so far.
    pub fn finish(&self) -> crate::orders::Digest {
        crate::orders::Digest::from_bytes(self.0.clone().finalize().into())
    }
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::Cancel(id) => write!(f, "cancel order {}", id.0)?,
            Action::Amend(amend) => write!(f, "change order {} to {} lots", amend.id.0, amend.quantity)?,
            Action::Submit(order) => {
                let (side, lots) = (order.side.name(), order.quantity);
                match order.kind {
                    OrderKind::Market => write!(f, "{side} {lots} lots at the market")?,
                    OrderKind::Limit(limit) => write!(f, "{side} {lots} lots at {limit} ticks or better")?,
                    OrderKind::Stop(trigger) => {
                        write!(f, "{side} {lots} lots once the price is {trigger} ticks")?
                    }
                    OrderKind::StopLimit { trigger, limit } => {
                        write!(f, "{side} {lots} lots at {limit} ticks once the price is {trigger} ticks")?;
                    }
                }
            }
        }
        match &self.refused {
            Some(why) => write!(f, " (not sent: {why})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_digest_is_that_of_the_text(intents in prop::collection::vec((any::<u64>(), any::<bool>()), 0..20)) {
            let (mut digest, mut text) = (IntentDigest::default(), String::new());
            for (event, buy) in intents {
                let letter = if buy { 'B' } else { 'S' };
                digest.note(event, letter);
                text += &format!("{event}:{letter};");
            }
            prop_assert_eq!(digest.finish(), crate::orders::Digest::of(text.as_bytes()));
        }
    }
}
