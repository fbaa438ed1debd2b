//! One fault, for which requests and how often, in one word: `open:drop-after:next=1`.

use super::faults::{FaultError, FleaFault};
use super::request::FleaRoute;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// How often a rule applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// To the next so many requests that it fits, then never again.
    Next(u32),
    /// To so many of a thousand requests that it fits.
    Permille(u16),
}

/// One rule. In text, and so in configurations, flags and on the wire: `ROUTE:FAULT[=VALUE]:next=N` or
/// `ROUTE:FAULT[=VALUE]:permille=N`, the route being `any` for all that the fault fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultRule {
    /// For which route; `None` for each that the fault fits.
    pub route: Option<FleaRoute>,
    /// What goes wrong.
    pub fault: FleaFault,
    /// How often.
    pub when: When,
}

impl FaultRule {
    /// A fault for the next `count` requests of a route.
    pub const fn next(route: FleaRoute, fault: FleaFault, count: u32) -> Self {
        Self { route: Some(route), fault, when: When::Next(count) }
    }

    /// Checks the numbers, and that the fault can happen to the route.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), FaultError> {
        self.fault.check()?;
        if let When::Permille(permille) = self.when
            && permille > 1_000
        {
            return Err(FaultError::Value {
                name: "permille",
                found: permille.to_string(),
                expected: "0 to 1000",
            });
        }
        match self.route {
            Some(route) if !self.fault.fits(route) => {
                Err(FaultError::DoesNotFit { fault: self.fault.name(), route, fits: self.fault.fitting() })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn fits(&self, route: FleaRoute) -> bool {
        self.route.is_none_or(|only| only == route) && self.fault.fits(route)
    }
}

impl fmt::Display for FaultRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let route = self.route.map_or("any", FleaRoute::name);
        match self.when {
            When::Next(count) => write!(f, "{route}:{}:next={count}", self.fault),
            When::Permille(permille) => write!(f, "{route}:{}:permille={permille}", self.fault),
        }
    }
}

impl FromStr for FaultRule {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let mut parts = text.split(':');
        let (Some(route), Some(fault), Some(when), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(FaultError::Shape(text.to_owned()));
        };
        let route = match route {
            "any" => None,
            name => Some(name.parse().map_err(|()| FaultError::NoSuchRoute(name.to_owned()))?),
        };
        let count = |name, found: &str| {
            found.parse::<u32>().map_err(|_| FaultError::Value {
                name,
                found: found.to_owned(),
                expected: "a whole number",
            })
        };
        let when = match when.split_once('=') {
            Some(("next", found)) => When::Next(count("next", found)?),
            Some(("permille", found)) => {
                When::Permille(u16::try_from(count("permille", found)?).unwrap_or(u16::MAX))
            }
            _ => return Err(FaultError::Shape(text.to_owned())),
        };
        let rule = Self { route, fault: fault.parse()?, when };
        rule.check()?;
        Ok(rule)
    }
}

impl Serialize for FaultRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FaultRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_rule_is_written_and_read_alike() {
        for fault in FleaFault::EXAMPLES {
            for when in [When::Next(3), When::Permille(20)] {
                let rule = FaultRule { route: None, fault, when };
                assert_eq!(rule.to_string().parse::<FaultRule>().unwrap(), rule);
            }
        }
        let rule: FaultRule = "open:late=5000:next=1".parse().unwrap();
        assert_eq!(rule, FaultRule::next(FleaRoute::Open, FleaFault::Late(5_000), 1));
    }

    #[test]
    fn a_bad_rule_is_refused_in_words() {
        for (text, words) in [
            ("open:drop-after", "expected ROUTE:FAULT[=VALUE]:next=N"),
            ("oben:drop-after:next=1", "nearest is open"),
            ("open:drop:next=1", "no fault drop"),
            ("open:drop-after=3:next=1", "takes no value"),
            ("open:late:next=1", "late needs a value"),
            ("open:html-after=200:next=1", "500 to 599"),
            ("open:slow-loris=x:next=1", "x"),
            ("open:drop-after:permille=1001", "0 to 1000"),
            ("open:drop-after:next=-1", "a whole number"),
            ("open:database-positions:next=1", "only to positions"),
        ] {
            let error = text.parse::<FaultRule>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,40}", head in "(open|any):[a-z-]{0,16}(=[0-9]{0,30})?:") {
            let _ = text.parse::<FaultRule>();
            let _ = format!("{head}{text}").parse::<FaultRule>();
        }
    }
}
