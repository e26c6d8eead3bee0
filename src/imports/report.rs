//! What a job reports while it runs, and its final report.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Counts, ImportCost, RecordChange,
    job::{ImportId, Job, Progress, Status},
    line::LineError,
    submission::source_name,
};
use crate::{account::AccountId, cause::Cause, text::rfc3339_millis};

/// The folder of objects to import: `imports/<account>/<anything>`.
pub const IMPORTS: &str = "imports/";

/// Where a job reports: shows its progress, and stores its errors and its report. The job does not end until both are
/// stored.
pub trait Reporter: Sync {
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

/// S3's limit for the length of a key, in bytes.
const MAX_KEY_BYTES: usize = 1024;

/// The longest suffix: a part's number has at least six digits, and a `u32` at most ten.
const LONGEST_SUFFIX: &str = ".errors.part-0000000000.ndjson";

/// The keys of the objects with a job's report and its errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportKeys(String);

impl ReportKeys {
    /// The keys for a job with this source; `None`: it stores no report. As much of the source's name as fits is part
    /// of the keys.
    #[must_use]
    pub fn of(account: &AccountId, source: &str, import: &ImportId) -> Option<Self> {
        let name = if let Some(object) = source.strip_prefix("s3://") {
            let (_, key) = object.split_once('/')?;
            key.strip_prefix(IMPORTS)?.strip_prefix(account.as_str())?.strip_prefix('/')?.to_owned()
        } else if let Some(event) = source.strip_prefix("event ") {
            format!("events/{event}")
        } else if let Some(message) = source.strip_prefix("message ") {
            format!("messages/{message}")
        } else if source == source_name(import) {
            "upload".to_owned()
        } else {
            return None;
        };
        let folder = format!("reports/{account}/");
        let taken = folder.len() + 1 + import.as_str().len() + LONGEST_SUFFIX.len();
        let mut length = name.len().min(MAX_KEY_BYTES.saturating_sub(taken));
        while !name.is_char_boundary(length) {
            length -= 1;
        }
        Some(Self(format!("{folder}{}.{}", &name[..length], import.as_str())))
    }

    #[must_use]
    pub fn report(&self) -> String {
        format!("{}.json", self.0)
    }

    /// The key of a part of the error list.
    #[must_use]
    pub fn errors_part(&self, part: u32) -> String {
        format!("{}.errors.part-{part:06}.ndjson", self.0)
    }

    /// The key of the object with all errors, if they were stored in this many parts; `None` for no parts. A single
    /// part is that object itself.
    #[must_use]
    pub fn all_errors(&self, parts: u32) -> Option<String> {
        match parts {
            0 => None,
            1 => Some(self.errors_part(0)),
            _ => Some(format!("{}.errors.ndjson", self.0)),
        }
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
    /// The sum of the counts: the lines read and, after a snapshot, the records it removed.
    lines: u64,
    counts: Counts,
    cost: ImportCost,
    started_at: String,
    finished_at: String,
    duration_ms: i64,
    /// The key of the object that lists all rejected lines; empty if there are none. An array only for its published
    /// form. `store_report` fills it in.
    pub errors: Vec<String>,
    /// How many parts of that list are stored.
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
        let Job { import_id, progress, error, created_at, started_at, .. } = job;
        let started_at = started_at.unwrap_or(*created_at);
        let now = now.max(started_at);
        Self {
            import_id,
            account: account.as_str(),
            source,
            status,
            error: error.as_deref(),
            lines: progress.counts.total(),
            counts: progress.counts,
            cost: progress.cost,
            started_at: rfc3339_millis(started_at),
            finished_at: rfc3339_millis(now),
            duration_ms: now.as_millisecond() - started_at.as_millisecond(),
            errors: Vec::new(),
            error_parts: progress.error_parts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(source: &str, import: &ImportId) -> Option<ReportKeys> {
        ReportKeys::of(&AccountId::parse("ACME").expect("account"), source, import)
    }

    #[test]
    fn a_report_is_found_by_the_source_of_its_job() {
        let id = ImportId::of(&["x"]);
        for (source, name) in [
            ("s3://bucket/imports/ACME/a/b.csv".to_owned(), "a/b.csv"),
            ("event my.app 7".to_owned(), "events/my.app 7"),
            ("message m.0".to_owned(), "messages/m.0"),
            (source_name(&id), "upload"),
        ] {
            let expected = format!("reports/ACME/{name}.{}", id.as_str());
            assert_eq!(keys(&source, &id).map(|keys| keys.0), Some(expected));
        }
        for source in ["file a.ndjson", "s3://bucket/imports/OTHER/a", "s3://bucket", ""] {
            assert_eq!(keys(source, &id), None, "{source}");
        }
    }

    #[test]
    fn the_objects_of_a_job_have_one_name_and_their_own_ends() {
        let id = ImportId::of(&["x"]);
        let keys = keys("event e", &id).expect("keys");
        let name = format!("reports/ACME/events/e.{}", id.as_str());
        assert_eq!(keys.report(), format!("{name}.json"));
        assert_eq!(keys.errors_part(7), format!("{name}.errors.part-000007.ndjson"));
        let all = [0, 1, 2].map(|parts| keys.all_errors(parts));
        let part = Some(format!("{name}.errors.part-000000.ndjson"));
        assert_eq!(all, [None, part, Some(format!("{name}.errors.ndjson"))]);
    }

    #[test]
    fn a_reports_key_fits_however_long_the_objects_name_is() {
        let id = ImportId::of(&["x"]);
        for name in ["x".repeat(1_000), "é".repeat(500), "a/".repeat(499) + "x"] {
            let key = keys(&format!("s3://b/imports/ACME/{name}"), &id).expect("keys");
            let part = key.errors_part(u32::MAX);
            assert_eq!(part.len(), MAX_KEY_BYTES, "as much as fits");
            assert!(key.0.ends_with(id.as_str()));
        }
        // No character is cut.
        let key = keys(&format!("s3://b/imports/ACME/x{}", "é".repeat(500)), &id).expect("keys");
        let name = format!("x{}", "é".repeat(473));
        assert_eq!(key.0, format!("reports/ACME/{name}.{}", id.as_str()));
    }
}
