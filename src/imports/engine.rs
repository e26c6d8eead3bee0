//! The difference import: records against what is stored, and only differences written.
//!
//! Lines come in groups. For a group the engine reads what is stored under its keys, decides row by
//! row in order, and writes what changed. An unchanged row costs no write; a row older than what is
//! stored by its own `updatedAt` is stale and left alone. How a record is compared depends on what it
//! is of: see `whole`, `networks` and `products`.

use std::{
    collections::{HashMap, HashSet},
    ops::Add,
};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    ImportTarget, Record, job::ImportId, networks::NetworkRecords, products::ProductRecords,
    whole::WholeRecords,
};
use crate::{
    account::AccountId,
    networks::NetworkPartitions,
    products::{ProductDelete, ProductWrites},
    refusal::NotTaken,
    text::{FieldError, spelled_enum},
};

/// A good number of lines for a group: four reads and sixteen writes, several at once.
pub const GROUP_LINES: usize = 400;

/// What became of the lines. Every line is in exactly one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Stored, and new.
    pub created: u64,
    /// Stored in place of another version.
    pub updated: u64,
    /// The same as what is stored.
    pub unchanged: u64,
    /// Older than what is stored.
    pub stale: u64,
    /// Removed.
    pub deleted: u64,
    /// Refused.
    pub failed: u64,
}

impl Counts {
    /// All lines counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.created + self.updated + self.unchanged + self.stale + self.deleted + self.failed
    }

    fn count(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Created => &mut self.created,
            Outcome::Updated => &mut self.updated,
            Outcome::Unchanged => &mut self.unchanged,
            Outcome::Stale => &mut self.stale,
            Outcome::Deleted => &mut self.deleted,
        };
        *count += 1;
    }

    /// Each count with the other's.
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

    /// What was counted since an earlier count.
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

/// What an import consumed of the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportCost {
    /// Read units.
    pub read_units: f64,
    /// Write units, index entries included.
    pub write_units: f64,
}

impl ImportCost {
    /// What was consumed since an earlier time.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            read_units: self.read_units - earlier.read_units,
            write_units: self.write_units - earlier.write_units,
        }
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
    /// What kind of refusal it is, for machines.
    pub enum RefusalCode {
        /// No record at all.
        Malformed = "MALFORMED",
        /// A field is not there.
        MissingField = "MISSING_FIELD",
        /// A field is wrong.
        InvalidField = "INVALID_FIELD",
        /// The line is too long to be one.
        TooLong = "TOO_LONG",
        /// The line is no UTF-8.
        NotUtf8 = "NOT_UTF8",
        /// The database refuses it, now and ever.
        Refused = "REFUSED",
        /// The database did not take it now.
        Unavailable = "UNAVAILABLE",
    }
}

impl RefusalCode {
    /// The code of what is wrong with a record itself.
    fn of(error: &FieldError) -> Self {
        match error.message.as_str() {
            "is required" | "Required" => Self::MissingField,
            message if message.starts_with("is not UTF-8") => Self::NotUtf8,
            _ if error.field.is_empty() => Self::Malformed,
            _ => Self::InvalidField,
        }
    }
}

/// A line that was refused, and one reason why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineError {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong.
    #[serde(flatten)]
    pub error: FieldError,
    /// What kind of refusal it is.
    pub code: RefusalCode,
}

impl LineError {
    /// May the same record succeed later?
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.code == RefusalCode::Unavailable
    }
}

/// Why a record was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// What is wrong with it, field by field.
    Record(Vec<FieldError>),
    /// The database did not take it.
    Write(NotTaken),
}

impl Refusal {
    fn told(self, line: u64) -> Vec<LineError> {
        match self {
            Self::Record(errors) => {
                let told = |error| LineError { line, code: RefusalCode::of(&error), error };
                errors.into_iter().map(told).collect()
            }
            Self::Write(why) => {
                let code = match why {
                    NotTaken::Later | NotTaken::Contended => RefusalCode::Unavailable,
                    NotTaken::Never => RefusalCode::Refused,
                };
                vec![LineError { line, error: FieldError::new("", why.to_string()), code }]
            }
        }
    }
}

/// What a row came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Created,
    Updated,
    Unchanged,
    Stale,
    Deleted,
}

/// What a row came to, or why it was refused.
pub(super) type Verdict = Result<Outcome, Refusal>;

