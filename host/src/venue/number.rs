//! Decimal numbers in JSON.

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A decimal that travels as a string and is never rounded: what has more digits than fit is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Exact(pub(super) Decimal);

impl Exact {
    /// Longest text that is looked at; the longest decimal there is has 31 characters.
    const BYTES_MAX: usize = 64;

    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > Self::BYTES_MAX {
            return None;
        }
        Decimal::from_str_exact(text).ok().map(Self)
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.normalize())
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            let found: String = text.chars().take(Self::BYTES_MAX).collect();
            serde::de::Error::custom(format!(
                "expected a decimal number of at most 28 digits in a string, found \"{found}\""
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_would_be_rounded_is_refused() {
        assert_eq!(Exact::parse("0.10"), Some(Exact(Decimal::new(1, 1))));
        for text in
            ["", "NaN", "inf", "1e308", "0.00000000000000000000000000001", "99999999999999999999999999999999"]
        {
            assert_eq!(Exact::parse(text), None, "{text}");
        }
        assert!(serde_json::from_str::<Exact>("1.5").is_err(), "a JSON number has been through f64");
    }

    #[test]
    fn equal_numbers_are_written_equally() {
        let text = serde_json::to_string(&[Exact(Decimal::new(150, 2)), Exact(Decimal::new(15, 1))]).unwrap();
        assert_eq!(text, r#"["1.5","1.5"]"#);
    }
}
