//! The bulk upsert: it merges, in order, whoever else writes, and tells what became of every row.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use futures_util::future::join_all;
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use crate::support::Catalog;

/// All products of an account, newest first.
pub(crate) async fn all(catalog: &Catalog, key: &str) -> Vec<Value> {
    let mut products = Vec::new();
    let mut path = "/api/v1/products".to_owned();
    loop {
        let answer = catalog.read(key, &path).await;
        assert_eq!(answer.status, 200, "{:?}", String::from_utf8_lossy(&answer.bytes));
        let body = answer.json();
        products.extend(body["products"].as_array().expect("products").iter().cloned());
        match body["nextCursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/products?cursor={cursor}"),
            None => return products,
        }
    }
}

fn statuses(body: &Value) -> Vec<&str> {
    let results = body["results"].as_array().expect("results").iter().enumerate();
    results
        .map(|(index, result)| {
            assert_eq!(result["index"], index);
            result["status"].as_str().expect("status")
        })
        .collect()
}

fn error(body: &Value, index: usize) -> &str {
    body["results"][index]["error"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_match_is_a_merge_and_null_clears() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let first = json!({"sku": "s", "name": "Cable", "price": 19.99, "cost": 3, "category": "Parts",
                       "stockQty": 7, "description": "red", "active": false});
    catalog.upsert(&key, &[first]).await;
    let before = all(&catalog, &key).await.remove(0);
    let change = json!({"sku": "s", "price": 21, "category": null, "cost": null, "id": "mine",
                        "createdAt": "1999-01-01T00:00:00Z", "unknown": {"deep": [1]}});
    let answer = catalog.upsert(&key, &[change]).await;
    assert_eq!((answer.status, statuses(&answer.json())), (200, vec!["updated"]));
    let after = all(&catalog, &key).await.remove(0);
    let mut expected = before.clone();
    expected["price"] = json!(21);
    expected["category"] = Value::Null;
    expected["cost"] = Value::Null;
    expected["updatedAt"] = after["updatedAt"].clone();
    assert_eq!(after, expected);
    assert!(after["updatedAt"].as_str() >= before["updatedAt"].as_str());
}

#[tokio::test]
async fn money_survives_to_the_digit() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    for (written, read) in [
        ("0.1", "0.1"),
        ("19.99", "19.99"),
        ("12345678901234.56", "12345678901234.56"),
        ("1e-7", "0.0000001"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("1234567890123456789012345678", "1234567890123456789012345678"),
        ("0.0000000000000000000000000001", "0.0000000000000000000000000001"),
        ("0", "0"),
    ] {
        let body = format!(
            r#"{{"products":[{{"sku":"m","name":"m","price":{written},"cost":{written}}}]}}"#
        );
        assert_eq!(catalog.post(&key, &body).await.status, 200, "{written}");
        for path in ["/api/v1/products?sku=m", "/api/v1/products"] {
            let answer = catalog.read(&key, path).await;
            let text = String::from_utf8(answer.bytes).expect("UTF-8");
            let expected = format!(r#""price":{read},"cost":{read},"#);
            assert!(text.contains(&expected), "{written}: {text}");
        }
    }
}

#[tokio::test]
async fn rows_of_one_product_apply_in_order_whatever_they_name_it_by() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let rows = [
        json!({"sku": "a", "name": "A", "price": 1}),
        json!({"externalId": "x", "name": "X", "price": 1}),
        json!({"sku": "a", "price": 2, "stockQty": 2}),
        json!({"sku": "b", "externalId": "y", "name": "B", "price": 1}),
        json!({"externalId": "y", "price": 2}),
        json!({"sku": "a", "price": 3}),
        json!({"name": "alone"}),
        json!({"name": "alone"}),
    ];
    let answer = catalog.upsert(&key, &rows).await;
    let body = answer.json();
    let expected =
        ["created", "created", "updated", "created", "updated", "updated", "created", "created"];
    assert_eq!((answer.status, statuses(&body)), (200, expected.to_vec()), "{body}");
    assert_eq!((&body["created"], &body["updated"]), (&json!(5), &json!(3)));
    let products = all(&catalog, &key).await;
    let price = |sku: &str| {
        products.iter().find(|product| product["sku"] == sku).expect(sku)["price"].clone()
    };
    assert_eq!((price("a"), price("b")), (json!(3), json!(2)));
    // Newest first: the order of the rows that created them, from the end.
    let names: Vec<&Value> = products.iter().map(|product| &product["name"]).collect();
    assert_eq!(names, ["alone", "alone", "B", "X", "A"]);

    // The stored link makes them one product, too: nothing in the rows themselves says so.
    for _ in 0..5 {
        let rows: Vec<Value> = (1..=20)
            .map(|n| match n % 2 {
                0 => json!({"sku": "b", "price": n}),
                _ => json!({"externalId": "y", "price": n}),
            })
            .collect();
        let answer = catalog.upsert(&key, &rows).await;
        assert_eq!(answer.status, 200);
        let answer = catalog.read(&key, "/api/v1/products?sku=b").await;
        assert_eq!(answer.json()["products"][0]["price"], 20);
    }
}

#[tokio::test]
async fn a_row_that_matches_nothing_needs_a_name() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let rows = [
        json!({"sku": "a", "price": 1}),
        json!({"externalId": "x"}),
        json!({"sku": "b", "externalId": "y", "price": 3}),
        json!({"price": 3}),
        json!({"sku": "c", "name": "C"}),
        json!({"sku": null, "externalId": null, "name": "null is no key"}),
        json!("row"),
    ];
    let answer = catalog.upsert(&key, &rows).await;
    let body = answer.json();
    assert_eq!(answer.status, 207);
    for index in 0..4 {
        assert_eq!(error(&body, index), "name: Required", "{body}");
    }
    assert_eq!(error(&body, 6), "Expected object, received string");
    assert_eq!((&body["created"], &body["errors"]), (&json!(2), &json!(5)));
    assert_eq!(all(&catalog, &key).await.len(), 2);
}

