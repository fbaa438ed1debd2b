//! What happens when something fails: one policy a module, each a pure state machine that takes `now`.

pub mod checkpoint;
mod disk;
mod failure;

pub use checkpoint::{
    Checkpoint, CheckpointConfig, CheckpointError, CheckpointFault, CheckpointHeader, CheckpointPoint,
    CheckpointStore, Loaded, SetAside, Verified,
};
pub use disk::{
    DirLock, Disk, DiskError, DiskFile, DiskOperation, Fault, FaultDisk, FaultKind, LockError, RealDisk,
};
pub use failure::{Class, Classified, Failure, Phase};
