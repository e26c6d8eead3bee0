//! A row of an upsert: parsing, and validation with the messages of the published API.

use serde_json::value::RawValue;

use super::{ExternalId, FIELDS, ProductId, ProductRow, Sku};
use crate::{
    json::{Members, type_name},
    text::{Fault, FieldError},
};

/// The update of a field that may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FieldUpdate<T> {
    /// It keeps its value: a row does not have the field.
    #[default]
    Keep,
    /// An explicit null: the field is cleared.
    Clear,
    /// A new value.
    Set(T),
}

impl<T: PartialEq> FieldUpdate<T> {
    /// Whether it changes a field with this value.
    pub fn changes(&self, field: &Option<T>) -> bool {
        match self {
            Self::Keep => false,
            Self::Clear => field.is_some(),
            Self::Set(value) => field.as_ref() != Some(value),
        }
    }
}

impl<T> FieldUpdate<T> {
    /// The same update of another value.
    pub fn map<'a, U>(&'a self, other: impl FnOnce(&'a T) -> U) -> FieldUpdate<U> {
        match self {
            Self::Keep => FieldUpdate::Keep,
            Self::Clear => FieldUpdate::Clear,
            Self::Set(value) => FieldUpdate::Set(other(value)),
        }
    }

    /// The new value, if there is one.
    #[must_use]
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Clear => None,
        }
    }
}

/// A key of a product: what a row finds it by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProductKey {
    /// By its first key.
    Sku(Sku),
    /// By its second key.
    ExternalId(ExternalId),
    /// By its id: only for products that an import brings back, and for new ones.
    Id(ProductId),
}

/// Whether a product has a field of this name; a row's other members are ignored.
#[must_use]
pub fn is_field(name: &str) -> bool {
    FIELDS.iter().any(|field| field.name == name)
}

impl ProductRow {
    /// Parses and validates a row. Read-only and unknown fields are ignored.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the published table. The field is "" if the row is
    /// not an object.
    pub fn parse(row: &RawValue) -> Result<Self, Vec<FieldError>> {
        if type_name(row) != "object" {
            let message = format!("Expected object, received {}", type_name(row));
            return Err(vec![FieldError::new("", message)]);
        }
        let members = Members::of(row.get(), is_field)
            .map_err(|error| vec![FieldError::new("", error.to_string())])?;
        Self::of(&members)
    }

    /// Validates the members of a row.
    ///
    /// # Errors
    /// As [`ProductRow::parse`].
    pub fn of(members: &Members<'_>) -> Result<Self, Vec<FieldError>> {
        if let Some(twice) = members.duplicate() {
            return Err(vec![FieldError::new(twice, "Duplicate key")]);
        }
        let (row, mut errors) = Self::from_members(members);
        // A row without keys always creates a product.
        let creates = row.sku.value().is_none() && row.external_id.value().is_none();
        let keys_wrong =
            errors.iter().any(|error| matches!(error.field.as_str(), "sku" | "externalId"));
        if creates
            && !keys_wrong
            && row.name.is_none()
            && !members.0.iter().any(|(name, _)| name == "name")
        {
            errors.insert(0, FieldError::new("name", "Required").with_fault(Fault::Missing));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(row)
    }

    /// The published names of the fields that it has.
    #[must_use]
    pub fn fields(&self) -> Vec<&'static str> {
        self.changes()
            .filter(|(_, change)| *change != FieldUpdate::Keep)
            .map(|(name, _)| name)
            .collect()
    }

