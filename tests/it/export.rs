//! An export imports to the same catalog.

use catalog_cli::local::sample::SAMPLES;
use serde_json::{Value, json};
use serverless_catalog::{account::AccountId, imports::Counts, store::RecordReader};

use crate::support::{Catalog, offering};

pub(crate) async fn export(catalog: &Catalog, account: &str) -> Vec<String> {
    let account = AccountId::parse(account).expect("account");
    let mut records = Vec::new();
    for kind in RecordReader::KINDS {
        let mut reader = RecordReader::new(&catalog.stack.store, &account, kind);
        while let Some(page) = reader.next().await.expect("export") {
            records.extend(page);
        }
    }
    records
}

async fn import(catalog: &Catalog, account: &str, lines: &[String]) -> Counts {
    assert!(lines.iter().all(|line| !line.contains('\n')), "a record is a line");
    let (counts, refused) = catalog.import_lines(account, lines, false).await;
    assert!(refused.is_empty(), "{refused:?}");
    counts
}

/// What every endpoint shows of an account.
async fn shown(catalog: &Catalog, account: &str) -> Vec<Value> {
    let key = catalog.key(account).await;
    let mut shown: Vec<Value> = Vec::new();
    for path in
        ["/v2/catalog/networks", "/v2/catalog/countries", "/v2/catalog/products?network_id=390"]
    {
        shown.push(catalog.read(&key, path).await.json()["data"].clone());
    }
    shown.push(catalog.read(&key, "/v3/partners/offerings").await.json());
    shown.push(catalog.read(&key, "/api/v1/products").await.json());
    for page in catalog.pages(&key, "includeArchived=true", &[1_000]).await {
        shown.push(page.json()["items"].clone());
    }
    shown
}

/// Times at which the importing catalog wrote what had no time of its source.
fn without_write_times(mut shown: Vec<Value>) -> Vec<Value> {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.remove("updatedAt");
                members.values_mut().for_each(strip);
            }
            Value::Array(elements) => elements.iter_mut().for_each(strip),
            _ => {}
        }
    }
    shown.iter_mut().for_each(strip);
    shown
}

#[tokio::test]
async fn the_sample_exported_and_imported_is_the_same_catalog() {
    let catalog = Catalog::start().await;
    let sample: Vec<Value> = SAMPLES[0]
        .records
        .iter()
        .flat_map(|records| records.lines())
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    catalog.import("ACME", &sample).await;
    let exported = export(&catalog, "ACME").await;
    assert_eq!(exported.len(), sample.len());

    // Into the same account: nothing is written.
    let counts = import(&catalog, "ACME", &exported).await;
    assert_eq!(counts.unchanged, exported.len() as u64, "{counts:?}");

    // Into another: the same catalog, ids and times of creation included.
    let counts = import(&catalog, "COPY", &exported).await;
    assert_eq!(counts.created, exported.len() as u64, "{counts:?}");
    assert_eq!(
        without_write_times(shown(&catalog, "COPY").await),
        without_write_times(shown(&catalog, "ACME").await)
    );
    let again = export(&catalog, "COPY").await;
    assert_eq!(again, exported);
}

#[tokio::test]
async fn large_networks_numbers_keys_and_times_survive() {
    let catalog = Catalog::start().await;
    let bundle = |id: u32| json!({"id": id, "name": "b".repeat(500), "type": "DATA", "price_usd": 0.1, "local_value": "x", "local_currency": "GHS", "description": "d"});
    let few: Vec<Value> = (1..=40).map(bundle).collect();
    let time = json!("2025-01-02T03:04:05.678Z");
    let mut records = vec![
        json!({"kind": "network", "id": 1, "name": "few", "country": "Ghana", "country_code": "GH", "currency": "GHS", "fixed_bundles": few, "updatedAt": time}),
        json!({"kind": "network", "id": 2, "name": "many", "country": "Ghana", "country_code": "GH", "currency": "GHS"}),
        json!({"kind": "product", "sku": "s", "externalId": "e", "name": "linked", "price": 3.5, "updatedAt": time, "createdAt": time}),
        json!({"kind": "product", "externalId": "alone", "name": "by external id"}),
        json!({"kind": "product", "name": "by id alone", "id": "018e2a4b-0000-7000-8000-aabbccddeeff"}),
        json!({"kind": "promotion", "code": "p", "percentOff": 12.5, "updatedAt": time}),
    ];
    let mut dated = offering("dated", json!({"updatedAt": time, "productCatalogIds": ["web"]}));
    dated["createdAt"] = json!("2024-01-01T00:00:00.000Z");
    records.push(dated);
    records.push(offering("undated", json!({})));
    let mut one = bundle(50);
    one["kind"] = json!("bundle");
    one["network_id"] = json!(1);
    one["updatedAt"] = json!("2026-02-03T04:05:06.789Z");
    records.push(one);
    // More than a page of the table, and more than a line may hold.
    records.extend((1..=8_000).map(|id| {
        let mut record = bundle(id);
        record["kind"] = json!("bundle");
        record["network_id"] = json!(2);
        record
    }));
    // A bundle whose network never came.
    records.push(json!({"kind": "bundle", "network_id": 3, "id": 1, "name": "b", "type": "DATA", "price_usd": 1, "local_currency": "GHS"}));
    catalog.import("ACME", &records).await;
    let broken = r#"{"kind":"offering","productOfferingId":"lines","name":"A","customerType":"CONSUMER","metadata":{"a":
        1,"b":"\\n"},"price":{"currency":"USD","priceType":"ONE_TIME","grossPrice":1},"product":{"productId":"p","type":"LICENSE"}}"#;
    let (counts, _) = catalog.import_lines("ACME", &[broken.to_owned()], false).await;
    assert_eq!(counts.created, 1);
    records.push(json!("the offering whose metadata has lines"));

    let exported = export(&catalog, "ACME").await;
    // A bundle comes with its network, whose time is that of the newest write of either.
    assert_eq!(exported.len(), records.len() - 1);
    let few = exported.iter().find(|record| record.contains("\"name\":\"few\"")).expect("few");
    assert!(few.contains("\"updatedAt\":\"2026-02-03T04:05:06.789Z\""), "{few}");
    assert!(exported.iter().all(|record| record.len() <= 4 * 1024 * 1024));
    let counts = import(&catalog, "ACME", &exported).await;
    assert_eq!(counts.unchanged, exported.len() as u64, "{counts:?}");
    let counts = import(&catalog, "COPY", &exported).await;
    assert_eq!(counts.created, exported.len() as u64, "{counts:?}");
    assert_eq!(export(&catalog, "COPY").await, exported);
    let key = catalog.key("COPY").await;
    let product = catalog.read(&key, "/api/v1/products?sku=s").await.json()["products"][0].clone();
    assert_eq!((&product["createdAt"], &product["externalId"]), (&time, &json!("e")));
}
