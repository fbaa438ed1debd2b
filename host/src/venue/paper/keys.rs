//! Idempotency keys: the same request gives the stored reply, another under the same key is refused.

use super::api::Answer;
use crate::orders::Digest;
use std::collections::BTreeMap;

/// What a key says about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// Never seen; it is running now.
    New,
    /// Another request with this key is still running.
    InProgress,
    /// The reply that the first one was given.
    Stored(Answer),
    /// The key was used for something else.
    Mismatch,
    /// No room for another key.
    Full,
}

#[derive(Clone, Debug)]
struct Entry {
    fingerprint: Digest,
    /// `None` while the request is running.
    answer: Option<Answer>,
}

/// The keys of one account.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    entries: BTreeMap<String, Entry>,
    keys_max: usize,
}

impl Keys {
    pub(super) fn new(keys_max: usize) -> Self {
        Self { entries: BTreeMap::new(), keys_max }
    }

    pub(super) fn begin(&mut self, key: &str, fingerprint: Digest) -> Begin {
        match self.entries.get(key) {
            Some(entry) if entry.fingerprint != fingerprint => Begin::Mismatch,
            Some(Entry { answer: Some(answer), .. }) => Begin::Stored(answer.clone()),
            Some(_) => Begin::InProgress,
            None if self.entries.len() >= self.keys_max => Begin::Full,
            None => {
                self.entries.insert(key.to_owned(), Entry { fingerprint, answer: None });
                Begin::New
            }
        }
    }

    /// Stores the reply of a request that [`Begin::New`] admitted.
    pub(super) fn finish(&mut self, key: &str, answer: &Answer) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.answer = Some(answer.clone());
        }
    }

    /// Forgets a request that was not executed after all.
    pub(super) fn release(&mut self, key: &str) {
        if self.entries.get(key).is_some_and(|entry| entry.answer.is_none()) {
            self.entries.remove(key);
        }
    }

    /// How many requests are running.
    pub(super) fn running(&self) -> usize {
        self.entries.values().filter(|entry| entry.answer.is_none()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_for_one_request() {
        let mut keys = Keys::new(2);
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        let answer = Answer { status: 200, body: "{}".into() };
        assert_eq!(keys.begin("a", one), Begin::New);
        assert_eq!(keys.begin("a", one), Begin::InProgress);
        assert_eq!(keys.begin("a", two), Begin::Mismatch);
        keys.finish("a", &answer);
        assert_eq!(keys.begin("a", one), Begin::Stored(answer));
        assert_eq!(keys.begin("a", two), Begin::Mismatch);
        keys.release("a");
        assert!(matches!(keys.begin("a", one), Begin::Stored(_)), "a stored reply is not forgotten");
        assert_eq!(keys.begin("b", two), Begin::New);
        assert_eq!(keys.begin("c", two), Begin::Full);
        keys.release("b");
        assert_eq!(keys.begin("c", two), Begin::New);
    }
}
