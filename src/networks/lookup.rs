//! What must be stored and found of networks, an access pattern a trait.

use std::{collections::BTreeSet, future::Future};

use serde::Serialize;

use super::{
    Bundle, BundleId, CurrencyPair, ExchangeRate, Network, NetworkId, NetworkState, StoredNetwork,
    Versioned,
};
use crate::{
    account::AccountId,
    cost::{Read, ReadCost},
    geography::Country,
    money::Currency,
    refusal::NotTaken,
};

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

/// Access pattern: a network with all its bundles.
pub trait NetworkProducts: Sync {
    /// What can go wrong below.
    type Error: Send;

    /// The network, and the published documents of its bundles by id; `None`: no such network.
    fn network_products(
        &self,
        account: &AccountId,
        id: NetworkId,
        cost: &mut ReadCost,
    ) -> impl Future<Output = Result<Option<(Network, Vec<String>)>, Self::Error>> + Send;
}

/// Access pattern: one exchange rate.
pub trait RateLookup: Sync {
    /// What can go wrong below.
    type Error: Send;

    /// The rate of a pair.
    fn rate(
        &self,
        account: &AccountId,
        pair: CurrencyPair,
    ) -> impl Future<Output = Result<Read<Option<ExchangeRate>>, Self::Error>> + Send;
}

/// Access pattern: the networks of an account, or of one country.
pub trait NetworkLists: Sync {
    /// What can go wrong below.
    type Error: Send;

    /// The networks by country code, then id.
    fn networks(
        &self,
        account: &AccountId,
        country: Option<Country>,
        cost: &mut ReadCost,
    ) -> impl Future<Output = Result<Vec<ListedNetwork>, Self::Error>> + Send;
}

/// What to read of a network before records change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkKeys {
    /// The network and every bundle.
    All,
    /// The network and these bundles.
    Bundles(BTreeSet<BundleId>),
}

/// How to bring what is stored of a network from one state to another.
#[derive(Clone, Debug)]
pub struct NetworkChanges {
    /// Which network.
    pub id: NetworkId,
    /// The network's own item.
    pub network: NetworkWrites,
    /// Bundles to put, and whether one of that id is stored.
    pub put: Vec<(Versioned<Bundle>, bool)>,
    /// Bundles to remove.
    pub delete: Vec<BundleId>,
}

/// What to do with a network's own item.
#[derive(Clone, Debug)]
pub enum NetworkWrites {
    /// Nothing but to count bundles that come and go.
    Count,
    /// Store the network and count bundles that come and go.
    Store(Box<Versioned<StoredNetwork>>),
    /// Store the network with this many bundles: all are known.
    StoreCounted(Box<Versioned<StoredNetwork>>, u32),
    /// Remove it.
    Delete,
    /// There is no network, and this many bundles that wait for one.
    CountOnly(u32),
    /// Every bundle is known, and the item is as it should be.
    Keep,
}

impl NetworkChanges {
    /// The difference between two states of a network; `None` when there is none.
    #[must_use]
    pub fn between(
        id: NetworkId,
        keys: &NetworkKeys,
        before: &NetworkState,
        after: &NetworkState,
    ) -> Option<Self> {
        let put: Vec<_> = after
            .bundles
            .iter()
            .filter(|(id, bundle)| before.bundles.get(id) != Some(bundle))
            .map(|(id, bundle)| (bundle.clone(), before.bundles.contains_key(id)))
            .collect();
        let gone = before.bundles.keys().filter(|id| !after.bundles.contains_key(id));
        let delete: Vec<BundleId> = gone.copied().collect();
        let own_change = before.network != after.network;
        let network = match (keys, &after.network) {
            (NetworkKeys::All, Some(network)) => {
                let count = u32::try_from(after.bundles.len()).unwrap_or(u32::MAX);
                if own_change || before.product_count != i64::from(count) {
                    NetworkWrites::StoreCounted(Box::new(network.clone()), count)
                } else {
                    NetworkWrites::Keep
                }
            }
            (NetworkKeys::All, None) if after.bundles.is_empty() => NetworkWrites::Delete,
            (NetworkKeys::All, None) => {
                NetworkWrites::CountOnly(u32::try_from(after.bundles.len()).unwrap_or(u32::MAX))
            }
            (NetworkKeys::Bundles(_), Some(network)) if own_change => {
                NetworkWrites::Store(Box::new(network.clone()))
            }
            (NetworkKeys::Bundles(_), _) => NetworkWrites::Count,
        };
        let nothing_own = match network {
            NetworkWrites::Count | NetworkWrites::Keep => true,
            NetworkWrites::Delete => before.network.is_none() && before.product_count == 0,
            NetworkWrites::CountOnly(count) => {
                before.network.is_none() && before.product_count == i64::from(count)
            }
            NetworkWrites::Store(_) | NetworkWrites::StoreCounted(..) => false,
        };
        let nothing = nothing_own && put.is_empty() && delete.is_empty();
        (!nothing).then_some(Self { id, network, put, delete })
    }

    /// By how much the number of its bundles changes.
    #[must_use]
    pub fn count_change(&self) -> i64 {
        let created = self.put.iter().filter(|(_, stored)| !stored).count();
        i64::try_from(created).unwrap_or(i64::MAX)
            - i64::try_from(self.delete.len()).unwrap_or(i64::MAX)
    }
}

/// A network that was not brought to its new state in full.
#[derive(Clone, Debug)]
pub struct RefusedNetwork {
    /// Which network.
    pub id: NetworkId,
    /// Why.
    pub why: NotTaken,
}

/// Access pattern of imports: networks with bundles, read and brought to another state.
pub trait NetworkPartitions: Sync {
    /// What can go wrong below; it ends the import.
    type Error: Send;

    /// What is stored of these networks, in their order, and the read units consumed. A consistent
    /// read sees every write that was acknowledged before it, at twice the price.
    fn network_states(
        &self,
        account: &AccountId,
        wanted: &[(NetworkId, NetworkKeys)],
        consistent: bool,
    ) -> impl Future<Output = Result<(Vec<NetworkState>, f64), Self::Error>> + Send;

    /// Makes the changes, with retries; tells which networks were not brought to their state in full
    /// and why, and the write units consumed.
    fn change_networks(
        &self,
        account: &AccountId,
        changes: Vec<NetworkChanges>,
    ) -> impl Future<Output = Result<(Vec<RefusedNetwork>, f64), Self::Error>> + Send;
}
