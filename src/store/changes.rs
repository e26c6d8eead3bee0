//! The journal of changes: the change between two images of an item, and the table `Changes`.
//!
//! | `log`, `first` | |
//! |---|---|
//! | account and log, 0 | the origin: `count` is the first position of the log |
//! | account and log, a position | a chunk: the changes from this position on |

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    operation::put_item::PutItemOutput,
    primitives::Blob,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    CAPACITY, Store, StoreError,
    error::failed_condition,
    item::{EXPIRES_AT, Item, read, source_of, text},
    records::exported,
    units,
};
use crate::{
    cause::chain,
    changes::{Change, ChangeLog, Chunk, ChunkError, ChunkPage, KEPT, Log, LogId, MARGIN},
    imports::Kind,
};

/// An item before and after a write, as a stream record tells it.
#[derive(Debug)]
pub struct Images {
    pub before: Option<serde_dynamo::Item>,
    pub after: Option<serde_dynamo::Item>,
    /// When it was written.
    pub at: Timestamp,
}

impl Store {
    /// The log of a table's changes; `None` for a table that has none.
    #[must_use]
    pub fn log_of_table(&self, table: &str) -> Option<Log> {
        let tables = &self.tables;
        [
            (&tables.offerings, Log::Offerings),
            (&tables.promotions, Log::Promotions),
            (&tables.partner_offerings, Log::PartnerOfferings),
            (&tables.networks, Log::Networks),
            (&tables.products, Log::Products),
        ]
        .into_iter()
        .find_map(|(name, log)| (name == table).then_some(log))
    }

    /// The changes of exported records that writes to a table made, in their order; `None` for a write that an export
    /// does not show. A write that cannot be read is logged, and shown as none: an export fails on its item, too.
    #[must_use]
    pub fn changes_of(&self, log: Log, writes: Vec<Images>) -> Vec<Option<Change>> {
        let writes: Vec<(Option<Item>, Option<Item>, Timestamp)> = writes
            .into_iter()
            .map(|Images { before, after, at }| (before.map(Item::from), after.map(Item::from), at))
            .collect();
        let written: Vec<Option<Written>> = writes
            .iter()
            .map(|(before, after, _)| Written::of(before.as_ref(), after.as_ref()))
            .collect();
        let changes = writes.into_iter().enumerate().map(|(place, (before, after, at))| {
            let source = source_at(&written, place);
            self.change_of(log, before, after, at, source).unwrap_or_else(|error| {
                tracing::error!(cause = chain(&error), "a change is unreadable");
                None
            })
        });
        changes.collect()
    }

    fn change_of(
        &self,
        log: Log,
        before: Option<Item>,
        after: Option<Item>,
        at: Timestamp,
        source: Option<String>,
    ) -> Result<Option<Change>, StoreError> {
        const OPERATION: &str = "record change";
        let record = |item: Option<Item>| match item {
            Some(item) => exported(OPERATION, self.place(kind_in(log, &item)), item),
            None => Ok(None),
        };
        Change::between(record(before)?, record(after)?, at, source)
            .map_err(|error| StoreError::unreadable(OPERATION, error))
    }
}

/// The kind of an item: the table of networks has exchange rates, too.
fn kind_in(log: Log, item: &Item) -> Kind {
    match log {
        Log::Offerings => Kind::Offering,
        Log::Promotions => Kind::Promotion,
        Log::PartnerOfferings => Kind::PartnerOffering,
        Log::Products => Kind::Product,
        Log::Networks => match string(item, "itemKey") {
            Some(key) if key.starts_with("RATE#") => Kind::ExchangeRate,
            _ => Kind::Network,
        },
    }
}

fn string<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// What a write was part of, and its source.
struct Written {
    /// The network or the product that it belongs to.
    group: Option<String>,
    /// `None`: the item does not say.
    source: Option<String>,
}

impl Written {
    fn of(before: Option<&Item>, after: Option<&Item>) -> Option<Self> {
        let item = after.or(before)?;
        let key = string(item, "itemKey").and_then(|key| key.split("#BUNDLE#").next());
        let group = key.or_else(|| string(item, "id")).map(ToOwned::to_owned);
        let source = after.and_then(source_of);
        Some(Self { group, source })
    }
}

/// How many stream records away the source of a removal is looked for.
const NEARBY: usize = 200;

/// The source of a write. A bundle has none of its own, nor has an item that is removed without a tombstone: they
/// were written by a transaction with other items of their network or product. The source is theirs, and their
/// stream records are next to the item's own.
fn source_at(written: &[Option<Written>], place: usize) -> Option<String> {
    let own = written.get(place)?.as_ref()?;
    if own.source.is_some() || own.group.is_none() {
        return own.source.clone();
    }
    let of_group = |place: usize| {
        let other = written.get(place)?.as_ref()?;
        if other.group == own.group { other.source.clone() } else { None }
    };
    (1..NEARBY).find_map(|away| {
        of_group(place + away).or_else(|| place.checked_sub(away).and_then(of_group))
    })
}

