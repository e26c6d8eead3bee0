//! Query strings. A parameter is declared once, with its type; the declaration parses, validates and
//! describes it. All spellings of an array are accepted, and every invalid parameter is reported.

use std::marker::PhantomData;

use percent_encoding::percent_decode;
#[cfg(feature = "openapi")]
use serde_json::{Value, json};

use super::ApiError;
#[cfg(feature = "openapi")]
use super::describe::Schemas;
use crate::{
    geography::{Country, Region},
    imports::{Kind, OrderBy},
    offerings::{CatalogId, Category, CustomerType, ProductType, PromoCode},
    text::FieldError,
};

/// The maximum number of values in one array: each may cost a key range of an index.
const MAX_VALUES: usize = 100;

/// The type of a parameter's value.
pub(super) trait QueryValue: Sized {
    /// Parses a value, or says what it must be.
    fn parse(text: &str) -> Result<Self, String>;

    #[cfg(feature = "openapi")]
    fn schema(schemas: &mut Schemas) -> Value;
}

/// Implements `QueryValue` for types that have a parser and a schema of their own.
macro_rules! query_values {
    ($($type:ty: $parse:expr;)+) => {
        $(impl QueryValue for $type {
            fn parse(text: &str) -> Result<Self, String> {
                $parse(text)
            }

            #[cfg(feature = "openapi")]
            fn schema(schemas: &mut Schemas) -> Value {
                json!(schemas.of::<$type>())
            }
        })+
    };
}

query_values! {
    CatalogId: Self::parse;
    Category: Self::parse;
    Country: Self::parse;
    Kind: str::parse;
    OrderBy: str::parse;
    CustomerType: str::parse;
    ProductType: str::parse;
    PromoCode: Self::parse;
    Region: str::parse;
}

impl QueryValue for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    #[cfg(feature = "openapi")]
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string" })
    }
}

impl QueryValue for bool {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false".to_owned()),
        }
    }

    #[cfg(feature = "openapi")]
    fn schema(_: &mut Schemas) -> Value {
        // Without `default`: pages that try APIs send it, and an upload takes no parameters.
        json!({ "type": "boolean" })
    }
}

/// The maximum number of items on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit(pub(super) u32);

impl Limit {
    const MAX: u32 = 1_000;
}

impl QueryValue for Limit {
    fn parse(text: &str) -> Result<Self, String> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let limit = text.parse().ok().filter(|limit| digits && (1..=Self::MAX).contains(limit));
        limit.map(Self).ok_or_else(|| format!("must be a whole number from 1 to {}", Self::MAX))
    }

    #[cfg(feature = "openapi")]
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "integer", "minimum": 1, "maximum": Self::MAX })
    }
}

/// A cursor that has not been decrypted yet.
pub(super) struct Cursor(pub(super) String);

pub(super) const CURSOR: Parameter<Cursor> =
    Parameter::new("cursor", "The `nextCursor` of the page before, with the same filters. Opaque.");

impl QueryValue for Cursor {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }

    #[cfg(feature = "openapi")]
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "minLength": 1, "maxLength": 512, "pattern": "^[A-Za-z0-9_-]+$" })
    }
}

/// A parameter that may occur at most once.
pub(super) struct Parameter<T> {
    pub(super) name: &'static str,
    #[cfg_attr(not(feature = "openapi"), expect(dead_code, reason = "only described"))]
    description: &'static str,
    #[cfg_attr(not(feature = "openapi"), expect(dead_code, reason = "only described"))]
    is_required: bool,
    values: PhantomData<fn() -> T>,
}

impl<T: QueryValue> Parameter<T> {
    pub(super) const fn new(name: &'static str, description: &'static str) -> Self {
        Self { name, description, is_required: false, values: PhantomData }
    }

    pub(super) const fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    #[cfg(feature = "openapi")]
    pub(super) fn describe(&self, schemas: &mut Schemas) -> Value {
        json!({
            "name": self.name, "in": "query", "required": self.is_required,
            "schema": T::schema(schemas), "description": self.description,
        })
    }
}

/// A parameter with several values: repeated (`types=A&types=B`), bracketed (`types[]=A`, `types[0]=A`) or
/// separated by commas (`types=A,B`), in any combination.
pub(super) struct ArrayParameter<T>(Parameter<T>);

impl<T: QueryValue> ArrayParameter<T> {
    pub(super) const fn new(name: &'static str, description: &'static str) -> Self {
        Self(Parameter::new(name, description))
    }

