//! What a field of a product may hold: its kind, its bounds, and the published messages for what is wrong.

use serde_json::value::RawValue;

use super::FieldUpdate;
use crate::{
    json::type_name,
    money::{Amount, AmountError, Currency},
};

/// A field of a product as data. [`FIELDS`](super::FIELDS) lists them all.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The published name, which is also the name of its attribute and of its CSV column.
    pub name: &'static str,
    pub rule: Rule,
    /// Whether null clears it.
    pub is_nullable: bool,
    /// What a new product gets if its row does not have the field.
    pub default: Option<Scalar<'static>>,
}

/// What a field may hold.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// A text, with its minimum and maximum number of characters.
    Text(usize, usize),
    /// A text that is part of a DynamoDB key: at least one character, at most this many.
    Key(usize),
    /// One of these texts.
    OneOf(fn() -> Vec<&'static str>),
    Currency,
    /// A decimal number of at least zero.
    Amount,
    /// A whole number of at least this, and at most [`MAX_SAFE_INTEGER`].
    Whole(u64),
    Boolean,
}

/// The value of a field, whatever its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar<'a> {
    Text(&'a str),
    Number(Amount),
    Boolean(bool),
}

impl<'a> Scalar<'a> {
    /// The text, if it is one.
    #[must_use]
    pub fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(_) | Self::Boolean(_) => None,
        }
    }
}

/// The type of a field.
pub(super) trait FieldValue: Clone {
    /// Converts a value; `None` if the type does not allow it.
    fn from_scalar(value: Scalar<'_>) -> Option<Self>;

    fn scalar(&self) -> Scalar<'_>;
}

/// Defines the types whose values are texts.
macro_rules! text_values {
    ($($type:ty: $parse:expr, $show:expr;)+) => {
        $(impl FieldValue for $type {
            fn from_scalar(value: Scalar<'_>) -> Option<Self> {
                value.text().and_then($parse)
            }

            fn scalar(&self) -> Scalar<'_> {
                Scalar::Text($show(self))
            }
        })+
    };
}

text_values! {
    String: |text| Some(text.to_owned()), String::as_str;
    super::Sku: Self::parse, Self::as_str;
    super::ExternalId: Self::parse, Self::as_str;
    super::Category: Self::parse, Self::as_str;
    super::ProductType: Self::parse, |value: &Self| value.as_str();
    super::Billing: Self::parse, |value: &Self| value.as_str();
    Currency: |code| Self::parse(code).ok(), |value: &Self| value.code();
}

impl FieldValue for Amount {
    fn from_scalar(value: Scalar<'_>) -> Option<Self> {
        if let Scalar::Number(number) = value { Some(number) } else { None }
    }

    fn scalar(&self) -> Scalar<'_> {
        Scalar::Number(*self)
    }
}

impl FieldValue for u64 {
    fn from_scalar(value: Scalar<'_>) -> Option<Self> {
        Amount::from_scalar(value)?.whole()?.try_into().ok()
    }

    fn scalar(&self) -> Scalar<'_> {
        Scalar::Number((*self).into())
    }
}

impl FieldValue for bool {
    fn from_scalar(value: Scalar<'_>) -> Option<Self> {
        if let Scalar::Boolean(value) = value { Some(value) } else { None }
    }

    fn scalar(&self) -> Scalar<'_> {
        Scalar::Boolean(*self)
    }
}

/// A field in a row, which may lack it: `Option` if null is not allowed, [`FieldUpdate`] if null clears the field.
pub(super) trait Slot: Sized {
    /// The type of the field in a product.
    type Held;

    /// Whether null clears the field.
    const IS_NULLABLE: bool;

    fn parse(value: &RawValue, rule: Rule) -> Result<Self, String>;
    fn change(&self) -> FieldUpdate<Scalar<'_>>;
    fn merge_into(&self, field: &mut Self::Held);