    /// What it finds its product by: its sku, or else its external id, or else its id; `None` if it always
    /// creates one.
    #[must_use]
    pub fn key(&self) -> Option<ProductKey> {
        let sku = self.sku.value().cloned().map(ProductKey::Sku);
        let external_id = || self.external_id.value().cloned().map(ProductKey::ExternalId);
        sku.or_else(external_id).or(self.id.map(ProductKey::Id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(row: &str) -> Result<ProductRow, String> {
        let raw: &RawValue = serde_json::from_str(row).expect(row);
        ProductRow::parse(raw).map_err(|errors| {
            let texts: Vec<String> = errors.iter().map(FieldError::to_string).collect();
            texts.join("; ")
        })
    }

    #[test]
    fn every_rule_has_its_published_message() {
        let long = "x".repeat(10_001);
        for (row, message) in [
            ("{}", "name: Required"),
            (r#"{"price":-1}"#, "name: Required; price: Number must be greater than or equal to 0"),
            (r#"{"name":""}"#, "name: String must contain at least 1 character(s)"),
            (
                &format!(r#"{{"name":"{}"}}"#, "é".repeat(201)),
                "name: String must contain at most 200 character(s)",
            ),
            (r#"{"name":null}"#, "name: Expected string, received null"),
            (r#"{"name":7}"#, "name: Expected string, received number"),
            (r#"{"name":["x"]}"#, "name: Expected string, received array"),
            (r#"{"name":"\ud800"}"#, "name: String must be valid Unicode"),
            (
                r#"{"name":"x","type":"THING"}"#,
                "type: Invalid enum value. Expected 'PRODUCT' | 'SERVICE' | 'SUBSCRIPTION' | 'CONTRACT', received 'THING'",
            ),
            (
                r#"{"name":"x","type":1}"#,
                "type: Expected 'PRODUCT' | 'SERVICE' | 'SUBSCRIPTION' | 'CONTRACT', received number",
            ),
            (r#"{"sku":""}"#, "sku: String must contain at least 1 character(s)"),
            (
                &format!(r#"{{"sku":"{}"}}"#, "x".repeat(101)),
                "sku: String must contain at most 100 character(s)",
            ),
            (
                &format!(r#"{{"externalId":"{}"}}"#, "x".repeat(201)),
                "externalId: String must contain at most 200 character(s)",
            ),
            (
                r#"{"sku":"s","category":""}"#,
                "category: String must contain at least 1 character(s)",
            ),
            (r#"{"sku":"s","price":"19.99"}"#, "price: Expected number, received string"),
            (r#"{"sku":"s","price":null}"#, "price: Expected number, received null"),
            (r#"{"sku":"s","price":1e400}"#, "price: Number must have at most 28 digits"),
            (r#"{"sku":"s","cost":-0.01}"#, "cost: Number must be greater than or equal to 0"),
            (r#"{"sku":"s","currency":"usd"}"#, "currency: Invalid ISO 4217 currency code"),
            (
                &format!(r#"{{"sku":"s","unit":"{}"}}"#, "x".repeat(41)),
                "unit: String must contain at most 40 character(s)",
            ),
            (
                r#"{"sku":"s","billingPeriod":"WEEKLY"}"#,
                "billingPeriod: Invalid enum value. Expected 'MONTHLY' | 'YEARLY', received 'WEEKLY'",
            ),
            (r#"{"sku":"s","termMonths":0}"#, "termMonths: Number must be greater than 0"),
            (r#"{"sku":"s","termMonths":1.5}"#, "termMonths: Expected integer, received float"),
            (r#"{"sku":"s","stockQty":-1}"#, "stockQty: Number must be greater than or equal to 0"),
            (
                r#"{"sku":"s","reorderLevel":9007199254740992}"#,
                "reorderLevel: Number must be less than or equal to 9007199254740991",
            ),
            (
                &format!(r#"{{"sku":"s","features":"{long}"}}"#),
                "features: String must contain at most 10000 character(s)",
            ),
            (r#"{"sku":"s","active":"yes"}"#, "active: Expected boolean, received string"),
            (r#"{"sku":"s","price":1,"price":2}"#, "price: Duplicate key"),
            ("[]", "Expected object, received array"),
            ("\"x\"", "Expected object, received string"),
        ] {
            assert_eq!(parse(row).expect_err(row), message, "{row}");
        }
    }

    #[test]
    fn what_is_not_there_stays_and_what_is_null_goes() {
        let row = parse(
            r#"{"sku":"s","category":null,"stockQty":5.0,"termMonths":1e1,"id":"x","later":[1]}"#,
        )
        .expect("row");
        assert_eq!(row.category, FieldUpdate::Clear);
        assert_eq!(row.description, FieldUpdate::Keep);
        assert_eq!(row.stock_qty, FieldUpdate::Set(5));
        assert_eq!(row.term_months, FieldUpdate::Set(10));
        assert_eq!((row.name, row.id), (None, None));
    }
}
