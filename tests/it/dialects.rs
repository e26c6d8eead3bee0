//! Each dialect's own manners: its key header, its errors, its answer to a wrong path or method.

use jiff::Timestamp;
use serde_json::{Value, json};
use serverless_catalog::access::Permission;

use crate::support::{Answer, Catalog, offering};

const ENDPOINTS: [(&str, Permission); 5] = [
    ("/v3/partners/offerings", Permission::PartnersRead),
    ("/v2/catalog/networks", Permission::AirtimeRead),
    ("/v2/catalog/countries", Permission::AirtimeRead),
    ("/v2/catalog/products?network_id=1", Permission::AirtimeRead),
    ("/api/v1/products", Permission::ProductsRead),
];

/// The dialect's name of an error, whatever shape it has.
fn code(answer: &Answer) -> String {
    let body = answer.json();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    if body["errors"].is_array() {
        let entry = &body["errors"][0];
        assert_eq!(entry.as_object().map(serde_json::Map::len), Some(3), "{body}");
        assert!(entry["message"].is_string() && entry["field"].is_string());
        return text(&entry["error_id"]);
    }
    if body["success"].is_boolean() {
        assert_eq!(body["success"], false);
        assert_eq!(body["meta"]["request_id"], answer.header("x-request-id"));
        assert!(body["error"]["details"].is_object() && body["error"]["message"].is_string());
        return text(&body["error"]["code"]);
    }
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{body}");
    text(&body["error"])
}

/// The codes of one situation, a dialect each.
fn expected<'a>(path: &str, partners: &'a str, networks: &'a str, products: &'a str) -> &'a str {
    match path {
        path if path.starts_with("/v3") => partners,
        path if path.starts_with("/v2") => networks,
        _ => products,
    }
}

#[tokio::test]
async fn every_reason_to_refuse_a_key_is_told_in_the_dialects_words() {
    let catalog = Catalog::start().await;
    let unknown = format!("cat_live_{}", "u".repeat(32));
    let revoked = catalog.key_with("ACME", |key| key.revoked_at = Some(Timestamp::now())).await;
    let expired = catalog.key_with("ACME", |key| key.expires_at = Some(Timestamp::now())).await;
    let cidr = || vec!["192.0.2.0/24".parse().expect("cidr")];
    let elsewhere = catalog.key_with("ACME", |key| key.allowed_cidrs = cidr()).await;
    for (path, permission) in ENDPOINTS {
        let others = Permission::ALL.iter().copied().filter(|other| *other != permission);
        let powerless = catalog.key_with("ACME", |key| key.permissions = others.collect()).await;
        let (auth, forbidden) = ("10-40100", "10-40300");
        for (key, status, partners, networks, products) in [
            ("x", 401, auth, "INVALID_API_KEY", "Unauthorized"),
            (unknown.as_str(), 401, auth, "INVALID_API_KEY", "Unauthorized"),
            (&revoked, 401, auth, "REVOKED_API_KEY", "Unauthorized"),
            (&expired, 401, auth, "EXPIRED_API_KEY", "Unauthorized"),
            (&elsewhere, 403, forbidden, "IP_NOT_ALLOWED", "Forbidden"),
            (&powerless, 403, forbidden, "INSUFFICIENT_PERMISSIONS", "Forbidden"),
        ] {
            let answer = catalog.read(key, path).await;
            let expected = expected(path, partners, networks, products);
            assert_eq!((answer.status, code(&answer).as_str()), (status, expected), "{path}");
            assert_eq!(answer.header("www-authenticate") == "Bearer", status == 401, "{path}");
        }
        // The other dialect's header is none.
        let key = catalog.key("ACME").await;
        assert_eq!(catalog.get(&key, path).await.status, 401, "{path}");
        let answer = catalog.read("x", "/v3/partners/offerings").await;
        assert_eq!(answer.json()["errors"][0]["message"], "Failed to authenticate user");
    }
}

#[tokio::test]
async fn wrong_methods_and_paths_are_told_in_the_nearest_dialect() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    for (path, _) in ENDPOINTS {
        for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
            let answer = catalog.send(catalog.request(method, path)).await;
            let products = path.starts_with("/api");
            let allow = if products { "GET, HEAD, POST" } else { "GET, HEAD" };
            assert_eq!((answer.status, answer.header("allow")), (405, allow), "{method} {path}");
            let words = format!("Use one of: {allow}.");
            let expected = expected(path, "10-40500", "METHOD_NOT_ALLOWED", &words);
            assert_eq!(code(&answer), expected);
        }
        if !path.starts_with("/api") {
            let answer = catalog.send(catalog.request("POST", path)).await;
            assert_eq!(answer.status, 405, "POST {path}");
        }
    }
    for path in [
        "/v3/partners",
        "/v2/catalog",
        "/v2/catalog/networks/1",
        "/api/v1/product",
        "/api/v1/products/1",
    ] {
        let answer = catalog.read(&key, path).await;
        let words = "There is nothing at this path.";
        let expected = expected(path, "10-40400", "NOT_FOUND", words);
        assert_eq!((answer.status, code(&answer).as_str()), (404, expected), "{path}");
        assert!(!answer.header("x-request-id").is_empty());
    }
}

