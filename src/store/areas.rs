//! The table `OfferingAreas`: coverage entries of offerings, for lists by country, region and catalog.
//!
//! | `entry` | |
//! |---|---|
//! | area, customer type, category, status, type, id (see `offerings::area`) | an entry: only its keys, and the order of the write that put it |
//! | one zero byte | whether all offerings of the account have their entries; until then, lists filter |
//!
//! # The order of writes
//! An offering and its entries are written without a transaction, in this order: (1) the entries that are new,
//! each unless a newer write put it; (2) the offering, on the condition that the version from which the
//! difference was made is still stored; (3) the entries that are gone are deleted, unless a newer write put them.
//! If (2) fails, the difference is made anew. So whoever dies, and whenever, an offering never lacks an entry.
//! An entry may be left that its offering no longer has; readers check the offering and pass over the entry.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::{
    error::ProvideErrorMetadata as _,
    primitives::Blob,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    CAPACITY, CONCURRENT_WRITES, Store, StoreError,
    batch::KeyToRead,
    item::{Item, ORDER, OfferingItem, is_record, order_of, order_value, read, text},
    units,
};
use crate::{
    account::AccountId,
    cause::chain,
    imports::{Before, Content, Key, Kind, Write},
    offerings::{
        Area, Bound, EntryPage, OfferingAreas, OfferingId, OfferingRow, Stream, entries,
        row_of_entry,
    },
    order::Order,
    outcome::WriteError,
};

/// The attributes of an offering that its entries are made of.
pub(super) const PLACE_ATTRIBUTES: &str =
    "customerType, category, #status, #type, productCatalogIds, countries, #regions";

/// The range key of the marker that all offerings of an account have their entries. It sorts before all entries.
const MARKER: [u8; 1] = [0];

/// How long an instance relies on what it has read of a marker.
const MARKER_CACHE: Duration = Duration::from_mins(1);

/// How often an offering is written anew because another writer was first.
const CONFLICTS: u32 = 32;

/// What was read of accounts, and when.
#[derive(Debug, Default)]
pub(super) struct Markers {
    /// Whether all their offerings have entries.
    complete: Mutex<HashMap<AccountId, (Instant, bool)>>,
    /// Those that have offerings.
    not_empty: Mutex<HashMap<AccountId, Instant>>,
}

/// An offering as it was stored, without its document; `None` if the item is a tombstone.
pub(super) fn placed(
    operation: &'static str,
    item: &Item,
) -> Result<Option<Arc<OfferingRow>>, StoreError> {
    if !item.contains_key("customerType") {
        return Ok(None);
    }
    let mut item = item.clone();
    item.remove("document");
    let item: OfferingItem = read(operation, item)?;
    let row = item.into_row().map_err(|cause| StoreError::unreadable(operation, cause))?;
    Ok(Some(Arc::new(OfferingRow { document: String::new(), ..row })))
}

/// Like [`placed`], but an offering that this version cannot read is replaced as if it had no entries.
pub(super) fn placed_or_none(operation: &'static str, item: &Item) -> Option<Arc<OfferingRow>> {
    placed(operation, item).unwrap_or_else(|error| {
        tracing::warn!(cause = chain(&error), "an offering is unreadable");
        None
    })
}

/// The cache is consistent even if a thread panicked while it held the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn entry_key(account: &AccountId, entry: &[u8]) -> Item {
    Item::from([
        ("account".to_owned(), text(account.as_str())),
        ("entry".to_owned(), AttributeValue::B(Blob::new(entry))),
    ])
}

impl OfferingAreas for Store {
    type Error = StoreError;

    async fn entries(
        &self,
        account: &AccountId,
        area: &Area,
        stream: Stream<'_>,
        from: Bound<'_>,
        limit: u32,
    ) -> Result<EntryPage, StoreError> {
        const OPERATION: &str = "list entries of offerings";
        let (first, last) = area.range(stream, &from);
        let query = self
            .client
            .query()
            .table_name(&self.tables.offering_areas)
            .key_condition_expression("account = :account AND entry BETWEEN :first AND :last")
            .expression_attribute_values(":account", text(account.as_str()))
            .expression_attribute_values(":first", AttributeValue::B(Blob::new(first)))
            .expression_attribute_values(":last", AttributeValue::B(Blob::new(last)))
            .projection_expression("entry")
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let reply = self.query(OPERATION, query).await?;
        let read_units = units(reply.consumed_capacity());
        let is_last = reply.last_evaluated_key.is_none();
        let key = |item: Item| {
            let entry = item.get("entry").and_then(|entry| entry.as_b().ok());
            entry
                .and_then(|entry| row_of_entry(entry.as_ref()))
                .ok_or_else(|| StoreError::unreadable(OPERATION, "entry"))
        };
        let keys = reply.items.unwrap_or_default().into_iter().map(key);
        Ok(EntryPage { keys: keys.collect::<Result<_, _>>()?, is_last, read_units })
    }

