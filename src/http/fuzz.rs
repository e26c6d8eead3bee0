//! Any query string is parsed, or refused with errors that name the parameter.

use super::{
    ApiError,
    params::{ArrayParameter, CURSOR, Limit, Parameter, Params, QueryValue},
};
use crate::{
    fuzz::fuzz,
    geography::{Country, Region},
    imports::{Kind, OrderBy},
    offerings::{CatalogId, Category, CustomerType, ProductType, PromoCode},
};

/// The parameters that are read, each as every type; also the words that the fuzzer inserts.
const NAMES: [&str; 7] =
    ["types", "categories", "countries", "regions", "customerType", "limit", "cursor"];

/// Reads one parameter, as a single value and as an array.
fn read<T: QueryValue>(query: &str, name: &'static str) {
    let mut params = Params::parse(query);
    let value: Option<T> = params.single(&Parameter::new(name, ""));
    let values: Vec<T> = params.list(&ArrayParameter::new(name, ""));
    assert!(values.len() <= 100);
    match params.finish() {
        // A parameter that has a single value is an array of at least that one.
        Ok(()) => assert!(value.is_none() || !values.is_empty()),
        Err(ApiError::Invalid(errors)) => {
            assert!((1..=2).contains(&errors.len()));
            for error in errors {
                assert_eq!(error.field, name);
                assert!((1..300).contains(&error.message.len()), "{}", error.message);
            }
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn any_query_string_is_parsed_or_refused_by_name() {
    fuzz("queries", Vec::new(), &NAMES, |input| {
        let query = String::from_utf8_lossy(input);
        for name in NAMES {
            read::<ProductType>(&query, name);
            read::<Category>(&query, name);
            read::<Country>(&query, name);
            read::<Region>(&query, name);
            read::<CustomerType>(&query, name);
            read::<CatalogId>(&query, name);
            read::<PromoCode>(&query, name);
            read::<Kind>(&query, name);
            read::<OrderBy>(&query, name);
            read::<Limit>(&query, name);
            read::<bool>(&query, name);
        }
        let _ = Params::parse(&query).single(&CURSOR);
    });
}
