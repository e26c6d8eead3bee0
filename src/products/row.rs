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
    use serde_json::json;

    use super::*;
    use crate::products::Scalar;

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

    #[test]
    fn a_value_may_be_as_long_or_as_small_as_its_rule_says() {
        for (field, value) in [
            ("name", json!("é".repeat(200))),
            ("sku", json!("é".repeat(100))),
            ("externalId", json!("x".repeat(200))),
            ("category", json!("x".repeat(100))),
            ("unit", json!("x".repeat(40))),
            ("unit", json!("")),
            ("description", json!("x".repeat(10_000))),
            ("features", json!("")),
            ("price", json!(0)),
            ("cost", json!(0)),
            ("termMonths", json!(1)),
            ("stockQty", json!(0)),
            ("reorderLevel", json!(9_007_199_254_740_991_u64)),
        ] {
            let mut row = json!({"name": "n", "sku": "s"});
            row[field] = value;
            assert_eq!(parse(&row.to_string()).err(), None, "{row}");
        }
        for (row, message) in [
            (r#"{"sku":"s","termMonths":-1}"#, "termMonths: Number must be greater than 0"),
            (r#"{"sku":"s","termMonths":"1"}"#, "termMonths: Expected number, received string"),
            (
                r#"{"sku":"s","stockQty":-0.5}"#,
                "stockQty: Number must be greater than or equal to 0",
            ),
            (r#"{"sku":"s","active":null}"#, "active: Expected boolean, received null"),
            (r#"{"sku":null,"externalId":null}"#, "name: Required"),
            // A key that is wrong may have been meant to find a product.
            (r#"{"sku":7}"#, "sku: Expected string, received number"),
            (
                r#"{"active":1,"externalId":7,"price":-1}"#,
                "externalId: Expected string, received number; \
                 price: Number must be greater than or equal to 0; \
                 active: Expected boolean, received number",
            ),
        ] {
            assert_eq!(parse(row).expect_err(row), message, "{row}");
        }
    }

    #[test]
    fn a_row_finds_its_product_by_its_sku_or_else_its_external_id_or_else_its_id() {
        let id = ProductId::from_bytes([7; 16]);
        let key = |row: &str| ProductRow { id: Some(id), ..parse(row).expect(row) }.key();
        let sku = ProductKey::Sku(Sku::parse("s").expect("a sku"));
        let external_id = ProductKey::ExternalId(ExternalId::parse("e").expect("an id"));
        assert_eq!(key(r#"{"sku":"s","externalId":"e"}"#), Some(sku));
        assert_eq!(key(r#"{"sku":null,"externalId":"e"}"#), Some(external_id));
        assert_eq!(key(r#"{"name":"n"}"#), Some(ProductKey::Id(id)));
        assert_eq!(parse(r#"{"name":"n"}"#).expect("row").key(), None);
    }

    #[test]
    fn a_row_has_the_fields_that_it_sets_or_clears_and_keeps_those_that_are_wanted() {
        let text = r#"{"active":false,"category":null,"sku":"s","later":1,"stockQty":5}"#;
        let mut row = parse(text).expect("row");
        assert_eq!(row.fields(), ["sku", "category", "stockQty", "active"]);
        row.retain(|name| name != "sku" && name != "stockQty");
        assert_eq!(
            row,
            parse(r#"{"sku":"s","active":false,"category":null}"#)
                .map(|kept| { ProductRow { sku: FieldUpdate::Keep, ..kept } })
                .expect("row")
        );
        let changed: Vec<_> =
            row.changes().filter(|(_, change)| *change != FieldUpdate::Keep).collect();
        let expected = [
            ("category", FieldUpdate::Clear),
            ("active", FieldUpdate::Set(Scalar::Boolean(false))),
        ];
        assert_eq!(changed, expected);
    }

    #[test]
    fn an_update_changes_a_field_that_has_another_value() {
        let changes =
            |update: FieldUpdate<u8>| [None, Some(1), Some(2)].map(|f| update.changes(&f));
        assert_eq!(changes(FieldUpdate::Keep), [false, false, false]);
        assert_eq!(changes(FieldUpdate::Clear), [false, true, true]);
        assert_eq!(changes(FieldUpdate::Set(1)), [true, false, true]);
        let twice = |update: FieldUpdate<u8>| update.map(|value| value * 2);
        assert_eq!(twice(FieldUpdate::Keep), FieldUpdate::Keep);
        assert_eq!(twice(FieldUpdate::Clear), FieldUpdate::Clear);
        assert_eq!(twice(FieldUpdate::Set(4)), FieldUpdate::Set(8));
        assert_eq!(FieldUpdate::Set(4).value(), Some(&4));
        assert_eq!(
            (FieldUpdate::<u8>::Keep.value(), FieldUpdate::<u8>::Clear.value()),
            (None, None)
        );
    }
}
