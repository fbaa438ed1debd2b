//! What a paper venue trades, for whom, and its limits.

use super::super::{KeySource, SecretError};
use crate::market::{Instrument, InstrumentError};
use crate::resilience::{Class, Classified};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Configuration of a paper venue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaperConfig {
    /// Port on 127.0.0.1. Default 7070, which the default of the HTTP venue points at; 0 takes any.
    pub port: u16,
    /// Who trades. Each account has its own key, cash and positions. Default: one, called `main`.
    pub accounts: Vec<PaperAccount>,
    /// What is traded. Default: nothing, which is an error at the start.
    pub instruments: Vec<Instrument>,
    /// Fee of an order that rested, in basis points of the notional; negative for a rebate. Default 0.
    pub maker_fee_bps: Decimal,
    /// Fee of an order that took, in basis points of the notional. Default 1.
    pub taker_fee_bps: Decimal,
    /// Most that one order is filled at one tick, in units. Default: no limit. A small number makes
    /// partial fills.
    pub fill_quantity_max: Option<Decimal>,
    /// What becomes of a repeated idempotency key. Default: it gives the stored reply.
    pub keys: PaperKeys,
    /// Time between taking a request and executing it. Default 0.
    pub process_latency_ms: u64,
    /// Orders kept per account, since the ledger forgets nothing. Default 200,000.
    pub orders_max: usize,
    /// Changes of orders kept per account. Default 1,000,000.
    pub updates_max: usize,
    /// Idempotency keys remembered per account. Default 400,000: an order and a cancel for each.
    pub keys_max: usize,
    /// Largest request body. Default 1 MiB, some 10,000 ticks.
    pub body_bytes_max: usize,
    /// Changes in one page of updates. Default 1,000.
    pub updates_page_max: usize,
}

/// What a paper venue does with the idempotency key of a request, which is also the client id of the order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PaperKeys {
    /// A repeated key gives the stored reply.
    #[default]
    Honoured,
    /// A repeated key is a request of its own; the id of an order that works is refused.
    UniqueWhileOpen,
    /// A repeated key is a request of its own, and an order with it is executed again.
    Ignored,
}

/// One account of a paper venue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaperAccount {
    /// Its name in the truth. Default `main`.
    pub name: String,
    /// Cash at the start. Default 100,000.
    pub cash: Decimal,
    /// Where its API key is found. Default: the environment variable `RINGFENCE_VENUE_KEY`.
    pub key: KeySource,
}

impl Default for PaperConfig {
    fn default() -> Self {
        Self {
            port: 7070,
            accounts: vec![PaperAccount::default()],
            instruments: Vec::new(),
            maker_fee_bps: Decimal::ZERO,
            taker_fee_bps: Decimal::ONE,
            fill_quantity_max: None,
            keys: PaperKeys::Honoured,
            process_latency_ms: 0,
            orders_max: 200_000,
            updates_max: 1_000_000,
            keys_max: 400_000,
            body_bytes_max: 1024 * 1024,
            updates_page_max: 1_000,
        }
    }
}

impl Default for PaperAccount {
    fn default() -> Self {
        Self {
            name: "main".into(),
            cash: Decimal::from(100_000),
            key: KeySource::Env("RINGFENCE_VENUE_KEY".into()),
        }
    }
}

/// Why a paper venue cannot start.
#[derive(Debug, Error)]
pub enum PaperError {
    /// The port is not free.
    #[error("the paper venue cannot listen on 127.0.0.1:{port}: {source}; choose another port, or 0 for any")]
    Bind {
        /// Which port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// An instrument makes no sense.
    #[error("paper venue: {0}")]
    Instrument(#[from] InstrumentError),
    /// An account has no key.
    #[error("paper venue, account {account}: {source}")]
    Key {
        /// Which account.
        account: String,
        /// Why.
        source: SecretError,
    },
    /// Two accounts, or two instruments, cannot be told apart.
    #[error("paper venue: {what} {name} is there twice; give each its own")]
    Twice {
        /// What is there twice.
        what: &'static str,
        /// Its name, or that of the account with the repeated key.
        name: String,
    },
    /// A fault makes no sense.
    #[error("paper venue: {0}")]
    Fault(#[from] super::purpleflea::FaultError),
    /// A number is out of range.
    #[error("paper venue: {field} is {found}, expected {expected}")]
    Limit {
        /// Which field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
}

impl Classified for PaperError {
    fn class(&self) -> Class {
        match self {
            Self::Bind { .. } => Class::Resource,
            Self::Key { source, .. } => source.class(),
            Self::Fault(error) => error.class(),
            Self::Instrument(_) | Self::Twice { .. } | Self::Limit { .. } => Class::State,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "paper_bind",
            Self::Instrument(_) => "paper_instrument",
            Self::Key { source, .. } => source.code(),
            Self::Fault(error) => error.code(),
            Self::Twice { .. } => "paper_twice",
            Self::Limit { .. } => "paper_limit",
        }
    }
}

impl PaperConfig {
    /// Checks everything that can be checked without a key or a port.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), PaperError> {
        let limit = |field, found: String, good, expected| {
            if good { Ok(()) } else { Err(PaperError::Limit { field, found, expected }) }
        };
        self.instruments.iter().try_for_each(Instrument::check)?;
        unique("account", self.accounts.iter().map(|account| account.name.as_str()))?;
        unique("instrument", self.instruments.iter().map(|instrument| instrument.symbol.as_str()))?;
        let (accounts, instruments) = (self.accounts.len(), self.instruments.len());
        limit("accounts", accounts.to_string(), (1..=1_000).contains(&accounts), "1 to 1000 of them")?;
        limit(
            "instruments",
            instruments.to_string(),
            (1..=10_000).contains(&instruments),
            "1 to 10000 of them",
        )?;
        for (field, bps) in [("maker_fee_bps", self.maker_fee_bps), ("taker_fee_bps", self.taker_fee_bps)] {
            limit(field, bps.to_string(), bps.abs() <= Decimal::from(1_000), "-1000 to 1000")?;
        }
        if let Some(quantity) = self.fill_quantity_max {
            let whole = self
                .instruments
                .iter()
                .all(|instrument| super::market::is_multiple(quantity, instrument.lot_size));
            let good = quantity > Decimal::ZERO && whole;
            limit(
                "fill_quantity_max",
                quantity.to_string(),
                good,
                "a whole number of lots of every instrument",
            )?;
        }
        for (field, count, most) in [
            ("orders_max", self.orders_max, 10_000_000),
            ("updates_max", self.updates_max, 100_000_000),
            ("keys_max", self.keys_max, 20_000_000),
            ("body_bytes_max", self.body_bytes_max, 64 << 20),
            ("updates_page_max", self.updates_page_max, 10_000),
        ] {
            limit(field, count.to_string(), (1..=most).contains(&count), "at least 1 and not absurd")?;
        }
        limit(
            "process_latency_ms",
            self.process_latency_ms.to_string(),
            self.process_latency_ms <= 3_600_000,
            "at most 3600000",
        )
    }
}

pub(super) fn unique<'a>(what: &'static str, names: impl Iterator<Item = &'a str>) -> Result<(), PaperError> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(PaperError::Twice { what, name: name.to_owned() });
        }
    }
    Ok(())
}
