//! What happens when something fails: one policy a module, each a pure state machine that takes `now`.

pub mod checkpoint;
mod dead_letter;
mod dead_letter_store;
mod disk;
mod failure;

pub use checkpoint::{
    Checkpoint, CheckpointConfig, CheckpointError, CheckpointFault, CheckpointHeader, CheckpointPoint,
    CheckpointStore, Loaded, SetAside, Verified,
};
pub use dead_letter::{
    DeadLetter, LetterAlert, LetterAlertConfig, LetterCounts, LetterError, LetterId, LetterKind,
    LetterRefusal, LetterState, LetterStatus, NewLetter, letter_alerts,
};
pub use dead_letter_store::{DeadLetterStore, DeadLetterStoreConfig, EnvelopeFault, Opened, StoreError};
pub use disk::{
    DirLock, Disk, DiskError, DiskFile, DiskOperation, Fault, FaultDisk, FaultKind, LockError, RealDisk,
};
pub use failure::{Class, Classified, Failure, Phase};
