//! Who gets in.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::json;
use serverless_catalog::{
    access::{ApiKey, Permission},
    offerings::{CatalogId, CustomerType},
};

use crate::support::{Catalog, offering};

async fn detail(catalog: &Catalog, key: &str) -> (u16, String) {
    let answer = catalog.get(key, "/product-offerings").await;
    let detail = answer.json()["detail"].as_str().unwrap_or("none").to_owned();
    (answer.status, detail)
}

#[tokio::test]
async fn each_reason_to_refuse_a_key_has_its_status_and_words() {
    let catalog = Catalog::start().await;
    let refused = |status, words: &str| (status, words.to_owned());
    for key in ["", "nonsense", "cat_live_short", "Bearer x"] {
        assert_eq!(
            detail(&catalog, key).await,
            refused(401, "Send one API key in the header X-Api-Key.")
        );
    }
    let unknown = format!("cat_live_{}", "u".repeat(32));
    assert_eq!(detail(&catalog, &unknown).await, refused(401, "The API key is unknown."));

    let revoked = catalog.key_with("ACME", |key| key.revoked_at = Some(Timestamp::now())).await;
    assert_eq!(detail(&catalog, &revoked).await, refused(401, "The API key was revoked."));
    let expired = catalog.key_with("ACME", |key| key.expires_at = Some(Timestamp::now())).await;
    assert_eq!(detail(&catalog, &expired).await, refused(401, "The API key has expired."));
    let elsewhere = catalog
        .key_with("ACME", |key| key.allowed_cidrs = vec!["192.0.2.0/24".parse().expect("cidr")])
        .await;
    assert_eq!(
        detail(&catalog, &elsewhere).await,
        refused(403, "The API key may not be used from this address.")
    );
    let powerless =
        catalog.key_with("ACME", |key| key.permissions = [Permission::ProductsRead].into()).await;
    assert_eq!(
        detail(&catalog, &powerless).await,
        refused(403, "The API key lacks the permission offerings.read.")
    );
    let here = |cidr: &str| vec![cidr.parse().expect("cidr")];
    let local = catalog.key_with("ACME", |key| key.allowed_cidrs = here("127.0.0.0/8")).await;
    assert_eq!(detail(&catalog, &local).await.0, 200);
}

#[tokio::test]
async fn two_keys_at_once_are_none() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let twice = catalog
        .request("GET", "/product-offerings")
        .header("X-Api-Key", &key)
        .header("X-Api-Key", &key);
    let answer = catalog.send(twice).await;
    assert_eq!(answer.status, 401);
    assert!(answer.header("www-authenticate").contains("X-Api-Key"));
}

#[tokio::test]
async fn a_revoked_key_stops() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    assert_eq!(catalog.get(&key, "/product-offerings").await.status, 200);
    let (acme, globex) = ("ACME".parse().expect("account"), "GLOBEX".parse().expect("account"));
    let hash = ApiKey::parse(&key).expect("key").hash();
    let store = &catalog.stack.store;
    assert!(!store.revoke_key(&globex, &hash, Timestamp::now()).await.expect("not theirs"));
    assert!(store.revoke_key(&acme, &hash, Timestamp::now()).await.expect("revoked"));
    // A local instance trusts what it knows for two seconds.
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    assert_eq!(catalog.get(&key, "/product-offerings").await.status, 401);
    let (_, record) = store.keys_of(&acme).await.expect("keys").remove(0);
    let first = record.revoked_at;
    assert!(store.revoke_key(&acme, &hash, Timestamp::now()).await.expect("again"));
    assert_eq!(store.keys_of(&acme).await.expect("keys")[0].1.revoked_at, first);
}

#[tokio::test]
async fn a_key_sees_only_its_customer_types_and_catalogs() {
    let catalog = Catalog::start().await;
    let records = [
        offering("consumer", json!({})),
        offering("consumer-web", json!({"productCatalogIds": ["web"]})),
        offering("business", json!({"customerType": "BUSINESS"})),
        offering(
            "business-web",
            json!({"customerType": "BUSINESS", "productCatalogIds": ["web", "shop"]}),
        ),
    ];
    catalog.import("ACME", &records).await;
    let business =
        |types: &mut Option<BTreeSet<CustomerType>>| *types = Some([CustomerType::Business].into());
    let web = |catalogs: &mut Option<BTreeSet<CatalogId>>| {
        *catalogs =
            Some([CatalogId::parse("web").expect("id"), CatalogId::parse("x").expect("id")].into());
    };

    let key = catalog.key_with("ACME", |key| business(&mut key.customer_types)).await;
    assert_eq!(catalog.all_ids(&key, "").await, ["business", "business-web"]);
    assert_eq!(catalog.all_ids(&key, "customerType=BUSINESS").await, ["business", "business-web"]);
    let refused = catalog.get(&key, "/product-offerings?customerType=CONSUMER").await;
    assert_eq!((refused.status, refused.fields()), (403, vec!["customerType".to_owned()]));
    assert_eq!(catalog.get(&key, "/product-offerings/business").await.status, 200);
    assert_eq!(catalog.get(&key, "/product-offerings/consumer").await.status, 404);

    let key = catalog.key_with("ACME", |key| web(&mut key.product_catalogs)).await;
    assert_eq!(catalog.all_ids(&key, "").await, ["business-web", "consumer-web"]);
    assert_eq!(
        catalog.all_ids(&key, "productCatalogId=web").await,
        ["business-web", "consumer-web"]
    );
    assert!(catalog.all_ids(&key, "productCatalogId=x").await.is_empty());
    let refused = catalog.get(&key, "/product-offerings?productCatalogId=shop").await;
    assert_eq!((refused.status, refused.fields()), (403, vec!["productCatalogId".to_owned()]));
    assert_eq!(catalog.get(&key, "/product-offerings/consumer-web").await.status, 200);
    assert_eq!(catalog.get(&key, "/product-offerings/consumer").await.status, 404);

    let both = |key: &mut serverless_catalog::access::KeyRecord| {
        business(&mut key.customer_types);
        web(&mut key.product_catalogs);
    };
    let key = catalog.key_with("ACME", both).await;
    assert_eq!(catalog.all_ids(&key, "").await, ["business-web"]);
}
