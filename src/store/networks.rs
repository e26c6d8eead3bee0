//! The `Networks` table: a network and its bundles in one range, networks by country in an index,
//! exchange rates beside them.
//!
//! | `itemKey` | |
//! |---|---|
//! | `NETWORK#0000000022` | a network, or only the number of bundles that wait for one |
//! | `NETWORK#0000000022#BUNDLE#0000000101` | a bundle: its published document |
//! | `RATE#USD#GHS` | an exchange rate: its published document |
//!
//! Numbers are padded to ten digits, so the order of keys is the order of ids.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem, Update};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    CAPACITY, Store, StoreError,
    batch::{CONCURRENT_BATCHES, PendingWrite, Wanted},
    item::{Item, document, read, text, write},
    units,
};
use crate::{
    account::AccountId,
    cost::{Read, ReadCost},
    geography::Country,
    money::Currency,
    networks::{
        Bundle, BundleId, CurrencyPair, ExchangeRate, ListedNetwork, Network, NetworkChanges,
        NetworkId, NetworkKeys, NetworkLists, NetworkPartitions, NetworkProducts, NetworkState,
        NetworkWrites, RateLookup, RefusedNetwork, StoredNetwork, Versioned,
    },
    refusal::NotTaken,
};

const BY_COUNTRY: &str = "byCountry";

/// DynamoDB's limit of items in a transaction is 100; one is the network's own.
const BUNDLES_A_TRANSACTION: usize = 99;

/// A network's own item. Without a name it only counts bundles that are there before their network.
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
    #[serde(default)]
    product_count: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    supports_custom_airtime: Option<bool>,
    /// JSON: amounts keep their digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    custom_airtime: Option<String>,
    /// JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sms_notification: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    whole_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_updated_at: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BundleItem {
    account: String,
    item_key: String,
    document: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_updated_at: Option<i64>,
}

/// An item of a network, for an export.
pub(super) enum Part {
    /// The network itself, and its source's time.
    Network(Box<Network>, Option<Timestamp>),
    /// A bundle's published document, the network it is of, and its own source's time.
    Bundle(NetworkId, String, Option<Timestamp>),
    /// Only a number of bundles.
    Count,
}

/// Reads an item of a network.
pub(super) fn part(operation: &'static str, item: Item) -> Result<Part, StoreError> {
    let key = item.get("itemKey").and_then(|key| key.as_s().ok()).cloned().unwrap_or_default();
    if let Some((network, _)) = key.split_once("#BUNDLE#") {
        let id = network.strip_prefix("NETWORK#").and_then(|id| NetworkId::new(id.parse().ok()?));
        let id = id.ok_or_else(|| StoreError::unreadable(operation, "itemKey"))?;
        let item: BundleItem = read(operation, item)?;
        return Ok(Part::Bundle(id, item.document, from_millis(item.source_updated_at)));
    }
    let item: NetworkItem = read(operation, item)?;
    Ok(match item.network(operation)? {
        Some(network) => Part::Network(Box::new(network.value.network), network.source_updated_at),
        None => Part::Count,
    })
}

fn network_key(id: NetworkId) -> String {
    format!("NETWORK#{:010}", id.get())
}

fn bundle_key(network: NetworkId, id: BundleId) -> String {
    format!("{}#BUNDLE#{:010}", network_key(network), id.get())
}

/// The range key of a rate.
pub(super) fn rate_key(pair: CurrencyPair) -> String {
    format!("RATE#{}#{}", pair.source, pair.destination)
}

/// The pair that a range key tells.
pub(super) fn parse_rate_key(text: &str) -> Option<CurrencyPair> {
    let (source, destination) = text.strip_prefix("RATE#")?.split_once('#')?;
    let currency = |code| Currency::parse(code).ok();
    Some(CurrencyPair { source: currency(source)?, destination: currency(destination)? })
}

/// The whole key of an item of the table.
pub(super) fn item_key(account: &AccountId, key: String) -> Item {
    Item::from([
        ("account".to_owned(), text(account.as_str())),
        ("itemKey".to_owned(), AttributeValue::S(key)),
    ])
}

fn millis(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::as_millisecond)
}