#[tokio::test]
async fn an_external_id_is_one_products_alone() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let one = |row: Value| {
        let (catalog, key) = (&catalog, &key);
        async move {
            let body = catalog.upsert(key, &[row]).await.json();
            (statuses(&body)[0].to_owned(), error(&body, 0).to_owned())
        }
    };
    let status = |status: &str| (status.to_owned(), String::new());
    let taken = ("error".to_owned(), "externalId: Already used by another product".to_owned());

    // A first link, another one, and the way back by each key.
    assert_eq!(one(json!({"sku": "a", "name": "A"})).await, status("created"));
    assert_eq!(one(json!({"sku": "a", "externalId": "1"})).await, status("updated"));
    assert_eq!(one(json!({"externalId": "1", "price": 5})).await, status("updated"));
    assert_eq!(one(json!({"sku": "b", "externalId": "1", "name": "B"})).await, taken);
    assert_eq!(one(json!({"sku": "a", "externalId": "2"})).await, status("updated"));
    assert_eq!(one(json!({"sku": "b", "externalId": "1", "name": "B"})).await, status("created"));
    assert_eq!(one(json!({"sku": "b", "externalId": "2"})).await, taken);
    assert_eq!(one(json!({"externalId": "2", "stockQty": 2})).await, status("updated"));

    // A product that had an external id alone gets a sku, and loses it again.
    assert_eq!(one(json!({"externalId": "3", "name": "C", "price": 3})).await, status("created"));
    assert_eq!(one(json!({"sku": "a", "externalId": "3"})).await, taken);
    assert_eq!(one(json!({"sku": "c", "externalId": "3"})).await, status("updated"));
    assert_eq!(one(json!({"sku": "c", "cost": 1})).await, status("updated"));
    assert_eq!(one(json!({"sku": null, "externalId": "3", "cost": 2})).await, status("updated"));
    assert_eq!(one(json!({"sku": "c", "name": "another"})).await, status("created"));

    // A link is cleared: the external id is free.
    assert_eq!(one(json!({"sku": "b", "externalId": null})).await, status("updated"));
    assert_eq!(one(json!({"externalId": "1", "name": "D"})).await, status("created"));

    let products = all(&catalog, &key).await;
    let mut shown: Vec<(String, Value, Value)> = products
        .iter()
        .map(|product| {
            let name = product["name"].as_str().expect("name").to_owned();
            (name, product["sku"].clone(), product["externalId"].clone())
        })
        .collect();
    shown.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        ("A", json!("a"), json!("2")),
        ("B", json!("b"), Value::Null),
        ("C", Value::Null, json!("3")),
        ("D", Value::Null, json!("1")),
        ("another", json!("c"), Value::Null),
    ];
    assert_eq!(shown, expected.map(|(name, sku, id)| (name.to_owned(), sku, id)));
    let c = products.iter().find(|product| product["name"] == "C").expect("C");
    assert_eq!((&c["price"], &c["cost"]), (&json!(3), &json!(2)));
}

