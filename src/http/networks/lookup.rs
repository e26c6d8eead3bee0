//! `GET /v2/catalog/lookup`: the products of the network that a phone number belongs to.

#[cfg(feature = "openapi")]
use serde_json::{Value, json};

#[cfg(feature = "openapi")]
use super::{
    described::{envelope_schema, in_envelope},
    products::{NetworkData, network_products_example},
};
use super::{
    envelope::{NETWORK_ID, PHONE_NUMBER},
    products::{ListNetworkProducts, NetworkIdParam},
};
#[cfg(feature = "openapi")]
use crate::http::describe::{Failures, Operation, Schemas, operation, read, with};
use crate::{
    access::Permission,
    account::AccountId,
    http::{
        Absent, ApiError, Call, Dialect, Endpoint, Methods, Reply,
        params::{Parameter, Params, QueryValue},
    },
    networks::{Carrier, Likeness, ListedNetwork, NetworkId, PhoneNumber},
    store::{Store, StoreError},
};

const PATH: &str = "/v2/catalog/lookup";

/// What is wrong with a phone number that is none.
const NO_PHONE_NUMBER: &str = "must be an international number, such as +233541112259";

impl QueryValue for PhoneNumber {
    fn parse(text: &str) -> Result<Self, String> {
        PhoneNumber::parse(text).ok_or_else(|| NO_PHONE_NUMBER.to_owned())
    }

    #[cfg(feature = "openapi")]
    fn schema(_: &mut Schemas) -> Value {
        json!({
            "type": "string", "pattern": "^\\+[1-9][0-9]{6,14}$", "description": "E.164.",
            "example": "+233541112259",
        })
    }
}

/// A value that counts as missing if it is empty.
struct Given<T>(Option<T>);

impl<T: QueryValue> QueryValue for Given<T> {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(Self(None)) } else { T::parse(text).map(|value| Self(Some(value))) }
    }

    #[cfg(feature = "openapi")]
    fn schema(schemas: &mut Schemas) -> Value {
        T::schema(schemas)
    }
}

const NUMBER: Parameter<Given<PhoneNumber>> = Parameter::new(
    PHONE_NUMBER,
    "An international number. Its prefix tells the network it was first given to.",
);

const ID: Parameter<Given<NetworkIdParam>> = Parameter::new(
    NETWORK_ID,
    "The identity of the network, where the number was ported to another one.",
);

pub struct LookupNetworkProducts(pub ListNetworkProducts);

impl Endpoint for LookupNetworkProducts {
    const DIALECT: Dialect = Dialect::Networks;
    const PERMISSION: Permission = Permission::AirtimeRead;
    const PATHS: &'static [(&'static str, Methods)] = &[(PATH, Methods::READ)];

    async fn answer(&self, call: Call<'_>) -> Result<Reply, ApiError> {
        let mut params = Params::parse(&call.request.query);
        let number = params.single(&NUMBER).and_then(|Given(number)| number);
        let id = params.single(&ID).and_then(|Given(id)| id);
        params.finish()?;
        let id = match (id, &number) {
            // A number may have been ported to another network.
            (Some(id), _) => id.id()?,
            (None, Some(number)) => {
                let found = network_of(call.store, &call.principal.account, number).await?;
                found.ok_or(ApiError::NotFound(Absent::NetworkOfNumber))?
            }
            (None, None) => return Err(ApiError::Required(PHONE_NUMBER)),
        };
        self.0.reply(call, id, number).await
    }
}

/// The account's network for the prefix of a number: the one with the carrier's name, or else the first whose
/// name contains the carrier's among other words.
async fn network_of(
    store: &Store,
    account: &AccountId,
    number: &PhoneNumber,
) -> Result<Option<NetworkId>, StoreError> {
    let Some(carrier) = number.carrier() else { return Ok(None) };
    let mut networks = Vec::new();
    for country in &carrier.countries {
        networks.extend(store.networks(account, Some(*country)).await?);
    }
    Ok(most_like(&carrier, &networks))
}

