//! What a file's own numbers say about the steps of its instrument.

use super::capture::{Message, read_line};
use super::csv::{read_header, split};
use super::file::open_lines;
use super::header::RowKind;
use super::lines::Line;
use super::{FeedConfig, FeedError, parquet};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// What a look through a whole file has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Decimals of the finest price, without zeros at the end.
    pub price_decimals: u32,
    /// Decimals of the finest quantity.
    pub quantity_decimals: u32,
    /// Symbols that the rows name themselves, as a capture does.
    pub symbols: BTreeSet<String>,
}

impl Survey {
    /// Finer than this nothing is traded: it is what binary fractions leave of a price.
    pub const DECIMALS_MAX: u32 = 12;
    /// A capture of more symbols than this is not one of a few instruments.
    const SYMBOLS_MAX: usize = 64;

    /// Reads a whole file. Rows that cannot be read say nothing.
    ///
    /// # Errors
    /// When the file cannot be read, or its first line is not understood.
    pub fn of(path: &Path, config: &FeedConfig) -> Result<Self, FeedError> {
        let name: Arc<str> = path.display().to_string().into();
        if let Some(survey) = parquet::survey(path, &name, config)? {
            return Ok(survey);
        }
        let (mut lines, capture) = open_lines(path, &name, config)?;
        let layout = if capture { None } else { Some(read_header(&mut lines, &name, config)?) };
        let mut survey = Self::default();
        loop {
            let number = lines.number();
            let line = match lines.next() {
                Ok(Some(Line::Text(line))) => line,
                Ok(Some(Line::TooLong)) => continue,
                Ok(None) => return Ok(survey),
                Err(cause) => {
                    return Err(FeedError::Read { source_name: name, line: number, cause });
                }
            };
            match &layout {
                None => survey.take_message(line),
                Some(layout) => {
                    let Some(cells) = split(layout, line) else { continue };
                    let [_, a, b, c, d, e, _] = cells;
                    match layout.kind {
                        RowKind::Trades => survey.take(&[a], &[b]),
                        RowKind::Quotes => survey.take(&[a, b], &[c, d]),
                        RowKind::Bars => survey.take(&[a, b, c, d], &[e]),
                    }
                }
            }
        }
    }

    fn take_message(&mut self, line: &[u8]) {
        let symbol = match read_line(line) {
            Ok((_, Message::Trade { symbol, price, quantity })) => {
                self.take(&[price], &[quantity]);
                symbol
            }
            Ok((_, Message::Quote { symbol, bid, bid_size, ask, ask_size })) => {
                self.take(&[bid, ask], &[bid_size, ask_size]);
                symbol
            }
            _ => return,
        };
        if self.symbols.len() < Self::SYMBOLS_MAX && !self.symbols.contains(symbol) {
            self.symbols.insert(symbol.to_owned());
        }
    }

    #[inline]
    fn take(&mut self, prices: &[&[u8]], quantities: &[&[u8]]) {
        let finest =
            |so_far: u32, texts: &[&[u8]]| texts.iter().map(|text| decimals(text)).fold(so_far, u32::max);
        self.price_decimals = finest(self.price_decimals, prices).min(Self::DECIMALS_MAX);
        self.quantity_decimals = finest(self.quantity_decimals, quantities).min(Self::DECIMALS_MAX);
    }

    /// Takes what another file of the same instrument has shown.
    pub fn join(&mut self, other: &Self) {
        self.price_decimals = self.price_decimals.max(other.price_decimals);
        self.quantity_decimals = self.quantity_decimals.max(other.quantity_decimals);
        self.symbols.extend(other.symbols.iter().cloned());
    }
}

/// Decimals of a number as it is written, without zeros at the end; a number with an exponent says nothing.
#[inline]
pub(super) fn decimals(text: &[u8]) -> u32 {
    let Some(point) = memchr::memchr(b'.', text) else { return 0 };
    let fraction = text.get(point + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let kept = fraction.iter().rposition(|byte| *byte != b'0').map_or(0, |last| last + 1);
    u32::try_from(kept).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_at_the_end_are_no_decimals() {
        let cases =
            [("61685.99000000", 2), ("0.00017000", 5), ("12", 0), ("12.", 0), ("1.5e3", 0), ("0.000", 0)];
        for (text, expected) in cases {
            assert_eq!(decimals(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn the_finest_number_of_a_file_decides() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("x.csv");
        std::fs::write(&path, "time,price,qty\n1,10.5,1\nbad\n2,10.25,0.001\n3,10,2.5000\n").unwrap();
        let survey = Survey::of(&path, &FeedConfig::default()).unwrap();
        assert_eq!((survey.price_decimals, survey.quantity_decimals), (2, 3));
    }
}
