//! A row of an upsert: parsing, and validation with the messages of the published API.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::{Billing, Category, ExternalId, ProductId, ProductType, Sku};
use crate::{
    json::{Members, type_name},
    money::{Amount, AmountError, Currency},
    text::FieldError,
};

/// A row's change to a nullable field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// The row does not have the field: it keeps its value.
    #[default]
    Keep,
    /// An explicit null: the field is cleared.
    Clear,
    /// A new value.
    Set(T),
}

impl<T: Clone> Change<T> {
    /// Applies the change to a field.
    pub fn apply(&self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *field = None,
            Self::Set(value) => *field = Some(value.clone()),
        }
    }
}

impl<T> Change<T> {
    /// The same change with a converted value.
    pub fn map<U>(&self, with: impl FnOnce(&T) -> U) -> Change<U> {
        match self {
            Self::Keep => Change::Keep,
            Self::Clear => Change::Clear,
            Self::Set(value) => Change::Set(with(value)),
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

/// A validated row. `None` and [`Change::Keep`] are fields that it does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProductRow {
    /// Required to create a product.
    pub name: Option<String>,
    /// The default is PRODUCT.
    pub product_type: Option<ProductType>,
    /// The first key.
    pub sku: Change<Sku>,
    /// The second key.
    pub external_id: Change<ExternalId>,
    /// The category.
    pub category: Change<Category>,
    /// The default is 0.
    pub price: Option<Amount>,
    /// By default there is none.
    pub cost: Change<Amount>,
    /// The default is USD.
    pub currency: Option<Currency>,
    /// The unit that is counted.
    pub unit: Change<String>,
    /// How often the price is due.
    pub billing_period: Change<Billing>,
    /// The minimum term in months.
    pub term_months: Change<u64>,
    /// The quantity in stock.
    pub stock_qty: Change<u64>,
    /// The quantity at which to order again.
    pub reorder_level: Change<u64>,
    /// A text for customers.
    pub description: Change<String>,
    /// A second text for customers.
    pub features: Change<String>,
    /// The default is true.
    pub active: Option<bool>,
    /// The id of a product that an import creates; the API never sets it.
    pub id: Option<ProductId>,
    /// The creation time of a product that an import creates; the API never sets it.
    pub created_at: Option<Timestamp>,
}

/// How a row finds its product.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Match {
    /// By its first key.
    Sku(Sku),
    /// By its second key.
    ExternalId(ExternalId),
    /// By its id: only for products that an import brings back, and for new ones.
    Id(ProductId),
}

/// The fields that a row may have; all others are ignored.
pub const FIELDS: [&str; 16] = [
    "name",
    "type",
    "sku",
    "externalId",
    "category",
    "price",
    "cost",
    "currency",
    "unit",
    "billingPeriod",
    "termMonths",
    "stockQty",
    "reorderLevel",
    "description",
    "features",
    "active",
];

/// The largest integer that JavaScript's numbers represent exactly.
const MAX_SAFE_INTEGER: u64 = 9_007_199_254_740_991;

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
        let members = Members::of(row.get(), |name| FIELDS.contains(&name))
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
        let mut fields = Fields {
            values: members.0.iter().map(|(name, value)| (name.as_str(), *value)).collect(),
            errors: Vec::new(),
        };
        let row = Self {
            name: fields.required("name", |value| text(value, 1, 200)),
            product_type: fields.required("type", one_of(ProductType::parse, ProductType::ALL)),
            sku: fields.nullable("sku", |value| key(value, Sku::MAX_CHARACTERS, Sku::parse)),
            external_id: fields.nullable("externalId", |value| {
                key(value, ExternalId::MAX_CHARACTERS, ExternalId::parse)
            }),
            category: fields.nullable("category", |value| {
                key(value, Category::MAX_CHARACTERS, Category::parse)
            }),
            price: fields.required("price", amount),
            cost: fields.nullable("cost", amount),
            currency: fields.required("currency", currency),
            unit: fields.nullable("unit", |value| text(value, 0, 40)),
            billing_period: fields.nullable("billingPeriod", one_of(Billing::parse, Billing::ALL)),
            term_months: fields.nullable("termMonths", |value| integer(value, 1)),
            stock_qty: fields.nullable("stockQty", |value| integer(value, 0)),
            reorder_level: fields.nullable("reorderLevel", |value| integer(value, 0)),
            description: fields.nullable("description", |value| text(value, 0, 10_000)),
            features: fields.nullable("features", |value| text(value, 0, 10_000)),
            active: fields.required("active", boolean),
            ..Self::default()
        };
        // A row without keys always creates a product.
        let creates = row.sku.value().is_none() && row.external_id.value().is_none();
        let keys_wrong =
            fields.errors.iter().any(|error| matches!(error.field.as_str(), "sku" | "externalId"));
        if creates && !keys_wrong && !fields.values.contains_key("name") {
            fields.errors.insert(0, FieldError::new("name", "Required"));
        }
        if !fields.errors.is_empty() {
            return Err(fields.errors);
        }
        Ok(row)
    }

    /// The published names of the fields that it has.
    #[must_use]
    pub fn fields(&self) -> Vec<&'static str> {
        let has = [
            self.name.is_some(),
            self.product_type.is_some(),
            self.sku != Change::Keep,
            self.external_id != Change::Keep,
            self.category != Change::Keep,
            self.price.is_some(),
            self.cost != Change::Keep,
            self.currency.is_some(),
            self.unit != Change::Keep,
            self.billing_period != Change::Keep,
            self.term_months != Change::Keep,
            self.stock_qty != Change::Keep,
            self.reorder_level != Change::Keep,
            self.description != Change::Keep,
            self.features != Change::Keep,
            self.active.is_some(),
        ];
        FIELDS.into_iter().zip(has).filter(|(_, has)| *has).map(|(name, _)| name).collect()
    }

    /// Removes the fields for whose published names `keep` is false.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        fn option<T>(field: &mut Option<T>, keep: bool) {
            if !keep {
                *field = None;
            }
        }
        fn change<T>(field: &mut Change<T>, keep: bool) {
            if !keep {
                *field = Change::Keep;
            }
        }
        option(&mut self.name, keep("name"));
        option(&mut self.product_type, keep("type"));
        change(&mut self.sku, keep("sku"));
        change(&mut self.external_id, keep("externalId"));
        change(&mut self.category, keep("category"));
        option(&mut self.price, keep("price"));
        change(&mut self.cost, keep("cost"));
        option(&mut self.currency, keep("currency"));
        change(&mut self.unit, keep("unit"));
        change(&mut self.billing_period, keep("billingPeriod"));
        change(&mut self.term_months, keep("termMonths"));
        change(&mut self.stock_qty, keep("stockQty"));
        change(&mut self.reorder_level, keep("reorderLevel"));
        change(&mut self.description, keep("description"));
        change(&mut self.features, keep("features"));
        option(&mut self.active, keep("active"));
    }

    /// How it finds its product: by sku, or else by external id; `None` if it always creates one.
    #[must_use]
    pub fn matches(&self) -> Option<Match> {
        let sku = self.sku.value().cloned().map(Match::Sku);
        let external_id = || self.external_id.value().cloned().map(Match::ExternalId);
        sku.or_else(external_id).or(self.id.map(Match::Id))
    }
}

