//! The table `Usage`: the counter of each key with limits, and its use on earlier days.
//!
//! | `part` | |
//! |---|---|
//! | `balance` | the counter: when each balance is full again, and the use of the current day |
//! | `day#2026-11-28` | the use of an earlier day |
//!
//! A report is one `UpdateItem`. The time at which a balance is full again only grows. So a balance that is known not
//! to be full is moved on without a condition, whatever others have added; only one that was full when the last of it
//! was used starts from then, on the condition that it still was. If that does not hold, the reply says what is stored.

use std::fmt::Write as _;

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder, types::AttributeValue,
};
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::{
    Store, StoreError,
    item::{EXPIRES_AT, Item, number, read, text},
};
use crate::{
    access::{
        KeyHash, Usage, UsageCounters,
        limits::{Balance, Balances, Counter, FullAt, UsageReport},
    },
    retry::Patience,
};

/// The item of the counter.
const BALANCE: &str = "balance";

/// What the items of earlier days begin with.
const DAY: &str = "day#";

/// How long the use of a day is kept, and a counter that nothing is reported to.
const KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);

/// How often a report is tried, if others report at the same moment.
const TRIES: u32 = 5;

/// An item of either kind.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct CounterItem {
    #[serde(flatten)]
    balances: Balances,
    #[serde(flatten)]
    usage: Usage,
    day: Option<Date>,
    reports: u64,
}

impl From<CounterItem> for Counter {
    fn from(item: CounterItem) -> Self {
        let CounterItem { balances, usage, day, reports } = item;
        Self { balances, day, usage, reports }
    }
}

/// The attribute that has the time of a balance.
fn attribute(balance: Balance) -> &'static str {
    match balance {
        Balance::Reads => "readsFullAt",
        Balance::Writes => "writesFullAt",
        Balance::ReadUnits => "readUnitsFullAt",
        Balance::WriteUnits => "writeUnitsFullAt",
    }
}

