//! The venue without the network: accounts, market and idempotency keys behind plain functions.

use super::account::{Account, Context, Sequence};
use super::api::{self, Answer};
use super::config::{PaperConfig, PaperKeys};
use super::keys::Begin;
use super::lies::{Lies, PositionsLie};
use super::market::{Market, MarketError, MarketTick};
use super::order::{Amendment, Refusal, Ticket, is_key};
use super::truth::Truth;
use crate::orders::Digest;
use serde::de::DeserializeOwned;

/// Position of an account in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AccountId(pub(super) usize);

/// A request that changes something, with what it says in its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Place,
    Amend(String),
    Cancel(String),
}

#[derive(Debug)]
pub(super) struct Engine {
    rules: PaperConfig,
    market: Market,
    accounts: Vec<Account>,
    sequence: Sequence,
    /// What is said wrongly.
    pub(super) lies: Lies,
}

impl Engine {
    pub(super) fn new(rules: PaperConfig) -> Self {
        let account = |a: &super::config::PaperAccount| Account::new(&a.name, a.cash, rules.keys_max);
        Self {
            market: Market::new(&rules.instruments),
            accounts: rules.accounts.iter().map(account).collect(),
            sequence: Sequence::default(),
            lies: Lies::default(),
            rules,
        }
    }

    /// Takes ticks in order, all or none, and returns the number of the newest update.
    pub(super) fn push(&mut self, ticks: &[MarketTick]) -> Result<u64, MarketError> {
        self.market.check(ticks)?;
        for tick in ticks {
            self.market.apply(tick);
            let context = Context { market: &self.market, rules: &self.rules };
            for account in &mut self.accounts {
                account.expire(context, &mut self.sequence);
                account.match_symbol(&tick.symbol, context, &mut self.sequence);
            }
        }
        Ok(self.sequence.newest())
    }

    /// What the key of a request says: go ahead, or the answer to give at once.
    pub(super) fn begin(&mut self, id: AccountId, key: &str, fingerprint: Digest) -> Result<(), Answer> {
        if !is_key(key) {
            let message = "send an Idempotency-Key of 1 to 64 characters A-Z a-z 0-9 _ -";
            return Err(Answer::refused(400, "missing_key", message));
        }
        if self.rules.keys != PaperKeys::Honoured {
            return Ok(());
        }
        let Some(account) = self.accounts.get_mut(id.0) else { return Err(no_account()) };
        match account.keys.begin(key, fingerprint) {
            Begin::New => Ok(()),
            Begin::InProgress => {
                Err(Answer::refused(409, "in_progress", "a request with this key is still running"))
            }
            Begin::Stored(answer) => {
                account.repeats += 1;
                Err(answer)
            }
            Begin::Mismatch => {
                Err(Answer::refused(422, "key_reused", "this key was used for another request"))
            }
            Begin::Full => Err(Answer::refused(503, "keys_full", "this venue remembers no more keys")),
        }
    }

    /// Executes a request that [`Engine::begin`] let through, and stores its answer.
    pub(super) fn execute(&mut self, id: AccountId, key: &str, command: &Command, body: &[u8]) -> Answer {
        let Some(account) = self.accounts.get_mut(id.0) else { return no_account() };
        let context = Context { market: &self.market, rules: &self.rules };
        let result = run(account, key, command, body, context, &mut self.sequence);
        let answer = match result {
            Ok(number) => api::order(account, number),
            Err(refusal) => Answer::from(refusal),
        };
        account.keys.finish(key, &answer);
        answer
    }

    /// Forgets a request that [`Engine::begin`] let through and that will not be executed.
    pub(super) fn release(&mut self, id: AccountId, key: &str) {
        if let Some(account) = self.accounts.get_mut(id.0) {
            account.keys.release(key);
        }
    }

    pub(super) fn order(&self, id: AccountId, client_id: &str) -> Answer {
        if self.lies.orders_fail {
            return Answer::refused(500, "internal", "told not to answer");
        }
        let vanished = self.lies.vanished.contains(client_id);
        self.with(id, |account| match account.number(client_id).filter(|_| !vanished) {
            Some(number) => api::order(account, number),
            None => Refusal::new("unknown_order", "no order was placed under this client id").into(),
        })
    }

    pub(super) fn updates(&self, id: AccountId, after: u64, limit: usize) -> Answer {
        if self.lies.updates_fail {
            return Answer::refused(500, "internal", "told not to answer");
        }
        let limit = limit.clamp(1, self.rules.updates_page_max);
        self.with(id, |account| api::updates(account, after, limit, self.sequence.newest()))
    }

    pub(super) fn positions(&self, id: AccountId) -> Answer {
        let symbols = self.rules.instruments.iter().map(|instrument| instrument.symbol.as_str());
        self.with(id, |account| match self.lies.positions {
            PositionsLie::Truth => api::positions(account.positions()),
            PositionsLie::Fails => Answer::refused(500, "internal", "told not to answer"),
            PositionsLie::Empty => api::positions(std::iter::empty()),
            PositionsLie::OffBy(more) => {
                api::positions(symbols.map(|symbol| (symbol, account.position(symbol) + more)))
            }
        })
    }

    pub(super) fn account(&self, id: AccountId) -> Answer {
        self.with(id, |account| api::account(account, &self.market, self.sequence.newest()))
    }

    pub(super) fn prices(&self) -> Answer {
        api::prices(&self.market)
    }

    pub(super) fn truth(&self) -> Truth {
        let accounts = self.accounts.iter().map(Account::truth).collect();
        Truth { sequence: self.sequence.newest(), accounts }
    }

    fn with(&self, id: AccountId, view: impl FnOnce(&Account) -> Answer) -> Answer {
        self.accounts.get(id.0).map_or_else(no_account, view)
    }
}

fn run(
    account: &mut Account,
    key: &str,
    command: &Command,
    body: &[u8],
    context: Context,
    sequence: &mut Sequence,
) -> Result<usize, Refusal> {
    match command {
        Command::Place => {
            let ticket: Ticket = parse(body)?;
            if ticket.client_id.as_deref().is_some_and(|id| id != key) {
                let message = "client_id differs from the Idempotency-Key; leave it out or give the same";
                return Err(Refusal::new("client_id_mismatch", message));
            }
            let order = ticket.order(key.to_owned(), context.market.clock())?;
            account.place(order, context, sequence)
        }
        Command::Amend(client_id) => {
            let amendment: Amendment = parse(body)?;
            account.amend(client_id, amendment, context, sequence)
        }
        Command::Cancel(client_id) => account.cancel(client_id, sequence),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::new("invalid_json", error.to_string()))
}

fn no_account() -> Answer {
    Answer::refused(401, "unauthorized", "there is no such account")
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
