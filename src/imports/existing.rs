//! What is stored and may be missing from a snapshot, and the records that remove it.

use super::{
    Content, DocumentKey, DocumentRecord, NetworkRecord, Operation, Ordered, ProductRecord, Record,
    record::identities_of_product,
};
use crate::{
    networks::{NetworkChange, NetworkId},
    offerings::{PreparedOffering, StoredOffering},
    order::Order,
    products::Product,
};

/// A stored record that a snapshot of its kind may remove.
#[derive(Clone, Debug)]
pub struct ExistingRecord {
    pub what: Existing,
    /// The order of its newest write, of a network that of its own fields; `None`: no such order is stored. Then it is
    /// older than any snapshot.
    pub order: Option<Order>,
}

/// What a snapshot may remove, with what its removal needs to know of it.
#[derive(Clone, Debug)]
pub enum Existing {
    /// An offering that is not archived yet.
    Offering(Box<StoredOffering>),
    /// A promotion, a partner offering or an exchange rate.
    Document(DocumentKey),
    /// A network with its bundles, or bundles whose network is not stored.
    Network(NetworkId),
    Product(Box<Product>),
}

impl ExistingRecord {
    /// Its identities.
    pub(super) fn identities(&self) -> Vec<String> {
        match &self.what {
            Existing::Offering(row) => vec![row.id.to_string()],
            Existing::Document(key) => vec![key.identity()],
            Existing::Network(id) => vec![id.to_string()],
            Existing::Product(product) => identities_of_product(product),
        }
    }

    /// The record that removes it, with the snapshot's order; an offering is archived instead. `None` if the stored
    /// offering's document cannot be read.
    pub(super) fn removal(self, order: Order) -> Option<Ordered<Record>> {
        let record = match self.what {
            Existing::Offering(row) => {
                let offering = PreparedOffering::archived(*row)?;
                let key = DocumentKey::Offering(offering.id().clone());
                let operation = Operation::Upsert(Content::Offering(Box::new(offering)));
                Record::Document(DocumentRecord { key, operation })
            }
            Existing::Document(key) => {
                Record::Document(DocumentRecord { key, operation: Operation::Delete })
            }
            Existing::Network(network) => {
                Record::Network(NetworkRecord { network, change: NetworkChange::DeleteNetwork })
            }
            Existing::Product(product) => Record::Product(ProductRecord::Purge(product.key())),
        };
        Some(Ordered { line: 0, order, record })
    }
}
