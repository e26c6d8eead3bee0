//! Networks, countries and the products of a network (Click Airtime), its envelope and its errors.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use lru::LruCache;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Absent, ApiError, ApiRequest, Dialect, Endpoint, Methods, Payload, RequestRecord,
    messages::{INTERNAL_ERROR, SERVICE_UNAVAILABLE, not_found, rejected},
    params::Params,
};
use crate::{
    access::{Permission, Principal, Rejection},
    account::AccountId,
    cost::ReadCost,
    geography::Country,
    json::{PAGE_BYTES, bytes_in_reply},
    money::Currency,
    networks::{
        CurrencyPair, CustomAirtime, ExchangeRate, ListedNetwork, NetworkId, NetworkLists,
        NetworkProducts, PhoneNumber, RateLookup, SmsNotification,
    },
    store::StoreError,
    text::rfc3339_millis,
};

pub(super) const NETWORKS: &str = "/v2/catalog/networks";
pub(super) const COUNTRIES: &str = "/v2/catalog/countries";
pub(super) const PRODUCTS: &str = "/v2/catalog/products";

/// The parameter of a lookup by phone number.
pub(super) const PHONE_NUMBER: &str = "phone_number";

/// Prices and rates change: a client may keep an answer, but must revalidate it.
const CACHE: &str = "private, no-cache";

/// `GET /v2/catalog/networks` and `GET /v2/catalog/countries`.
pub struct ListNetworks<S> {
    store: S,
}

