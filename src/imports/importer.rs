//! The incremental importer: compares records with what is stored, and writes only differences.
//!
//! Lines arrive in groups. For each group, what is stored under its keys is read, the outcome of each record
//! is decided in order, and differences are written. An unchanged record costs no write. A record older than
//! what is stored is stale and changes nothing. Each kind of record is compared in its own way: see
//! `documents`, `networks` and `products`.

use jiff::{SignedDuration, Timestamp};

use super::{
    DocumentStore, ExportedRecords, Kind, Ordered, Record, RecordChange,
    documents::DocumentRecords,
    line::{Counts, LineError, LineOutcome, RecordRejection},
    networks::NetworkRecords,
    products::{GeneratedIds, ProductRecords},
};
use crate::{
    account::AccountId,
    networks::NetworkPartitions,
    order::{Order, Origin},
    outcome::Outcome,
    products::{ProductDelete, ProductWrites},
    source::{Line, RejectedLine},
    text::{FieldError, spelled_enum},
};

/// How far a record's time may be later than its source's, because clocks differ.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(10);

spelled_enum! {
    /// Which time orders the records of a source.
    pub enum OrderBy {
        /// A record's own `updatedAt`, where it has one.
        Record = "record",
        /// The source's time, for all of its records: what a system of record publishes as a whole
        /// overrides what was corrected by hand before.
        Source = "source",
    }
}

/// What happens to the differences that an import finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are written.
    Write,
    /// They are counted: a dry run.
    DryRun,
    /// They are counted and shown, field by field: a dry run, too.
    Diff,
}

impl Mode {
    #[must_use]
    pub fn is_dry_run(self) -> bool {
        self != Self::Write
    }
}

/// Everything that an import reads and writes. All its access patterns have the same error type.
pub trait ImportStore:
    DocumentStore
    + ExportedRecords<Error = <Self as DocumentStore>::Error>
    + NetworkPartitions<Error = <Self as DocumentStore>::Error>
    + ProductDelete<Error = <Self as DocumentStore>::Error>
    + ProductWrites
{
}

impl<T> ImportStore for T where
    T: DocumentStore
        + ExportedRecords<Error = <T as DocumentStore>::Error>
        + NetworkPartitions<Error = <T as DocumentStore>::Error>
        + ProductDelete<Error = <T as DocumentStore>::Error>
        + ProductWrites
{
}

/// How the records of an import are ordered, and get their ids.
#[derive(Clone, Debug)]
pub struct Ordering {
    /// The part of an order that all its records share.
    pub origin: Origin,
    pub order_by: OrderBy,
    /// The kind whose snapshot it is, and the order of the snapshot.
    pub snapshot: Option<(Kind, Order)>,
    /// The ids of the products that it creates.
    pub ids: GeneratedIds,
}

/// One import into one account.
pub struct Importer<'a, T> {
    documents: DocumentRecords<'a, T>,
    networks: NetworkRecords<'a, T>,
    products: ProductRecords<'a, T>,
    ordering: Ordering,
    counts: Counts,
    /// What the last records would change, if that is shown.
    changes: Vec<RecordChange>,
}

impl<'a, T: ImportStore> Importer<'a, T> {
    /// Creates an importer. A dry run does everything except write, and counts what would have been written.
    pub fn new(target: &'a T, account: &'a AccountId, ordering: Ordering, mode: Mode) -> Self {
        Self {
            documents: DocumentRecords::new(target, account, mode),
            networks: NetworkRecords::new(target, account, mode),
            products: ProductRecords::new(target, account, ordering.ids.clone(), mode),
            ordering,
            counts: Counts::default(),
            changes: Vec::new(),
        }
    }

    /// The number of lines with each outcome so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Continues from these counts.
    pub fn resume(&mut self, counts: Counts) {
        self.counts = counts;
    }

    /// What the records since the last call would change, in the order of their lines: with [`Mode::Diff`].
    pub fn take_changes(&mut self) -> Vec<RecordChange> {
        self.changes.sort_by_key(|change| change.line);
        std::mem::take(&mut self.changes)
    }

