//! What the paper venue says, in JSON.

use super::super::number::Exact;
use super::account::{Account, Change, Update};
use super::market::Market;
use super::order::Refusal;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_decimal::Decimal;
use serde::Serialize;
use std::sync::Arc;

/// A reply, as it is sent and as it is stored under its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Arc<str>,
}

impl Answer {
    pub(super) fn ok(body: &impl Serialize) -> Self {
        match serde_json::to_string(body) {
            Ok(body) => Self { status: 200, body: body.into() },
            Err(error) => Self::refused(500, "internal", &error.to_string()),
        }
    }

    pub(super) fn refused(status: u16, code: &str, message: &str) -> Self {
        #[derive(Serialize)]
        struct Refused<'a> {
            code: &'a str,
            message: &'a str,
        }
        let body = serde_json::to_string(&Refused { code, message }).unwrap_or_default();
        Self { status, body: body.into() }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code {
            "unknown_order" => 404,
            "ledger_full" => 503,
            _ => 400,
        };
        Self::refused(status, refusal.code, &refusal.message)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, "application/json")], Body::from(self.body.as_bytes().to_vec()))
            .into_response()
    }
}

#[derive(Serialize)]
struct UpdateView<'a> {
    sequence: u64,
    client_id: &'a str,
    symbol: &'a str,
    change: ChangeView<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum ChangeView<'a> {
    Accepted,
    Filled { quantity: Exact, price: Exact, leaves: Exact, fee: Exact, maker: bool },
    Amended { leaves: Exact, limit_price: Option<Exact> },
    Cancelled,
    Expired,
    Rejected { code: &'a str, message: &'a str },
}

fn view<'a>(account: &'a Account, update: &'a Update) -> Option<UpdateView<'a>> {
    let order = account.order(update.order)?;
    let change = match &update.change {
        Change::Accepted => ChangeView::Accepted,
        Change::Filled { fill, leaves, fee } => ChangeView::Filled {
            quantity: Exact(fill.quantity),
            price: Exact(fill.price),
            leaves: Exact(*leaves),
            fee: Exact(*fee),
            maker: fill.maker,
        },
        Change::Amended { leaves, limit } => {
            ChangeView::Amended { leaves: Exact(*leaves), limit_price: limit.map(Exact) }
        }
        Change::Cancelled => ChangeView::Cancelled,
        Change::Expired => ChangeView::Expired,
        Change::Rejected(refusal) => ChangeView::Rejected { code: refusal.code, message: &refusal.message },
    };
    Some(UpdateView { sequence: update.sequence, client_id: &order.client_id, symbol: &order.symbol, change })
}

/// An order with everything that happened to it so far.
pub(super) fn order(account: &Account, number: usize) -> Answer {
    #[derive(Serialize)]
    struct View<'a> {
        client_id: &'a str,
        status: &'static str,
        filled: Exact,
        leaves: Exact,
        updates: Vec<UpdateView<'a>>,
    }
    let Some(found) = account.order(number) else {
        return Answer::refused(404, "unknown_order", "there is no such order");
    };
    Answer::ok(&View {
        client_id: &found.client_id,
        status: found.status.name(),
        filled: Exact(found.filled),
        leaves: Exact(if found.is_working() { found.leaves() } else { Default::default() }),
        updates: account.updates_of(number).filter_map(|update| view(account, update)).collect(),
    })
}

/// A page of the changes of all orders. `newest` is the venue's newest number of any account.
pub(super) fn updates(account: &Account, after: u64, limit: usize, newest: u64) -> Answer {
    #[derive(Serialize)]
    struct View<'a> {
        updates: Vec<UpdateView<'a>>,
        through: u64,
        more: bool,
    }
    let all = account.updates_after(after);
    let page = all.get(..limit).unwrap_or(all);
    let more = page.len() < all.len();
    let last = page.last().map_or(after, |update| update.sequence);
    Answer::ok(&View {
        updates: page.iter().filter_map(|update| view(account, update)).collect(),
        through: if more { last } else { newest.max(after) },
        more,
    })
}

pub(super) fn positions<'a>(held: impl Iterator<Item = (&'a str, Decimal)>) -> Answer {
    #[derive(Serialize)]
    struct View<'a> {
        positions: Vec<Position<'a>>,
    }
    #[derive(Serialize)]
    struct Position<'a> {
        symbol: &'a str,
        quantity: Exact,
    }
    let position = |(symbol, quantity)| Position { symbol, quantity: Exact(quantity) };
    Answer::ok(&View { positions: held.map(position).collect() })
}

pub(super) fn account(account: &Account, market: &Market, newest: u64) -> Answer {
    #[derive(Serialize)]
    struct View<'a> {
        name: &'a str,
        cash: Exact,
        fees: Exact,
        equity: Option<Exact>,
        sequence: u64,
    }
    Answer::ok(&View {
        name: account.name(),
        cash: Exact(account.cash()),
        fees: Exact(account.fees()),
        equity: account.equity(market).map(Exact),
        sequence: newest,
    })
}

pub(super) fn prices(market: &Market) -> Answer {
    #[derive(Serialize)]
    struct View<'a> {
        prices: Vec<Price<'a>>,
    }
    #[derive(Serialize)]
    struct Price<'a> {
        symbol: &'a str,
        sequence: u64,
        at_ns: u64,
        last: Option<Exact>,
        bid: Option<Exact>,
        ask: Option<Exact>,
    }
    let prices = market.quotes().map(|(symbol, quote)| Price {
        symbol,
        sequence: quote.sequence,
        at_ns: quote.at.0,
        last: quote.last.map(Exact),
        bid: quote.bid.map(Exact),
        ask: quote.ask.map(Exact),
    });
    Answer::ok(&View { prices: prices.collect() })
}
