//! Promo codes: their form, their validity, and promotional prices.

use std::{collections::BTreeSet, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Category, CustomerType, Offering, OfferingId, Price, draft::MAX_DOCUMENT_BYTES,
    offering::optional_millis,
};
use crate::{
    money::{Amount, Currency},
    text::{FieldError, parsed},
};

/// A promo code; case-insensitive, stored in upper case.
///
/// Its debug output hides it: a code is worth money, and no log may show it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PromoCode(String);

crate::schema::schema!(
    PromoCode,
    { "type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[^\\s]+$" }
);

impl PromoCode {
    /// Parses a code of 1 to 100 bytes without spaces and control characters.
    ///
    /// # Errors
    /// The message for the sender.
    pub fn parse(text: &str) -> Result<Self, String> {
        let upper = text.to_uppercase();
        let forbidden = |c: char| c.is_control() || c.is_whitespace();
        if !(1..=100).contains(&upper.len()) || upper.chars().any(forbidden) {
            return Err("must be 1 to 100 bytes without spaces".to_owned());
        }
        Ok(Self(upper))
    }

    /// The code in upper case: the range key of the `Promotions` table.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PromoCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PromoCode(…)")
    }
}

parsed!(secret PromoCode, as_str, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discount {
    /// A percentage of the gross price, above 0 and at most 100.
    Percent(Amount),
    /// A fixed amount, only for prices in its currency.
    Fixed(Amount, Currency),
}

/// A promotion. It applies to an offering that meets all of its conditions; any other offering keeps its
/// price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    pub discount: Discount,
    /// When it becomes valid.
    pub valid_from: Option<Timestamp>,
    /// When it is no longer valid.
    pub valid_until: Option<Timestamp>,
    pub product_offering_ids: Option<BTreeSet<OfferingId>>,
    pub categories: Option<BTreeSet<Category>>,
    pub customer_types: Option<BTreeSet<CustomerType>>,
}

/// Why a code does not give a promotional price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromotionRejection {
    /// The account has no such code.
    Unknown,
    NotYetValid,
    Expired,
}

impl Promotion {
    /// Checks that it is valid at this time.
    ///
    /// # Errors
    /// [`PromotionRejection`] if it is not valid yet, or no longer.
    pub fn valid_at(&self, now: Timestamp) -> Result<(), PromotionRejection> {
        if self.valid_from.is_some_and(|from| now < from) {
            return Err(PromotionRejection::NotYetValid);
        }
        if self.valid_until.is_some_and(|until| now >= until) {
            return Err(PromotionRejection::Expired);
        }
        Ok(())
    }

    /// Gives the offering its promotional price, if the promotion applies to it.
    pub fn apply(&self, offering: &mut Offering) {
        if let Some(taken) =
            self.applies_to(offering).then(|| self.taken_off(&offering.price)).flatten()
        {
            let price = &mut offering.price;
            let gross = price.gross_price;
            price.discount = taken.min(gross).round_to(price.currency);
            price.net_price = gross.minus_floored(price.discount).round_to(price.currency);
        }
    }

    fn applies_to(&self, offering: &Offering) -> bool {
        let Self { product_offering_ids, categories, customer_types, .. } = self;
        let category = offering.product.category.as_ref();
        product_offering_ids.as_ref().is_none_or(|ids| ids.contains(&offering.product_offering_id))
            && categories.as_ref().is_none_or(|all| category.is_some_and(|own| all.contains(own)))
            && customer_types.as_ref().is_none_or(|types| types.contains(&offering.customer_type))
    }

    fn taken_off(&self, price: &Price) -> Option<Amount> {
        match self.discount {
            Discount::Percent(percent) => price.gross_price.percent(percent),
            Discount::Fixed(amount, currency) => (currency == price.currency).then_some(amount),
        }
    }
}