    /// Sets the field to what a new product has.
    fn reset(default: Option<Scalar<'_>>) -> Self;

    fn held(value: Option<Scalar<'_>>) -> Option<Self::Held>;
    fn scalar_of(held: &Self::Held) -> Option<Scalar<'_>>;
}

impl<T: FieldValue> Slot for Option<T> {
    type Held = T;

    const IS_NULLABLE: bool = false;

    fn parse(value: &RawValue, rule: Rule) -> Result<Self, String> {
        rule.parse(value).map(Some)
    }

    fn change(&self) -> FieldUpdate<Scalar<'_>> {
        self.as_ref().map_or(FieldUpdate::Keep, |value| FieldUpdate::Set(value.scalar()))
    }

    fn merge_into(&self, field: &mut T) {
        if let Some(value) = self {
            field.clone_from(value);
        }
    }

    fn reset(default: Option<Scalar<'_>>) -> Self {
        default.and_then(T::from_scalar)
    }

    fn held(value: Option<Scalar<'_>>) -> Option<T> {
        T::from_scalar(value?)
    }

    fn scalar_of(held: &T) -> Option<Scalar<'_>> {
        Some(held.scalar())
    }
}

impl<T: FieldValue> Slot for FieldUpdate<T> {
    type Held = Option<T>;

    const IS_NULLABLE: bool = true;

    fn parse(value: &RawValue, rule: Rule) -> Result<Self, String> {
        if type_name(value) == "null" { Ok(Self::Clear) } else { rule.parse(value).map(Self::Set) }
    }

    fn change(&self) -> FieldUpdate<Scalar<'_>> {
        self.map(T::scalar)
    }

    fn merge_into(&self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *field = None,
            Self::Set(value) => *field = Some(value.clone()),
        }
    }

    fn reset(_: Option<Scalar<'_>>) -> Self {
        Self::Clear
    }

    fn held(value: Option<Scalar<'_>>) -> Option<Option<T>> {
        match value {
            None => Some(None),
            Some(value) => T::from_scalar(value).map(Some),
        }
    }

    fn scalar_of(held: &Option<T>) -> Option<Scalar<'_>> {
        held.as_ref().map(T::scalar)
    }
}

/// The largest integer that JavaScript's numbers represent exactly.
const MAX_SAFE_INTEGER: u64 = 9_007_199_254_740_991;

const NEGATIVE: &str = "Number must be greater than or equal to 0";

impl Rule {
    /// Parses a value that is not null.
    fn parse<T: FieldValue>(self, value: &RawValue) -> Result<T, String> {
        let text;
        let (value, not_allowed): (Scalar<'_>, &dyn Fn() -> String) = match self {
            Self::Text(min, max) => {
                text = string_within(value, min, max)?;
                (Scalar::Text(&text), &|| "String is not allowed".to_owned())
            }
            Self::Key(max) => return Self::Text(1, max).parse(value),
            Self::OneOf(options) => {
                let options: Vec<String> =
                    options().into_iter().map(|option| format!("'{option}'")).collect();
                let options = options.join(" | ");
                if type_name(value) != "string" {
                    return Err(expected(&options, value));
                }
                text = string(value)?;
                let shown: String = text.chars().take(40).collect();
                let message = format!("Invalid enum value. Expected {options}, received '{shown}'");
                return T::from_scalar(Scalar::Text(&text)).ok_or(message);
            }
            Self::Currency => {
                text = string(value)?;
                (Scalar::Text(&text), &|| "Invalid ISO 4217 currency code".to_owned())
            }
            Self::Amount => (Scalar::Number(amount(value)?), &|| "Invalid number".to_owned()),
            Self::Whole(min) => {
                let number = Scalar::Number(whole_number(value, min)?.into());
                (number, &|| "Invalid number".to_owned())
            }
            Self::Boolean => match value.get() {
                "true" => (Scalar::Boolean(true), &String::new),
                "false" => (Scalar::Boolean(false), &String::new),
                _ => return Err(expected("boolean", value)),
            },
        };
        T::from_scalar(value).ok_or_else(not_allowed)
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

fn string_within(value: &RawValue, min: usize, max: usize) -> Result<String, String> {
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
    if amount.is_negative() { Err(NEGATIVE.to_owned()) } else { Ok(amount) }
}

fn whole_number(value: &RawValue, min: u64) -> Result<u64, String> {
    let too_small = if min == 0 { NEGATIVE } else { "Number must be greater than 0" };
    let number = number(value)?;
    if number.is_negative() {
        return Err(too_small.to_owned());
    }
    let whole = number.whole().ok_or("Expected integer, received float")?;
    if whole < u128::from(min) {
        return Err(too_small.to_owned());
    }
    u64::try_from(whole)
        .ok()
        .filter(|whole| *whole <= MAX_SAFE_INTEGER)
        .ok_or_else(|| format!("Number must be less than or equal to {MAX_SAFE_INTEGER}"))
}
