//! What the published pages show: their example requests get their example answers, field by field.
//! Connect's is in `replies`.

use serde_json::{Value, json};

use crate::support::{Catalog, merge_into};

#[tokio::test]
async fn sendgrids_partner_offerings() {
    let catalog = Catalog::start().await;
    let offering = |name: &str, kind: &str, quantity: u32, entitlements: Value| json!({"offering": {"name": name, "type": kind, "quantity": quantity}, "entitlements": entitlements});
    let addon = offering("org.ip.v1", "addon", 3, json!({"ip_count": 3}));
    let first_addon = offering("org.emails.v1", "addon", 1, json!({}));
    let package = offering(
        "org.ei.pro.v3",
        "package",
        1,
        json!({"email_sends_max_monthly": 5_000_000_000_u64, "ip_count": 2, "teammates_max_total": 100, "users_max_total": 10}),
    );
    let records: Vec<Value> = [&addon, &package, &first_addon]
        .map(|entry| merge_into(entry, &json!({"kind": "partnerOffering"})))
        .into();
    catalog.import("ACME", &records).await;
    let key = catalog.key("ACME").await;

    let answer = catalog.read(&key, "/v3/partners/offerings").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({"catalog": [package, first_addon, addon]}));
    assert_eq!(answer.header("cache-control"), "private, max-age=300");
    assert_eq!((answer.queries(), answer.read_units()), (1, 0.5));

    // Clients are told to keep the list, and to ask whether it is still good.
    let etag = answer.header("etag").to_owned();
    assert!(etag.starts_with('"'), "{etag} is strong");
    let again = catalog
        .request("GET", "/v3/partners/offerings")
        .header("Authorization", format!("Bearer {key}"))
        .header("If-None-Match", &etag);
    let again = catalog.send(again).await;
    assert_eq!((again.status, again.bytes.len()), (304, 0));
}

/// Click Airtime's example, `data` alone.
const SEED_003: &str = r#"{
    "network":{"id":22,"name":"MTN Ghana","country":"Ghana","country_code":"GH","currency":"GHS"},
    "exchange_rate":{"source_currency":"USD","destination_currency":"GHS","rate":12.35},
    "products":{
        "custom_airtime":{"available":true,"min_amount_local":1,"max_amount_local":5000,"local_currency":"GHS"},
        "fixed_bundles":[
            {"id":101,"name":"500MB Data - 30 Days","type":"DATA","price_usd":2.5,"local_value":"500MB Data - 30 Days","local_currency":"GHS","description":"500MB Data - 30 Days"},
            {"id":102,"name":"1GB Data - 30 Days","type":"DATA","price_usd":4,"local_value":"1GB Data - 30 Days","local_currency":"GHS","description":"1GB Data - 30 Days"},
            {"id":201,"name":"GHS 5 Airtime","type":"AIRTIME","price_usd":0.45,"local_value":"5.00","local_currency":"GHS","description":"GHS 5 Airtime Top-Up"}
        ]
    },
    "sms_notification":{"available":true,"cost_usd":0.1}
}"#;

