//! Documents: batch reads by key, and conditional writes that keep whatever is newer.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::{StreamExt as _, stream};

use super::{
    CAPACITY, CONCURRENT_WRITES, Store, StoreError,
    item::{
        EXPIRES_AT, Item, ORDER, OfferingItem, PromotionItem, VersionAttributes, expiry, order_of,
        order_value, read, text, write,
    },
    networks, partners,
    ranges::Keys,
    units,
};
use crate::{
    account::AccountId,
    imports::{ChangeSet, Content, DocumentStore, Key, Stored, Write},
    offerings::{OfferingId, PromoCode},
    write_error::WriteError,
};

impl DocumentStore for Store {
    type Error = StoreError;

    async fn stored(
        &self,
        account: &AccountId,
        keys: &[Key],
    ) -> Result<(HashMap<Key, Stored>, f64), StoreError> {
        const OPERATION: &str = "read stored versions";
        let mut by_table: BTreeMap<&str, (&'static str, Vec<String>)> = BTreeMap::new();
        for key in keys {
            let wanted = by_table.entry(self.table_of(key)).or_insert((key_name(key), Vec::new()));
            wanted.1.push(range_key(key));
        }
        let reads = by_table.into_iter().map(|(table, (range_key, names))| {
            let projection = Some(format!("{range_key}, #{ORDER}, {}", VersionAttributes::NAMES));
            self.read_keys(OPERATION, Keys { table, account, range_key, names, projection })
        });
        let mut items = Vec::with_capacity(keys.len());
        let mut read_units = 0.0;
        for (found, units) in futures_util::future::try_join_all(reads).await? {
            items.extend(found);
            read_units += units;
        }
        let mut stored = HashMap::with_capacity(items.len());
        for item in items {
            let key = stored_key(&item)
                .ok_or_else(|| StoreError::unreadable(OPERATION, "an item without its key"))?;
            let order = order_of(&item, ORDER);
            let version = read::<VersionAttributes>(OPERATION, item)?.version();
            stored.insert(key, Stored { order, version });
        }
        Ok((stored, read_units))
    }

    async fn write(
        &self,
        account: &AccountId,
        changes: ChangeSet,
    ) -> Result<(Vec<(Key, WriteError)>, f64), StoreError> {
        let writes = changes.into_iter().map(|(key, write)| async move {
            let outcome = self.write_document(account, &key, write).await;
            outcome.map(|(failure, units)| (failure.map(|why| (key, why)), units))
        });
        // Collected first, so that all futures have the same type, whatever they borrow.
        let writes: Vec<_> = writes.collect();
        let mut outcomes = stream::iter(writes).buffer_unordered(CONCURRENT_WRITES);
        let (mut not_stored, mut write_units) = (Vec::new(), 0.0);
        while let Some(outcome) = outcomes.next().await {
            let (failure, units) = outcome?;
            not_stored.extend(failure);
            write_units += units;
        }
        Ok((not_stored, write_units))
    }
}

const OPERATION: &str = "write document";

/// The condition that nothing newer is stored. An equal order means that the same write is repeated.
const NOT_NEWER: &str = "attribute_not_exists(#at) OR #at <= :at";

impl Store {
    fn table_of(&self, key: &Key) -> &str {
        match key {
            Key::Offering(_) => &self.tables.offerings,
            Key::Promotion(_) => &self.tables.promotions,
            Key::PartnerOffering(_) => &self.tables.partner_offerings,
            Key::ExchangeRate(_) => &self.tables.networks,
        }
    }

    /// The item that a write puts: a version, or a tombstone.
    fn item_of(&self, account: &AccountId, key: &Key, change: Write) -> Result<Item, StoreError> {
        let key = key_item(account, key);
        let Write { order, version } = change;
        let mut item = if let Some((content, version)) = version {
            let with_document = |document: String| {
                let mut item = key.clone();
                item.insert("document".to_owned(), AttributeValue::S(document));
                item
            };
            let mut item = match content {
                Content::Offering(offering) => {
                    let row = offering.into_row(version.created_at, order.time());
                    write(OPERATION, OfferingItem::new(account, row))?
                }
                Content::Promotion(promotion) => {
                    let code = promotion.code().clone();
                    let (account, document) = (account.to_string(), promotion.document());
                    write(OPERATION, PromotionItem { account, code, document })?
                }
                Content::PartnerOffering(offering) => with_document(offering.document()),
                Content::ExchangeRate(rate) => with_document(rate.document()),
            };
            item.extend(write(OPERATION, VersionAttributes::from(version))?);
            item
        } else {
            let mut item = key;
            item.insert(EXPIRES_AT.to_owned(), expiry(self.clock));
            item
        };
        item.insert(ORDER.to_owned(), order_value(order));
        Ok(item)
    }

    /// Writes an item unless a newer one is stored.
    async fn write_document(
        &self,
        account: &AccountId,
        key: &Key,
        change: Write,
    ) -> Result<(Option<WriteError>, f64), StoreError> {
        let order = order_value(change.order);
        let request = self
            .client
            .put_item()
            .table_name(self.table_of(key))
            .set_item(Some(self.item_of(account, key, change)?))
            .condition_expression(NOT_NEWER)
            .expression_attribute_names("#at", ORDER)
            .expression_attribute_values(":at", order)
            .return_consumed_capacity(CAPACITY);
        let outcome = self.attempt(OPERATION, Some(&self.writes), || request.clone().send()).await;
        let error = match outcome {
            Ok(reply) => return Ok((None, units(reply.consumed_capacity()))),
            Err(error) => StoreError::from_sdk(OPERATION, &error),
        };
        match error.write_error() {
            // A failed condition consumes as much as the write would have, but the error does not say how
            // much.
            Some(WriteError::Stale) => Ok((Some(WriteError::Stale), 1.0)),
            Some(why) => Ok((Some(why), 0.0)),
            None => Err(error),
        }
    }
}

fn key_name(key: &Key) -> &'static str {
    match key {
        Key::Offering(_) => "productOfferingId",
        Key::Promotion(_) => "code",
        Key::PartnerOffering(_) => "offeringKey",
        Key::ExchangeRate(_) => "itemKey",
    }
}

fn range_key(key: &Key) -> String {
    match key {
        Key::Offering(id) => id.as_str().to_owned(),
        Key::Promotion(code) => code.as_str().to_owned(),
        Key::PartnerOffering(key) => partners::offering_key(key),
        Key::ExchangeRate(pair) => networks::rate_key(*pair),
    }
}

fn key_item(account: &AccountId, key: &Key) -> Item {
    Item::from([
        ("account".to_owned(), text(account.as_str())),
        (key_name(key).to_owned(), text(range_key(key))),
    ])
}

/// The key of an item that was read with [`key_name`].
pub(super) fn stored_key(item: &Item) -> Option<Key> {
    let identity = |name: &str| item.get(name).and_then(|value: &AttributeValue| value.as_s().ok());
    if let Some(id) = identity("productOfferingId") {
        return OfferingId::parse(id).ok().map(Key::Offering);
    }
    if let Some(code) = identity("code") {
        return PromoCode::parse(code).ok().map(Key::Promotion);
    }
    if let Some(key) = identity("offeringKey") {
        return partners::parse_offering_key(key).map(Key::PartnerOffering);
    }
    identity("itemKey").and_then(|key| networks::parse_rate_key(key)).map(Key::ExchangeRate)
}
