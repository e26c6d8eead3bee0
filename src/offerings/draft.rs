//! Validates an import record and makes an offering of it.
//!
//! Types and required fields are checked when the record is parsed, which stops at the first error. Everything else is
//! checked here, and reported together. Unknown fields are ignored, and so are derived ones (`price.discount`,
//! `price.netPrice`): the stored discount is 0 and the net price the rounded gross price; a promo code changes both in
//! a reply.

use std::{collections::BTreeSet, fmt::Write as _, num::NonZeroU32};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    BillingCycle, BillingPeriod, CatalogId, Category, CustomerType, Features, Group, Offering,
    OfferingId, Price, PriceType, Product, Status, StoredOffering, Visibility,
};
use crate::{
    json::is_unicode,
    money::{Amount, Currency},
    text::{FieldError, rfc3339_millis},
};

/// The maximum size of a published document, in bytes. A DynamoDB item may have 400 KB, including its key and
/// index attributes.
pub(super) const MAX_DOCUMENT_BYTES: usize = 380_000;

/// The maximum number of catalogs of an offering: few enough to fit into the rest of an item.
const MAX_CATALOGS: usize = 100;

/// An `offering` record as sent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfferingDraft {
    product_offering_id: OfferingId,
    status: Option<Status>,
    name: String,
    price: PriceDraft,
    customer_type: CustomerType,
    description: Option<String>,
    rich_content: Option<String>,
    product: Product,
    group: Option<Group>,
    addon_categories: Option<Vec<Category>>,
    internal_description: Option<String>,
    image_url: Option<String>,
    metadata: Option<Box<RawValue>>,
    product_catalog_ids: Option<BTreeSet<CatalogId>>,
    created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PriceDraft {
    currency: Currency,
    price_type: PriceType,
    gross_price: Amount,
    tax_included: Option<bool>,
    bound_months: Option<u32>,
    billing_cycle: Option<BillingCycleDraft>,
}

#[derive(Debug, Deserialize)]
struct BillingCycleDraft {
    period: BillingPeriod,
    interval: Option<NonZeroU32>,
}

/// A valid offering, ready to be stored.
#[derive(Clone, Debug)]
pub struct PreparedOffering {
    offering: Offering,
    catalogs: BTreeSet<CatalogId>,
    /// The published object without its times, which are its last members.
    timeless: String,
}

impl OfferingDraft {
    /// Validates the record.
    ///
    /// # Errors
    /// What is wrong with its values, all at once; its size only if nothing else is.
    pub fn prepare(self) -> Result<PreparedOffering, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut check = |field: &str, fine: bool, message: &str| {
            if !fine {
                errors.push(FieldError::new(field, message));
            }
        };
        let price = self.price;
        check("name", !self.name.trim().is_empty(), "must not be empty");
        check("product.productId", !self.product.product_id.is_empty(), "must not be empty");
        check(
            "price.grossPrice",
            !price.gross_price.is_negative(),
            "must be greater than or equal to 0",
        );
        check(
            "price.billingCycle",
            price.price_type == PriceType::OneTime || price.billing_cycle.is_some(),
            "is required when priceType is RECURRING",
        );
        let metadata = self.metadata.map_or_else(empty_object, on_one_line);
        check("metadata", metadata.get().starts_with('{'), "must be a JSON object");
        // Replies contain the metadata as sent: if it were invalid Unicode, a client's strict parser would refuse the
        // whole page.
        check("metadata", is_unicode(metadata.get()), "must be valid Unicode");
        let catalogs = self.product_catalog_ids.unwrap_or_default();
        check(
            "productCatalogIds",
            catalogs.len() <= MAX_CATALOGS,
            "an offering may belong to at most 100 catalogs",
        );

