//! Bringing catalogs in: import records, the incremental import, and its jobs.
//!
//! | File | |
//! |---|---|
//! | `outcome` | what becomes of lines: outcomes, errors, counts, cost |
//! | `record` | one line parsed into a checked record |
//! | `importer` | records against what is stored: only differences are written, in one order |
//! | `documents` | records that are stored as documents |
//! | `networks` | records of networks and bundles |
//! | `products` | records of products |
//! | `snapshot` | a source that is the whole of a kind: what it does not name is removed |
//! | `job` | an import as a job: its identity, its state |
//! | `run` | one run of a job: claimed, driven, checkpointed, reported, ended |
//!
//! Every record stands alone. An invalid one is reported with its line, field and message and stops
//! nothing; the counts add up to the lines read.

mod documents;
mod importer;
pub mod job;
mod networks;
mod outcome;
mod products;
mod record;
pub mod run;
pub mod snapshot;

pub use documents::{ChangeSet, ContentHash, DocumentStore, NotStored, Stored, Version, Write};
pub use importer::{Floors, ImportStore, Importer, OrderBy, Ordering};
pub use outcome::{Counts, ImportCost, LineError, Outcome, RefusalCode};
pub use products::GeneratedIds;
pub use record::{
    Content, DocumentRecord, Key, Kind, MAX_LINE_BYTES, NetworkRecord, Operation, Ordered,
    ProductRecord, Record,
};
