//! What imports read and write of records that are stored as they were sent: content hashes, and
//! whole items.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::{
    Store, StoreError,
    batch::{PendingWrite, Wanted},
    item::{Item, OfferingItem, PromotionItem, VersionAttributes, read, text, write},
    networks, partners,
};
use crate::{
    account::AccountId,
    imports::{ChangeSet, Content, ImportTarget, Key, RefusedWrite, Stored, Write},
    offerings::{OfferingId, PromoCode},
};

impl ImportTarget for Store {
    type Error = StoreError;

    async fn stored(
        &self,
        account: &AccountId,
        keys: &[Key],
    ) -> Result<(HashMap<Key, Stored>, f64), StoreError> {
        const OPERATION: &str = "read stored versions";
        let wanted = keys.iter().map(|key| Wanted {
            table: self.table_of(key).to_owned(),
            key: key_item(account, key),
            projection: Some(format!("{}, {}", key_name(key), VersionAttributes::NAMES)),
        });
        let (items, read_units) = self.read_items(OPERATION, wanted.collect(), false).await?;
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
        let mut keys = Vec::with_capacity(changes.len());
        let mut writes = Vec::with_capacity(changes.len());
        for (key, change) in changes {
            writes.push(self.pending(account, &key, change)?);
            keys.push(key);
        }
        let (refused, write_units) = self.write_items(OPERATION, writes).await?;
        let refused = refused
            .into_iter()
            .map(|(place, why)| RefusedWrite { key: keys[place].clone(), message: why.to_owned() });
        Ok((refused.collect(), write_units))
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

    fn pending(
        &self,
        account: &AccountId,
        key: &Key,
        change: Write,
    ) -> Result<PendingWrite, StoreError> {
        let (table, place) = (self.table_of(key), key_item(account, key));
        let (content, stored) = match change {
            Write::Delete(_) => return PendingWrite::delete(OPERATION, table, place),
            Write::Put { content, stored } => (content, stored),
        };
        let with_document = |document: String| {
            let mut item = place.clone();
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
        PendingWrite::put(OPERATION, table, place, item)
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

fn key_item(account: &AccountId, key: &Key) -> Item {
    let identity = match key {
        Key::Offering(id) => text(id.as_str()),
        Key::Promotion(code) => text(code.as_str()),
        Key::PartnerOffering(key) => text(partners::offering_key(key)),
        Key::ExchangeRate(pair) => text(networks::rate_key(*pair)),
    };
    Item::from([
        ("account".to_owned(), text(account.as_str())),
        (key_name(key).to_owned(), identity),
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
