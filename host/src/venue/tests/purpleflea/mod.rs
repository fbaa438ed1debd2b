//! The client of Purple Flea and the paper venue in its dialect, over real HTTP on loopback.
//!
//! Two people wrote them from the same facts without sharing code, so where they agree the facts were read
//! alike. After every operation the ledger of the paper venue is the judge of what the client said.

mod faults;
mod operations;
mod property;
mod reads;
mod resting;
mod rig;
