use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::template::Template;

const START: Duration = Duration::ZERO;

/// Two tables: `t` has an index, `u` has none.
const TEMPLATE: &str = "
Resources:
  T:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: t
      AttributeDefinitions:
        - { AttributeName: hash, AttributeType: S }
        - { AttributeName: range, AttributeType: S }
        - { AttributeName: group, AttributeType: S }
      KeySchema: [{ AttributeName: hash, KeyType: HASH }, { AttributeName: range, KeyType: RANGE }]
      GlobalSecondaryIndexes:
        - IndexName: byGroup
          KeySchema: [{ AttributeName: group, KeyType: HASH }, { AttributeName: range, KeyType: RANGE }]
          Projection: { ProjectionType: ALL }
  U:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: u
      AttributeDefinitions: [{ AttributeName: hash, AttributeType: S }]
      KeySchema: [{ AttributeName: hash, KeyType: HASH }]
";

/// Partitions that serve 2 write units and 4 read units per second.
fn partitions() -> Partitions {
    let tables = Template::parse(TEMPLATE).expect("YAML").tables("stack").expect("tables");
    Partitions::new(&tables, PartitionLimits { write_units: 2.0, read_units: 4.0 })
}

impl Partitions {
    /// A request that must be admitted: what the engine gets, and what it is charged by.
    fn forwarded(&mut self, operation: &str, request: Value, now: Duration) -> (Value, Forwarded) {
        match self.admit(operation, request, now) {
            Admission::Forward(request, forwarded) => (request, forwarded),
            Admission::Throttled(error) => panic!("{error}"),
        }
    }

    /// Admits a request, and charges it with what the engine says.
    fn pass(&mut self, operation: &str, request: Value, now: Duration, consumed: &Value) {
        let (_, forwarded) = self.forwarded(operation, request, now);
        self.settle(forwarded, 200, &mut json!({ "ConsumedCapacity": consumed }), now);
    }

    /// A request that must be throttled: its reply.
    fn throttled(&mut self, operation: &str, request: Value, now: Duration) -> Value {
        match self.admit(operation, request, now) {
            Admission::Forward(request, _) => panic!("{request}"),
            Admission::Throttled(error) => error,
        }
    }

    fn consumed(&self) -> BTreeMap<(String, String), f64> {
        let name = |(place, values): Partition| (place, values.join(" "));
        self.tally()
            .write_units
            .into_iter()
            .map(|(partition, units)| (name(partition), units))
            .collect()
    }
}

fn text(value: &str) -> Value {
    json!({ "S": value })
}

fn put(table: &str, hash: &str, group: &str) -> Value {
    let item = json!({ "hash": text(hash), "range": text("r"), "group": text(group) });
    json!({ "TableName": table, "Item": item, "ReturnConsumedCapacity": "TOTAL" })
}

fn get(table: &str, hash: &str) -> Value {
    json!({ "TableName": table, "Key": { "hash": text(hash) } })
}

fn table_units(table: &str, units: f64) -> Value {
    json!({ "TableName": table, "CapacityUnits": units, "Table": { "CapacityUnits": units } })
}

fn units(table: f64, index: f64) -> Value {
    json!({
        "TableName": "t", "CapacityUnits": table + index, "Table": { "CapacityUnits": table },
        "GlobalSecondaryIndexes": { "byGroup": { "CapacityUnits": index } },
    })
}

/// The reply to a throttled request.
fn exception(reasons: &[(&str, &str)]) -> Value {
    let reason = |(reason, resource): &(&str, &str)| {
        let resource = format!("arn:aws:dynamodb:us-east-1:000000000000:table/{resource}");
        json!({ "reason": reason, "resource": resource })
    };
    json!({
        "__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException",
        "message": "Throughput exceeds the current throughput limit for one or more key ranges.",
        "throttlingReasons": reasons.iter().map(reason).collect::<Vec<_>>(),
    })
}

const TABLE_READS: &str = "TableReadKeyRangeThroughputExceeded";
const TABLE_WRITES: &str = "TableWriteKeyRangeThroughputExceeded";
const INDEX_WRITES: &str = "IndexWriteKeyRangeThroughputExceeded";

/// The partition of a table or an index with this key.
fn at(place: &str, value: &str) -> (String, String) {
    (place.to_owned(), text(value).to_string())
}

