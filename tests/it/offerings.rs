//! The filters and objects of the offerings dialect (Connect).

use serde_json::{Value, json};
use serverless_catalog::geography::Country;

use crate::support::{Catalog, offering};

/// A catalog in which every filter has something to find and something to leave out.
async fn filled() -> (Catalog, String) {
    let catalog = Catalog::start().await;
    let with = |product: Value| json!({ "product": product });
    catalog
        .import(
            "ACME",
            &[
                offering("cell", with(json!({"category": "SUBSCRIPTION_CELL"}))),
                offering("business", json!({"customerType": "BUSINESS"})),
                offering("old", json!({"status": "ARCHIVED", "product": {"category": "SUBSCRIPTION_CELL"}})),
                offering("licence", with(json!({"type": "LICENSE"}))),
                offering("phone", with(json!({"type": "EXTERNAL_PRODUCT", "category": "EXTERNAL_PRODUCT"}))),
                offering(
                    "data",
                    json!({"productCatalogIds": ["web", "retail"],
                           "product": {"type": "SUBSCRIPTION_ADDON", "category": "PRODUCT_CATEGORY_EXTRA_DATA"}}),
                ),
                offering("fr", with(json!({"features": {"countries": ["FR", "BE"]}}))),
                offering("europe", with(json!({"features": {"regions": ["EUROPE"]}}))),
                offering("americas", with(json!({"features": {"regions": ["AMERICAS"]}}))),
                offering("south", with(json!({"features": {"regions": ["SOUTH_AMERICA"]}}))),
                offering("global", with(json!({"features": {"regions": ["GLOBAL"]}}))),
            ],
        )
        .await;
    let key = catalog.key("ACME").await;
    (catalog, key)
}

#[tokio::test]
async fn every_filter_alone_and_combined_returns_exactly_what_it_names() {
    let (catalog, key) = filled().await;
    let all = [
        "americas", "business", "cell", "data", "europe", "fr", "global", "licence", "phone",
        "south",
    ];
    let cases: &[(&str, &[&str])] = &[
        ("", &all),
        ("unknown=parameter&x[]=1", &all),
        ("includeArchived=false", &all),
        ("includeArchived=true&categories=SUBSCRIPTION_CELL", &["cell", "old"]),
        ("includeArchived=true&types=SUBSCRIPTION&categories=SUBSCRIPTION_CELL", &["cell", "old"]),
        ("includeArchived=true&types=LICENSE,EXTERNAL_PRODUCT", &["licence", "phone"]),
        ("customerType=BUSINESS", &["business"]),
        ("types=LICENSE&types=EXTERNAL_PRODUCT", &["licence", "phone"]),
        ("types[]=LICENSE&types[]=EXTERNAL_PRODUCT", &["licence", "phone"]),
        ("types%5B%5D=LICENSE%2CEXTERNAL_PRODUCT", &["licence", "phone"]),
        ("types=SUBSCRIPTION,SUBSCRIPTION_ADDON,LICENSE,EXTERNAL_PRODUCT", &all),
        ("categories=EXTRA_DATA", &["data"]),
        (
            "categories=PRODUCT_CATEGORY_EXTRA_DATA,PRODUCT_CATEGORY_SUBSCRIPTION_CELL",
            &["cell", "data"],
        ),
        ("categories=NOT_SOLD_HERE", &[]),
        ("categories=EXTRA_DATA&types=LICENSE", &[]),
        ("productCatalogId=web", &["data"]),
        ("productCatalogId=none", &[]),
        ("productCatalogId=retail&customerType=BUSINESS", &[]),
        ("countries=FR", &["europe", "fr", "global"]),
        ("countries=BE,BR", &["americas", "europe", "fr", "global", "south"]),
        ("countries=US", &["americas", "global"]),
        ("countries=AQ", &["global"]),
        ("regions=EUROPE", &["europe", "global"]),
        ("regions=AMERICAS", &["americas", "global"]),
        ("regions=SOUTH_AMERICA", &["americas", "global", "south"]),
        ("regions=GLOBAL", &["global"]),
        ("regions=GLOBAL&countries=FR", &["global"]),
        ("countries=FR&regions=SOUTH_AMERICA", &["global"]),
    ];
    for (query, expected) in cases {
        assert_eq!(catalog.all_ids(&key, query).await, *expected, "{query}");
    }
}