struct Fields<'a> {
    values: BTreeMap<&'a str, &'a RawValue>,
    errors: Vec<FieldError>,
}

impl Fields<'_> {
    /// Parses a field that must not be null.
    fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&RawValue) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.values.get(name)?;
        read(value).map_err(|message| self.errors.push(FieldError::new(name, message))).ok()
    }

    /// Parses a field that null clears.
    fn nullable<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&RawValue) -> Result<T, String>,
    ) -> Change<T> {
        match self.values.get(name) {
            None => Change::Keep,
            Some(value) if type_name(value) == "null" => Change::Clear,
            Some(_) => self.required(name, read).map_or(Change::Keep, Change::Set),
        }
    }
}

fn expected(kind: &str, value: &RawValue) -> String {
    format!("Expected {kind}, received {}", type_name(value))
}

fn string(value: &RawValue) -> Result<String, String> {
    if type_name(value) != "string" {
        return Err(expected("string", value));
    }
    // A lone surrogate is valid JSON, but not valid text.
    serde_json::from_str(value.get()).map_err(|_| "String must be valid Unicode".to_owned())
}

fn text(value: &RawValue, min: usize, max: usize) -> Result<String, String> {
    let text = string(value)?;
    let characters = text.chars().count();
    if characters < min {
        return Err(format!("String must contain at least {min} character(s)"));
    }
    if characters > max {
        return Err(format!("String must contain at most {max} character(s)"));
    }
    Ok(text)
}

