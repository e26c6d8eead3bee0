//! Promo codes through the API.

use serde_json::{Value, json};

use crate::support::{Catalog, offering};

fn price(body: &Value, id: &str) -> (Value, Value, Value) {
    let items = body["items"].as_array().expect("items");
    let item = items.iter().find(|item| item["productOfferingId"] == id).expect(id);
    let price = &item["price"];
    (price["grossPrice"].clone(), price["discount"].clone(), price["netPrice"].clone())
}

#[tokio::test]
async fn a_promotion_prices_what_it_applies_to_and_leaves_the_rest() {
    let catalog = Catalog::start().await;
    let yen = json!({"price": {"currency": "JPY", "grossPrice": 990}, "product": {"category": "TRAVEL_ESIM"}});
    let business = json!({"customerType": "BUSINESS", "product": {"category": "TRAVEL_ESIM"}});
    catalog
        .import(
            "ACME",
            &[
                offering("usd", json!({"product": {"category": "TRAVEL_ESIM"}})),
                offering("jpy", yen),
                offering("business", business),
                offering("other", json!({})),
                json!({"kind": "promotion", "code": "Trip25", "percentOff": 25,
                       "categories": ["PRODUCT_CATEGORY_TRAVEL_ESIM"], "customerTypes": ["CONSUMER"]}),
                json!({"kind": "promotion", "code": "FIVE", "amountOff": 5, "currency": "USD"}),
            ],
        )
        .await;
    let key = catalog.key("ACME").await;
    let (ten, nine_ninety, zero) = (json!(10), json!(990), json!(0));

    let plain = catalog.get(&key, "/product-offerings").await.json();
    assert_eq!(price(&plain, "usd"), (ten.clone(), zero.clone(), ten.clone()));

    let trip = catalog.get(&key, "/product-offerings?promoCode=tRIP25").await.json();
    assert_eq!(price(&trip, "usd"), (ten.clone(), json!(2.5), json!(7.5)));
    assert_eq!(price(&trip, "jpy"), (nine_ninety.clone(), json!(248), json!(742)));
    for untouched in ["business", "other"] {
        assert_eq!(price(&trip, untouched), (ten.clone(), zero.clone(), ten.clone()));
    }

    let five = catalog.get(&key, "/product-offerings?promoCode=FIVE").await.json();
    assert_eq!(price(&five, "other"), (ten, json!(5), json!(5)));
    assert_eq!(price(&five, "jpy"), (nine_ninety.clone(), zero, nine_ninety));
}

#[tokio::test]
async fn a_code_that_does_not_count_is_a_400_naming_the_field() {
    let catalog = Catalog::start().await;
    let promotion = |code: &str, times: Value| {
        let mut record = json!({"kind": "promotion", "code": code, "percentOff": 10});
        record.as_object_mut().expect("object").extend(times.as_object().expect("object").clone());
        record
    };
    catalog
        .import(
            "ACME",
            &[
                offering("a", json!({})),
                promotion("PAST", json!({"validUntil": "2024-01-01T00:00:00Z"})),
                promotion("FUTURE", json!({"validFrom": "2099-01-01T00:00:00Z"})),
                promotion("NOW", json!({"validFrom": "2024-01-01T00:00:00Z", "validUntil": "2099-01-01T00:00:00Z"})),
            ],
        )
        .await;
    catalog.import("GLOBEX", &[promotion("THEIRS", json!({}))]).await;
    let key = catalog.key("ACME").await;
    for path in ["/product-offerings?x", "/product-offerings/a?x"] {
        assert_eq!(catalog.get(&key, &format!("{path}&promoCode=now")).await.status, 200);
        for (code, message) in [
            ("PAST", "has expired"),
            ("FUTURE", "is not valid yet"),
            ("NONE", "is not a known promo code"),
            ("THEIRS", "is not a known promo code"),
            ("", "must be 1 to 100 bytes without spaces"),
            ("a+b", "must be 1 to 100 bytes without spaces"),
        ] {
            let answer = catalog.get(&key, &format!("{path}&promoCode={code}")).await;
            assert_eq!(
                (answer.status, answer.fields()),
                (400, vec!["promoCode".to_owned()]),
                "{code}"
            );
            assert_eq!(answer.json()["errors"][0]["message"], message);
        }
    }
}

#[tokio::test]
async fn what_a_refused_request_read_is_accounted_for() {
    let catalog = Catalog::start().await;
    catalog.import("ACME", &[offering("a", json!({}))]).await;
    let key = catalog.key("ACME").await;
    let refused = catalog.get(&key, "/product-offerings?promoCode=NONE").await;
    assert_eq!((refused.status, refused.read_units() >= 0.5), (400, true));
}

#[tokio::test]
async fn a_promotion_too_large_for_an_item_is_refused_and_its_neighbours_are_stored() {
    let catalog = Catalog::start().await;
    let ids: Vec<String> = (0..14_000).map(|n| format!("offering-with-a-long-id-{n:06}")).collect();
    let large =
        json!({"kind": "promotion", "code": "LARGE", "percentOff": 1, "productOfferingIds": ids});
    let records = [offering("a", json!({})), large, offering("b", json!({}))];
    let (counts, refused) = catalog.try_import("ACME", &records).await;
    assert_eq!((counts.created, counts.failed, refused.len()), (2, 1, 1));
    assert_eq!(refused[0].line, 2);
}
