use serde_json::{Value, json};

use super::*;

fn with(mut record: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().expect("an object") {
        record[name] = value.clone();
    }
    record
}

fn texts(errors: &[FieldError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A network with these members over or beside its own; or all that is wrong with it.
fn network(changes: &Value) -> Result<(Network, Option<Vec<Bundle>>), String> {
    let record = json!({
        "id": 390, "name": "MTN", "country": "Ghana", "country_code": "GH", "currency": "GHS",
    });
    let record: NetworkDraft = serde_json::from_value(with(record, changes)).expect("a record");
    record.checked().map_err(|errors| texts(&errors))
}

fn bundle(changes: &Value) -> Result<(NetworkId, Bundle), String> {
    let record = json!({
        "network_id": 390, "id": 7, "name": "1 GB", "type": "DATA", "price_usd": 1.5, "local_currency": "GHS",
    });
    let record: SingleBundleDraft =
        serde_json::from_value(with(record, changes)).expect("a record");
    record.checked().map_err(|errors| texts(&errors))
}

fn amount(text: &str) -> Amount {
    Amount::parse(text).expect("an amount")
}

fn currency(code: &str) -> Currency {
    Currency::parse(code).expect("a currency")
}

#[test]
fn a_network_without_what_may_be_left_out_sells_nothing() {
    let expected = Network {
        id: NetworkId::new(390).expect("an id"),
        name: "MTN".to_owned(),
        country: "Ghana".to_owned(),
        country_code: Country::parse("GH").expect("a country"),
        currency: currency("GHS"),
        logo_url: None,
        custom_airtime: CustomAirtime {
            available: false,
            min_amount_local: None,
            max_amount_local: None,
            local_currency: currency("GHS"),
        },
        sms_notification: SmsNotification { available: false, cost_usd: None },
    };
    assert_eq!(network(&json!({})), Ok((expected.clone(), None)));
    assert_eq!(network(&json!({"fixed_bundles": []})), Ok((expected, Some(vec![]))));
}

#[test]
fn a_bundle_is_described_by_its_name_where_nothing_else_is_said() {
    let plain = Bundle {
        id: BundleId::new(7).expect("an id"),
        name: "1 GB".to_owned(),
        bundle_type: BundleType::Data,
        price_usd: amount("1.5"),
        local_value: "1 GB".to_owned(),
        local_currency: currency("GHS"),
        description: "1 GB".to_owned(),
    };
    let id = NetworkId::new(390).expect("an id");
    assert_eq!(bundle(&json!({})), Ok((id, plain.clone())));
    assert_eq!(
        plain.document(),
        "{\"id\":7,\"name\":\"1 GB\",\"type\":\"DATA\",\"price_usd\":1.5,\"local_value\":\"1 GB\",\
         \"local_currency\":\"GHS\",\"description\":\"1 GB\"}"
    );
    let told = json!({"local_value": "5", "description": "For a day", "local_currency": "USD"});
    let other = Bundle {
        local_value: "5".to_owned(),
        local_currency: currency("USD"),
        description: "For a day".to_owned(),
        ..plain.clone()
    };
    assert_eq!(bundle(&told), Ok((id, other)));
    // Within a network's record it has the network's currency.
    let within = json!({"id": 7, "name": "1 GB", "type": "DATA", "price_usd": 1.5});
    let (_, bundles) = network(&json!({"fixed_bundles": [within]})).expect("a network");
    assert_eq!(bundles, Some(vec![plain]));
}

#[test]
fn everything_that_is_wrong_with_a_network_is_told_by_field() {
    let (long, longer) = ("x".repeat(MAX_TEXT), "x".repeat(MAX_TEXT + 1));
    let bundle = |changes: Value| {
        with(json!({"id": 7, "name": "1 GB", "type": "DATA", "price_usd": 1}), &changes)
    };
    for (changes, errors) in [
        (json!({"name": long, "country": long, "logo_url": long}), ""),
        (json!({"name": longer}), "name: must be at most 2000 bytes"),
        (
            json!({"name": " ", "country": ""}),
            "name: must not be empty; country: must not be empty",
        ),
        (json!({"logo_url": ""}), "logo_url: must not be empty"),
        (json!({"sms_notification": {"available": true, "cost_usd": 0}}), ""),
        (json!({"sms_notification": {"available": false}}), ""),
        (
            json!({"sms_notification": {"available": true}}),
            "sms_notification.cost_usd: is required when available is true",
        ),
        (
            json!({"sms_notification": {"available": false, "cost_usd": -0.01}}),
            "sms_notification.cost_usd: must be greater than or equal to 0",
        ),
        (
            json!({"custom_airtime": {"available": true, "min_amount_local": 0, "max_amount_local": 0}}),
            "",
        ),
        (json!({"custom_airtime": {"available": false, "max_amount_local": 1}}), ""),
        (
            json!({"custom_airtime": {"available": true}}),
            "custom_airtime.min_amount_local: is required when available is true; \
             custom_airtime.max_amount_local: is required when available is true",
        ),
        (
            json!({"custom_airtime": {"available": true, "min_amount_local": -1, "max_amount_local": 1}}),
            "custom_airtime.min_amount_local: must be greater than or equal to 0",
        ),
        (
            json!({"custom_airtime": {"available": true, "min_amount_local": 2, "max_amount_local": 1.99}}),
            "custom_airtime.max_amount_local: must not be less than min_amount_local",
        ),
        (
            json!({"fixed_bundles": [
                bundle(json!({"local_value": long, "description": long})), bundle(json!({"id": 8}))
            ]}),
            "",
        ),
        (
            json!({"fixed_bundles": [bundle(json!({})), bundle(json!({"name": "", "price_usd": -1}))]}),
            "fixed_bundles[1].id: is the id of an earlier bundle, too; \
             fixed_bundles[1].name: must not be empty; \
             fixed_bundles[1].price_usd: must be greater than or equal to 0",
        ),
        (
            json!({"fixed_bundles": [bundle(json!({"local_value": longer, "description": longer}))]}),
            "fixed_bundles[0].local_value: must be at most 2000 bytes; \
             fixed_bundles[0].description: must be at most 2000 bytes",
        ),
    ] {
        let told = network(&changes).err().unwrap_or_default();
        assert_eq!(told, errors, "{changes:.200}");
    }
}

#[test]
fn everything_that_is_wrong_with_a_bundle_or_a_rate_is_told_by_field() {
    let changes = json!({"name": " ", "price_usd": -1, "description": "x".repeat(MAX_TEXT + 1)});
    assert_eq!(
        bundle(&changes).expect_err("wrong"),
        "name: must not be empty; price_usd: must be greater than or equal to 0; \
         description: must be at most 2000 bytes"
    );
    assert_eq!(bundle(&json!({"price_usd": 0})).expect("free").1.price_usd, Amount::ZERO);

    let rate = |rate: Value| {
        let record = json!({"source_currency": "USD", "destination_currency": "GHS", "rate": rate});
        let record: ExchangeRateDraft = serde_json::from_value(record).expect("a record");
        record.checked().map_err(|errors| texts(&errors))
    };
    let least = rate(json!(0.0001)).expect("a rate");
    let pair = super::super::CurrencyPair { source: currency("USD"), destination: currency("GHS") };
    assert_eq!((least.pair(), least.rate), (pair, amount("0.0001")));
    assert_eq!(
        least.document(),
        "{\"source_currency\":\"USD\",\"destination_currency\":\"GHS\",\"rate\":0.0001}"
    );
    for wrong in [0, -1] {
        let error = rate(json!(wrong)).expect_err("no rate");
        assert_eq!(error, "rate: must be greater than 0", "{wrong}");
    }
}
