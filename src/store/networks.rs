//! The table `Networks`: a network and its bundles are one key range; an index has the networks by country;
//! exchange rates are in the same table.
//!
//! | `itemKey` | |
//! |---|---|
//! | `NETWORK#0000000022` | a network; without a name, only the number of bundles that were stored without their network, and the orders of its delete |
//! | `NETWORK#0000000022#BUNDLE#0000000101` | a bundle: its published document; without one, a tombstone |
//! | `RATE#USD#GHS` | an exchange rate: its published document |
//!
//! Numbers are padded to ten digits, so that keys sort by id.
//!
//! Every change to a network or its bundles is a transaction that includes the network's own item, on the
//! condition that its `revision` is still the one that was read (optimistic concurrency). So writers of one
//! network are serialized, and the stored number of its bundles is correct after every commit.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem};
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use serde::{Deserialize, Serialize};

use super::{
    Store, StoreError,
    batch::{CONCURRENT_BATCHES, KeyToRead},
    item::{
        EXPIRES_AT, Item, ORDER, document, expiry, is_record, key_of, order_of, order_value, read,
        text, text_of, write,
    },
};
use crate::{
    account::AccountId,
    geography::Country,
    money::Currency,
    networks::{
        BundleId, CurrencyPair, ExchangeRate, ListedNetwork, Network, NetworkChanges, NetworkId,
        NetworkKeys, NetworkPartitions, NetworkState, StoredBundle,
    },
    order::Order,
    outcome::WriteError,
};

const BY_COUNTRY: &str = "byCountry";

/// DynamoDB allows 100 items in a transaction; one of them is the network's own.
const BUNDLES_PER_TRANSACTION: usize = 99;

/// A network's own item, without its orders.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NetworkItem {
    account: String,
    item_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network_id: Option<NetworkId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    country_code: Option<Country>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    currency: Option<Currency>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    logo_url: Option<String>,
    /// `None`: there is neither a network nor a bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    product_count: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    supports_custom_airtime: Option<bool>,
    /// As JSON, so that amounts keep their digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    custom_airtime: Option<String>,
    /// As JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sms_notification: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
}

/// The attribute that contains the order of the bundle set.
const SET_ORDER: &str = "setAt";

/// An item of a network.
pub(super) enum Part {
    /// The network itself, its order, and the order of its bundle set.
    Network(Box<Network>, Option<Order>, Option<Order>),
    /// A bundle of a network, and its order; without a document it is a tombstone.
    Bundle(NetworkId, BundleId, Option<String>, Option<Order>),
    /// A network that is not stored, and how many of its bundles are.
    AbsentNetwork { id: NetworkId, bundles: i64 },
}

/// Parses an item of a network.
pub(super) fn part(operation: &'static str, mut item: Item) -> Result<Part, StoreError> {
    let key = text_of(&item, "itemKey").and_then(parse_key);
    let (id, bundle) = key.ok_or_else(|| StoreError::unreadable(operation, "itemKey"))?;
    let order = order_of(&item, ORDER);
    if let Some(bundle) = bundle {
        let document = match item.remove("document") {
            Some(AttributeValue::S(document)) => Some(document),
            _ => None,
        };
        return Ok(Part::Bundle(id, bundle, document, order));
    }
    let set_order = order_of(&item, SET_ORDER);
    let item: NetworkItem = read(operation, item)?;
    let count = item.product_count;
    Ok(match item.network(operation)? {
        Some(network) => Part::Network(Box::new(network), order, set_order),
        None => Part::AbsentNetwork { id, bundles: count.unwrap_or_default() },
    })
}

fn network_key(id: NetworkId) -> String {
    format!("NETWORK#{:010}", id.get())
}

fn bundle_key(network: NetworkId, id: BundleId) -> String {
    format!("{}#BUNDLE#{:010}", network_key(network), id.get())
}

