//! Raw captures of a venue's stream: one message a line, `<nanoseconds> <json>`.
//!
//! Read are the messages of Binance, bare or wrapped as `{"stream":…,"data":…}`: `bookTicker` as a quote, `trade` and
//! `aggTrade` as a trade. Changes of depth and other streams are passed over, since they are no market update by
//! themselves. A message is stamped with the moment of its capture: the book's best prices carry no other.

use super::lines::{Line, Lines};
use super::steps::Steps;
use super::{FeedError, RowError, Sample};
use crate::market::stamp::{StampUnit, parse_stamp};
use crate::market::{DataFault, Excerpt, FaultKind, Field, InstrumentId, Marks, Place, PriceTicks, Tick};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::io::Read;
use std::sync::Arc;

/// What a message is, without its numbers.
#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow, default)]
    stream: Option<&'a str>,
    #[serde(borrow, default, rename = "e")]
    kind: Option<&'a str>,
    #[serde(default, rename = "data")]
    wrapped: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Wrapped<T> {
    data: T,
}

#[derive(Deserialize)]
struct Trade<'a> {
    #[serde(borrow, rename = "s")]
    symbol: &'a str,
    #[serde(borrow, rename = "p")]
    price: &'a str,
    #[serde(borrow, rename = "q")]
    quantity: &'a str,
}

#[derive(Deserialize)]
struct Quote<'a> {
    #[serde(borrow, rename = "s")]
    symbol: &'a str,
    #[serde(borrow, rename = "b")]
    bid: &'a str,
    #[serde(borrow, rename = "B")]
    bid_size: &'a str,
    #[serde(borrow, rename = "a")]
    ask: &'a str,
    #[serde(borrow, rename = "A")]
    ask_size: &'a str,
}

/// The numbers of a message, as they were written.
pub(super) enum Message<'a> {
    Trade { symbol: &'a str, price: &'a [u8], quantity: &'a [u8] },
    Quote { symbol: &'a str, bid: &'a [u8], bid_size: &'a [u8], ask: &'a [u8], ask_size: &'a [u8] },
    Other,
}

/// Whether a first line is one of a capture.
pub(super) fn is_capture(line: &[u8]) -> bool {
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && line.get(digits..).is_some_and(|rest| rest.starts_with(b" {"))
}

/// Takes a line apart; the first part is its stamp.
pub(super) fn read_line(line: &[u8]) -> Result<(&[u8], Message<'_>), FaultKind> {
    let bad = || FaultKind::BadMessage { found: Excerpt::new(line) };
    let space = memchr::memchr(b' ', line).ok_or_else(bad)?;
    let (stamp, json) = line.split_at(space);
    let message = read_message(json.trim_ascii_start()).ok_or_else(bad)?;
    Ok((stamp, message))
}

fn read_message(json: &[u8]) -> Option<Message<'_>> {
    let peek: Peek<'_> = serde_json::from_slice(json).ok()?;
    let stream = peek.stream.and_then(|stream| stream.split('@').nth(1));
    let kind = stream.or(peek.kind);
    match kind {
        Some("trade" | "aggTrade") => {
            let Trade { symbol, price, quantity } = body(json, peek.wrapped.is_some())?;
            Some(Message::Trade { symbol, price: price.as_bytes(), quantity: quantity.as_bytes() })
        }
        // The spot market's best prices do not say what they are.
        Some("bookTicker") | None => {
            let Quote { symbol, bid, bid_size, ask, ask_size } = body(json, peek.wrapped.is_some())?;
            Some(Message::Quote {
                symbol,
                bid: bid.as_bytes(),
                bid_size: bid_size.as_bytes(),
                ask: ask.as_bytes(),
                ask_size: ask_size.as_bytes(),
            })
        }
        Some(_) => Some(Message::Other),
    }
}

fn body<'a, T: Deserialize<'a>>(json: &'a [u8], wrapped: bool) -> Option<T> {
    if wrapped {
        serde_json::from_slice::<Wrapped<T>>(json).ok().map(|wrapped| wrapped.data)
    } else {
        serde_json::from_slice(json).ok()
    }
}

