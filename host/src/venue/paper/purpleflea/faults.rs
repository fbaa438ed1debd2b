//! What can go wrong with one request, decided from a seed and the requests before it.

use super::request::FleaRoute;
use super::rule::{FaultRule, When};
use crate::random::SplitMix64;
use crate::resilience::{Class, Classified};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The switches of a venue: what it is better at than the real one, and what goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FleaFaults {
    /// Decides every random choice. Default 1.
    pub seed: u64,
    /// The rules; the first that applies to a request decides. Default: none.
    pub rules: Vec<FaultRule>,
    /// Whether a repeated `Idempotency-Key` gives the stored reply, as some of the venue's pages say and the server
    /// does not. Default no.
    pub honour_keys: bool,
    /// Whether a 429 says when to come back. The real server's does not. Default no.
    pub send_retry_after: bool,
}

impl FleaFaults {
    /// Checks every rule.
    ///
    /// # Errors
    /// The first that makes no sense.
    pub fn check(&self) -> Result<(), FaultError> {
        self.rules.iter().try_for_each(FaultRule::check)
    }
}

impl Default for FleaFaults {
    fn default() -> Self {
        Self { seed: 1, rules: Vec::new(), honour_keys: false, send_retry_after: false }
    }
}

/// What can happen to one request. In text: the name in kebab case, and `=VALUE` where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleaFault {
    /// Not handled; the connection is reset.
    DropBefore,
    /// Handled; the connection is reset instead of a reply.
    DropAfter,
    /// Filled at the exchange, and then the database refuses to write it down: 400 with its text.
    FailAfterFill,
    /// Filled and written down, and then the database fails: 400 with its text.
    FailAfterInsert,
    /// Not handled; a proxy's page with this status.
    HtmlBefore(u16),
    /// Handled; a proxy's page with this status instead of the reply.
    HtmlAfter(u16),
    /// Not handled; 429 as the limiter says it.
    RateLimited,
    /// Handled; the reply comes byte by byte over so many milliseconds of real time.
    SlowLoris(u64),
    /// The exchange does not answer the server: positions come from its database.
    DatabasePositions,
    /// The exchange answers without positions: none are shown.
    EmptyPositions,
    /// Prices are null.
    NullPrice,
    /// Prices are NaN, which is no JSON.
    NanPrice,
    /// Prices are those of the cache, however old, under a fresh time stamp.
    FrozenPrice,
    /// The order fills so many thousandths of its size, to whole lots.
    PartialFill(u16),
    /// Handled twice; the second reply is sent.
    Duplicate,
    /// The connection is reset, and the request is handled so many milliseconds later.
    Late(u64),
    /// The limit order is filled by two pollers, neither of which knows of the other.
    DoubleFill,
}

