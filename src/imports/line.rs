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