#[tokio::test]
async fn a_filter_of_more_terms_than_an_expression_may_hold_still_works() {
    let (catalog, key) = filled().await;
    // A hundred countries, and the regions that contain them.
    let codes: Vec<String> =
        Country::all().filter(|c| c.code() != "FR").take(100).map(String::from).collect();
    assert!(codes.iter().any(|code| code == "BE") && codes.iter().any(|code| code == "BR"));
    let found = catalog.all_ids(&key, &format!("countries={}", codes.join(","))).await;
    assert_eq!(found, ["americas", "europe", "fr", "global", "south"]);
}

/// The published example (Connect), imported and read back.
fn seed_record() -> Value {
    json!({
        "kind": "offering",
        "productOfferingId": "seamless-10gb",
        "status": "AVAILABLE",
        "name": "Seamless 10GB",
        "price": {
            "currency": "USD", "priceType": "RECURRING", "grossPrice": 10, "boundMonths": 12,
            "billingCycle": {"period": "MONTHLY", "interval": 1}
        },
        "customerType": "CONSUMER",
        "description": "Basic mobile plan with 5GB data and unlimited calls",
        "richContent": "<h3>Features</h3><ul><li>5GB monthly data</li><li>Unlimited calls & texts</li><li>No setup fees</li></ul>",
        "product": {
            "productId": "product-1", "internalName": "seamless", "type": "SUBSCRIPTION",
            "category": "SUBSCRIPTION_CELL", "networkProviderId": "tmobile-us",
            "features": {"dataMb": 2048, "includedCallSeconds": 1000, "includedSms": 500}
        },
        "group": {
            "productOfferingGroupId": "mobile-plans", "name": "Mobile Plans", "category": "SUBSCRIPTION_CELL",
            "description": "Bundled cell subscriptions with unlimited calls and SMS with ILD enabled.",
            "internalDescription": "Core mobile offerings targeting consumer and business segments"
        },
        "addonCategories": ["SUBSCRIPTION_CELL"],
        "internalDescription": "seamless_cell_10gb_us",
        "imageUrl": "https://cdn.example.com/images/mobile-basic.png",
        "metadata": {},
        "createdAt": "2024-01-15T10:30:00Z",
        "updatedAt": "2024-02-01T08:00:00.5Z"
    })
}

#[tokio::test]
async fn the_published_example_is_answered_field_by_field() {
    let catalog = Catalog::start().await;
    let half = json!({"kind": "promotion", "code": "half", "percentOff": 50});
    catalog.import("ACME", &[seed_record(), half]).await;
    let key = catalog.key("ACME").await;

    let mut expected = seed_record();
    let object = expected.as_object_mut().expect("object");
    object.remove("kind");
    object["createdAt"] = "2024-01-15T10:30:00.000Z".into();
    object["updatedAt"] = "2024-02-01T08:00:00.500Z".into();
    object["price"]["discount"] = 5.into();
    object["price"]["netPrice"] = 5.into();

    let list = catalog.get(&key, "/product-offerings?promoCode=HALF&customerType=CONSUMER").await;
    assert_eq!(list.json(), json!({"items": [expected], "pagination": {}}));
    let one = catalog.get(&key, "/product-offerings/seamless-10gb?promoCode=half").await;
    assert_eq!(one.json(), expected);
}

#[tokio::test]
async fn bodies_look_as_published() {
    let catalog = Catalog::start().await;
    let minimal = offering(
        "minimal",
        json!({"createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-02T00:00:00Z"}),
    );
    catalog.import("ACME", &[seed_record(), minimal]).await;
    let key = catalog.key("ACME").await;
    let list = catalog.get(&key, "/product-offerings").await;
    insta::assert_snapshot!(String::from_utf8(list.bytes).expect("UTF-8"));
    let one = catalog.get(&key, "/product-offerings/minimal").await;
    insta::assert_snapshot!(String::from_utf8(one.bytes).expect("UTF-8"));
}