#[test]
fn a_partition_serves_its_units_and_refills_up_to_a_seconds_worth() {
    let mut partitions = partitions();
    let (request, forwarded) = partitions.forwarded("PutItem", put("u", "a", "x"), START);
    let mut expected = put("u", "a", "x");
    expected["ReturnConsumedCapacity"] = json!("INDEXES");
    assert_eq!(request, expected);
    let mut reply = json!({ "ConsumedCapacity": table_units("u", 1.5) });
    partitions.settle(forwarded, 200, &mut reply, START);
    assert_eq!(reply, json!({ "ConsumedCapacity": table_units("u", 1.5) }));
    // What is left may be overdrawn, and is paid back.
    partitions.pass("PutItem", put("u", "a", "x"), START, &table_units("u", 1.5));
    let error = exception(&[(TABLE_WRITES, "u")]);
    assert_eq!(partitions.throttled("PutItem", put("u", "a", "x"), START), error);
    let half = Duration::from_millis(500);
    assert_eq!(partitions.throttled("DeleteItem", get("u", "a"), half), error);
    let later = Duration::from_millis(501);
    partitions.pass("DeleteItem", get("u", "a"), later, &table_units("u", 0.5));
    // However long it rests.
    let day = Duration::from_hours(24);
    partitions.pass("PutItem", put("u", "a", "x"), day, &table_units("u", 2.0));
    assert_eq!(partitions.throttled("PutItem", put("u", "a", "x"), day), error);
    // Neither its reads nor another partition is concerned.
    for units in [3.5, 0.5] {
        partitions.pass("GetItem", get("u", "a"), day, &table_units("u", units));
    }
    let error = exception(&[(TABLE_READS, "u")]);
    assert_eq!(partitions.throttled("GetItem", get("u", "a"), day), error);
    partitions.pass("PutItem", put("u", "b", "x"), day, &table_units("u", 1.0));
    let Tally { requests, throttled, .. } = partitions.tally();
    assert_eq!((requests, throttled), (11, 4));
    assert_eq!(partitions.consumed(), BTreeMap::from([(at("u", "a"), 5.5), (at("u", "b"), 1.0)]));
    assert!((partitions.tally().busiest() - 5.5).abs() < f64::EPSILON);
}

#[test]
fn a_write_counts_against_the_indexes_of_its_table_too() {
    let mut partitions = partitions();
    partitions.pass("PutItem", put("t", "a", "x"), START, &units(1.0, 2.0));
    let consumed = BTreeMap::from([(at("t", "a"), 1.0), (at("t/byGroup", "x"), 2.0)]);
    assert_eq!(partitions.consumed(), consumed);
    let error = exception(&[(INDEX_WRITES, "t/index/byGroup")]);
    assert_eq!(partitions.throttled("PutItem", put("t", "b", "x"), START), error);
    let names = json!({ "#g": "group", "#n": "name" });
    let values = json!({ ":g": text("x"), ":n": text("n") });
    let update = |expression: &str| {
        json!({
            "TableName": "t", "Key": { "hash": text("b"), "range": text("r") }, "UpdateExpression": expression,
            "ExpressionAttributeNames": names, "ExpressionAttributeValues": values,
        })
    };
    for expression in ["SET #n = :n, #g = :g", "SET group  =  :g REMOVE #n"] {
        let told = partitions.throttled("UpdateItem", update(expression), START);
        assert_eq!(told, error, "{expression}");
    }
    // It touches the index, but which of its partitions is not said.
    partitions.pass("UpdateItem", update("SET #n = :n"), START, &units(1.0, 1.0));
    let unknown = ("t/byGroup".to_owned(), String::new());
    assert_eq!(partitions.consumed().get(&unknown), Some(&1.0));
}

