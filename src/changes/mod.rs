//! The journal: every change of an account's records, as exports show them, each once.
//!
//! | File | |
//! |---|---|
//! | `change` | one change: what it is about, the record after it, who may see it |
//! | `chunk` | the items of a log: changes, compressed, and shard marks: how far each shard was recorded |
//! | `log` | the five logs of an account; recording, and why nothing is missing, twice or late |
//! | `position` | positions in the logs, and how a cursor holds them |
//! | `page` | one page of changes |
//!
//! An account has one log for each table of the catalog. The changes of one record are all in one log, in the
//! order in which they were made; between logs there is no order.

mod change;
mod chunk;
mod log;
mod page;
mod position;

pub use change::{Change, ExportedRecord, IdField, Identity, NotJson, View, catalogs_and_end};
pub use chunk::{Chunk, ChunkError, KEPT, LATE, MARGIN, Marks, SequenceNumber};
pub use log::{
    ChunkPage, JournalStore, LogId, Losses, Recorded, StreamRecord, Tail, is_recorded, record,
};
pub use page::{Page, PageError, PositionedChange, ends, page};
pub use position::{Kinds, Log, Positions, ReadPosition};