fn from_millis(millis: Option<i64>) -> Option<Timestamp> {
    millis.and_then(|millis| Timestamp::from_millisecond(millis).ok())
}

impl NetworkItem {
    fn new(account: &AccountId, stored: Versioned<StoredNetwork>, product_count: u32) -> Self {
        let Versioned { value: StoredNetwork { network, whole_at }, source_updated_at } = stored;
        // Booleans, amounts and codes: serializing them cannot fail.
        let custom_airtime = serde_json::to_string(&network.custom_airtime).unwrap_or_default();
        let sms_notification = serde_json::to_string(&network.sms_notification).unwrap_or_default();
        Self {
            account: account.to_string(),
            item_key: network_key(network.id),
            network_id: Some(network.id),
            name: Some(network.name),
            country: Some(network.country),
            country_code: Some(network.country_code),
            currency: Some(network.currency),
            logo_url: network.logo_url,
            product_count: i64::from(product_count),
            supports_custom_airtime: Some(network.custom_airtime.available),
            custom_airtime: Some(custom_airtime),
            sms_notification: Some(sms_notification),
            whole_at: millis(whole_at),
            source_updated_at: millis(source_updated_at),
        }
    }

    /// The network, unless the item only counts.
    fn network(
        self,
        operation: &'static str,
    ) -> Result<Option<Versioned<StoredNetwork>>, StoreError> {
        let Some(name) = self.name else { return Ok(None) };
        let lacks = |what| move || StoreError::unreadable(operation, format!("no {what}"));
        let json = |error| StoreError::unreadable(operation, error);
        let custom_airtime = self.custom_airtime.ok_or_else(lacks("customAirtime"))?;
        let sms_notification = self.sms_notification.ok_or_else(lacks("smsNotification"))?;
        let network = Network {
            id: self.network_id.ok_or_else(lacks("networkId"))?,
            name,
            country: self.country.ok_or_else(lacks("country"))?,
            country_code: self.country_code.ok_or_else(lacks("countryCode"))?,
            currency: self.currency.ok_or_else(lacks("currency"))?,
            logo_url: self.logo_url,
            custom_airtime: serde_json::from_str(&custom_airtime).map_err(json)?,
            sms_notification: serde_json::from_str(&sms_notification).map_err(json)?,
        };
        let value = StoredNetwork { network, whole_at: from_millis(self.whole_at) };
        let source_updated_at = from_millis(self.source_updated_at);
        Ok(Some(Versioned { value, source_updated_at }))
    }
}

impl BundleItem {
    fn new(account: &AccountId, network: NetworkId, bundle: &Versioned<Bundle>) -> Self {
        Self {
            account: account.to_string(),
            item_key: bundle_key(network, bundle.value.id),
            document: bundle.value.document(),
            source_updated_at: millis(bundle.source_updated_at),
        }
    }
}

/// How to read the items of a network.
#[derive(Clone, Copy)]
struct Reading {
    operation: &'static str,
    projection: Option<&'static str>,
    consistent: bool,
}

impl Store {
    /// Every item of a network, its own first, then its bundles by id.
    async fn network_items(
        &self,
        account: &AccountId,
        id: NetworkId,
        reading: Reading,
        cost: &mut ReadCost,
    ) -> Result<Vec<Item>, StoreError> {
        let Reading { operation, projection, consistent } = reading;
        let first = network_key(id);
        // '#' comes before every digit, '~' after all that a key holds: no other network is between.
        let last = format!("{first}#~");
        let query = self
            .client
            .query()
            .table_name(&self.tables.networks)
            .key_condition_expression("account = :account AND itemKey BETWEEN :first AND :last")
            .expression_attribute_values(":account", text(account.as_str()))
            .expression_attribute_values(":first", text(first.as_str()))
            .expression_attribute_values(":last", text(last.as_str()))
            .set_projection_expression(projection.map(ToOwned::to_owned))
            // `name` is a word of DynamoDB's own.
            .set_expression_attribute_names(
                projection.map(|_| HashMap::from([("#name".to_owned(), "name".to_owned())])),
            )
            .consistent_read(consistent);
        self.query_all(operation, query, cost).await
    }
}

/// What an answer needs of a network and its bundles.
const PRODUCT_ATTRIBUTES: &str = "account, itemKey, networkId, #name, country, countryCode, currency, \
     customAirtime, smsNotification, document";