    #[cfg(feature = "openapi")]
    pub(super) fn describe(&self, schemas: &mut Schemas) -> Value {
        let Parameter { name, description, .. } = self.0;
        json!({
            "name": name, "in": "query", "required": false, "style": "form", "explode": true,
            "schema": {
                "type": "array", "items": T::schema(schemas), "minItems": 1, "maxItems": MAX_VALUES,
            },
            "description": format!(
                "{description} Repeated (`{name}=A&{name}=B`), bracketed (`{name}[]=A`) or with commas (`{name}=A,B`)."
            ),
        })
    }
}

/// The parameters of a query string, and the errors found so far.
pub(super) struct Params {
    pairs: Vec<(String, Option<String>)>,
    errors: Vec<FieldError>,
}

impl Params {
    /// Parses a raw query string (`application/x-www-form-urlencoded`, WHATWG URL section 5.1). A value that
    /// is not UTF-8 is kept as unreadable; it is reported when that parameter is read.
    pub(super) fn parse(raw: &str) -> Self {
        let decode = |part: &str| {
            let spaced = part.replace('+', " ");
            percent_decode(spaced.as_bytes()).decode_utf8().ok().map(String::from)
        };
        let pairs = raw
            .split('&')
            .filter(|pair| !pair.is_empty())
            .filter_map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decode(name)?, decode(value)))
            })
            .collect();
        Self { pairs, errors: Vec::new() }
    }

    pub(super) fn add_error(&mut self, field: &str, message: impl Into<String>) {
        self.errors.push(FieldError::new(field, message));
    }

    /// The value of a parameter that may occur at most once.
    pub(super) fn single<T: QueryValue>(&mut self, parameter: &Parameter<T>) -> Option<T> {
        let name = parameter.name;
        let mut values =
            self.pairs.iter().filter(|(given, _)| given == name).map(|(_, value)| value);
        let parsed = match (values.next(), values.next()) {
            (None, _) => return None,
            (Some(_), Some(_)) => Err("must be given once".to_owned()),
            (Some(None), None) => Err("must be UTF-8".to_owned()),
            (Some(Some(value)), None) => T::parse(value),
        };
        parsed.map_err(|message| self.add_error(name, message)).ok()
    }

    /// The values of an array. One error lists all invalid values, or says that there are more than
    /// [`MAX_VALUES`].
    pub(super) fn list<T: QueryValue, C: FromIterator<T>>(
        &mut self,
        ArrayParameter(parameter): &ArrayParameter<T>,
    ) -> C {
        let name = parameter.name;
        let texts: Vec<Option<&str>> = self
            .pairs
            .iter()
            .filter(|(given, _)| array_name(given) == name)
            .flat_map(|(_, value)| match value {
                Some(value) => value.split(',').map(Some).collect::<Vec<_>>(),
                None => vec![None],
            })
            .collect();
        let mut failure = None;
        let values: Vec<T> = if texts.len() > MAX_VALUES {
            failure = Some(format!("must have at most {MAX_VALUES} values"));
            Vec::new()
        } else {
            texts
                .into_iter()
                .filter_map(|value| {
                    let parsed = value.ok_or_else(|| "must be UTF-8".to_owned()).and_then(T::parse);
                    parsed.map_err(|message| failure.get_or_insert(message).clone()).ok()
                })
                .collect()
        };
        if let Some(message) = failure {
            self.add_error(name, message);
        }
        values.into_iter().collect()
    }

    /// Ends the parsing.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] with all errors found.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::Invalid(self.errors)) }
    }
}