    async fn offerings(
        &self,
        account: &AccountId,
        ids: &[OfferingId],
    ) -> Result<(HashMap<OfferingId, OfferingRow>, f64), StoreError> {
        const OPERATION: &str = "get offerings";
        let wanted = ids.iter().map(|id| KeyToRead {
            table: self.tables.offerings.clone(),
            key: self.place(Kind::Offering).item_key(account, &Key::Offering(id.clone())),
            projection: None,
        });
        let (items, read_units) = self.read_batch(OPERATION, wanted.collect(), false).await?;
        let mut offerings = HashMap::with_capacity(items.len());
        for item in items.into_iter().filter(is_record) {
            let item: OfferingItem = read(OPERATION, item)?;
            let row = item.into_row().map_err(|cause| StoreError::unreadable(OPERATION, cause))?;
            offerings.insert(row.id.clone(), row);
        }
        Ok((offerings, read_units))
    }
}

const WRITE: &str = "write offering";
const PUT_ENTRY: &str = "put entry of an offering";
const DELETE_ENTRY: &str = "delete entry of an offering";

/// What became of the write of an offering's own item.
enum Put {
    Done,
    /// Something else is stored than the difference was made from.
    ConditionFailed(Option<Item>),
}

impl Store {
    /// Writes an offering and its entries, unless something newer is stored.
    pub(super) async fn write_offering(
        &self,
        account: &AccountId,
        key: &Key,
        change: Write,
    ) -> Result<Option<WriteError>, StoreError> {
        match self.try_write_offering(account, key, change).await {
            Ok(failure) => Ok(failure),
            Err(error) => error.write_error().map(Some).ok_or(error),
        }
    }

    async fn try_write_offering(
        &self,
        account: &AccountId,
        key: &Key,
        change: Write,
    ) -> Result<Option<WriteError>, StoreError> {
        let order = change.order;
        let mut before = change.before.clone();
        let after = match &change.version {
            Some((Content::Offering(offering), version)) => {
                entries(&offering.clone().into_row(version.created_at, order.time()))
            }
            _ => BTreeSet::new(),
        };
        let item = self.item_of(account, key, change)?;
        for _ in 0..CONFLICTS {
            let stored = before.offering.as_deref().map(entries).unwrap_or_default();
            let added: Vec<&[u8]> = after.difference(&stored).map(Vec::as_slice).collect();
            self.put_entries(account, &added, order).await?;
            let put = self.put_offering(&item, before.order).await;
            if put.as_ref().is_err_and(StoreError::is_invalid) {
                // It will never be stored.
                self.delete_entries(account, added.iter().copied(), order).await?;
            }
            let there = match put? {
                Put::Done => {
                    let removed = stored.difference(&after).map(Vec::as_slice);
                    self.delete_entries(account, removed, order).await?;
                    return Ok(None);
                }
                Put::ConditionFailed(there) => there.unwrap_or_default(),
            };
            let now =
                Before { order: order_of(&there, ORDER), offering: placed_or_none(WRITE, &there) };
            if now.order >= Some(order) {
                // The same write succeeded, and its answer was lost; or something newer is stored.
                let theirs = now.offering.as_deref().map(entries).unwrap_or_default();
                let left = stored.union(&after).filter(|entry| !theirs.contains(*entry));
                self.delete_entries(account, left.map(Vec::as_slice), order).await?;
                return Ok((now.order > Some(order)).then_some(WriteError::Stale));
            }
            before = now;
        }
        Ok(Some(WriteError::Conflict))
    }

    /// Puts the item of an offering, if the version with this order is still stored.
    async fn put_offering(&self, item: &Item, seen: Option<Order>) -> Result<Put, StoreError> {
        let condition = match seen {
            Some(_) => "#at = :seen",
            None => "attribute_not_exists(#at)",
        };
        let request = self
            .client
            .put_item()
            .table_name(&self.tables.offerings)
            .set_item(Some(item.clone()))
            .condition_expression(condition)
            .expression_attribute_names("#at", ORDER)
            .set_expression_attribute_values(
                seen.map(|seen| HashMap::from([(":seen".to_owned(), order_value(seen))])),
            )
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(CAPACITY);
        let outcome = self.attempt(WRITE, Some(&self.writes), || request.clone().send()).await;
        match outcome {
            Ok(reply) => {
                self.meter.add_write(units(reply.consumed_capacity()));
                Ok(Put::Done)
            }
            Err(error) => {
                let failed = error.as_service_error().and_then(|error| match error {
                    aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(failed) => Some(failed.item.clone()),
                    _ => None,
                });
                match failed {
                    Some(there) => {
                        // It is charged as a write, but the error does not say how much.
                        self.meter.add_write(1.0);
                        Ok(Put::ConditionFailed(there))
                    }
                    None => Err(StoreError::from_sdk(WRITE, &error)),
                }
            }
        }
    }

