//! Exports as jobs: everything of some kinds that a key sees, as NDJSON in gzip, of any size with bounded memory.
//!
//! | File | |
//! |---|---|
//! | `job` | an export as a job: its identity, its state |
//! | `gzip` | a gzip file that is written in parts, by several runs |

mod gzip;
mod job;

pub use gzip::{GzipParts, GzipState};
pub use job::{
    EXPORTS, ExportClaim, ExportId, ExportJob, ExportLease, ExportProgress, ExportStatus,
    ExportView, GIVEN_UP_AFTER, KEPT_FOR, MAX_UNFINISHED, export_key, rest_key,
};
