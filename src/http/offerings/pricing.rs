//! Offerings as replies show them: as stored, or with a promotional price.

use jiff::Timestamp;
#[cfg(feature = "openapi")]
use serde_json::{Value, json};

use crate::{
    account::AccountId,
    document::JsonText,
    http::{ApiError, params::Parameter},
    offerings::{Offering, PromoCode, Promotion, PromotionRejection, StoredOffering},
    store::Store,
};

/// Offerings change rarely and are requested often: a client may keep an answer, but must revalidate it.
pub(super) const CACHE: &str = "private, no-cache";

pub(super) const PROMO_CODE: Parameter<PromoCode> = Parameter::new(
    "promoCode",
    "Applies the promotion with this code to the prices of the offerings it is for. An unknown, expired or not yet valid code is a 400.",
);

/// The promotion of a code, if it is valid now.
pub(super) async fn promotion(
    store: &Store,
    account: &AccountId,
    code: Option<PromoCode>,
) -> Result<Option<Promotion>, ApiError> {
    let Some(code) = code else { return Ok(None) };
    let found = store.promotion(account, &code).await?;
    let valid = found
        .ok_or(PromotionRejection::Unknown)
        .and_then(|promotion| promotion.valid_at(Timestamp::now()).map(|()| promotion));
    match valid {
        Ok(promotion) => Ok(Some(promotion)),
        Err(rejection) => Err(ApiError::invalid(
            PROMO_CODE.name,
            match rejection {
                PromotionRejection::Unknown => "is not a known promo code",
                PromotionRejection::NotYetValid => "is not valid yet",
                PromotionRejection::Expired => "has expired",
            },
        )),
    }
}

/// The document of an offering: as stored or, if the promotion applies to it, with its promotional price.
pub(super) fn document(
    stored: StoredOffering,
    promotion: Option<&Promotion>,
) -> Result<JsonText, ApiError> {
    let Some(promotion) = promotion else { return Ok(stored.document) };
    let unreadable = |error| ApiError::stored_document(&error);
    let mut offering: Offering =
        serde_json::from_str(&stored.document.plain()).map_err(unreadable)?;
    promotion.apply(&mut offering);
    serde_json::to_string(&offering).map(JsonText::from).map_err(unreadable)
}

#[cfg(feature = "openapi")]
pub(super) fn offering_example() -> Value {
    json!({
        "productOfferingId": "esim-pkg-africa-1gb-7d", "status": "AVAILABLE", "customerType": "CONSUMER",
        "name": "Africa 1GB – 7 days",
        "price": {
            "currency": "USD", "priceType": "ONE_TIME", "grossPrice": 10.49, "discount": 0, "netPrice": 10.49,
            "taxIncluded": false,
        },
        "product": {
            "productId": "prd-esim-pkg-africa-1gb-7d", "type": "SUBSCRIPTION_ADDON", "category": "TRAVEL_ESIM_PACKAGE",
            "features": { "dataMb": 1_024, "validityDays": 7, "regions": ["AFRICA"], "activationType": "INSTANT" },
        },
        "metadata": {},
        "createdAt": "2023-05-05T09:08:11.659Z", "updatedAt": "2026-01-06T10:27:06.007Z",
    })
}
