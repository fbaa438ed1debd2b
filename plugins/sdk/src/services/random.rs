//! Random numbers, seeded from the session: the same run draws the same numbers.

use super::{backend, call};

/// Sixty-four random bits.
pub fn next() -> u64 {
    call::write();
    backend::random::next()
}

/// A number from zero up to, not including, one.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact in an f64")]
pub fn unit() -> f64 {
    (next() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A number from zero up to, not including, `bound`, each as likely as the others; zero for a bound of zero.
pub fn below(bound: u64) -> u64 {
    // Numbers at the end of the range that would make the small remainders more likely are drawn again.
    let unfair = u64::MAX - u64::MAX % bound.max(1);
    loop {
        let number = next();
        if number < unfair {
            return number % bound.max(1);
        }
    }
}
