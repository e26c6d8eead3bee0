//! `GET /product-offerings/{productOfferingId}`.

#[cfg(feature = "openapi")]
use serde_json::json;

#[cfg(feature = "openapi")]
use super::pricing::offering_example;
use super::pricing::{CACHE, PROMO_CODE, document, promotion};
use crate::{
    access::Permission,
    http::{Absent, ApiError, Call, Dialect, Endpoint, Methods, Reply, params::Params},
    offerings::OfferingId,
};
#[cfg(feature = "openapi")]
use crate::{
    http::describe::{Failures, Operation, Schemas, operation, read, with},
    offerings::Offering,
};

const PATH: &str = "/product-offerings/{productOfferingId}";

const NOT_FOUND: ApiError = ApiError::NotFound(Absent::Offering);

pub struct GetOffering;

impl Endpoint for GetOffering {
    const DIALECT: Dialect = Dialect::Offerings;
    const PERMISSION: Permission = Permission::OfferingsRead;
    const PATHS: &'static [(&'static str, Methods)] = &[(PATH, Methods::READ)];

    async fn answer(&self, call: Call<'_>) -> Result<Reply, ApiError> {
        let Call { request, principal, store, log, .. } = call;
        let mut params = Params::parse(&request.query);
        let promo_code = params.single(&PROMO_CODE);
        params.finish()?;
        let id = request.parameters(PATH).and_then(|mut values| values.pop()).unwrap_or_default();
        // No offering has an invalid id.
        let id = OfferingId::parse(&id).map_err(|_| NOT_FOUND)?;
        let account = &principal.account;
        let (promotion, offering) =
            tokio::try_join!(promotion(store, account, promo_code), async {
                store.offering(account, &id).await.map_err(ApiError::from)
            })?;
        let offering =
            offering.filter(|offering| offering.visibility.allows(principal)).ok_or(NOT_FOUND)?;
        log.items = 1;
        Ok(Reply::cacheable(document(offering, promotion.as_ref())?, CACHE))
    }
}

#[cfg(feature = "openapi")]
pub(in crate::http) fn describe(schemas: &mut Schemas) -> Operation {
    let failures = Failures::of::<GetOffering>(schemas, PATH).at("/product-offerings/none");
    let mut id = json!(schemas.of::<OfferingId>());
    id["pattern"] = "^[A-Za-z0-9][A-Za-z0-9_:.-]*$".into();
    let parameters = [
        json!({ "name": "productOfferingId", "in": "path", "required": true, "schema": id,
            "description": "The identity of the offering." , "example": "esim-pkg-africa-1gb-7d"}),
        PROMO_CODE.describe(schemas),
    ];
    let replies =
        read("The offering, archived or not.", schemas.of::<Offering>(), &offering_example());
    let replies =
        with(replies, "400", failures.invalid(PROMO_CODE.name, "is unknown or not valid now"));
    let absent = [("offering", ApiError::NotFound(Absent::Offering))];
    operation(
        "getOffering",
        "Get one product offering",
        "One offering by its identity.",
        &parameters,
        &failures,
        with(replies, "404", failures.reply("There is none, or the key may not see it.", &absent)),
    )
}
