//! How the venue of kind `purpleflea` is reached, and what is assumed of it.

use super::super::setup::{VenueSetupError, check_url};
use super::super::transport::TransportConfig;
use super::super::{Capability, KeySource, VenueProfile};
use crate::market::Instrument;
use crate::resilience::{GateConfig, LimiterConfig};
use rust_decimal::Decimal;
use serde::Deserialize;
use std::num::NonZeroU32;
use std::time::Duration;

/// Configuration of a venue of kind `purpleflea`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurpleFleaConfig {
    /// Where it is, without `/v1`. Default: the venue's own address.
    #[serde(default = "address")]
    pub base_url: String,
    /// Where the key is: `{ env = "NAME" }` or `{ file = "PATH" }`, never the key itself.
    pub key: KeySource,
    /// One request, from connect to the last byte. Default 15,000: the venue makes up to six calls of its own
    /// for an order, one after the other and without any timeout.
    #[serde(default = "fifteen_seconds")]
    pub request_timeout_ms: u64,
    /// Connecting, TLS included; below `request_timeout_ms`, since only a connect that failed by itself proves
    /// that nothing was sent. Default 2,000: three lost SYN packets.
    #[serde(default = "two_seconds")]
    pub connect_timeout_ms: u64,
    /// Leverage of every order. Default 1: the venue's own default is 5, and what a strategy risks is for its
    /// owner to raise.
    #[serde(default = "one")]
    pub leverage: u32,
    /// How far, in thousandths, the size of an execution may lie from that of the order for it to be taken
    /// for that order's; the smallest step is allowed on top. Default 5: the venue sends every order with a limit
    /// of half a percent around the middle price.
    #[serde(default = "five")]
    pub size_tolerance_permille: u32,
    /// How far, in thousandths, the price by which the venue turns dollars into coin may lie from the one an
    /// order was decided at; beyond, the order waits. Default 20: that price is up to 30 s old.
    #[serde(default = "twenty")]
    pub price_off_permille_max: u32,
    /// Time between two readings of the positions that have to agree. Default 300: long enough for a fill that
    /// is being booked, short beside a request.
    #[serde(default = "three_hundred")]
    pub read_again_ms: u64,
    /// How often order changes are asked for. The venue reports none; working orders are asked about one by one.
    #[serde(default = "one_second")]
    pub updates_poll_ms: u64,
    /// Where prices come from. Default the order book: the venue's price cache is up to 30 s old and stamps
    /// what it says with the time of the question.
    #[serde(default)]
    pub price_source: PriceSource,
    /// A price that has not moved for this long is not passed on, so that the feed's age shows. Default 60: the
    /// venue never says how old a price is, and a market that trades moves within a minute.
    #[serde(default = "sixty")]
    pub price_frozen_s: u64,
    /// Largest reply that is read. Default 1 MiB: 200 rows of history are a tenth of it.
    #[serde(default = "one_mebibyte")]
    pub reply_bytes_max: usize,
    /// Breakers, limiter and retry budget. The limiter's default here is 2 calls a second after a burst of 10:
    /// the venue takes 30 opens and 30 closes a minute, and an order costs about six calls.
    #[serde(default = "gate")]
    pub gate: Box<GateConfig>,
}

/// Where prices come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PriceSource {
    /// The order book of each coin, one request a coin.
    #[default]
    Orderbook,
    /// The venue's price cache, one request for 20 coins.
    Cache,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// Which field.
    pub field: &'static str,
    /// Its value.
    pub found: String,
    /// What to do.
    pub advice: String,
}

fn address() -> String {
    "https://trading.purpleflea.com".into()
}

fn gate() -> Box<GateConfig> {
    const TWO: NonZeroU32 = NonZeroU32::new(2).unwrap();
    let limiter = LimiterConfig { calls_per_second: TWO, ..LimiterConfig::default() };
    Box::new(GateConfig { limiter, ..GateConfig::default() })
}

const fn fifteen_seconds() -> u64 {
    15_000
}

const fn two_seconds() -> u64 {
    2_000
}

const fn one_second() -> u64 {
    1_000
}

const fn twenty() -> u32 {
    20
}

const fn three_hundred() -> u64 {
    300
}

const fn sixty() -> u64 {
    60
}

const fn one() -> u32 {
    1
}

