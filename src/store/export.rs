//! Exports: everything an account has, as records that recreate the same catalog when imported.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::json;

use super::{
    Store, StoreError,
    item::{
        Item, ORDER, OfferingItem, VersionAttributes, document, is_record, order_of, read, text,
    },
    kinds::Place,
    networks::{Part, part},
    products::product_of,
};
use crate::{
    account::AccountId,
    imports::{
        Kind, MAX_LINE_BYTES,
        existing::{Existing, ExistingRecord},
    },
    networks::{Network, NetworkId},
    offerings::Status,
    order::Order,
    products::StoredProduct,
    text::rfc3339_millis,
};

/// An export of the records of one kind, one page of the table at a time.
pub struct Export<'a> {
    store: &'a Store,
    account: &'a AccountId,
    kind: Kind,
    start: Option<Item>,
    ended: bool,
    /// The network whose bundles are being read.
    network: Option<WholeNetwork>,
}

impl<'a> Export<'a> {
    /// The kinds that have records of their own; bundles are part of their network's record.
    pub const KINDS: [Kind; 6] = [
        Kind::Offering,
        Kind::Promotion,
        Kind::PartnerOffering,
        Kind::Network,
        Kind::ExchangeRate,
        Kind::Product,
    ];

    #[must_use]
    pub fn new(store: &'a Store, account: &'a AccountId, kind: Kind) -> Self {
        Self { store, account, kind, start: None, ended: false, network: None }
    }

    /// The next records, as JSON, in the order of their keys; `None` after the last.
    ///
    /// # Errors
    /// [`StoreError`] if the table cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<String>>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        let items = self.items().await?;
        let mut records = Vec::with_capacity(items.len());
        for item in items {
            self.record(item, &mut records)?;
        }
        if self.start.is_none() {
            self.ended = true;
            if let Some(network) = self.network.take() {
                network.finish(&mut records);
            }
        }
        Ok(Some(records))
    }

    async fn items(&mut self) -> Result<Vec<Item>, StoreError> {
        let start = self.start.take();
        let (items, next) =
            self.store.items_of_kind(OPERATION, self.account, self.kind, start).await?;
        self.start = next;
        Ok(items)
    }

    fn record(&mut self, item: Item, records: &mut Vec<String>) -> Result<(), StoreError> {
        match self.kind {
            Kind::Product => records.extend(product_of(OPERATION, &item)?.as_ref().map(product)),
            Kind::Network | Kind::Bundle => match part(OPERATION, item)? {
                Part::Network(network, own, set) => {
                    let next = WholeNetwork {
                        network: *network,
                        own,
                        set,
                        newest: own.max(set),
                        bundles: Vec::new(),
                    };
                    if let Some(before) = self.network.replace(next) {
                        before.finish(records);
                    }
                }
                Part::Bundle(id, document, order) => match (&mut self.network, document) {
                    (Some(whole), document) if whole.network.id == id => {
                        whole.newest = whole.newest.max(order);
                        whole.bundles.extend(document.map(|document| (document, order)));
                    }
                    // The bundle was stored before its network.
                    (_, Some(document)) => records.push(bundle(id, &document, order)),
                    (_, None) => {}
                },
                Part::Placeholder(..) => {}
            },
            // Documents.
            kind => records.extend(document_record(OPERATION, kind, item)?),
        }
        Ok(())
    }
}

impl Store {
    /// A page of the items of a kind, read consistently, and where the next page begins.
    async fn items_of_kind(
        &self,
        operation: &'static str,
        account: &AccountId,
        kind: Kind,
        start: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>), StoreError> {
        let place = self.place(kind);
        let query = self
            .client
            .query()
            .table_name(place.table)
            .expression_attribute_values(":account", text(account.as_str()))
            .consistent_read(true)
            .set_exclusive_start_key(start);
        let query = match place.prefix {
            "" => query.key_condition_expression("account = :account"),
            prefix => query
                .key_condition_expression("account = :account AND begins_with(#key, :prefix)")
                .expression_attribute_names("#key", place.range_key)
                .expression_attribute_values(":prefix", text(prefix)),
        };
        let reply = self.query(operation, query).await?;
        Ok((reply.items.unwrap_or_default(), reply.last_evaluated_key))
    }

    /// A page of the records of a kind that a snapshot may remove.
    pub(super) async fn existing_records(
        &self,
        account: &AccountId,
        kind: Kind,
        after: Option<Item>,
    ) -> Result<(Vec<ExistingRecord>, Option<Item>), StoreError> {
        const OPERATION: &str = "list stored records";
        let (items, next) = self.items_of_kind(OPERATION, account, kind, after).await?;
        let mut existing = Vec::with_capacity(items.len());
        for item in items {
            existing.extend(existing_record(OPERATION, self.place(kind), item)?);
        }
        Ok((existing, next))
    }
}