/// Why a fault or a rule is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FaultError {
    /// Not a rule at all.
    #[error(
        "fault rule {0:?}: expected ROUTE:FAULT[=VALUE]:next=N or …:permille=N, such as open:drop-after:next=1"
    )]
    Shape(String),
    /// No route has this name.
    #[error("fault rule: no route {0}; the nearest is {near}, and any means all that the fault fits",
        near = nearest(.0, FleaRoute::ALL.iter().map(|route| route.name())))]
    NoSuchRoute(String),
    /// No fault has this name.
    #[error("fault rule: no fault {0}; the nearest is {near}",
        near = nearest(.0, FleaFault::EXAMPLES.iter().map(FleaFault::name)))]
    NoSuchFault(String),
    /// The fault needs a number.
    #[error("fault rule: {0} needs a value, such as {1}")]
    NoValue(&'static str, FleaFault),
    /// The fault has no number.
    #[error("fault rule: {0} takes no value, leave the = out")]
    NeedlessValue(&'static str),
    /// A number is out of range.
    #[error("fault rule: {name} is {found}, expected {expected}")]
    Value {
        /// Of what.
        name: &'static str,
        /// What was found.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The fault cannot happen to the route.
    #[error("fault rule: {fault} cannot happen to {route}, only to {fits}; any means those")]
    DoesNotFit {
        /// Which fault.
        fault: &'static str,
        /// Which route.
        route: FleaRoute,
        /// Where it can happen.
        fits: String,
    },
}

impl Classified for FaultError {
    fn class(&self) -> Class {
        Class::Data
    }

    fn code(&self) -> &'static str {
        "paper_fault"
    }
}

fn nearest(found: &str, names: impl Iterator<Item = &'static str>) -> &'static str {
    names.min_by_key(|name| strsim::damerau_levenshtein(found, name)).unwrap_or_default()
}

impl FleaFault {
    /// One of each.
    pub const EXAMPLES: [Self; 17] = [
        Self::DropBefore,
        Self::DropAfter,
        Self::FailAfterFill,
        Self::FailAfterInsert,
        Self::HtmlBefore(502),
        Self::HtmlAfter(504),
        Self::RateLimited,
        Self::SlowLoris(31_000),
        Self::DatabasePositions,
        Self::EmptyPositions,
        Self::NullPrice,
        Self::NanPrice,
        Self::FrozenPrice,
        Self::PartialFill(500),
        Self::Duplicate,
        Self::Late(60_000),
        Self::DoubleFill,
    ];

    /// Longest time that makes sense.
    const MS_MAX: u64 = 3_600_000;

    /// Its name, without the value.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::DropBefore => "drop-before",
            Self::DropAfter => "drop-after",
            Self::FailAfterFill => "fail-after-fill",
            Self::FailAfterInsert => "fail-after-insert",
            Self::HtmlBefore(_) => "html-before",
            Self::HtmlAfter(_) => "html-after",
            Self::RateLimited => "rate-limited",
            Self::SlowLoris(_) => "slow-loris",
            Self::DatabasePositions => "database-positions",
            Self::EmptyPositions => "empty-positions",
            Self::NullPrice => "null-price",
            Self::NanPrice => "nan-price",
            Self::FrozenPrice => "frozen-price",
            Self::PartialFill(_) => "partial-fill",
            Self::Duplicate => "duplicate",
            Self::Late(_) => "late",
            Self::DoubleFill => "double-fill",
        }
    }

    fn value(self) -> Option<u64> {
        match self {
            Self::HtmlBefore(value) | Self::HtmlAfter(value) | Self::PartialFill(value) => Some(value.into()),
            Self::SlowLoris(value) | Self::Late(value) => Some(value),
            _ => None,
        }
    }

    fn with(self, value: u64) -> Self {
        let short = u16::try_from(value).unwrap_or(u16::MAX);
        match self {
            Self::HtmlBefore(_) => Self::HtmlBefore(short),
            Self::HtmlAfter(_) => Self::HtmlAfter(short),
            Self::PartialFill(_) => Self::PartialFill(short),
            Self::SlowLoris(_) => Self::SlowLoris(value),
            Self::Late(_) => Self::Late(value),
            other => other,
        }
    }

    /// Whether it can happen to a route.
    pub fn fits(&self, route: FleaRoute) -> bool {
        match self {
            Self::FailAfterFill | Self::FailAfterInsert | Self::PartialFill(_) => {
                matches!(route, FleaRoute::Open | FleaRoute::Close)
            }
            Self::DatabasePositions | Self::EmptyPositions => route == FleaRoute::Positions,
            Self::DoubleFill => route == FleaRoute::Limit,
            Self::NullPrice | Self::NanPrice | Self::FrozenPrice => matches!(
                route,
                FleaRoute::Markets
                    | FleaRoute::MultiPrice
                    | FleaRoute::Market
                    | FleaRoute::Price
                    | FleaRoute::Orderbook
                    | FleaRoute::Positions
                    | FleaRoute::Open
                    | FleaRoute::Close
            ),
            _ => true,
        }
    }

    pub(super) fn fitting(&self) -> String {
        let names: Vec<&str> =
            FleaRoute::ALL.iter().filter(|route| self.fits(**route)).map(|route| route.name()).collect();
        names.join(", ")
    }

    pub(super) fn check(self) -> Result<(), FaultError> {
        let good = |good, expected| {
            let found = self.value().unwrap_or_default().to_string();
            if good { Ok(()) } else { Err(FaultError::Value { name: self.name(), found, expected }) }
        };
        match self {
            Self::HtmlBefore(status) | Self::HtmlAfter(status) => {
                good((500..=599).contains(&status), "a status from 500 to 599")
            }
            Self::SlowLoris(ms) | Self::Late(ms) => {
                good((1..=Self::MS_MAX).contains(&ms), "1 to 3600000 milliseconds")
            }
            Self::PartialFill(permille) => good(permille <= 1_000, "0 to 1000 thousandths"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for FleaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value() {
            Some(value) => write!(f, "{}={value}", self.name()),
            None => f.write_str(self.name()),
        }
    }
}

impl FromStr for FleaFault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let found = Self::EXAMPLES.into_iter().find(|fault| fault.name() == name);
        let fault = found.ok_or_else(|| FaultError::NoSuchFault(name.to_owned()))?;
        let fault = match (fault.value(), value) {
            (Some(_), None) => return Err(FaultError::NoValue(fault.name(), fault)),
            (None, Some(_)) => return Err(FaultError::NeedlessValue(fault.name())),
            (None, None) => fault,
            (Some(_), Some(value)) => fault.with(value.parse().map_err(|_| FaultError::Value {
                name: fault.name(),
                found: value.to_owned(),
                expected: "a whole number",
            })?),
        };
        fault.check()?;
        Ok(fault)
    }
}