/// Parses the range key of a network or a bundle.
pub(super) fn parse_key(text: &str) -> Option<(NetworkId, Option<BundleId>)> {
    let (network, bundle) = match text.split_once("#BUNDLE#") {
        Some((network, bundle)) => (network, Some(BundleId::new(bundle.parse().ok()?)?)),
        None => (text, None),
    };
    let network = NetworkId::new(network.strip_prefix("NETWORK#")?.parse().ok()?)?;
    Some((network, bundle))
}

/// The range key of an exchange rate.
pub(super) fn rate_key(pair: CurrencyPair) -> String {
    format!("RATE#{}#{}", pair.source, pair.destination)
}

/// Parses the range key of an exchange rate.
pub(super) fn parse_rate_key(text: &str) -> Option<CurrencyPair> {
    let (source, destination) = text.strip_prefix("RATE#")?.split_once('#')?;
    let currency = |code| Currency::parse(code).ok();
    Some(CurrencyPair { source: currency(source)?, destination: currency(destination)? })
}

/// The full primary key of an item.
pub(super) fn item_key(account: &AccountId, key: String) -> Item {
    key_of(account, "itemKey", text(key))
}

impl NetworkItem {
    /// The item of a network, with the number of its bundles and a revision.
    fn new(
        account: &AccountId,
        id: NetworkId,
        network: Option<&Network>,
        count: i64,
        revision: u64,
    ) -> Self {
        let mut item = Self {
            account: account.to_string(),
            item_key: network_key(id),
            product_count: (network.is_some() || count != 0).then_some(count),
            revision: Some(revision),
            ..Self::default()
        };
        if let Some(network) = network {
            let network = network.clone();
            // Booleans, amounts and codes: serializing them cannot fail.
            let json = |value| serde_json::to_string(value).unwrap_or_default();
            let sms_notification = serde_json::to_string(&network.sms_notification);
            item.custom_airtime = Some(json(&network.custom_airtime));
            item.sms_notification = Some(sms_notification.unwrap_or_default());
            item.supports_custom_airtime = Some(network.custom_airtime.available);
            item.network_id = Some(network.id);
            item.name = Some(network.name);
            item.country = Some(network.country);
            item.country_code = Some(network.country_code);
            item.currency = Some(network.currency);
            item.logo_url = network.logo_url;
        }
        item
    }

    /// The network; `None` if the item is none.
    fn network(self, operation: &'static str) -> Result<Option<Network>, StoreError> {
        let Some(name) = self.name else { return Ok(None) };
        let lacks = |what| move || StoreError::unreadable(operation, format!("no {what}"));
        let json = |error| StoreError::unreadable(operation, error);
        let custom_airtime = self.custom_airtime.ok_or_else(lacks("customAirtime"))?;
        let sms_notification = self.sms_notification.ok_or_else(lacks("smsNotification"))?;
        Ok(Some(Network {
            id: self.network_id.ok_or_else(lacks("networkId"))?,
            name,
            country: self.country.ok_or_else(lacks("country"))?,
            country_code: self.country_code.ok_or_else(lacks("countryCode"))?,
            currency: self.currency.ok_or_else(lacks("currency"))?,
            logo_url: self.logo_url,
            custom_airtime: serde_json::from_str(&custom_airtime).map_err(json)?,
            sms_notification: serde_json::from_str(&sms_notification).map_err(json)?,
        }))
    }
}

impl Store {
    /// All items of a network: its own first, then its bundles by id. What is read whole is read consistently.
    async fn network_items(
        &self,
        operation: &'static str,
        account: &AccountId,
        id: NetworkId,
        projection: Option<&'static str>,
    ) -> Result<Vec<Item>, StoreError> {
        let first = network_key(id);
        // '#' sorts before every digit, and '~' after everything in a key: the range contains no other
        // network.
        let last = format!("{first}#~");
        let condition = "account = :account AND itemKey BETWEEN :first AND :last";
        let query = self
            .query_of(account, &self.tables.networks, condition)
            .expression_attribute_values(":first", text(first.as_str()))
            .expression_attribute_values(":last", text(last.as_str()))
            .set_projection_expression(projection.map(ToOwned::to_owned))
            // `name` is a reserved word of DynamoDB.
            .set_expression_attribute_names(
                projection.map(|_| HashMap::from([("#name".to_owned(), "name".to_owned())])),
            )
            .consistent_read(projection.is_none());
        self.query_all(operation, query).await
    }
}