        let billing_cycle = price
            .billing_cycle
            .filter(|_| price.price_type == PriceType::Recurring)
            .map(|cycle| BillingCycle {
                period: cycle.period,
                interval: cycle.interval.unwrap_or(NonZeroU32::MIN),
            });
        let offering = Offering {
            product_offering_id: self.product_offering_id,
            status: self.status.unwrap_or(Status::Available),
            name: self.name,
            price: Price {
                currency: price.currency,
                price_type: price.price_type,
                gross_price: price.gross_price,
                discount: Amount::ZERO,
                net_price: price.gross_price.round_to(price.currency),
                tax_included: price.tax_included,
                bound_months: price.bound_months,
                billing_cycle,
            },
            customer_type: self.customer_type,
            description: self.description,
            rich_content: self.rich_content,
            product: self.product,
            group: self.group,
            addon_categories: self.addon_categories,
            internal_description: self.internal_description,
            image_url: self.image_url,
            metadata,
            created_at: self.created_at,
            updated_at: self.updated_at,
        };
        let prepared = PreparedOffering::new(offering, catalogs);
        let Offering { created_at, updated_at, .. } = prepared.offering;
        let bytes = prepared.document(created_at, updated_at).len();
        if errors.is_empty() && bytes > MAX_DOCUMENT_BYTES {
            let message =
                format!("the offering must be at most {MAX_DOCUMENT_BYTES} bytes of JSON");
            errors.push(FieldError::new("", message));
        }
        if errors.is_empty() { Ok(prepared) } else { Err(errors) }
    }
}

impl PreparedOffering {
    fn new(offering: Offering, catalogs: BTreeSet<CatalogId>) -> Self {
        let Offering { created_at, updated_at, .. } = offering;
        let offering = Offering { created_at: None, updated_at: None, ..offering };
        // Serializing cannot fail, so the fallback is never used.
        let timeless = serde_json::to_string(&offering).unwrap_or_default();
        Self { offering: Offering { created_at, updated_at, ..offering }, catalogs, timeless }
    }

    /// A stored offering, archived; `None` if its document cannot be read.
    #[must_use]
    pub fn archived(stored: StoredOffering) -> Option<Self> {
        let offering: Offering = serde_json::from_str(&stored.document.plain()).ok()?;
        let offering = Offering { status: Status::Archived, ..offering };
        Some(Self::new(offering, stored.visibility.catalogs))
    }

    #[must_use]
    pub fn id(&self) -> &OfferingId {
        &self.offering.product_offering_id
    }

    /// When it was created according to its source, if the source says so.
    #[must_use]
    pub fn source_created_at(&self) -> Option<Timestamp> {
        self.offering.created_at
    }

    /// The bytes to hash: two versions are equal if these are. They contain everything in the record except
    /// its times.
    #[must_use]
    pub fn content(&self) -> String {
        let catalogs: Vec<&str> = self.catalogs.iter().map(CatalogId::as_str).collect();
        format!("{}\0{}", self.timeless, catalogs.join("\0"))
    }

    /// The offering as it is stored, with these times in place of the record's own.
    #[must_use]
    pub fn into_stored(self, created_at: Timestamp, updated_at: Timestamp) -> StoredOffering {
        let document = self.document(Some(created_at), Some(updated_at));
        let Offering { product_offering_id, status, customer_type, product, .. } = self.offering;
        let Features { countries, regions, .. } = product.features.unwrap_or_default();
        StoredOffering {
            id: product_offering_id,
            status,
            product_type: product.product_type,
            category: product.category,
            visibility: Visibility { customer_type, catalogs: self.catalogs },
            countries: countries.unwrap_or_default().into_iter().collect(),
            regions: regions.unwrap_or_default().into_iter().collect(),
            document: document.into(),
        }
    }

    /// The offering as the API returns it, with these times.
    fn document(&self, created_at: Option<Timestamp>, updated_at: Option<Timestamp>) -> String {
        let mut document = self.timeless.strip_suffix('}').unwrap_or_default().to_owned();
        for (name, time) in [("createdAt", created_at), ("updatedAt", updated_at)] {
            if let Some(time) = time {
                let _ = write!(document, ",\"{name}\":\"{}\"", rfc3339_millis(time));
            }
        }
        document.push('}');
        document
    }
}

/// The same JSON without line breaks, which occur only between its tokens: a document becomes one line of an
/// export.
fn on_one_line(json: Box<RawValue>) -> Box<RawValue> {
    if !json.get().contains(['\n', '\r']) {
        return json;
    }
    RawValue::from_string(json.get().replace(['\n', '\r'], " ")).unwrap_or(json)
}

fn empty_object() -> Box<RawValue> {
    // The literal is valid JSON, so the fallback (`null`) is never used; it would be rejected.
    RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests;
