//! Batch reads (`BatchGetItem`).
//!
//! DynamoDB may leave keys of a batch unprocessed. They are requested again: immediately if the last reply
//! brought items, otherwise after a wait.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::KeysAndAttributes;
use futures_util::{StreamExt as _, stream};

use super::{
    CAPACITY, Store, StoreError,
    item::{Item, ORDER},
    total_units,
};

/// DynamoDB's limit for the keys of one `BatchGetItem`.
const KEYS_PER_BATCH: usize = 100;

/// The maximum number of batches and transactions in flight.
pub(super) const CONCURRENT_BATCHES: usize = 8;

/// An item to read.
#[derive(Clone, Debug)]
pub(super) struct KeyToRead {
    pub(super) table: String,
    pub(super) key: Item,
    /// The attributes to read, the same for all items of a table, with names as in [`projection_names`];
    /// `None` for all attributes.
    pub(super) projection: Option<String>,
}

/// Placeholders for the names in a projection that are reserved words of DynamoDB.
pub(super) fn projection_names(projection: Option<&str>) -> Option<HashMap<String, String>> {
    let projection = projection?;
    let reserved = [ORDER, "status", "type", "regions"];
    let used = reserved.iter().map(|name| (format!("#{name}"), (*name).to_owned()));
    let used: HashMap<_, _> =
        used.filter(|(placeholder, _)| projection.contains(placeholder)).collect();
    (!used.is_empty()).then_some(used)
}

impl Store {
    /// Reads items by their keys, which must be distinct.
    pub(super) async fn read_items(
        &self,
        operation: &'static str,
        wanted: Vec<KeyToRead>,
    ) -> Result<Vec<Item>, StoreError> {
        let batches: Vec<Vec<KeyToRead>> =
            wanted.chunks(KEYS_PER_BATCH).map(<[_]>::to_vec).collect();
        let reads = batches.into_iter().map(|batch| self.read_batch(operation, batch, true));
        let mut replies = stream::iter(reads).buffer_unordered(CONCURRENT_BATCHES);
        let mut items = Vec::with_capacity(wanted.len());
        while let Some(reply) = replies.next().await {
            items.extend(reply?.0);
        }
        Ok(items)
    }

