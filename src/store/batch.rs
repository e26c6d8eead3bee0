//! Reading by the hundred and writing by twenty-five.
//!
//! DynamoDB may leave part of a batch unprocessed. Those keys are asked for again with full-jitter
//! backoff, and so is a batch that met a throttle or an outage; what is still left after
//! [`MAX_FRUITLESS`] is an error on reads, and on writes a refusal of just those items: reported,
//! never lost. Each throttle and each part left unprocessed makes fewer batches go at once
//! ([`Pace`](super::pace::Pace)); so that each is seen, the client's own retries are off here.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    Config,
    config::retry::RetryConfig,
    types::{DeleteRequest, KeysAndAttributes, PutRequest, WriteRequest},
};
use futures_util::{StreamExt as _, stream};

use super::{CAPACITY, Store, StoreError, item::Item, total_units};
use crate::refusal::NotTaken;

/// DynamoDB's limit of keys in a `BatchGetItem`.
const KEYS_A_READ: usize = 100;

/// DynamoDB's limit of requests in a `BatchWriteItem`.
const ITEMS_A_WRITE: usize = 25;

/// Batches under way at once.
pub(super) const CONCURRENT_BATCHES: usize = 8;

/// Requests in a row that bring nothing before what is left is given up. Those of batches are single
/// attempts; others have the client's own retries within.
pub(super) const MAX_FRUITLESS: u32 = 8;

/// The same for the single attempts of batches: about as many seconds.
const MAX_FRUITLESS_ATTEMPTS: u32 = 12;

/// A request is one attempt.
fn one_attempt() -> aws_sdk_dynamodb::config::Builder {
    Config::builder().retry_config(RetryConfig::disabled())
}

/// An item wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) table: String,
    pub(super) key: Item,
    /// The attributes wanted, the same for every item of a table; `None`: all.
    pub(super) projection: Option<String>,
}

/// An item to put or delete.
#[derive(Clone, Debug)]
pub(super) struct PendingWrite {
    pub(super) table: String,
    pub(super) key: Item,
    pub(super) request: WriteRequest,
}

impl PendingWrite {
    /// Puts an item, key attributes included.
    pub(super) fn put(
        operation: &'static str,
        table: &str,
        key: Item,
        item: Item,
    ) -> Result<Self, StoreError> {
        let put = PutRequest::builder().set_item(Some(item)).build();
        let put = put.map_err(|error| StoreError::unbuildable(operation, error))?;
        let request = WriteRequest::builder().put_request(put).build();
        Ok(Self { table: table.to_owned(), key, request })
    }

    /// Deletes an item.
    pub(super) fn delete(
        operation: &'static str,
        table: &str,
        key: Item,
    ) -> Result<Self, StoreError> {
        let delete = DeleteRequest::builder().set_key(Some(key.clone())).build();
        let delete = delete.map_err(|error| StoreError::unbuildable(operation, error))?;
        let request = WriteRequest::builder().delete_request(delete).build();
        Ok(Self { table: table.to_owned(), key, request })
    }
}

/// The writes that were not taken, by their place in the list, and why.
pub(super) type Refusals = Vec<(usize, NotTaken)>;

impl Store {
    /// Reads items by their keys (each named once), and tells the read units consumed.
    pub(super) async fn read_items(
        &self,
        operation: &'static str,
        wanted: Vec<Wanted>,
        consistent: bool,
    ) -> Result<(Vec<Item>, f64), StoreError> {
        let batches: Vec<Vec<Wanted>> = wanted.chunks(KEYS_A_READ).map(<[_]>::to_vec).collect();
        let reads = batches.into_iter().map(|batch| self.read_batch(operation, batch, consistent));
        let mut replies = stream::iter(reads).buffer_unordered(CONCURRENT_BATCHES);
        let mut items = Vec::with_capacity(wanted.len());
        let mut read_units = 0.0;
        while let Some(reply) = replies.next().await {
            let (found, units) = reply?;
            items.extend(found);
            read_units += units;
        }
        Ok((items, read_units))
    }