/// The attributes that an answer needs of a network and its bundles.
const PRODUCT_ATTRIBUTES: &str = "account, itemKey, networkId, #name, country, countryCode, currency, \
     customAirtime, smsNotification, document";

impl Store {
    /// A network with the published objects of its bundles, sorted by id; `None` if there is no such network.
    pub async fn network_products(
        &self,
        account: &AccountId,
        id: NetworkId,
    ) -> Result<Option<(Network, Vec<String>)>, StoreError> {
        const OPERATION: &str = "list network products";
        let items = self.network_items(OPERATION, account, id, Some(PRODUCT_ATTRIBUTES)).await?;
        let mut items = items.into_iter();
        // If the network has no item, it is that of a bundle, which has no name.
        let Some(own) = items.next() else { return Ok(None) };
        let items = items.filter(is_record);
        let own: NetworkItem = read(OPERATION, own)?;
        let Some(network) = own.network(OPERATION)? else { return Ok(None) };
        let bundles = items.map(|item| document(OPERATION, item)).collect::<Result<Vec<_>, _>>()?;
        Ok(Some((network, bundles)))
    }
}

impl Store {
    /// The rate of a pair of currencies.
    pub async fn rate(
        &self,
        account: &AccountId,
        pair: CurrencyPair,
    ) -> Result<Option<ExchangeRate>, StoreError> {
        const OPERATION: &str = "get exchange rate";
        let key = item_key(account, rate_key(pair));
        let item = self.get(OPERATION, &self.tables.networks, key, false).await?.filter(is_record);
        let Some(item) = item else { return Ok(None) };
        serde_json::from_str(&document(OPERATION, item)?)
            .map(Some)
            .map_err(|error| StoreError::unreadable(OPERATION, error))
    }
}

impl Store {
    /// Networks sorted by country code, then by id: all of the account, or those of one country.
    pub async fn networks(
        &self,
        account: &AccountId,
        country: Option<Country>,
    ) -> Result<Vec<ListedNetwork>, StoreError> {
        const OPERATION: &str = "list networks";
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Entry {
            network_id: NetworkId,
            name: String,
            country: String,
            country_code: Country,
            currency: Currency,
            logo_url: Option<String>,
            #[serde(default)]
            product_count: i64,
            #[serde(default)]
            supports_custom_airtime: bool,
        }
        let query = |condition| self.query_of(account, &self.tables.networks, condition);
        let query = match country {
            None => query("account = :account"),
            Some(country) => query("account = :account AND countryCode = :country")
                .expression_attribute_values(":country", text(country.code())),
        };
        let query = query.index_name(BY_COUNTRY);
        let items = self.query_all(OPERATION, query).await?;
        let listed = items.into_iter().map(|item| {
            let entry: Entry = read(OPERATION, item)?;
            Ok(ListedNetwork {
                id: entry.network_id,
                name: entry.name,
                country: entry.country,
                country_code: entry.country_code,
                currency: entry.currency,
                logo_url: entry.logo_url,
                product_count: u32::try_from(entry.product_count).unwrap_or_default(),
                supports_custom_airtime: entry.supports_custom_airtime,
            })
        });
        listed.collect()
    }
}

const WRITE: &str = "write network";

impl NetworkPartitions for Store {
    type Error = StoreError;