#[tokio::test]
async fn click_airtimes_network_products() {
    let catalog = Catalog::start().await;
    let expected: Value = serde_json::from_str(SEED_003).expect("the seed");
    let network = merge_into(
        &expected["network"],
        &json!({
            "kind": "network",
            "custom_airtime": expected["products"]["custom_airtime"],
            "sms_notification": expected["sms_notification"],
            // In another order: the answer is by id.
            "fixed_bundles": expected["products"]["fixed_bundles"].as_array().expect("bundles").iter().rev().collect::<Vec<_>>(),
        }),
    );
    let rate = merge_into(&expected["exchange_rate"], &json!({"kind": "exchangeRate"}));
    catalog.import("ACME", &[network, rate]).await;
    let key = catalog.key("ACME").await;
    let answer = catalog.read(&key, "/v2/catalog/products?network_id=22").await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(body["success"], true);
    assert_eq!(body["data"], expected);
    assert_eq!(body["meta"]["request_id"], answer.header("x-request-id"));
    assert!(answer.header("x-request-id").starts_with("req_"));
    let timestamp = body["meta"]["timestamp"].as_str().expect("timestamp");
    assert_eq!((timestamp.len(), &timestamp[23..]), (24, "Z"));
    let fields = String::from_utf8(answer.bytes.clone()).expect("UTF-8");
    assert!(fields.starts_with(r#"{"success":true,"data":{"network":{"id":22,"#), "{fields}");

    // The envelope changes with every answer, the data do not.
    let etag = answer.header("etag").to_owned();
    let again = catalog
        .request("GET", "/v2/catalog/products?network_id=22")
        .header("Authorization", format!("Bearer {key}"))
        .header("If-None-Match", &etag);
    assert_eq!(catalog.send(again).await.status, 304);
}

#[tokio::test]
async fn agentlylead_products_upserted_and_listed() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let pro_plan = json!({
        "name": "Pro Plan — Monthly", "type": "SUBSCRIPTION", "sku": "PLAN-PRO-MO", "price": 49,
        "currency": "USD", "unit": "seat", "billingPeriod": "MONTHLY", "category": "SaaS Plans",
    });
    let other = json!({"name": "Onboarding", "type": "SERVICE", "sku": "ONBOARD", "price": 250});
    catalog.upsert(&key, std::slice::from_ref(&other)).await;

    let answer = catalog.upsert(&key, &[pro_plan.clone(), other]).await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    let id = |index: usize| body["results"][index]["id"].as_str().expect("id").to_owned();
    let expected = json!({
        "created": 1, "updated": 1, "errors": 0,
        "results": [
            {"index": 0, "status": "created", "id": id(0)},
            {"index": 1, "status": "updated", "id": id(1)},
        ],
    });
    assert_eq!(body, expected);
    assert_eq!((id(0).len(), &id(0)[14..15]), (36, "7"), "a UUIDv7");

    let answer = catalog.upsert(&key, &[json!({"name": "x"}), json!({"name": ""})]).await;
    assert_eq!(answer.status, 207);
    let body = answer.json();
    assert_eq!(
        (&body["created"], &body["updated"], &body["errors"]),
        (&json!(1), &json!(0), &json!(1))
    );
    assert_eq!(
        body["results"][1],
        json!({"index": 1, "status": "error", "error": "name: String must contain at least 1 character(s)"})
    );

    let answer = catalog.upsert(&key, &[]).await;
    assert_eq!(
        (answer.status, answer.json()),
        (400, json!({"error": "products must not be empty."}))
    );
    let answer = catalog.upsert(&format!("cat_live_{}", "0".repeat(32)), &[]).await;
    assert_eq!((answer.status, answer.json()), (401, json!({"error": "Unauthorized"})));

    let answer = catalog.read(&key, "/api/v1/products?sku=PLAN-PRO-MO&category=SaaS+Plans").await;
    assert_eq!(answer.status, 200);
    let mut body = answer.json();
    let product = &mut body["products"][0];
    for time in ["createdAt", "updatedAt"] {
        assert_eq!(product[time].as_str().map(str::len), Some(24));
        product[time] = "a time".into();
    }
    product["id"] = "an id".into();
    assert_eq!(
        body,
        json!({"products": [{
            "id": "an id", "name": "Pro Plan — Monthly", "type": "SUBSCRIPTION",
            "sku": "PLAN-PRO-MO", "externalId": null, "category": "SaaS Plans", "price": 49,
            "cost": null, "currency": "USD", "unit": "seat", "billingPeriod": "MONTHLY",
            "termMonths": null, "stockQty": null, "reorderLevel": null, "description": null,
            "features": null, "active": true, "createdAt": "a time", "updatedAt": "a time",
        }]})
    );
}
