//! Bringing catalogs in: import records and the difference import.
//!
//! | File | |
//! |---|---|
//! | `record` | one line becoming a checked record |
//! | `engine` | records against what is stored: only differences are written |
//!
//! Every record stands alone. A bad one is reported with its line, field and message and stops
//! nothing; what was counted adds up to the lines read.

mod engine;
mod record;

pub use engine::{
    ChangeSet, ContentHash, Counts, GROUP_LINES, ImportCost, ImportTarget, Importer, LineError,
    RefusedWrite, Stored, Write,
};
pub use record::{Content, Key, Kind, MAX_LINE_BYTES, Operation, Record};
