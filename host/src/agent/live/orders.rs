//! What an operator can order with a start.

use crate::agent::core::Operator;
use crate::orders::AgentName;

/// An order for one agent, carried out before it does anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartOrder {
    /// For whom.
    pub agent: AgentName,
    /// What.
    pub order: AtStart,
}

/// What can be ordered at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStart {
    /// End a latched shutdown.
    Release,
    /// Take the venue's positions for true.
    AdoptPositions,
    /// Take orders that the venue does not know any more for gone.
    DropVanished,
}

impl AtStart {
    /// The flag of `ringfence run` that orders it.
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Release => "--release",
            Self::AdoptPositions => "--adopt-positions",
            Self::DropVanished => "--drop-vanished",
        }
    }
}

impl From<AtStart> for Operator {
    fn from(order: AtStart) -> Self {
        match order {
            AtStart::Release => Self::Release,
            AtStart::AdoptPositions => Self::AdoptPositions,
            AtStart::DropVanished => Self::DropVanished,
        }
    }
}