impl NetworkProducts for Store {
    type Error = StoreError;

    async fn network_products(
        &self,
        account: &AccountId,
        id: NetworkId,
        cost: &mut ReadCost,
    ) -> Result<Option<(Network, Vec<String>)>, StoreError> {
        const OPERATION: &str = "list network products";
        let reading = Reading {
            operation: OPERATION,
            projection: Some(PRODUCT_ATTRIBUTES),
            consistent: false,
        };
        let items = self.network_items(account, id, reading, cost).await?;
        let mut items = items.into_iter();
        let Some(own) = items.next().filter(|item| !item.contains_key("document")) else {
            return Ok(None);
        };
        let own: NetworkItem = read(OPERATION, own)?;
        let Some(network) = own.network(OPERATION)? else { return Ok(None) };
        let bundles = items.map(|item| document(OPERATION, item)).collect::<Result<Vec<_>, _>>()?;
        Ok(Some((network.value.network, bundles)))
    }
}

impl RateLookup for Store {
    type Error = StoreError;

    async fn rate(
        &self,
        account: &AccountId,
        pair: CurrencyPair,
    ) -> Result<Read<Option<ExchangeRate>>, StoreError> {
        const OPERATION: &str = "get exchange rate";
        let reply = self
            .client
            .get_item()
            .table_name(&self.tables.networks)
            .set_key(Some(item_key(account, rate_key(pair))))
            .return_consumed_capacity(CAPACITY)
            .send()
            .await
            .map_err(|error| StoreError::from_sdk(OPERATION, &error))?;
        let read_units = units(reply.consumed_capacity());
        let Some(item) = reply.item else { return Ok(Read { value: None, read_units }) };
        let rate = serde_json::from_str(&document(OPERATION, item)?)
            .map_err(|error| StoreError::unreadable(OPERATION, error))?;
        Ok(Read { value: Some(rate), read_units })
    }
}

impl NetworkLists for Store {
    type Error = StoreError;

    async fn networks(
        &self,
        account: &AccountId,
        country: Option<Country>,
        cost: &mut ReadCost,
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
            #[serde(default)]
            logo_url: Option<String>,
            #[serde(default)]
            product_count: i64,
            #[serde(default)]
            supports_custom_airtime: bool,
        }
        let query = self
            .client
            .query()
            .table_name(&self.tables.networks)
            .index_name(BY_COUNTRY)
            .expression_attribute_values(":account", text(account.as_str()));
        let query = match country {
            None => query.key_condition_expression("account = :account"),
            Some(country) => query
                .key_condition_expression("account = :account AND countryCode = :country")
                .expression_attribute_values(":country", text(country.code())),
        };
        let items = self.query_all(OPERATION, query, cost).await?;
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

impl NetworkPartitions for Store {
    type Error = StoreError;

    async fn network_states(
        &self,
        account: &AccountId,
        wanted: &[(NetworkId, NetworkKeys)],
        consistent: bool,
    ) -> Result<(Vec<NetworkState>, f64), StoreError> {
        const OPERATION: &str = "read stored networks";
        let (mut some, mut all) = (Vec::new(), Vec::new());
        for (id, keys) in wanted {
            match keys {
                NetworkKeys::All => all.push(*id),
                NetworkKeys::Bundles(bundles) => {
                    some.push(network_key(*id));
                    some.extend(bundles.iter().map(|bundle| bundle_key(*id, *bundle)));
                }
            }
        }
        let some = some.into_iter().map(|key| Wanted {
            table: self.tables.networks.clone(),
            key: item_key(account, key),
            projection: None,
        });
        let whole = stream::iter(all)
            .map(|id| async move {
                let mut cost = ReadCost::default();
                let read = Reading { operation: OPERATION, projection: None, consistent };
                let items = self.network_items(account, id, read, &mut cost).await?;
                Ok::<_, StoreError>((items, cost.read_units))
            })
            .buffer_unordered(CONCURRENT_BATCHES)
            .try_collect::<Vec<_>>();
        let ((mut items, mut read_units), whole) =
            tokio::try_join!(self.read_items(OPERATION, some.collect(), consistent), whole)?;
        for (more, units) in whole {
            items.extend(more);
            read_units += units;
        }
        let mut states: HashMap<String, NetworkState> = HashMap::new();
        for item in items {
            let key = item.get("itemKey").and_then(|key| key.as_s().ok()).cloned();
            let key = key.ok_or_else(|| StoreError::unreadable(OPERATION, "no itemKey"))?;
            if let Some((network, _)) = key.split_once("#BUNDLE#") {
                let item: BundleItem = read(OPERATION, item)?;
                let value: Bundle = serde_json::from_str(&item.document)
                    .map_err(|error| StoreError::unreadable(OPERATION, error))?;
                let source_updated_at = from_millis(item.source_updated_at);
                let bundles = &mut states.entry(network.to_owned()).or_default().bundles;
                bundles.insert(value.id, Versioned { value, source_updated_at });
            } else {
                let item: NetworkItem = read(OPERATION, item)?;
                let state = states.entry(key).or_default();
                state.product_count = item.product_count;
                state.network = item.network(OPERATION)?;
            }
        }
        let states = wanted.iter().map(|(id, _)| states.remove(&network_key(*id)));
        Ok((states.map(Option::unwrap_or_default).collect(), read_units))
    }

