//! A model of DynamoDB's partitions, for tests and benchmarks: the embedded engine never throttles, and DynamoDB does.
//!
//! A partition serves 1,000 write units and 3,000 read units per second ("Partitions and data distribution" and
//! "Burst and adaptive capacity" in the DynamoDB developer guide). The model has one partition for each value of the
//! partition key of a table or an index.
//!
//! It is stricter than DynamoDB for one value: the partition is never split, and may spend one second's worth at once;
//! DynamoDB splits hot partitions where their sort keys allow it, and keeps up to 300 seconds of unused capacity. It is
//! laxer in that values never share a partition, and that a write which does not name all key attributes of an index
//! counts as one of a partition of its own.
//!
//! A request is admitted while all partitions that it touches have units left; of a batch, each key or write by itself.
//! It is charged what the engine says it consumed, if the request asks for that (`ReturnConsumedCapacity`); a failed
//! one, 1 unit for each item. Indexes count as much as tables: DynamoDB throttles a write whose index entry it cannot
//! write in time.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use aws_sdk_dynamodb::types::{KeySchemaElement, KeyType};
use serde_json::{Map, Value, json};

use crate::template::Table;

/// What one partition serves per second.
#[derive(Clone, Copy, Debug)]
pub struct PartitionLimits {
    pub write_units: f64,
    pub read_units: f64,
}

