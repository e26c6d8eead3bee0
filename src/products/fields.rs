//! The fields of a product. This table defines them: the product, the row, how a row merges into a product, the stored
//! item, CSV and the OpenAPI document follow from it. Only the keys, the name and the projections of indexes are named
//! elsewhere.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Billing, Category, ExternalId, Field, FieldUpdate, ProductId, ProductType, Rule, Scalar, Sku,
    field::Slot, product::millis,
};
#[cfg(feature = "openapi")]
use crate::text::Time;
use crate::{
    json::Members,
    money::{Amount, Currency},
    text::FieldError,
};

/// The type of a field in a product.
macro_rules! held {
    (required $type:ty) => { $type };
    (nullable $type:ty) => { Option<$type> };
}

/// The type of a field in a row.
macro_rules! slot {
    (required $type:ty) => { Option<$type> };
    (nullable $type:ty) => { FieldUpdate<$type> };
}

/// The default value of the field, if it has one.
macro_rules! default {
    () => {
        None
    };
    ($default:expr) => {
        Some($default)
    };
}

/// Defines the structs, and all that treats every field alike.
macro_rules! product_fields {
    ($($(#[$doc:meta])* $field:ident: $kind:ident $type:ty, $name:literal, $rule:expr $(, default $default:expr)?;)+) => {
        /// A product as the API returns it: every field is always present.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
        #[serde(rename_all = "camelCase")]
        pub struct Product {
            /// Its identity.
            pub id: ProductId,
            $($(#[$doc])* #[serde(rename = $name)] pub $field: held!($kind $type),)+
            /// When it was created.
            #[serde(serialize_with = "millis")]
            #[cfg_attr(feature = "openapi", schemars(with = "Time"))]
            pub created_at: Timestamp,
            /// When it was last written.
            #[serde(serialize_with = "millis")]
            #[cfg_attr(feature = "openapi", schemars(with = "Time"))]
            pub updated_at: Timestamp,
        }

        /// A validated row. `None` and [`FieldUpdate::Keep`] are fields that it does not have.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct ProductRow {
            $($(#[$doc])* pub $field: slot!($kind $type),)+
            /// The id of a product that an import creates; the API never sets it.
            pub id: Option<ProductId>,
            /// The creation time of a product that an import creates; the API never sets it.
            pub created_at: Option<Timestamp>,
        }

        /// All fields, in the order of the published table.
        pub const FIELDS: &[Field] = &[$(Field {
            name: $name,
            rule: $rule,
            is_nullable: <slot!($kind $type) as Slot>::IS_NULLABLE,
            default: default!($($default)?),
        }),+];

        impl Product {
            /// The product with the values of [`FIELDS`], in their order, created and last written at these
            /// times.
            ///
            /// # Errors
            /// The name of the first field whose value is missing or not allowed.
            pub fn from_values<'a>(
                id: ProductId,
                (created_at, updated_at): (Timestamp, Timestamp),
                mut values: impl Iterator<Item = Option<Scalar<'a>>>,
            ) -> Result<Self, &'static str> {
                Ok(Self {
                    id,
                    $($field: <slot!($kind $type)>::held(values.next().flatten()).ok_or($name)?,)+
                    created_at,
                    updated_at,
                })
            }

            /// The values of the fields, by their published names.
            pub fn values(&self) -> impl Iterator<Item = (&'static str, Option<Scalar<'_>>)> {
                [$(($name, <slot!($kind $type)>::scalar_of(&self.$field))),+].into_iter()
            }

            /// Merges a row: only the fields that it has change. `updated_at` is left to the caller.
            pub fn merge(&mut self, row: &ProductRow) {
                $(row.$field.merge_into(&mut self.$field);)+
            }
        }

        impl ProductRow {
            /// Parses a row; returns it with all validation errors, in the order of [`FIELDS`].
            pub(super) fn from_members(members: &Members<'_>) -> (Self, Vec<FieldError>) {
                let (mut row, mut errors) = (Self::default(), Vec::new());
                for (name, value) in &members.0 {
                    match name.as_str() {
                        $($name => match Slot::parse(value, $rule) {
                            Ok(field) => row.$field = field,
                            Err(message) => errors.push(FieldError::new($name, message)),
                        },)+
                        _ => {}
                    }
                }
                errors.sort_by_key(|error| FIELDS.iter().position(|field| field.name == error.field));
                (row, errors)
            }

            /// What the row changes, by the published names of the fields.
            pub fn changes(&self) -> impl Iterator<Item = (&'static str, FieldUpdate<Scalar<'_>>)> {
                [$(($name, self.$field.change())),+].into_iter()
            }

            /// A row that sets all fields but the keys back to what a new product has; so it has no name.
            #[must_use]
            pub fn reset() -> Self {
                let mut row = Self {
                    $($field: Slot::reset(default!($($default)?)),)+
                    ..Self::default()
                };
                (row.sku, row.external_id) = (FieldUpdate::Keep, FieldUpdate::Keep);
                row
            }

            /// Keeps only the fields whose published name satisfies `keep`.
            pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
                $(if !keep($name) {
                    self.$field = Default::default();
                })+
            }
        }
    };
}

product_fields! {
    /// The name of the product.
    name: required String, "name", Rule::Text(1, 200);
    /// The type of product.
    product_type: required ProductType, "type", Rule::OneOf(ProductType::texts), default Scalar::Text("PRODUCT");
    /// The stock keeping unit of the seller, unique in the account.
    sku: nullable Sku, "sku", Rule::Key(Sku::MAX_CHARACTERS);
    /// The id of the product in another system, unique in the account.
    external_id: nullable ExternalId, "externalId", Rule::Key(ExternalId::MAX_CHARACTERS);
    /// The category.
    category: nullable Category, "category", Rule::Key(Category::MAX_CHARACTERS);
    /// What a buyer pays for a unit, in the currency's major unit.
    price: required Amount, "price", Rule::Amount, default Scalar::Number(Amount::ZERO);
    /// What the seller pays for a unit.
    cost: nullable Amount, "cost", Rule::Amount;
    /// The currency of `price` and `cost`.
    currency: required Currency, "currency", Rule::Currency, default Scalar::Text("USD");
    /// What is counted: a seat, a month.
    unit: nullable String, "unit", Rule::Text(0, 40);
    /// How often the price is due.
    billing_period: nullable Billing, "billingPeriod", Rule::OneOf(Billing::texts);
    /// The minimum term in months.
    term_months: nullable u64, "termMonths", Rule::Whole(1);
    /// The quantity in stock.
    stock_qty: nullable u64, "stockQty", Rule::Whole(0);
    /// The quantity at which to order again.
    reorder_level: nullable u64, "reorderLevel", Rule::Whole(0);
    /// A text for customers.
    description: nullable String, "description", Rule::Text(0, 10_000);
    /// A second text for customers.
    features: nullable String, "features", Rule::Text(0, 10_000);
    /// Whether it is on sale.
    active: required bool, "active", Rule::Boolean, default Scalar::Boolean(true);
}