/// The rules at work.
#[derive(Clone, Debug)]
pub(super) struct Decider {
    faults: FleaFaults,
    /// One stream for each rule, so that the requests of one do not move the choices of another.
    streams: Vec<SplitMix64>,
}

impl Decider {
    pub(super) fn new(faults: FleaFaults) -> Self {
        let mut seeds = SplitMix64(faults.seed);
        let streams = faults.rules.iter().map(|_| SplitMix64(seeds.next_u64())).collect();
        Self { faults, streams }
    }

    /// The faults as they are now; rules for the next requests count down.
    pub(super) fn faults(&self) -> &FleaFaults {
        &self.faults
    }

    /// What happens to the next request of a route.
    pub(super) fn decide(&mut self, route: FleaRoute) -> Option<FleaFault> {
        let mut decided = None;
        let rules = self.faults.rules.iter_mut().zip(&mut self.streams);
        for (rule, stream) in rules.filter(|(rule, _)| rule.fits(route)) {
            // A rule draws for every request that it fits, whether or not one before it has decided.
            let applies = match &mut rule.when {
                When::Permille(permille) => stream.below(1_000) < u64::from(*permille),
                When::Next(count) => decided.is_none() && *count > 0,
            };
            if !applies || decided.is_some() {
                continue;
            }
            decided = Some(rule.fault);
            if let When::Next(count) = &mut rule.when {
                *count -= 1;
            }
        }
        decided
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decisions(seed: u64, rules: &[&str], routes: &[FleaRoute]) -> Vec<Option<FleaFault>> {
        let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        let mut decider = Decider::new(FleaFaults { seed, rules, ..FleaFaults::default() });
        routes.iter().map(|route| decider.decide(*route)).collect()
    }

    #[test]
    fn the_same_seed_and_requests_give_the_same_faults() {
        let rules = ["any:drop-after:permille=300", "open:html-before=502:permille=300"];
        let routes = [FleaRoute::Open; 200];
        let first = decisions(1, &rules, &routes);
        assert_eq!(first, decisions(1, &rules, &routes));
        assert_ne!(first, decisions(2, &rules, &routes));
        let count = first.iter().filter(|fault| **fault == Some(FleaFault::DropAfter)).count();
        assert!((30..90).contains(&count), "{count} of 200 at 300 permille");
    }

    #[test]
    fn the_requests_of_other_routes_do_not_move_the_faults() {
        let rules = ["open:drop-after:permille=300"];
        let opens = decisions(1, &rules, &[FleaRoute::Open; 50]);
        let routes: Vec<FleaRoute> = (0..150)
            .map(|number| if number % 3 == 0 { FleaRoute::Open } else { FleaRoute::Positions })
            .collect();
        let mixed = decisions(1, &rules, &routes);
        assert_eq!(mixed.into_iter().step_by(3).collect::<Vec<_>>(), opens);
    }

    #[test]
    fn a_rule_for_the_next_requests_ends() {
        let decided = decisions(1, &["open:drop-before:next=2"], &[FleaRoute::Open; 3]);
        assert_eq!(decided, [Some(FleaFault::DropBefore), Some(FleaFault::DropBefore), None]);
        let other = decisions(1, &["open:drop-before:next=2"], &[FleaRoute::Close]);
        assert_eq!(other, [None]);
    }

    #[test]
    fn the_first_rule_that_applies_decides_and_uses_up_no_other() {
        let rules = ["any:rate-limited:next=1", "open:drop-after:next=1"];
        let decided = decisions(1, &rules, &[FleaRoute::Open; 3]);
        assert_eq!(decided, [Some(FleaFault::RateLimited), Some(FleaFault::DropAfter), None]);
    }
}