/// A chunk as it is stored, without its body.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChunkItem {
    first: u64,
    count: u64,
    #[serde(default)]
    whole_from: u64,
    /// In milliseconds since 1970.
    recorded_at: i64,
}

fn number<T: Into<i128>>(value: T) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

fn log_key(LogId { account, log }: &LogId) -> AttributeValue {
    text(format!("{account}#{log}"))
}

fn chunk(operation: &'static str, mut item: Item) -> Result<Chunk, StoreError> {
    let body = match item.remove("body") {
        Some(AttributeValue::B(body)) => body.into_inner(),
        _ => Vec::new(),
    };
    let ChunkItem { first, count, whole_from, recorded_at } = read(operation, item)?;
    let recorded_at = Timestamp::from_millisecond(recorded_at)
        .map_err(|error| StoreError::unreadable(operation, error))?;
    Ok(Chunk { first, count, whole_from, recorded_at, body })
}

/// The item of a chunk. An origin has no body, and does not expire.
fn item(id: &LogId, chunk: &Chunk) -> Item {
    let mut item = Item::from([
        ("log".to_owned(), log_key(id)),
        ("first".to_owned(), number(chunk.first)),
        ("count".to_owned(), number(chunk.count)),
        ("recordedAt".to_owned(), number(chunk.recorded_at.as_millisecond())),
    ]);
    if chunk.whole_from > 0 {
        item.insert("wholeFrom".to_owned(), number(chunk.whole_from));
    }
    if chunk.first > 0 {
        let expires_at = chunk.recorded_at + KEPT + MARGIN;
        item.insert(EXPIRES_AT.to_owned(), number(expires_at.as_second()));
        item.insert("body".to_owned(), AttributeValue::B(Blob::new(chunk.body.as_slice())));
    }
    item
}

impl From<ChunkError> for StoreError {
    fn from(error: ChunkError) -> Self {
        Self::unreadable("journal of changes", error)
    }
}

impl ChangeLog for Store {
    type Error = StoreError;

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn newest(&self, log: &LogId) -> Result<Option<Chunk>, StoreError> {
        const OPERATION: &str = "read end of changes";
        let query = self
            .client
            .query()
            .table_name(&self.tables.changes)
            .key_condition_expression("#log = :log")
            .expression_attribute_names("#log", "log")
            .expression_attribute_values(":log", log_key(log))
            .scan_index_forward(false)
            .limit(1)
            .consistent_read(true);
        let reply = self.query(OPERATION, query).await?;
        let newest = reply.items.unwrap_or_default().into_iter().next();
        newest.map(|item| chunk(OPERATION, item)).transpose()
    }

    async fn chunks(&self, log: &LogId, from: u64, limit: u32) -> Result<ChunkPage, StoreError> {
        const OPERATION: &str = "read changes";
        let query = self
            .client
            .query()
            .table_name(&self.tables.changes)
            .key_condition_expression("#log = :log AND #first >= :first")
            .expression_attribute_names("#log", "log")
            .expression_attribute_names("#first", "first")
            .expression_attribute_values(":log", log_key(log))
            .expression_attribute_values(":first", number(from))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .consistent_read(true);
        let reply = self.query(OPERATION, query).await?;
        let read_units = units(reply.consumed_capacity());
        let is_last = reply.last_evaluated_key.is_none();
        let items = reply.items.unwrap_or_default().into_iter();
        let chunks = items.map(|item| chunk(OPERATION, item)).collect::<Result<_, _>>()?;
        Ok(ChunkPage { chunks, is_last, read_units })
    }

    async fn append(&self, log: &LogId, new: &Chunk) -> Result<Option<Chunk>, StoreError> {
        const OPERATION: &str = "append changes";
        let request = self
            .client
            .put_item()
            .table_name(&self.tables.changes)
            .set_item(Some(item(log, new)))
            .condition_expression("attribute_not_exists(#first)")
            .expression_attribute_names("#first", "first")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(CAPACITY);
        match self
            .attempt(OPERATION, Some(&self.account_limits.writes), || request.clone().send())
            .await
        {
            Ok(reply) => {
                self.meter.add_write(units(reply.consumed_capacity()));
                Ok(None)
            }
            Err(error) => {
                let there = failed_condition(OPERATION, error)?;
                self.meter.add_write(1.0);
                let there = there.ok_or_else(|| StoreError::unreadable(OPERATION, "no item"))?;
                chunk(OPERATION, there).map(Some)
            }
        }
    }

    async fn put_origin(
        &self,
        log: &LogId,
        origin: &Chunk,
        seen: Option<u64>,
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "begin changes";
        let condition = match seen {
            Some(_) => "#count = :seen",
            None => "attribute_not_exists(#count)",
        };
        let request = self
            .client
            .put_item()
            .table_name(&self.tables.changes)
            .set_item(Some(item(log, origin)))
            .condition_expression(condition)
            .expression_attribute_names("#count", "count")
            .set_expression_attribute_values(
                seen.map(|seen| HashMap::from([(":seen".to_owned(), number(seen))])),
            )
            .return_consumed_capacity(CAPACITY);
        let send = || request.clone().send();
        self.write_if(OPERATION, send, PutItemOutput::consumed_capacity).await
    }
}
