//! What happens when something fails: one policy a module, each a pure state machine that takes `now`.

mod disk;
mod failure;

pub use disk::{
    DirLock, Disk, DiskError, DiskFile, DiskOperation, Fault, FaultDisk, FaultKind, LockError, RealDisk,
};
pub use failure::{Class, Classified, Failure, Phase};
