//! `GET /v2/catalog/networks` and `GET /v2/catalog/countries`.

use std::collections::BTreeMap;

use serde::Serialize;
#[cfg(feature = "openapi")]
use serde_json::{Value, json};

#[cfg(feature = "openapi")]
use super::described::{envelope_schema, in_envelope};
use super::envelope::envelope;
#[cfg(feature = "openapi")]
use crate::http::describe::{Failures, Operation, Schemas, operation, read, with};
use crate::{
    access::Permission,
    geography::Country,
    http::{
        ApiError, Call, Dialect, Endpoint, Methods, Reply,
        params::{Parameter, Params, QueryValue},
    },
    money::Currency,
    networks::{ListedNetwork, NetworkId},
};

const NETWORKS: &str = "/v2/catalog/networks";
const COUNTRIES: &str = "/v2/catalog/countries";

/// Two letters, in upper or lower case, and the country that has this code.
struct CountryCode(Option<Country>);

impl QueryValue for CountryCode {
    fn parse(text: &str) -> Result<Self, String> {
        if text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic()) {
            Ok(Self(Country::parse(&text.to_ascii_uppercase()).ok()))
        } else {
            Err("must be two letters (ISO 3166-1 alpha-2), such as GH".to_owned())
        }
    }

    #[cfg(feature = "openapi")]
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "pattern": "^[A-Za-z]{2}$", "example": "GH" })
    }
}

const COUNTRY_CODE: Parameter<CountryCode> = Parameter::new(
    "country_code",
    "Two letters (ISO 3166-1 alpha-2). Those of no country give an empty list.",
);

pub struct ListNetworks;

impl Endpoint for ListNetworks {
    const DIALECT: Dialect = Dialect::Networks;
    const PERMISSION: Permission = Permission::AirtimeRead;
    const PATHS: &'static [(&'static str, Methods)] =
        &[(NETWORKS, Methods::READ), (COUNTRIES, Methods::READ)];

    async fn answer(&self, call: Call<'_>) -> Result<Reply, ApiError> {
        let Call { request, principal, store, log, .. } = call;
        let account = &principal.account;
        if request.parameters(COUNTRIES).is_some() {
            let countries = countries(store.networks(account, None).await?);
            log.items = countries.len();
            return envelope(&countries, &request.id);
        }
        let mut params = Params::parse(&request.query);
        let code = params.single(&COUNTRY_CODE);
        params.finish()?;
        let networks = match code {
            None => store.networks(account, None).await?,
            Some(CountryCode(Some(country))) => store.networks(account, Some(country)).await?,
            // No country has this code, so it has no networks.
            Some(CountryCode(None)) => Vec::new(),
        };
        log.items = networks.len();
        envelope(&networks, &request.id)
    }
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "Country"))]
struct CountryLine {
    code: Country,
    name: String,
    currency: Currency,
    network_count: usize,
    networks: Vec<NetworkName>,
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct NetworkName {
    id: NetworkId,
    name: String,
}

/// Countries by code, each with the name and currency of its first network.
fn countries(networks: Vec<ListedNetwork>) -> Vec<CountryLine> {
    let mut countries: BTreeMap<Country, CountryLine> = BTreeMap::new();
    for network in networks {
        let line = countries.entry(network.country_code).or_insert_with(|| CountryLine {
            code: network.country_code,
            name: network.country,
            currency: network.currency,
            network_count: 0,
            networks: Vec::new(),
        });
        line.network_count += 1;
        line.networks.push(NetworkName { id: network.id, name: network.name });
    }
    countries.into_values().collect()
}

#[cfg(feature = "openapi")]
pub(in crate::http) fn describe_networks(schemas: &mut Schemas) -> Operation {
    let failures = Failures::of::<ListNetworks>(schemas, NETWORKS);
    let list = json!({ "type": "array", "items": schemas.of::<ListedNetwork>() });
    let list = envelope_schema(schemas, list);
    let example = in_envelope(json!([{
        "id": 390, "name": "MTN", "country": "Ghana", "country_code": "GH", "currency": "GHS",
        "logo_url": null, "product_count": 12, "supports_custom_airtime": true,
    }]));
    operation(
        "listNetworks",
        "List mobile networks",
        "By country code, then by id.",
        &[COUNTRY_CODE.describe(schemas)],
        &failures,
        with(
            read("The networks.", list, &example),
            "400",
            failures.invalid(COUNTRY_CODE.name, "must be two letters"),
        ),
    )
}

#[cfg(feature = "openapi")]
pub(in crate::http) fn describe_countries(schemas: &mut Schemas) -> Operation {
    let failures = Failures::of::<ListNetworks>(schemas, COUNTRIES);
    let list = json!({ "type": "array", "items": schemas.of::<CountryLine>() });
    let list = envelope_schema(schemas, list);
    let example = in_envelope(json!([{
        "code": "GH", "name": "Ghana", "currency": "GHS", "network_count": 1,
        "networks": [{ "id": 390, "name": "MTN" }],
    }]));
    operation(
        "listCountries",
        "List countries with networks",
        "By country code, each with the names of its networks.",
        &[],
        &failures,
        read("The countries.", list, &example),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn network(id: u32, name: &str, country: &str, code: &str, currency: &str) -> ListedNetwork {
        ListedNetwork {
            id: NetworkId::new(id).expect("an id"),
            name: name.to_owned(),
            country: country.to_owned(),
            country_code: Country::parse(code).expect("a country"),
            currency: Currency::parse(currency).expect("a currency"),
            logo_url: None,
            product_count: 0,
            supports_custom_airtime: false,
        }
    }

    #[test]
    fn countries_are_told_by_code_with_the_name_and_currency_of_their_first_network() {
        let listed = countries(vec![
            network(7, "MTN", "Uganda", "UG", "UGX"),
            network(3, "MTN", "Ghana", "GH", "GHS"),
            network(4, "Telecel", "Republic of Ghana", "GH", "USD"),
        ]);
        let expected = json!([
            {
                "code": "GH", "name": "Ghana", "currency": "GHS", "network_count": 2,
                "networks": [{"id": 3, "name": "MTN"}, {"id": 4, "name": "Telecel"}],
            },
            {
                "code": "UG", "name": "Uganda", "currency": "UGX", "network_count": 1,
                "networks": [{"id": 7, "name": "MTN"}],
            },
        ]);
        assert_eq!(serde_json::to_value(&listed).expect("JSON"), expected);
    }

    #[test]
    fn a_country_code_is_two_letters_of_which_not_all_are_a_country() {
        let ghana = Country::parse("GH").ok();
        for (text, country) in [("GH", ghana), ("gh", ghana), ("Gh", ghana), ("XX", None)] {
            let CountryCode(parsed) = CountryCode::parse(text).expect(text);
            assert_eq!(parsed, country, "{text}");
        }
        for text in ["", "G", "GHA", "G1", "é"] {
            let error = CountryCode::parse(text).err();
            assert_eq!(
                error.as_deref(),
                Some("must be two letters (ISO 3166-1 alpha-2), such as GH")
            );
        }
    }
}