#[tokio::test]
async fn values_survive_to_the_character() {
    let catalog = Catalog::start().await;
    // Metadata is the sender's: numbers no float holds, deep nesting, odd names, any script.
    let metadata = r#"{"big":12345678901234567890.123456789,"tiny":1e-400,"":[],"שלום":"مرحبا 👩‍👩‍👧 \u0000 \" \\","deep":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}"#;
    let line = format!(
        r#"{{"kind":"offering","productOfferingId":"ünï-🦀","name":"{0}","customerType":"CONSUMER","price":{{"currency":"KWD","priceType":"ONE_TIME","grossPrice":12345678901234.567}},"product":{{"productId":"p","type":"LICENSE"}},"metadata":{metadata}}}"#,
        r#"“Ünï” & <b>\"x\"</b> \n\t"#
    );
    let account = "ACME".parse().expect("account");
    let mut importer = crate::support::importer(&catalog.stack.store, &account, false);
    let refused = importer.import_group(&[(1, Ok(line.into_bytes()))], &[]).await.expect("import");
    assert!(refused.is_empty(), "{refused:?}");

    let key = catalog.key("ACME").await;
    for path in ["/product-offerings", "/product-offerings/%C3%BCn%C3%AF-%F0%9F%A6%80"] {
        let answer = catalog.get(&key, path).await;
        assert_eq!(answer.status, 200, "{path}");
        let body = String::from_utf8(answer.bytes).expect("UTF-8");
        assert!(body.contains(&format!(r#""metadata":{metadata}"#)), "{body}");
        assert!(body.contains(r#""grossPrice":12345678901234.567"#), "{body}");
        assert!(body.contains(r#""name":"“Ünï” & <b>\"x\"</b> \n\t""#), "{body}");
    }
}

#[tokio::test]
async fn one_offering_is_found_archived_or_not_and_missing_ones_are_404() {
    let (catalog, key) = filled().await;
    let old = catalog.get(&key, "/product-offerings/old").await;
    assert_eq!((old.status, old.json()["status"].as_str()), (200, Some("ARCHIVED")));
    for path in [
        "/product-offerings/nothing",
        "/product-offerings/a%2Fb",
        "/product-offerings/%20",
        "/product-offerings/%FF",
    ] {
        let answer = catalog.get(&key, path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
}

#[tokio::test]
async fn an_imported_change_shows_at_once_in_every_list_and_leaves_the_lists_it_no_longer_fits() {
    let (catalog, key) = filled().await;
    let counts = catalog
        .import(
            "ACME",
            &[
                offering("cell", json!({"customerType": "BUSINESS", "product": {"category": "SUBSCRIPTION_M2M"}})),
                json!({"kind": "offering", "op": "delete", "productOfferingId": "licence"}),
                offering("phone", json!({"product": {"type": "EXTERNAL_PRODUCT", "category": "EXTERNAL_PRODUCT"}})),
            ],
        )
        .await;
    assert_eq!((counts.updated, counts.deleted, counts.unchanged), (1, 1, 1));
    assert!(catalog.all_ids(&key, "categories=SUBSCRIPTION_CELL").await.is_empty());
    assert_eq!(catalog.all_ids(&key, "customerType=BUSINESS").await, ["business", "cell"]);
    assert_eq!(catalog.all_ids(&key, "categories=SUBSCRIPTION_M2M").await, ["cell"]);
    assert!(catalog.all_ids(&key, "types=LICENSE").await.is_empty());
    assert_eq!(catalog.get(&key, "/product-offerings/licence").await.status, 404);
}

#[tokio::test]
async fn an_update_keeps_the_time_of_creation_and_moves_the_time_of_change() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    catalog.import("ACME", &[offering("a", json!({}))]).await;
    let first = catalog.get(&key, "/product-offerings/a").await.json();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    catalog.import("ACME", &[offering("a", json!({"name": "New"}))]).await;
    let second = catalog.get(&key, "/product-offerings/a").await.json();
    assert_eq!(first["createdAt"], second["createdAt"]);
    assert!(first["updatedAt"].as_str() < second["updatedAt"].as_str());
}