/// A capture as an iterator of samples. Messages about other symbols are passed over.
#[derive(Debug)]
pub(super) struct CaptureFeed<R> {
    pub(super) lines: Lines<R>,
    source: Arc<str>,
    symbol: String,
    id: InstrumentId,
    steps: Steps,
    only: Option<Marks>,
    row: u64,
    ended: bool,
    line_bytes_max: u32,
}

impl<R: Read> CaptureFeed<R> {
    pub fn new(
        lines: Lines<R>,
        source: Arc<str>,
        (symbol, id): (&str, InstrumentId),
        steps: Steps,
        only: Option<Marks>,
        line_bytes_max: u32,
    ) -> Self {
        Self {
            lines,
            source,
            symbol: symbol.to_owned(),
            id,
            steps,
            only,
            row: 0,
            ended: false,
            line_bytes_max,
        }
    }

    /// A sample, or `None` for a message that is none.
    fn read(&mut self) -> Option<Result<Option<Sample>, RowError>> {
        let line = match self.lines.next() {
            Ok(Some(Line::Text([]))) => return Some(Ok(None)),
            Ok(Some(Line::Text(line))) => line,
            Ok(Some(Line::TooLong)) => {
                let kind = FaultKind::LineTooLong { bytes_max: self.line_bytes_max };
                return Some(Err(self.fault(kind)));
            }
            Ok(None) => {
                self.ended = true;
                return None;
            }
            Err(cause) => {
                self.ended = true;
                let (source_name, line) = (Arc::clone(&self.source), self.lines.number());
                return Some(Err(FeedError::Read { source_name, line, cause }.into()));
            }
        };
        let parsed = read_line(line).and_then(|(stamp, message)| {
            let tick = match message {
                Message::Trade { symbol, .. } | Message::Quote { symbol, .. }
                    if !symbol.eq_ignore_ascii_case(&self.symbol) =>
                {
                    return Ok(None);
                }
                Message::Trade { price, quantity, .. } => {
                    let last_price = PriceTicks(self.steps.price(Field::Price, &price)?);
                    let last_size = self.steps.lots(Field::Quantity, &quantity)?;
                    if last_price.0 == 0 {
                        return Err(FaultKind::Zero { field: Field::Price });
                    }
                    Tick { last_price, last_size, volume: last_size, marks: Marks::TRADE, ..Tick::default() }
                }
                Message::Quote { bid, bid_size, ask, ask_size, .. } => Tick {
                    bid_price: PriceTicks(self.steps.price(Field::BidPrice, &bid)?),
                    bid_size: self.steps.lots(Field::BidSize, &bid_size)?,
                    ask_price: PriceTicks(self.steps.price(Field::AskPrice, &ask)?),
                    ask_size: self.steps.lots(Field::AskSize, &ask_size)?,
                    marks: Marks::QUOTE,
                    ..Tick::default()
                },
                Message::Other => return Ok(None),
            };
            if self.only.is_some_and(|only| !tick.marks.has(only)) {
                return Ok(None);
            }
            let event_time = parse_stamp(stamp, Some(StampUnit::Nanos))
                .map_err(|problem| FaultKind::BadTimestamp { found: Excerpt::new(stamp), problem })?;
            Ok(Some(Tick { instrument: self.id, event_time, ..tick }))
        });
        Some(match parsed {
            Ok(None) => Ok(None),
            Ok(Some(tick)) => {
                let seq = self.row;
                self.row += 1;
                Ok(Some(Sample { tick: Tick { seq, ..tick }, bar: None }))
            }
            Err(kind) => {
                self.row += 1;
                Err(self.fault(kind))
            }
        })
    }

    #[cold]
    fn fault(&self, kind: FaultKind) -> RowError {
        DataFault { kind, place: Some(Place { source: Arc::clone(&self.source), line: self.lines.number() }) }
            .into()
    }
}

impl<R: Read> Iterator for CaptureFeed<R> {
    type Item = Result<Sample, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.read()? {
                Ok(None) => {}
                Ok(Some(sample)) => return Some(Ok(sample)),
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }
}
