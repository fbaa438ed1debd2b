//! The server's limiter: a fixed window for each path and address.

use std::collections::BTreeMap;

/// Length of a window.
pub(super) const WINDOW_MS: u64 = 60_000;

/// Buckets kept before those whose window is over are dropped.
const BUCKETS_MAX: usize = 10_000;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    start_ms: u64,
    count: u32,
}

/// The windows of all paths and addresses.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    buckets: BTreeMap<(String, String), Bucket>,
}

impl Limiter {
    /// Counts a request. When it is one too many: how long until the window ends.
    pub(super) fn admit(&mut self, path: &str, address: &str, most: u32, now_ms: u64) -> Result<(), u64> {
        if most == 0 {
            return Ok(());
        }
        if self.buckets.len() >= BUCKETS_MAX {
            self.buckets.retain(|_, bucket| now_ms.saturating_sub(bucket.start_ms) <= WINDOW_MS);
        }
        let fresh = Bucket { start_ms: now_ms, count: 0 };
        let bucket = self.buckets.entry((path.to_owned(), address.to_owned())).or_insert(fresh);
        if now_ms.saturating_sub(bucket.start_ms) > WINDOW_MS {
            *bucket = fresh;
        }
        bucket.count = bucket.count.saturating_add(1);
        if bucket.count <= most {
            return Ok(());
        }
        // The server opens the next window in the millisecond after the end of this one.
        Err(bucket.start_ms.saturating_add(WINDOW_MS + 1).saturating_sub(now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_fixed_and_each_path_and_address_has_its_own() {
        let mut limiter = Limiter::default();
        assert_eq!(limiter.admit("/open", "a", 2, 0), Ok(()));
        assert_eq!(limiter.admit("/open", "a", 2, 59_000), Ok(()));
        assert_eq!(limiter.admit("/open", "a", 2, 60_000), Err(1));
        assert_eq!(limiter.admit("/open", "b", 2, 60_000), Ok(()));
        assert_eq!(limiter.admit("/close", "a", 2, 60_000), Ok(()));
        assert_eq!(limiter.admit("/open", "a", 2, 60_001), Ok(()), "the window did not slide");
        assert_eq!(limiter.admit("/open", "a", 0, 60_001), Ok(()), "no limit");
    }
}
