//! The journal of changes: the change between two images of an item, and the table `Changes`.
//!
//! | `log`, `first` | |
//! |---|---|
//! | account and log, 0 | the base chunk: `count` is the first position of the log |
//! | account and log, a position | a chunk: the changes from this position on |
//! | `lost`, the number of a log | when records of the table's stream were last found to be lost |

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    primitives::Blob,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::{
    Store, StoreError,
    item::{EXPIRES_AT, Item, number, read, text, text_of, writer_of},
    records::{exported, identity_by_key},
    units,
};
use crate::{
    cause::chain,
    changes::{
        Change, Chunk, ChunkError, ChunkPage, ExportedRecord, Identity, JournalStore, KEPT, Log,
        LogId, Losses, MARGIN,
    },
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
        let kind = Kind::ALL.iter().find(|kind| self.place(**kind).table == table)?;
        Some(Log::of(*kind))
    }

    /// The changes of exported records that writes to a table made, in their order; `None` for a write that an export
    /// does not show.
    #[must_use]
    pub fn changes_of(&self, log: Log, writes: Vec<Images>) -> Vec<Option<Change>> {
        let writes: Vec<(Option<Item>, Option<Item>, Timestamp)> = writes
            .into_iter()
            .map(|Images { before, after, at }| (before.map(Item::from), after.map(Item::from), at))
            .collect();
        let written: Vec<Option<Written>> = writes
            .iter()
            .map(|(before, after, at)| Written::of(before.as_ref(), after.as_ref(), *at))
            .collect();
        let changes = writes.into_iter().enumerate().map(|(place, (before, after, at))| {
            self.change_of(log, before, after, at, writer_at(&written, place))
        });
        changes.collect()
    }

    /// A record that cannot be read any more is told as a delete until it can be read again: it cannot be exported, and
    /// a copy must not keep what it was before. If only what was before cannot be read, it counts as nothing.
    fn change_of(
        &self,
        log: Log,
        before: Option<Item>,
        after: Option<Item>,
        at: Timestamp,
        source: Option<String>,
    ) -> Option<Change> {
        let between = |before: Option<ExportedRecord>, after, source: Option<String>| {
            Change::between(before, after, at, source.clone()).unwrap_or_else(|error| {
                tracing::error!(cause = chain(&error), "a change is unreadable");
                Some(Change::delete(error.identity, None, at, source))
            })
        };
        match (self.record_of(log, before), self.record_of(log, after)) {
            (Ok(before), Ok(after)) => between(before, after, source),
            (Err(_), Ok(Some(after))) => between(None, Some(after), source),
            (Ok(Some(ExportedRecord { identity, visibility, .. })), Err(_)) => {
                Some(Change::delete(identity, visibility, at, source))
            }
            (Err(identity), Ok(None)) | (_, Err(identity)) => {
                identity.map(|identity| Change::delete(identity, None, at, source))
            }
        }
    }

    /// The record of an image; if it cannot be read, what its key says that it is about.
    fn record_of(
        &self,
        log: Log,
        image: Option<Item>,
    ) -> Result<Option<ExportedRecord>, Option<Identity>> {
        let Some(item) = image else { return Ok(None) };
        let place = self.place(kind_in(log, &item));
        let identity = identity_by_key(place, &item);
        exported("record change", place, item).map_err(|error| {
            tracing::error!(cause = chain(&error), "an item is unreadable");
            identity
        })
    }
}

/// The kind of an item: the table of networks has exchange rates, too.
fn kind_in(log: Log, item: &Item) -> Kind {
    match log {
        Log::Offerings => Kind::Offering,
        Log::Promotions => Kind::Promotion,
        Log::PartnerOfferings => Kind::PartnerOffering,
        Log::Products => Kind::Product,
        Log::Networks => match text_of(item, "itemKey") {
            Some(key) if key.starts_with("RATE#") => Kind::ExchangeRate,
            _ => Kind::Network,
        },
    }
}

/// What a write was part of, and its writer.
struct Written {
    /// The network or the product that it belongs to.
    group: Option<String>,
    /// `None`: the item does not say.
    writer: Option<String>,
    at: Timestamp,
}

impl Written {
    fn of(before: Option<&Item>, after: Option<&Item>, at: Timestamp) -> Option<Self> {
        let item = after.or(before)?;
        let key = text_of(item, "itemKey").and_then(|key| key.split("#BUNDLE#").next());
        let group = key.or_else(|| text_of(item, "id")).map(ToOwned::to_owned);
        let writer = after.and_then(writer_of);
        Some(Self { group, writer, at })
    }
}

/// How many stream records away the writer of a removal is looked for, and how much later or earlier they may be: times
/// of stream records are rounded to seconds.
const NEARBY: (usize, SignedDuration) = (200, SignedDuration::from_secs(1));

