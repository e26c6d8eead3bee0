//! Imports records of products: compares the stored product with the result of merging a row into it, and
//! writes only rows that change something, as a bulk upsert does.
//!
//! Writes are ordered field by field: a late row sets the fields that no newer write has set.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroUsize,
    time::Duration,
};

use jiff::Timestamp;
use lru::LruCache;
use tokio::time::Instant;

use super::{
    ExportedRecords, Kind, Mode, Ordered, ProductRecord, RecordChange,
    line::{LineOutcome, RecordRejection},
    record::identities_of_product,
};
use crate::{
    account::AccountId,
    order::Order,
    outcome::{Outcome, WriteError},
    products::{
        FieldOrders, FieldUpdate, OrderedRow, Product, ProductDelete, ProductId, ProductKey,
        ProductRemoval, ProductRow, ProductWrites, Remainder, RowError, StoredProduct, WhenOlder,
        upsert,
    },
};

/// Generates the ids of products.
#[derive(Clone, Debug)]
pub struct GeneratedIds {
    /// Identifies the records: an event's own id, the content of a message, or a version of an object.
    pub seed: String,
    /// When that was first seen.
    pub time: Timestamp,
    /// Identifies this run of the import.
    pub run: String,
}

impl GeneratedIds {
    /// The id of a product without keys: the same record is the same product, however often it is imported.
    fn of_record(&self, line: u64) -> ProductId {
        ProductId::of_record(self.time, &self.seed, line)
    }

    /// The id of a product that has a key, if it is created: an earlier run may have created one that has another key
    /// by now.
    fn of_new(&self, line: u64) -> ProductId {
        ProductId::of_record(self.time, &self.run, line)
    }
}

/// The importer of products.
pub(super) struct ProductRecords<'a, T> {
    target: &'a T,
    account: &'a AccountId,
    ids: GeneratedIds,
    mode: Mode,
    /// What a dry run would have stored so far, by every key (`None`: removed); `None` if this is not a dry
    /// run.
    dry_run: Option<LruCache<ProductKey, Option<StoredProduct>>>,
}

/// How many keys a dry run keeps.
const DRY_RUN_CACHE: NonZeroUsize = NonZeroUsize::new(40_000).unwrap();

/// How long the rows of a group may take. The group itself has a much shorter limit.
const GROUP_TIME: Duration = Duration::from_mins(10);

impl<'a, T: ProductDelete + ProductWrites + ExportedRecords> ProductRecords<'a, T> {
    pub(super) fn new(
        target: &'a T,
        account: &'a AccountId,
        ids: GeneratedIds,
        mode: Mode,
    ) -> Self {
        let dry_run = mode.is_dry_run().then(|| LruCache::new(DRY_RUN_CACHE));
        Self { target, account, ids, mode, dry_run }
    }

    /// Imports records in the order of their lines.
    pub(super) async fn import(
        &mut self,
        mut records: Vec<Ordered<ProductRecord>>,
        changes: &mut Vec<RecordChange>,
    ) -> Result<Vec<LineOutcome>, <T as ProductDelete>::Error> {
        let mut outcomes = Vec::with_capacity(records.len());
        // Records of one product are imported in sequence: each is compared with the result of the one before
        // it.
        while !records.is_empty() {
            records = self.import_distinct(records, &mut outcomes, changes).await?;
        }
        Ok(outcomes)
    }

    /// Imports the first record of each product; returns the others.
    async fn import_distinct(
        &mut self,
        mut records: Vec<Ordered<ProductRecord>>,
        outcomes: &mut Vec<LineOutcome>,
        changes: &mut Vec<RecordChange>,
    ) -> Result<Vec<Ordered<ProductRecord>>, <T as ProductDelete>::Error> {
        let stored = self.stored(&mut records).await?;
        // Only now, because under a generated id there can only be what this same source has stored.
        for Ordered { line, record, .. } in &mut records {
            if let ProductRecord::Upsert(row) = record
                && row.key().is_none()
            {
                row.id = Some(self.ids.of_record(*line));
            }
        }
        let (mut pending, mut later) = (Vec::new(), Vec::new());
        let mut touched: HashSet<ProductKey> = HashSet::new();
        for Ordered { line, order, record } in records {
            let found = record.found_by();
            let there = found.as_ref().and_then(|key| stored.get(key));
            if self.dry_run.is_some() {
                let record = Ordered { line, order, record };
                let outcome = self.trial(&record, found.as_ref(), there, changes);
                outcomes.push((line, outcome));
                continue;
            }
            let mut keys = record.all_product_keys();
            keys.extend(there.into_iter().flat_map(|there| keys_of(&there.product)));
            if keys.iter().any(|key| touched.contains(key)) {
                touched.extend(keys);
                later.push(Ordered { line, order, record });
                continue;
            }
            if let Some(outcome) = unwritten(&record, order, there) {
                outcomes.push((line, Ok(outcome)));
                continue;
            }
            touched.extend(keys);
            pending.push(Ordered { line, order, record });
        }
        self.write(&pending, outcomes).await;
        Ok(later)
    }