/// A text that is part of a DynamoDB key, and so must not be empty.
fn key<T>(
    value: &RawValue,
    max: usize,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, String> {
    let text = text(value, 1, max)?;
    parse(&text).ok_or_else(|| "String is not allowed".to_owned())
}

fn one_of<T: Copy + std::fmt::Display>(
    parse: fn(&str) -> Option<T>,
    all: &'static [T],
) -> impl FnOnce(&RawValue) -> Result<T, String> {
    move |value| {
        let options = || {
            let options: Vec<String> = all.iter().map(|option| format!("'{option}'")).collect();
            options.join(" | ")
        };
        if type_name(value) != "string" {
            return Err(format!("Expected {}, received {}", options(), type_name(value)));
        }
        let text = string(value)?;
        let shown: String = text.chars().take(40).collect();
        parse(&text).ok_or_else(|| {
            format!("Invalid enum value. Expected {}, received '{shown}'", options())
        })
    }
}

fn number(value: &RawValue) -> Result<Amount, String> {
    if type_name(value) != "number" {
        return Err(expected("number", value));
    }
    Amount::parse(value.get()).map_err(|error| match error {
        AmountError::NotANumber => "Invalid number".to_owned(),
        AmountError::TooPrecise => "Number must have at most 28 digits".to_owned(),
    })
}

fn amount(value: &RawValue) -> Result<Amount, String> {
    let amount = number(value)?;
    if amount.is_negative() {
        return Err("Number must be greater than or equal to 0".to_owned());
    }
    Ok(amount)
}

fn integer(value: &RawValue, min: u64) -> Result<u64, String> {
    let least = match min {
        0 => "Number must be greater than or equal to 0",
        _ => "Number must be greater than 0",
    };
    let number = number(value)?;
    if number.is_negative() {
        return Err(least.to_owned());
    }
    let whole = number.whole().ok_or("Expected integer, received float")?;
    match whole {
        whole if whole < u128::from(min) => Err(least.to_owned()),
        whole => u64::try_from(whole)
            .ok()
            .filter(|whole| *whole <= MAX_SAFE_INTEGER)
            .ok_or_else(|| format!("Number must be less than or equal to {MAX_SAFE_INTEGER}")),
    }
}

fn currency(value: &RawValue) -> Result<Currency, String> {
    Currency::parse(&string(value)?).map_err(|_| "Invalid ISO 4217 currency code".to_owned())
}

fn boolean(value: &RawValue) -> Result<bool, String> {
    match value.get() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(expected("boolean", value)),
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
        assert_eq!(row.category, Change::Clear);
        assert_eq!(row.description, Change::Keep);
        assert_eq!(row.stock_qty, Change::Set(5));
        assert_eq!(row.term_months, Change::Set(10));
        assert_eq!((row.name, row.id), (None, None));
    }
}