/// The writer of an item. A bundle names none, nor does an item that is removed without a tombstone: they were written
/// by a transaction with other items of their network or product. Those name it, and their stream records are next to
/// the item's own. If they came with another batch, the writer is unknown: it is not that of whatever else is nearby.
fn writer_at(written: &[Option<Written>], place: usize) -> Option<String> {
    let own = written.get(place)?.as_ref()?;
    if own.writer.is_some() || own.group.is_none() {
        return own.writer.clone();
    }
    let of_group = |place: usize| {
        let other = written.get(place)?.as_ref()?;
        let is_together = other.at.duration_since(own.at).abs() <= NEARBY.1;
        if other.group == own.group && is_together { other.writer.clone() } else { None }
    };
    (1..NEARBY.0).find_map(|away| {
        of_group(place + away).or_else(|| place.checked_sub(away).and_then(of_group))
    })
}

/// The hash key of the losses. That of a log has an account, and a `#`.
const LOST: &str = "lost";

/// A loss as it is stored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LossItem {
    table: Log,
    /// In milliseconds since 1970.
    lost_at: i64,
}

impl Store {
    /// Notes that records of a table's stream may be lost: readers of all its logs that have begun must start over.
    pub async fn note_loss(&self, log: Log) -> Result<(), StoreError> {
        let at = number(self.clock.now().as_millisecond());
        let item = Item::from([
            ("log".to_owned(), text(LOST)),
            ("first".to_owned(), number(log as u8)),
            ("table".to_owned(), text(log.as_str())),
            ("lostAt".to_owned(), at.clone()),
        ]);
        let request = self
            .put_item(&self.tables.changes, item)
            .condition_expression("attribute_not_exists(lostAt) OR lostAt < :at")
            .expression_attribute_values(":at", at);
        self.put("note lost changes", request).await.map(drop)
    }
}

/// A chunk as it is stored, without its body.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChunkItem {
    first: u64,
    count: u64,
    /// In milliseconds since 1970.
    recorded_at: i64,
}

fn log_key(LogId { account, log }: &LogId) -> AttributeValue {
    text(format!("{account}#{log}"))
}

fn chunk(operation: &'static str, mut item: Item) -> Result<Chunk, StoreError> {
    let body = match item.remove("body") {
        Some(AttributeValue::B(body)) => body.into_inner(),
        _ => Vec::new(),
    };
    let ChunkItem { first, count, recorded_at } = read(operation, item)?;
    let recorded_at = Timestamp::from_millisecond(recorded_at)
        .map_err(|error| StoreError::unreadable(operation, error))?;
    Ok(Chunk { first, count, recorded_at, body })
}

/// The item of a chunk. A base chunk has no body, and does not expire.
fn item(id: &LogId, chunk: &Chunk) -> Item {
    let mut item = Item::from([
        ("log".to_owned(), log_key(id)),
        ("first".to_owned(), number(chunk.first)),
        ("count".to_owned(), number(chunk.count)),
        ("recordedAt".to_owned(), number(chunk.recorded_at.as_millisecond())),
    ]);
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

impl JournalStore for Store {
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
            .put_item(&self.tables.changes, item(log, new))
            .condition_expression("attribute_not_exists(#first)")
            .expression_attribute_names("#first", "first")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match self.put(OPERATION, request).await? {
            Ok(()) => Ok(None),
            Err(there) => chunk(OPERATION, there.unwrap_or_default()).map(Some),
        }
    }

    async fn put_base(
        &self,
        log: &LogId,
        base: &Chunk,
        replaced_end: Option<u64>,
    ) -> Result<bool, StoreError> {
        let condition = match replaced_end {
            Some(_) => "#count = :end",
            None => "attribute_not_exists(#count)",
        };
        let request = self
            .put_item(&self.tables.changes, item(log, base))
            .condition_expression(condition)
            .expression_attribute_names("#count", "count")
            .set_expression_attribute_values(
                replaced_end.map(|end| HashMap::from([(":end".to_owned(), number(end))])),
            );
        Ok(self.put("begin changes", request).await?.is_ok())
    }

    async fn losses(&self) -> Result<Losses, StoreError> {
        const OPERATION: &str = "read lost changes";
        let query = self
            .client
            .query()
            .table_name(&self.tables.changes)
            .key_condition_expression("#log = :lost")
            .expression_attribute_names("#log", "log")
            .expression_attribute_values(":lost", text(LOST));
        let items = self.query(OPERATION, query).await?.items.unwrap_or_default();
        items.into_iter().try_fold(Losses::default(), |losses, item| {
            let LossItem { table, lost_at } = read(OPERATION, item)?;
            Ok(losses.with(table, lost_at))
        })
    }
}
