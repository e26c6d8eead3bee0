//! A network with its bundles as stored, and what records change of it.
//!
//! A difference import reads what is stored, lets records change it here, and writes the difference.
//! What is compared is the stored state itself and no hash of a record, so a re-import that was
//! killed halfway, or a bundle that was changed on its own meanwhile, is mended by the next import.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Bundle, BundleId, Network};

/// A value and the latest time its sources gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// What is stored.
    pub value: T,
    /// When its source last changed it, where a record said so.
    pub source_updated_at: Option<Timestamp>,
}

impl<T> Versioned<T> {
    /// Is a record of this time older than what is stored?
    fn outdates(&self, source: Option<Timestamp>) -> bool {
        self.source_updated_at.zip(source).is_some_and(|(stored, record)| stored > record)
    }
}

/// A network's own item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredNetwork {
    /// The network.
    pub network: Network,
    /// The latest source's time of a record that carried the bundles whole: it counts for each bundle,
    /// and for those that are not there.
    pub whole_at: Option<Timestamp>,
}

/// What is stored of one network: its own item, and bundles. A state that was read in part knows
/// only the bundles that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkState {
    /// The network's own item; bundles may be there before it.
    pub network: Option<Versioned<StoredNetwork>>,
    /// How many bundles the network's item counts.
    pub product_count: i64,
    /// Its bundles, as far as they were read.
    pub bundles: BTreeMap<BundleId, Versioned<Bundle>>,
}

/// What a record wants of a network.
#[derive(Clone, Debug)]
pub enum Change {
    /// Store the network, and with `bundles` all its bundles: those not named go.
    Network {
        /// The network.
        network: Box<Network>,
        /// Its bundles whole, where the record carries them.
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

/// What a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// New.
    Created,
    /// Changed.
    Updated,
    /// Nothing to do.
    Unchanged,
    /// The record is older than what is stored.
    Stale,
    /// Gone.
    Deleted,
}

impl NetworkState {
    /// Does what a record of this source time wants.
    pub fn apply(&mut self, change: Change, source: Option<Timestamp>) -> Effect {
        match change {
            Change::Network { network, bundles } => {
                if self.network.as_ref().is_some_and(|stored| stored.outdates(source)) {
                    return Effect::Stale;
                }
                let known = self.whole_at();
                let whole_at = if bundles.is_some() { known.max(source) } else { known };
                let stored = StoredNetwork { network: *network, whole_at };
                let own = put(&mut self.network, stored, source);
                let bundles_changed = bundles.is_some_and(|all| self.replace_bundles(all, source));
                match own {
                    Effect::Unchanged if bundles_changed => Effect::Updated,
                    effect => effect,
                }
            }
            Change::DeleteNetwork => {
                if self.network.as_ref().is_some_and(|stored| stored.outdates(source)) {
                    return Effect::Stale;
                }
                let there = self.network.is_some() || !self.bundles.is_empty();
                self.network = None;
                self.bundles.retain(|_, bundle| bundle.outdates(source));
                if there { Effect::Deleted } else { Effect::Unchanged }
            }
            Change::Bundle(bundle) => self.put_bundle(*bundle, source),
            Change::DeleteBundle(id) => match self.bundles.get(&id) {
                None => Effect::Unchanged,
                Some(stored) if stored.outdates(source) => Effect::Stale,
                Some(_) if self.whole_outdates(source) => Effect::Stale,
                Some(_) => {
                    self.bundles.remove(&id);
                    Effect::Deleted
                }
            },
        }
    }

    fn whole_at(&self) -> Option<Timestamp> {
        self.network.as_ref().and_then(|stored| stored.value.whole_at)
    }

    /// Is a bundle's record of this time older than the last that carried all of them?
    fn whole_outdates(&self, source: Option<Timestamp>) -> bool {
        self.whole_at().zip(source).is_some_and(|(whole, record)| whole > record)
    }

    fn put_bundle(&mut self, bundle: Bundle, source: Option<Timestamp>) -> Effect {
        let id = bundle.id;
        if self.whole_outdates(source) {
            return Effect::Stale;
        }
        let mut place = self.bundles.remove(&id);
        let effect = if place.as_ref().is_some_and(|stored| stored.outdates(source)) {
            Effect::Stale
        } else {
            put(&mut place, bundle, source)
        };
        if let Some(bundle) = place {
            self.bundles.insert(id, bundle);
        }
        effect
    }

    /// Makes these all the bundles there are, but for those that are younger than the record. Their
    /// time is the network's: a bundle that stays the same is not written.
    fn replace_bundles(&mut self, bundles: Vec<Bundle>, source: Option<Timestamp>) -> bool {
        let named: BTreeSet<BundleId> = bundles.iter().map(|bundle| bundle.id).collect();
        let before = self.bundles.len();
        self.bundles.retain(|id, stored| named.contains(id) || stored.outdates(source));
        let mut changed = self.bundles.len() < before;
        for bundle in bundles {
            let id = bundle.id;
            match self.bundles.get(&id) {
                Some(stored) if stored.outdates(source) || stored.value == bundle => {}
                _ => {
                    let bundle = Versioned { value: bundle, source_updated_at: None };
                    self.bundles.insert(id, bundle);
                    changed = true;
                }
            }
        }
        changed
    }
}

fn put<T: PartialEq>(
    place: &mut Option<Versioned<T>>,
    value: T,
    source: Option<Timestamp>,
) -> Effect {
    match place {
        // A younger record of the same content moves the time that outdates others.
        Some(stored) if stored.value == value && source <= stored.source_updated_at => {
            Effect::Unchanged
        }
        Some(stored) => {
            // A record without a time leaves the time known in force.
            let source_updated_at = source.or(stored.source_updated_at);
            *stored = Versioned { value, source_updated_at };
            Effect::Updated
        }
        None => {
            *place = Some(Versioned { value, source_updated_at: source });
            Effect::Created
        }
    }
}