impl Default for PartitionLimits {
    fn default() -> Self {
        Self { write_units: 1_000.0, read_units: 3_000.0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Direction {
    Read,
    Write,
}

/// A table or an index, and the values of the attributes of its partition key.
type Partition = (String, Vec<String>);

/// The partitions of a stack's tables.
#[derive(Debug)]
pub struct Partitions {
    limits: PartitionLimits,
    /// The attributes of the partition key of each table, and of each of its indexes (an index may have up to four).
    tables: HashMap<String, Keys>,
    balances: HashMap<(Partition, Direction), Balance>,
    tally: Tally,
}

#[derive(Debug)]
struct Keys {
    hash: Vec<String>,
    indexes: BTreeMap<String, Vec<String>>,
}

/// The units that a partition has left; below zero after a request that took more.
#[derive(Debug)]
struct Balance {
    units: f64,
    at: Duration,
}

/// What became of all requests.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub requests: u64,
    /// Requests of which at least one part was throttled.
    pub throttled: u64,
    /// The write units that each partition consumed, by the name of its table or index and the values of the partition
    /// key.
    pub write_units: BTreeMap<Partition, f64>,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Admission {
    /// Send this request to the engine, then give its reply and the [`Forwarded`] to [`Partitions::settle`].
    Forward(Value, Forwarded),
    /// The engine never sees it: this is the reply, with status 400.
    Throttled(Value),
}

/// What must be known of a request to charge it.
#[derive(Debug)]
pub struct Forwarded {
    touched: Vec<Touched>,
    /// Keys or writes of a batch that were throttled, as `UnprocessedKeys` or `UnprocessedItems`.
    unprocessed: Option<(&'static str, Value)>,
}

#[derive(Clone, Debug)]
struct Touched {
    table: String,
    index: Option<String>,
    partition: Partition,
    direction: Direction,
}

impl Partitions {
    /// The partitions of these tables, all of them with a full second's worth.
    #[must_use]
    pub fn new(tables: &[Table], limits: PartitionLimits) -> Self {
        let keys = |table: &Table| Keys {
            hash: partition_key_attributes(&table.key),
            indexes: table
                .indexes
                .iter()
                .map(|index| {
                    (index.index_name().to_owned(), partition_key_attributes(index.key_schema()))
                })
                .collect(),
        };
        Self {
            limits,
            tables: tables.iter().map(|table| (table.name.clone(), keys(table))).collect(),
            balances: HashMap::new(),
            tally: Tally::default(),
        }
    }

    /// What became of all requests so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally.clone()
    }

    /// Decides whether a request may pass at this time, and if it asks for the capacity that it consumes, makes it ask
    /// for that of each index.
    pub fn admit(&mut self, operation: &str, mut request: Value, now: Duration) -> Admission {
        self.tally.requests += 1;
        if let Some(capacity) = request.get_mut("ReturnConsumedCapacity") {
            *capacity = json!("INDEXES");
        }
        match operation {
            "BatchGetItem" => self.admit_batch(request, now, "UnprocessedKeys"),
            "BatchWriteItem" => self.admit_batch(request, now, "UnprocessedItems"),
            "TransactWriteItems" => self.admit_transaction(request, now),
            _ => {
                let touched = self.touched(operation, &request);
                if let Some(spent) = touched.iter().find(|touched| self.is_spent(touched, now)) {
                    let reason = throttling_reason(spent);
                    self.tally.throttled += 1;
                    return Admission::Throttled(throttling_exception(&[reason]));
                }
                Admission::Forward(request, Forwarded { touched, unprocessed: None })
            }
        }
    }

    /// Charges a request that the engine has answered, and adds the throttled part to the reply of a batch.
    pub fn settle(&mut self, forwarded: Forwarded, status: u16, reply: &mut Value, now: Duration) {
        if status != 200 {
            // DynamoDB charges a failed condition for the table. The engine does not say how much, so each item of any
            // failed request counts as one unit.
            for touched in forwarded.touched.iter().filter(|touched| touched.index.is_none()) {
                self.charge(touched, 1.0, now);
            }
            return;
        }
        let consumed = match reply.get("ConsumedCapacity") {
            Some(Value::Array(tables)) => tables.clone(),
            Some(table) => vec![table.clone()],
            None => Vec::new(),
        };
        for table in consumed {
            let name = table["TableName"].as_str().unwrap_or_default();
            let of_table = |index: Option<&str>| {
                let touched = forwarded.touched.iter();
                touched
                    .filter(|touched| touched.table == name && touched.index.as_deref() == index)
                    .collect::<Vec<_>>()
            };
            let table_units = table["Table"]["CapacityUnits"].as_f64().unwrap_or_default();
            self.share(&of_table(None), table_units, now);
            let indexes = table["GlobalSecondaryIndexes"].as_object();
            for (index, capacity) in indexes.into_iter().flatten() {
                let units = capacity["CapacityUnits"].as_f64().unwrap_or_default();
                self.share(&of_table(Some(index)), units, now);
            }
        }
        if let (Some((name, rest)), Some(reply)) = (forwarded.unprocessed, reply.as_object_mut()) {
            match reply.get_mut(name).and_then(Value::as_object_mut) {
                Some(others) => merge(others, rest),
                None => {
                    reply.insert(name.to_owned(), rest);
                }
            }
        }
    }

    /// Splits a batch into the keys or writes whose partitions have units left, and the others.
    fn admit_batch(&mut self, mut request: Value, now: Duration, name: &'static str) -> Admission {
        let is_read = name == "UnprocessedKeys";
        let (mut touched, mut unprocessed) = (Vec::new(), Map::new());
        let mut reasons = Vec::new();
        let tables = request["RequestItems"].as_object_mut();
        for (table, wanted) in tables.into_iter().flatten() {
            let list = if is_read { &mut wanted["Keys"] } else { &mut *wanted };
            let asked = list.as_array_mut().map(std::mem::take).unwrap_or_default();
            let (mut admitted, mut rejected) = (Vec::new(), Vec::new());
            for entry in asked {
                let one = if is_read {
                    self.item_partitions(table, Direction::Read, &[&entry])
                } else {
                    let item = entry["PutRequest"].get("Item");
                    let item = item.or_else(|| entry["DeleteRequest"].get("Key"));
                    self.item_partitions(table, Direction::Write, &[item.unwrap_or(&Value::Null)])
                };
                if let Some(spent) = one.iter().find(|touched| self.is_spent(touched, now)) {
                    reasons.push(throttling_reason(spent));
                    rejected.push(entry);
                } else {
                    touched.extend(one);
                    admitted.push(entry);
                }
            }
            if !rejected.is_empty() {
                let mut rest = wanted.clone();
                if is_read {
                    rest["Keys"] = rejected.into();
                } else {
                    rest = rejected.into();
                }
                unprocessed.insert(table.clone(), rest);
            }
            if is_read {
                wanted["Keys"] = admitted.into();
            } else {
                *wanted = admitted.into();
            }
        }
        if !reasons.is_empty() {
            self.tally.throttled += 1;
        }
        if touched.is_empty() {
            // "If none of the items can be processed, BatchGetItem returns a
            // ProvisionedThroughputExceededException" (API reference).
            return Admission::Throttled(throttling_exception(&reasons));
        }
        if let Some(tables) = request["RequestItems"].as_object_mut() {
            tables.retain(|_, wanted| {
                let list = if is_read { &wanted["Keys"] } else { &*wanted };
                list.as_array().is_some_and(|list| !list.is_empty())
            });
        }
        let unprocessed = (!unprocessed.is_empty()).then_some((name, Value::Object(unprocessed)));
        Admission::Forward(request, Forwarded { touched, unprocessed })
    }

    /// A transaction passes as a whole or not at all.
    fn admit_transaction(&mut self, request: Value, now: Duration) -> Admission {
        let (mut touched, mut reasons) = (Vec::new(), Vec::new());
        for action in request["TransactItems"].as_array().into_iter().flatten() {
            let action = action.as_object().and_then(|action| action.iter().next());
            let Some((name, action)) = action else { continue };
            let one = self.touched(name, action);
            let is_spent = one.iter().any(|touched| self.is_spent(touched, now));
            reasons.push(if is_spent { "ThrottlingError" } else { "None" });
            touched.extend(one);
        }
        if reasons.contains(&"ThrottlingError") {
            self.tally.throttled += 1;
            return Admission::Throttled(json!({
                "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
                "message": format!(
                    "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
                    reasons.join(", ")
                ),
                "CancellationReasons":
                    reasons.iter().map(|code| json!({"Code": code})).collect::<Vec<_>>(),
            }));
        }
        Admission::Forward(request, Forwarded { touched, unprocessed: None })
    }

    /// The partitions that a request, or an action of a transaction, touches.
    fn touched(&self, operation: &str, request: &Value) -> Vec<Touched> {
        let direction = match operation {
            "GetItem" | "Query" => Direction::Read,
            "PutItem" | "UpdateItem" | "DeleteItem" | "Put" | "Update" | "Delete"
            | "ConditionCheck" => Direction::Write,
            _ => return Vec::new(),
        };
        let table = request["TableName"].as_str().unwrap_or_default();
        let assigned = assignments(request);
        if operation == "Query" {
            let index = request["IndexName"].as_str();
            return self.partition(table, index, direction, &[&assigned]).into_iter().collect();
        }
        let known = [&request["Item"], &request["Key"], &assigned];
        self.item_partitions(table, direction, &known)
    }

    /// The partitions of one item, of which these attributes are known.
    fn item_partitions(&self, table: &str, direction: Direction, known: &[&Value]) -> Vec<Touched> {
        let indexes = match (self.tables.get(table), direction) {
            (Some(keys), Direction::Write) => {
                keys.indexes.keys().map(|name| Some(name.as_str())).collect()
            }
            _ => Vec::new(),
        };
        let places = std::iter::once(None).chain(indexes);
        places.filter_map(|index| self.partition(table, index, direction, known)).collect()
    }

    fn partition(
        &self,
        table: &str,
        index: Option<&str>,
        direction: Direction,
        known: &[&Value],
    ) -> Option<Touched> {
        let keys = self.tables.get(table)?;
        let hash = index.map_or(Some(&keys.hash), |index| keys.indexes.get(index))?;
        // A write need not name all key attributes of an index; a delete names none but the table's. It then counts
        // against a partition of its own, of the values that are known, even if it does not change the index.
        let values = hash.iter().filter_map(|name| {
            known.iter().find_map(|known| known.get(name)).map(Value::to_string)
        });
        let place = index.map_or_else(|| table.to_owned(), |index| format!("{table}/{index}"));
        Some(Touched {
            table: table.to_owned(),
            index: index.map(ToOwned::to_owned),
            partition: (place, values.collect()),
            direction,
        })
    }

    fn limit(&self, direction: Direction) -> f64 {
        match direction {
            Direction::Read => self.limits.read_units,
            Direction::Write => self.limits.write_units,
        }
    }

    fn balance(&mut self, touched: &Touched, now: Duration) -> &mut Balance {
        let limit = self.limit(touched.direction);
        let key = (touched.partition.clone(), touched.direction);
        let balance = self.balances.entry(key).or_insert(Balance { units: limit, at: now });
        let refilled = limit * now.saturating_sub(balance.at).as_secs_f64();
        balance.units = (balance.units + refilled).min(limit);
        balance.at = now;
        balance
    }

    fn is_spent(&mut self, touched: &Touched, now: Duration) -> bool {
        self.balance(touched, now).units <= 0.0
    }

    fn charge(&mut self, touched: &Touched, units: f64, now: Duration) {
        self.balance(touched, now).units -= units;
        if touched.direction == Direction::Write {
            *self.tally.write_units.entry(touched.partition.clone()).or_default() += units;
        }
    }

    /// Charges each of these partitions with an equal part.
    fn share(&mut self, touched: &[&Touched], units: f64, now: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "at most a hundred parts")]
        let part = units / touched.len() as f64;
        for touched in touched {
            self.charge(touched, part, now);
        }
    }
}

impl Tally {
    /// The write units of the busiest partition.
    #[must_use]
    pub fn busiest(&self) -> f64 {
        self.write_units.values().copied().fold(0.0, f64::max)
    }
}

fn partition_key_attributes(key: &[KeySchemaElement]) -> Vec<String> {
    let hash = key.iter().filter(|element| element.key_type() == &KeyType::Hash);
    hash.map(|element| element.attribute_name().to_owned()).collect()
}

/// The attributes that an expression of a request sets, or requires to be equal to a value: `name = :value`.
fn assignments(request: &Value) -> Value {
    let mut assigned = Map::new();
    for expression in ["KeyConditionExpression", "UpdateExpression"] {
        let text = request[expression].as_str().unwrap_or_default();
        let words: Vec<&str> =
            text.split([' ', ',', '(', ')']).filter(|word| !word.is_empty()).collect();
        for window in words.windows(3) {
            if let [name, "=", value] = window {
                let name = request["ExpressionAttributeNames"][name].as_str().unwrap_or(name);
                if let Some(value) = request["ExpressionAttributeValues"].get(value) {
                    assigned.insert(name.to_owned(), value.clone());
                }
            }
        }
    }
    assigned.into()
}

/// Adds the part of a batch that was throttled here (`rest`) to the part that the engine left unprocessed (`others`).
fn merge(others: &mut Map<String, Value>, rest: Value) {
    let Value::Object(rest) = rest else { return };
    for (table, wanted) in rest {
        match others.get_mut(&table) {
            None => {
                others.insert(table, wanted);
            }
            Some(Value::Array(list)) => list.extend(wanted.as_array().cloned().unwrap_or_default()),
            Some(keys) => {
                let more = wanted["Keys"].as_array().cloned().unwrap_or_default();
                if let Some(list) = keys["Keys"].as_array_mut() {
                    list.extend(more);
                }
            }
        }
    }
}

/// A reason for throttling as DynamoDB gives it ("Diagnosing throttling" in the developer guide).
fn throttling_reason(touched: &Touched) -> Value {
    let place = if touched.index.is_some() { "Index" } else { "Table" };
    let resource = match &touched.index {
        Some(index) => format!("{}/index/{index}", touched.table),
        None => touched.table.clone(),
    };
    json!({
        "reason": format!("{place}{:?}KeyRangeThroughputExceeded", touched.direction),
        "resource": format!("arn:aws:dynamodb:us-east-1:000000000000:table/{resource}"),
    })
}

/// DynamoDB's answer to a throttled request.
fn throttling_exception(reasons: &[Value]) -> Value {
    json!({
        "__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException",
        "message": "Throughput exceeds the current throughput limit for one or more key ranges.",
        "throttlingReasons": reasons,
    })
}

#[cfg(test)]
mod tests;
