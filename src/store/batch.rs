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
