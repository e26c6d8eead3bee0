//! `GET /v2/catalog/products`: one network, with its bundles and custom airtime.

use std::{
    num::NonZeroUsize,
    sync::Mutex,
    time::{Duration, Instant},
};

use lru::LruCache;
use serde::Serialize;
use serde_json::value::RawValue;
#[cfg(feature = "openapi")]
use serde_json::{Value, json};

#[cfg(feature = "openapi")]
use super::described::{envelope_schema, in_envelope};
use super::envelope::{NETWORK_ID, envelope};
#[cfg(feature = "openapi")]
use crate::http::describe::{Failures, Operation, Schemas, operation, read, with};
use crate::{
    access::Permission,
    account::AccountId,
    geography::Country,
    http::{
        Absent, ApiError, Call, Dialect, Endpoint, Methods, Reply,
        params::{Parameter, Params, QueryValue},
    },
    lock::lock,
    money::Currency,
    networks::{
        CurrencyPair, CustomAirtime, ExchangeRate, NetworkId, PhoneNumber, SmsNotification,
    },
    store::Store,
};

const PATH: &str = "/v2/catalog/products";

/// The parameter `network_id`: a positive integer. `None`: it has more than 32 bits, so no network has it, and the reply
/// is a 404 instead of a 400.
pub(super) struct NetworkIdParam(Option<NetworkId>);

impl NetworkIdParam {
    pub(super) fn id(self) -> Result<NetworkId, ApiError> {
        self.0.ok_or(ApiError::NotFound(Absent::Network))
    }
}

impl QueryValue for NetworkIdParam {
    fn parse(text: &str) -> Result<Self, String> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if digits && text.bytes().any(|b| b != b'0') {
            Ok(Self(text.parse().ok().and_then(NetworkId::new)))
        } else {
            Err("must be a positive integer".to_owned())
        }
    }

    #[cfg(feature = "openapi")]
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX, "example": 390 })
    }
}

const ID: Parameter<NetworkIdParam> =
    Parameter::new(NETWORK_ID, "The identity of the network.").required();

/// The longest time for which an exchange rate, or the fact that there is none, is cached.
const MAX_RATE_AGE: Duration = Duration::from_mins(1);

const RATE_CACHE_CAPACITY: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// Exchange rates, and when they were read.
type Rates = LruCache<(AccountId, CurrencyPair), (Instant, Option<ExchangeRate>)>;

pub struct ListNetworkProducts {
    cache_for: Duration,
    rates: Mutex<Rates>,
}

impl Endpoint for ListNetworkProducts {
    const DIALECT: Dialect = Dialect::Networks;
    const PERMISSION: Permission = Permission::AirtimeRead;
    const PATHS: &'static [(&'static str, Methods)] = &[(PATH, Methods::READ)];

    async fn answer(&self, call: Call<'_>) -> Result<Reply, ApiError> {
        let mut params = Params::parse(&call.request.query);
        let network = params.single(&ID);
        params.finish()?;
        let id = network.ok_or(ApiError::Required(ID.name))?.id()?;
        self.reply(call, id, None).await
    }
}

impl ListNetworkProducts {
    /// Creates the endpoint. It caches exchange rates for this long, but never for more than a minute.
    #[must_use]
    pub fn new(cache_for: Duration) -> Self {
        let rates = Mutex::new(LruCache::new(RATE_CACHE_CAPACITY));
        Self { cache_for: cache_for.min(MAX_RATE_AGE), rates }
    }

    /// The reply for one network, with its bundles. `number` is the phone number that it was looked up by, if any.
    pub(super) async fn reply(
        &self,
        call: Call<'_>,
        id: NetworkId,
        number: Option<PhoneNumber>,
    ) -> Result<Reply, ApiError> {
        let Call { request, principal, store, log, .. } = call;
        let account = &principal.account;
        let found = store.network_products(account, id).await?;
        let (network, bundles) = found.ok_or(ApiError::NotFound(Absent::Network))?;
        let pair =
            CurrencyPair { source: principal.wallet_currency, destination: network.currency };
        let exchange_rate = self.rate(store, account, pair).await?;
        log.items = bundles.len();
        let fixed_bundles = bundles
            .into_iter()
            .map(RawValue::from_string)
            .collect::<Result<_, _>>()
            .map_err(|error| ApiError::stored_document(&error))?;
        let data = NetworkData {
            phone_number: number.map(|number| number.to_string()),
            network: NetworkBrief {
                id,
                name: &network.name,
                country: &network.country,
                country_code: network.country_code,
                currency: network.currency,
            },
            exchange_rate,
            products: ProductLists { custom_airtime: &network.custom_airtime, fixed_bundles },
            sms_notification: &network.sms_notification,
        };
        envelope(&data, &request.id)
    }

