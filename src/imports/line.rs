//! What becomes of the lines of an import: outcomes, line errors, counts, cost.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    ops::Add,
};

use serde::Serialize;

use crate::{
    cost::Cost,
    outcome::{Outcome, WriteError},
    text::{Fault, FieldError, spelled_enum},
};

/// How many lines, and removals of a snapshot, had each outcome. Each is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Counts {
    /// Stored, and new.
    pub created: u64,
    /// Stored in place of another version.
    pub updated: u64,
    /// Equal to what is stored.
    pub unchanged: u64,
    /// Older than what is stored.
    pub stale: u64,
    /// Removed.
    pub deleted: u64,
    /// Rejected: listed as line errors.
    pub failed: u64,
}

impl Counts {
    #[must_use]
    pub fn total(&self) -> u64 {
        self.created + self.updated + self.unchanged + self.stale + self.deleted + self.failed
    }

    pub(super) fn count(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Created => &mut self.created,
            Outcome::Updated => &mut self.updated,
            Outcome::Unchanged => &mut self.unchanged,
            Outcome::Stale => &mut self.stale,
            Outcome::Deleted => &mut self.deleted,
        };
        *count += 1;
    }

    /// Each count combined with the other's.
    fn zip(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            created: with(self.created, other.created),
            updated: with(self.updated, other.updated),
            unchanged: with(self.unchanged, other.unchanged),
            stale: with(self.stale, other.stale),
            deleted: with(self.deleted, other.deleted),
            failed: with(self.failed, other.failed),
        }
    }

    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.zip(other, |one, other| one + other)
    }
}

/// The capacity an import consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportCost {
    pub read_units: f64,
    /// Write units, index entries included.
    pub write_units: f64,
}

impl ImportCost {
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            read_units: self.read_units - earlier.read_units,
            write_units: self.write_units - earlier.write_units,
        }
    }
}

impl From<Cost> for ImportCost {
    fn from(cost: Cost) -> Self {
        Self { read_units: cost.read_units, write_units: cost.write_units }
    }
}

impl Add for ImportCost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            read_units: self.read_units + other.read_units,
            write_units: self.write_units + other.write_units,
        }
    }
}

spelled_enum! {
    /// The kind of a line error, for programs.
    pub enum LineErrorCode {
        /// The line is not a record.
        Malformed = "MALFORMED",
        MissingField = "MISSING_FIELD",
        InvalidField = "INVALID_FIELD",
        TooLong = "TOO_LONG",
        NotUtf8 = "NOT_UTF8",
        /// The database rejects the record, now and later.
        Refused = "REFUSED",
        /// The database did not store the record in time.
        Unavailable = "UNAVAILABLE",
    }
}

impl LineErrorCode {
    /// The code of an error in the record itself.
    fn of(error: &FieldError) -> Self {
        match error.fault {
            Fault::Missing => Self::MissingField,
            Fault::NotUtf8 => Self::NotUtf8,
            Fault::Invalid if error.field.is_empty() => Self::Malformed,
            Fault::Invalid => Self::InvalidField,
        }
    }
}

/// One reason why a line was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineError {
    /// The line's number, from 1.
    pub line: u64,
    #[serde(flatten)]
    pub error: FieldError,
    pub code: LineErrorCode,
}

impl LineError {
    /// Whether the same record may succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.code == LineErrorCode::Unavailable
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RecordRejection {
    /// The record is invalid, field by field.
    Record(Vec<FieldError>),
    /// The database did not store it.
    Write(WriteError),
}

impl RecordRejection {
    pub(super) fn line_errors(self, line: u64) -> Vec<LineError> {
        match self {
            Self::Record(errors) => {
                let line_error = |error| LineError { line, code: LineErrorCode::of(&error), error };
                errors.into_iter().map(line_error).collect()
            }
            Self::Write(why) => {
                let code = match why {
                    WriteError::Unavailable | WriteError::Conflict => LineErrorCode::Unavailable,
                    WriteError::Rejected | WriteError::Stale => LineErrorCode::Refused,
                };
                vec![LineError { line, error: FieldError::new("", why.to_string()), code }]
            }
        }
    }
}

pub(super) type LineOutcome = (u64, Result<Outcome, RecordRejection>);

/// The outcome of a line if its write is stored.
pub(super) struct Expected<K> {
    pub(super) line: u64,
    /// The record it is about.
    pub(super) key: K,
    pub(super) outcome: Outcome,
    /// Whether anything must be written for it.
    pub(super) writes: bool,
}

/// The outcomes of lines, once it is known which records were not stored.
pub(super) fn resolve<K: Hash + Eq>(
    expected: Vec<Expected<K>>,
    not_stored: &HashMap<K, WriteError>,
) -> Vec<LineOutcome> {
    let mut lost = HashSet::new();
    let mut resolved = Vec::with_capacity(expected.len());
    for Expected { line, key, outcome, writes } in expected {
        // A line that only repeats one whose write was not stored is not stored either.
        let outcome = match not_stored.get(&key).filter(|_| writes || lost.contains(&key)) {
            Some(why) => {
                lost.insert(key);
                if *why == WriteError::Stale {
                    Ok(Outcome::Stale)
                } else {
                    Err(RecordRejection::Write(*why))
                }
            }
            None => Ok(outcome),
        };
        resolved.push((line, outcome));
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_runs_did_adds_up_and_can_be_told_apart() {
        let counts = |from: u64| Counts {
            created: from,
            updated: from + 1,
            unchanged: from + 2,
            stale: from + 3,
            deleted: from + 4,
            failed: from + 5,
        };
        let sum = counts(1) + counts(10);
        assert_eq!(
            sum,
            Counts { created: 11, updated: 13, unchanged: 15, stale: 17, deleted: 19, failed: 21 }
        );
        assert_eq!((sum.since(counts(10)), sum.total()), (counts(1), 96));
        assert_eq!(counts(1).since(counts(2)), Counts::default());
        let cost = |reads: f64| ImportCost { read_units: reads, write_units: reads * 4.0 };
        assert_eq!(cost(1.5) + cost(2.0), cost(3.5));
        assert_eq!(cost(3.5).since(cost(2.0)), cost(1.5));
        let used = Cost { reads: 7, read_units: 1.5, writes: 9, write_units: 6.0 };
        assert_eq!(ImportCost::from(used), cost(1.5));
    }

    #[test]
    fn the_code_of_an_error_tells_whether_the_same_record_may_succeed_later() {
        let code = |rejection: RecordRejection| {
            let error = rejection.line_errors(7).remove(0);
            (error.line, error.code, error.is_temporary())
        };
        let write = |why| code(RecordRejection::Write(why));
        for (why, code) in [
            (WriteError::Unavailable, LineErrorCode::Unavailable),
            (WriteError::Conflict, LineErrorCode::Unavailable),
            (WriteError::Rejected, LineErrorCode::Refused),
            (WriteError::Stale, LineErrorCode::Refused),
        ] {
            assert_eq!(write(why), (7, code, code == LineErrorCode::Unavailable));
        }
        for (field, fault, expected) in [
            ("name", Fault::Missing, LineErrorCode::MissingField),
            ("name", Fault::NotUtf8, LineErrorCode::NotUtf8),
            ("name", Fault::Invalid, LineErrorCode::InvalidField),
            ("", Fault::Invalid, LineErrorCode::Malformed),
        ] {
            let error = FieldError::new(field, "wrong").with_fault(fault);
            assert_eq!(code(RecordRejection::Record(vec![error])), (7, expected, false));
        }
    }
}
