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
    engine::{Outcome, Refusal, Verdict},
    job::ImportId,
};
use crate::{
    account::AccountId,
    cost::Costs,
    products::{
        Change, Match, Product, ProductDelete, ProductId, ProductRow, ProductWrites, RowError,
        StoredProduct, upsert,
    },
    refusal::NotTaken,
    text::FieldError,
};

/// The records of one import that are about products.
pub(super) struct ProductRecords<'a, T> {
    target: &'a T,
    account: &'a AccountId,
    dry_run: bool,
    /// Keys this import wrote of late: what a read tells of them may lag behind.
    written: LruCache<Match, ()>,
    /// The import, and when it began: what names products without keys.
    names: Option<(ImportId, Timestamp)>,
    /// What a dry run would have stored by now, by every key; `None` is a removed product.
    tried: LruCache<Match, Option<StoredProduct>>,
}

/// Keys remembered: more than are written within the second or so that a read may lag behind.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(40_000).unwrap();

/// How long the rows of a group may take; each gives up by itself long before.
const GROUP_TIME: Duration = Duration::from_mins(10);

/// Rows of one kind that follow each other.
enum Run {
    Upserts(Vec<(u64, ProductRow)>),
    Deletes(Vec<(u64, Match, Option<Timestamp>)>),
}

impl<'a, T: ProductDelete + ProductWrites> ProductRecords<'a, T> {
    /// A dry run does all but write.
    pub(super) fn new(target: &'a T, account: &'a AccountId, dry_run: bool) -> Self {
        let (written, tried) = (LruCache::new(REMEMBERED), LruCache::new(REMEMBERED));
        Self { target, account, dry_run, written, names: None, tried }
    }

    /// Names products without keys by their place in an import.
    pub(super) fn name_by(&mut self, import: &ImportId, started_at: Timestamp) {
        self.names = Some((import.clone(), started_at));
    }