    async fn rate(
        &self,
        store: &Store,
        account: &AccountId,
        pair: CurrencyPair,
    ) -> Result<Option<ExchangeRate>, ApiError> {
        let key = (account.clone(), pair);
        let known = lock(&self.rates).get(&key).cloned();
        if let Some((_, rate)) = known.filter(|(read_at, _)| read_at.elapsed() < self.cache_for) {
            return Ok(rate);
        }
        let rate = store.rate(account, pair).await?;
        lock(&self.rates).put(key, (Instant::now(), rate.clone()));
        Ok(rate)
    }
}

/// The member `data` of a reply, with exactly the fields of the published contract.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(super) struct NetworkData<'a> {
    /// Present only if the network was looked up by phone number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schemars(skip))]
    phone_number: Option<String>,
    network: NetworkBrief<'a>,
    exchange_rate: Option<ExchangeRate>,
    products: ProductLists<'a>,
    sms_notification: &'a SmsNotification,
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct NetworkBrief<'a> {
    id: NetworkId,
    name: &'a str,
    country: &'a str,
    country_code: Country,
    currency: Currency,
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "NetworkProducts"))]
struct ProductLists<'a> {
    custom_airtime: &'a CustomAirtime,
    #[cfg_attr(feature = "openapi", schemars(with = "Vec<crate::networks::Bundle>"))]
    fixed_bundles: Vec<Box<RawValue>>,
}

#[cfg(feature = "openapi")]
pub(in crate::http) fn describe(schemas: &mut Schemas) -> Operation {
    let failures = Failures::of::<ListNetworkProducts>(schemas, PATH);
    let data = schemas.of::<NetworkData<'_>>();
    let data = envelope_schema(schemas, data);
    let example = in_envelope(network_products_example());
    let missing = [
        ("missing", ApiError::Required(ID.name)),
        ("wrong", ApiError::invalid(ID.name, "must be a positive integer")),
    ];
    let absent = [("network", ApiError::NotFound(Absent::Network))];
    let replies =
        read("The network, with the airtime and the bundles on sale for it.", data, &example);
    let replies =
        with(replies, "400", failures.reply("`network_id` is missing or wrong.", &missing));
    operation(
        "listNetworkProducts",
        "List the products of a network",
        "The exchange rate is from the wallet currency of the key; null where there is none.",
        &[ID.describe(schemas)],
        &failures,
        with(replies, "404", failures.reply("The account has no such network.", &absent)),
    )
}

#[cfg(feature = "openapi")]
pub(super) fn network_products_example() -> Value {
    json!({
        "network": { "id": 390, "name": "MTN", "country": "Ghana", "country_code": "GH", "currency": "GHS" },
        "exchange_rate": { "source_currency": "USD", "destination_currency": "GHS", "rate": 12.35 },
        "products": {
            "custom_airtime": { "available": true, "min_amount_local": 1, "max_amount_local": 5_000, "local_currency": "GHS" },
            "fixed_bundles": [{
                "id": 390_101, "name": "1GB Data - 3 Days", "type": "DATA", "price_usd": 1.75,
                "local_value": "1GB Data - 3 Days", "local_currency": "GHS", "description": "1GB Data - 3 Days",
            }],
        },
        "sms_notification": { "available": true, "cost_usd": 0.1 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_positive_integer_and_one_that_is_too_large_is_that_of_no_network() {
        let id = |text: &str| {
            NetworkIdParam::parse(text).map(|NetworkIdParam(id)| id.map(NetworkId::get))
        };
        assert_eq!(
            (id("390"), id("0390"), id("4294967295")),
            (Ok(Some(390)), Ok(Some(390)), Ok(Some(u32::MAX)))
        );
        assert_eq!((id("4294967296"), id(&"9".repeat(5_000))), (Ok(None), Ok(None)));
        for text in ["", "0", "000", "-1", "+1", "1.0", "x", "٣"] {
            assert_eq!(id(text), Err("must be a positive integer".to_owned()), "{text}");
        }
        let absent = NetworkIdParam(None).id().expect_err("none");
        assert!(matches!(absent, ApiError::NotFound(Absent::Network)));
    }
}