/// What a writer writes in its field.
type Written = fn(usize) -> Value;

/// Many writers, each with fields of its own, on the same products at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_writer_loses_anothers_fields_and_no_key_is_made_twice() {
    const PRODUCTS: usize = 12;
    const ROUNDS: usize = 6;
    let catalog = Arc::new(Catalog::start().await);
    let key = catalog.key("ACME").await;
    let writers: [(&str, Written); 8] = [
        ("price", |n| json!(n)),
        ("cost", |n| json!(n)),
        ("stockQty", |n| json!(n)),
        ("reorderLevel", |n| json!(n)),
        ("description", |n| json!(format!("text {n}"))),
        ("features", |n| json!(format!("text {n}"))),
        ("category", |n| json!(format!("category {n}"))),
        ("unit", |n| json!(format!("unit {n}"))),
    ];
    let tasks = writers.iter().enumerate().map(|(writer, (field, value))| {
        let (catalog, key) = (catalog.clone(), key.clone());
        async move {
            for round in 1..=ROUNDS {
                let rows: Vec<Value> = (0..PRODUCTS)
                    .map(|number| {
                        // Any writer may be the one that creates a product or links its external id.
                        let mut row = match (number + writer) % 3 {
                            0 => json!({"sku": format!("s{number}")}),
                            1 => json!({"sku": format!("s{number}"), "externalId": format!("e{number}")}),
                            _ => json!({"externalId": format!("e{number}"), "sku": format!("s{number}")}),
                        };
                        row["name"] = json!(format!("product {number}"));
                        row[*field] = value(round * 100 + number);
                        row
                    })
                    .collect();
                let answer = catalog.upsert(&key, &rows).await;
                assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.bytes));
            }
        }
    });
    join_all(tasks).await;

    let products = all(&catalog, &key).await;
    assert_eq!(products.len(), PRODUCTS);
    for number in 0..PRODUCTS {
        let sku = json!(format!("s{number}"));
        let product = products.iter().find(|product| product["sku"] == sku).expect("product");
        assert_eq!(product["externalId"], format!("e{number}"));
        for (field, value) in writers {
            assert_eq!(product[field], value(ROUNDS * 100 + number), "{field} of {number}");
        }
    }
}