    /// Imports records, by their lines, in order.
    ///
    /// # Errors
    /// When the database cannot be read at all.
    pub(super) async fn import(
        &mut self,
        mut records: Vec<(u64, ProductRecord)>,
        cost: &mut ImportCost,
    ) -> Result<Vec<(u64, Verdict)>, T::Error> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let stored = self.stored(&mut records, cost).await?;
        // Only now: nothing is stored under these ids but what this very import has stored.
        if let Some((import, started_at)) = &self.names {
            for (line, record) in &mut records {
                if let ProductRecord::Upsert(row) = record
                    && row.matches().is_none()
                {
                    row.id = Some(ProductId::of_record(*started_at, import.as_str(), *line));
                }
            }
        }
        let mut verdicts = Vec::with_capacity(records.len());
        let mut runs: Vec<Run> = Vec::new();
        for (line, record) in records {
            let found = record.found_by();
            if self.dry_run {
                verdicts.push((line, self.trial(&record, found.as_ref(), &stored)));
                continue;
            }
            let mut keys = record.keys();
            let there = found.as_ref().and_then(|key| stored.get(key));
            // What was written is not what was read: the database itself decides then.
            let known = !keys.iter().any(|key| self.written.contains(key));
            if known && let Some(outcome) = unwritten(&record, there) {
                verdicts.push((line, Ok(outcome)));
                continue;
            }
            keys.extend(there.into_iter().flat_map(|there| keys_of(&there.product)));
            for key in keys {
                self.written.put(key, ());
            }
            match (record, runs.last_mut()) {
                (ProductRecord::Upsert(row), Some(Run::Upserts(rows))) => rows.push((line, *row)),
                (ProductRecord::Upsert(row), _) => runs.push(Run::Upserts(vec![(line, *row)])),
                (ProductRecord::Delete(key, source), Some(Run::Deletes(keys))) => {
                    keys.push((line, key, source));
                }
                (ProductRecord::Delete(key, source), _) => {
                    runs.push(Run::Deletes(vec![(line, key, source)]));
                }
            }
        }
        let mut costs = Costs::default();
        for run in runs {
            self.write(run, &mut verdicts, &mut costs).await;
        }
        cost.read_units += costs.reads.read_units;
        cost.write_units += costs.writes.write_units;
        Ok(verdicts)
    }

    /// What is stored under the records' keys. A record that names its product by id is made to name
    /// it by the key it is stored under; and an id that is another product's is no new product's.
    async fn stored(
        &mut self,
        records: &mut [(u64, ProductRecord)],
        cost: &mut ImportCost,
    ) -> Result<HashMap<Match, StoredProduct>, T::Error> {
        let wanted: HashSet<Match> =
            records.iter().filter_map(|(_, record)| record.found_by()).collect();
        let wanted: Vec<Match> = wanted.into_iter().collect();
        let (mut stored, read_units) = self.target.stored_products(self.account, &wanted).await?;
        cost.read_units += read_units;

        let unknown: HashSet<ProductId> = records
            .iter()
            .filter(|(_, record)| record.found_by().is_none_or(|key| !stored.contains_key(&key)))
            .filter_map(|(_, record)| record.id())
            .collect();
        let unknown: Vec<ProductId> = unknown.into_iter().collect();
        let (elsewhere, read_units) = self.target.keys_of_ids(self.account, &unknown).await?;
        cost.read_units += read_units;
        let mut moved: Vec<Match> = Vec::new();
        for (_, record) in records.iter_mut() {
            let Some(key) = record.id().and_then(|id| elsewhere.get(&id)) else { continue };
            match (record, key) {
                (_, Match::Id(_)) => {}
                (ProductRecord::Delete(named, _), key) => {
                    if matches!(named, Match::Id(_)) {
                        *named = key.clone();
                        moved.push(key.clone());
                    }
                }
                (ProductRecord::Upsert(row), key) => {
                    if matches!(row.matches(), Some(Match::Id(_))) {
                        match key {
                            Match::Sku(sku) => row.sku = Change::Set(sku.clone()),
                            Match::ExternalId(id) => row.external_id = Change::Set(id.clone()),
                            Match::Id(_) => {}
                        }
                        moved.push(key.clone());
                    } else if row.matches().is_some_and(|found| found != *key) {
                        row.id = None;
                    }
                }
            }
        }
        if !moved.is_empty() {
            let (more, read_units) = self.target.stored_products(self.account, &moved).await?;
            cost.read_units += read_units;
            stored.extend(more);
        }
        Ok(stored)
    }

    async fn write(&self, run: Run, verdicts: &mut Vec<(u64, Verdict)>, costs: &mut Costs) {
        match run {
            Run::Upserts(rows) => {
                let (lines, rows): (Vec<u64>, Vec<ProductRow>) = rows.into_iter().unzip();
                let until = Instant::now() + GROUP_TIME;
                let results = upsert(self.target, self.account, &rows, until, costs).await;
                for (line, result) in lines.into_iter().zip(results) {
                    let outcome = result.map(|applied| {
                        if applied.created { Outcome::Created } else { Outcome::Updated }
                    });
                    verdicts.push((line, verdict(outcome)));
                }
            }
            Run::Deletes(keys) => {
                for (line, key, source) in keys {
                    let deleted =
                        self.target.delete_product(self.account, &key, source, costs).await;
                    let outcome = deleted
                        .map(|there| if there { Outcome::Deleted } else { Outcome::Unchanged });
                    verdicts.push((line, verdict(outcome)));
                }
            }
        }
    }

    /// What a record would come to, and be remembered as.
    fn trial(
        &mut self,
        record: &ProductRecord,
        found: Option<&Match>,
        stored: &HashMap<Match, StoredProduct>,
    ) -> Verdict {
        let there = found.and_then(|key| match self.tried.get(key) {
            Some(tried) => tried.clone(),
            None => stored.get(key).cloned(),
        });
        if let Some(outcome) = unwritten(record, there.as_ref()) {
            return Ok(outcome);
        }
        for key in there.iter().flat_map(|there| keys_of(&there.product)) {
            self.tried.put(key, None);
        }
        let ProductRecord::Upsert(row) = record else { return Ok(Outcome::Deleted) };
        let (after, outcome) = if let Some(mut there) = there {
            there.product.merge(row);
            there.source_updated_at = row.source_updated_at.or(there.source_updated_at);
            (there, Outcome::Updated)
        } else {
            let id = row.id.unwrap_or_else(ProductId::generate);
            let product = Product::created(row, id, Timestamp::now())
                .ok_or_else(|| refusal(&RowError::NameRequired))?;
            let source_updated_at = row.source_updated_at;
            (StoredProduct { product, source_updated_at }, Outcome::Created)
        };
        for key in keys_of(&after.product) {
            self.tried.put(key, Some(after.clone()));
        }
        Ok(outcome)
    }
}

/// Every key that leads to a product.
fn keys_of(product: &Product) -> Vec<Match> {
    let sku = product.sku.clone().map(Match::Sku);
    let external_id = product.external_id.clone().map(Match::ExternalId);
    sku.into_iter().chain(external_id).chain([Match::Id(product.id)]).collect()
}

fn verdict(outcome: Result<Outcome, RowError>) -> Verdict {
    match outcome {
        Err(RowError::Stale) => Ok(Outcome::Stale),
        outcome => outcome.map_err(|error| refusal(&error)),
    }
}

fn refusal(error: &RowError) -> Refusal {
    match error {
        RowError::Unavailable => Refusal::Write(NotTaken::Later),
        RowError::Failed { cause } => {
            tracing::error!(cause, "a product was not written");
            Refusal::Write(NotTaken::Never)
        }
        error => {
            // "field: message"
            let text = error.to_string();
            let (field, message) = text.split_once(": ").unwrap_or(("", &text));
            Refusal::Record(vec![FieldError::new(field, message)])
        }
    }
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