    async fn change_networks(
        &self,
        account: &AccountId,
        changes: Vec<NetworkChanges>,
    ) -> Result<(Vec<RefusedNetwork>, f64), StoreError> {
        const OPERATION: &str = "write networks";
        let mut counted = Vec::new();
        let mut writes: Vec<(NetworkId, PendingWrite)> = Vec::new();
        for change in changes {
            let id = change.id;
            let partial = matches!(change.network, NetworkWrites::Count | NetworkWrites::Store(_));
            for (bundle, stored) in &change.put {
                // What changes the number of bundles goes together with the number.
                if !partial || *stored {
                    writes.push((id, self.put_bundle(account, id, bundle)?));
                }
            }
            if !partial {
                for bundle in &change.delete {
                    let key = item_key(account, bundle_key(id, *bundle));
                    let delete = PendingWrite::delete(OPERATION, &self.tables.networks, key)?;
                    writes.push((id, delete));
                }
            }
            let own = item_key(account, network_key(id));
            match change.network.clone() {
                NetworkWrites::StoreCounted(network, count) => {
                    let item = write(OPERATION, NetworkItem::new(account, *network, count))?;
                    let put = PendingWrite::put(OPERATION, &self.tables.networks, own, item)?;
                    writes.push((id, put));
                }
                NetworkWrites::CountOnly(count) => {
                    let mut item = own.clone();
                    item.insert("productCount".to_owned(), AttributeValue::N(count.to_string()));
                    let put = PendingWrite::put(OPERATION, &self.tables.networks, own, item)?;
                    writes.push((id, put));
                }
                NetworkWrites::Delete => {
                    let delete = PendingWrite::delete(OPERATION, &self.tables.networks, own)?;
                    writes.push((id, delete));
                }
                NetworkWrites::Count | NetworkWrites::Store(_) => counted.push(change),
                NetworkWrites::Keep => {}
            }
        }
        let (ids, writes): (Vec<NetworkId>, Vec<PendingWrite>) = writes.into_iter().unzip();
        let (refusals, mut write_units) = self.write_items(OPERATION, writes).await?;
        let mut refused: Vec<RefusedNetwork> = refusals
            .into_iter()
            .map(|(place, why)| RefusedNetwork { id: ids[place], why })
            .collect();
        let mut transactions = stream::iter(counted)
            .map(|change| self.change_counted(account, change))
            .buffer_unordered(CONCURRENT_BATCHES);
        while let Some(outcome) = transactions.next().await {
            let (refusal, units) = outcome?;
            refused.extend(refusal);
            write_units += units;
        }
        Ok((refused, write_units))
    }
}

impl Store {
    fn put_bundle(
        &self,
        account: &AccountId,
        network: NetworkId,
        bundle: &Versioned<Bundle>,
    ) -> Result<PendingWrite, StoreError> {
        const OPERATION: &str = "write networks";
        let item = write(OPERATION, BundleItem::new(account, network, bundle))?;
        let key = item_key(account, bundle_key(network, bundle.value.id));
        PendingWrite::put(OPERATION, &self.tables.networks, key, item)
    }