/// The verdicts of rows by what they are about, when some things were not brought to their new state.
pub(super) fn judge<K: std::hash::Hash + Eq>(
    outcomes: Vec<(u64, K, Outcome)>,
    not_taken: &HashMap<K, NotTaken>,
) -> Vec<(u64, Verdict)> {
    let mut lost = HashSet::new();
    let mut verdicts = Vec::with_capacity(outcomes.len());
    for (line, key, outcome) in outcomes {
        let writes = !matches!(outcome, Outcome::Unchanged | Outcome::Stale);
        // A row that only repeats one whose write was not taken is not stored either.
        let verdict = match not_taken.get(&key).filter(|_| writes || lost.contains(&key)) {
            Some(why) => {
                lost.insert(key);
                Err(Refusal::Write(*why))
            }
            None => Ok(outcome),
        };
        verdicts.push((line, verdict));
    }
    verdicts
}

/// All that an import reads and writes, whatever its records are of. It fails in one way.
pub trait ImportStore:
    ImportTarget
    + NetworkPartitions<Error = <Self as ImportTarget>::Error>
    + ProductDelete<Error = <Self as ImportTarget>::Error>
    + ProductWrites
{
}

impl<T> ImportStore for T where
    T: ImportTarget
        + NetworkPartitions<Error = <T as ImportTarget>::Error>
        + ProductDelete<Error = <T as ImportTarget>::Error>
        + ProductWrites
{
}

/// One import into one account.
pub struct Importer<'a, T> {
    whole: WholeRecords<'a, T>,
    networks: NetworkRecords<'a, T>,
    products: ProductRecords<'a, T>,
    account: &'a AccountId,
    counts: Counts,
    cost: ImportCost,
}

impl<'a, T: ImportStore> Importer<'a, T> {
    /// Starts an import. A dry run does all but write, and counts what would have been written.
    pub fn new(target: &'a T, account: &'a AccountId, dry_run: bool) -> Self {
        Self {
            whole: WholeRecords::new(target, account, dry_run),
            networks: NetworkRecords::new(target, account, dry_run),
            products: ProductRecords::new(target, account, dry_run),
            account,
            counts: Counts::default(),
            cost: ImportCost::default(),
        }
    }

    /// Whose catalog it is.
    #[must_use]
    pub fn account(&self) -> &'a AccountId {
        self.account
    }

    /// Names products that have no key of their own by their place in a job: a group that is done once
    /// more makes none twice.
    pub fn name_by(&mut self, import: &ImportId, started_at: Timestamp) {
        self.products.name_by(import, started_at);
    }

    /// What became of the lines so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What it consumed so far.
    #[must_use]
    pub fn cost(&self) -> ImportCost {
        self.cost
    }

    /// Goes on from what was counted before.
    pub fn resume(&mut self, counts: Counts, cost: ImportCost) {
        (self.counts, self.cost) = (counts, cost);
    }

    /// Counts a line that never became a record.
    pub fn refuse(&mut self) {
        self.counts.failed += 1;
    }

    /// Imports a group of lines (number and content), in order, and returns what was refused.
    ///
    /// # Errors
    /// When the database cannot be read or written at all. The group may then be stored in part;
    /// importing it again is safe.
    pub async fn group(
        &mut self,
        lines: &[(u64, Vec<u8>)],
        now: Timestamp,
    ) -> Result<Vec<LineError>, <T as ImportTarget>::Error> {
        let mut verdicts: Vec<(u64, Verdict)> = Vec::with_capacity(lines.len());
        let (mut whole, mut networks, mut products) = (Vec::new(), Vec::new(), Vec::new());
        for (line, bytes) in lines {
            match Record::parse(bytes) {
                Ok(Record::Whole(record)) => whole.push((*line, record)),
                Ok(Record::Network(record)) => networks.push((*line, record)),
                Ok(Record::Product(record)) => products.push((*line, record)),
                Err(errors) => verdicts.push((*line, Err(Refusal::Record(errors)))),
            }
        }
        verdicts.extend(self.whole.import(whole, now, &mut self.cost).await?);
        verdicts.extend(self.networks.import(networks, &mut self.cost).await?);
        verdicts.extend(self.products.import(products, &mut self.cost).await?);

        let mut refused = Vec::new();
        for (line, verdict) in verdicts {
            match verdict {
                Ok(outcome) => self.counts.count(outcome),
                Err(refusal) => {
                    self.counts.failed += 1;
                    refused.extend(refusal.told(line));
                }
            }
        }
        refused.sort_by_key(|refusal| refusal.line);
        Ok(refused)
    }
}

#[cfg(test)]
mod tests;
