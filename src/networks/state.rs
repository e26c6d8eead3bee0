//! A network with its bundles as stored, and how records change it.
//!
//! An incremental import reads what is stored, applies records to it here, and writes the difference. The
//! stored state itself is compared, not a hash of a record. So the next import repairs a bundle that was
//! changed alone, and an import that was interrupted.
//!
//! The network's own fields and each bundle have their own order. A record that carries all bundles sets the
//! order of the bundle set. That order applies to all bundles, stored or not, so bundles that are missing
//! from the record need no tombstones.

use std::collections::BTreeMap;

use super::{Bundle, BundleId, Network};
use crate::{order::Order, outcome::Outcome};

/// A stored bundle, or its tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBundle {
    /// The bundle; `None` for a tombstone.
    pub bundle: Option<Bundle>,
    /// The order of the write; `None` if it was written before writes had one.
    pub order: Option<Order>,
}

/// What is stored of one network: its own item, and bundles. If only some bundles were requested, the state
/// has only those.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkState {
    /// How often the network or any of its bundles was written; `None` if never since writes have been
    /// counted.
    pub revision: Option<u64>,
    /// The network; `None` if only bundles, or the order of its delete, are stored.
    pub network: Option<Network>,
    /// The order of the network's own fields.
    pub order: Option<Order>,
    /// The order of the bundle set: that of the newest record that carried all bundles.
    pub set_order: Option<Order>,
    /// The number of its bundles.
    pub product_count: i64,
    /// Those of its bundles that were read.
    pub bundles: BTreeMap<BundleId, StoredBundle>,
}

/// The change that a record makes to a network.
#[derive(Clone, Debug)]
pub enum NetworkChange {
    /// Store the network. With `bundles`, these are all its bundles: others are deleted.
    Network {
        network: Box<Network>,
        /// All its bundles, if the record carries them.
        bundles: Option<Vec<Bundle>>,
    },
    /// Remove the network with its bundles.
    DeleteNetwork,
    Bundle(Box<Bundle>),
    DeleteBundle(BundleId),
}

impl NetworkChange {
    /// Whether all bundles must be known to apply it.
    #[must_use]
    pub fn needs_all_bundles(&self) -> bool {
        matches!(self, Self::Network { bundles: Some(_), .. } | Self::DeleteNetwork)
    }

    #[must_use]
    pub fn is_delete(&self) -> bool {
        matches!(self, Self::DeleteNetwork | Self::DeleteBundle(_))
    }

    /// The bundle, if it is about a single one.
    #[must_use]
    pub fn bundle(&self) -> Option<BundleId> {
        match self {
            Self::Bundle(bundle) => Some(bundle.id),
            Self::DeleteBundle(id) => Some(*id),
            Self::Network { .. } | Self::DeleteNetwork => None,
        }
    }
}

impl NetworkState {
    /// Applies the change of a record with this order.
    pub fn apply(&mut self, change: NetworkChange, order: Order) -> Outcome {
        match change {
            NetworkChange::Network { network, bundles } => {
                self.put_network(*network, bundles, order)
            }
            NetworkChange::DeleteNetwork => self.delete_network(order),
            NetworkChange::Bundle(bundle) => self.put_bundle(*bundle, order),
            NetworkChange::DeleteBundle(id) => self.delete_bundle(id, order),
        }
    }

    /// The bundles that exist, without tombstones.
    pub fn visible_bundles(&self) -> impl Iterator<Item = &Bundle> {
        self.bundles.values().filter_map(|stored| stored.bundle.as_ref())
    }