const fn five() -> u32 {
    5
}

const fn one_mebibyte() -> usize {
    1 << 20
}

impl PurpleFleaConfig {
    /// Everything at its default, with the key from this place.
    pub fn new(key: KeySource) -> Self {
        Self {
            base_url: address(),
            key,
            request_timeout_ms: fifteen_seconds(),
            connect_timeout_ms: two_seconds(),
            leverage: one(),
            size_tolerance_permille: five(),
            price_off_permille_max: twenty(),
            read_again_ms: three_hundred(),
            updates_poll_ms: one_second(),
            price_source: PriceSource::default(),
            price_frozen_s: sixty(),
            reply_bytes_max: one_mebibyte(),
            gate: gate(),
        }
    }

    /// What the venue promises, for the core.
    pub fn profile(&self, name: &str) -> VenueProfile {
        VenueProfile {
            name: name.to_owned(),
            capability: Capability::DeltaOnly,
            request_timeout: Duration::from_millis(self.request_timeout_ms),
            // A refusal of the venue's own limiter is recognised by its words; nobody else's is proof.
            refusal_is_proof: false,
            reports_changes: false,
        }
    }

    /// Checks everything that can be checked without the network.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, name: &str) -> Result<(), ConfigFault> {
        check_url(name, &self.base_url, false).map_err(|error| url_fault(&error))?;
        let timeouts = 1..=600_000;
        let (request, connect) = (self.request_timeout_ms, self.connect_timeout_ms);
        in_range("request_timeout_ms", request, timeouts.contains(&request), "1 to 600000")?;
        let below = (1..request).contains(&connect);
        in_range("connect_timeout_ms", connect, below, "1 to request_timeout_ms - 1")?;
        let leverage = self.leverage.into();
        in_range("leverage", leverage, (1..=100).contains(&leverage), "1 to 100")?;
        let tolerance = self.size_tolerance_permille.into();
        in_range("size_tolerance_permille", tolerance, (0..=50).contains(&tolerance), "0 to 50")?;
        let off = self.price_off_permille_max.into();
        in_range("price_off_permille_max", off, (1..=500).contains(&off), "1 to 500")?;
        let again = self.read_again_ms;
        in_range("read_again_ms", again, (0..=60_000).contains(&again), "0 to 60000")?;
        let frozen = self.price_frozen_s;
        in_range("price_frozen_s", frozen, (1..=86_400).contains(&frozen), "1 to 86400")?;
        let bytes = self.reply_bytes_max as u64;
        in_range("reply_bytes_max", bytes, (1_024..=64 << 20).contains(&bytes), "1024 to 67108864")
    }

    /// Checks an instrument that is traded here.
    ///
    /// # Errors
    /// When the venue cannot mean the same by its quantity.
    pub fn check_instrument(instrument: &Instrument) -> Result<(), ConfigFault> {
        let fault = |field, found: Decimal, advice: &str| {
            Err(ConfigFault { field, found: found.to_string(), advice: advice.to_owned() })
        };
        if instrument.multiplier != Decimal::ONE {
            let advice = "give 1: the venue's sizes are dollars of the coin itself";
            return fault("multiplier", instrument.multiplier, advice);
        }
        let lot = instrument.lot_size.normalize();
        if lot.mantissa() != 1 {
            let advice = "give 1, 0.1, 0.01 and so on: one at the last of the coin's szDecimals places, to which \
                          the venue rounds";
            return fault("lot_size", lot, advice);
        }
        Ok(())
    }

    /// What the transport needs of it. Writes keep no connection open: hyper moves a request from a connection
    /// that has just closed to a new one without a word, and here a second send would be a second order.
    pub(super) fn transport<'a>(
        &'a self,
        venue: &'a str,
        idle_connections_max: usize,
    ) -> TransportConfig<'a> {
        TransportConfig {
            venue,
            base_url: &self.base_url,
            request_timeout_ms: self.request_timeout_ms,
            connect_timeout_ms: self.connect_timeout_ms,
            reply_bytes_max: self.reply_bytes_max,
            idle_connections_max,
        }
    }
}

