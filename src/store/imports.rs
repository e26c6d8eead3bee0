//! What imports read and write: content hashes by the hundred, writes by twenty-five.
//!
//! DynamoDB may leave part of a batch unprocessed. Those keys are asked for again with full-jitter
//! backoff, and so is a batch that met a throttle or an outage; what is still left after
//! [`MAX_FRUITLESS`] is an error on reads, and on writes a refusal
//! of just those rows: reported, never lost.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::types::{
    AttributeValue, DeleteRequest, KeysAndAttributes, PutRequest, WriteRequest,
};
use futures_util::{StreamExt as _, stream};

use super::{
    CAPACITY, Store, StoreError,
    item::{Item, OfferingItem, PromotionItem, VersionAttributes, read, text, write},
    total_units,
};
use crate::{
    account::AccountId,
    imports::{ChangeSet, Content, ImportTarget, Key, RefusedWrite, Stored, Write},
    offerings::{OfferingId, PromoCode},
};

/// DynamoDB's limit of keys in a `BatchGetItem`.
const KEYS_A_READ: usize = 100;

/// DynamoDB's limit of requests in a `BatchWriteItem`.
const ITEMS_A_WRITE: usize = 25;

/// Batches under way at once.
const CONCURRENT_BATCHES: usize = 8;

/// Requests in a row that bring nothing before what is left of a batch is given up. Each has the
/// client's own retries within it.
const MAX_FRUITLESS: u32 = 8;

impl ImportTarget for Store {
    type Error = StoreError;

    async fn stored(
        &self,
        account: &AccountId,
        keys: &[Key],
    ) -> Result<(HashMap<Key, Stored>, f64), StoreError> {
        let batches: Vec<Vec<Key>> = keys.chunks(KEYS_A_READ).map(<[_]>::to_vec).collect();
        let reads = batches.into_iter().map(|batch| self.read_batch(account, batch));
        let mut replies = stream::iter(reads).buffer_unordered(CONCURRENT_BATCHES);
        let mut known = HashMap::with_capacity(keys.len());
        let mut read_units = 0.0;
        while let Some(reply) = replies.next().await {
            let (found, units) = reply?;
            known.extend(found);
            read_units += units;
        }
        Ok((known, read_units))
    }

    async fn write(
        &self,
        account: &AccountId,
        changes: ChangeSet,
    ) -> Result<(Vec<RefusedWrite>, f64), StoreError> {
        let mut requests = Vec::with_capacity(changes.len());
        for (key, change) in changes {
            requests.push((key.clone(), self.write_request(account, &key, change)?));
        }
        let batches: Vec<Vec<(Key, (String, WriteRequest))>> =
            requests.chunks(ITEMS_A_WRITE).map(<[_]>::to_vec).collect();
        let writes = batches.into_iter().map(|batch| self.write_batch(account, batch));
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
}

impl Store {
    fn table_of(&self, key: &Key) -> &str {
        match key {
            Key::Offering(_) => &self.tables.offerings,
            Key::Promotion(_) => &self.tables.promotions,
        }
    }

