//! `GET /v2/catalog/lookup`: the products of the network that a phone number belongs to.

use std::time::Duration;

use super::{
    Absent, ApiError, ApiRequest, Dialect, Endpoint, Methods, Payload, RequestRecord,
    networks::{PHONE_NUMBER, SoldOnNetworks, network_id, positive},
    params::Params,
};
use crate::{
    access::{Permission, Principal},
    account::AccountId,
    cost::ReadCost,
    networks::{
        Likeness, ListedNetwork, NetworkId, NetworkLists, NetworkProducts, PhoneNumber, RateLookup,
    },
    store::StoreError,
};

pub(super) const LOOKUP: &str = "/v2/catalog/lookup";

/// What is wrong with a phone number that is none.
pub(super) const NO_PHONE_NUMBER: &str = "must be an international number, such as +233541112259";

/// `GET /v2/catalog/lookup`.
pub struct LookupNetworkProducts<S> {
    networks: SoldOnNetworks<S>,
}

impl<S> LookupNetworkProducts<S> {
    /// Creates the endpoint over these tables. It caches exchange rates for at most a minute, and at most for
    /// `cache`.
    pub fn new(store: S, cache: Duration) -> Self {
        Self { networks: SoldOnNetworks::new(store, cache) }
    }
}

impl<S> Endpoint for LookupNetworkProducts<S>
where
    S: NetworkLists<Error = StoreError>
        + NetworkProducts<Error = StoreError>
        + RateLookup<Error = StoreError>
        + Send
        + 'static,
{
    const DIALECT: Dialect = Dialect::Networks;
    const PERMISSION: Permission = Permission::AirtimeRead;

    fn methods(&self, request: &ApiRequest) -> Option<Methods> {
        request.parameters(LOOKUP).map(|_| Methods::READ)
    }

    async fn answer(
        &self,
        request: &ApiRequest,
        principal: &Principal,
        record: &mut RequestRecord,
    ) -> Result<Payload, ApiError> {
        let mut params = Params::parse(&request.query);
        let number = params.single(PHONE_NUMBER, given(phone_number)).flatten();
        let id = params.single("network_id", given(positive)).flatten();
        params.finish()?;
        let id = match (id, &number) {
            // A number may have been ported to another network.
            (Some(id), _) => network_id(id)?,
            (None, Some(number)) => {
                let found = self.network_of(&principal.account, number, &mut record.cost).await?;
                found.ok_or(ApiError::NotFound(Absent::NetworkOfNumber))?
            }
            (None, None) => return Err(ApiError::Required(PHONE_NUMBER)),
        };
        self.networks.payload(request, principal, id, number, record).await
    }
}

impl<S: NetworkLists<Error = StoreError>> LookupNetworkProducts<S> {
    /// The account's network for the prefix of a number: the one with the carrier's name, or else the first
    /// whose name contains the carrier's among other words.
    async fn network_of(
        &self,
        account: &AccountId,
        number: &PhoneNumber,
        cost: &mut ReadCost,
    ) -> Result<Option<NetworkId>, StoreError> {
        let Some(carrier) = number.carrier() else { return Ok(None) };
        let mut best: Option<(Likeness, NetworkId)> = None;
        for country in &carrier.countries {
            let networks = self.networks.store.networks(account, Some(*country), cost).await?;
            for ListedNetwork { id, name, .. } in networks {
                if let Some(likeness) = carrier.is_called(&name)
                    && best.is_none_or(|(known, _)| likeness > known)
                {
                    best = Some((likeness, id));
                }
            }
        }
        Ok(best.map(|(_, id)| id))
    }
}

/// Treats a parameter without a value as missing.
fn given<T>(
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> impl FnOnce(&str) -> Result<Option<T>, String> {
    move |text| if text.is_empty() { Ok(None) } else { parse(text).map(Some) }
}

fn phone_number(text: &str) -> Result<PhoneNumber, String> {
    PhoneNumber::parse(text).ok_or_else(|| NO_PHONE_NUMBER.to_owned())
}
