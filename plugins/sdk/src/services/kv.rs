//! Small durable values, private to the strategy. What a call writes is kept only if the call succeeds.

use super::{backend, call};
pub use crate::bindings::ringfence::strategy::kv::KvError;

/// The value of a key.
pub fn get(key: &str) -> Option<Vec<u8>> {
    backend::kv::get(key)
}

/// Sets the value of a key.
///
/// # Errors
/// When the key or value is too large, all values together are, or the host grants no durable values.
pub fn set(key: &str, value: &[u8]) -> Result<(), KvError> {
    call::write();
    backend::kv::set(key, value)
}

/// Forgets a key.
///
/// # Errors
/// When the key is too large or the host grants no durable values.
pub fn delete(key: &str) -> Result<(), KvError> {
    call::write();
    backend::kv::delete(key)
}