    /// Puts entries, each unless a newer write has put it.
    async fn put_entries(
        &self,
        account: &AccountId,
        added: &[&[u8]],
        order: Order,
    ) -> Result<(), StoreError> {
        let puts = added.iter().map(|entry| async {
            let mut item = entry_key(account, entry);
            item.insert(ORDER.to_owned(), order_value(order));
            let request = self
                .client
                .put_item()
                .table_name(&self.tables.offering_areas)
                .set_item(Some(item))
                .condition_expression("attribute_not_exists(#at) OR #at <= :at")
                .expression_attribute_names("#at", ORDER)
                .expression_attribute_values(":at", order_value(order))
                .return_consumed_capacity(CAPACITY);
            let outcome =
                self.attempt(PUT_ENTRY, Some(&self.writes), || request.clone().send()).await;
            match outcome {
                Ok(reply) => self.meter.add_write(units(reply.consumed_capacity())),
                Err(error) if error.code() == Some(CONDITION_FAILED) => self.meter.add_write(1.0),
                Err(error) => return Err(StoreError::from_sdk(PUT_ENTRY, &error)),
            }
            Ok(())
        });
        let puts: Vec<_> = puts.collect();
        stream::iter(puts).buffer_unordered(CONCURRENT_WRITES).try_collect().await
    }

    /// Deletes entries, each unless a newer write has put it.
    async fn delete_entries<'a>(
        &self,
        account: &AccountId,
        removed: impl Iterator<Item = &'a [u8]>,
        order: Order,
    ) -> Result<(), StoreError> {
        let deletes = removed.map(|entry| async {
            let request = self
                .client
                .delete_item()
                .table_name(&self.tables.offering_areas)
                .set_key(Some(entry_key(account, entry)))
                .condition_expression("attribute_not_exists(#at) OR #at <= :at")
                .expression_attribute_names("#at", ORDER)
                .expression_attribute_values(":at", order_value(order))
                .return_consumed_capacity(CAPACITY);
            let outcome =
                self.attempt(DELETE_ENTRY, Some(&self.writes), || request.clone().send()).await;
            match outcome {
                Ok(reply) => self.meter.add_write(units(reply.consumed_capacity())),
                Err(error) if error.code() == Some(CONDITION_FAILED) => self.meter.add_write(1.0),
                Err(error) => return Err(StoreError::from_sdk(DELETE_ENTRY, &error)),
            }
            Ok(())
        });
        let deletes: Vec<_> = deletes.collect();
        stream::iter(deletes).buffer_unordered(CONCURRENT_WRITES).try_collect().await
    }
}

const CONDITION_FAILED: &str = "ConditionalCheckFailedException";

