//! The table `OfferingAreas`: entries of offerings, for lists by country, region and catalog.
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
//! If (2) fails, the difference is computed again. So wherever a writer stops, an offering never lacks an entry.
//! An entry may be left that its offering no longer has: readers check the offering and skip the entry.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::{
    primitives::Blob,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};

use super::{
    CONCURRENT_WRITES, Store, StoreError,
    batch::KeyToRead,
    item::{
        Item, NOT_NEWER, ORDER, OfferingItem, is_record, key_of, offering, order_of, order_value,
        text, write,
    },
    units,
};
use crate::{
    account::AccountId,
    cause::chain,
    imports::{Before, Content, DocumentKey, Kind, Write},
    lock::lock,
    offerings::{
        Area, Bound, EntryPage, KeyRange, OfferingAreas, OfferingId, StoredOffering, entries,
        key_of_entry,
    },
    order::Order,
    outcome::WriteError,
};

/// The attributes of an offering that its entries are made of.
pub(super) const PLACE_ATTRIBUTES: &str =
    "customerType, category, #status, #type, productCatalogIds, countries, #regions";

/// The range key of the entries marker: all offerings of the account have entries. It sorts before all entries.
const MARKER: [u8; 1] = [0];

/// How long an instance relies on what it has read of an entries marker.
const MARKER_CACHE: Duration = Duration::from_mins(1);

/// How often an offering is written anew because another writer was first.
const CONFLICTS: u32 = 32;

/// What is known of the entries markers of accounts, and since when.
#[derive(Debug, Default)]
pub(super) struct Markers(Mutex<HashMap<AccountId, (Instant, Marker)>>);

/// What is known of an account's entries marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marker {
    /// All its offerings have entries.
    Complete,
    /// It has no marker.
    Missing,
    /// It has no marker, but has offerings.
    NotEmpty,
}

impl Markers {
    fn get(&self, account: &AccountId) -> Option<Marker> {
        let known = lock(&self.0).get(account).copied();
        known.filter(|(at, _)| at.elapsed() < MARKER_CACHE).map(|(_, marker)| marker)
    }

    fn put(&self, account: &AccountId, marker: Marker) {
        lock(&self.0).insert(account.clone(), (Instant::now(), marker));
    }
}

/// An offering as it was stored, without its document; `None` if the item is a tombstone.
pub(super) fn placed(
    operation: &'static str,
    item: &Item,
) -> Result<Option<Arc<StoredOffering>>, StoreError> {
    if !item.contains_key("customerType") {
        return Ok(None);
    }
    let own = item.iter().filter(|(name, _)| *name != "document");
    let item = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    let row = offering(operation, item)?;
    Ok(Some(Arc::new(StoredOffering { document: String::new().into(), ..row })))
}

/// Like [`placed`], but an offering that this version cannot read is replaced as if it had no entries.
pub(super) fn placed_or_none(operation: &'static str, item: &Item) -> Option<Arc<StoredOffering>> {
    placed(operation, item).unwrap_or_else(|error| {
        tracing::warn!(cause = chain(&error), "an offering is unreadable");
        None
    })
}

fn entry_key(account: &AccountId, entry: &[u8]) -> Item {
    key_of(account, "entry", AttributeValue::B(Blob::new(entry)))
}

impl OfferingAreas for Store {
    type Error = StoreError;

    async fn entries(
        &self,
        account: &AccountId,
        area: &Area,
        range: KeyRange<'_>,
        from: Bound<'_>,
        limit: u32,
    ) -> Result<EntryPage, StoreError> {
        const OPERATION: &str = "list entries of offerings";
        let (first, last) = area.range(range, &from);
        let condition = "account = :account AND entry BETWEEN :first AND :last";
        let query = self
            .query_of(account, &self.tables.offering_areas, condition)
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
                .and_then(|entry| key_of_entry(entry.as_ref()))
                .ok_or_else(|| StoreError::unreadable(OPERATION, "entry"))
        };
        let keys = reply.items.unwrap_or_default().into_iter().map(key);
        Ok(EntryPage { keys: keys.collect::<Result<_, _>>()?, is_last, read_units })
    }

    async fn offerings(
        &self,
        account: &AccountId,
        ids: &[OfferingId],
    ) -> Result<(HashMap<OfferingId, StoredOffering>, f64), StoreError> {
        const OPERATION: &str = "get offerings";
        let wanted = ids.iter().map(|id| KeyToRead {
            table: self.tables.offerings.clone(),
            key: self.place(Kind::Offering).item_key(account, &DocumentKey::Offering(id.clone())),
            projection: None,
        });
        let (items, read_units) = self.read_batch(OPERATION, wanted.collect(), false).await?;
        let mut offerings = HashMap::with_capacity(items.len());
        for item in items.into_iter().filter(is_record) {
            let row = offering(OPERATION, item)?;
            offerings.insert(row.id.clone(), row);
        }
        Ok((offerings, read_units))
    }
}