    fn put_network(
        &mut self,
        network: Network,
        bundles: Option<Vec<Bundle>>,
        order: Order,
    ) -> Outcome {
        let equal = self.network.as_ref() == Some(&network)
            && bundles.as_ref().is_none_or(|bundles| self.has_exactly(bundles));
        if equal {
            return Outcome::Unchanged;
        }
        let own_applies = self.order <= Some(order);
        let set = bundles.filter(|_| self.set_order <= Some(order));
        if !own_applies && set.is_none() {
            return Outcome::Stale;
        }
        let (mut created, mut changed) = (false, false);
        if own_applies {
            created = self.network.is_none();
            changed = self.network.as_ref() != Some(&network);
            (self.network, self.order) = (Some(network), Some(order));
        }
        if let Some(bundles) = set {
            let before = self.bundles.clone();
            self.replace_bundles(bundles, order);
            changed |= self.bundles != before;
        }
        match (created, changed) {
            (true, _) => Outcome::Created,
            (false, true) => Outcome::Updated,
            (false, false) => Outcome::Unchanged,
        }
    }

    fn has_exactly(&self, bundles: &[Bundle]) -> bool {
        let stored = |bundle: &Bundle| {
            self.bundles.get(&bundle.id).and_then(|stored| stored.bundle.as_ref()) == Some(bundle)
        };
        // The ids in a record were checked to be distinct.
        self.visible_bundles().count() == bundles.len() && bundles.iter().all(stored)
    }

    /// Replaces all bundles except newer ones. The order of the set applies to each of them: a bundle that
    /// stays the same is not written, and keeps the order of the write that changed it.
    fn replace_bundles(&mut self, bundles: Vec<Bundle>, order: Order) {
        self.set_order = Some(order);
        let mut named: BTreeMap<BundleId, Bundle> =
            bundles.into_iter().map(|bundle| (bundle.id, bundle)).collect();
        self.bundles.retain(|id, stored| {
            let named = named.remove(id);
            if stored.order > Some(order) {
                return true;
            }
            match named {
                Some(bundle) if stored.bundle.as_ref() == Some(&bundle) => true,
                Some(bundle) => {
                    *stored = StoredBundle { bundle: Some(bundle), order: Some(order) };
                    true
                }
                // A tombstone expires by itself.
                None => stored.bundle.is_none(),
            }
        });
        let added = named
            .into_iter()
            .map(|(id, bundle)| (id, StoredBundle { bundle: Some(bundle), order: Some(order) }));
        self.bundles.extend(added);
    }

    fn delete_network(&mut self, order: Order) -> Outcome {
        let (own_applies, set_applies) = (self.order <= Some(order), self.set_order <= Some(order));
        if !own_applies && !set_applies {
            return Outcome::Stale;
        }
        let before = (self.network.is_some(), self.visible_bundles().count());
        if own_applies {
            (self.network, self.order) = (None, Some(order));
        }
        if set_applies {
            self.replace_bundles(Vec::new(), order);
        }
        let after = (self.network.is_some(), self.visible_bundles().count());
        if before == after { Outcome::Unchanged } else { Outcome::Deleted }
    }

    /// The order that a record of this bundle must not be older than.
    fn order_of(&self, id: BundleId) -> Option<Order> {
        self.bundles.get(&id).and_then(|stored| stored.order).max(self.set_order)
    }

    fn put_bundle(&mut self, bundle: Bundle, order: Order) -> Outcome {
        let id = bundle.id;
        let stored = self.bundles.get(&id).and_then(|stored| stored.bundle.as_ref());
        let outcome = match stored {
            Some(stored) if *stored == bundle => return Outcome::Unchanged,
            _ if self.order_of(id) > Some(order) => return Outcome::Stale,
            Some(_) => Outcome::Updated,
            None => Outcome::Created,
        };
        self.bundles.insert(id, StoredBundle { bundle: Some(bundle), order: Some(order) });
        outcome
    }

    fn delete_bundle(&mut self, id: BundleId, order: Order) -> Outcome {
        if self.order_of(id) > Some(order) {
            return Outcome::Stale;
        }
        let deleted = StoredBundle { bundle: None, order: Some(order) };
        match self.bundles.insert(id, deleted) {
            Some(StoredBundle { bundle: Some(_), .. }) => Outcome::Deleted,
            _ => Outcome::Unchanged,
        }
    }
}

#[cfg(test)]
mod tests;
