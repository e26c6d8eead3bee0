//! The DynamoDB adapter: one narrow implementation per access pattern.
//!
//! | File | Access pattern |
//! |---|---|
//! | `client` | builds the lean SDK clients |
//! | `error` | the errors of the database, and whether they are temporary |
//! | `offerings` | a page of one key range of an index; one offering |
//! | `areas` | entries of offerings: pages of a range, changes with the offering, the backfill |
//! | `promotions` | one promotion |
//! | `idempotency` | claims on idempotency keys; answers to keep |
//! | `keys` | one API key by its hash; creating, listing, changing and revoking keys |
//! | `partners` | the partner offerings of an account |
//! | `networks` | a network with its bundles; networks by country; an exchange rate; changes to a network |
//! | `products` | one row merged; one product by sku; products, newest first |
//! | `documents` | reads of many keys; writes, each on the condition that nothing newer is stored |
//! | `kinds` | the table and the keys of each kind of record |
//! | `batch`, `transaction` | many items read at once; all written or none |
//! | `typed` | the items of a query, deserialized without the SDK's maps |
//! | `ranges` | the items of many keys, read as one key range where that is cheaper |
//! | `limiter` | the limits of an account: requests in flight, and per second |
//! | `jobs` | the job-state store: claims, checkpoints, ends of jobs; object versions and snapshots |
//! | `difference` | records as an export writes them, for dry runs that show differences |
//! | `exports` | export jobs, and the records that they read |
//! | `export` | all records of an account; the records that a snapshot may remove |
//! | `records` | the record of an item, as exports and the journal have it |
//! | `usage` | the counter of a key with limits; its use by day |
//! | `changes` | the journal: the change between two images of an item; the chunks of a log |
//!
//! The meter of a handle adds up what its requests consume ([`Store::metered`]). Lists are eventually
//! consistent, which costs half a read unit per 4 KB. Reads that decide something are strongly consistent: a
//! key's record, a product by its sku, links of external ids, what imports compare with, exports.

#![allow(
    clippy::missing_errors_doc,
    reason = "the database failed, or what it stores cannot be read"
)]

mod areas;
mod batch;
mod changes;
mod client;
mod difference;
mod documents;
mod error;
mod export;
mod exports;
mod expression;
mod idempotency;
mod item;
mod jobs;
mod keys;
mod kinds;
mod limiter;
mod networks;
mod offerings;
mod partners;
mod products;
mod promotions;
mod ranges;
mod records;
#[cfg(test)]
mod tests;
mod transaction;
mod typed;
mod usage;

use std::{
    error::Error,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aws_sdk_dynamodb::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        delete_item::{DeleteItemOutput, builders::DeleteItemFluentBuilder},
        put_item::{PutItemOutput, builders::PutItemFluentBuilder},
        query::{QueryOutput, builders::QueryFluentBuilder},
        update_item::{UpdateItemOutput, builders::UpdateItemFluentBuilder},
    },
    types::{
        ConsumedCapacity, ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure,
    },
};
pub use changes::Images;
pub use client::{
    ClientError, Connection, lean_client, lean_events_client, lean_s3_client, lean_sqs_client,
};
pub use error::StoreError;
use error::{ConditionalWriteError, failed_condition};
pub use export::RecordReader;
pub use exports::ExportPosition;
use item::{Item, NOT_NEWER, ORDER, note_writer, order_value, text};
pub use jobs::{GivenUp, JobPage, JobPosition, SeenContent};
use limiter::{AccountLimits, CONCURRENT_WRITES, Limiter, Limits};
use ranges::Ranges;
use serde::de::DeserializeOwned;
use typed::TypedItems;

use self::areas::Markers;
use crate::{
    account::AccountId, cause::chain, clock::Clock, cost::Meter, lock::lock, order::Order,
    retry::Patience, xray::Span,
};