/// A `promotion` record, as sent and as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromotionDraft {
    code: PromoCode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    percent_off: Option<Amount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    amount_off: Option<Amount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    currency: Option<Currency>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_millis")]
    valid_from: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_millis")]
    valid_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    product_offering_ids: Option<BTreeSet<OfferingId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    categories: Option<BTreeSet<Category>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer_types: Option<BTreeSet<CustomerType>>,
}

/// A valid promotion, ready to be stored.
#[derive(Clone, Debug)]
pub struct PreparedPromotion {
    draft: PromotionDraft,
}

impl PromotionDraft {
    /// Validates the record and converts it.
    ///
    /// # Errors
    /// Everything that is wrong with it, field by field.
    pub fn promotion(&self) -> Result<Promotion, Vec<FieldError>> {
        let mut errors = Vec::new();
        let hundred = Amount::parse("100").unwrap_or_default();
        let discount = match (self.percent_off, self.amount_off, self.currency) {
            (Some(percent), None, _) => {
                if percent <= Amount::ZERO || percent > hundred {
                    errors.push(FieldError::new("percentOff", "must be above 0 and at most 100"));
                }
                Some(Discount::Percent(percent))
            }
            (None, Some(amount), Some(currency)) => {
                if amount <= Amount::ZERO {
                    errors.push(FieldError::new("amountOff", "must be above 0"));
                }
                Some(Discount::Fixed(amount, currency))
            }
            (None, Some(_), None) => {
                errors.push(FieldError::new("currency", "is required with amountOff"));
                None
            }
            (None, None, _) => {
                errors
                    .push(FieldError::new("percentOff", "is required, or amountOff with currency"));
                None
            }
            (Some(_), Some(_), _) => {
                errors.push(FieldError::new("amountOff", "must not come with percentOff"));
                None
            }
        };
        if let (Some(from), Some(until)) = (self.valid_from, self.valid_until)
            && from >= until
        {
            errors.push(FieldError::new("validUntil", "must be after validFrom"));
        }
        match discount {
            Some(discount) if errors.is_empty() => Ok(Promotion {
                discount,
                valid_from: self.valid_from,
                valid_until: self.valid_until,
                product_offering_ids: self.product_offering_ids.clone(),
                categories: self.categories.clone(),
                customer_types: self.customer_types.clone(),
            }),
            _ => Err(errors),
        }
    }

    /// Validates the record.
    ///
    /// # Errors
    /// As [`PromotionDraft::promotion`].
    pub fn prepare(self) -> Result<PreparedPromotion, Vec<FieldError>> {
        self.promotion()?;
        let prepared = PreparedPromotion { draft: self };
        if prepared.document().len() > MAX_DOCUMENT_BYTES {
            let message =
                format!("the promotion must be at most {MAX_DOCUMENT_BYTES} bytes of JSON");
            return Err(vec![FieldError::new("", message)]);
        }
        Ok(prepared)
    }
}

impl PreparedPromotion {
    #[must_use]
    pub fn code(&self) -> &PromoCode {
        &self.draft.code
    }