    async fn read_batch(
        &self,
        operation: &'static str,
        batch: Vec<Wanted>,
        consistent: bool,
    ) -> Result<(Vec<Item>, f64), StoreError> {
        let mut by_table: HashMap<String, (Option<String>, Vec<Item>)> = HashMap::new();
        for Wanted { table, key, projection } in batch {
            by_table.entry(table).or_insert((projection, Vec::new())).1.push(key);
        }
        let mut pending = HashMap::with_capacity(by_table.len());
        for (table, (projection, keys)) in by_table {
            let request = KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .set_projection_expression(projection)
                .consistent_read(consistent)
                .build()
                .map_err(|error| StoreError::unbuildable(operation, error))?;
            pending.insert(table, request);
        }
        let count = |pending: &HashMap<String, KeysAndAttributes>| {
            pending.values().map(|keys| keys.keys().len()).sum::<usize>()
        };
        let mut items = Vec::new();
        let mut read_units = 0.0;
        let mut fruitless = 0;
        while fruitless < MAX_FRUITLESS_ATTEMPTS {
            back_off(fruitless).await;
            fruitless += 1;
            let turn = self.batches.turn().await;
            let outcome = self
                .client
                .batch_get_item()
                .set_request_items(Some(pending.clone()))
                .return_consumed_capacity(CAPACITY)
                .customize()
                .config_override(one_attempt())
                .send()
                .await
                .map_err(|error| StoreError::from_sdk(operation, &error));
            match outcome {
                Ok(reply) => {
                    read_units += total_units(reply.consumed_capacity());
                    let before = items.len();
                    items.extend(reply.responses.unwrap_or_default().into_values().flatten());
                    let left = reply.unprocessed_keys.unwrap_or_default();
                    // A reply ends at 16 MB, too: one that brings items is no throttle.
                    turn.end(left.is_empty() || items.len() > before);
                    if count(&left) < count(&pending) {
                        fruitless = 1;
                    }
                    pending = left;
                    if pending.is_empty() {
                        return Ok((items, read_units));
                    }
                }
                Err(error) if error.is_unavailable() && fruitless < MAX_FRUITLESS_ATTEMPTS => {
                    turn.end(!error.is_throttled());
                }
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::left_over(operation, count(&pending)))
    }

    /// Writes items (each key named once), and tells what was not taken and the write units consumed.
    pub(super) async fn write_items(
        &self,
        operation: &'static str,
        writes: Vec<PendingWrite>,
    ) -> Result<(Refusals, f64), StoreError> {
        let numbered: Vec<(usize, PendingWrite)> = writes.into_iter().enumerate().collect();
        let batches: Vec<Vec<_>> = numbered.chunks(ITEMS_A_WRITE).map(<[_]>::to_vec).collect();
        let writes = batches.into_iter().map(|batch| self.write_batch(operation, batch));
        let mut replies = stream::iter(writes).buffer_unordered(CONCURRENT_BATCHES);
        let mut refused = Vec::new();
        let mut write_units = 0.0;
        while let Some(reply) = replies.next().await {
            let (left, units) = reply?;
            refused.extend(left);
            write_units += units;
        }
        Ok((refused, write_units))
    }

    async fn write_batch(
        &self,
        operation: &'static str,
        batch: Vec<(usize, PendingWrite)>,
    ) -> Result<(Refusals, f64), StoreError> {
        let count = |pending: &HashMap<String, Vec<WriteRequest>>| {
            pending.values().map(Vec::len).sum::<usize>()
        };
        let mut pending: HashMap<String, Vec<WriteRequest>> = HashMap::new();
        for (_, write) in &batch {
            pending.entry(write.table.clone()).or_default().push(write.request.clone());
        }
        let mut write_units = 0.0;
        let mut fruitless = 0;
        while fruitless < MAX_FRUITLESS_ATTEMPTS {
            back_off(fruitless).await;
            fruitless += 1;
            let turn = self.batches.turn().await;
            let outcome = self
                .client
                .batch_write_item()
                .set_request_items(Some(pending.clone()))
                .return_consumed_capacity(CAPACITY)
                .customize()
                .config_override(one_attempt())
                .send()
                .await
                .map_err(|error| StoreError::from_sdk(operation, &error));
            match outcome {
                Ok(reply) => {
                    write_units += total_units(reply.consumed_capacity());
                    let left = reply.unprocessed_items.unwrap_or_default();
                    turn.end(left.is_empty());
                    if count(&left) < count(&pending) {
                        fruitless = 1;
                    }
                    pending = left;
                    if pending.is_empty() {
                        return Ok((Vec::new(), write_units));
                    }
                }
                // Putting and deleting the same again is harmless.
                Err(error) if error.is_unavailable() => turn.end(!error.is_throttled()),
                // One bad item fails its whole batch: each is tried on its own.
                Err(error) if error.is_invalid() && batch.len() > 1 => {
                    drop(turn);
                    let mut refused = Vec::new();
                    for write in batch.into_iter().filter(|(_, write)| write.is_in(&pending)) {
                        let one = Box::pin(self.write_batch(operation, vec![write])).await?;
                        refused.extend(one.0);
                        write_units += one.1;
                    }
                    return Ok((refused, write_units));
                }
                Err(error) if error.is_invalid() => {
                    let refused = batch.into_iter().map(|(place, _)| (place, NotTaken::Never));
                    return Ok((refused.collect(), write_units));
                }
                Err(error) => return Err(error),
            }
        }
        let left = batch.into_iter().filter(|(_, write)| write.is_in(&pending));
        Ok((left.map(|(place, _)| (place, NotTaken::Later)).collect(), write_units))
    }
}

impl PendingWrite {
    /// Is it among these?
    fn is_in(&self, pending: &HashMap<String, Vec<WriteRequest>>) -> bool {
        let is_it = |request: &WriteRequest| {
            let put = request.put_request().map(PutRequest::item);
            let attributes = put.or_else(|| request.delete_request().map(DeleteRequest::key));
            attributes.is_some_and(|attributes| {
                self.key.iter().all(|(name, value)| attributes.get(name) == Some(value))
            })
        };
        pending.get(&self.table).is_some_and(|requests| requests.iter().any(is_it))
    }
}

/// Waits before an attempt: not at all before the first, then between nothing and 50 ms times two to
/// the attempt, 5 s at most (full jitter, after the AWS Architecture Blog's "Exponential Backoff And
/// Jitter").
pub(super) async fn back_off(attempt: u32) {
    if attempt == 0 {
        return;
    }
    let ceiling = 50_u64.saturating_mul(1 << attempt.min(16)).min(5_000);
    let mut random = [0_u8; 8];
    // Without randomness the whole ceiling is waited for.
    let share = match getrandom::fill(&mut random) {
        Ok(()) => u64::from_le_bytes(random) % (ceiling + 1),
        Err(_) => ceiling,
    };
    tokio::time::sleep(Duration::from_millis(share)).await;
}
