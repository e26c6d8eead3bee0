//! A network with its bundles as stored, and what records change of it.
//!
//! An incremental import reads what is stored, lets records change it here, and writes the difference.
//! The stored state itself is compared, not a hash of a record. So a bundle that was changed alone, or a
//! re-import that was cut off halfway, is mended by the next import.
//!
//! The network's own fields and each bundle have an order of their own. A record that carries all bundles
//! sets the order of the set: it counts for every bundle, stored or not, and so no bundle that it left
//! out needs to be remembered.

use std::collections::BTreeMap;

use super::{Bundle, BundleId, Network};
use crate::{imports::Outcome, order::Order};

/// A stored bundle. Without a bundle it was deleted, and only its order is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBundle {
    /// The bundle.
    pub bundle: Option<Bundle>,
    /// The order of the write; `None`: that of the set counts, or it was written before writes had one.
    pub order: Option<Order>,
}

/// What is stored of one network: its own item, and bundles. A state that was read in part has only the
/// bundles that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkState {
    /// How often the network or any of its bundles was written; `None`: never since writes are counted.
    pub revision: Option<u64>,
    /// The network. Bundles may be stored before it, and its order when it is deleted.
    pub network: Option<Network>,
    /// The order of the network's own fields.
    pub order: Option<Order>,
    /// The order of the newest record that carried all bundles.
    pub set_order: Option<Order>,
    /// How many bundles there are.
    pub product_count: i64,
    /// Its bundles, as far as they were read.
    pub bundles: BTreeMap<BundleId, StoredBundle>,
}

/// What a record wants of a network.
#[derive(Clone, Debug)]
pub enum Change {
    /// Store the network, and with `bundles` all its bundles: those it does not name are deleted.
    Network {
        /// The network.
        network: Box<Network>,
        /// All its bundles, where the record carries them.
        bundles: Option<Vec<Bundle>>,
    },
    /// Remove the network with its bundles.
    DeleteNetwork,
    /// Store one bundle.
    Bundle(Box<Bundle>),
    /// Remove one bundle.
    DeleteBundle(BundleId),
}

impl Change {
    /// Can it only be done knowing every bundle?
    #[must_use]
    pub fn needs_all_bundles(&self) -> bool {
        matches!(self, Self::Network { bundles: Some(_), .. } | Self::DeleteNetwork)
    }

    /// Does it remove a network or a bundle?
    #[must_use]
    pub fn is_delete(&self) -> bool {
        matches!(self, Self::DeleteNetwork | Self::DeleteBundle(_))
    }

    /// The one bundle it is about.
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
    /// Does what a record of this order wants.
    pub fn apply(&mut self, change: Change, order: Order) -> Outcome {
        match change {
            Change::Network { network, bundles } => self.put_network(*network, bundles, order),
            Change::DeleteNetwork => self.delete_network(order),
            Change::Bundle(bundle) => self.put_bundle(*bundle, order),
            Change::DeleteBundle(id) => self.delete_bundle(id, order),
        }
    }

    /// The bundles that are there, without those that are only remembered.
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
        // The ids of a record's bundles are checked to be distinct.
        self.visible_bundles().count() == bundles.len() && bundles.iter().all(stored)
    }

    /// Makes these all the bundles there are, but for those that are newer. The order of the set counts
    /// for each: a bundle that stays the same is not written, and one that is written has no other.
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
                    *stored = StoredBundle { bundle: Some(bundle), order: None };
                    true
                }
                // What is only remembered ends by itself.
                None => stored.bundle.is_none(),
            }
        });
        let added = named
            .into_iter()
            .map(|(id, bundle)| (id, StoredBundle { bundle: Some(bundle), order: None }));
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
