//! Query strings: parses all spellings of an array, and collects an error for each invalid parameter.

use percent_encoding::percent_decode;

use super::ApiError;
use crate::text::FieldError;

/// The maximum number of values in one array: each may cost a key range of an index.
pub(super) const MAX_VALUES: usize = 100;

/// The parameters of a query string, and the errors found so far.
pub(super) struct Params {
    pairs: Vec<(String, Option<String>)>,
    errors: Vec<FieldError>,
}

impl Params {
    /// Parses a raw query string (`application/x-www-form-urlencoded`, WHATWG URL section 5.1). A value that
    /// is not UTF-8 is kept as unreadable; it is reported when that parameter is read.
    #[must_use]
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

    /// Adds an error of a field.
    pub(super) fn complain(&mut self, field: &str, message: impl Into<String>) {
        self.errors.push(FieldError::new(field, message));
    }

    /// The value of a parameter that may occur at most once.
    pub(super) fn single<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let mut values =
            self.pairs.iter().filter(|(given, _)| given == name).map(|(_, value)| value);
        let parsed = match (values.next(), values.next()) {
            (None, _) => return None,
            (Some(_), Some(_)) => Err("must be given once".to_owned()),
            (Some(None), None) => Err("must be UTF-8".to_owned()),
            (Some(Some(value)), None) => parse(value),
        };
        parsed.map_err(|message| self.complain(name, message)).ok()
    }

    /// The values of an array: repeated (`types=A&types=B`), bracketed (`types[]=A`, `types[0]=A`) or
    /// separated by commas (`types=A,B`), in any combination. One error lists all invalid values, or says
    /// that there are more than [`MAX_VALUES`].
    pub(super) fn list<T, C: FromIterator<T>>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> C {
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
                    let parsed = value.ok_or_else(|| "must be UTF-8".to_owned()).and_then(&parse);
                    parsed.map_err(|message| failure.get_or_insert(message).clone()).ok()
                })
                .collect()
        };
        if let Some(message) = failure {
            self.complain(name, message);
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

/// Parses `true` or `false`.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// Parses an integer within bounds, in plain digits.
pub(super) fn whole_number(text: &str, min: u32, max: u32) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|number| digits && (min..=max).contains(number))
        .ok_or_else(|| format!("must be a whole number from {min} to {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(raw: &str) -> Result<Vec<String>, ApiError> {
        let mut params = Params::parse(raw);
        let values: Vec<String> = params.list("a", |value| match value {
            "" => Err("must not be empty".to_owned()),
            value => Ok(value.to_owned()),
        });
        params.finish().map(|()| values)
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
        assert_eq!(params.single("limit", |text| whole_number(text, 1, 9)), None);
        let Err(ApiError::Invalid(errors)) = params.finish() else { panic!("no complaint") };
        assert_eq!(errors, [FieldError::new("limit", "must be given once")]);
    }

    #[test]
    fn whole_numbers_are_plain_digits_within_bounds() {
        assert_eq!(whole_number("1000", 1, 1000), Ok(1000));
        for text in ["", "0", "1001", "-1", "+1", " 1", "1.0", "1e2", "٣", "99999999999999999999"]
        {
            assert!(whole_number(text, 1, 1000).is_err(), "{text}");
        }
    }
}
