//! What imports read and write of networks, and a network as lists show it.

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
};

use serde::Serialize;

use super::{BundleId, NetworkId, NetworkState, StoredBundle};
use crate::{account::AccountId, geography::Country, money::Currency, outcome::WriteError};

/// A network as lists show it: the published object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ListedNetwork {
    /// Its identity.
    pub id: NetworkId,
    /// The operator's name.
    pub name: String,
    /// The country's name.
    pub country: String,
    /// The country.
    pub country_code: Country,
    /// The local currency.
    pub currency: Currency,
    /// A picture.
    pub logo_url: Option<String>,
    /// How many fixed bundles it has.
    pub product_count: u32,
    /// Whether airtime of any amount can be bought.
    pub supports_custom_airtime: bool,
}

/// What to read of a network before records change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkKeys {
    /// The network and all its bundles.
    All,
    /// The network and these bundles.
    Bundles(BTreeSet<BundleId>),
}

/// The writes that turn one stored state of a network into another. All have the condition that the network's
/// revision is the one that was read.
#[derive(Clone, Debug)]
pub struct NetworkChanges {
    pub id: NetworkId,
    /// The state that was read.
    pub before: NetworkState,
    /// The state to store; of the bundles, it has only those that were read.
    pub after: NetworkState,
    /// Bundles to write, tombstones included.
    pub put: Vec<(BundleId, StoredBundle)>,
    /// Bundles to remove without a tombstone.
    pub delete: Vec<BundleId>,
}

impl NetworkChanges {
    /// The difference between two states of a network; `None` if they are equal.
    #[must_use]
    pub fn between(
        id: NetworkId,
        keys: &NetworkKeys,
        before: NetworkState,
        mut after: NetworkState,
    ) -> Option<Self> {
        let put: Vec<_> = after
            .bundles
            .iter()
            .filter(|(id, bundle)| before.bundles.get(id) != Some(bundle))
            .map(|(id, bundle)| (*id, bundle.clone()))
            .collect();
        let removed = before.bundles.keys().filter(|id| !after.bundles.contains_key(id));
        let delete: Vec<BundleId> = removed.copied().collect();
        let count = |state: &NetworkState| {
            i64::try_from(state.visible_bundles().count()).unwrap_or(i64::MAX)
        };
        after.product_count = match keys {
            // Whatever the stored count was.
            NetworkKeys::All => count(&after),
            NetworkKeys::Bundles(_) => before.product_count + count(&after) - count(&before),
        };
        let own_equal = before.network == after.network
            && before.product_count == after.product_count
            && (before.order, before.set_order) == (after.order, after.set_order);
        if own_equal && put.is_empty() && delete.is_empty() {
            return None;
        }
        Some(Self { id, before, after, put, delete })
    }
}

/// Access pattern of imports: networks with their bundles, read and changed.
pub trait NetworkPartitions: Sync {
    /// An error that ends the import.
    type Error: Send;

    /// The stored states of these networks, in their order, read consistently.
    fn network_states(
        &self,
        account: &AccountId,
        wanted: &[(NetworkId, NetworkKeys)],
    ) -> impl Future<Output = Result<Vec<NetworkState>, Self::Error>> + Send;

    /// Makes the changes. Returns the networks that were not stored, or only in part, with the reasons.
    fn change_networks(
        &self,
        account: &AccountId,
        changes: Vec<NetworkChanges>,
    ) -> impl Future<Output = Result<HashMap<NetworkId, WriteError>, Self::Error>> + Send;
}