    async fn network_states(
        &self,
        account: &AccountId,
        wanted: &[(NetworkId, NetworkKeys)],
    ) -> Result<Vec<NetworkState>, StoreError> {
        const OPERATION: &str = "read stored networks";
        let (mut own, mut bundles, mut all) = (Vec::new(), Vec::new(), Vec::new());
        let wanted_item = |key: String| KeyToRead {
            table: self.tables.networks.clone(),
            key: item_key(account, key),
            projection: None,
        };
        for (id, keys) in wanted {
            match keys {
                NetworkKeys::All => all.push(*id),
                NetworkKeys::Bundles(ids) => {
                    own.push(wanted_item(network_key(*id)));
                    bundles.extend(ids.iter().map(|bundle| wanted_item(bundle_key(*id, *bundle))));
                }
            }
        }
        // A network's own item is read before its bundles. So its revision is too old rather than too new for
        // them, and a write fails on it if they changed in between. A query reads in the order of the keys,
        // and so the network's own item first.
        let some = async {
            let mut items = self.read_items(OPERATION, own).await?;
            items.extend(self.read_items(OPERATION, bundles).await?);
            Ok::<_, StoreError>(items)
        };
        let whole = stream::iter(all)
            .map(|id| self.network_items(OPERATION, account, id, None))
            .buffer_unordered(CONCURRENT_BATCHES)
            .try_collect::<Vec<_>>();
        let (mut items, whole) = future::try_join(some, whole).await?;
        items.extend(whole.into_iter().flatten());
        let mut states: HashMap<NetworkId, NetworkState> = HashMap::new();
        for item in items {
            let key = text_of(&item, "itemKey").and_then(parse_key);
            let (network, bundle) =
                key.ok_or_else(|| StoreError::unreadable(OPERATION, "itemKey"))?;
            let state = states.entry(network).or_default();
            if let Some(id) = bundle {
                state.bundles.insert(id, stored_bundle(OPERATION, &item)?);
            } else {
                let (order, set_order) = (order_of(&item, ORDER), order_of(&item, SET_ORDER));
                let item: NetworkItem = read(OPERATION, item)?;
                (state.order, state.set_order) = (order, set_order);
                state.product_count = item.product_count.unwrap_or_default();
                state.revision = item.revision;
                state.network = item.network(OPERATION)?;
                if state.network.is_none() {
                    // The item of a deleted network stores its order only once if both orders are equal.
                    state.set_order = state.set_order.or(state.order);
                }
            }
        }
        let states = wanted.iter().map(|(id, _)| states.remove(id));
        Ok(states.map(Option::unwrap_or_default).collect())
    }

    async fn change_networks(
        &self,
        account: &AccountId,
        changes: Vec<NetworkChanges>,
    ) -> Result<HashMap<NetworkId, WriteError>, StoreError> {
        let changes: Vec<_> = changes
            .into_iter()
            .map(|change| async move {
                let id = change.id;
                let failure = self.change_network(account, change).await?;
                Ok::<_, StoreError>(failure.map(|why| (id, why)))
            })
            .collect();
        let outcomes = stream::iter(changes).buffer_unordered(CONCURRENT_BATCHES);
        outcomes.try_filter_map(future::ok).try_collect().await
    }
}

/// Parses the item of a bundle.
fn stored_bundle(operation: &'static str, item: &Item) -> Result<StoredBundle, StoreError> {
    let bundle = text_of(item, "document")
        .map(serde_json::from_str)
        .transpose()
        .map_err(|error| StoreError::unreadable(operation, error))?;
    Ok(StoredBundle { bundle, order: order_of(item, ORDER) })
}

/// One write of a bundle, and how it changes the number of bundles.
struct BundleWrite {
    item: TransactWriteItem,
    by: i64,
}