    /// Imports a group of lines in order, and returns the errors of those that were rejected. A record older than a floor of
    /// its kind, which a snapshot set, is stale, whether or not anything is stored.
    ///
    /// # Errors
    /// When the database cannot be read or written. The group may then be stored in part; importing it again
    /// is safe.
    pub async fn import_group(
        &mut self,
        lines: &[Line],
        floors: &[(Kind, Order)],
    ) -> Result<Vec<LineError>, <T as DocumentStore>::Error> {
        let mut records = Vec::with_capacity(lines.len());
        let mut rejected: Vec<LineError> = Vec::new();
        let mut settled: Vec<LineOutcome> = Vec::new();
        for (line, bytes) in lines {
            match bytes {
                Ok(bytes) => match self.parse(*line, bytes) {
                    Ok(record) => records.push(record),
                    Err(errors) => settled.push((*line, Err(RecordRejection::Record(errors)))),
                },
                Err(RejectedLine { errors, record }) => {
                    self.counts.failed += 1;
                    rejected.extend(errors.iter().cloned().map(|(code, error)| LineError {
                        line: *line,
                        error,
                        code,
                    }));
                    // The errors in its other fields.
                    let known = |field: &str| errors.iter().any(|(_, error)| error.field == field);
                    if let Some(Err(mut more)) =
                        record.as_ref().map(|record| self.parse(*line, record))
                    {
                        more.retain(|error| !known(&error.field));
                        rejected.extend(RecordRejection::Record(more).line_errors(*line));
                    }
                }
            }
        }
        let outcomes = self.import(records, floors).await?;
        rejected.extend(self.count(settled.into_iter().chain(outcomes)));
        rejected.sort_by_key(|error| error.line);
        Ok(rejected)
    }

    /// Imports records that do not come from a line, and returns the errors of those that were rejected.
    pub async fn import_records(
        &mut self,
        records: Vec<Ordered<Record>>,
    ) -> Result<Vec<LineError>, <T as DocumentStore>::Error> {
        let outcomes = self.import(records, &[]).await?;
        Ok(self.count(outcomes))
    }

    fn parse(&self, line: u64, bytes: &[u8]) -> Result<Ordered<Record>, Vec<FieldError>> {
        let (record, updated_at) = Record::parse(bytes)?;
        let Ordering { origin, order_by, .. } = &self.ordering;
        let order = match updated_at.filter(|_| *order_by == OrderBy::Record) {
            Some(time) if is_ahead(time, origin.time()) => {
                return Err(vec![FieldError::new("updatedAt", "is in the future")]);
            }
            Some(time) => origin.dated(time, line),
            None => origin.order(line),
        };
        Ok(Ordered { line, order, record })
    }

    async fn import(
        &mut self,
        records: Vec<Ordered<Record>>,
        floors: &[(Kind, Order)],
    ) -> Result<Vec<LineOutcome>, <T as DocumentStore>::Error> {
        let mut outcomes: Vec<LineOutcome> = Vec::with_capacity(records.len());
        let (mut documents, mut networks, mut products) = (Vec::new(), Vec::new(), Vec::new());
        for Ordered { line, order, record } in records {
            if self.floor(kind_of(&record), floors) > Some(order) {
                outcomes.push((line, Ok(Outcome::Stale)));
                continue;
            }
            match record {
                Record::Document(record) => documents.push(Ordered { line, order, record }),
                Record::Network(record) => networks.push(Ordered { line, order, record }),
                Record::Product(record) => products.push(Ordered { line, order, record }),
            }
        }
        let changes = &mut self.changes;
        outcomes.extend(self.documents.import(documents, changes).await?);
        outcomes.extend(self.networks.import(networks, changes).await?);
        outcomes.extend(self.products.import(products, changes).await?);
        Ok(outcomes)
    }

    /// The floor for records of a kind. For a snapshot's own records, only newer snapshots set a floor: the
    /// snapshot itself says that these records exist at its time.
    fn floor(&self, kind: Kind, floors: &[(Kind, Order)]) -> Option<Order> {
        let own = self.ordering.snapshot.filter(|(of, _)| *of == kind).map(|(_, order)| order);
        let floors = floors.iter().filter(|(of, _)| *of == kind).map(|(_, floor)| *floor);
        floors.max().filter(|floor| own.is_none_or(|own| *floor > own))
    }

    fn count(&mut self, outcomes: impl IntoIterator<Item = LineOutcome>) -> Vec<LineError> {
        let mut rejected = Vec::new();
        for (line, outcome) in outcomes {
            match outcome {
                Ok(outcome) => self.counts.count(outcome),
                Err(rejection) => {
                    self.counts.failed += 1;
                    rejected.extend(rejection.line_errors(line));
                }
            }
        }
        rejected
    }
}

fn is_ahead(time: Timestamp, of: Timestamp) -> bool {
    time.duration_since(of) > MAX_CLOCK_SKEW
}

/// The kind of the snapshot that a record belongs to: bundles belong to that of networks.
fn kind_of(record: &Record) -> Kind {
    match record {
        Record::Document(record) => record.key.kind(),
        Record::Network(_) => Kind::Network,
        Record::Product(_) => Kind::Product,
    }
}

#[cfg(test)]
mod tests;
