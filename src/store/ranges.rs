//! Reads the items of many keys: as one key range if the keys are close together, otherwise in batches of a
//! hundred.
//!
//! `BatchGetItem` rounds each item up to 4 KB, so it charges one unit per key for a consistent read, whether
//! the item exists or not. `Query` adds up what it reads and rounds once (DynamoDB developer guide, "Read
//! request unit consumption"): 400 items of 1 KB cost 100 units instead of 400, and 400 keys without items
//! cost one unit. But a range also reads the items between the keys. Files are mostly sorted by their keys,
//! exports always, so a range is tried first. It ends when it has cost as much as the single keys would have.
//! If it did not cover the keys, ranges of that table are suspended, each time for longer.

use std::{collections::HashMap, sync::Mutex};

use aws_sdk_dynamodb::types::AttributeValue;

use super::{
    Store, StoreError,
    batch::{KeyToRead, projection_names},
    item::{Item, key_of, text, text_of},
    units,
};
use crate::{account::AccountId, lock::lock};

/// The minimum number of keys for which a range is tried.
const MIN_KEYS: usize = 20;

/// The maximum number of replies for one range; each is a round trip.
const MAX_PAGES: usize = 4;

/// The longest suspension of a table's ranges, as a number of reads.
const MAX_SUSPENSION: u32 = 64;

/// The cost of a key that is read by itself, consistently, if its item has at most 4 KB.
const UNITS_PER_KEY: f64 = 1.0;

/// Keys of one account in one table, and the attributes to read.
#[derive(Clone, Debug)]
pub(super) struct Keys<'a> {
    pub(super) table: &'a str,
    pub(super) account: &'a AccountId,
    /// The name of the attribute that is the range key.
    pub(super) range_key: &'static str,
    pub(super) names: Vec<String>,
    /// `None` for all attributes.
    pub(super) projection: Option<String>,
}

/// The tables whose ranges are suspended.
#[derive(Debug, Default)]
pub(super) struct Ranges(Mutex<HashMap<String, Suspension>>);

/// The suspension of a table's ranges.
#[derive(Clone, Copy, Debug, Default)]
struct Suspension {
    left: u32,
    last: u32,
}

impl Ranges {
    /// Whether a range of this table may be tried now.
    fn may_try(&self, table: &str) -> bool {
        let mut suspensions = lock(&self.0);
        let Some(rest) = suspensions.get_mut(table).filter(|rest| rest.left > 0) else {
            return true;
        };
        rest.left -= 1;
        false
    }

    /// Records whether a range covered its keys.
    fn tried(&self, table: &str, covered: bool) {
        let mut suspensions = lock(&self.0);
        let rest = suspensions.entry(table.to_owned()).or_default();
        rest.last = if covered { 0 } else { (rest.last * 2).clamp(1, MAX_SUSPENSION) };
        rest.left = rest.last;
    }
}

impl Store {
    /// The items of those keys that exist, read consistently.
    pub(super) async fn read_keys(
        &self,
        operation: &'static str,
        mut wanted: Keys<'_>,
    ) -> Result<Vec<Item>, StoreError> {
        wanted.names.sort_unstable();
        wanted.names.dedup();
        let mut items = Vec::new();
        if wanted.names.len() >= MIN_KEYS && self.ranges.may_try(wanted.table) {
            self.read_range(operation, &mut wanted, &mut items).await?;
            self.ranges.tried(wanted.table, wanted.names.is_empty());
        }
        let rest: Vec<KeyToRead> = wanted
            .names
            .iter()
            .map(|key| KeyToRead {
                table: wanted.table.to_owned(),
                key: key_of(wanted.account, wanted.range_key, text(key.as_str())),
                projection: wanted.projection.clone(),
            })
            .collect();
        items.extend(self.read_items(operation, rest).await?);
        Ok(items)
    }

    /// Reads the range of the keys as long as that is cheaper than the single keys; keys that it did not
    /// cover stay wanted.
    async fn read_range(
        &self,
        operation: &'static str,
        wanted: &mut Keys<'_>,
        items: &mut Vec<Item>,
    ) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (wanted.names.first(), wanted.names.last()) else {
            return Ok(());
        };
        #[allow(clippy::cast_precision_loss, reason = "a group has a few hundred keys")]
        let budget = wanted.names.len() as f64 * UNITS_PER_KEY;
        let limit = i32::try_from(wanted.names.len()).unwrap_or(i32::MAX);
        let mut names = projection_names(wanted.projection.as_deref()).unwrap_or_default();
        names.insert("#account".to_owned(), "account".to_owned());
        names.insert("#key".to_owned(), wanted.range_key.to_owned());
        let query = self
            .client
            .query()
            .table_name(wanted.table)
            .key_condition_expression("#account = :account AND #key BETWEEN :first AND :last")
            .set_expression_attribute_names(Some(names))
            .expression_attribute_values(":account", text(wanted.account.as_str()))
            .expression_attribute_values(":first", text(first.as_str()))
            .expression_attribute_values(":last", text(last.as_str()))
            .set_projection_expression(wanted.projection.clone())
            .limit(limit)
            .consistent_read(true);
        let mut read_units = 0.0;
        let mut start: Option<Item> = None;
        for _ in 0..MAX_PAGES {
            let page = query.clone().set_exclusive_start_key(start.take());
            let reply = self.query(operation, page).await?;
            read_units += units(reply.consumed_capacity());
            // They are sorted, and still contain every key of this page.
            let is_wanted = |item: &Item| {
                let key = text_of(item, wanted.range_key);
                key.is_some_and(|key| {
                    wanted.names.binary_search_by(|name| name.as_str().cmp(key)).is_ok()
                })
            };
            items.extend(reply.items.unwrap_or_default().into_iter().filter(is_wanted));
            let Some(read_to) = reply.last_evaluated_key else {
                wanted.names.clear();
                break;
            };
            let Some(AttributeValue::S(key)) = read_to.get(wanted.range_key) else { break };
            wanted.names.retain(|wanted| wanted > key);
            if wanted.names.is_empty() || read_units >= budget {
                break;
            }
            start = Some(read_to);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_whose_ranges_do_not_cover_is_left_alone_ever_longer() {
        let ranges = Ranges::default();
        let rest = |ranges: &Ranges| {
            let mut rest = 0;
            while !ranges.may_try("t") {
                rest += 1;
            }
            rest
        };
        assert_eq!(rest(&ranges), 0);
        for expected in [1, 2, 4, 8, 16, 32, 64, 64] {
            ranges.tried("t", false);
            assert_eq!(rest(&ranges), expected);
        }
        assert!(ranges.may_try("another"));
        ranges.tried("t", true);
        assert_eq!(rest(&ranges), 0);
    }
}