    /// Changes a network of which only some bundles were read: bundles that come or go, and the
    /// number of bundles with them, in transactions.
    async fn change_counted(
        &self,
        account: &AccountId,
        change: NetworkChanges,
    ) -> Result<(Option<RefusedNetwork>, f64), StoreError> {
        const OPERATION: &str = "write networks";
        let unbuildable = |error| StoreError::unbuildable(OPERATION, error);
        let table = &self.tables.networks;
        let mut own = match &change.network {
            NetworkWrites::Store(network) => {
                let item = NetworkItem::new(account, (**network).clone(), 0);
                Some(write(OPERATION, item)?)
            }
            _ => None,
        };
        let mut moves: Vec<(i64, TransactWriteItem)> = Vec::new();
        for (bundle, _) in change.put.iter().filter(|(_, stored)| !stored) {
            let put = Put::builder()
                .table_name(table)
                .set_item(Some(write(OPERATION, BundleItem::new(account, change.id, bundle))?))
                .condition_expression("attribute_not_exists(itemKey)")
                .build()
                .map_err(unbuildable)?;
            moves.push((1, TransactWriteItem::builder().put(put).build()));
        }
        for bundle in &change.delete {
            let delete = Delete::builder()
                .table_name(table)
                .set_key(Some(item_key(account, bundle_key(change.id, *bundle))))
                .condition_expression("attribute_exists(itemKey)")
                .build()
                .map_err(unbuildable)?;
            moves.push((-1, TransactWriteItem::builder().delete(delete).build()));
        }
        let mut chunks: Vec<&[(i64, TransactWriteItem)]> =
            moves.chunks(BUNDLES_A_TRANSACTION).collect();
        if chunks.is_empty() {
            if own.is_none() {
                return Ok((None, 0.0));
            }
            chunks.push(&[]);
        }
        let mut write_units = 0.0;
        for chunk in chunks {
            let by: i64 = chunk.iter().map(|(by, _)| by).sum();
            let update =
                count_update(table, account, change.id, by, own.take()).map_err(unbuildable)?;
            let mut items: Vec<TransactWriteItem> =
                chunk.iter().map(|(_, item)| item.clone()).collect();
            items.push(TransactWriteItem::builder().update(update).build());
            let why = match self.transact(OPERATION, items).await {
                Ok(units) => {
                    write_units += units;
                    continue;
                }
                Err(error) if error.is_condition_failed() => NotTaken::Contended,
                Err(error) if error.is_unavailable() => NotTaken::Later,
                Err(error) if error.is_invalid() => NotTaken::Never,
                Err(error) => return Err(error),
            };
            return Ok((Some(RefusedNetwork { id: change.id, why }), write_units));
        }
        Ok((None, write_units))
    }
}

/// Counts bundles that come and go on the network's own item; with `own`, stores its other
/// attributes, too.
fn count_update(
    table: &str,
    account: &AccountId,
    id: NetworkId,
    by: i64,
    own: Option<Item>,
) -> Result<Update, aws_sdk_dynamodb::error::BuildError> {
    let mut update = Update::builder()
        .table_name(table)
        .set_key(Some(item_key(account, network_key(id))))
        .expression_attribute_values(":by", AttributeValue::N(by.to_string()));
    let mut sets = Vec::new();
    let mut removes = Vec::new();
    if let Some(own) = own {
        for name in ["logoUrl", "wholeAt", "sourceUpdatedAt"] {
            if !own.contains_key(name) {
                removes.push(name);
            }
        }
        for (name, value) in own {
            if !matches!(name.as_str(), "account" | "itemKey" | "productCount") {
                sets.push(format!("#{name} = :{name}"));
                update = update
                    .expression_attribute_names(format!("#{name}"), name.clone())
                    .expression_attribute_values(format!(":{name}"), value);
            }
        }
    }
    let mut expression = "ADD productCount :by".to_owned();
    if !sets.is_empty() {
        expression.push_str(" SET ");
        expression.push_str(&sets.join(", "));
    }
    if !removes.is_empty() {
        expression.push_str(" REMOVE ");
        expression.push_str(&removes.join(", "));
    }
    update.update_expression(expression).build()
}
