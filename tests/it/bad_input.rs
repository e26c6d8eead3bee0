//! Every parameter's wrong forms: its status, its field, its message.

use crate::support::Catalog;

const TYPES: &str = "must be one of SUBSCRIPTION, SUBSCRIPTION_ADDON, LICENSE, EXTERNAL_PRODUCT";
const REGIONS: &str = "must be one of EUROPE, AMERICAS, ASIA_PACIFIC, GLOBAL, NORTH_AMERICA, SOUTH_AMERICA, AFRICA, MIDDLE_EAST";
const COUNTRY: &str = "must be an ISO 3166-1 alpha-2 country code in upper case, such as GH";
const CATEGORY: &str = "must be 1 to 100 letters, digits, '_', '-' or '.', such as TRAVEL_ESIM";
const LIMIT: &str = "must be a whole number from 1 to 1000";
const ONCE: &str = "must be given once";
const PROMO: &str = "must be 1 to 100 bytes without spaces";
const CURSOR: &str = "is not a cursor of this list; start again without one";
const EDGES: &str = "must not hold control characters or spaces at its ends";

#[tokio::test]
async fn every_wrong_form_of_every_parameter_is_a_400_naming_it() {
    let long = "x".repeat(101);
    let cases = [
        ("types=", "types", TYPES),
        ("types=subscription", "types", TYPES),
        ("types=LICENSE,", "types", TYPES),
        ("types[]=LICENSE&types[]=X", "types", TYPES),
        ("types=%FF", "types", "must be UTF-8"),
        ("categories=", "categories", CATEGORY),
        ("categories=A%20B", "categories", CATEGORY),
        ("categories=PRODUCT_CATEGORY_", "categories", CATEGORY),
        (&format!("categories={long}"), "categories", CATEGORY),
        ("customerType=", "customerType", "must be one of CONSUMER, BUSINESS"),
        ("customerType=consumer", "customerType", "must be one of CONSUMER, BUSINESS"),
        ("customerType=CONSUMER,BUSINESS", "customerType", "must be one of CONSUMER, BUSINESS"),
        ("customerType=CONSUMER&customerType=CONSUMER", "customerType", ONCE),
        ("productCatalogId=", "productCatalogId", "must not be empty"),
        ("productCatalogId=a&productCatalogId=b", "productCatalogId", ONCE),
        ("productCatalogId=%20a", "productCatalogId", EDGES),
        ("productCatalogId=a%00", "productCatalogId", EDGES),
        (&format!("productCatalogId={long}"), "productCatalogId", "must be at most 100 bytes"),
        ("includeArchived=", "includeArchived", "must be true or false"),
        ("includeArchived=1", "includeArchived", "must be true or false"),
        ("includeArchived=TRUE", "includeArchived", "must be true or false"),
        ("includeArchived=true&includeArchived=true", "includeArchived", ONCE),
        ("promoCode=", "promoCode", PROMO),
        ("promoCode=two+words", "promoCode", PROMO),
        (&format!("promoCode={long}"), "promoCode", PROMO),
        ("promoCode=A&promoCode=A", "promoCode", ONCE),
        ("promoCode=NONE", "promoCode", "is not a known promo code"),
        ("countries=", "countries", COUNTRY),
        ("countries=fr", "countries", COUNTRY),
        ("countries=FRA", "countries", COUNTRY),
        ("countries=XX", "countries", COUNTRY),
        ("countries=UK", "countries", COUNTRY),
        ("countries=FR,,GH", "countries", COUNTRY),
        ("regions=", "regions", REGIONS),
        ("regions=EUROPE,ATLANTIS", "regions", REGIONS),
        ("limit=", "limit", LIMIT),
        ("limit=0", "limit", LIMIT),
        ("limit=1001", "limit", LIMIT),
        ("limit=-1", "limit", LIMIT),
        ("limit=+5", "limit", LIMIT),
        ("limit=1.5", "limit", LIMIT),
        ("limit=1e2", "limit", LIMIT),
        ("limit=ten", "limit", LIMIT),
        ("limit=99999999999999999999", "limit", LIMIT),
        ("limit=5&limit=5", "limit", ONCE),
        ("cursor=", "cursor", CURSOR),
        ("cursor=%FF", "cursor", "must be UTF-8"),
        ("cursor=a&cursor=a", "cursor", ONCE),
    ];
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    for (query, field, message) in cases {
        let answer = catalog.get(&key, &format!("/product-offerings?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{query}");
        let errors = &answer.json()["errors"];
        assert_eq!(errors, &serde_json::json!([{"field": field, "message": message}]), "{query}");
    }
}

#[tokio::test]
async fn more_than_a_hundred_values_of_an_array_are_refused_before_anything_is_read() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    for (name, value) in
        [("types", "LICENSE"), ("categories", "A"), ("countries", "FR"), ("regions", "EUROPE")]
    {
        let repeated = |count: usize| vec![format!("{name}={value}"); count].join("&");
        let bracketed = |count: usize| vec![format!("{name}[]={value}"); count].join("&");
        let commas = |count: usize| format!("{name}={}", vec![value; count].join(","));
        let mixed = |count: usize| [repeated(30), bracketed(30), commas(count - 60)].join("&");
        let spellings: [&dyn Fn(usize) -> String; 4] = [&repeated, &bracketed, &commas, &mixed];
        for spelled in spellings {
            let most = catalog.get(&key, &format!("/product-offerings?{}", spelled(100))).await;
            assert_eq!(most.status, 200, "{name}");
            let more = catalog.get(&key, &format!("/product-offerings?{}", spelled(101))).await;
            assert_eq!(more.status, 400, "{name}");
            let message = "must have at most 100 values";
            let errors = serde_json::json!([{"field": name, "message": message}]);
            assert_eq!(more.json()["errors"], errors, "{name}");
            assert_eq!((more.queries(), more.read_units()), (0, 0.0), "{name}");
        }
    }
}

