//! Log lines. The host escapes, cuts and counts them; a flood is dropped or ends the call.

use super::backend;
pub use crate::bindings::ringfence::strategy::log::Level;

/// Whether the host keeps lines of this level now. The macros ask this before they format anything.
pub fn enabled(at: Level) -> bool {
    backend::log::enabled(at)
}

/// Writes one line.
pub fn write(at: Level, message: &str) {
    backend::log::write(at, message);
}

#[doc(hidden)]
pub fn write_arguments(at: Level, arguments: std::fmt::Arguments<'_>) {
    if enabled(at) {
        match arguments.as_str() {
            Some(text) => write(at, text),
            None => write(at, &arguments.to_string()),
        }
    }
}

/// Logs what matters only while following a strategy step by step.
#[macro_export]
macro_rules! trace {
    ($($words:tt)+) => { $crate::log::write_arguments($crate::log::Level::Trace, ::std::format_args!($($words)+)) };
}

/// Logs what helps to find a mistake.
#[macro_export]
macro_rules! debug {
    ($($words:tt)+) => { $crate::log::write_arguments($crate::log::Level::Debug, ::std::format_args!($($words)+)) };
}

/// Logs what an operator wants to read.
#[macro_export]
macro_rules! info {
    ($($words:tt)+) => { $crate::log::write_arguments($crate::log::Level::Info, ::std::format_args!($($words)+)) };
}

/// Logs what is odd.
#[macro_export]
macro_rules! warn {
    ($($words:tt)+) => { $crate::log::write_arguments($crate::log::Level::Warn, ::std::format_args!($($words)+)) };
}

/// Logs what went wrong.
#[macro_export]
macro_rules! error {
    ($($words:tt)+) => { $crate::log::write_arguments($crate::log::Level::Error, ::std::format_args!($($words)+)) };
}
