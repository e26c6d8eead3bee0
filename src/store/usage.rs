//! The table `Usage`: the counter of each key with limits, and its use on earlier days.
//!
//! | `part` | |
//! |---|---|
//! | `balance` | the counter: when each balance is full again, and the use of the current day |
//! | `day#2026-11-28` | the use of an earlier day |
//!
//! A report is one `UpdateItem`. The time at which a balance is full again only grows. If the time that the instance
//! knows is later than the last use in the report, so is the stored time: the update adds to it without a condition,
//! whatever others have added. Otherwise the update sets the time, counted from that last use, on the condition that
//! the stored time is not later than it. If a condition fails, DynamoDB returns the stored item, and the report is
//! sent again with that.

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder, types::AttributeValue,
};
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use super::{
    Store, StoreError,
    expression::Expression,
    item::{EXPIRES_AT, Item, number, read, text, text_of},
};
use crate::{
    access::{
        KeyHash, Usage, UsageCounters,
        limits::{Counter, FullAt, LimitName, UsageReport},
    },
    retry::Patience,
};

/// The item of the counter.
const BALANCE: &str = "balance";

/// What the items of earlier days begin with.
const DAY: &str = "day#";

/// How long the use of a day is kept; also how long a counter is kept after its last report.
const KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);

/// How many times a report is tried, if others report at the same moment.
const TRIES: u32 = 5;

/// The attribute that has the time of a balance.
fn attribute(limit_name: LimitName) -> &'static str {
    match limit_name {
        LimitName::Reads => "readsFullAt",
        LimitName::Writes => "writesFullAt",
        LimitName::ReadUnits => "readUnitsFullAt",
        LimitName::WriteUnits => "writeUnitsFullAt",
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

fn key(hash: &KeyHash, part: &str) -> Item {
    Item::from([("keyHash".to_owned(), text(hash.as_str())), ("part".to_owned(), text(part))])
}

impl UsageCounters for Store {
    type Error = StoreError;

    async fn counter(&self, hash: &KeyHash) -> Result<Counter, StoreError> {
        const OPERATION: &str = "get usage";
        let key = key(hash, BALANCE);
        let item = self.once().get(OPERATION, &self.tables.usage, key, true).await?;
        item.map_or(Ok(Counter::default()), |item| read(OPERATION, item))
    }

    async fn report(&self, hash: &KeyHash, report: &UsageReport) -> Result<Counter, StoreError> {
        const OPERATION: &str = "report usage";
        let (store, mut report) = (self.once(), *report);
        for _ in 0..TRIES {
            if report.known.day.is_some_and(|day| day < report.day()) {
                store.keep_day(hash, &report).await?;
            }
            match store.update_or_stored(OPERATION, store.reported(hash, &report)).await? {
                Ok(item) => return read(OPERATION, item),
                Err(stored) => report.known = read(OPERATION, stored)?,
            }
        }
        Err(StoreError::contended(OPERATION, TRIES))
    }
}

impl Store {
    /// A handle that sends each request once: a client's request must not wait for retries of the counter's.
    fn once(&self) -> Self {
        Self { patience: Patience::Attempts(1), ..self.clone() }
    }

    fn update_usage(&self, hash: &KeyHash, part: &str) -> UpdateItemFluentBuilder {
        self.update_item(&self.tables.usage, key(hash, part))
    }

    /// The update that adds a report to the counter.
    fn reported(&self, hash: &KeyHash, report: &UsageReport) -> UpdateItemFluentBuilder {
        let used_at = FullAt::now(report.used_at);
        let day = report.day();
        let mut expression = Expression::default();
        expression.set(EXPIRES_AT, usage_expiry(day));
        let mut conditions = Vec::new();
        let mut is_timed = false;
        for (limit_name, limit) in report.limits.each() {
            let amount = report.used.of(limit_name);
            if amount <= 0.0 {
                continue;
            }
            let name = attribute(limit_name);
            let known = report.known.balances.of(limit_name);
            let after = known.after(report.used_at, amount, limit).as_micros();
            is_timed = true;
            if known > used_at {
                expression.set_to(name, &format!("if_not_exists({name}, :usedAt) + :{name}"));
                expression.value(name, number(after.saturating_sub(known.as_micros())));
            } else {
                expression.set(name, number(after));
                conditions.push(format!("(attribute_not_exists({name}) OR {name} <= :usedAt)"));
            }
        }
        if is_timed {
            expression.value("usedAt", number(used_at.as_micros()));
        }
        let is_new_day = report.known.day != Some(day);
        expression.add("reports", number(1));
        for (name, value) in counts(&report.used) {
            if is_new_day { expression.set(name, value) } else { expression.add(name, value) }
        }
        if is_new_day {
            expression.set("day", text(day.to_string()));
            if report.known.day.is_none() {
                conditions.push("attribute_not_exists(#day)".to_owned());
            } else {
                // Nobody has reported since `keep_day` stored the day that ends.
                conditions.push("reports = :known".to_owned());
                expression.value("known", number(report.known.reports));
            }
        } else {
            conditions.push("#day = :day".to_owned());
            expression.name("day");
            expression.value("day", text(day.to_string()));
        }
        expression
            .update(self.update_usage(hash, BALANCE))
            .condition_expression(conditions.join(" AND "))
    }

    /// Stores the use of the day that the counter has, which has ended, as an item of its own, unless one with as many
    /// reports or more is stored.
    async fn keep_day(&self, hash: &KeyHash, report: &UsageReport) -> Result<(), StoreError> {
        let Some(day) = report.known.day else { return Ok(()) };
        let mut expression = Expression::default();
        expression.set(EXPIRES_AT, usage_expiry(day));
        expression.set("reports", number(report.known.reports));
        for (name, value) in counts(&report.known.usage) {
            expression.set(name, value);
        }
        let update = expression
            .update(self.update_usage(hash, &format!("{DAY}{day}")))
            .condition_expression("attribute_not_exists(reports) OR reports < :reports");
        self.update_or_stored("keep usage", update).await.map(|_| ())
    }

    /// The use of a key from a day on, the newest day first.
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
            let named =
                text_of(&item, "part").and_then(|part| part.strip_prefix(DAY)?.parse().ok());
            let counter: Counter = read(OPERATION, item)?;
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
