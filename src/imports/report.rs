//! What a job reports while it runs, and its final report.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Counts, ImportCost, RecordChange,
    job::{ImportId, Job, Progress, Status},
    line::LineError,
};
use crate::{account::AccountId, cause::Cause, text::rfc3339_millis};

/// Observes a job: shows its progress, stores its errors and its report.
pub trait Observer: Sync {
    /// Lines were rejected.
    fn rejected(&self, _errors: &[LineError]) {}

    /// A dry run would change these records.
    fn changed(&self, _changes: &[RecordChange]) {}

    /// A checkpoint was stored.
    fn progressed(&self, _progress: &Progress) {}

    /// The database did not store all of a group; the group is retried after this wait.
    fn waits(&self, _time: Duration) {}

    /// Stores a part of the error list, as NDJSON. The call may be repeated for the same part.
    fn store_errors(
        &self,
        _part: u32,
        _errors: Vec<u8>,
    ) -> impl Future<Output = Result<(), Cause>> + Send {
        async { Ok(()) }
    }

    /// Stores the report of a job that is ending.
    fn store_report(&self, _report: Report<'_>) -> impl Future<Output = Result<(), Cause>> + Send {
        async { Ok(()) }
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report<'a> {
    import_id: &'a ImportId,
    account: &'a str,
    source: &'a str,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    lines: u64,
    counts: Counts,
    cost: ImportCost,
    started_at: String,
    finished_at: String,
    duration_ms: i64,
    /// The objects that list every rejected line; the observer fills in their keys.
    pub errors: Vec<String>,
    /// How many such objects there are.
    #[serde(skip)]
    pub error_parts: u32,
}

impl<'a> Report<'a> {
    /// The report of a job that ends now, with this status.
    pub(super) fn new(
        job: &'a Job,
        (account, source): (&'a AccountId, &'a str),
        status: Status,
        now: Timestamp,
    ) -> Self {
        let Job { import_id, progress, error, started_at, .. } = job;
        let now = now.max(*started_at);
        Self {
            import_id,
            account: account.as_str(),
            source,
            status,
            error: error.as_deref(),
            lines: progress.counts.total(),
            counts: progress.counts,
            cost: progress.cost,
            started_at: rfc3339_millis(*started_at),
            finished_at: rfc3339_millis(now),
            duration_ms: now.as_millisecond() - started_at.as_millisecond(),
            errors: Vec::new(),
            error_parts: progress.error_parts,
        }
    }
}