/// Writers that create the same external ids with and without skus, all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_for_keys_makes_each_of_them_once() {
    let catalog = Arc::new(Catalog::start().await);
    let key = catalog.key("ACME").await;
    let tasks = (0..10).map(|writer: usize| {
        let (catalog, key) = (catalog.clone(), key.clone());
        async move {
            for round in 0..5 {
                let rows: Vec<Value> = (0..8)
                    .map(|number| {
                        let id = format!("e{number}");
                        match (writer + round) % 4 {
                            0 => json!({"externalId": id, "name": "n"}),
                            1 => {
                                json!({"externalId": id, "sku": format!("s{number}"), "name": "n"})
                            }
                            2 => json!({"externalId": id, "sku": null, "name": "n"}),
                            _ => {
                                json!({"externalId": id, "sku": format!("t{number}"), "name": "n"})
                            }
                        }
                    })
                    .collect();
                let answer = catalog.upsert(&key, &rows).await;
                let body = answer.json();
                for index in 0..rows.len() {
                    let allowed = ["", "externalId: Already used by another product"];
                    assert!(allowed.contains(&error(&body, index)), "{body}");
                }
            }
        }
    });
    join_all(tasks).await;
    let products = all(&catalog, &key).await;
    for field in ["sku", "externalId", "id"] {
        let mut seen = HashSet::new();
        for product in &products {
            if let Some(value) = product[field].as_str() {
                assert!(seen.insert(value), "{field} {value} twice");
            }
        }
    }
    let external_ids: BTreeSet<&str> =
        products.iter().filter_map(|product| product["externalId"].as_str()).collect();
    assert_eq!(external_ids.len(), 8);
}

#[tokio::test]
async fn an_existing_products_upsert_is_one_write_and_no_read() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let rows: Vec<Value> = (0..1_000)
        .map(|n| match n % 3 {
            0 => json!({"sku": format!("s{n}"), "name": "n", "price": n, "category": "c"}),
            1 => json!({"externalId": format!("e{n}"), "name": "n", "price": n}),
            _ => json!({"sku": format!("s{n}"), "externalId": format!("e{n}"), "name": "n"}),
        })
        .collect();
    assert_eq!(catalog.upsert(&key, &rows).await.status, 200);
    for kind in 0..3 {
        let some: Vec<Value> = rows.iter().skip(kind).step_by(3).cloned().collect();
        let answer = catalog.upsert(&key, &some).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["updated"], some.len());
        assert_eq!((answer.writes() as usize, answer.queries()), (some.len(), 0));
        // One unit each for the item and its entries in one or two indexes: all are under a KB.
        let entries = if kind == 0 { 3.0 } else { 2.0 };
        let rows = f64::from(answer.writes());
        assert!(answer.write_units() <= rows * entries, "{} units", answer.write_units());
    }
    // Rows by sku beside 333 rows by external id alone: their links are looked up, a hundred at a time.
    let answer = catalog.upsert(&key, &rows).await;
    assert_eq!((answer.writes(), answer.queries()), (1_000, 4));
}

#[tokio::test]
async fn a_thousand_rows_are_taken_and_one_more_is_not() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let rows = |count: usize| -> Vec<Value> { vec![json!({"name": "x"}); count] };
    let answer = catalog.upsert(&key, &rows(1_001)).await;
    assert_eq!(
        (answer.status, answer.json()),
        (400, json!({"error": "Max 1000 products per request."}))
    );
    let answer = catalog.upsert(&key, &rows(1_000)).await;
    assert_eq!((answer.status, &answer.json()["created"]), (200, &json!(1_000)));
    assert_eq!(all(&catalog, &key).await.len(), 1_000);
}

/// As the gateway of AWS: `openapi.yaml` has its reply.
#[tokio::test]
async fn a_body_that_makes_an_event_over_six_megabytes_is_answered_by_the_gateway_itself() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    // Each quote counts twice in an event.
    let quotes = "\\\"".repeat(1_000_000);
    let body = format!(r#"{{"products":[{{"sku":"a","name":"n","description":"{quotes}"}}]}}"#);
    assert!(body.len() < 5_000_000);
    assert_eq!(catalog.post(&key, &body).await.status, 207, "too long a description");
    let body = body.replace(&quotes, &quotes.repeat(2));
    assert!(body.len() < 5_000_000);
    let answer = catalog.post(&key, &body).await;
    assert_eq!(
        (answer.status, answer.json()),
        (413, json!({"message": "Request Entity Too Large"}))
    );
}

