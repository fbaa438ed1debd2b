//! What happens when something fails: one policy a module, each a pure state machine that takes `now`.

mod failure;

pub use failure::{Class, Classified, Failure, Phase};