#[test]
fn a_query_counts_against_the_table_or_the_index_that_it_reads() {
    let mut partitions = partitions();
    let query = |index: Option<&str>, value: &str| {
        let mut query = json!({
            "TableName": "t", "KeyConditionExpression": "(#h = :h) AND begins_with(range, :r)",
            "ExpressionAttributeNames": { "#h": index.map_or("hash", |_| "group") },
            "ExpressionAttributeValues": { ":h": text(value), ":r": text("r") },
        });
        if let Some(index) = index {
            query["IndexName"] = json!(index);
        }
        query
    };
    partitions.pass("Query", query(None, "a"), START, &units(4.0, 0.0));
    partitions.pass("Query", query(Some("byGroup"), "a"), START, &units(0.0, 4.0));
    for (index, reason, resource) in [
        (None, TABLE_READS, "t"),
        (Some("byGroup"), "IndexReadKeyRangeThroughputExceeded", "t/index/byGroup"),
    ] {
        let told = partitions.throttled("Query", query(index, "a"), START);
        assert_eq!(told, exception(&[(reason, resource)]));
        partitions.forwarded("Query", query(index, "b"), START);
    }
    partitions.pass("PutItem", put("t", "a", "a"), START, &units(1.0, 1.0));
    assert_eq!(partitions.consumed().len(), 2, "reads are no writes");
}

#[test]
fn a_request_that_fails_counts_as_a_unit_of_its_table() {
    let mut partitions = partitions();
    for _ in 0..2 {
        let (_, forwarded) = partitions.forwarded("PutItem", put("t", "a", "x"), START);
        let mut error = json!({ "__type": "ConditionalCheckFailedException" });
        partitions.settle(forwarded, 400, &mut error, START);
        assert_eq!(error, json!({ "__type": "ConditionalCheckFailedException" }));
    }
    assert_eq!(partitions.consumed(), BTreeMap::from([(at("t", "a"), 2.0)]));
    let error = exception(&[(TABLE_WRITES, "t")]);
    assert_eq!(partitions.throttled("PutItem", put("t", "a", "y"), START), error);
}

#[test]
fn what_is_no_read_or_write_of_these_tables_passes() {
    let mut partitions = partitions();
    for (operation, table) in [("DescribeTable", "u"), ("PutItem", "other")] {
        for _ in 0..3 {
            partitions.pass(operation, put(table, "a", "x"), START, &table_units(table, 9.0));
        }
    }
    assert_eq!(partitions.consumed(), BTreeMap::new());
    assert_eq!((partitions.tally().requests, partitions.tally().throttled), (6, 0));
}

fn keys(hashes: &[&str]) -> Value {
    let keys: Vec<Value> = hashes.iter().map(|hash| json!({ "hash": text(hash) })).collect();
    json!({ "Keys": keys, "ProjectionExpression": "document" })
}

#[test]
fn of_a_batch_of_reads_the_keys_whose_partitions_are_spent_are_left_unprocessed() {
    let mut partitions = partitions();
    let batch = |t: &[&str], u: &[&str]| json!({ "RequestItems": { "t": keys(t), "u": keys(u) } });
    let consumed = json!([table_units("t", 8.0), table_units("u", 4.0)]);
    partitions.pass("BatchGetItem", batch(&["a", "b"], &["a"]), START, &consumed);
    let (request, forwarded) =
        partitions.forwarded("BatchGetItem", batch(&["a", "c", "b", "d"], &["a"]), START);
    // A table of which nothing is left is left out: a request may not have an empty list.
    assert_eq!(request, json!({ "RequestItems": { "t": keys(&["c", "d"]) } }));
    let consumed = json!([table_units("t", 1.0)]);
    let mut reply = json!({ "Responses": {}, "UnprocessedKeys": {}, "ConsumedCapacity": consumed });
    partitions.settle(forwarded, 200, &mut reply, START);
    let unprocessed = json!({ "t": keys(&["a", "b"]), "u": keys(&["a"]) });
    assert_eq!(
        reply,
        json!({ "Responses": {}, "UnprocessedKeys": unprocessed, "ConsumedCapacity": consumed })
    );
    // Together with what the engine leaves, as of an answer that would be too large.
    let (_, forwarded) =
        partitions.forwarded("BatchGetItem", batch(&["a", "e"], &["a", "b"]), START);
    let mut reply = json!({ "UnprocessedKeys": { "t": keys(&["e"]) } });
    partitions.settle(forwarded, 200, &mut reply, START);
    assert_eq!(reply, json!({ "UnprocessedKeys": { "t": keys(&["e", "a"]), "u": keys(&["a"]) } }));
    let nothing = partitions.throttled("BatchGetItem", batch(&["a", "b"], &["a"]), START);
    assert_eq!(nothing, exception(&[(TABLE_READS, "t"), (TABLE_READS, "t"), (TABLE_READS, "u")]));
    let Tally { requests, throttled, .. } = partitions.tally();
    assert_eq!((requests, throttled), (4, 3));
    // An answer with nothing left over stays as the engine gave it.
    let (request, forwarded) = partitions.forwarded("BatchGetItem", batch(&["f"], &["b"]), START);
    assert_eq!(request, batch(&["f"], &["b"]));
    let mut reply = json!({ "Responses": {} });
    partitions.settle(forwarded, 200, &mut reply, START);
    assert_eq!(reply, json!({ "Responses": {} }));
    assert_eq!(partitions.tally().throttled, 3);
}

