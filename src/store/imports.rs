//! What imports read and write of records that are stored as they were sent: content hashes, and
//! whole items.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::{
    CAPACITY, CONCURRENT_WRITES, Store, StoreError,
    batch::{MAX_FRUITLESS, PendingWrite, back_off},
    item::{Item, OfferingItem, PromotionItem, VersionAttributes, read, text, write},
    networks, partners,
    ranges::Keys,
    units,
};
use crate::{
    account::AccountId,
    imports::{ChangeSet, Content, ImportTarget, Key, RefusedWrite, Stored, Write},
    offerings::{OfferingId, PromoCode},
    refusal::NotTaken,
};

impl ImportTarget for Store {
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
            let projection = Some(format!("{range_key}, {}", VersionAttributes::NAMES));
            self.read_keys(OPERATION, Keys { table, account, range_key, names, projection })
        });
        let mut items = Vec::with_capacity(keys.len());
        let mut read_units = 0.0;
        for (found, units) in futures_util::future::try_join_all(reads).await? {
            items.extend(found);
            read_units += units;
        }
        let mut known = HashMap::with_capacity(items.len());
        for item in items {
            let key = stored_key(&item)
                .ok_or_else(|| StoreError::unreadable(OPERATION, "an item without its key"))?;
            let version: VersionAttributes = read(OPERATION, item)?;
            if let Some(version) = version.stored() {
                known.insert(key, version);
            }
        }
        Ok((known, read_units))
    }

    async fn write(
        &self,
        account: &AccountId,
        changes: ChangeSet,
    ) -> Result<(Vec<RefusedWrite>, f64), StoreError> {
        let (mut keys, mut plain, mut guarded) = (Vec::new(), Vec::new(), Vec::new());
        for (key, change) in changes {
            let guard = change.guard();
            let place = self.place(account, &key, change)?;
            if let Some(time) = guard {
                guarded.push((key, place, time));
            } else {
                plain.push(place.into_batch()?);
                keys.push(key);
            }
        }
        let guarded: Vec<_> = guarded
            .into_iter()
            .map(|(key, place, time)| async move {
                let (why, units) = self.write_unless_younger(place, time).await?;
                Ok::<_, StoreError>((why.map(|why| RefusedWrite { key, why }), units))
            })
            .collect();
        let guarded = stream::iter(guarded).buffer_unordered(CONCURRENT_WRITES);
        let (in_batches, one_by_one) = futures_util::try_join!(
            self.write_items(OPERATION, plain),
            guarded.try_collect::<Vec<_>>()
        )?;
        let (refused, mut write_units) = in_batches;
        let mut refused: Vec<RefusedWrite> = refused
            .into_iter()
            .map(|(place, why)| RefusedWrite { key: keys[place].clone(), why })
            .collect();
        for (not_taken, units) in one_by_one {
            refused.extend(not_taken);
            write_units += units;
        }
        Ok((refused, write_units))
    }
}

const OPERATION: &str = "write changes";

impl Store {
    fn table_of(&self, key: &Key) -> &str {
        match key {
            Key::Offering(_) => &self.tables.offerings,
            Key::Promotion(_) => &self.tables.promotions,
            Key::PartnerOffering(_) => &self.tables.partner_offerings,
            Key::ExchangeRate(_) => &self.tables.networks,
        }
    }

    /// What a write puts where.
    fn place(
        &self,
        account: &AccountId,
        key: &Key,
        change: Write,
    ) -> Result<Place<'_>, StoreError> {
        let (table, key) = (self.table_of(key), key_item(account, key));
        let Write::Put { content, stored, .. } = change else {
            return Ok(Place { table, key, item: None });
        };
        let with_document = |document: String| {
            let mut item = key.clone();
            item.insert("document".to_owned(), AttributeValue::S(document));
            item
        };
        let mut item = match content {
            Content::Offering(offering) => {
                let row = offering.into_row(stored.created_at, stored.updated_at);
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
        item.extend(write(OPERATION, VersionAttributes::from(stored))?);
        Ok(Place { table, key, item: Some(item) })
    }

    /// Writes an item unless a younger one is there: a batch knows no conditions.
    async fn write_unless_younger(
        &self,
        place: Place<'_>,
        time: Timestamp,
    ) -> Result<(Option<NotTaken>, f64), StoreError> {
        const CONDITION: &str =
            "attribute_not_exists(sourceUpdatedAt) OR sourceUpdatedAt <= :source";
        let source = AttributeValue::N(time.as_millisecond().to_string());
        for attempt in 0..MAX_FRUITLESS {
            back_off(attempt).await;
            let turn = self.writes.turn().await;
            let outcome = if let Some(item) = &place.item {
                let put = self.client.put_item().table_name(place.table);
                let put = put.set_item(Some(item.clone())).condition_expression(CONDITION);
                let put = put.expression_attribute_values(":source", source.clone());
                let reply = put.return_consumed_capacity(CAPACITY).send().await;
                reply
                    .map(|reply| units(reply.consumed_capacity()))
                    .map_err(|error| StoreError::from_sdk(OPERATION, &error))
            } else {
                let delete = self.client.delete_item().table_name(place.table);
                let delete = delete.set_key(Some(place.key.clone()));
                let delete = delete.condition_expression(CONDITION);
                let delete = delete.expression_attribute_values(":source", source.clone());
                let reply = delete.return_consumed_capacity(CAPACITY).send().await;
                reply
                    .map(|reply| units(reply.consumed_capacity()))
                    .map_err(|error| StoreError::from_sdk(OPERATION, &error))
            };
            let error = match outcome {
                Ok(write_units) => {
                    turn.end(true);
                    return Ok((None, write_units));
                }
                Err(error) => error,
            };
            turn.end(!error.is_throttled());
            if error.is_condition_failed() {
                // Charged as the write would have been; how much that is, is not told.
                return Ok((Some(NotTaken::Contended), 1.0));
            }
            if error.is_invalid() {
                return Ok((Some(NotTaken::Never), 0.0));
            }
            if !error.is_unavailable() {
                return Err(error);
            }
        }
        Ok((Some(NotTaken::Later), 0.0))
    }
}

/// An item to be, or not to be any more.
struct Place<'a> {
    table: &'a str,
    key: Item,
    item: Option<Item>,
}

impl Place<'_> {
    fn into_batch(self) -> Result<PendingWrite, StoreError> {
        match self.item {
            Some(item) => PendingWrite::put(OPERATION, self.table, self.key, item),
            None => PendingWrite::delete(OPERATION, self.table, self.key),
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

/// Which key an item read with [`key_name`] is of.
fn stored_key(item: &Item) -> Option<Key> {
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