/// Whether the venue may take two symbols for the same coin: it ignores case, and finds `xyz:TSLA` under `TSLA`.
pub fn is_same_coin(one: &str, other: &str) -> bool {
    let bare = |symbol: &str| {
        let upper = symbol.to_uppercase();
        upper.strip_prefix("XYZ:").map(str::to_owned).unwrap_or(upper)
    };
    bare(one) == bare(other)
}

fn in_range(field: &'static str, found: u64, good: bool, expected: &str) -> Result<(), ConfigFault> {
    if good {
        return Ok(());
    }
    Err(ConfigFault { field, found: found.to_string(), advice: format!("give {expected}") })
}

fn url_fault(error: &VenueSetupError) -> ConfigFault {
    let found = match error {
        VenueSetupError::BaseUrl { found, .. } | VenueSetupError::PlainHttp { found, .. } => found.clone(),
        _ => String::new(),
    };
    let advice = match error {
        VenueSetupError::PlainHttp { .. } => {
            "use https: over http the API key would cross the network in the clear; http is for loopback"
                .into()
        }
        error => error.to_string(),
    };
    ConfigFault { field: "base_url", found, advice }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::Secret;
    use crate::venue::tests::instruments;

    fn parse(text: &str) -> Result<PurpleFleaConfig, toml::de::Error> {
        toml::from_str(&format!("key = {{ env = \"KEY\" }}\n{text}"))
    }

    #[test]
    fn the_defaults_pass_and_say_https() {
        let config = parse("").unwrap();
        assert_eq!(config.check("flea"), Ok(()));
        assert_eq!((config.base_url.as_str(), config.leverage), ("https://trading.purpleflea.com", 1));
        assert_eq!(config.price_source, PriceSource::Orderbook);
        assert_eq!(config.gate.limiter.calls_per_second.get(), 2);
        assert_eq!(config.profile("flea").capability, Capability::DeltaOnly);
    }

    #[test]
    fn a_wrong_value_is_named_with_its_field_and_advice() {
        for (text, field) in [
            ("base_url = 'http://venue.example'", "base_url"),
            ("base_url = 'ftp://venue.example'", "base_url"),
            ("request_timeout_ms = 0", "request_timeout_ms"),
            ("connect_timeout_ms = 15000", "connect_timeout_ms"),
            ("leverage = 0", "leverage"),
            ("size_tolerance_permille = 51", "size_tolerance_permille"),
            ("read_again_ms = 60001", "read_again_ms"),
            ("price_frozen_s = 0", "price_frozen_s"),
            ("reply_bytes_max = 1", "reply_bytes_max"),
        ] {
            let fault = parse(text).unwrap().check("flea").unwrap_err();
            assert_eq!(fault.field, field, "{text}");
            assert!(!fault.found.is_empty() && !fault.advice.is_empty(), "{fault:?}");
        }
        assert_eq!(parse("base_url = 'http://127.0.0.1:1'").unwrap().check("flea"), Ok(()), "loopback");
    }

    #[test]
    fn a_misspelt_field_and_a_key_in_the_open_are_refused() {
        assert!(parse("leverages = 5").is_err());
        assert!(toml::from_str::<PurpleFleaConfig>("key = 'sk_trade_1234'").is_err());
        assert!(toml::from_str::<PurpleFleaConfig>("").is_err(), "a key has no default");
    }

    #[test]
    fn a_password_in_the_address_and_a_key_are_never_shown() {
        let config = parse("base_url = 'https://me:hunter2@venue.example'").unwrap();
        assert!(!format!("{:?}", config.check("flea").unwrap_err()).contains("hunter2"));
        let config = PurpleFleaConfig::new(KeySource::Given(Secret::new("sk_trade_1234").unwrap()));
        assert!(!format!("{config:?}").contains("1234"));
    }

    #[test]
    fn an_instrument_must_be_counted_as_the_venue_counts() {
        let (_, good) = instruments().iter().next().map(|(id, found)| (id, found.clone())).unwrap();
        assert_eq!(PurpleFleaConfig::check_instrument(&good), Ok(()));
        let tens = Instrument { multiplier: Decimal::TEN, ..good.clone() };
        assert_eq!(PurpleFleaConfig::check_instrument(&tens).unwrap_err().field, "multiplier");
        let fives = Instrument { lot_size: Decimal::new(5, 1), ..good };
        assert_eq!(PurpleFleaConfig::check_instrument(&fives).unwrap_err().field, "lot_size");
    }
}
