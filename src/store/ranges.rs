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
    use aws_sdk_dynamodb::Client;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        scripted_service::{Reply, ScriptedService},
        store::TableNames,
    };

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
    const ACCOUNT: &str = "ACME";

    /// The names of so many keys.
    fn keys(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("k{number:02}")).collect()
    }

    /// A page of a range with these items, which has cost so much, and was read up to this key.
    fn page(items: &[&str], units: f64, up_to: Option<&str>) -> Reply {
        let item = |name: &&str| json!({ "k": { "S": name } });
        let mut reply = json!({ "Items": items.iter().map(item).collect::<Vec<_>>(),
                                "ConsumedCapacity": { "TableName": "t", "CapacityUnits": units } });
        if let Some(name) = up_to {
            reply["LastEvaluatedKey"] = json!({ "account": { "S": ACCOUNT }, "k": { "S": name } });
        }
        Reply::new(200, reply.to_string())
    }

    fn batch() -> Reply {
        Reply::new(200, json!({ "Responses": { "t": [] } }).to_string())
    }

    /// The items that a database with these replies gives for keys, and its requests: ranges, as what they begin after,
    /// and batches, as how many keys they have.
    async fn read(names: Vec<String>, replies: Vec<Reply>) -> (Vec<String>, Vec<String>) {
        let service = ScriptedService::new(replies);
        let store = Store::new(Client::new(&service.config()), TableNames::with_prefix("test"));
        let account = &AccountId::parse(ACCOUNT).expect("account");
        let wanted = Keys { table: "t", account, range_key: "k", names, projection: None };
        let items = store.read_keys("read", wanted).await.expect("items");
        let items = items.iter().filter_map(|item| text_of(item, "k")).map(ToOwned::to_owned);
        let asked = service.asked().into_iter().map(|asked| {
            let body = asked.json();
            if asked.header("x-amz-target") == Some("DynamoDB_20120810.BatchGetItem") {
                let keys = body["RequestItems"]["t"]["Keys"].as_array().expect("keys").len();
                return format!("batch of {keys}");
            }
            let values = &body["ExpressionAttributeValues"];
            let text = |value: &Value| value["S"].as_str().unwrap_or("-").to_owned();
            let [first, last] = [text(&values[":first"]), text(&values[":last"])];
            let after = text(&body["ExclusiveStartKey"]["k"]);
            format!("{first} to {last} after {after}, limit {}", body["Limit"])
        });
        (items.collect(), asked.collect())
    }

    #[tokio::test]
    async fn twenty_keys_are_tried_as_a_range_and_fewer_are_not() {
        let (_, asked) = read(keys(19), vec![batch()]).await;
        assert_eq!(asked, ["batch of 19"]);
        // Keys that are there twice count once.
        let twice = [keys(19), keys(19)].concat();
        assert_eq!(read(twice, vec![batch()]).await.1, ["batch of 19"]);
        // What the range has between the keys is left out.
        let mut names = keys(20);
        names.reverse();
        let replies = vec![page(&["k00", "k001", "k19"], 20.0, None)];
        let (items, asked) = read(names, replies).await;
        assert_eq!(items, ["k00", "k19"]);
        assert_eq!(asked, ["k00 to k19 after -, limit 20"]);
    }

    #[tokio::test]
    async fn a_range_is_read_on_as_long_as_it_is_cheaper_than_its_keys() {
        let begin = "k00 to k19 after -, limit 20";
        for (replies, expected) in [
            (
                vec![page(&["k00"], 19.0, Some("k00")), page(&["k05"], 1.0, None)],
                vec![begin, "k00 to k19 after k00, limit 20"],
            ),
            // It has cost as much as its keys.
            (
                vec![page(&["k00"], 12.0, Some("k00")), page(&[], 8.0, Some("k03")), batch()],
                vec![begin, "k00 to k19 after k00, limit 20", "batch of 16"],
            ),
            // The fourth page is the last.
            (
                vec![
                    page(&[], 1.0, Some("k00")),
                    page(&[], 1.0, Some("k01")),
                    page(&[], 1.0, Some("k02")),
                    page(&[], 1.0, Some("k03")),
                    batch(),
                ],
                vec![
                    begin,
                    "k00 to k19 after k00, limit 20",
                    "k00 to k19 after k01, limit 20",
                    "k00 to k19 after k02, limit 20",
                    "batch of 16",
                ],
            ),
            // All keys are read, though the range has more.
            (vec![page(&["k19"], 1.0, Some("k19"))], vec![begin]),
        ] {
            assert_eq!(read(keys(20), replies).await.1, expected);
        }
    }
}