    /// What is stored under the records' keys. A record that has only an id is changed to use the key under
    /// which its product is stored. A record never gives one product's id to another product.
    async fn stored(
        &mut self,
        records: &mut [Ordered<ProductRecord>],
    ) -> Result<HashMap<ProductKey, StoredProduct>, <T as ProductDelete>::Error> {
        let mut wanted: Vec<ProductKey> =
            records.iter().filter_map(|record| record.record.found_by()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut stored = self.target.stored_products(self.account, &wanted).await?;

        let mut unknown: Vec<ProductId> = records
            .iter()
            .map(|record| &record.record)
            .filter(|record| record.found_by().is_none_or(|key| !stored.contains_key(&key)))
            .filter_map(ProductRecord::id)
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        let elsewhere = self.target.keys_of_ids(self.account, &unknown).await?;
        let mut moved: Vec<ProductKey> = Vec::new();
        for Ordered { record, .. } in records.iter_mut() {
            let Some(key) = record.id().and_then(|id| elsewhere.get(&id)) else { continue };
            match (record, key) {
                (_, ProductKey::Id(_)) => {}
                (ProductRecord::Delete(named) | ProductRecord::Purge(named), key) => {
                    if matches!(named, ProductKey::Id(_)) {
                        *named = key.clone();
                        moved.push(key.clone());
                    }
                }
                (ProductRecord::Upsert(row), key) => {
                    if matches!(row.key(), Some(ProductKey::Id(_))) {
                        match key {
                            ProductKey::Sku(sku) => row.sku = FieldUpdate::Set(sku.clone()),
                            ProductKey::ExternalId(id) => {
                                row.external_id = FieldUpdate::Set(id.clone());
                            }
                            ProductKey::Id(_) => {}
                        }
                        moved.push(key.clone());
                    } else if row.key().is_some_and(|found| found != *key) {
                        row.id = None;
                    }
                }
            }
        }
        if !moved.is_empty() {
            stored.extend(self.target.stored_products(self.account, &moved).await?);
        }
        Ok(stored)
    }

    /// Writes records of distinct products.
    async fn write(&self, records: &[Ordered<ProductRecord>], outcomes: &mut Vec<LineOutcome>) {
        let rows: Vec<(u64, OrderedRow<'_>)> = records
            .iter()
            .filter_map(|Ordered { line, order, record }| {
                let ProductRecord::Upsert(row) = record else { return None };
                let new_id = match row.key() {
                    Some(ProductKey::Id(id)) => id,
                    _ => self.ids.of_new(*line),
                };
                Some((
                    *line,
                    OrderedRow { row, order: *order, when_older: WhenOlder::KeepNewer, new_id },
                ))
            })
            .collect();
        let (lines, rows): (Vec<u64>, Vec<OrderedRow<'_>>) = rows.into_iter().unzip();
        let until = Instant::now() + GROUP_TIME;
        let results = upsert(self.target, self.account, &rows, until).await;
        for (line, result) in lines.into_iter().zip(results) {
            let outcome = result
                .map(|applied| if applied.created { Outcome::Created } else { Outcome::Updated });
            outcomes.push((line, settled(outcome)));
        }
        for Ordered { line, order, record } in records {
            let Some((key, removal)) = removal(record, *order) else { continue };
            let removed = self.target.delete_product(self.account, key, removal).await;
            outcomes.push((*line, settled(removed)));
        }
    }

    /// What the outcome of a record would be, and what a dry run keeps and shows of it.
    fn trial(
        &mut self,
        Ordered { line, order, record }: &Ordered<ProductRecord>,
        found: Option<&ProductKey>,
        stored: Option<&StoredProduct>,
        changes: &mut Vec<RecordChange>,
    ) -> Result<Outcome, RecordRejection> {
        let tried = self.dry_run.as_mut();
        let remembered = found.zip(tried).and_then(|(key, tried)| tried.get(key).cloned());
        let before = remembered.unwrap_or_else(|| stored.cloned());
        if let Some(outcome) = unwritten(record, *order, before.as_ref()) {
            return Ok(outcome);
        }
        let (outcome, after) = match record {
            ProductRecord::Upsert(row) => self
                .merged(row, (*line, *order), before.as_ref())
                .map_err(|error| rejection(&error))?,
            ProductRecord::Delete(_) | ProductRecord::Purge(_) => {
                left(record, *order, before.as_ref())
            }
        };
        if outcome == Outcome::Stale {
            return Ok(outcome);
        }
        if self.mode == Mode::Diff && outcome.is_change() {
            let product = before.as_ref().or(after.as_ref());
            let identities = product.map(|stored| identities_of_product(&stored.product));
            let identity = identities.and_then(|all| all.into_iter().next()).unwrap_or_default();
            let states = [&before, &after].map(|state| state.as_ref().map(T::product));
            let states = (states[0].as_deref(), states[1].as_deref());
            changes.push(RecordChange::new((Kind::Product, identity), *line, outcome, states));
        }
        if let Some(before) = &before {
            self.remember(&before.product, None);
        }
        if let Some(after) = &after {
            self.remember(&after.product, Some(after));
        }
        Ok(outcome)
    }

    /// The product that a row makes of another one, or creates.
    fn merged(
        &self,
        row: &ProductRow,
        (line, order): (u64, Order),
        before: Option<&StoredProduct>,
    ) -> Result<(Outcome, Option<StoredProduct>), RowError> {
        let Some(before) = before else {
            let id = row.id.unwrap_or_else(|| self.ids.of_new(line));
            let product = Product::created(row, id, order.time()).ok_or(RowError::NameRequired)?;
            let mut orders = FieldOrders::default();
            orders.note(row, order);
            return Ok((Outcome::Created, Some(StoredProduct { product, orders })));
        };
        let late = before.orders.late(row, order);
        let mut after = before.clone();
        after.product.merge(&late);
        if before.orders.admits(order) {
            after.product.updated_at = order.time();
        }
        after.orders.note(&late, order);
        Ok((Outcome::Updated, Some(after)))
    }

    /// Keeps, for a dry run, what would have been stored under all keys of a product.
    fn remember(&mut self, product: &Product, stored: Option<&StoredProduct>) {
        if let Some(tried) = &mut self.dry_run {
            for key in keys_of(product) {
                tried.put(key, stored.cloned());
            }
        }
    }
}

/// All keys that lead to a product.
fn keys_of(product: &Product) -> Vec<ProductKey> {
    let sku = product.sku.clone().map(ProductKey::Sku);
    let external_id = product.external_id.clone().map(ProductKey::ExternalId);
    sku.into_iter().chain(external_id).chain([ProductKey::Id(product.id)]).collect()
}

/// The removal that a record asks for.
fn removal(record: &ProductRecord, order: Order) -> Option<(&ProductKey, ProductRemoval)> {
    let (key, only_if_unchanged) = match record {
        ProductRecord::Upsert(_) => return None,
        ProductRecord::Delete(key) => (key, false),
        ProductRecord::Purge(key) => (key, true),
    };
    Some((key, ProductRemoval { order, only_if_unchanged }))
}

/// What a removal would leave of a product.
fn left(
    record: &ProductRecord,
    order: Order,
    before: Option<&StoredProduct>,
) -> (Outcome, Option<StoredProduct>) {
    let Some((before, (_, removal))) = before.zip(removal(record, order)) else {
        return (Outcome::Unchanged, None);
    };
    match before.after(removal) {
        Remainder::All => (Outcome::Stale, None),
        Remainder::Some(after) => (before.outcome_of(&after), Some(*after)),
        Remainder::Nothing => (Outcome::Deleted, None),
    }
}

fn settled(outcome: Result<Outcome, RowError>) -> Result<Outcome, RecordRejection> {
    match outcome {
        Err(RowError::Stale) => Ok(Outcome::Stale),
        outcome => outcome.map_err(|error| rejection(&error)),
    }
}

fn rejection(error: &RowError) -> RecordRejection {
    match error {
        RowError::Unavailable => RecordRejection::Write(WriteError::Unavailable),
        RowError::Failed { cause } => {
            tracing::error!(cause, "a product was not written");
            RecordRejection::Write(WriteError::Rejected)
        }
        error => RecordRejection::Record(vec![error.field_error()]),
    }
}

/// The outcome of a record that needs no write, given the product it finds.
fn unwritten(
    record: &ProductRecord,
    order: Order,
    there: Option<&StoredProduct>,
) -> Option<Outcome> {
    let (ProductRecord::Upsert(row), Some(there)) = (record, there) else { return None };
    let merges_into_itself = |row: &ProductRow| {
        let mut after = there.product.clone();
        after.merge(row);
        after == there.product
    };
    if merges_into_itself(row) {
        return Some(Outcome::Unchanged);
    }
    let late = !there.orders.admits(order);
    (late && merges_into_itself(&there.orders.late(row, order))).then_some(Outcome::Stale)
}
