//! What a venue of this dialect trades, for whom, and its limits.

use super::super::config::{PaperError, unique};
use super::faults::FleaFaults;
use crate::market::Instrument;
use crate::venue::KeySource;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Configuration of a paper venue in the dialect of Purple Flea.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FleaConfig {
    /// Port on 127.0.0.1. Default 7070; 0 takes any.
    pub port: u16,
    /// Who trades. Default: one, called `main`.
    pub accounts: Vec<FleaAccount>,
    /// What is traded. The symbol is the coin, `xyz:` before it puts it on the second exchange, and the lot size gives
    /// the digits that sizes are rounded to. Default: nothing, which is an error at the start.
    pub instruments: Vec<Instrument>,
    /// Most leverage of any coin. Default 40, that of the largest coins.
    pub market_leverage_max: u32,
    /// How long the server believes its prices. Default 30,000, the real server's.
    pub price_cache_ms: u64,
    /// How often limit orders and exits are looked at. Default 30,000, the real server's.
    pub resting_poll_ms: u64,
    /// How far from the cached price an order may fill, in permille. Default 5, the real server's 0.5 %.
    pub slippage_permille: u16,
    /// Opens, and apart from them closes, from one address a minute; 0 for no limit. Default 30.
    pub trades_per_minute: u32,
    /// Registrations from one address a minute; 0 for no limit. Default 10.
    pub registrations_per_minute: u32,
    /// Pending limit orders of an account. Default 10.
    pub pending_limits_max: usize,
    /// Cash of an account that registers. Default 100,000: paper money needs no deposit.
    pub registered_cash: Decimal,
    /// Decides the ids and keys that the venue gives out. Default 1.
    pub seed: u64,
    /// What goes wrong. Default: nothing beyond what is normal at this venue.
    pub faults: FleaFaults,
    /// Accounts, the registered ones among them. Default 1,000.
    pub accounts_max: usize,
    /// Requests that change something before the venue is full, since the ledger forgets nothing. Default 200,000.
    pub requests_max: usize,
    /// Idempotency keys remembered for each account, where they are honoured. Default 200,000.
    pub keys_max: usize,
    /// Connections served at a time. Default 256.
    pub connections_max: usize,
    /// Largest head of a request. Default 32 KiB.
    pub head_bytes_max: usize,
    /// Largest body of a request. Default 1 MiB, some 10,000 ticks.
    pub body_bytes_max: usize,
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FleaAccount {
    /// Its name in the truth. Default `main`.
    pub name: String,
    /// Cash at the start. Default 100,000.
    pub cash: Decimal,
    /// Where its API key is found. Default: the environment variable `RINGFENCE_VENUE_KEY`.
    pub key: KeySource,
    /// What it pays beside the exchange's fee. Default free, the most.
    pub tier: Tier,
    /// Larger leverage is silently cut to this. Default 10.
    pub max_leverage: u32,
    /// Largest order in dollars. Default 10,000.
    pub max_position_usd: Decimal,
    /// Whether the exchange's key is stored; without it no order is sent. Default yes.
    pub wallet: bool,
}

/// Fee tiers of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// 2 basis points.
    #[default]
    Free,
    /// 1 basis point.
    Pro,
    /// None.
    Whale,
}

impl Tier {
    /// Its name in replies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Pro => "pro",
            Self::Whale => "whale",
        }
    }

    /// The server's part of the fee, in hundred-thousandths of the notional.
    pub(super) const fn fee_points(self) -> i64 {
        match self {
            Self::Free => 20,
            Self::Pro => 10,
            Self::Whale => 0,
        }
    }
}

impl Default for FleaConfig {
    fn default() -> Self {
        Self {
            port: 7070,
            accounts: vec![FleaAccount::default()],
            instruments: Vec::new(),
            market_leverage_max: 40,
            price_cache_ms: 30_000,
            resting_poll_ms: 30_000,
            slippage_permille: 5,
            trades_per_minute: 30,
            registrations_per_minute: 10,
            pending_limits_max: 10,
            registered_cash: Decimal::from(100_000),
            seed: 1,
            faults: FleaFaults::default(),
            accounts_max: 1_000,
            requests_max: 200_000,
            keys_max: 200_000,
            connections_max: 256,
            head_bytes_max: 32 * 1024,
            body_bytes_max: 1024 * 1024,
        }
    }
}

