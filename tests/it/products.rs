//! The list of products: newest first, whole, and never more read than asked for.

use serde_json::{Value, json};

use crate::{support::Catalog, upsert::all};

fn skus(body: &Value) -> Vec<String> {
    let products = body["products"].as_array().expect("products").iter();
    products.map(|product| product["sku"].as_str().expect("sku").to_owned()).collect()
}

async fn with_products(count: usize) -> (Catalog, String) {
    let catalog = Catalog::start().await;
    let rows: Vec<Value> = (0..count)
        .map(|n| {
            let category = ["Plans", "plans", "Parts"][n % 3];
            json!({"kind": "product", "sku": format!("s{n:05}"), "name": format!("Product {n}"), "category": category})
        })
        .collect();
    catalog.import("ACME", &rows).await;
    let key = catalog.key("ACME").await;
    (catalog, key)
}

#[tokio::test]
async fn pages_of_any_size_are_the_whole_list_newest_first() {
    let (catalog, key) = with_products(50).await;
    let whole: Vec<String> = (0..50).rev().map(|n| format!("s{n:05}")).collect();
    assert_eq!(skus(&catalog.read(&key, "/api/v1/products").await.json()), whole);
    let plans: Vec<String> =
        (0..50).rev().filter(|n| n % 3 == 0).map(|n| format!("s{n:05}")).collect();
    for (filter, expected) in [("", &whole), ("category=Plans&", &plans)] {
        for limit in [1, 3, 17, 49, 50, 51, 1000] {
            let mut path = format!("/api/v1/products?{filter}limit={limit}");
            let mut found = Vec::new();
            loop {
                let answer = catalog.read(&key, &path).await;
                let body = answer.json();
                let page = skus(&body);
                assert!(!page.is_empty() && page.len() <= limit);
                found.extend(page);
                let link = answer.header("link").to_owned();
                let Some(cursor) = body["nextCursor"].as_str() else {
                    assert!(link.is_empty());
                    break;
                };
                // The link is the way of those who read headers.
                path = link
                    .strip_prefix('<')
                    .and_then(|link| link.strip_suffix(">; rel=\"next\""))
                    .expect("a link")
                    .to_owned();
                assert_eq!(path, format!("/api/v1/products?{filter}limit={limit}&cursor={cursor}"));
            }
            assert_eq!(&found, expected, "{filter} {limit}");
        }
    }
}

#[tokio::test]
async fn sku_and_category_are_exact_and_combine() {
    let (catalog, key) = with_products(9).await;
    for (query, found) in [
        ("sku=s00003", 1),
        ("sku=S00003", 0),
        ("sku=s0000", 0),
        ("category=Plans", 3),
        ("category=plans", 3),
        ("category=PLANS", 0),
        ("sku=s00003&category=Plans", 1),
        ("sku=s00003&category=plans", 0),
        ("sku=s00003&limit=1", 1),
        (&format!("sku={}", "x".repeat(101)), 0),
        (&format!("category={}", "x".repeat(3_000)), 0),
        ("sku=%00", 0),
        ("sku=&category=", 9),
        ("sku=&category=plans", 3),
        ("unknown=1", 9),
    ] {
        let answer = catalog.read(&key, &format!("/api/v1/products?{query}")).await;
        assert_eq!(answer.status, 200, "{query}");
        assert_eq!(skus(&answer.json()).len(), found, "{query}");
        assert_eq!(answer.json().as_object().map(serde_json::Map::len), Some(1), "{query}");
    }
    let answer = catalog.read(&key, "/api/v1/products?sku=s00003").await;
    assert_eq!((answer.queries(), answer.read_units()), (1, 1.0), "one GetItem, read consistently");
    // What was acknowledged is seen at once.
    for price in 0..20 {
        catalog.upsert(&key, &[json!({"sku": "s00003", "price": price})]).await;
        let answer = catalog.read(&key, "/api/v1/products?sku=s00003").await;
        assert_eq!(answer.json()["products"][0]["price"], price);
    }
}