impl Store {
    /// Whether lists of an account may use entries: all its offerings have them.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn has_entries(&self, account: &AccountId) -> Result<bool, StoreError> {
        const OPERATION: &str = "get marker of entries";
        let known = lock(&self.markers.complete).get(account).copied();
        if let Some((_, is_marked)) = known.filter(|(at, _)| at.elapsed() < MARKER_CACHE) {
            return Ok(is_marked);
        }
        let request = self
            .client
            .get_item()
            .table_name(&self.tables.offering_areas)
            .set_key(Some(entry_key(account, &MARKER)));
        let item = self.get(OPERATION, request).await?;
        let is_marked = item.is_some_and(|item| item.contains_key(COMPLETE));
        self.note_marker(account, is_marked);
        Ok(is_marked)
    }

    fn note_marker(&self, account: &AccountId, is_marked: bool) {
        lock(&self.markers.complete).insert(account.clone(), (Instant::now(), is_marked));
    }

    /// Marks an account without offerings: all that it will have get their entries.
    pub(super) async fn mark_if_empty(&self, account: &AccountId) -> Result<(), StoreError> {
        const OPERATION: &str = "find any offering";
        let not_empty = lock(&self.markers.not_empty).get(account).copied();
        if not_empty.is_some_and(|at| at.elapsed() < MARKER_CACHE)
            || self.has_entries(account).await?
        {
            return Ok(());
        }
        let query = self
            .client
            .query()
            .table_name(&self.tables.offerings)
            .key_condition_expression("account = :account")
            .expression_attribute_values(":account", text(account.as_str()))
            .projection_expression("account")
            .consistent_read(true)
            .limit(1);
        let found = self.query(OPERATION, query).await?;
        if found.items.unwrap_or_default().is_empty() {
            self.mark(account, None).await?;
        } else {
            lock(&self.markers.not_empty).insert(account.clone(), Instant::now());
        }
        Ok(())
    }

    /// Stores how far a backfill is, or that it is complete.
    async fn mark(
        &self,
        account: &AccountId,
        up_to: Option<&OfferingId>,
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "store marker of entries";
        let mut item = entry_key(account, &MARKER);
        match up_to {
            Some(id) => item.insert(UP_TO.to_owned(), text(id.as_str())),
            None => item.insert(COMPLETE.to_owned(), AttributeValue::Bool(true)),
        };
        let request = self
            .client
            .put_item()
            .table_name(&self.tables.offering_areas)
            .set_item(Some(item))
            // Another backfill may have come further.
            .set_condition_expression(up_to.map(|_| format!("attribute_not_exists({COMPLETE})")))
            .return_consumed_capacity(CAPACITY);
        match self.attempt(OPERATION, None, || request.clone().send()).await {
            Ok(reply) => self.meter.add_write(units(reply.consumed_capacity())),
            Err(error) if error.code() == Some(CONDITION_FAILED) => self.meter.add_write(1.0),
            Err(error) => return Err(StoreError::from_sdk(OPERATION, &error)),
        }
        if up_to.is_none() {
            self.note_marker(account, true);
        }
        Ok(())
    }

    /// Forgets that an account's offerings have their entries: its lists filter again, within a minute, until a
    /// backfill is complete. For accounts into which a version without entries has written.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn forget_entries(&self, account: &AccountId) -> Result<(), StoreError> {
        const OPERATION: &str = "delete marker of entries";
        let request = self
            .client
            .delete_item()
            .table_name(&self.tables.offering_areas)
            .set_key(Some(entry_key(account, &MARKER)))
            .return_consumed_capacity(CAPACITY);
        let reply = self.send(OPERATION, || request.clone().send()).await?;
        self.meter.add_write(units(reply.consumed_capacity()));
        self.note_marker(account, false);
        Ok(())
    }

    /// Puts the entries of a page of an account's offerings, from where an earlier backfill ended. Returns how
    /// many offerings there were; `None`: all have their entries now.
    ///
    /// Writers may go on meanwhile, as long as all of them write entries, too.
    ///
    /// # Errors
    /// When the tables cannot be read or written.
    pub async fn backfill_entries(&self, account: &AccountId) -> Result<Option<usize>, StoreError> {
        const OPERATION: &str = "backfill entries of offerings";
        let request = self
            .client
            .get_item()
            .table_name(&self.tables.offering_areas)
            .set_key(Some(entry_key(account, &MARKER)))
            .consistent_read(true);
        let marker = self.get(OPERATION, request).await?.unwrap_or_default();
        if marker.contains_key(COMPLETE) {
            return Ok(None);
        }
        let up_to = marker.get(UP_TO).and_then(|id| id.as_s().ok()).cloned();
        let place = self.place(Kind::Offering);
        let start = up_to.map(|id| {
            Item::from([
                ("account".to_owned(), text(account.as_str())),
                (place.range_key.to_owned(), text(id)),
            ])
        });
        let query = self
            .client
            .query()
            .table_name(place.table)
            .key_condition_expression("account = :account")
            .expression_attribute_values(":account", text(account.as_str()))
            .consistent_read(true)
            .limit(BACKFILL_PAGE)
            .set_exclusive_start_key(start);
        let reply = self.query(OPERATION, query).await?;
        let items = reply.items.unwrap_or_default();
        let mut last = None;
        let mut seen: HashSet<OfferingId> = HashSet::new();
        for item in &items {
            if let Some(row) = placed(OPERATION, item)? {
                // Items that were written before writes had an order are older than anything.
                let order = order_of(item, ORDER).unwrap_or(Order::OLDEST);
                let entries = entries(&row);
                let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
                self.put_entries(account, &entries, order).await?;
                seen.insert(row.id.clone());
            }
            if let Key::Offering(id) = place.key_of(OPERATION, item)? {
                last = Some(id);
            }
        }
        match last.filter(|_| reply.last_evaluated_key.is_some()) {
            Some(id) => self.mark(account, Some(&id)).await?,
            None => self.mark(account, None).await?,
        }
        Ok(Some(seen.len()))
    }
}

/// The attribute of a marker: all offerings have their entries.
const COMPLETE: &str = "complete";

/// The attribute of a marker: the id up to which a backfill has put entries.
const UP_TO: &str = "upTo";

/// The offerings of one step of a backfill.
const BACKFILL_PAGE: i32 = 100;