#[tokio::test]
async fn every_reply_says_in_vary_which_header_carried_the_key() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let cidr = || vec!["192.0.2.0/24".parse().expect("cidr")];
    let elsewhere = catalog.key_with("ACME", |key| key.allowed_cidrs = cidr()).await;
    let network = json!({"kind": "network", "id": 1, "name": "N", "country": "Ghana",
                         "country_code": "GH", "currency": "GHS"});
    catalog.import("ACME", &[network, offering("o", json!({}))]).await;
    let offerings = ["/product-offerings", "/product-offerings/o"];
    for path in ENDPOINTS.iter().map(|(path, _)| *path).chain(offerings) {
        let (header, scheme) = if path.starts_with("/product-offerings") {
            ("X-Api-Key", "")
        } else {
            ("Authorization", "Bearer ")
        };
        let ask = |method: &str, path: &str, key: &str| {
            catalog.request(method, path).header(header, format!("{scheme}{key}"))
        };
        let whole = catalog.send(ask("GET", path, &key)).await;
        let again = ask("GET", path, &key).header("If-None-Match", whole.header("etag"));
        let again = catalog.send(again).await;
        let head = catalog.send(ask("HEAD", path, &key)).await;
        for (answer, status) in [(&whole, 200), (&again, 304), (&head, 200)] {
            assert_eq!(answer.status, status, "{path}");
            assert_eq!(answer.header("vary"), format!("Accept-Encoding, {header}"), "{path}");
        }

        let nowhere = format!("{}/x/y", path.split('?').next().unwrap_or_default());
        for (request, status) in [
            (ask("GET", path, "x"), 401),
            (catalog.request("GET", path), 401),
            (ask("GET", path, &elsewhere), 403),
            (ask("GET", &nowhere, &key), 404),
            (ask("HEAD", &nowhere, &key), 404),
            (ask("PUT", path, &key), 405),
        ] {
            let answer = catalog.send(request).await;
            assert_eq!(answer.status, status, "{path}");
            assert_eq!(answer.header("vary"), header, "{status} {path}");
        }
    }
    for (answer, status, vary) in [
        (catalog.get(&key, "/product-offerings?limit=x").await, 400, "X-Api-Key"),
        (catalog.get(&key, "/product-offerings/none").await, 404, "X-Api-Key"),
        (catalog.read(&key, "/v2/catalog/products").await, 400, "Authorization"),
        (catalog.post(&key, "{}").await, 400, "Authorization"),
        (
            catalog.upsert(&key, &[json!({"sku": "s", "name": "n"})]).await,
            200,
            "Accept-Encoding, Authorization",
        ),
    ] {
        assert_eq!((answer.status, answer.header("vary")), (status, vary));
    }
}

#[tokio::test]
async fn partner_offerings_that_do_not_fit_a_reply_are_an_error_and_not_a_part_of_the_list() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    // Each has 314 KB in a reply, and 308 KB stored.
    let partner = |n: u32| {
        let entitlements: serde_json::Map<String, Value> =
            (0..3_000).map(|n| (format!("entitlement_{n:0>83}"), Value::from(n))).collect();
        json!({"kind": "partnerOffering", "entitlements": entitlements,
               "offering": {"name": format!("addon-{n:02}"), "type": "addon"}})
    };
    let path = "/v3/partners/offerings";
    catalog.import("ACME", &(0..16).map(partner).collect::<Vec<_>>()).await;
    let fits = catalog.read(&key, path).await;
    assert_eq!(fits.status, 200);
    assert_eq!(fits.json()["catalog"].as_array().map(Vec::len), Some(16));

    catalog.import("ACME", &(16..22).map(partner).collect::<Vec<_>>()).await;
    let error = json!({"message": "Something went wrong on our side.", "field": "",
                       "error_id": "10-50000"});
    let gzip = catalog.request("GET", path).header("Authorization", format!("Bearer {key}"));
    let gzip = catalog.send(gzip.header("Accept-Encoding", "gzip")).await;
    for answer in [catalog.read(&key, path).await, gzip] {
        assert_eq!((answer.status, answer.json()), (500, json!({"errors": [error]})));
        assert!(!answer.header("x-request-id").is_empty());
    }
}

