//! What can be wrong with the configuration of a venue that is reached over HTTP.

use super::SecretError;
use crate::resilience::{Class, Classified};
use std::net::IpAddr;
use thiserror::Error;

/// Why the client of a venue cannot be set up.
#[derive(Debug, Error)]
pub enum VenueSetupError {
    /// The address is not one.
    #[error(
        "venue {venue}: base_url \"{found}\" {problem}; give scheme, host and port, as in https://venue.example"
    )]
    BaseUrl {
        /// Which venue.
        venue: String,
        /// The text found.
        found: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The key would cross a network in the clear.
    #[error(
        "venue {venue}: base_url \"{found}\" would send the API key unencrypted to another machine; use https, or set plain_http = true"
    )]
    PlainHttp {
        /// Which venue.
        venue: String,
        /// The address.
        found: String,
    },
    /// A number is out of range.
    #[error("venue {venue}: {field} is {found}, expected {expected}")]
    Limit {
        /// Which venue.
        venue: String,
        /// Which field.
        field: &'static str,
        /// Its value.
        found: u64,
        /// What it may be.
        expected: &'static str,
    },
    /// There is no API key.
    #[error("venue {venue}: {source}")]
    Key {
        /// Which venue.
        venue: String,
        /// Why.
        source: SecretError,
    },
    /// The HTTP client cannot be built.
    #[error(
        "venue {venue}: the HTTP client cannot start ({detail}); for https, check that the system has root certificates"
    )]
    Client {
        /// Which venue.
        venue: String,
        /// What it says.
        detail: String,
    },
}

impl Classified for VenueSetupError {
    fn class(&self) -> Class {
        match self {
            Self::Client { .. } => Class::Resource,
            Self::Key { source, .. } => source.class(),
            Self::BaseUrl { .. } | Self::PlainHttp { .. } | Self::Limit { .. } => Class::State,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::BaseUrl { .. } => "venue_base_url",
            Self::PlainHttp { .. } => "venue_plain_http",
            Self::Limit { .. } => "venue_limit",
            Self::Key { source, .. } => source.code(),
            Self::Client { .. } => "venue_client",
        }
    }
}

/// Checks where a venue is: an address and nothing else, and one to which a key may be sent.
pub(super) fn check_url(venue: &str, base_url: &str, plain_http: bool) -> Result<(), VenueSetupError> {
    let wrong =
        |problem| VenueSetupError::BaseUrl { venue: venue.to_owned(), found: base_url.to_owned(), problem };
    let url = reqwest::Url::parse(base_url).map_err(|_| wrong("is not a URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        // Not shown: whoever writes a password here has written it in the wrong place.
        let found = "<hidden>".into();
        let problem = "holds a user name, and keys do not belong in a configuration";
        return Err(VenueSetupError::BaseUrl { venue: venue.to_owned(), found, problem });
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("holds a query or a fragment"));
    }
    let host = url.host_str().ok_or_else(|| wrong("names no host"))?;
    match url.scheme() {
        "https" => Ok(()),
        "http" if plain_http || is_loopback(host) => Ok(()),
        "http" => Err(VenueSetupError::PlainHttp { venue: venue.to_owned(), found: base_url.to_owned() }),
        _ => Err(wrong("is neither http nor https")),
    }
}

/// The host of an address that does not lead back to this machine; `None` for one that does, and for one that is
/// no URL, which [`check_url`] refuses.
pub(crate) fn remote_host(base_url: &str) -> Option<String> {
    let url = reqwest::Url::parse(base_url).ok()?;
    url.host_str().filter(|host| !is_loopback(host)).map(str::to_owned)
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
