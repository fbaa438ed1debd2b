//! How a venue of kind `http` is reached.

use super::super::setup::{VenueSetupError, check_url};
use super::super::transport::TransportConfig;
use super::super::{Capability, KeySource, VenueProfile};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a venue of kind `http` does with the key of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HttpCapability {
    /// It remembers the key and executes the same key once.
    #[default]
    IdempotentKeys,
    /// It takes the key as a client order id that it can be asked about, and executes the same id twice.
    QueryByClientId,
    /// The same, but it refuses an id that one of its open orders has.
    UniqueWhileOpen,
}

/// Configuration of a venue of kind `http`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpVenueConfig {
    /// Name of the venue, as instruments spell it. Default `paper`.
    pub name: String,
    /// Where it is, without `/api`. The default is the paper venue's own default address.
    pub base_url: String,
    /// Where the API key is found. Default: the environment variable `RINGFENCE_VENUE_KEY`.
    pub key: KeySource,
    /// Whether the key may cross a network without encryption. Default no: `http://` is for loopback.
    pub plain_http: bool,
    /// One request, from connect to the last byte of the reply. Default 5,000: longer than a healthy venue
    /// ever takes, short enough that a strategy learns of trouble while it still matters.
    pub request_timeout_ms: u64,
    /// Connecting, TLS included; must be below `request_timeout_ms`, since only a connect that failed by
    /// itself proves that nothing was sent. Default 2,000: three lost SYN packets.
    pub connect_timeout_ms: u64,
    /// What the venue does with the key of a request. Default: it remembers it. Where it does not, an order
    /// in doubt is asked about before it is sent again.
    pub capability: HttpCapability,
    /// How long a venue with idempotency keys remembers one, minus a margin. Default 72,000 (20 hours): the usual
    /// promise is 24.
    pub key_window_s: u64,
    /// Whether the venue promises that a 429 or 503 means "not executed". Default no: a proxy in between
    /// answers 503 for a venue that has already filled.
    pub refusal_is_proof: bool,
    /// Largest reply that is read. Default 1 MiB: a full page of updates is a fifth of it.
    pub reply_bytes_max: usize,
    /// Changes asked for at a time. Default 500.
    pub updates_page_max: u32,
    /// Connections kept open between requests. Default 8: one for each request under way, more would only
    /// go stale.
    pub idle_connections_max: usize,
}

impl Default for HttpVenueConfig {
    fn default() -> Self {
        Self {
            name: "paper".into(),
            base_url: "http://127.0.0.1:7070".into(),
            key: KeySource::Env("RINGFENCE_VENUE_KEY".into()),
            plain_http: false,
            request_timeout_ms: 5_000,
            connect_timeout_ms: 2_000,
            capability: HttpCapability::IdempotentKeys,
            key_window_s: 72_000,
            refusal_is_proof: false,
            reply_bytes_max: 1024 * 1024,
            updates_page_max: 500,
            idle_connections_max: 8,
        }
    }
}

impl HttpVenueConfig {
    /// What the venue promises, for the core.
    pub fn profile(&self) -> VenueProfile {
        VenueProfile {
            name: self.name.clone(),
            capability: self.capability(),
            request_timeout: Duration::from_millis(self.request_timeout_ms),
            refusal_is_proof: self.refusal_is_proof,
            reports_changes: true,
        }
    }

    /// What the transport needs of it.
    pub(in crate::venue) fn transport(&self) -> TransportConfig<'_> {
        TransportConfig {
            venue: &self.name,
            base_url: &self.base_url,
            request_timeout_ms: self.request_timeout_ms,
            connect_timeout_ms: self.connect_timeout_ms,
            reply_bytes_max: self.reply_bytes_max,
            idle_connections_max: self.idle_connections_max,
        }
    }

    /// What the venue promises about one order.
    pub fn capability(&self) -> Capability {
        match self.capability {
            HttpCapability::IdempotentKeys => {
                Capability::IdempotentKeys { window: Duration::from_secs(self.key_window_s) }
            }
            HttpCapability::QueryByClientId => Capability::QueryByClientId,
            HttpCapability::UniqueWhileOpen => Capability::UniqueWhileOpen,
        }
    }

    /// Checks everything that can be checked without the network.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), VenueSetupError> {
        let expected = |field, found: u64, good, expected| {
            if good {
                return Ok(());
            }
            Err(VenueSetupError::Limit { venue: self.name.clone(), field, found, expected })
        };
        check_url(&self.name, &self.base_url, self.plain_http)?;
        let (request, connect) = (self.request_timeout_ms, self.connect_timeout_ms);
        expected("request_timeout_ms", request, (1..=600_000).contains(&request), "1 to 600000")?;
        expected(
            "connect_timeout_ms",
            connect,
            (1..request).contains(&connect),
            "1 to request_timeout_ms - 1",
        )?;
        let bytes = self.reply_bytes_max as u64;
        expected("reply_bytes_max", bytes, (1_024..=64 << 20).contains(&bytes), "1024 to 67108864")?;
        let page = u64::from(self.updates_page_max);
        expected("updates_page_max", page, (1..=10_000).contains(&page), "1 to 10000")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::Classified as _;

    fn with(change: impl FnOnce(&mut HttpVenueConfig)) -> Result<(), &'static str> {
        let mut config = HttpVenueConfig::default();
        change(&mut config);
        config.check().map_err(|error| error.code())
    }

    #[test]
    fn the_defaults_pass() {
        assert_eq!(with(|_| ()), Ok(()));
    }

    #[test]
    fn a_key_is_not_sent_in_the_clear_to_another_machine() {
        for url in ["http://localhost:1", "http://127.0.0.9", "http://[::1]:80", "https://venue.example"] {
            assert_eq!(with(|config| config.base_url = url.into()), Ok(()), "{url}");
        }
        let plain = |config: &mut HttpVenueConfig| config.base_url = "http://venue.example".into();
        assert_eq!(with(plain), Err("venue_plain_http"));
        assert_eq!(with(|config| (plain(config), config.plain_http = true).0), Ok(()));
    }

    #[test]
    fn an_address_that_is_none_is_refused_and_a_password_not_repeated() {
        for url in ["", "venue", "ftp://venue.example", "https://venue.example/?key=1"] {
            assert_eq!(with(|config| config.base_url = url.into()), Err("venue_base_url"), "{url}");
        }
        let config =
            HttpVenueConfig { base_url: "https://me:hunter2@venue.example".into(), ..Default::default() };
        let error = config.check().unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_connect_may_not_outlast_the_request() {
        assert_eq!(with(|config| config.connect_timeout_ms = 5_000), Err("venue_limit"));
        assert_eq!(with(|config| config.request_timeout_ms = 0), Err("venue_limit"));
        assert_eq!(with(|config| config.reply_bytes_max = 0), Err("venue_limit"));
        assert_eq!(with(|config| config.updates_page_max = 0), Err("venue_limit"));
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        assert!(toml::from_str::<HttpVenueConfig>("request_timeout = 5").is_err());
        let config: HttpVenueConfig = toml::from_str("name = 'x'\nkey = { file = 'key' }").unwrap();
        assert_eq!((config.name.as_str(), config.key), ("x", KeySource::File("key".into())));
    }
}