#[tokio::test]
async fn a_body_that_is_no_request_is_told_so() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let deep = format!(r#"{{"products":{}1{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    for (body, message) in [
        ("", "Malformed JSON"),
        ("{", "Malformed JSON"),
        (r#"{"products":[{"name":NaN}]}"#, "Malformed JSON"),
        (r#"{"products":[{"name":"x","price":01}]}"#, "Malformed JSON"),
        (r#"{"products":[]} x"#, "Malformed JSON"),
        ("[]", "Expected object, received array."),
        ("null", "Expected object, received null."),
        ("{}", "products: Required."),
        (r#"{"products":{}}"#, "products: Expected array, received object."),
        (r#"{"products":null}"#, "products: Expected array, received null."),
        (r#"{"products":[],"products":[]}"#, "products: Duplicate key."),
    ] {
        let answer = catalog.post(&key, body).await;
        assert_eq!(answer.status, 400, "{body}");
        let error = answer.json()["error"].as_str().expect("error").to_owned();
        assert!(error.starts_with(message), "{body}: {error}");
    }
    // Depth is no trouble: the row is no object.
    let answer = catalog.post(&key, &deep).await;
    assert_eq!((answer.status, error(&answer.json(), 0)), (207, "Expected object, received array"));
    let row = r#"{"products":[{"sku":"a","name":"x","price":"1"},{"sku":"b","name":"x","stockQty":1e999999999}]}"#;
    let answer = catalog.post(&key, row).await;
    let body = answer.json();
    assert_eq!(error(&body, 0), "price: Expected number, received string");
    assert_eq!(error(&body, 1), "stockQty: Number must have at most 28 digits");

    for (content_type, status) in [
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("text/plain", 400),
        ("application/x-www-form-urlencoded", 400),
        ("", 400),
    ] {
        let request = catalog
            .request("POST", "/api/v1/products")
            .header("Authorization", format!("Bearer {key}"))
            .header("Content-Type", content_type)
            .body(br#"{"products":[{"name":"x"}]}"#.to_vec());
        assert_eq!(catalog.send(request).await.status, status, "{content_type}");
    }
    let post = |body: Vec<u8>| {
        catalog
            .request("POST", "/api/v1/products")
            .header("Authorization", format!("Bearer {key}"))
            .header("Content-Type", "application/json")
            .body(body)
    };
    // No UTF-8 arrives in base64.
    let answer = catalog.send(post(b"{\"products\":[{\"name\":\"\xff\"}]}".to_vec())).await;
    assert_eq!(answer.status, 400);
    let large = format!(r#"{{"products":[{{"name":"x","x":"{}"}}]}}"#, "y".repeat(5_000_001));
    assert_eq!(catalog.send(post(large.into_bytes())).await.status, 413);
}

/// A row of the property test: which keys it names, which fields it sets or clears.
fn row_strategy() -> impl Strategy<Value = Value> {
    let key = || select(vec![None, None, Some(Value::Null), Some(json!("1")), Some(json!("2"))]);
    let field = || prop::option::weighted(0.4, prop::option::of(0_u32..100));
    (key(), key(), prop::bool::weighted(0.7), field(), field(), field()).prop_map(
        |(sku, external_id, named, price, cost, stock)| {
            let mut row = json!({});
            if let Some(sku) = sku {
                row["sku"] = sku;
            }
            if let Some(id) = external_id {
                row["externalId"] = id;
            }
            if named {
                row["name"] = json!("n");
            }
            if let Some(Some(price)) = price {
                row["price"] = json!(price);
            }
            if let Some(cost) = cost {
                row["cost"] = json!(cost);
            }
            if let Some(stock) = stock {
                row["stockQty"] = json!(stock);
            }
            row
        },
    )
}

/// What the contract says of one row after another, in the plainest way.
#[derive(Default)]
struct Model(Vec<BTreeMap<&'static str, Value>>);

impl Model {
    fn apply(&mut self, row: &Value) -> &'static str {
        let text = |name: &str| row[name].as_str();
        let by = |products: &[BTreeMap<&'static str, Value>], name: &str, value: &str| {
            products.iter().position(|product| product[name] == value)
        };
        let owner = text("externalId").and_then(|id| by(&self.0, "externalId", id));
        let found = match text("sku") {
            Some(sku) => {
                let found = by(&self.0, "sku", sku);
                // A product without a sku is found by its external id, and gets this one.
                let adopts = |owner: usize| found.is_none() && self.0[owner]["sku"].is_null();
                if owner.is_some_and(|owner| Some(owner) != found && !adopts(owner)) {
                    return "error";
                }
                found.or(owner)
            }
            None => owner,
        };
        let place = match found {
            Some(place) => place,
            None if row["name"].is_null() => return "error",
            None => {
                let nothing =
                    ["sku", "externalId", "cost", "stockQty"].map(|name| (name, Value::Null));
                let mut product = BTreeMap::from(nothing);
                product.insert("price", json!(0));
                self.0.push(product);
                self.0.len() - 1
            }
        };
        for (name, value) in &mut self.0[place] {
            if let Some(given) = row.get(*name) {
                *value = given.clone();
            }
        }
        if found.is_some() { "updated" } else { "created" }
    }
}

/// Merging rows in any grouping into requests equals replaying them one by one.
#[test]
fn merging_equals_replay() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("runtime");
    let catalog = runtime.block_on(Catalog::start());
    let account = std::cell::Cell::new(0_u32);
    let cases = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(120) };
    proptest!(cases, |(rows in vec(row_strategy(), 1..14), group in select(vec![1_usize, 1, 2, 5, 13]))| {
        account.set(account.get() + 1);
        // Within one request an external id that one row gives up another may take, whichever comes
        // first: several rows at once are compared where none is given up.
        let rows: Vec<Value> = rows
            .into_iter()
            .map(|mut row| {
                if group > 1 {
                    for key in ["sku", "externalId"] {
                        if row[key].is_null() {
                            row.as_object_mut().expect("a row").remove(key);
                        }
                    }
                    if row["sku"].is_string() && row["externalId"].is_string() {
                        row["externalId"] = row["sku"].clone();
                    }
                }
                row
            })
            .collect();
        runtime.block_on(async {
            let key = catalog.key(&format!("A{}", account.get())).await;
            let mut model = Model::default();
            let mut expected = Vec::new();
            let mut told = Vec::new();
            for rows in rows.chunks(group) {
                expected.extend(rows.iter().map(|row| model.apply(row)));
                let body = catalog.upsert(&key, rows).await.json();
                told.extend(statuses(&body).into_iter().map(ToOwned::to_owned));
            }
            prop_assert_eq!(told, expected);
            let mut stored: Vec<BTreeMap<&str, Value>> = all(&catalog, &key)
                .await
                .iter()
                .map(|product| {
                    ["sku", "externalId", "cost", "stockQty", "price"]
                        .map(|name| (name, product[name].clone()))
                        .into()
                })
                .collect();
            stored.reverse();
            prop_assert_eq!(stored, model.0);
            Ok(())
        })?;
    });
}

/// In one request an external id goes from product to product.
#[tokio::test]
async fn an_external_id_that_one_row_gives_up_another_takes() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    for round in 0..20 {
        let (a, b, id) = (format!("a{round}"), format!("b{round}"), format!("e{round}"));
        catalog.upsert(&key, &[json!({"sku": a, "externalId": id, "name": "n"})]).await;
        let rows = [
            json!({"sku": a, "externalId": null}),
            json!({"sku": b, "externalId": id, "name": "n"}),
            json!({"sku": b, "price": 2}),
        ];
        let answer = catalog.upsert(&key, &rows).await;
        let body = answer.json();
        assert_eq!(
            (answer.status, statuses(&body)),
            (200, vec!["updated", "created", "updated"]),
            "{body}"
        );
    }
}
