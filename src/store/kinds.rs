//! Where the records of each kind are stored.

use super::{
    Store, StoreError,
    item::{Item, key_of, text, text_of},
    networks, partners,
};
use crate::{
    account::AccountId,
    imports::{DocumentKey, Kind},
    offerings::{OfferingId, PromoCode},
};

/// Where the records of a kind are stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) kind: Kind,
    pub(super) table: &'a str,
    /// The attribute that is the range key.
    pub(super) range_key: &'static str,
    /// How the range keys of this kind begin, if the table has other kinds, too.
    pub(super) prefix: &'static str,
}

impl Store {
    /// Where the records of a kind are stored; bundles are with their network.
    pub(super) fn place(&self, kind: Kind) -> Place<'_> {
        let tables = &self.tables;
        let (table, range_key, prefix) = match kind {
            Kind::Offering => (&tables.offerings, "productOfferingId", ""),
            Kind::Promotion => (&tables.promotions, "code", ""),
            Kind::PartnerOffering => (&tables.partner_offerings, "offeringKey", ""),
            Kind::Network | Kind::Bundle => (&tables.networks, "itemKey", "NETWORK#"),
            Kind::ExchangeRate => (&tables.networks, "itemKey", "RATE#"),
            Kind::Product => (&tables.products, "productKey", ""),
        };
        Place { kind, table, range_key, prefix }
    }
}

impl Place<'_> {
    /// The primary key of a document's item.
    pub(super) fn item_key(&self, account: &AccountId, key: &DocumentKey) -> Item {
        key_of(account, self.range_key, text(range_key(key)))
    }

    /// The document key (kind and id) that an item's range key stands for.
    pub(super) fn document_key_of(
        &self,
        operation: &'static str,
        item: &Item,
    ) -> Result<DocumentKey, StoreError> {
        text_of(item, self.range_key)
            .and_then(|key| parse_key(self.kind, key))
            .ok_or_else(|| StoreError::unreadable(operation, "an item without its key"))
    }
}

/// The range key of a document.
pub(super) fn range_key(key: &DocumentKey) -> String {
    match key {
        DocumentKey::Offering(id) => id.as_str().to_owned(),
        DocumentKey::Promotion(code) => code.as_str().to_owned(),
        DocumentKey::PartnerOffering(key) => partners::offering_key(key),
        DocumentKey::ExchangeRate(pair) => networks::rate_key(*pair),
    }
}

fn parse_key(kind: Kind, text: &str) -> Option<DocumentKey> {
    match kind {
        Kind::Offering => OfferingId::parse(text).ok().map(DocumentKey::Offering),
        Kind::Promotion => PromoCode::parse(text).ok().map(DocumentKey::Promotion),
        Kind::PartnerOffering => {
            partners::parse_offering_key(text).map(DocumentKey::PartnerOffering)
        }
        Kind::ExchangeRate => networks::parse_rate_key(text).map(DocumentKey::ExchangeRate),
        Kind::Network | Kind::Bundle | Kind::Product => None,
    }
}
