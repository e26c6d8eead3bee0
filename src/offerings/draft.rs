//! An import record becoming an offering.
//!
//! Types are checked while the record is read; everything else here, so that one look tells a
//! sender all that is wrong with a record. Fields nobody knows are ignored, and so are the derived
//! ones (`price.discount`, `price.netPrice`): they follow from the gross price.

use std::{collections::BTreeSet, num::NonZeroU32};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    BillingCycle, BillingPeriod, CatalogId, Category, CustomerType, Features, Group, Offering,
    OfferingId, OfferingRow, Price, PriceType, Product, Status, Visibility,
};
use crate::{
    money::{Amount, Currency},
    text::FieldError,
};

/// The largest published document, in bytes. A DynamoDB item may be 400 KB, keys and index
/// attributes included.
pub(super) const MAX_DOCUMENT_BYTES: usize = 380_000;

/// The most catalogs an offering may belong to: what fits the rest of an item.
const MAX_CATALOGS: usize = 100;

/// An `offering` record as sent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfferingDraft {
    product_offering_id: OfferingId,
    #[serde(default)]
    status: Option<Status>,
    name: String,
    price: PriceDraft,
    customer_type: CustomerType,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    rich_content: Option<String>,
    product: Product,
    #[serde(default)]
    group: Option<Group>,
    #[serde(default)]
    addon_categories: Option<Vec<Category>>,
    #[serde(default)]
    internal_description: Option<String>,
    #[serde(default)]
    image_url: Option<String>,
    #[serde(default)]
    metadata: Option<Box<RawValue>>,
    #[serde(default)]
    product_catalog_ids: Option<BTreeSet<CatalogId>>,
    #[serde(default)]
    created_at: Option<Timestamp>,
    #[serde(default)]
    updated_at: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PriceDraft {
    currency: Currency,
    price_type: PriceType,
    gross_price: Amount,
    #[serde(default)]
    tax_included: Option<bool>,
    #[serde(default)]
    bound_months: Option<u32>,
    #[serde(default)]
    billing_cycle: Option<BillingCycleDraft>,
}

#[derive(Debug, Deserialize)]
struct BillingCycleDraft {
    period: BillingPeriod,
    #[serde(default)]
    interval: Option<NonZeroU32>,
}

/// A valid offering, ready to be stored.
#[derive(Clone, Debug)]
pub struct PreparedOffering {
    offering: Offering,
    catalogs: BTreeSet<CatalogId>,
}

impl OfferingDraft {
    /// Checks the record.
    ///
    /// # Errors
    /// Everything that is wrong with it, field by field.
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
        let prepared = PreparedOffering { offering, catalogs };
        if errors.is_empty() && prepared.document().len() > MAX_DOCUMENT_BYTES {
            let message =
                format!("the offering must be at most {MAX_DOCUMENT_BYTES} bytes of JSON");
            errors.push(FieldError::new("", message));
        }
        if errors.is_empty() { Ok(prepared) } else { Err(errors) }
    }
}

impl PreparedOffering {
    /// A stored offering, archived; `None` if its document cannot be read.
    #[must_use]
    pub fn archived(row: OfferingRow) -> Option<Self> {
        let offering: Offering = serde_json::from_str(&row.document).ok()?;
        let offering = Offering { status: Status::Archived, ..offering };
        Some(Self { offering, catalogs: row.visibility.catalogs })
    }

    /// The offering's identity.
    #[must_use]
    pub fn id(&self) -> &OfferingId {
        &self.offering.product_offering_id
    }

    /// When the source says it last changed, where it says so.
    #[must_use]
    pub fn source_updated_at(&self) -> Option<Timestamp> {
        self.offering.updated_at
    }

    /// When the source says it came to be, where it says so.
    #[must_use]
    pub fn source_created_at(&self) -> Option<Timestamp> {
        self.offering.created_at
    }

    /// What makes two versions of it the same, as bytes to hash: everything the record said but for
    /// its times.
    #[must_use]
    pub fn content(&self) -> String {
        let catalogs: Vec<&str> = self.catalogs.iter().map(CatalogId::as_str).collect();
        let timeless = Offering { created_at: None, updated_at: None, ..self.offering.clone() };
        format!("{}\0{}", document(&timeless), catalogs.join("\0"))
    }

    /// The row to store, with the times that the record left open.
    #[must_use]
    pub fn into_row(mut self, created_at: Timestamp, updated_at: Timestamp) -> OfferingRow {
        self.offering.created_at = Some(created_at);
        self.offering.updated_at = Some(updated_at);
        let document = self.document();
        let Offering { product_offering_id, status, customer_type, product, .. } = self.offering;
        let Features { countries, regions, .. } = product.features.unwrap_or_default();
        OfferingRow {
            id: product_offering_id,
            status,
            product_type: product.product_type,
            category: product.category,
            visibility: Visibility { customer_type, catalogs: self.catalogs },
            countries: countries.unwrap_or_default().into_iter().collect(),
            regions: regions.unwrap_or_default().into_iter().collect(),
            document,
        }
    }

    /// The offering as it will be returned.
    fn document(&self) -> String {
        document(&self.offering)
    }
}

fn document(offering: &Offering) -> String {
    // Every part serializes to JSON whatever its value, so the fallback is never taken.
    serde_json::to_string(offering).unwrap_or_default()
}

/// The same JSON without raw line breaks, which only stand between its tokens: a document is a line of
/// an export.
fn on_one_line(json: Box<RawValue>) -> Box<RawValue> {
    if !json.get().contains(['\n', '\r']) {
        return json;
    }
    RawValue::from_string(json.get().replace(['\n', '\r'], " ")).unwrap_or(json)
}

fn empty_object() -> Box<RawValue> {
    // A literal object is JSON; the fallback (`null`) is never taken and would be refused.
    RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