#[tokio::test]
async fn all_wrong_parameters_are_told_at_once() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let path = "/product-offerings?types=a,b&categories=,&customerType=c&productCatalogId=&includeArchived=d\
                &countries=e&regions=f&promoCode=&limit=g&cursor=x&cursor=y";
    let answer = catalog.get(&key, path).await;
    let mut fields = answer.fields();
    fields.sort();
    assert_eq!(
        fields,
        [
            "categories",
            "countries",
            "cursor",
            "customerType",
            "includeArchived",
            "limit",
            "productCatalogId",
            "promoCode",
            "regions",
            "types"
        ]
    );
    insta::assert_snapshot!(String::from_utf8(answer.bytes).expect("UTF-8"));
}

#[tokio::test]
async fn odd_but_harmless_requests_are_answered() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    for query in
        ["&&&", "=", "=x", "types[x]=1", "a%FF=1", "%FF=1", "limit[]=5", "x=%zz", "q=a|b^c`{}"]
    {
        let answer = catalog.get(&key, &format!("/product-offerings?{query}")).await;
        assert_eq!(answer.status, 200, "{query}");
    }
    let long = format!("/product-offerings?x={}", "y".repeat(11_000));
    assert_eq!(catalog.get(&key, &long).await.status, 431);
    let body =
        catalog.request("GET", "/product-offerings").header("X-Api-Key", &key).body(vec![0xff; 64]);
    assert_eq!(catalog.send(body).await.status, 200);
}

#[tokio::test]
async fn an_answer_quotes_megabytes_of_what_was_sent_in_short() {
    let catalog = Catalog::start().await;
    let key = catalog.key("ACME").await;
    let long = "\\\"".repeat(1_000_000);
    for (path, body) in [
        ("/catalog/v1/imports", format!("{{\"upload\":{{\"{long}\":1}}}}")),
        ("/catalog/v1/exports", format!("{{\"{long}\":1}}")),
    ] {
        let request = catalog
            .request("POST", path)
            .header("Authorization", format!("Bearer {key}"))
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", path);
        let answer = catalog.send(request.body(body.into_bytes())).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.bytes.len() < 10_000, "{path}: {}", answer.bytes.len());
        assert!(answer.fields().iter().any(|field| field.contains('…')), "{path}");
    }
}
