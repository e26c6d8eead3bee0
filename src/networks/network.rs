//! The published objects of Click Airtime.

use std::{fmt, num::NonZeroU32};

use serde::{Deserialize, Serialize};

use crate::{
    geography::Country,
    money::{Amount, Currency},
    text::spelled_enum,
};

/// Defines an id: a positive number, unique within its parent.
macro_rules! number_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(NonZeroU32);

        crate::schema::schema!(
            $name,
            { "type": "integer", "minimum": 1, "maximum": 4_294_967_295_u32 }
        );

        impl $name {
            /// The id with this number; `None` for zero.
            #[must_use]
            pub fn new(number: u32) -> Option<Self> {
                NonZeroU32::new(number).map(Self)
            }

            #[must_use]
            pub fn get(self) -> u32 {
                self.0.get()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number_id! {
    /// The identity of a network within its account: 1 to 4,294,967,295.
    NetworkId
}

number_id! {
    /// The identity of a bundle within its network: 1 to 4,294,967,295.
    BundleId
}

spelled_enum! {
    /// What a bundle holds.
    pub enum BundleType {
        /// Money to call with.
        Airtime = "AIRTIME",
        /// Data.
        Data = "DATA",
    }
}

/// A mobile network and how it is topped up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    pub id: NetworkId,
    /// The operator's name.
    pub name: String,
    /// The country's name.
    pub country: String,
    pub country_code: Country,
    /// The local currency.
    pub currency: Currency,
    pub logo_url: Option<String>,
    /// Its airtime of any amount.
    pub custom_airtime: CustomAirtime,
    /// A text message to the recipient of a top-up.
    pub sms_notification: SmsNotification,
}

/// Airtime of any amount within limits, in the local currency's major unit. Where it is not
/// available, the limits are null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct CustomAirtime {
    /// Whether it can be bought.
    pub available: bool,
    /// The least.
    pub min_amount_local: Option<Amount>,
    /// The most.
    pub max_amount_local: Option<Amount>,
    /// The local currency.
    pub local_currency: Currency,
}

/// A text message to the one who is topped up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct SmsNotification {
    /// Whether it can be sent.
    pub available: bool,
    /// What it costs, in US dollars; null where it is not available.
    pub cost_usd: Option<Amount>,
}

/// A bundle of fixed content and price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Bundle {
    /// Its identity within its network.
    pub id: BundleId,
    /// Its name.
    pub name: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub bundle_type: BundleType,
    /// What it costs, in US dollars.
    pub price_usd: Amount,
    /// What the one who is topped up gets, in words or in the local currency.
    pub local_value: String,
    /// The local currency.
    pub local_currency: Currency,
    /// A sentence for customers.
    pub description: String,
}

impl Bundle {
    /// The published JSON object.
    #[must_use]
    pub fn document(&self) -> String {
        // It has only strings and numbers: serializing them cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A source and a destination currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct CurrencyPair {
    /// The wallet's currency.
    #[serde(rename = "source_currency")]
    pub source: Currency,
    /// The network's currency.
    #[serde(rename = "destination_currency")]
    pub destination: Currency,
}

/// What one unit of the source buys of the destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ExchangeRate {
    /// The wallet's currency.
    pub source_currency: Currency,
    /// The network's currency.
    pub destination_currency: Currency,
    /// The multiplier.
    pub rate: Amount,
}

impl ExchangeRate {
    #[must_use]
    pub fn pair(&self) -> CurrencyPair {
        CurrencyPair { source: self.source_currency, destination: self.destination_currency }
    }

    /// The published JSON object.
    #[must_use]
    pub fn document(&self) -> String {
        // It has only strings and a number: serializing them cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}