const WRITE: &str = "write offering";
const PUT_ENTRY: &str = "put entry of an offering";
const DELETE_ENTRY: &str = "delete entry of an offering";

impl Store {
    /// Writes an offering and its entries, unless something newer is stored.
    pub(super) async fn write_offering(
        &self,
        account: &AccountId,
        key: &DocumentKey,
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
        key: &DocumentKey,
        change: Write,
    ) -> Result<Option<WriteError>, StoreError> {
        let Write { order, version, mut before } = change;
        let version = match version {
            Some((Content::Offering(offering), version)) => {
                Some((offering.into_stored(version.created_at, order.time()), version))
            }
            _ => None,
        };
        let after = version.as_ref().map(|(row, _)| entries(row)).unwrap_or_default();
        let version = version.map(|(row, version)| {
            write(WRITE, OfferingItem::new(account, row)).map(|item| (item, version))
        });
        let item = self.item_of((account, key), order, version.transpose()?);
        for _ in 0..CONFLICTS {
            let stored = before.offering.as_deref().map(entries).unwrap_or_default();
            self.put_entries(account, after.difference(&stored), order).await?;
            let put = self.put_offering(&item, before.order).await;
            if put.as_ref().is_err_and(StoreError::is_invalid) {
                // It will never be stored.
                self.delete_entries(account, after.difference(&stored), order).await?;
            }
            // Something else is stored than the difference was made from.
            let Err(there) = put? else {
                self.delete_entries(account, stored.difference(&after), order).await?;
                return Ok(None);
            };
            let there = there.unwrap_or_default();
            let now =
                Before { order: order_of(&there, ORDER), offering: placed_or_none(WRITE, &there) };
            if now.order >= Some(order) {
                // The same write succeeded, and its answer was lost; or something newer is stored.
                let theirs = now.offering.as_deref().map(entries).unwrap_or_default();
                let left = stored.union(&after).filter(|entry| !theirs.contains(*entry));
                let left: Vec<&Vec<u8>> = left.collect();
                self.delete_entries(account, left, order).await?;
                return Ok((now.order > Some(order)).then_some(WriteError::Stale));
            }
            before = now;
        }
        Ok(Some(WriteError::Conflict))
    }

    /// Puts the item of an offering, if the version with this order is still stored.
    async fn put_offering(
        &self,
        item: &Item,
        seen: Option<Order>,
    ) -> Result<Result<(), Option<Item>>, StoreError> {
        let condition = match seen {
            Some(_) => "#at = :seen",
            None => "attribute_not_exists(#at)",
        };
        let request = self
            .put_item(&self.tables.offerings, item.clone())
            .condition_expression(condition)
            .expression_attribute_names("#at", ORDER)
            .set_expression_attribute_values(
                seen.map(|seen| HashMap::from([(":seen".to_owned(), order_value(seen))])),
            )
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        self.put(WRITE, request).await
    }

    /// Puts entries, each unless a newer write has put it.
    async fn put_entries(
        &self,
        account: &AccountId,
        added: impl IntoIterator<Item = &Vec<u8>>,
        order: Order,
    ) -> Result<(), StoreError> {
        let puts = added.into_iter().map(|entry| async {
            let mut item = entry_key(account, entry);
            item.insert(ORDER.to_owned(), order_value(order));
            self.put_unless_newer(PUT_ENTRY, &self.tables.offering_areas, item, order).await
        });
        all(puts).await
    }

    /// Deletes entries, each unless a newer write has put it.
    async fn delete_entries(
        &self,
        account: &AccountId,
        removed: impl IntoIterator<Item = &Vec<u8>>,
        order: Order,
    ) -> Result<(), StoreError> {
        let deletes = removed.into_iter().map(|entry| async {
            let request = self
                .delete_item(&self.tables.offering_areas, entry_key(account, entry))
                .condition_expression(NOT_NEWER)
                .expression_attribute_names("#at", ORDER)
                .expression_attribute_values(":at", order_value(order));
            Ok(self.delete(DELETE_ENTRY, request).await?.is_ok())
        });
        all(deletes).await
    }
}