#[tokio::test]
async fn reads_have_a_head_a_tag_and_gzip() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let network = json!({"kind": "network", "id": 1, "name": "N".repeat(1_500), "country": "Ghana",
                         "country_code": "GH", "currency": "GHS"});
    let partner = json!({"kind": "partnerOffering", "entitlements": {},
                         "offering": {"name": "N".repeat(200), "type": "addon"}});
    let product =
        json!({"kind": "product", "sku": "s", "name": "n", "description": "N".repeat(1_500)});
    catalog.import("ACME", &[network, partner, product]).await;
    for (path, _) in ENDPOINTS {
        let whole = catalog.read(&key, path).await;
        assert_eq!(whole.status, 200, "{path}");
        let bearer = format!("Bearer {key}");
        let head = catalog.request("HEAD", path).header("Authorization", &bearer);
        let head = catalog.send(head).await;
        assert_eq!((head.status, head.bytes.len()), (200, 0), "{path}");
        assert_eq!(head.header("etag"), whole.header("etag"), "{path}");
        let again = catalog
            .request("GET", path)
            .header("Authorization", &bearer)
            .header("If-None-Match", whole.header("etag"));
        assert_eq!(catalog.send(again).await.status, 304, "{path}");
        let coded = catalog
            .request("GET", path)
            .header("Authorization", &bearer)
            .header("Accept-Encoding", "gzip");
        let coded = catalog.send(coded).await;
        assert_eq!(coded.header("content-encoding") == "gzip", whole.bytes.len() > 1_024, "{path}");
    }
}

#[tokio::test]
async fn wrong_parameters_of_networks_are_told_by_name() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let long = format!("network_id={}", "9".repeat(5_000));
    for (path, query, status, code_expected, field) in [
        ("products", "", 400, "MISSING_REQUIRED_FIELD", "network_id"),
        ("products", "network=1", 400, "MISSING_REQUIRED_FIELD", "network_id"),
        ("products", "network_id=", 400, "INVALID_FIELD", "network_id"),
        ("products", "network_id=0", 400, "INVALID_FIELD", "network_id"),
        ("products", "network_id=-1", 400, "INVALID_FIELD", "network_id"),
        ("products", "network_id=1.5", 400, "INVALID_FIELD", "network_id"),
        ("products", "network_id=1e3", 400, "INVALID_FIELD", "network_id"),
        ("products", "network_id=abc", 400, "INVALID_FIELD", "network_id"),
        ("products", "network_id=%D9%A3", 400, "INVALID_FIELD", "network_id"),
        ("products", "network_id=1&network_id=1", 400, "INVALID_FIELD", "network_id"),
        ("products", "network_id=%FF", 400, "INVALID_FIELD", "network_id"),
        ("products", "network_id=1", 404, "NETWORK_NOT_FOUND", "network_id"),
        ("products", "network_id=4294967296", 404, "NETWORK_NOT_FOUND", "network_id"),
        ("products", &long, 404, "NETWORK_NOT_FOUND", "network_id"),
        ("networks", "country_code=", 400, "INVALID_FIELD", "country_code"),
        ("networks", "country_code=G", 400, "INVALID_FIELD", "country_code"),
        ("networks", "country_code=GHA", 400, "INVALID_FIELD", "country_code"),
        ("networks", "country_code=1A", 400, "INVALID_FIELD", "country_code"),
        ("networks", "country_code=%C3%A9", 400, "INVALID_FIELD", "country_code"),
        ("networks", "country_code=GH&country_code=UG", 400, "INVALID_FIELD", "country_code"),
    ] {
        let answer = catalog.read(&key, &format!("/v2/catalog/{path}?{query}")).await;
        assert_eq!((answer.status, code(&answer).as_str()), (status, code_expected), "{query}");
        assert_eq!(answer.json()["error"]["details"], json!({"field": field}), "{query}");
    }
}

/// One account's data under another's key: nothing of it, in any dialect.
#[tokio::test]
async fn an_account_sees_only_itself_in_every_dialect() {
    let catalog = Catalog::start().await;
    for account in ["ACME", "GLOBEX"] {
        let name = if account == "ACME" { "ours" } else { "secret" };
        let records = [
            json!({"kind": "network", "id": 1, "name": name, "country": "Ghana", "country_code": "GH", "currency": "GHS",
                   "fixed_bundles": [{"id": 1, "name": name, "type": "DATA", "price_usd": 1}]}),
            json!({"kind": "exchangeRate", "source_currency": "USD", "destination_currency": "GHS", "rate": if account == "ACME" { 1 } else { 987_654 }}),
            json!({"kind": "partnerOffering", "offering": {"name": name, "type": "package"}}),
            json!({"kind": "product", "sku": "same", "externalId": "same", "name": name}),
        ];
        catalog.import(account, &records).await;
    }
    let (ours, theirs) = (catalog.key("ACME").await, catalog.key("GLOBEX").await);
    // The same keys in both accounts: writing one leaves the other as it is.
    catalog.upsert(&theirs, &[json!({"externalId": "same", "price": 987_654})]).await;
    catalog.upsert(&ours, &[json!({"sku": "same", "price": 1})]).await;
    for (path, _) in ENDPOINTS {
        let answer = catalog.read(&ours, path).await;
        // A shorter number may be a part of a random id.
        let text = String::from_utf8(answer.bytes).expect("UTF-8");
        assert!(
            text.contains("ours") && !text.contains("secret") && !text.contains("987654"),
            "{text}"
        );
    }
}