    async fn read_batch(
        &self,
        account: &AccountId,
        keys: Vec<Key>,
    ) -> Result<(HashMap<Key, Stored>, f64), StoreError> {
        const OPERATION: &str = "read stored versions";
        let mut wanted: HashMap<String, KeysAndAttributes> = HashMap::new();
        for key in &keys {
            let table = self.table_of(key).to_owned();
            let builder = match wanted.remove(&table) {
                Some(existing) => KeysAndAttributes::builder()
                    .set_keys(Some(existing.keys))
                    .set_projection_expression(existing.projection_expression),
                None => KeysAndAttributes::builder().projection_expression(format!(
                    "{}, {}",
                    key_name(key),
                    VersionAttributes::NAMES
                )),
            };
            let request = builder
                .keys(key_item(account, key))
                .build()
                .map_err(|error| StoreError::unbuildable(OPERATION, error))?;
            wanted.insert(table, request);
        }
        let mut known = HashMap::with_capacity(keys.len());
        let mut read_units = 0.0;
        let mut fruitless = 0;
        while fruitless < MAX_FRUITLESS {
            back_off(fruitless).await;
            fruitless += 1;
            let outcome = self
                .client
                .batch_get_item()
                .set_request_items(Some(wanted.clone()))
                .return_consumed_capacity(CAPACITY)
                .send()
                .await
                .map_err(|error| StoreError::from_sdk(OPERATION, &error));
            match outcome {
                Ok(reply) => {
                    read_units += total_units(reply.consumed_capacity());
                    for item in reply.responses.unwrap_or_default().into_values().flatten() {
                        let key = stored_key(&item).ok_or_else(|| {
                            StoreError::unreadable(OPERATION, "an item without its key")
                        })?;
                        let version: VersionAttributes = read(OPERATION, item)?;
                        if let Some(version) = version.stored() {
                            known.insert(key, version);
                        }
                    }
                    let left = reply.unprocessed_keys.unwrap_or_default();
                    let count = |keys: &HashMap<String, KeysAndAttributes>| {
                        keys.values().map(|keys| keys.keys().len()).sum::<usize>()
                    };
                    if count(&left) < count(&wanted) {
                        fruitless = 1;
                    }
                    wanted = left;
                    if wanted.is_empty() {
                        return Ok((known, read_units));
                    }
                }
                Err(error) if error.is_unavailable() && fruitless < MAX_FRUITLESS => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::left_over(OPERATION, wanted.values().map(|keys| keys.keys().len()).sum()))
    }

    /// Writes a batch; what the database does not take comes back as refusals.
    async fn write_batch(
        &self,
        account: &AccountId,
        batch: Vec<(Key, (String, WriteRequest))>,
    ) -> Result<(Vec<RefusedWrite>, f64), StoreError> {
        const OPERATION: &str = "write changes";
        let keys: Vec<Key> = batch.iter().map(|(key, _)| key.clone()).collect();
        let mut pending: HashMap<String, Vec<WriteRequest>> = HashMap::new();
        for (_, (table, request)) in batch {
            pending.entry(table).or_default().push(request);
        }
        let mut write_units = 0.0;
        let mut fruitless = 0;
        while fruitless < MAX_FRUITLESS {
            back_off(fruitless).await;
            fruitless += 1;
            let outcome = self
                .client
                .batch_write_item()
                .set_request_items(Some(pending.clone()))
                .return_consumed_capacity(CAPACITY)
                .send()
                .await
                .map_err(|error| StoreError::from_sdk(OPERATION, &error));
            match outcome {
                Ok(reply) => {
                    write_units += total_units(reply.consumed_capacity());
                    let left = reply.unprocessed_items.unwrap_or_default();
                    if left.values().map(Vec::len).sum::<usize>()
                        < pending.values().map(Vec::len).sum::<usize>()
                    {
                        fruitless = 1;
                    }
                    pending = left;
                    if pending.is_empty() {
                        return Ok((Vec::new(), write_units));
                    }
                }
                // Putting and deleting the same again is harmless.
                Err(error) if error.is_unavailable() => {}
                // One bad item fails its whole batch: each is tried on its own.
                Err(error) if error.is_invalid() && keys.len() > 1 => {
                    return self.write_one_by_one(account, keys, pending, write_units).await;
                }
                Err(error) if error.is_invalid() => {
                    let message = "write: the database refuses this record".to_owned();
                    let refused =
                        keys.into_iter().map(|key| RefusedWrite { key, message: message.clone() });
                    return Ok((refused.collect(), write_units));
                }
                Err(error) => return Err(error),
            }
        }
        let left: Vec<WriteRequest> = pending.into_values().flatten().collect();
        let refused = keys
            .into_iter()
            .filter(|key| left.iter().any(|request| is_about(request, account, key)))
            .map(|key| RefusedWrite {
                key,
                message: "write: temporarily unavailable, import this record again".to_owned(),
            })
            .collect();
        Ok((refused, write_units))
    }

    async fn write_one_by_one(
        &self,
        account: &AccountId,
        keys: Vec<Key>,
        pending: HashMap<String, Vec<WriteRequest>>,
        mut write_units: f64,
    ) -> Result<(Vec<RefusedWrite>, f64), StoreError> {
        let mut refused = Vec::new();
        for (table, requests) in pending {
            for request in requests {
                let about = keys.iter().find(|key| is_about(&request, account, key));
                let Some(key) = about.cloned() else { continue };
                let batch = vec![(key, (table.clone(), request))];
                let (left, units) = Box::pin(self.write_batch(account, batch)).await?;
                refused.extend(left);
                write_units += units;
            }
        }
        Ok((refused, write_units))
    }

    /// The table and request of one change.
    fn write_request(
        &self,
        account: &AccountId,
        key: &Key,
        change: Write,
    ) -> Result<(String, WriteRequest), StoreError> {
        const OPERATION: &str = "write changes";
        let unbuildable = |error| StoreError::unbuildable(OPERATION, error);
        let request = match change {
            Write::Delete(key) => {
                let delete =
                    DeleteRequest::builder().set_key(Some(key_item(account, &key))).build();
                WriteRequest::builder().delete_request(delete.map_err(unbuildable)?).build()
            }
            Write::Put { content, stored, updated_at } => {
                let mut item = match content {
                    Content::Offering(offering) => {
                        let row = offering.into_row(stored.created_at, updated_at);
                        write(OPERATION, OfferingItem::new(account, row))?
                    }
                    Content::Promotion(promotion) => {
                        let code = promotion.code().clone();
                        let (account, document) = (account.to_string(), promotion.document());
                        write(OPERATION, PromotionItem { account, code, document })?
                    }
                };
                item.extend(write(OPERATION, VersionAttributes::from(stored))?);
                let put = PutRequest::builder().set_item(Some(item)).build();
                WriteRequest::builder().put_request(put.map_err(unbuildable)?).build()
            }
        };
        Ok((self.table_of(key).to_owned(), request))
    }
}

fn key_name(key: &Key) -> &'static str {
    match key {
        Key::Offering(_) => "productOfferingId",
        Key::Promotion(_) => "code",
    }
}

fn key_item(account: &AccountId, key: &Key) -> Item {
    let identity = match key {
        Key::Offering(id) => id.as_str(),
        Key::Promotion(code) => code.as_str(),
    };
    Item::from([
        ("account".to_owned(), text(account.as_str())),
        (key_name(key).to_owned(), text(identity)),
    ])
}

/// Which key an item read with [`key_name`] is of.
fn stored_key(item: &Item) -> Option<Key> {
    let identity = |name: &str| item.get(name).and_then(|value: &AttributeValue| value.as_s().ok());
    if let Some(id) = identity("productOfferingId") {
        return OfferingId::parse(id).ok().map(Key::Offering);
    }
    identity("code").and_then(|code| PromoCode::parse(code).ok()).map(Key::Promotion)
}

/// Does a request write or delete the item of this key?
fn is_about(request: &WriteRequest, account: &AccountId, key: &Key) -> bool {
    let put = request.put_request().map(aws_sdk_dynamodb::types::PutRequest::item);
    let attributes =
        put.or_else(|| request.delete_request().map(aws_sdk_dynamodb::types::DeleteRequest::key));
    attributes.is_some_and(|attributes| {
        key_item(account, key).iter().all(|(name, value)| attributes.get(name) == Some(value))
    })
}

/// Waits before an attempt: not at all before the first, then between nothing and 50 ms times two to
/// the attempt, 5 s at most (full jitter, after the AWS Architecture Blog's "Exponential Backoff And
/// Jitter").
async fn back_off(attempt: u32) {
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
