//! Full snapshots: a source that is the whole of a kind; records missing from it are deleted, offerings
//! archived.
//!
//! Only after the source was read to its end, only when every line of it tells what it names, and never
//! more than a share of what is stored: a file cut short where it comes from does not empty a catalog.
//! Only what is older than the snapshot is removed; what was written since stays.

use std::collections::HashSet;

use super::{
    Content, DocumentRecord, Key, Kind, NetworkRecord, Operation, Ordered, ProductRecord, Record,
    job::ImportId,
    record::{names_of_product, record_names},
};
use crate::{
    networks::{Change, NetworkId},
    offerings::{OfferingRow, PreparedOffering},
    order::Order,
    products::Product,
    source::{Group, Line},
    text::sha256_prefix,
};

/// The share of what is stored that may be removed unless another one is given.
pub const DEFAULT_SHARE: f64 = 0.5;

/// Parses the share of what is stored that may be removed: 0 to 1.
#[must_use]
pub fn parse_share(text: &str) -> Option<f64> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share))
}

/// The identities that a source names of a kind.
#[derive(Clone, Debug)]
struct SeenKeys {
    /// Hashes: a few bytes each, however long an identity is.
    names: HashSet<[u8; 16]>,
    /// Lines that do not tell what they name.
    unreadable: u64,
}

/// A snapshot under way.
#[derive(Clone, Debug)]
pub struct Snapshot {
    kind: Kind,
    share: f64,
    seen: SeenKeys,
    begun: Option<(ImportId, Order)>,
}

impl Snapshot {
    /// The snapshot of a kind that may remove at most this share of what is stored.
    #[must_use]
    pub fn new(kind: Kind, share: f64) -> Self {
        let seen = SeenKeys { names: HashSet::new(), unreadable: 0 };
        Self { kind, share, seen, begun: None }
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The import that began it, and its order.
    #[must_use]
    pub fn begun(&self) -> Option<(&ImportId, Order)> {
        self.begun.as_ref().map(|(import, order)| (import, *order))
    }

    /// Begins it, unless an earlier file of the same snapshot did.
    pub(super) fn begin(&mut self, import: &ImportId, order: Order) -> Order {
        self.begun.get_or_insert_with(|| (import.clone(), order)).1
    }

    /// Notes what the lines of a group name, whether or not the rest of a record is right.
    pub(super) fn note_group(&mut self, group: Option<&Group>) {
        if let Some(Group::Lines(lines)) = group {
            for line in lines {
                self.note(line);
            }
        }
    }

    fn note(&mut self, (_, line): &Line) {
        let record = line.as_ref().map_or_else(|rejected| rejected.record.as_ref(), Some);
        match record.and_then(|record| record_names(record)) {
            // A record without a name of its own names what nobody could find again.
            Some((kind, names)) if kind == self.kind && names.is_empty() => {
                self.seen.unreadable += 1;
            }
            Some((kind, names)) if kind == self.kind => {
                self.seen.names.extend(names.iter().map(sha256_prefix));
            }
            Some(_) => {}
            None => self.seen.unreadable += 1,
        }
    }

    /// Whether this record must go: it is older than the snapshot, which does not name it.
    pub(super) fn removes(&self, existing: &ExistingRecord) -> bool {
        existing.order < self.begun.as_ref().map(|(_, order)| *order) && !self.names(existing)
    }

    /// Whether older parts of a newer record must go: bundles of a network that was written since.
    pub(super) fn reaches_into(&self, existing: &ExistingRecord) -> bool {
        matches!(existing.what, Existing::Network(_)) && !self.names(existing)
    }

    fn names(&self, existing: &ExistingRecord) -> bool {
        existing.names().iter().any(|name| self.seen.names.contains(&sha256_prefix(name)))
    }

    /// Why nothing may be removed, given how many of the stored records it does not name.
    pub(super) fn objection(&self, unnamed: u64, stored: u64) -> Option<String> {
        let Self { kind, share, seen, .. } = self;
        if seen.unreadable > 0 {
            let lines = seen.unreadable;
            return Some(format!("nothing was removed: {lines} lines do not tell what they name"));
        }
        #[allow(clippy::cast_precision_loss, reason = "a share needs no last digit")]
        let too_many = unnamed as f64 > stored as f64 * share;
        too_many.then(|| {
            format!(
                "nothing was removed: {unnamed} of {stored} records of kind {kind} are not named, more than \
                 the share of {share} that may be removed"
            )
        })
    }
}

/// A stored record that a snapshot of its kind may remove.
#[derive(Clone, Debug)]
pub struct ExistingRecord {
    /// What it is.
    pub what: Existing,
    /// The order of its newest write.
    pub order: Option<Order>,
}

/// What a stored record is.
#[derive(Clone, Debug)]
pub enum Existing {
    /// An offering that is not archived yet.
    Offering(Box<OfferingRow>),
    /// A promotion, a partner offering or an exchange rate.
    Document(Key),
    /// A network.
    Network(NetworkId),
    /// A product.
    Product(Box<Product>),
}

impl ExistingRecord {
    fn names(&self) -> Vec<String> {
        match &self.what {
            Existing::Offering(row) => vec![row.id.to_string()],
            Existing::Document(key) => vec![key.name()],
            Existing::Network(id) => vec![id.to_string()],
            Existing::Product(product) => names_of_product(product),
        }
    }

    /// The record that removes it, at the order of the snapshot; `None` if it cannot be read.
    pub(super) fn removal(self, order: Order) -> Option<Ordered<Record>> {
        let record = match self.what {
            Existing::Offering(row) => {
                let offering = PreparedOffering::archived(*row)?;
                let key = Key::Offering(offering.id().clone());
                let operation = Operation::Upsert(Content::Offering(Box::new(offering)));
                Record::Document(DocumentRecord { key, operation })
            }
            Existing::Document(key) => {
                Record::Document(DocumentRecord { key, operation: Operation::Delete })
            }
            Existing::Network(network) => {
                Record::Network(NetworkRecord { network, change: Change::DeleteNetwork })
            }
            Existing::Product(product) => Record::Product(ProductRecord::Purge(product.key())),
        };
        Some(Ordered { line: 0, order, record })
    }
}