/// Defines the names of the tables: each with what its name ends in, and the environment variable that gives it to a
/// function.
macro_rules! table_names {
    ($($(#[$doc:meta])* $table:ident: $end:literal, $variable:literal;)+) => {
        /// The names of the tables, from the environment of a function or from a common prefix.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct TableNames {
            $($(#[$doc])* pub $table: String,)+
        }

        impl TableNames {
            /// The names that a deployment of `template.yaml` gives its tables: `<prefix>-offerings` and so on. The
            /// prefix is the name of the stack.
            #[must_use]
            pub fn with_prefix(prefix: &str) -> Self {
                Self { $($table: format!("{prefix}-{}", $end),)+ }
            }

            /// The names in the environment variables that `template.yaml` sets.
            pub(crate) fn read<E>(value: impl Fn(&'static str) -> Result<String, E>) -> Result<Self, E> {
                Ok(Self { $($table: value($variable)?,)+ })
            }

            /// The environment variables that give a function the names of the tables.
            #[must_use]
            pub fn variables(&self) -> [(&'static str, &str); 12] {
                [$(($variable, &self.$table)),+]
            }
        }
    };
}

table_names! {
    offerings: "offerings", "OFFERINGS_TABLE";
    /// Coverage entries of offerings.
    offering_areas: "offering-areas", "OFFERING_AREAS_TABLE";
    promotions: "promotions", "PROMOTIONS_TABLE";
    partner_offerings: "partner-offerings", "PARTNER_OFFERINGS_TABLE";
    /// Networks, bundles and exchange rates.
    networks: "networks", "NETWORKS_TABLE";
    products: "products", "PRODUCTS_TABLE";
    imports: "imports", "IMPORTS_TABLE";
    api_keys: "api-keys", "API_KEYS_TABLE";
    /// The journal of changes.
    changes: "changes", "CHANGES_TABLE";
    /// Requests with an idempotency key, and their answers.
    idempotency_keys: "idempotency-keys", "IDEMPOTENCY_KEYS_TABLE";
    /// Export jobs.
    exports: "exports", "EXPORTS_TABLE";
    /// The counters of keys with limits.
    usage: "usage", "USAGE_TABLE";
}

/// The tables of the catalog, and the client for them.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    tables: Arc<TableNames>,
    /// Adds up the capacity that this handle's requests consume.
    meter: Meter,
    limits: Arc<Limits>,
    /// The limits of the account whose handle this is.
    account_limits: Arc<AccountLimits>,
    ranges: Arc<Ranges>,
    markers: Arc<Markers>,
    throttles: Arc<ThrottleLog>,
    /// How long requests that failed temporarily are retried.
    patience: Patience,
    clock: Clock,
    /// What items say wrote them, if they are written by this handle.
    writer: Option<Arc<str>>,
}

/// Logs throttled requests, at most one line per second. Most of them succeed later, and would otherwise
/// leave no trace.
#[derive(Debug, Default)]
struct ThrottleLog(Mutex<Option<Instant>>);

impl ThrottleLog {
    fn log(&self, error: &StoreError) {
        let mut logged = lock(&self.0);
        if logged.is_none_or(|logged| logged.elapsed() >= Duration::from_secs(1)) {
            *logged = Some(Instant::now());
            tracing::warn!(cause = chain(error), "throttled");
        }
    }
}

impl Store {
    #[must_use]
    pub fn new(client: Client, tables: TableNames) -> Self {
        Self {
            client,
            tables: Arc::new(tables),
            meter: Meter::default(),
            limits: Arc::default(),
            account_limits: Arc::default(),
            ranges: Arc::default(),
            markers: Arc::default(),
            throttles: Arc::default(),
            patience: Patience::REQUEST,
            clock: Clock::System,
            writer: None,
        }
    }

    /// A handle to the same tables, whose requests are counted by this meter.
    #[must_use]
    pub fn metered(&self, meter: &Meter) -> Self {
        Self { meter: meter.clone(), ..self.clone() }
    }

    /// A handle to the same tables for one account, whose requests are counted by this meter. All handles of the
    /// account share its limits.
    #[must_use]
    pub fn for_account(&self, account: &AccountId, meter: &Meter) -> Self {
        Self { account_limits: self.limits.of(account), ..self.metered(meter) }
    }

    /// A handle to the same tables, which notes this writer in the items of records that it writes: the journal of
    /// changes tells it as the source.
    #[must_use]
    pub fn written_by(&self, writer: &str) -> Self {
        Self { writer: Some(writer.into()), ..self.clone() }
    }

    /// Adds this handle's writer to an item.
    fn note_writer(&self, item: &mut Item) {
        if let Some(writer) = self.writer.as_deref() {
            note_writer(item, writer);
        }
    }

    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The clock for leases and expiries.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }
}

impl Store {
    /// Sends a request until it is answered or the patience is exhausted. All retries of requests to the
    /// database happen here. No permit of the limiter is held during a wait.
    async fn attempt<T, E, F>(
        &self,
        operation: &'static str,
        limiter: Option<&Limiter>,
        send: impl Fn() -> F,
    ) -> Result<T, SdkError<E, HttpResponse>>
    where
        E: Error + ProvideErrorMetadata + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let classify = |error: &_| StoreError::from_sdk(operation, error);
        self.attempt_classified(operation, limiter, send, classify).await
    }

    /// Like [`Store::attempt`], but with another classification of errors.
    async fn attempt_classified<T, E, F>(
        &self,
        operation: &'static str,
        limiter: Option<&Limiter>,
        send: impl Fn() -> F,
        classify: impl Fn(&E) -> StoreError,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let (send, classify) = (&send, &classify);
        let attempt = || async move {
            let permit = match limiter {
                Some(limiter) => Some(limiter.permit().await),
                None => None,
            };
            let span = Span::begin();
            let outcome = send().await;
            let class = outcome.as_ref().err().map(classify);
            span.end(operation, class.as_ref().map(StoreError::failure));
            if let Some(error) = class.as_ref().filter(|error| error.is_throttled()) {
                self.throttles.log(error);
            }
            match (permit, &class) {
                (Some(permit), Some(error)) if error.is_throttled() => permit.throttled(),
                // It says nothing about the rate.
                (Some(_), Some(error)) if error.is_unavailable() => {}
                (Some(permit), _) => permit.accepted(),
                (None, _) => {}
            }
            let is_unavailable = class.is_some_and(|error| error.is_unavailable());
            outcome.map_err(|error| (error, is_unavailable))
        };
        let outcome = self.patience.retry(attempt, |(_, is_unavailable)| *is_unavailable).await;
        outcome.map_err(|(error, _)| error)
    }

    /// Sends a request as [`Store::attempt`] does, without a limiter.
    async fn send<T, E, F>(
        &self,
        operation: &'static str,
        send: impl Fn() -> F,
    ) -> Result<T, StoreError>
    where
        E: Error + ProvideErrorMetadata + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let outcome = self.attempt(operation, None, send).await;
        outcome.map_err(|error| StoreError::from_sdk(operation, &error))
    }
}

impl Store {
    /// Sends a conditional write of one item, and counts it: the reply or, if the condition did not hold, the item that
    /// the request asked for then. That consumes as much as the write would have, but the error does not say how much.
    async fn conditional_write<T, E, F>(
        &self,
        operation: &'static str,
        limiter: Option<&Limiter>,
        send: impl Fn() -> F,
        capacity: impl Fn(&T) -> Option<&ConsumedCapacity>,
    ) -> Result<Result<T, Option<Item>>, StoreError>
    where
        E: ConditionalWriteError + Error + ProvideErrorMetadata + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        Ok(match self.attempt(operation, limiter, send).await {
            Ok(reply) => {
                self.meter.add_write(units(capacity(&reply)));
                Ok(reply)
            }
            Err(error) => {
                let stored = failed_condition(operation, error)?;
                self.meter.add_write(1.0);
                Err(stored)
            }
        })
    }

    fn put_item(&self, table: &str, item: Item) -> PutItemFluentBuilder {
        self.client.put_item().table_name(table).set_item(Some(item))
    }

    fn update_item(&self, table: &str, key: Item) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(table).set_key(Some(key))
    }

    fn delete_item(&self, table: &str, key: Item) -> DeleteItemFluentBuilder {
        self.client.delete_item().table_name(table).set_key(Some(key))
    }

    /// Puts an item: what was stored, if the request asks for it, where the condition did not hold.
    async fn put(
        &self,
        operation: &'static str,
        put: PutItemFluentBuilder,
    ) -> Result<Result<(), Option<Item>>, StoreError> {
        let put = put.return_consumed_capacity(CAPACITY);
        let (limiter, send) = (Some(&self.account_limits.writes), || put.clone().send());
        let done = self
            .conditional_write(operation, limiter, send, PutItemOutput::consumed_capacity)
            .await?;
        Ok(done.map(drop))
    }

    /// Deletes an item on a condition.
    async fn delete(
        &self,
        operation: &'static str,
        delete: DeleteItemFluentBuilder,
    ) -> Result<Result<(), Option<Item>>, StoreError> {
        let delete = delete.return_consumed_capacity(CAPACITY);
        let (limiter, send) = (Some(&self.account_limits.writes), || delete.clone().send());
        let done = self
            .conditional_write(operation, limiter, send, DeleteItemOutput::consumed_capacity)
            .await?;
        Ok(done.map(drop))
    }

    /// Sends an update: the attributes that the request asks for, or what was stored where the condition did not hold.
    async fn update(
        &self,
        operation: &'static str,
        limiter: Option<&Limiter>,
        update: UpdateItemFluentBuilder,
    ) -> Result<Result<Item, Option<Item>>, StoreError> {
        let update = update
            .return_consumed_capacity(CAPACITY)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let send = || update.clone().send();
        let done = self
            .conditional_write(operation, limiter, send, UpdateItemOutput::consumed_capacity)
            .await?;
        Ok(done.map(|reply| reply.attributes.unwrap_or_default()))
    }

    /// Sends an update: the item that it made, or the one whose condition did not hold.
    async fn update_or_stored(
        &self,
        operation: &'static str,
        update: UpdateItemFluentBuilder,
    ) -> Result<Result<Item, Item>, StoreError> {
        let update = update.return_values(ReturnValue::AllNew);
        let done = self.update(operation, None, update).await?;
        Ok(done.map_err(Option::unwrap_or_default))
    }

    /// Puts an item that has this order, unless a newer one is stored: `false` then.
    async fn put_unless_newer(
        &self,
        operation: &'static str,
        table: &str,
        item: Item,
        order: Order,
    ) -> Result<bool, StoreError> {
        let request = self
            .put_item(table, item)
            .condition_expression(NOT_NEWER)
            .expression_attribute_names("#at", ORDER)
            .expression_attribute_values(":at", order_value(order));
        Ok(self.put(operation, request).await?.is_ok())
    }
}