/// `types`, `types[]` and `types[3]` all name the array `types`.
fn array_name(given: &str) -> &str {
    match given.strip_suffix(']').and_then(|open| open.rsplit_once('[')) {
        Some((name, index)) if index.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NotEmpty(String);

    impl QueryValue for NotEmpty {
        fn parse(text: &str) -> Result<Self, String> {
            match text {
                "" => Err("must not be empty".to_owned()),
                text => Ok(Self(text.to_owned())),
            }
        }

        #[cfg(feature = "openapi")]
        fn schema(_: &mut Schemas) -> Value {
            json!({ "type": "string", "minLength": 1 })
        }
    }

    fn texts(raw: &str) -> Result<Vec<String>, ApiError> {
        let mut params = Params::parse(raw);
        let values: Vec<NotEmpty> = params.list(&ArrayParameter::new("a", ""));
        params.finish().map(|()| values.into_iter().map(|NotEmpty(text)| text).collect())
    }

    #[test]
    fn all_spellings_of_an_array_are_the_same_array() {
        for raw in [
            "a=1&a=2&a=3",
            "a[]=1&a[]=2&a[]=3",
            "a%5B%5D=1&a%5b0%5d=2&a[1]=3",
            "a=1,2,3",
            "a=1%2C2&a[]=3",
            "&b=x&a=1&&a=2,3&",
        ] {
            assert_eq!(texts(raw).expect(raw), ["1", "2", "3"], "{raw}");
        }
        assert!(texts("").expect("none").is_empty());
        assert_eq!(texts("a=x+y%20z%2B").expect("decoded"), ["x y z+"]);
    }

    #[test]
    fn empty_and_undecodable_elements_are_complained_about() {
        for raw in ["a", "a=", "a=1,,2", "a=1,", "a=%FF", "a[]="] {
            assert!(texts(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn an_array_has_at_most_a_hundred_values_however_it_is_spelled() {
        let repeated = |count: usize| vec!["a=1"; count].join("&");
        let commas = |count: usize| format!("a={}", vec!["1"; count].join(","));
        let mixed = |count: usize| format!("a[]=1&{}&b=1,1&{}", repeated(50), commas(count - 51));
        for spelled in [&repeated as &dyn Fn(usize) -> String, &commas, &mixed] {
            assert_eq!(texts(&spelled(MAX_VALUES)).expect("as many as may be").len(), MAX_VALUES);
            let Err(ApiError::Invalid(errors)) = texts(&spelled(MAX_VALUES + 1)) else {
                panic!("no complaint")
            };
            assert_eq!(errors, [FieldError::new("a", "must have at most 100 values")]);
        }
        // Only the excess is reported, even if values are invalid, too.
        let Err(ApiError::Invalid(errors)) = texts(&format!("a={}", ",".repeat(9_000))) else {
            panic!("no complaint")
        };
        assert_eq!(errors, [FieldError::new("a", "must have at most 100 values")]);
    }

    #[test]
    fn a_single_value_given_twice_is_complained_about() {
        let mut params = Params::parse("limit=1&limit=1");
        assert_eq!(params.single(&Parameter::<Limit>::new("limit", "")), None);
        let Err(ApiError::Invalid(errors)) = params.finish() else { panic!("no complaint") };
        assert_eq!(errors, [FieldError::new("limit", "must be given once")]);
    }

    #[test]
    fn whole_numbers_are_plain_digits_within_bounds() {
        assert_eq!(Limit::parse("1000"), Ok(Limit(1_000)));
        for text in ["", "0", "1001", "-1", "+1", " 1", "1.0", "1e2", "٣", "99999999999999999999"]
        {
            assert!(Limit::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_with_anything_but_a_number_in_brackets_is_another_one() {
        for raw in ["a[x]=1", "a[1x]=1", "a[0=1", "a]=1", "b[a]=1", "A=1"] {
            assert!(texts(raw).expect(raw).is_empty(), "{raw}");
        }
        assert_eq!(texts("a[10]=1").expect("an array"), ["1"]);
    }

    #[test]
    fn a_single_value_is_parsed_by_its_type() {
        fn single<T: QueryValue>(raw: &str) -> Result<Option<T>, String> {
            let mut params = Params::parse(raw);
            let value = params.single(&Parameter::new("a", ""));
            match params.finish() {
                Ok(()) => Ok(value),
                Err(ApiError::Invalid(errors)) => Err(errors[0].to_string()),
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(single::<String>("b=1"), Ok(None));
        assert_eq!(single::<String>("b=1&a=x%20y"), Ok(Some("x y".to_owned())));
        assert_eq!(single::<String>("a"), Ok(Some(String::new())));
        assert_eq!(single::<String>("a=%FF"), Err("a: must be UTF-8".to_owned()));
        assert_eq!((single("a=true"), single("a=false")), (Ok(Some(true)), Ok(Some(false))));
        assert_eq!(single::<bool>("a=1"), Err("a: must be true or false".to_owned()));
    }

    #[test]
    fn all_parameters_that_are_wrong_are_told() {
        let mut params = Params::parse("a=1,,2,&b=x");
        let _: Vec<NotEmpty> = params.list(&ArrayParameter::new("a", ""));
        assert!(params.single::<Limit>(&Parameter::new("b", "")).is_none());
        params.add_error("c", "is missing");
        let Err(ApiError::Invalid(errors)) = params.finish() else { panic!("no complaint") };
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let limit = "b: must be a whole number from 1 to 1000";
        assert_eq!(texts, ["a: must not be empty", limit, "c: is missing"]);
    }
}