    /// The promotion as JSON. It is what is stored, and what decides whether two versions are equal.
    #[must_use]
    pub fn document(&self) -> String {
        // Serializing cannot fail, so the fallback is never used.
        serde_json::to_string(&self.draft).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promotion(json: &str) -> Result<Promotion, Vec<FieldError>> {
        serde_json::from_str::<PromotionDraft>(json).expect(json).promotion()
    }

    fn offering(gross: &str, currency: &str) -> Offering {
        let json = format!(
            r#"{{"productOfferingId":"plan-1","status":"AVAILABLE","name":"Plan","customerType":"CONSUMER",
            "price":{{"currency":"{currency}","priceType":"ONE_TIME","grossPrice":{gross},"discount":0,"netPrice":{gross}}},
            "product":{{"productId":"p","type":"SUBSCRIPTION","category":"TRAVEL_ESIM"}},"metadata":{{}}}}"#
        );
        serde_json::from_str(&json).expect("offering")
    }

    fn priced(promotion_json: &str, gross: &str, currency: &str) -> (String, String) {
        let mut offering = offering(gross, currency);
        promotion(promotion_json).expect(promotion_json).apply(&mut offering);
        (offering.price.discount.to_string(), offering.price.net_price.to_string())
    }

    fn pair(discount: &str, net: &str) -> (String, String) {
        (discount.to_owned(), net.to_owned())
    }

    #[test]
    fn a_percentage_is_taken_off_and_rounded_half_even_in_the_minor_unit() {
        let quarter = r#"{"code":"Q","percentOff":25}"#;
        assert_eq!(priced(quarter, "19.99", "USD"), pair("5", "14.99"));
        assert_eq!(priced(quarter, "990", "JPY"), pair("248", "742"));
        assert_eq!(priced(quarter, "1.234", "KWD"), pair("0.308", "0.926"));
        let half = r#"{"code":"H","percentOff":50}"#;
        assert_eq!(priced(half, "0.05", "USD"), pair("0.02", "0.03"));
        assert_eq!(priced(half, "0.07", "USD"), pair("0.04", "0.03"));
        let all = r#"{"code":"A","percentOff":100}"#;
        assert_eq!(priced(all, "19.99", "USD"), pair("19.99", "0"));
    }

    #[test]
    fn an_amount_never_makes_a_price_negative_and_needs_its_currency() {
        let five = r#"{"code":"F","amountOff":5,"currency":"USD"}"#;
        assert_eq!(priced(five, "10", "USD"), pair("5", "5"));
        assert_eq!(priced(five, "3.5", "USD"), pair("3.5", "0"));
        assert_eq!(priced(five, "10", "EUR"), pair("0", "10"));
    }

    #[test]
    fn every_condition_given_must_hold() {
        let with = |conditions: &str| format!(r#"{{"code":"C","percentOff":10{conditions}}}"#);
        let reduced = |conditions: &str| priced(&with(conditions), "10", "USD").0 == "1";
        assert!(reduced(""));
        assert!(reduced(r#","categories":["TRAVEL_ESIM","ABROAD"]"#));
        assert!(reduced(r#","categories":["PRODUCT_CATEGORY_TRAVEL_ESIM"]"#));
        assert!(!reduced(r#","categories":["ABROAD"]"#));
        assert!(reduced(r#","customerTypes":["CONSUMER"]"#));
        assert!(!reduced(r#","customerTypes":["BUSINESS"]"#));
        assert!(reduced(r#","productOfferingIds":["plan-1"]"#));
        assert!(!reduced(r#","productOfferingIds":["plan-2"]"#));
        assert!(!reduced(r#","categories":["TRAVEL_ESIM"],"customerTypes":["BUSINESS"]"#));
        assert!(!reduced(r#","categories":[]"#));
    }

    #[test]
    fn it_counts_from_its_first_moment_until_just_before_its_last() {
        let promotion = promotion(
            r#"{"code":"T","percentOff":1,"validFrom":"2026-01-01T00:00:00Z","validUntil":"2026-02-01T00:00:00Z"}"#,
        )
        .expect("promotion");
        let at = |time: &str| promotion.valid_at(time.parse().expect("time"));
        assert_eq!(at("2025-12-31T23:59:59.999Z"), Err(PromotionRejection::NotYetValid));
        assert_eq!(at("2026-01-01T00:00:00Z"), Ok(()));
        assert_eq!(at("2026-01-31T23:59:59.999Z"), Ok(()));
        assert_eq!(at("2026-02-01T00:00:00Z"), Err(PromotionRejection::Expired));
    }

    #[test]
    fn codes_are_the_same_in_any_letter_case_and_never_print() {
        let code = PromoCode::parse("Summer25é").expect("code");
        assert_eq!(code.as_str(), "SUMMER25É");
        assert_eq!(format!("{code:?}"), "PromoCode(…)");
        for text in ["", "two words", "tab\t", &"x".repeat(101)] {
            assert!(PromoCode::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn everything_that_is_wrong_with_a_promotion_is_told_by_field() {
        for (json, errors) in [
            (r#"{"code":"X"}"#, "percentOff: is required, or amountOff with currency"),
            (r#"{"code":"X","percentOff":0}"#, "percentOff: must be above 0 and at most 100"),
            (r#"{"code":"X","percentOff":100.01}"#, "percentOff: must be above 0 and at most 100"),
            (r#"{"code":"X","percentOff":-5}"#, "percentOff: must be above 0 and at most 100"),
            (r#"{"code":"X","percentOff":100}"#, ""),
            (r#"{"code":"X","percentOff":0.01,"currency":"USD"}"#, ""),
            (r#"{"code":"X","amountOff":5}"#, "currency: is required with amountOff"),
            (r#"{"code":"X","amountOff":0,"currency":"USD"}"#, "amountOff: must be above 0"),
            (r#"{"code":"X","amountOff":0.01,"currency":"USD"}"#, ""),
            (
                r#"{"code":"X","amountOff":5,"percentOff":5}"#,
                "amountOff: must not come with percentOff",
            ),
            (
                r#"{"code":"X","amountOff":5,"currency":"USD","percentOff":5}"#,
                "amountOff: must not come with percentOff",
            ),
            (
                r#"{"code":"X","validFrom":"2026-01-02T00:00:00Z","validUntil":"2026-01-01T00:00:00Z"}"#,
                "percentOff: is required, or amountOff with currency; validUntil: must be after validFrom",
            ),
            (
                r#"{"code":"X","percentOff":5,"validFrom":"2026-01-01T00:00:00Z","validUntil":"2026-01-01T00:00:00Z"}"#,
                "validUntil: must be after validFrom",
            ),
            (
                r#"{"code":"X","percentOff":5,"validFrom":"2026-01-01T00:00:00Z","validUntil":"2026-01-01T00:00:00.001Z"}"#,
                "",
            ),
        ] {
            let told: Vec<String> =
                promotion(json).err().unwrap_or_default().iter().map(ToString::to_string).collect();
            assert_eq!(told.join("; "), errors, "{json}");
        }
    }

    #[test]
    fn a_promotion_is_stored_as_it_was_sent_and_as_long_as_an_item_of_the_database_holds() {
        let prepared = |json: &str| {
            let draft: PromotionDraft = serde_json::from_str(json).expect(json);
            draft
                .prepare()
                .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let json = "{\"code\":\"SUMMER\",\"percentOff\":12.5,\"validUntil\":\"2026-02-01T00:00:00.000Z\",\
                    \"customerTypes\":[\"CONSUMER\"]}";
        let summer = prepared(&json.replace("SUMMER", "summer")).expect("a promotion");
        assert_eq!((summer.code().as_str(), summer.document()), ("SUMMER", json.to_owned()));
        assert!(prepared(r#"{"code":"X"}"#).is_err());

        // 1,900 ids of 198 bytes, and one that fills the rest.
        let ids = |last: usize| {
            let mut ids: Vec<String> = (0..1_890).map(|n| format!("{n:0>198}")).collect();
            ids.push("x".repeat(last));
            let ids = serde_json::to_string(&ids).expect("JSON");
            format!("{{\"code\":\"X\",\"percentOff\":1,\"productOfferingIds\":{ids}}}")
        };
        let last = MAX_DOCUMENT_BYTES - (ids(1).len() - 1);
        assert!((1..200).contains(&last), "{last}");
        assert_eq!(prepared(&ids(last)).expect("it fits").document().len(), MAX_DOCUMENT_BYTES);
        let error = prepared(&ids(last + 1)).expect_err("it does not");
        assert_eq!(error, ["the promotion must be at most 380000 bytes of JSON"]);
    }
}