/// The timeout of one attempt to read a single item. Such a read takes milliseconds, and a new attempt goes
/// to another server.
const SINGLE_READ: Duration = Duration::from_secs(1);

impl Store {
    /// Reads a single item by its key.
    async fn get(
        &self,
        operation: &'static str,
        table: &str,
        key: Item,
        is_consistent: bool,
    ) -> Result<Option<Item>, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(table)
            .set_key(Some(key))
            .consistent_read(is_consistent)
            .return_consumed_capacity(CAPACITY);
        let attempt = || {
            let attempt = tokio::time::timeout(SINGLE_READ, request.clone().send());
            async {
                match attempt.await {
                    Ok(outcome) => outcome,
                    Err(late) => Err(SdkError::timeout_error(late)),
                }
            }
        };
        let reply = self.send(operation, attempt).await?;
        self.meter.add_read(units(reply.consumed_capacity()));
        Ok(reply.item)
    }

    /// A query for items of an account; `condition` is that of their keys.
    fn query_of(
        &self,
        account: &AccountId,
        table: &str,
        condition: impl Into<String>,
    ) -> QueryFluentBuilder {
        let query = self.client.query().table_name(table).key_condition_expression(condition);
        query.expression_attribute_values(":account", text(account.as_str()))
    }

    /// One reply of a query.
    async fn query(
        &self,
        operation: &'static str,
        query: QueryFluentBuilder,
    ) -> Result<QueryOutput, StoreError> {
        let query = query.return_consumed_capacity(CAPACITY);
        let reply = self.send(operation, || query.clone().send()).await?;
        self.meter.add_read(units(reply.consumed_capacity()));
        Ok(reply)
    }

    /// One reply of a query, and its items as values of this type.
    async fn query_typed<T: DeserializeOwned + Send + 'static>(
        &self,
        operation: &'static str,
        query: QueryFluentBuilder,
    ) -> Result<(QueryOutput, Vec<T>), StoreError> {
        let query = query.return_consumed_capacity(CAPACITY);
        let items = TypedItems::new();
        let send = || query.clone().customize().interceptor(items.clone()).send();
        let reply = self.send(operation, send).await?;
        self.meter.add_read(units(reply.consumed_capacity()));
        let items = items.take().map_err(|error| StoreError::unreadable(operation, error))?;
        Ok((reply, items))
    }

    /// All items of a query, from as many replies as it takes.
    async fn query_all(
        &self,
        operation: &'static str,
        query: QueryFluentBuilder,
    ) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let page = query.clone().set_exclusive_start_key(start);
            let reply = self.query(operation, page).await?;
            items.extend(reply.items.unwrap_or_default());
            start = reply.last_evaluated_key;
            if start.is_none() {
                return Ok(items);
            }
        }
    }
}

const CAPACITY: ReturnConsumedCapacity = ReturnConsumedCapacity::Total;

/// The units that one reply consumed; zero if it does not say.
fn units(capacity: Option<&ConsumedCapacity>) -> f64 {
    capacity.and_then(ConsumedCapacity::capacity_units).unwrap_or_default()
}

/// The units that a batch consumed in all tables.
fn total_units(capacity: &[ConsumedCapacity]) -> f64 {
    capacity.iter().map(|table| units(Some(table))).sum()
}