    /// Reads at most a hundred items; returns them with the read units consumed.
    pub(super) async fn read_batch(
        &self,
        operation: &'static str,
        batch: Vec<KeyToRead>,
        is_consistent: bool,
    ) -> Result<(Vec<Item>, f64), StoreError> {
        let mut by_table: HashMap<String, (Option<String>, Vec<Item>)> = HashMap::new();
        for KeyToRead { table, key, projection } in batch {
            by_table.entry(table).or_insert((projection, Vec::new())).1.push(key);
        }
        let mut pending = HashMap::with_capacity(by_table.len());
        for (table, (projection, keys)) in by_table {
            let request = KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .set_expression_attribute_names(projection_names(projection.as_deref()))
                .set_projection_expression(projection)
                .consistent_read(is_consistent)
                .build()
                .map_err(|error| StoreError::unbuildable(operation, error))?;
            pending.insert(table, request);
        }
        let count = |pending: &HashMap<String, KeysAndAttributes>| {
            pending.values().map(|keys| keys.keys().len()).sum::<usize>()
        };
        let (mut items, mut read_units, mut empty_replies) = (Vec::new(), 0.0, 0);
        loop {
            let request = self
                .client
                .batch_get_item()
                .set_request_items(Some(pending.clone()))
                .return_consumed_capacity(CAPACITY);
            let reply = self
                .attempt(operation, Some(&self.account_limits.batches), || request.clone().send())
                .await
                .map_err(|error| StoreError::from_sdk(operation, &error))?;
            let units = total_units(reply.consumed_capacity());
            self.meter.add_read(units);
            read_units += units;
            items.extend(reply.responses.unwrap_or_default().into_values().flatten());
            let left = reply.unprocessed_keys.unwrap_or_default();
            if left.is_empty() {
                return Ok((items, read_units));
            }
            // A reply also ends at 16 MB: if it brought items, the rest is requested immediately.
            empty_replies = if count(&left) < count(&pending) { 0 } else { empty_replies + 1 };
            if empty_replies > 0 && !self.patience.wait(empty_replies).await {
                return Err(StoreError::left_over(operation, count(&left)));
            }
            pending = left;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aws_sdk_dynamodb::Client;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        cause::chain,
        cost::Meter,
        scripted_service::{Reply, ScriptedService},
        store::{
            TableNames,
            item::{text, text_of},
        },
    };

    fn item(name: &str) -> Value {
        json!({ "k": { "S": name } })
    }

    /// A reply with these items, which leaves these keys, and consumed one unit.
    fn reply(items: &[&str], left: &[&str]) -> Reply {
        let list = |names: &[&str]| names.iter().map(|name| item(name)).collect::<Vec<_>>();
        let mut reply = json!({ "Responses": { "t": list(items) },
                                "ConsumedCapacity": [{ "TableName": "t", "CapacityUnits": 1.0 }] });
        if !left.is_empty() {
            reply["UnprocessedKeys"] = json!({ "t": { "Keys": list(left) } });
        }
        Reply::new(200, reply.to_string())
    }

    /// The items that a database with these replies gives for keys, and the keys of each request.
    async fn read(
        names: &[&str],
        replies: Vec<Reply>,
    ) -> (Result<Vec<String>, String>, Vec<Vec<String>>) {
        let service = ScriptedService::new(replies);
        let (meter, requests) = (Meter::default(), Arc::clone(&service));
        let store = Store::new(Client::new(&service.config()), TableNames::with_prefix("test"));
        let key = |name: &&str| KeyToRead {
            table: "t".to_owned(),
            key: Item::from([("k".to_owned(), text(*name))]),
            projection: None,
        };
        let wanted = names.iter().map(key).collect();
        let items = store.metered(&meter).read_items("read", wanted).await;
        let names = items.map(|items| {
            items.iter().filter_map(|item| text_of(item, "k")).map(ToOwned::to_owned).collect()
        });
        let asked = requests.asked().into_iter().map(|asked| {
            assert_eq!(asked.header("x-amz-target"), Some("DynamoDB_20120810.BatchGetItem"));
            let keys = asked.json()["RequestItems"]["t"]["Keys"].clone();
            let keys: Vec<Value> = keys.as_array().expect("keys").clone();
            keys.iter().map(|key| key["k"]["S"].as_str().expect("text").to_owned()).collect()
        });
        let asked: Vec<Vec<String>> = asked.collect();
        assert_eq!(usize::try_from(meter.cost().reads).expect("few"), asked.len());
        (names.map_err(|error| chain(&error)), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_a_reply_leaves_are_read_again() {
        let begin = tokio::time::Instant::now();
        let replies = vec![reply(&["a"], &["b", "c"]), reply(&["b"], &["c"]), reply(&["c"], &[])];
        let (items, asked) = read(&["a", "b", "c"], replies).await;
        assert_eq!(items.expect("items"), ["a", "b", "c"]);
        assert_eq!(asked, [vec!["a", "b", "c"], vec!["b", "c"], vec!["c"]]);
        assert!(begin.elapsed().is_zero(), "at once, since each reply has brought something");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_eight_replies_leave_are_an_error() {
        let empty = || reply(&[], &["a", "b"]);
        let (items, asked) = read(&["a", "b"], (0..8).map(|_| empty()).collect()).await;
        let told = "read: 2 keys left unprocessed after all retries";
        assert_eq!(items.expect_err("left over"), told);
        assert_eq!(asked.len(), 8);
        // A reply that brings something ends the series.
        let most = (0..7).map(|_| empty()).chain([reply(&["a"], &["b"])]);
        let again = (0..7).map(|_| reply(&[], &["b"])).chain([reply(&["b"], &[])]);
        let (items, asked) = read(&["a", "b"], most.chain(again).collect()).await;
        assert_eq!(items.expect("items"), ["a", "b"]);
        assert_eq!(asked.len(), 16);
    }

    #[tokio::test]
    async fn a_request_has_a_hundred_keys_at_most() {
        let names: Vec<String> = (0..201).map(|number| format!("{number:03}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let replies = names.chunks(100).map(|names| reply(names, &[])).collect();
        let (items, asked) = read(&names, replies).await;
        assert_eq!(items.expect("items"), names);
        assert_eq!(asked, names.chunks(100).map(<[_]>::to_vec).collect::<Vec<_>>());
    }

    #[test]
    fn a_projection_has_placeholders_for_reserved_words_alone() {
        let names = |projection| projection_names(Some(projection));
        assert_eq!(names("productKey, linkedTo"), None);
        let pair = |name: &str| (format!("#{name}"), name.to_owned());
        assert_eq!(names("id, #at, #status"), Some(HashMap::from(["at", "status"].map(pair))));
        assert_eq!(names("#type, #regions"), Some(HashMap::from(["type", "regions"].map(pair))));
        assert_eq!(projection_names(None), None);
    }
}