/// Makes all writes, several concurrently; a newer write that was kept is not an error.
async fn all(
    writes: impl Iterator<Item = impl Future<Output = Result<bool, StoreError>>>,
) -> Result<(), StoreError> {
    // Collected first, so that all futures have the same type, whatever they borrow.
    let writes: Vec<_> = writes.collect();
    let outcomes = stream::iter(writes).buffer_unordered(CONCURRENT_WRITES);
    outcomes.try_for_each(|_| future::ok(())).await
}

impl Store {
    /// Whether lists of an account may use entries: all its offerings have them.
    pub async fn has_entries(&self, account: &AccountId) -> Result<bool, StoreError> {
        if let Some(known) = self.markers.get(account) {
            return Ok(known == Marker::Complete);
        }
        let key = entry_key(account, &MARKER);
        let item =
            self.get("get marker of entries", &self.tables.offering_areas, key, false).await?;
        let is_marked = item.is_some_and(|item| item.contains_key(COMPLETE));
        self.markers.put(account, if is_marked { Marker::Complete } else { Marker::Missing });
        Ok(is_marked)
    }

    /// Marks an account without offerings: all that it will have get their entries.
    pub(super) async fn mark_if_empty(&self, account: &AccountId) -> Result<(), StoreError> {
        if self.markers.get(account) == Some(Marker::NotEmpty) || self.has_entries(account).await? {
            return Ok(());
        }
        let query = self
            .query_of(account, &self.tables.offerings, "account = :account")
            .projection_expression("account")
            .consistent_read(true)
            .limit(1);
        if self.query("find any offering", query).await?.items().is_empty() {
            return self.mark(account, None).await;
        }
        self.markers.put(account, Marker::NotEmpty);
        Ok(())
    }

    /// Stores up to which id a backfill has put entries; `None`: it is complete.
    async fn mark(&self, account: &AccountId, up_to: Option<&str>) -> Result<(), StoreError> {
        let mut item = entry_key(account, &MARKER);
        match up_to {
            Some(id) => item.insert(UP_TO.to_owned(), text(id)),
            None => item.insert(COMPLETE.to_owned(), AttributeValue::Bool(true)),
        };
        let request = self
            .put_item(&self.tables.offering_areas, item)
            // Another backfill may have completed it.
            .set_condition_expression(up_to.map(|_| format!("attribute_not_exists({COMPLETE})")));
        let _ = self.put("store marker of entries", request).await?;
        if up_to.is_none() {
            self.markers.put(account, Marker::Complete);
        }
        Ok(())
    }

    /// Forgets that an account's offerings have their entries: its lists filter again, within a minute, until a
    /// backfill is complete. For accounts into which a version without entries has written.
    pub async fn forget_entries(&self, account: &AccountId) -> Result<(), StoreError> {
        let request = self.delete_item(&self.tables.offering_areas, entry_key(account, &MARKER));
        let _ = self.delete("delete marker of entries", request).await?;
        self.markers.put(account, Marker::Missing);
        Ok(())
    }

    /// Puts the entries of a page of an account's offerings, from where an earlier backfill ended. Returns how
    /// many offerings there were; `None`: all have their entries now.
    ///
    /// Writers may go on meanwhile, as long as all of them write entries, too.
    pub async fn backfill_entries(&self, account: &AccountId) -> Result<Option<usize>, StoreError> {
        const OPERATION: &str = "backfill entries of offerings";
        let key = entry_key(account, &MARKER);
        let marker = self.get(OPERATION, &self.tables.offering_areas, key, true).await?;
        let marker = marker.unwrap_or_default();
        if marker.contains_key(COMPLETE) {
            return Ok(None);
        }
        let place = self.place(Kind::Offering);
        let start = marker.get(UP_TO).map(|id| key_of(account, place.range_key, id.clone()));
        let query = self
            .query_of(account, place.table, "account = :account")
            .consistent_read(true)
            .limit(BACKFILL_PAGE)
            .set_exclusive_start_key(start);
        let reply = self.query(OPERATION, query).await?;
        let mut count = 0;
        for item in reply.items() {
            if let Some(row) = placed(OPERATION, item)? {
                // Items that were written before writes had an order are older than anything.
                let order = order_of(item, ORDER).unwrap_or(Order::OLDEST);
                self.put_entries(account, &entries(&row), order).await?;
                count += 1;
            }
        }
        let last = reply.last_evaluated_key().and_then(|key| key.get(place.range_key)?.as_s().ok());
        self.mark(account, last.map(String::as_str)).await?;
        Ok(Some(count))
    }
}

/// The attribute of an entries marker: all offerings have their entries.
const COMPLETE: &str = "complete";

/// The attribute of an entries marker: the id up to which a backfill has put entries.
const UP_TO: &str = "upTo";

/// The offerings of one step of a backfill.
const BACKFILL_PAGE: i32 = 100;
