//! The published Offering object, with the same fields as Connect's, plus those that this project adds.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{
    access::Principal,
    document::JsonText,
    geography::{Country, Region},
    money::{Amount, Currency},
    text::{identifier, parsed, rfc3339_millis, spelled_enum},
};

spelled_enum! {
    /// Who an offering is for.
    pub enum CustomerType {
        /// Private customers.
        Consumer = "CONSUMER",
        /// Companies.
        Business = "BUSINESS",
    }
}

spelled_enum! {
    /// How an offering is used and what it creates (Connect).
    pub enum ProductType {
        /// A subscription of its own.
        Subscription = "SUBSCRIPTION",
        /// Something added to a subscription.
        SubscriptionAddon = "SUBSCRIPTION_ADDON",
        /// A licence for business and PBX features.
        License = "LICENSE",
        /// A thing from outside the telecom platform.
        ExternalProduct = "EXTERNAL_PRODUCT",
    }
}

spelled_enum! {
    /// Whether an offering can be bought.
    pub enum Status {
        /// On sale.
        Available = "AVAILABLE",
        /// Kept for those who have it.
        Archived = "ARCHIVED",
    }
}

spelled_enum! {
    /// How often a price is due.
    pub enum PriceType {
        /// Once.
        OneTime = "ONE_TIME",
        /// Every billing cycle.
        Recurring = "RECURRING",
    }
}

spelled_enum! {
    /// The unit of a billing cycle.
    pub enum BillingPeriod {
        /// Days.
        Daily = "DAILY",
        /// Weeks.
        Weekly = "WEEKLY",
        /// Months.
        Monthly = "MONTHLY",
        /// Years.
        Yearly = "YEARLY",
    }
}

spelled_enum! {
    /// When a bought package begins to count.
    pub enum ActivationType {
        /// At purchase.
        Instant = "INSTANT",
        /// At first use.
        FirstUse = "FIRST_USE",
    }
}

identifier! {
    /// The identity of an offering within its account. It is a path segment, so it has
    /// none of the characters that end or escape one.
    pub struct OfferingId, max 200, forbidden "/%?#\\"
}

identifier! {
    /// The identity of a product catalog within its account.
    pub struct CatalogId, max 100, forbidden ""
}

/// What kind of product an offering sells; an open list, grouped by [`ProductType`] (Connect).
///
/// One page of Connect spells categories with the prefix `PRODUCT_CATEGORY_`, another without: both are
/// accepted, and responses omit it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Category(String);

crate::schema::schema!(Category, { "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,100}$" });

impl Category {
    const PREFIX: &'static str = "PRODUCT_CATEGORY_";

    /// Parses a category with or without the prefix.
    ///
    /// # Errors
    /// The message for the sender: a category has 1 to 100 letters, digits, `_`, `-` or `.`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix(Self::PREFIX).unwrap_or(text);
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if (1..=100).contains(&bare.len()) && bare.bytes().all(allowed) {
            Ok(Self(bare.to_owned()))
        } else {
            Err("must be 1 to 100 letters, digits, '_', '-' or '.', such as TRAVEL_ESIM".to_owned())
        }
    }

    /// The category without the prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

parsed!(Category, as_str, String);

/// An offering as the API returns it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Offering {
    /// Its identity.
    pub product_offering_id: OfferingId,
    /// Whether it can be bought.
    pub status: Status,
    /// Who it is for.
    pub customer_type: CustomerType,
    /// Its name for customers.
    pub name: String,
    /// What it costs.
    pub price: Price,
    /// A sentence for customers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// HTML for customers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rich_content: Option<String>,
    /// The product it sells.
    pub product: Product,
    /// The group it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// Categories of the addons that fit it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addon_categories: Option<Vec<Category>>,
    /// A note of the seller's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_description: Option<String>,
    /// A picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_url: Option<String>,
    /// Any JSON object, kept to the character.
    #[cfg_attr(feature = "openapi", schemars(with = "serde_json::Map<String, serde_json::Value>"))]
    pub metadata: Box<RawValue>,
    /// When it was created.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_millis")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::text::Time>"))]
    pub created_at: Option<Timestamp>,
    /// When it last changed.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_millis")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<crate::text::Time>"))]
    pub updated_at: Option<Timestamp>,
}

/// A price. Amounts are in the currency's major unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Price {
    /// The currency of all amounts.
    pub currency: Currency,
    /// Once, or every billing cycle.
    pub price_type: PriceType,
    /// Before any promotion.
    pub gross_price: Amount,
    /// What a promotion takes off.
    pub discount: Amount,
    /// What is to pay.
    pub net_price: Amount,
    /// Whether tax is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tax_included: Option<bool>,
    /// The minimum term in months.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_months: Option<u32>,
    /// The cycle of a recurring price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing_cycle: Option<BillingCycle>,
}

/// Every `interval` `period`s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct BillingCycle {
    /// The unit.
    pub period: BillingPeriod,
    /// How many of it.
    pub interval: std::num::NonZeroU32,
}

/// The product behind an offering.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", schemars(rename = "OfferedProduct"))]
pub struct Product {
    /// Its identity.
    pub product_id: String,
    /// The seller's own name of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_name: Option<String>,
    /// How it is used.
    #[serde(rename = "type")]
    pub product_type: ProductType,
    /// What kind it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// The network that carries it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_provider_id: Option<String>,
    /// What is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
}

/// What is in a product.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Features {
    /// Megabytes of data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_mb: Option<u64>,
    /// Seconds of calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub included_call_seconds: Option<u64>,
    /// Text messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub included_sms: Option<u64>,
    /// Days until it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validity_days: Option<u32>,
    /// Countries it covers by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub countries: Option<Vec<Country>>,
    /// Regions it covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<Region>>,
    /// When it begins to count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_type: Option<ActivationType>,
}

/// A group of offerings a customer may switch between.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", schemars(rename = "OfferingGroup"))]
pub struct Group {
    /// Its identity.
    pub product_offering_group_id: String,
    /// Its name.
    pub name: String,
    /// The category of its members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// A sentence for customers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A note of the seller's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_description: Option<String>,
}

/// The offering as it is stored: what filters and cursors use, and the document to return.
///
/// The document is the published JSON, serialized once by the import. A read without a promotion copies it
/// and never parses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOffering {
    pub id: OfferingId,
    /// Part of every index key.
    pub status: Status,
    /// Part of every index key.
    pub product_type: ProductType,
    /// Part of the key of one index; an offering without it is in no category's list.
    pub category: Option<Category>,
    /// What decides whether a key may see it.
    pub visibility: Visibility,
    /// The countries that it lists itself.
    pub countries: BTreeSet<Country>,
    pub regions: BTreeSet<Region>,
    /// The published JSON object.
    pub document: JsonText,
}

/// What decides whether a key may see an offering; as JSON, as the journal stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visibility {
    #[serde(rename = "t")]
    pub customer_type: CustomerType,
    #[serde(rename = "c", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub catalogs: BTreeSet<CatalogId>,
}

impl Visibility {
    /// Whether this caller may see it.
    #[must_use]
    pub fn allows(&self, principal: &Principal) -> bool {
        let Principal { customer_types, product_catalogs, .. } = principal;
        customer_types.as_ref().is_none_or(|types| types.contains(&self.customer_type))
            && product_catalogs.as_ref().is_none_or(|ids| !ids.is_disjoint(&self.catalogs))
    }
}

/// RFC 3339 in UTC with milliseconds.
#[allow(clippy::ref_option, reason = "the signature serde asks for")]
pub(super) fn optional_millis<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(rfc3339_millis).serialize(serializer)
}