/// The network that is most like a carrier by its name; of several, the first.
fn most_like(carrier: &Carrier, networks: &[ListedNetwork]) -> Option<NetworkId> {
    let mut best: Option<(Likeness, NetworkId)> = None;
    for ListedNetwork { id, name, .. } in networks {
        if let Some(likeness) = carrier.is_called(name)
            && best.is_none_or(|(known, _)| likeness > known)
        {
            best = Some((likeness, *id));
        }
    }
    best.map(|(_, id)| id)
}

#[cfg(feature = "openapi")]
pub(in crate::http) fn describe(schemas: &mut Schemas) -> Operation {
    let failures = Failures::of::<LookupNetworkProducts>(schemas, PATH);
    let data: Value = schemas.of::<NetworkData<'_>>().into();
    let with_number = json!({
        "allOf": [data, { "type": "object", "properties": { PHONE_NUMBER: Given::<PhoneNumber>::schema(schemas) } }],
    });
    let data = envelope_schema(schemas, with_number);
    let mut found = json!({ PHONE_NUMBER: "+233541112259" });
    if let (Value::Object(found), Value::Object(network)) = (&mut found, network_products_example())
    {
        found.extend(network);
    }
    let parameters = [NUMBER.describe(schemas), ID.describe(schemas)];
    let wrong = [
        ("missing", ApiError::Required(PHONE_NUMBER)),
        ("noNumber", ApiError::invalid(PHONE_NUMBER, NO_PHONE_NUMBER)),
        ("noNetwork", ApiError::NotFound(Absent::NetworkOfNumber)),
    ];
    let absent = [("network", ApiError::NotFound(Absent::Network))];
    let replies = read(
        "The network of the number, with the airtime and the bundles on sale for it.",
        data,
        &in_envelope(found),
    );
    let replies = with(
        replies,
        "400",
        failures.reply(
            "A parameter is missing or wrong, or no network of the account has the prefix.",
            &wrong,
        ),
    );
    operation(
        "lookupNetworkProducts",
        "Look up the products of a phone number",
        "By the prefix of the number, or by `network_id`; at least one of the two.",
        &parameters,
        &failures,
        with(replies, "404", failures.reply("The account has no such network.", &absent)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carrier_is_the_network_of_its_name_or_else_the_first_whose_name_contains_it() {
        let carrier = Carrier { countries: Vec::new(), names: vec!["MTN"] };
        let found = |names: &[&str]| {
            let networks: Vec<ListedNetwork> = (1..)
                .zip(names)
                .map(|(id, name)| ListedNetwork {
                    id: NetworkId::new(id).expect("an id"),
                    name: (*name).to_owned(),
                    country: "Ghana".to_owned(),
                    country_code: "GH".parse().expect("a country"),
                    currency: "GHS".parse().expect("a currency"),
                    logo_url: None,
                    product_count: 0,
                    supports_custom_airtime: false,
                })
                .collect();
            most_like(&carrier, &networks).map(NetworkId::get)
        };
        assert_eq!(found(&[]), None);
        assert_eq!(found(&["Telecel", "Glo"]), None);
        assert_eq!(found(&["Telecel", "MTN Ghana", "MTN Business"]), Some(2));
        assert_eq!(found(&["MTN Ghana", "mtn", "MTN"]), Some(2));
        assert_eq!(found(&["MTN", "MTN Ghana"]), Some(1));
    }

    #[test]
    fn an_empty_value_counts_as_missing() {
        let given = |text: &str| Given::<NetworkIdParam>::parse(text).map(|Given(id)| id.is_some());
        assert_eq!((given(""), given("390")), (Ok(false), Ok(true)));
        assert_eq!(given("x"), Err("must be a positive integer".to_owned()));
        let number = Given::<PhoneNumber>::parse("+233 54 111 2259").map(|Given(number)| number);
        assert_eq!(
            number.expect("a number").map(|number| number.to_string()).as_deref(),
            Some("+233541112259")
        );
        assert_eq!(Given::<PhoneNumber>::parse("x").err().as_deref(), Some(NO_PHONE_NUMBER));
    }
}
