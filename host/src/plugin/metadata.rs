//! What a strategy may not say about itself.

use thiserror::Error;

/// Something in `describe` that a host cannot work with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MetadataError {
    /// A text or list is too long.
    #[error("{field} has {found} {unit}, at most {max} are taken")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// Its size.
        found: usize,
        /// What is counted.
        unit: &'static str,
        /// The cap.
        max: usize,
    },
    /// The name says nothing.
    #[error("name is empty")]
    NoName,
    /// No number of instruments would do.
    #[error("needs.instruments-min {min} is above needs.instruments-max {max}")]
    NoInstruments {
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// Bars are asked for, and there is nowhere to send them.
    #[error("needs.bar-seconds asks for bars, but the component does not export the interface bars")]
    BarsWithoutExport,
    /// A bar of no length.
    #[error("needs.bar-seconds holds a zero")]
    EmptyBar,
    /// It cannot load what it saves.
    #[error("oldest-loadable-state {oldest} is above state-schema {schema}")]
    StateOrder {
        /// The oldest schema it loads.
        oldest: u32,
        /// The schema it saves.
        schema: u32,
    },
}
