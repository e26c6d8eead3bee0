//! What `catalog export` reads: all records of an account, which recreate the same catalog when imported. Also the
//! records that a snapshot may remove. Export jobs read in `exports.rs`.

use super::{
    Store, StoreError,
    item::{Item, ORDER, is_record, offering, order_of, text},
    kinds::Place,
    networks::{Part, part},
    products::product_of,
    records::{bundle, exported, open_network, updated_at_member},
};
use crate::{
    account::AccountId,
    imports::{
        Kind, MAX_LINE_BYTES,
        existing::{Existing, ExistingRecord},
    },
    networks::Network,
    offerings::Status,
    order::Order,
    products::StoredProduct,
};

/// Reads the records of one kind, a page at a time. Networks and bundles share a key range: a reader of networks reads
/// their bundles, too.
pub struct RecordReader<'a> {
    store: &'a Store,
    account: &'a AccountId,
    kind: Kind,
    start: Option<Item>,
    ended: bool,
    /// The network whose bundles are being read.
    network: Option<NetworkWithBundles>,
    /// Whether bundles have records of their own.
    bundles_apart: bool,
}

impl<'a> RecordReader<'a> {
    /// What to read for a whole catalog: bundles are read with their networks.
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
        let (start, network, bundles_apart) = (None, None, kind == Kind::Bundle);
        Self { store, account, kind, start, ended: false, network, bundles_apart }
    }

    /// Reads the same, but each bundle is a record of its own, as in the journal of changes.
    #[must_use]
    pub fn with_bundles_apart(self) -> Self {
        Self { bundles_apart: true, ..self }
    }

    /// The records of the next page, as JSON: perhaps none. `None` after the last page.
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
            Kind::Network if !self.bundles_apart => match part(OPERATION, item)? {
                Part::Network(network, own, set) => {
                    let next = NetworkWithBundles {
                        network: *network,
                        own,
                        newest: own.max(set),
                        bundles: Vec::new(),
                    };
                    if let Some(before) = self.network.replace(next) {
                        before.finish(records);
                    }
                }
                Part::Bundle(id, _, document, order) => match (&mut self.network, document) {
                    (Some(whole), document) if whole.network.id == id => {
                        whole.newest = whole.newest.max(order);
                        whole.bundles.extend(document.map(|document| (document, order)));
                    }
                    // The network of this bundle is not stored.
                    (_, Some(document)) => records.push(bundle(id, &document, order)),
                    (_, None) => {}
                },
                // A network that is not stored has no record.
                Part::AbsentNetwork { .. } => {}
            },
            _ => {
                let record = exported(OPERATION, self.store.place(self.kind), item)?;
                // A query for bundles reads networks, too: only bundles are kept. One for networks keeps both.
                let record = record.filter(|record| {
                    self.kind != Kind::Bundle || record.identity.kind == self.kind
                });
                records.extend(record.map(|record| record.json));
            }
        }
        Ok(())
    }
}

impl Store {
    /// A page of the items of a kind, read consistently, and where the next page begins.
    pub(super) async fn items_of_kind(
        &self,
        operation: &'static str,
        account: &AccountId,
        kind: Kind,
        start: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>), StoreError> {
        let place = self.place(kind);
        let query = |condition| self.query_of(account, place.table, condition);
        let query = match place.prefix {
            "" => query("account = :account"),
            prefix => query("account = :account AND begins_with(#key, :prefix)")
                .expression_attribute_names("#key", place.range_key)
                .expression_attribute_values(":prefix", text(prefix)),
        };
        let query = query.consistent_read(true).set_exclusive_start_key(start);
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
            // A network that is not stored, but some of whose bundles are: they are removed, too.
            Part::AbsentNetwork { id, bundles: 1.. } => Existing::Network(id),
            Part::Bundle(..) | Part::AbsentNetwork { .. } => return Ok(None),
        },
        _ if !is_record(&item) => return Ok(None),
        Kind::Offering => {
            let row = offering(operation, item)?;
            if row.status == Status::Archived {
                return Ok(None);
            }
            Existing::Offering(Box::new(row))
        }
        // The other documents.
        _ => Existing::Document(place.document_key_of(operation, &item)?),
    };
    Ok(Some(ExistingRecord { what, order }))
}

const OPERATION: &str = "export";

/// A network, and the published JSON of its bundles; in an export, of those read so far.
pub(super) struct NetworkWithBundles {
    pub(super) network: Network,
    /// The order of the network's own fields.
    pub(super) own: Option<Order>,
    /// The newest order of the network and its bundles.
    pub(super) newest: Option<Order>,
    pub(super) bundles: Vec<(String, Option<Order>)>,
}

impl NetworkWithBundles {
    /// The record with all bundles, whatever its size.
    pub(super) fn record(&self) -> String {
        let documents: Vec<&str> =
            self.bundles.iter().map(|(document, _)| document.as_str()).collect();
        let (text, updated_at) =
            (open_network(&self.network), updated_at_member(self.newest.map(Order::time)));
        format!("{text}{updated_at},\"fixed_bundles\":[{}]}}", documents.join(","))
    }

    fn finish(self, records: &mut Vec<String>) {
        let record = self.record();
        if record.len() <= MAX_LINE_BYTES {
            records.push(record);
        } else {
            // The network and its bundles do not fit into one line: each bundle gets a record of its own.
            let (text, updated_at) =
                (open_network(&self.network), updated_at_member(self.own.map(Order::time)));
            records.push(format!("{text}{updated_at}}}"));
            let bundles = self.bundles.iter();
            records
                .extend(bundles.map(|(document, order)| bundle(self.network.id, document, *order)));
        }
    }
}
