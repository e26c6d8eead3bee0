//! An account sees itself and nothing else, whatever a request says.

use serde_json::json;

use crate::support::{Catalog, offering};

/// Two accounts with the same ids; every value of the second one says "secret".
async fn two_accounts() -> (Catalog, String, String) {
    let catalog = Catalog::start().await;
    let product = json!({"type": "SUBSCRIPTION", "category": "TRAVEL_ESIM",
                         "features": {"countries": ["FR"], "regions": ["EUROPE"]}});
    for account in ["ACME", "GLOBEX"] {
        let name = if account == "ACME" { "ours" } else { "secret" };
        let change = json!({"name": name, "productCatalogIds": ["web"], "product": product});
        let mut records: Vec<_> =
            (0..30).map(|n| offering(&format!("o{n:02}"), change.clone())).collect();
        if account == "GLOBEX" {
            records.push(offering("only-theirs", change));
            records.push(json!({"kind": "promotion", "code": "SECRET", "percentOff": 50}));
        }
        catalog.import(account, &records).await;
    }
    let (ours, theirs) = (catalog.key("ACME").await, catalog.key("GLOBEX").await);
    (catalog, ours, theirs)
}

#[tokio::test]
async fn no_parameter_shows_another_accounts_data() {
    let (catalog, ours, theirs) = two_accounts().await;
    let stolen =
        catalog.get(&theirs, "/product-offerings?limit=5").await.next_cursor().expect("cursor");
    let hostile = [
        "GLOBEX",
        "GLOBEX%00",
        "*",
        "%25",
        "' OR '1'='1",
        ":account",
        "../GLOBEX",
        "%7B%22S%22%3A%22GLOBEX%22%7D",
    ];
    let parameters = [
        "types",
        "categories",
        "customerType",
        "productCatalogId",
        "includeArchived",
        "promoCode",
        "countries",
        "regions",
        "limit",
        "cursor",
        "account",
    ];
    let mut paths: Vec<String> = parameters
        .iter()
        .flat_map(|name| {
            hostile.iter().map(move |value| format!("/product-offerings?{name}={value}"))
        })
        .collect();
    paths.extend(
        [
            "types=SUBSCRIPTION",
            "categories=TRAVEL_ESIM",
            "customerType=CONSUMER",
            "productCatalogId=web",
            "includeArchived=true",
            "countries=FR",
            "regions=EUROPE",
            "limit=1000",
            "account=GLOBEX",
        ]
        .map(|query| format!("/product-offerings?{query}")),
    );
    paths.push("/product-offerings?promoCode=SECRET".to_owned());
    paths.push("/product-offerings/only-theirs".to_owned());
    for query in ["", "types=SUBSCRIPTION&", "limit=5&"] {
        paths.push(format!("/product-offerings?{query}cursor={stolen}"));
    }
    for path in paths {
        let answer = catalog.get(&ours, &path).await;
        assert!(answer.status < 500, "{path}");
        let body = String::from_utf8(answer.bytes.clone()).expect("UTF-8");
        assert!(
            !body.contains("\"secret\"") && !body.contains("\"only-theirs\""),
            "{path}: {body}"
        );
    }
}

#[tokio::test]
async fn a_stolen_or_tampered_cursor_is_refused_with_one_same_message() {
    let (catalog, ours, theirs) = two_accounts().await;
    let stolen =
        catalog.get(&theirs, "/product-offerings?limit=5").await.next_cursor().expect("cursor");
    let own = catalog.get(&ours, "/product-offerings?limit=5").await.next_cursor().expect("cursor");
    let mut tampered = own.clone().into_bytes();
    let last = tampered.len() - 2;
    tampered[last] = if tampered[last] == b'A' { b'B' } else { b'A' };
    let tampered = String::from_utf8(tampered).expect("ASCII");
    let bad = [
        format!("cursor={stolen}"),
        format!("cursor={tampered}"),
        format!("cursor={}", &own[..own.len() - 4]),
        format!("cursor={own}AAAA"),
        "cursor=".to_owned(),
        "cursor=x".to_owned(),
        format!("cursor={}", "A".repeat(600)),
        format!("cursor={own}&types=SUBSCRIPTION"),
        format!("cursor={own}&categories=TRAVEL_ESIM"),
        format!("cursor={own}&customerType=CONSUMER"),
        format!("cursor={own}&includeArchived=true"),
        format!("cursor={own}&countries=FR"),
        format!("cursor={own}&regions=EUROPE"),
        format!("cursor={own}&productCatalogId=web"),
    ];
    let mut messages = std::collections::BTreeSet::new();
    for query in bad {
        let answer = catalog.get(&ours, &format!("/product-offerings?{query}")).await;
        assert_eq!((answer.status, answer.fields()), (400, vec!["cursor".to_owned()]), "{query}");
        messages.insert(answer.json()["errors"].to_string());
    }
    assert_eq!(messages.len(), 1, "{messages:?}");

    let fine = [
        format!("cursor={own}"),
        format!("cursor={own}&limit=17"),
        format!("cursor={own}&includeArchived=false"),
        format!("cursor={own}&types=SUBSCRIPTION,SUBSCRIPTION_ADDON,LICENSE,EXTERNAL_PRODUCT"),
    ];
    for query in fine {
        let answer = catalog.get(&ours, &format!("/product-offerings?{query}")).await;
        assert_eq!(answer.ids()[0], "o05", "{query}");
    }
    // Another key of the same account may go on with it.
    let sister = catalog.key("ACME").await;
    assert_eq!(catalog.get(&sister, &format!("/product-offerings?cursor={own}")).await.status, 200);
}
