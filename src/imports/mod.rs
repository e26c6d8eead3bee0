//! Imports: records, the incremental importer, and its jobs.
//!
//! | File | |
//! |---|---|
//! | `line` | what becomes of lines: line errors, counts, cost |
//! | `record` | parses and validates one line |
//! | `importer` | compares records with what is stored, and writes only differences |
//! | `documents` | records that are stored as documents |
//! | `networks` | records of networks and bundles |
//! | `products` | records of products |
//! | `difference` | what a dry run shows: the fields that would change |
//! | `existing` | what is stored and may be missing from a snapshot |
//! | `snapshot` | full snapshots: removes the records that are missing from the source |
//! | `job` | an import as a job: its identity, its state |
//! | `submission` | imports that clients submit over HTTP |
//! | `report` | what a job reports while it runs, and its final report |
//! | `run` | one run of a job: claim, groups, checkpoints, report, end |
//!
//! Each record is independent of all others. An invalid one is reported with its line, field and message, and
//! does not stop the import. The counts add up to the number of lines read and of records that a snapshot removed.

mod difference;
mod documents;
pub mod existing;
#[cfg(test)]
mod fuzz;
mod importer;
pub mod job;
mod line;
mod networks;
mod products;
mod record;
pub mod report;
pub mod run;
pub mod snapshot;
pub mod submission;

pub use difference::{ExportedRecords, FieldChange, RecordChange};
pub use documents::{
    Before, ChangeSet, ContentHash, DocumentStore, NotStored, Stored, Version, Write,
};
pub use importer::{ImportStore, Importer, Mode, OrderBy, Ordering};
pub use line::{Counts, ImportCost, LineError, LineErrorCode};
pub use products::GeneratedIds;
pub use record::{
    Content, DocumentKey, DocumentRecord, Kind, MAX_LINE_BYTES, NetworkRecord, Operation, Ordered,
    ProductRecord, Record,
};
