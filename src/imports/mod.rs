//! Bringing catalogs in: import records and the difference import.
//!
//! | File | |
//! |---|---|
//! | `source` | files and streams becoming lines: NDJSON, JSON array, CSV, gzip, Zstandard |
//! | `record` | one line becoming a checked record |
//! | `engine` | records against what is stored: only differences are written |
//! | `whole` | records that are stored as they were sent |
//! | `networks` | records of networks and bundles |
//! | `replace` | a source that is the whole of a kind: what it does not name goes |
//! | `message` | what a message asks to be imported |
//! | `job` | an import claimed, checkpointed, resumed, finished once |
//! | `products` | records of products |
//!
//! Every record stands alone. A bad one is reported with its line, field and message and stops
//! nothing; what was counted adds up to the lines read.

mod engine;
pub mod job;
pub mod message;
mod networks;
mod products;
mod record;
pub mod replace;
mod source;
mod whole;

pub use engine::{Counts, GROUP_LINES, ImportCost, ImportStore, Importer, LineError, RefusalCode};
pub use record::{
    Content, Key, Kind, MAX_LINE_BYTES, NetworkRecord, Operation, ProductRecord, Record,
    WholeRecord,
};
pub use source::{Format, Group, Groups, SourceError};
pub use whole::{ChangeSet, ContentHash, ImportTarget, RefusedWrite, Stored, Write};
