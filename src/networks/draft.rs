//! Validates import records of networks, bundles and exchange rates.

use std::collections::HashSet;

use serde::Deserialize;

use super::{
    Bundle, BundleId, BundleType, CustomAirtime, ExchangeRate, Network, NetworkId, SmsNotification,
};
use crate::{
    geography::Country,
    money::{Amount, Currency},
    text::FieldError,
};

/// The maximum length of a name or text, in bytes.
const MAX_TEXT: usize = 2_000;

/// A `network` record as sent.
#[derive(Debug, Deserialize)]
pub struct NetworkDraft {
    id: NetworkId,
    name: String,
    country: String,
    country_code: Country,
    currency: Currency,
    logo_url: Option<String>,
    custom_airtime: Option<CustomAirtimeDraft>,
    sms_notification: Option<SmsDraft>,
    fixed_bundles: Option<Vec<BundleDraft>>,
}

#[derive(Debug, Default, Deserialize)]
struct CustomAirtimeDraft {
    available: bool,
    min_amount_local: Option<Amount>,
    max_amount_local: Option<Amount>,
    local_currency: Option<Currency>,
}

#[derive(Debug, Default, Deserialize)]
struct SmsDraft {
    available: bool,
    cost_usd: Option<Amount>,
}

#[derive(Debug, Deserialize)]
struct BundleDraft {
    id: BundleId,
    name: String,
    #[serde(rename = "type")]
    bundle_type: BundleType,
    price_usd: Amount,
    local_value: Option<String>,
    local_currency: Option<Currency>,
    description: Option<String>,
}

/// A `bundle` record as sent.
#[derive(Debug, Deserialize)]
pub struct SingleBundleDraft {
    network_id: NetworkId,
    id: BundleId,
    name: String,
    #[serde(rename = "type")]
    bundle_type: BundleType,
    price_usd: Amount,
    local_value: Option<String>,
    // Required here: unlike a bundle within a network's record, this one cannot use the network's currency.
    local_currency: Currency,
    description: Option<String>,
}

/// An `exchangeRate` record as sent.
#[derive(Debug, Deserialize)]
pub struct ExchangeRateDraft {
    source_currency: Currency,
    destination_currency: Currency,
    rate: Amount,
}

struct Checks(Vec<FieldError>);

impl Checks {
    fn check(&mut self, field: impl Into<String>, fine: bool, message: &str) {
        if !fine {
            self.0.push(FieldError::new(field, message));
        }
    }

    fn text(&mut self, field: impl Into<String>, text: &str) {
        let field = field.into();
        self.check(field.clone(), !text.trim().is_empty(), "must not be empty");
        self.check(field, text.len() <= MAX_TEXT, "must be at most 2000 bytes");
    }

    fn end<T>(self, value: T) -> Result<T, Vec<FieldError>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

const REQUIRED: &str = "is required when available is true";
const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

impl NetworkDraft {
    /// Validates the record. Returns the network, and its bundles if the record carries all of them.
    ///
    /// # Errors
    /// Everything that is wrong with it, field by field.
    pub fn checked(self) -> Result<(Network, Option<Vec<Bundle>>), Vec<FieldError>> {
        let mut checks = Checks(Vec::new());
        checks.text("name", &self.name);
        checks.text("country", &self.country);
        if let Some(url) = &self.logo_url {
            checks.text("logo_url", url);
        }
        let currency = self.currency;
        let custom_airtime = self.custom_airtime.unwrap_or_default().checked(currency, &mut checks);
        let SmsDraft { available, cost_usd } = self.sms_notification.unwrap_or_default();
        checks.check("sms_notification.cost_usd", !available || cost_usd.is_some(), REQUIRED);
        let negative = cost_usd.is_some_and(Amount::is_negative);
        checks.check("sms_notification.cost_usd", !negative, NOT_NEGATIVE);
        let sms_notification = SmsNotification { available, cost_usd };
        let bundles = self.fixed_bundles.map(|drafts| {
            let mut seen = HashSet::with_capacity(drafts.len());
            let numbered = drafts.into_iter().enumerate();
            numbered
                .map(|(index, draft)| {
                    let at = format!("fixed_bundles[{index}].");
                    checks.check(
                        format!("{at}id"),
                        seen.insert(draft.id),
                        "is the id of an earlier bundle, too",
                    );
                    draft.checked(currency, &at, &mut checks)
                })
                .collect()
        });
        let network = Network {
            id: self.id,
            name: self.name,
            country: self.country,
            country_code: self.country_code,
            currency,
            logo_url: self.logo_url,
            custom_airtime,
            sms_notification,
        };
        checks.end((network, bundles))
    }
}

impl CustomAirtimeDraft {
    fn checked(self, currency: Currency, checks: &mut Checks) -> CustomAirtime {
        let (min, max) = (self.min_amount_local, self.max_amount_local);
        for (field, amount) in [("min_amount_local", min), ("max_amount_local", max)] {
            let field = format!("custom_airtime.{field}");
            checks.check(field.clone(), !self.available || amount.is_some(), REQUIRED);
            checks.check(field, !amount.is_some_and(Amount::is_negative), NOT_NEGATIVE);
        }
        checks.check(
            "custom_airtime.max_amount_local",
            min.zip(max).is_none_or(|(min, max)| max >= min),
            "must not be less than min_amount_local",
        );
        CustomAirtime {
            available: self.available,
            min_amount_local: min,
            max_amount_local: max,
            local_currency: self.local_currency.unwrap_or(currency),
        }
    }
}

impl BundleDraft {
    fn checked(self, currency: Currency, at: &str, checks: &mut Checks) -> Bundle {
        checks.text(format!("{at}name"), &self.name);
        checks.check(format!("{at}price_usd"), !self.price_usd.is_negative(), NOT_NEGATIVE);
        let texts = [("local_value", &self.local_value), ("description", &self.description)];
        for (field, text) in texts {
            let fits = text.as_ref().is_none_or(|text| text.len() <= MAX_TEXT);
            checks.check(format!("{at}{field}"), fits, "must be at most 2000 bytes");
        }
        Bundle {
            id: self.id,
            bundle_type: self.bundle_type,
            price_usd: self.price_usd,
            local_value: self.local_value.unwrap_or_else(|| self.name.clone()),
            local_currency: self.local_currency.unwrap_or(currency),
            description: self.description.unwrap_or_else(|| self.name.clone()),
            name: self.name,
        }
    }
}

impl SingleBundleDraft {
    /// Validates the record. Returns the bundle, and the network that it belongs to.
    ///
    /// # Errors
    /// Everything that is wrong with it, field by field.
    pub fn checked(self) -> Result<(NetworkId, Bundle), Vec<FieldError>> {
        let mut checks = Checks(Vec::new());
        let currency = self.local_currency;
        let draft = BundleDraft {
            id: self.id,
            name: self.name,
            bundle_type: self.bundle_type,
            price_usd: self.price_usd,
            local_value: self.local_value,
            local_currency: Some(currency),
            description: self.description,
        };
        let bundle = draft.checked(currency, "", &mut checks);
        checks.end((self.network_id, bundle))
    }
}

impl ExchangeRateDraft {
    /// Validates the record.
    ///
    /// # Errors
    /// The field that breaks a rule.
    pub fn checked(self) -> Result<ExchangeRate, Vec<FieldError>> {
        let mut checks = Checks(Vec::new());
        checks.check("rate", self.rate > Amount::ZERO, "must be greater than 0");
        let Self { source_currency, destination_currency, rate } = self;
        checks.end(ExchangeRate { source_currency, destination_currency, rate })
    }
}

#[cfg(test)]
mod tests;