impl<S> ListNetworks<S> {
    /// Creates the endpoint over these tables.
    pub fn new(store: S) -> Self {
        Self { store }
    }
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "Country"))]
pub(super) struct CountryLine {
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

impl<S> Endpoint for ListNetworks<S>
where
    S: NetworkLists<Error = StoreError> + Send + 'static,
{
    const DIALECT: Dialect = Dialect::Networks;
    const PERMISSION: Permission = Permission::AirtimeRead;

    fn methods(&self, request: &ApiRequest) -> Option<Methods> {
        request.parameters(NETWORKS).or(request.parameters(COUNTRIES)).map(|_| Methods::READ)
    }

    async fn answer(
        &self,
        request: &ApiRequest,
        principal: &Principal,
        record: &mut RequestRecord,
    ) -> Result<Payload, ApiError> {
        let account = &principal.account;
        if request.parameters(COUNTRIES).is_some() {
            let networks = self.store.networks(account, None, &mut record.cost).await?;
            let countries = countries(networks);
            record.items = countries.len();
            return envelope(&countries, &request.id);
        }
        let mut params = Params::parse(&request.query);
        let code = params.single("country_code", country_code);
        params.finish()?;
        let networks = match code {
            None => self.store.networks(account, None, &mut record.cost).await?,
            Some(code) => match Country::parse(&code) {
                Ok(country) => {
                    self.store.networks(account, Some(country), &mut record.cost).await?
                }
                // No country has this code, so it has no networks.
                Err(_) => Vec::new(),
            },
        };
        record.items = networks.len();
        envelope(&networks, &request.id)
    }
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

/// Parses two letters in upper or lower case.
fn country_code(text: &str) -> Result<String, String> {
    if text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic()) {
        Ok(text.to_ascii_uppercase())
    } else {
        Err("must be two letters (ISO 3166-1 alpha-2), such as GH".to_owned())
    }
}

/// How long an exchange rate, or that there is none, is cached.
const RATE_CACHE: Duration = Duration::from_mins(1);

const REMEMBERED_RATES: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// Exchange rates, and when they were read.
type Rates = LruCache<(AccountId, CurrencyPair), (Instant, Option<ExchangeRate>)>;

/// `GET /v2/catalog/products`.
pub struct ListNetworkProducts<S> {
    networks: SoldOnNetworks<S>,
}

impl<S> ListNetworkProducts<S> {
    /// Creates the endpoint over these tables. It caches exchange rates for at most a minute, and at most for
    /// `cache`.
    pub fn new(store: S, cache: Duration) -> Self {
        Self { networks: SoldOnNetworks::new(store, cache) }
    }
}

/// The products of a network, for the endpoints `products` and `lookup`.
pub(super) struct SoldOnNetworks<S> {
    pub(super) store: S,
    rate_cache: Duration,
    rates: Mutex<Rates>,
}

impl<S> SoldOnNetworks<S> {
    pub(super) fn new(store: S, cache: Duration) -> Self {
        let rates = Mutex::new(LruCache::new(REMEMBERED_RATES));
        Self { store, rate_cache: cache.min(RATE_CACHE), rates }
    }
}

/// `data`, field for field as the published page has it.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(super) struct NetworkData<'a> {
    /// Only a lookup by a number shows it.
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

impl<S> Endpoint for ListNetworkProducts<S>
where
    S: NetworkProducts<Error = StoreError> + RateLookup<Error = StoreError> + Send + 'static,
{
    const DIALECT: Dialect = Dialect::Networks;
    const PERMISSION: Permission = Permission::AirtimeRead;

    fn methods(&self, request: &ApiRequest) -> Option<Methods> {
        request.parameters(PRODUCTS).map(|_| Methods::READ)
    }

    async fn answer(
        &self,
        request: &ApiRequest,
        principal: &Principal,
        record: &mut RequestRecord,
    ) -> Result<Payload, ApiError> {
        let mut params = Params::parse(&request.query);
        let number = params.single("network_id", positive);
        params.finish()?;
        let number = number.ok_or(ApiError::Required("network_id"))?;
        let id = network_id(number)?;
        self.networks.payload(request, principal, id, None, record).await
    }
}

/// Converts a number to a network's id. A number that is too large is the id of no network.
pub(super) fn network_id(number: Option<u32>) -> Result<NetworkId, ApiError> {
    number.and_then(NetworkId::new).ok_or(ApiError::NotFound(Absent::Network))
}

impl<S> SoldOnNetworks<S>
where
    S: NetworkProducts<Error = StoreError> + RateLookup<Error = StoreError>,
{
    /// The answer for one network with its bundles, and the phone number by which it was found.
    pub(super) async fn payload(
        &self,
        request: &ApiRequest,
        principal: &Principal,
        id: NetworkId,
        number: Option<PhoneNumber>,
        record: &mut RequestRecord,
    ) -> Result<Payload, ApiError> {
        let account = &principal.account;
        let found = self.store.network_products(account, id, &mut record.cost).await?;
        let (network, bundles) = found.ok_or(ApiError::NotFound(Absent::Network))?;
        let pair =
            CurrencyPair { source: principal.wallet_currency, destination: network.currency };
        let exchange_rate = self.rate(account, pair, &mut record.cost).await?;
        record.items = bundles.len();
        let fixed_bundles = bundles
            .into_iter()
            .map(RawValue::from_string)
            .collect::<Result<_, _>>()
            .map_err(|error| ApiError::Internal(format!("stored document: {error}")))?;
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
}

impl<S: RateLookup<Error = StoreError>> SoldOnNetworks<S> {
    async fn rate(
        &self,
        account: &AccountId,
        pair: CurrencyPair,
        cost: &mut ReadCost,
    ) -> Result<Option<ExchangeRate>, ApiError> {
        let key = (account.clone(), pair);
        let known = self.rates().get(&key).cloned();
        if let Some((_, rate)) = known.filter(|(read_at, _)| read_at.elapsed() < self.rate_cache) {
            return Ok(rate);
        }
        let found = self.store.rate(account, pair).await?;
        cost.add(found.read_units);
        self.rates().put(key, (Instant::now(), found.value.clone()));
        Ok(found.value)
    }

    /// The cache is consistent even if a thread panicked while it held the lock.
    fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Parses a positive integer in plain digits; `None` if it needs more than 32 bits.
pub(super) fn positive(text: &str) -> Result<Option<u32>, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits && text.bytes().any(|b| b != b'0') {
        Ok(text.parse().ok())
    } else {
        Err("must be a positive integer".to_owned())
    }
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(super) struct Meta<'a> {
    request_id: &'a str,
    timestamp: String,
}

fn meta(request_id: &str) -> Meta<'_> {
    Meta { request_id, timestamp: rfc3339_millis(Timestamp::now()) }
}

/// Wraps data in `{"success":true,"data":…,"meta":{…}}`; only `data` counts for the `ETag`.
fn envelope<T: Serialize>(data: &T, request_id: &str) -> Result<Payload, ApiError> {
    const HEAD: &str = "{\"success\":true,\"data\":";
    let failed = |error: serde_json::Error| ApiError::Internal(error.to_string());
    let data = serde_json::to_string(data).map_err(failed)?;
    if bytes_in_reply(&data) > PAGE_BYTES {
        let cause = "the network's bundles do not fit a reply: remove some";
        return Err(ApiError::Internal(cause.to_owned()));
    }
    let meta = serde_json::to_string(&meta(request_id)).map_err(failed)?;
    let range = HEAD.len()..HEAD.len() + data.len();
    Ok(Payload::read_part(format!("{HEAD}{data},\"meta\":{meta}}}"), range, CACHE))
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "NetworksError"))]
pub(super) struct Failure<'a> {
    success: bool,
    error: FailureBody<'a>,
    meta: Meta<'a>,
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "NetworksErrorBody"))]
struct FailureBody<'a> {
    code: &'static str,
    message: String,
    details: Details<'a>,
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "NetworksErrorDetails"))]
struct Details<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

