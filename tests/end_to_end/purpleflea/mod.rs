//! The venue without ids, as it is: the real binary on a paper venue in the dialect of Purple Flea.
//!
//! The paper venue runs in the test's own process, so that its ledger is read without asking the program
//! under test. Each request in it carries the key of its intent, which the venue ignores and which says here
//! how often an intent arrived and what it caused.

mod faults;
mod kills;
mod prices;
mod refusals;
mod rig;
mod trading;
