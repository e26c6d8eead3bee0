use super::*;
use crate::{
    imports::job::JobStore as _,
    scripted_service::{Reply, ScriptedService},
};

#[test]
fn handles_of_an_account_share_its_limits_and_no_other_account_has_them() {
    let client = Client::new(&ScriptedService::new([]).config());
    let store = Store::new(client, TableNames::with_prefix("test"));
    let of =
        |account: &str| store.for_account(&account.parse().expect("account"), &Meter::default());
    let acme = of("ACME");
    assert!(Arc::ptr_eq(&acme.account_limits, &of("ACME").account_limits));
    assert!(!Arc::ptr_eq(&acme.account_limits, &of("GLOBEX").account_limits));
    assert!(!Arc::ptr_eq(&acme.account_limits, &store.account_limits));
}

/// How long the two puts after a throttled one take, if ten came before it that were answered like this.
async fn slowed_by(status: u16, code: &str) -> Duration {
    let refused = |code: &str, status| {
        let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}"}}"#);
        Reply::new(status, body)
    };
    let replies = (0..10)
        .map(|_| refused(code, status))
        .chain([refused("ThrottlingException", 400)])
        .chain((0..2).map(|_| Reply::new(200, "{}")));
    let service = ScriptedService::new(replies);
    let store = Store::new(Client::new(&service.config()), TableNames::with_prefix("test"));
    let store = Store { patience: Patience::Attempts(1), ..store };
    let put = async || store.put("put", store.put_item("t", Item::new())).await.is_ok();
    for _ in 0..10 {
        assert!(!put().await);
    }
    tokio::time::advance(Duration::from_millis(200)).await;
    assert!(!put().await);
    let begin = tokio::time::Instant::now();
    assert!(put().await && put().await);
    assert_eq!(service.asked().len(), 13);
    begin.elapsed()
}

#[tokio::test(start_paused = true)]
async fn only_what_a_database_has_answered_says_how_many_requests_it_takes() {
    assert!(slowed_by(503, "ServiceUnavailable").await.is_zero());
    assert!(!slowed_by(400, "ValidationException").await.is_zero());
}

#[tokio::test(start_paused = true)]
async fn a_request_is_sent_again_while_the_database_is_unavailable_and_not_otherwise() {
    let unavailable = || Reply::new(503, "");
    for (replies, is_stored) in [
        (vec![unavailable(), Reply::Reset, unavailable(), Reply::new(200, "{}")], true),
        (vec![Reply::new(400, r#"{"__type":"x#ValidationException"}"#)], false),
        ((0..8).map(|_| unavailable()).collect(), false),
    ] {
        let service = ScriptedService::new(replies.clone());
        let store = Store::new(Client::new(&service.config()), TableNames::with_prefix("test"));
        let put = store.put("put", store.put_item("t", Item::new())).await;
        assert_eq!(put.is_ok(), is_stored);
        assert_eq!(service.asked().len(), replies.len());
    }
}

#[tokio::test]
async fn a_write_counts_what_it_consumed_and_a_failed_condition_one_unit() {
    let failed = r#"{"__type":"x#ConditionalCheckFailedException","Item":{"a":{"S":"b"}}}"#;
    let consumed = r#"{"ConsumedCapacity":{"TableName":"t","CapacityUnits":2.5}}"#;
    let replies = [Reply::new(200, consumed), Reply::new(400, failed), Reply::new(200, "{}")];
    let service = ScriptedService::new(replies);
    let meter = Meter::default();
    let store = Store::new(Client::new(&service.config()), TableNames::with_prefix("test"));
    let store = store.metered(&meter);
    for (expected, writes, units) in [
        (Ok(()), 1, 2.5),
        (Err(Some(Item::from([("a".to_owned(), text("b"))]))), 2, 3.5),
        (Ok(()), 3, 3.5),
    ] {
        let put = store.put("put", store.put_item("t", Item::new())).await;
        assert_eq!(put.expect("an answer"), expected);
        let cost = meter.cost();
        assert_eq!((cost.writes, cost.reads), (writes, 0));
        assert!((cost.write_units - units).abs() < f64::EPSILON, "{cost:?}");
    }
}

#[tokio::test]
async fn all_pages_of_a_query_are_read_and_counted() {
    let page = |name: &str, is_last: bool| {
        let key = format!(r#"{{"k":{{"S":"{name}"}}}}"#);
        let last = if is_last { String::new() } else { format!(r#","LastEvaluatedKey":{key}"#) };
        let capacity = r#""ConsumedCapacity":{"TableName":"t","CapacityUnits":0.5}"#;
        Reply::new(200, format!(r#"{{"Items":[{key}],{capacity}{last}}}"#))
    };
    let service = ScriptedService::new([page("a", false), page("b", false), page("c", true)]);
    let meter = Meter::default();
    let store = Store::new(Client::new(&service.config()), TableNames::with_prefix("test"));
    let store = store.metered(&meter);
    let account = "ACME".parse().expect("account");
    let query = store.query_of(&account, "t", "account = :account");
    let items = store.query_all("list", query).await.expect("items");
    let names: Vec<_> = items.iter().map(|item| item["k"].as_s().expect("text")).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let asked = service.asked();
    let start = |asked: &crate::scripted_service::Asked| {
        asked.json()["ExclusiveStartKey"]["k"]["S"].clone()
    };
    let starts: Vec<_> = asked.iter().map(start).collect();
    assert_eq!(starts, [serde_json::Value::Null, "a".into(), "b".into()]);
    let cost = meter.cost();
    assert_eq!((cost.reads, cost.writes), (3, 0));
    assert!((cost.read_units - 1.5).abs() < f64::EPSILON, "{cost:?}");
}

/// A database that does not answer.
#[tokio::test(start_paused = true)]
async fn a_read_of_an_item_is_given_up_after_a_second_and_sent_again() {
    let service =
        ScriptedService::new([Reply::Never, Reply::new(200, r#"{"Item":{"a":{"S":"b"}}}"#)]);
    let store = Store::new(Client::new(&service.config()), TableNames::with_prefix("test"));
    let begin = tokio::time::Instant::now();
    let item = store.get("get", "t", Item::new(), true).await.expect("an answer");
    assert_eq!(item, Some(Item::from([("a".to_owned(), text("b"))])));
    assert!(begin.elapsed() >= SINGLE_READ && begin.elapsed() < SINGLE_READ * 2);
    let consistent =
        service.asked().into_iter().map(|asked| asked.json()["ConsistentRead"] == true);
    assert_eq!(consistent.collect::<Vec<_>>(), [true, true]);
}

#[test]
fn a_batch_consumes_what_it_consumes_in_all_tables() {
    let capacity = |units| ConsumedCapacity::builder().set_capacity_units(units).build();
    let some = [capacity(Some(1.5)), capacity(None), capacity(Some(2.0))];
    assert!((total_units(&some) - 3.5).abs() < f64::EPSILON);
    assert!(total_units(&[]).abs() < f64::EPSILON);
}

#[tokio::test(start_paused = true)]
async fn a_handle_for_a_run_is_as_patient_as_the_run_is_long() {
    let client = Client::new(&ScriptedService::new([]).config());
    let store = Store::new(client, TableNames::with_prefix("test"));
    let deadline = tokio::time::Instant::now() + Duration::from_mins(5);
    assert_eq!(store.patience, Patience::REQUEST);
    assert_eq!(store.until(Some(deadline)).patience, Patience::Until(deadline));
    assert_eq!(store.until(None).patience, Patience::OPERATOR);
}