impl Store {
    /// Writes the difference between two states of a network: its bundles and, in each transaction, its own
    /// item. The new fields and orders of the own item are written by the last transaction, so that an
    /// interrupted change is repeated.
    async fn change_network(
        &self,
        account: &AccountId,
        change: NetworkChanges,
    ) -> Result<Option<WriteError>, StoreError> {
        let NetworkChanges { id, before, after, .. } = &change;
        let writes = self.bundle_writes(account, &change)?;
        let mut chunks: Vec<&[BundleWrite]> = writes.chunks(BUNDLES_PER_TRANSACTION).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let moved: i64 = writes.iter().map(|write| write.by).sum();
        let (mut count, mut revision) = (after.product_count - moved, before.revision);
        let last = chunks.len() - 1;
        for (number, chunk) in chunks.into_iter().enumerate() {
            count += chunk.iter().map(|write| write.by).sum::<i64>();
            let state = if number == last { after } else { before };
            let own = self.own_write(account, *id, state, count, revision)?;
            let items = chunk.iter().map(|write| write.item.clone()).chain([own]).collect();
            if let Err(error) = self.transact(WRITE, items).await {
                return match error.write_error() {
                    Some(WriteError::Stale) => Ok(Some(WriteError::Conflict)),
                    Some(why) => Ok(Some(why)),
                    None => Err(error),
                };
            }
            revision = Some(revision.unwrap_or_default() + 1);
        }
        Ok(None)
    }

    /// The write of the network's own item, on the condition that nothing of the network has changed.
    fn own_write(
        &self,
        account: &AccountId,
        id: NetworkId,
        state: &NetworkState,
        count: i64,
        revision: Option<u64>,
    ) -> Result<TransactWriteItem, StoreError> {
        let next = revision.unwrap_or_default() + 1;
        let item = NetworkItem::new(account, id, state.network.as_ref(), count, next);
        let mut item = write(WRITE, item)?;
        // In a deleted network, the bundle set's order is stored only if it differs from the delete's.
        let is_one = state.network.is_none() && state.order == state.set_order;
        let set_order = state.set_order.filter(|_| !is_one);
        for (name, order) in [(ORDER, state.order), (SET_ORDER, set_order)] {
            item.extend(order.map(|order| (name.to_owned(), order_value(order))));
        }
        if state.network.is_none() && count == 0 {
            item.insert(EXPIRES_AT.to_owned(), expiry(self.clock()));
        }
        self.note_writer(&mut item);
        let put = Put::builder().table_name(&self.tables.networks).set_item(Some(item));
        let put = match revision {
            Some(revision) => put
                .condition_expression("revision = :seen")
                .expression_attribute_values(":seen", AttributeValue::N(revision.to_string())),
            None => put.condition_expression("attribute_not_exists(revision)"),
        };
        let put = put.build().map_err(|error| StoreError::unbuildable(WRITE, error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    fn bundle_writes(
        &self,
        account: &AccountId,
        change: &NetworkChanges,
    ) -> Result<Vec<BundleWrite>, StoreError> {
        let unbuildable = |error| StoreError::unbuildable(WRITE, error);
        let table = &self.tables.networks;
        let count = |state: &NetworkState, id: &BundleId| {
            i64::from(state.bundles.get(id).is_some_and(|stored| stored.bundle.is_some()))
        };
        let by = |id: &BundleId| count(&change.after, id) - count(&change.before, id);
        let mut writes = Vec::with_capacity(change.put.len() + change.delete.len());
        for (id, StoredBundle { bundle, order }) in &change.put {
            let mut item = item_key(account, bundle_key(change.id, *id));
            match bundle {
                Some(bundle) => item.insert("document".to_owned(), text(bundle.document())),
                None => item.insert(EXPIRES_AT.to_owned(), expiry(self.clock())),
            };
            item.extend(order.map(|order| (ORDER.to_owned(), order_value(order))));
            let put = Put::builder().table_name(table).set_item(Some(item));
            let put = put.build().map_err(unbuildable)?;
            let item = TransactWriteItem::builder().put(put).build();
            writes.push(BundleWrite { item, by: by(id) });
        }
        for id in &change.delete {
            let key = item_key(account, bundle_key(change.id, *id));
            let delete = Delete::builder().table_name(table).set_key(Some(key));
            let delete = delete.build().map_err(unbuildable)?;
            let item = TransactWriteItem::builder().delete(delete).build();
            writes.push(BundleWrite { item, by: by(id) });
        }
        Ok(writes)
    }
}
