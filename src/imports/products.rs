//! Records of products: what a row would make of the stored product is compared with it, and rows
//! that change something take the way of the bulk upsert.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use lru::LruCache;

use super::{
    ImportCost, ProductRecord,
    engine::{Outcome, Verdict},
};
use crate::{
    account::AccountId,
    cost::{ReadCost, WriteCost},
    products::{Match, ProductDelete, ProductRow, ProductWrites, RowError, StoredProduct, upsert},
    text::FieldError,
};

/// The records of one import that are about products.
pub(super) struct ProductRecords<'a, T> {
    target: &'a T,
    account: &'a AccountId,
    dry_run: bool,
    /// Keys this import wrote of late: what a read tells of them may lag behind.
    written: LruCache<Match, ()>,
}

/// Keys remembered: more than are written within the second or so that a read may lag behind.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(40_000).unwrap();

/// How long the rows of a group may take; each gives up by itself long before.
const GROUP_TIME: Duration = Duration::from_mins(10);

/// Rows of one kind that follow each other.
enum Run {
    Upserts(Vec<(u64, ProductRow)>),
    Deletes(Vec<(u64, Match)>),
}

impl<'a, T: ProductDelete + ProductWrites> ProductRecords<'a, T> {
    /// A dry run does all but write.
    pub(super) fn new(target: &'a T, account: &'a AccountId, dry_run: bool) -> Self {
        Self { target, account, dry_run, written: LruCache::new(REMEMBERED) }
    }

    /// Imports records, by their lines, in order.
    ///
    /// # Errors
    /// When the database cannot be read at all.
    pub(super) async fn import(
        &mut self,
        records: Vec<(u64, ProductRecord)>,
        cost: &mut ImportCost,
    ) -> Result<Vec<(u64, Verdict)>, T::Error> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: HashSet<Match> =
            records.iter().filter_map(|(_, record)| record.found_by()).collect();
        let wanted: Vec<Match> = wanted.into_iter().collect();
        let (mut stored, read_units) = self.target.stored_products(self.account, &wanted).await?;
        cost.read_units += read_units;

        let mut verdicts = Vec::with_capacity(records.len());
        let mut runs: Vec<Run> = Vec::new();
        for (line, record) in records {
            let keys = record.keys();
            let found = record.found_by();
            // What was written is not what was read: the database itself decides then.
            let known = !keys.iter().any(|key| self.written.contains(key));
            let there = found.and_then(|key| stored.get(&key));
            if known && let Some(outcome) = unwritten(&record, there) {
                verdicts.push((line, Ok(outcome)));
                continue;
            }
            if self.dry_run {
                verdicts.push((line, tried(&record, &mut stored)));
                continue;
            }
            for key in keys {
                self.written.put(key, ());
            }
            if let Some(external_id) = there.and_then(|stored| stored.product.external_id.clone()) {
                self.written.put(Match::ExternalId(external_id), ());
            }
            match (record, runs.last_mut()) {
                (ProductRecord::Upsert(row), Some(Run::Upserts(rows))) => rows.push((line, *row)),
                (ProductRecord::Upsert(row), _) => runs.push(Run::Upserts(vec![(line, *row)])),
                (ProductRecord::Delete(key, _), Some(Run::Deletes(keys))) => keys.push((line, key)),
                (ProductRecord::Delete(key, _), _) => runs.push(Run::Deletes(vec![(line, key)])),
            }
        }
        let (mut reads, mut writes) = (ReadCost::default(), WriteCost::default());
        for run in runs {
            self.write(run, &mut verdicts, &mut reads, &mut writes).await;
        }
        cost.read_units += reads.read_units;
        cost.write_units += writes.write_units;
        Ok(verdicts)
    }

    async fn write(
        &self,
        run: Run,
        verdicts: &mut Vec<(u64, Verdict)>,
        reads: &mut ReadCost,
        writes: &mut WriteCost,
    ) {
        match run {
            Run::Upserts(rows) => {
                let (lines, rows): (Vec<u64>, Vec<ProductRow>) = rows.into_iter().unzip();
                let until = Instant::now() + GROUP_TIME;
                let results = upsert(self.target, self.account, &rows, until, reads, writes).await;
                for (line, result) in lines.into_iter().zip(results) {
                    let outcome = result.map(|applied| {
                        if applied.created { Outcome::Created } else { Outcome::Updated }
                    });
                    verdicts.push((line, outcome.map_err(|error| refusal(&error))));
                }
            }
            Run::Deletes(keys) => {
                for (line, key) in keys {
                    let deleted = self.target.delete_product(self.account, &key, writes).await;
                    let outcome = deleted
                        .map(|there| if there { Outcome::Deleted } else { Outcome::Unchanged });
                    verdicts.push((line, outcome.map_err(|error| refusal(&error))));
                }
            }
        }
    }
}

fn refusal(error: &RowError) -> Vec<FieldError> {
    let text = error.to_string();
    // "field: message", but for what the database itself refused.
    let (field, message) = match text.split_once(": ") {
        Some((field, message)) if field != "write" => (field, message),
        _ => ("", text.as_str()),
    };
    vec![FieldError::new(field, message)]
}

/// What a record comes to without a write, given the product it finds.
fn unwritten(record: &ProductRecord, there: Option<&StoredProduct>) -> Option<Outcome> {
    let Some(there) = there else {
        return matches!(record, ProductRecord::Delete(..)).then_some(Outcome::Unchanged);
    };
    let source = record.source_updated_at();
    let known = there.source_updated_at;
    if known.zip(source).is_some_and(|(known, source)| known > source) {
        return Some(Outcome::Stale);
    }
    let ProductRecord::Upsert(row) = record else { return None };
    let mut after = there.product.clone();
    after.merge(row);
    // A younger record of the same content moves the time that outdates others.
    let younger = source.is_some_and(|source| Some(source) > known);
    (after == there.product && !younger).then_some(Outcome::Unchanged)
}

/// What a record would come to; `stored` becomes as if it had been written.
fn tried(record: &ProductRecord, stored: &mut HashMap<Match, StoredProduct>) -> Verdict {
    match record {
        ProductRecord::Delete(key, _) => {
            stored.remove(key);
            Ok(Outcome::Deleted)
        }
        ProductRecord::Upsert(row) => {
            let found = record.found_by();
            if let Some(there) = found.as_ref().and_then(|key| stored.get_mut(key)) {
                there.product.merge(row);
                there.source_updated_at = row.source_updated_at.or(there.source_updated_at);
                return Ok(Outcome::Updated);
            }
            let id = row.id.unwrap_or_else(crate::products::ProductId::generate);
            let product = crate::products::Product::created(row, id, Timestamp::now())
                .ok_or_else(|| refusal(&RowError::NameRequired))?;
            let source_updated_at = row.source_updated_at;
            if let Some(key) = found {
                stored.insert(key, StoredProduct { product, source_updated_at });
            }
            Ok(Outcome::Created)
        }
    }
}