#[tokio::test]
async fn a_category_costs_what_it_holds() {
    let (catalog, key) = with_products(3_000).await;
    catalog.upsert(&key, &[json!({"sku": "rare", "name": "n", "category": "Rare"})]).await;
    let answer = catalog.read(&key, "/api/v1/products?category=Rare").await;
    assert_eq!((answer.queries(), answer.read_units()), (1, 0.5));
    let answer = catalog.read(&key, "/api/v1/products?limit=10").await;
    assert_eq!(answer.queries(), 1);
    assert!(answer.read_units() <= 1.0);
}

#[tokio::test]
async fn wrong_parameters_are_told_by_name() {
    let (catalog, key) = with_products(3).await;
    let first = catalog.read(&key, "/api/v1/products?limit=1").await.json();
    let cursor = first["nextCursor"].as_str().expect("cursor").to_owned();
    let theirs = catalog.key("GLOBEX").await;
    for (query, field) in [
        ("limit=0".to_owned(), "limit"),
        ("limit=1001".into(), "limit"),
        ("limit=x".into(), "limit"),
        ("limit=1&limit=2".into(), "limit"),
        ("sku=a&sku=b".into(), "sku"),
        ("sku=%FF".into(), "sku"),
        ("cursor=".into(), "cursor"),
        ("cursor=x".into(), "cursor"),
        (format!("cursor={}", "A".repeat(600)), "cursor"),
        (format!("category=Plans&cursor={cursor}"), "cursor"),
        (format!("sku=s00001&cursor={cursor}"), "cursor"),
        (format!("cursor={}", &cursor[1..]), "cursor"),
    ] {
        let answer = catalog.read(&key, &format!("/api/v1/products?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        let body = answer.json();
        let error = body["error"].as_str().expect("error");
        assert!(error.starts_with(field) && error.ends_with('.'), "{query}: {error}");
    }
    let stolen = catalog.read(&theirs, &format!("/api/v1/products?cursor={cursor}")).await;
    assert_eq!(stolen.status, 400);
    assert!(all(&catalog, &theirs).await.is_empty());
}

/// 50,000 products do not fit one reply: all of them come, in order, each once.
#[tokio::test]
async fn a_page_is_full_although_it_takes_several_replies_of_the_database() {
    let catalog = Catalog::start().await;
    // Three megabytes; a reply of DynamoDB has at most one.
    let rows: Vec<Value> = (0..300)
        .map(|n| json!({"kind": "product", "sku": format!("s{n}"), "name": "n", "description": "x".repeat(10_000)}))
        .collect();
    catalog.import("ACME", &rows).await;
    let key = catalog.key("ACME").await;
    for (limit, count) in [("", 300), ("?limit=300", 300), ("?limit=250", 250)] {
        let answer = catalog.read(&key, &format!("/api/v1/products{limit}")).await;
        assert!(answer.queries() > 1, "{limit}");
        let body = answer.json();
        let page = (skus(&body).len(), body["nextCursor"].is_string());
        assert_eq!(page, (count, count < 300), "{limit}");
    }
}

#[tokio::test]
async fn fifty_thousand_products_list_completely() {
    const COUNT: usize = 50_000;
    let catalog = Catalog::start().await;
    let rows: Vec<Value> = (0..COUNT)
        .map(|n| json!({"kind": "product", "sku": format!("s{n:05}"), "name": "A product with a \"name\""}))
        .collect();
    catalog.import("ACME", &rows).await;
    let key = catalog.key("ACME").await;
    let mut path = "/api/v1/products".to_owned();
    let (mut found, mut pages) = (Vec::with_capacity(COUNT), 0);
    loop {
        let answer = catalog.read(&key, &path).await;
        assert_eq!(answer.status, 200);
        // As it stands in the reply to API Gateway, with its commas; the rest is for the cursor.
        let text = std::str::from_utf8(&answer.bytes).expect("UTF-8");
        let products = text.split(",\"nextCursor\"").next().expect("the products");
        assert!(json!(products).to_string().len() <= 5_500_000 + "\"{\\\"products\\\":[]\"".len());
        pages += 1;
        let body = answer.json();
        found.extend(skus(&body));
        match body["nextCursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/products?cursor={cursor}"),
            None => break,
        }
    }
    assert!(pages >= 4, "{pages} pages");
    let expected: Vec<String> = (0..COUNT).rev().map(|n| format!("s{n:05}")).collect();
    assert!(found == expected, "{} of {COUNT}", found.len());
}