/// The counts of usage, by attribute.
fn counts(usage: &Usage) -> [(&'static str, AttributeValue); 5] {
    [
        ("reads", number(usage.reads)),
        ("writes", number(usage.writes)),
        ("readUnits", number(usage.read_units)),
        ("writeUnits", number(usage.write_units)),
        ("rejected", number(usage.rejected)),
    ]
}

impl UsageCounters for Store {
    type Error = StoreError;

    async fn counter(&self, hash: &KeyHash) -> Result<Counter, StoreError> {
        const OPERATION: &str = "get usage";
        let request = self
            .client
            .get_item()
            .table_name(&self.tables.usage)
            .key("keyHash", text(hash.as_str()))
            .key("part", text(BALANCE))
            .consistent_read(true);
        let item = self.once().get(OPERATION, request).await?;
        item.map_or(Ok(Counter::default()), |item| counter(OPERATION, item))
    }

    async fn report(&self, hash: &KeyHash, report: &UsageReport) -> Result<Counter, StoreError> {
        const OPERATION: &str = "report usage";
        let (store, mut report) = (self.once(), *report);
        for _ in 0..TRIES {
            if report.known.day.is_some_and(|day| day < report.day()) {
                store.keep_day(hash, &report).await?;
            }
            match store.update_or_stored(OPERATION, store.reported(hash, &report)).await? {
                Ok(item) => return counter(OPERATION, item),
                Err(stored) => report.known = counter(OPERATION, stored)?,
            }
        }
        Err(StoreError::contended(OPERATION, TRIES))
    }
}

fn counter(operation: &'static str, item: Item) -> Result<Counter, StoreError> {
    read::<CounterItem>(operation, item).map(Counter::from)
}

impl Store {
    /// A handle that tries each request once: nobody waits for a counter.
    fn once(&self) -> Self {
        Self { patience: Patience::Attempts(1), ..self.clone() }
    }

    fn update_usage(&self, hash: &KeyHash, part: &str) -> UpdateItemFluentBuilder {
        let update = self.client.update_item().table_name(&self.tables.usage);
        update.key("keyHash", text(hash.as_str())).key("part", text(part))
    }

    /// The update that adds a report to the counter.
    fn reported(&self, hash: &KeyHash, report: &UsageReport) -> UpdateItemFluentBuilder {
        let used_at = FullAt::now(report.used_at);
        let mut update = self.update_usage(hash, BALANCE);
        let mut set = format!("{EXPIRES_AT} = :expires");
        let mut conditions = Vec::new();
        for (balance, limit) in report.limits.each() {
            let amount = report.used.of(balance);
            if amount <= 0.0 {
                continue;
            }
            let name = attribute(balance);
            let known = report.known.balances.of(balance);
            let after = known.after(report.used_at, amount, limit).as_micros();
            let value = if known > used_at {
                let _ = write!(set, ", {name} = if_not_exists({name}, :usedAt) + :{name}");
                after.saturating_sub(known.as_micros())
            } else {
                let _ = write!(set, ", {name} = :{name}");
                conditions.push(format!("(attribute_not_exists({name}) OR {name} <= :usedAt)"));
                after
            };
            update = update.expression_attribute_values(format!(":{name}"), number(value));
        }
        if set.contains(":usedAt") || !conditions.is_empty() {
            update = update.expression_attribute_values(":usedAt", number(used_at.as_micros()));
        }
        let day = report.day();
        let is_new_day = report.known.day != Some(day);
        let mut add = "reports :one".to_owned();
        for (name, value) in counts(&report.used) {
            if is_new_day {
                let _ = write!(set, ", #{name} = :{name}");
            } else {
                let _ = write!(add, ", #{name} :{name}");
            }
            update = update
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(format!(":{name}"), value);
        }
        if !is_new_day {
            conditions.push("#day = :day".to_owned());
        } else if report.known.day.is_none() {
            conditions.push("attribute_not_exists(#day)".to_owned());
        } else {
            // The day that ends is kept with this many reports.
            conditions.push("reports = :reports".to_owned());
            update = update.expression_attribute_values(":reports", number(report.known.reports));
        }
        if is_new_day {
            set.push_str(", #day = :day");
        }
        update
            .update_expression(format!("SET {set} ADD {add}"))
            .condition_expression(conditions.join(" AND "))
            .expression_attribute_names("#day", "day")
            .expression_attribute_values(":day", text(day.to_string()))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":expires", usage_expiry(day))
    }

    /// Keeps the use of the day that ends with a report, unless it is kept with more reports.
    async fn keep_day(&self, hash: &KeyHash, report: &UsageReport) -> Result<(), StoreError> {
        const OPERATION: &str = "keep usage";
        let Some(day) = report.known.day else { return Ok(()) };
        let mut set = format!("{EXPIRES_AT} = :expires, reports = :reports");
        let mut update = self.update_usage(hash, &format!("{DAY}{day}"));
        for (name, value) in counts(&report.known.usage) {
            let _ = write!(set, ", #{name} = :{name}");
            update = update
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(format!(":{name}"), value);
        }
        let update = update
            .update_expression(format!("SET {set}"))
            .condition_expression("attribute_not_exists(reports) OR reports < :reports")
            .expression_attribute_values(":reports", number(report.known.reports))
            .expression_attribute_values(":expires", usage_expiry(day));
        self.update_or_stored(OPERATION, update).await.map(|_| ())
    }

    /// The use of a key from a day on, the newest day first.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn usage_since(
        &self,
        hash: &KeyHash,
        since: Date,
    ) -> Result<Vec<(Date, Usage)>, StoreError> {
        const OPERATION: &str = "list usage";
        let query = self
            .client
            .query()
            .table_name(&self.tables.usage)
            .key_condition_expression("keyHash = :hash")
            .expression_attribute_values(":hash", text(hash.as_str()))
            .consistent_read(true);
        let mut days = Vec::new();
        for item in self.query_all(OPERATION, query).await? {
            let part = item.get("part").and_then(|part| part.as_s().ok());
            let named = part.and_then(|part| part.strip_prefix(DAY)?.parse().ok());
            let counter = counter(OPERATION, item)?;
            days.extend(named.or(counter.day).map(|day| (day, counter.usage)));
        }
        days.retain(|(day, _)| *day >= since);
        days.sort_by_key(|(day, _)| std::cmp::Reverse(*day));
        Ok(days)
    }
}

/// When what is stored of a day expires.
fn usage_expiry(day: Date) -> AttributeValue {
    let end = day.to_zoned(TimeZone::UTC).map(|start| start.timestamp() + KEPT);
    number(end.map_or(i64::MAX, Timestamp::as_second))
}