/// The record of an item that a snapshot may remove; `None` if there is none.
fn existing_record(
    operation: &'static str,
    place: Place<'_>,
    item: Item,
) -> Result<Option<ExistingRecord>, StoreError> {
    let order = order_of(&item, ORDER);
    let what = match place.kind {
        Kind::Product => {
            let stored = product_of(operation, &item)?;
            return Ok(stored.map(|StoredProduct { product, orders }| ExistingRecord {
                what: Existing::Product(Box::new(product)),
                order: orders.last,
            }));
        }
        Kind::Network | Kind::Bundle => match part(operation, item)? {
            Part::Network(network, ..) => Existing::Network(network.id),
            // Bundles whose network is not stored: they are removed, too.
            Part::Placeholder(id, 1..) => Existing::Network(id),
            Part::Bundle(..) | Part::Placeholder(..) => return Ok(None),
        },
        _ if !is_record(&item) => return Ok(None),
        Kind::Offering => {
            let item: OfferingItem = read(operation, item)?;
            let row = item.into_row().map_err(|cause| StoreError::unreadable(operation, cause))?;
            if row.status == Status::Archived {
                return Ok(None);
            }
            Existing::Offering(Box::new(row))
        }
        // Documents.
        _ => Existing::Document(place.key_of(operation, &item)?),
    };
    Ok(Some(ExistingRecord { what, order }))
}

const OPERATION: &str = "export";

/// The record of a document; `None` if the item is a tombstone.
pub(super) fn document_record(
    operation: &'static str,
    kind: Kind,
    item: Item,
) -> Result<Option<String>, StoreError> {
    if !is_record(&item) {
        return Ok(None);
    }
    if kind == Kind::Offering {
        let item: OfferingItem = read(operation, item)?;
        let row = item.into_row().map_err(|cause| StoreError::unreadable(operation, cause))?;
        let open = row.document.strip_suffix('}').unwrap_or(&row.document);
        let catalogs = json!(row.visibility.catalogs);
        let whole = format!("{open},\"productCatalogIds\":{catalogs}}}");
        return Ok(Some(with_head("\"kind\":\"offering\"", &whole)));
    }
    let time = order_of(&item, ORDER).map(Order::time);
    let version: VersionAttributes = read(operation, item.clone())?;
    let time = time.or(version.updated_at());
    let head = format!("\"kind\":\"{kind}\"{}", member(time));
    Ok(Some(with_head(&head, &document(operation, item)?)))
}

/// Adds members before those of a JSON object.
fn with_head(head: &str, object: &str) -> String {
    match object.strip_prefix('{') {
        Some("}") | None => format!("{{{head}}}"),
        Some(rest) => format!("{{{head},{rest}"),
    }
}

/// The member `,"updatedAt":"…"`; empty without a time.
fn member(updated_at: Option<Timestamp>) -> String {
    updated_at
        .map(|time| format!(",\"updatedAt\":\"{}\"", rfc3339_millis(time)))
        .unwrap_or_default()
}

pub(super) fn product(stored: &StoredProduct) -> String {
    // Serializing cannot fail, so the fallback is never used.
    let document = serde_json::to_string(&stored.product).unwrap_or_default();
    with_head("\"kind\":\"product\"", &document)
}

pub(super) fn bundle(network: NetworkId, document: &str, order: Option<Order>) -> String {
    let updated_at = member(order.map(Order::time));
    let head = format!("\"kind\":\"bundle\",\"network_id\":{network}{updated_at}");
    with_head(&head, document)
}

/// A network and the bundles read so far, as published documents.
pub(super) struct WholeNetwork {
    pub(super) network: Network,
    /// The order of the network's own fields.
    pub(super) own: Option<Order>,
    /// The order of the bundle set.
    pub(super) set: Option<Order>,
    /// The newest order of the network and its bundles.
    pub(super) newest: Option<Order>,
    pub(super) bundles: Vec<(String, Option<Order>)>,
}

impl WholeNetwork {
    /// The beginning of its record: its own fields.
    fn fields(&self) -> String {
        let network = &self.network;
        let record = json!({
            "kind": "network",
            "id": network.id,
            "name": network.name,
            "country": network.country,
            "country_code": network.country_code,
            "currency": network.currency,
            "logo_url": network.logo_url,
        });
        let mut text = record.to_string();
        text.pop();
        // As text, not as values, so that amounts keep their digits.
        let own = [
            ("custom_airtime", serde_json::to_string(&network.custom_airtime)),
            ("sms_notification", serde_json::to_string(&network.sms_notification)),
        ];
        for (name, value) in own {
            let _ = write!(text, ",\"{name}\":{}", value.unwrap_or_default());
        }
        text
    }

    /// The record with all bundles, whatever its size.
    pub(super) fn record(&self) -> String {
        let documents: Vec<&str> =
            self.bundles.iter().map(|(document, _)| document.as_str()).collect();
        let updated_at = member(self.newest.map(Order::time));
        format!("{}{updated_at},\"fixed_bundles\":[{}]}}", self.fields(), documents.join(","))
    }

    fn finish(self, records: &mut Vec<String>) {
        let text = self.fields();
        let bytes: usize = self.bundles.iter().map(|(bundle, _)| bundle.len() + 1).sum();
        if text.len() + bytes + 64 <= MAX_LINE_BYTES {
            records.push(self.record());
        } else {
            // They do not fit into one line: each bundle gets a record of its own.
            records.push(format!("{text}{}}}", member(self.own.map(Order::time))));
            let bundles = self.bundles.iter();
            records.extend(bundles.map(|(document, order)| {
                bundle(self.network.id, document, (*order).max(self.set))
            }));
        }
    }
}