impl Default for FleaAccount {
    fn default() -> Self {
        Self {
            name: "main".into(),
            cash: Decimal::from(100_000),
            key: KeySource::Env("RINGFENCE_VENUE_KEY".into()),
            tier: Tier::Free,
            max_leverage: 10,
            max_position_usd: Decimal::from(10_000),
            wallet: true,
        }
    }
}

/// Digits after the point of a size, when the lot size is a power of ten that the exchange could have.
pub(super) fn size_digits(instrument: &Instrument) -> Option<u32> {
    let lot = instrument.lot_size.normalize();
    (lot == Decimal::new(1, lot.scale()) && lot.scale() <= 8).then(|| lot.scale())
}

impl FleaConfig {
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
        let coins: Vec<String> = self.instruments.iter().map(|i| i.symbol.to_uppercase()).collect();
        unique("coin", coins.iter().map(String::as_str))?;
        for instrument in &self.instruments {
            let expected = "a power of ten from 0.00000001 to 1: the exchange rounds sizes to whole digits";
            limit("lot_size", instrument.lot_size.to_string(), size_digits(instrument).is_some(), expected)?;
            let whole = instrument.multiplier == Decimal::ONE;
            limit("multiplier", instrument.multiplier.to_string(), whole, "1: the exchange has no other")?;
        }
        let instruments = self.instruments.len();
        let some = (1..=10_000).contains(&instruments);
        limit("instruments", instruments.to_string(), some, "1 to 10000 of them")?;
        let accounts = self.accounts.len();
        let some = (1..=self.accounts_max).contains(&accounts) && self.accounts_max <= 100_000;
        limit("accounts", accounts.to_string(), some, "1 to accounts_max of them, which is at most 100000")?;
        let billion = Decimal::from(1_000_000_000);
        let cash = self.accounts.iter().map(|account| account.cash).chain([self.registered_cash]);
        for cash in cash {
            let good = cash >= Decimal::ZERO && cash <= billion;
            limit("cash", cash.to_string(), good, "0 to 1000000000")?;
        }
        for account in &self.accounts {
            let (leverage, position) = (account.max_leverage, account.max_position_usd);
            limit("max_leverage", leverage.to_string(), (1..=50).contains(&leverage), "1 to 50")?;
            let good = position > Decimal::ZERO && position <= billion;
            limit("max_position_usd", position.to_string(), good, "above 0, at most 1000000000")?;
        }
        let leverage = self.market_leverage_max;
        limit("market_leverage_max", leverage.to_string(), (1..=50).contains(&leverage), "1 to 50")?;
        let slippage = self.slippage_permille;
        limit("slippage_permille", slippage.to_string(), slippage <= 500, "0 to 500")?;
        let hour = 3_600_000;
        limit(
            "price_cache_ms",
            self.price_cache_ms.to_string(),
            self.price_cache_ms <= hour,
            "0 to 3600000",
        )?;
        let poll = self.resting_poll_ms;
        limit("resting_poll_ms", poll.to_string(), (1..=hour).contains(&poll), "1 to 3600000")?;
        for (field, count, most) in [
            ("pending_limits_max", self.pending_limits_max, 10_000),
            ("requests_max", self.requests_max, 10_000_000),
            ("keys_max", self.keys_max, 20_000_000),
            ("connections_max", self.connections_max, 65_536),
            ("head_bytes_max", self.head_bytes_max, 1 << 20),
            ("body_bytes_max", self.body_bytes_max, 64 << 20),
        ] {
            limit(field, count.to_string(), (1..=most).contains(&count), "at least 1 and not absurd")?;
        }
        Ok(())
    }
}
