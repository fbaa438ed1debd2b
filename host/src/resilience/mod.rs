//! What happens when something fails: one policy a module, each a pure state machine that takes `now`.

mod failure;
mod mode;

pub use failure::{Class, Classified, Failure, Phase};
pub use mode::Mode;