/// `{"success":false,"error":{"code","message","details"},"meta":{…}}`.
pub(super) fn error_body(error: &ApiError, request_id: &str, permission: Permission) -> String {
    let (code, field, message) = match error {
        ApiError::Invalid(errors) => {
            let first = errors.first();
            let field = first.map(|error| error.field.as_str());
            let message = first.map(|error| format!("{} {}.", error.field, error.message));
            let code =
                if field == Some(PHONE_NUMBER) { "INVALID_PHONE_NUMBER" } else { "INVALID_FIELD" };
            (code, field, message.unwrap_or_default())
        }
        ApiError::Required(field) => {
            ("MISSING_REQUIRED_FIELD", Some(*field), format!("{field} is required."))
        }
        ApiError::NotAdmitted(rejection) => {
            let code = match rejection {
                Rejection::Malformed | Rejection::Unknown => "INVALID_API_KEY",
                Rejection::Revoked => "REVOKED_API_KEY",
                Rejection::Expired => "EXPIRED_API_KEY",
                Rejection::IpNotAllowed => "IP_NOT_ALLOWED",
                Rejection::PermissionLacking => "INSUFFICIENT_PERMISSIONS",
            };
            (code, None, rejected(*rejection, permission))
        }
        ApiError::NotVisible(error) => (
            "INSUFFICIENT_PERMISSIONS",
            Some(error.field.as_str()),
            format!("{} {}.", error.field, error.message),
        ),
        ApiError::NotFound(absent @ Absent::Network) => {
            ("NETWORK_NOT_FOUND", Some("network_id"), not_found(*absent).to_owned())
        }
        ApiError::NotFound(absent @ Absent::NetworkOfNumber) => {
            ("HLR_LOOKUP_FAILED", Some(PHONE_NUMBER), not_found(*absent).to_owned())
        }
        ApiError::NotFound(absent) => ("NOT_FOUND", None, not_found(*absent).to_owned()),
        ApiError::MethodNotAllowed(allowed) => {
            ("METHOD_NOT_ALLOWED", None, format!("Use one of: {allowed}."))
        }
        ApiError::TooLarge(bytes) => {
            ("CONTENT_TOO_LARGE", None, format!("The body must be at most {bytes} bytes."))
        }
        ApiError::Unavailable(_) => ("SERVICE_UNAVAILABLE", None, SERVICE_UNAVAILABLE.to_owned()),
        ApiError::Internal(_) => ("INTERNAL_ERROR", None, INTERNAL_ERROR.to_owned()),
    };
    let error = FailureBody { code, message, details: Details { field } };
    let body = Failure { success: false, error, meta: meta(request_id) };
    // It has only texts: serializing them cannot fail.
    serde_json::to_string(&body).unwrap_or_default()
}