#[test]
fn of_a_batch_of_writes_too() {
    let mut partitions = partitions();
    let put = |hash: &str| json!({ "PutRequest": { "Item": { "hash": text(hash), "group": text(hash) } } });
    let delete = |hash: &str| json!({ "DeleteRequest": { "Key": { "hash": text(hash) } } });
    let batch = |writes: &[Value]| json!({ "RequestItems": { "u": writes } });
    let consumed = json!([table_units("u", 4.0)]);
    partitions.pass("BatchWriteItem", batch(&[put("a"), delete("b")]), START, &consumed);
    let spent = BTreeMap::from([(at("u", "a"), 2.0), (at("u", "b"), 2.0)]);
    assert_eq!(partitions.consumed(), spent);
    let writes = [delete("a"), put("c"), put("b"), delete("d")];
    let (request, forwarded) = partitions.forwarded("BatchWriteItem", batch(&writes), START);
    assert_eq!(request, batch(&[put("c"), delete("d")]));
    let mut reply = json!({ "UnprocessedItems": { "u": [delete("d")] } });
    partitions.settle(forwarded, 200, &mut reply, START);
    assert_eq!(reply, json!({ "UnprocessedItems": { "u": [delete("d"), delete("a"), put("b")] } }));
    let nothing = partitions.throttled("BatchWriteItem", batch(&[put("b")]), START);
    assert_eq!(nothing, exception(&[(TABLE_WRITES, "u")]));
    assert_eq!((partitions.tally().requests, partitions.tally().throttled), (3, 2));
}

#[test]
fn a_transaction_passes_as_a_whole_or_not_at_all() {
    let mut partitions = partitions();
    let transaction = |hashes: [&str; 4]| {
        let [put_of, update, delete, check] = hashes;
        json!({ "TransactItems": [
            { "Put": put("t", put_of, put_of) }, { "Update": get("u", update) },
            { "Delete": get("u", delete) }, { "ConditionCheck": get("u", check) },
        ] })
    };
    let consumed = json!([units(2.0, 1.0), table_units("u", 6.0)]);
    partitions.pass("TransactWriteItems", transaction(["a", "a", "b", "c"]), START, &consumed);
    let each = [("t", "a"), ("t/byGroup", "a"), ("u", "a"), ("u", "b"), ("u", "c")];
    let units = [2.0, 1.0, 2.0, 2.0, 2.0];
    let each = each.map(|(place, hash)| at(place, hash));
    assert_eq!(partitions.consumed(), each.into_iter().zip(units).collect::<BTreeMap<_, _>>());
    let (none, throttled) = ("None", "ThrottlingError");
    for (hashes, reasons) in [
        (["a", "x", "x", "x"], [throttled, none, none, none]),
        (["x", "a", "b", "x"], [none, throttled, throttled, none]),
        (["x", "x", "x", "c"], [none, none, none, throttled]),
    ] {
        let codes = reasons.map(|code| json!({ "Code": code }));
        let message =
            "Transaction cancelled, please refer cancellation reasons for specific reasons";
        let error = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "message": format!("{message} [{}]", reasons.join(", ")),
            "CancellationReasons": codes,
        });
        let told = partitions.throttled("TransactWriteItems", transaction(hashes), START);
        assert_eq!(told, error);
    }
    let free = transaction(["x", "x", "y", "z"]);
    assert_eq!(partitions.forwarded("TransactWriteItems", free.clone(), START).0, free);
    assert_eq!((partitions.tally().requests, partitions.tally().throttled), (5, 3));
}
