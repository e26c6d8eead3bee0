//! Strict JSON parsing: a duplicate key is reported as an error, because RFC 8259 section 4 calls the
//! behaviour of other parsers unpredictable. Also the limits of JSON in a reply.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members of a JSON object in their order. Values are not parsed, so numbers keep their digits.
#[derive(Debug)]
pub struct Members<'a>(pub Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Reads the members whose names are wanted. The others are skipped, so that a large member that nobody
    /// wants costs no memory.
    ///
    /// # Errors
    /// When the text is not a JSON object.
    pub fn of(json: &'a str, wanted: impl Fn(&str) -> bool) -> Result<Self, serde_json::Error> {
        struct Object<F>(F);
        impl<'de, F: Fn(&str) -> bool> Visitor<'de> for Object<F> {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if (self.0)(&name) {
                        members.push((name, map.next_value::<&'de RawValue>()?));
                    } else {
                        // As raw text, so that nesting depth does not matter.
                        map.next_value::<&'de RawValue>()?;
                    }
                }
                Ok(Members(members))
            }
        }
        let mut json = serde_json::Deserializer::from_str(json);
        let members = json.deserialize_map(Object(wanted))?;
        json.end().map(|()| members)
    }
}

/// The first elements of a JSON array, at most `most` of them; the others are skipped.
///
/// # Errors
/// When the value is not an array.
pub fn first_elements(array: &RawValue, most: usize) -> Result<Vec<&RawValue>, serde_json::Error> {
    struct First(usize);
    impl<'de> Visitor<'de> for First {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut elements = Vec::new();
            while let Some(element) = sequence.next_element::<&'de RawValue>()? {
                if elements.len() < self.0 {
                    elements.push(element);
                }
            }
            Ok(elements)
        }
    }
    serde_json::Deserializer::from_str(array.get()).deserialize_seq(First(most))
}

impl Members<'_> {
    /// The first name that occurs twice.
    #[must_use]
    pub fn duplicate(&self) -> Option<&str> {
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }
}

/// The maximum size of a page in bytes. It is counted as the JSON text is sent inside a Lambda reply (6 MB at
/// most), where every quote is escaped once more.
pub const PAGE_BYTES: usize = 5_500_000;

/// The length of a JSON text when it is a string within JSON.
#[must_use]
pub fn bytes_in_reply(json: &str) -> usize {
    // Line ends and tabs may stand unescaped between the tokens of JSON; other control characters may not.
    let is_escaped =
        |byte: &u8| u8::from(*byte == b'"') + u8::from(*byte == b'\\') + u8::from(*byte < b' ');
    // In sums of bytes, which the compiler turns into vector instructions.
    let escaped = json.as_bytes().chunks(255).map(|chunk| chunk.iter().map(is_escaped).sum::<u8>());
    json.len() + escaped.map(usize::from).sum::<usize>()
}

/// The type of a JSON value, as JavaScript calls it.
#[must_use]
pub fn type_name(value: &RawValue) -> &'static str {
    json_type(value.get().as_bytes().first().copied())
}

/// The type of a JSON value that begins with this byte, as JavaScript calls it.
#[must_use]
pub fn json_type(first: Option<u8>) -> &'static str {
    match first {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

/// Whether every string in a JSON text is Unicode: an escaped surrogate has its other half. Parsers differ on those that
/// have not (RFC 8259 section 8.2).
#[must_use]
pub fn is_unicode(json: &str) -> bool {
    let unit = |escape: &str| u16::from_str_radix(escape.strip_prefix('u')?.get(..4)?, 16).ok();
    let mut rest = json;
    while let Some((_, escape)) = rest.split_once('\\') {
        let length = match unit(escape) {
            // Of another escape, the character may be a backslash.
            None => 1,
            Some(0xdc00..=0xdfff) => return false,
            Some(0xd800..=0xdbff) => {
                let next = escape.get(5..).and_then(|next| unit(next.strip_prefix('\\')?));
                if !next.is_some_and(|next| (0xdc00..=0xdfff).contains(&next)) {
                    return false;
                }
                11
            }
            Some(_) => 5,
        };
        rest = escape.get(length..).unwrap_or_default();
    }
    true
}

/// Reads a map and rejects duplicate keys.
///
/// # Errors
/// When a key or value is invalid, or a key occurs twice.
pub fn unique_map<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord + fmt::Display,
    V: Deserialize<'de>,
{
    struct Unique<K, V>(PhantomData<(K, V)>);
    impl<'de, K: Deserialize<'de> + Ord + fmt::Display, V: Deserialize<'de>> Visitor<'de>
        for Unique<K, V>
    {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some(key) = access.next_key::<K>()? {
                if map.contains_key(&key) {
                    return Err(A::Error::custom(format!("duplicate key {key}")));
                }
                map.insert(key, access.next_value()?);
            }
            Ok(map)
        }
    }
    deserializer.deserialize_map(Unique(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_their_digits_and_any_depth() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = format!(r#"{{"b": 1.10, "c": {deep}, "a": {deep}, "b": "\u0041"}}"#);
        let members = Members::of(&text, |name| name != "c").expect("an object");
        let shown: Vec<_> =
            members.0.iter().map(|(name, value)| (&**name, type_name(value))).collect();
        assert_eq!(shown, [("b", "number"), ("a", "array"), ("b", "string")]);
        assert_eq!(members.0[0].1.get(), "1.10");
        assert_eq!(members.duplicate(), Some("b"));
        assert_eq!(
            Members::of(r#"{"a":1,"b":1,"ab":1}"#, |_| true).expect("unique").duplicate(),
            None
        );
        let error = |text| Members::of(text, |_| true).expect_err(text).to_string();
        let sequence = "invalid type: sequence, expected an object at line 1 column 0";
        assert_eq!(error("[]"), sequence);
        assert_eq!(error("{} {}"), "trailing characters at line 1 column 4");
    }

    #[test]
    fn of_an_array_the_first_elements_are_taken_and_nothing_else_is_one() {
        let value = |text| serde_json::from_str::<&RawValue>(text).expect("JSON");
        for (most, taken) in [(0, ""), (2, "1 [2]"), (3, "1 [2] 3"), (4, "1 [2] 3")] {
            let elements = first_elements(value("[1,[2],3]"), most).expect("an array");
            let elements: Vec<&str> = elements.into_iter().map(RawValue::get).collect();
            assert_eq!(elements.join(" "), taken);
        }
        let error = first_elements(value("{}"), 2).expect_err("an object").to_string();
        assert_eq!(error, "invalid type: map, expected an array at line 1 column 0");
    }

    #[test]
    fn a_value_has_the_type_that_its_first_character_says() {
        for (text, name) in [
            ("{}", "object"),
            ("[]", "array"),
            ("\"\"", "string"),
            ("true", "boolean"),
            ("false", "boolean"),
            ("null", "null"),
            ("-1", "number"),
            ("0", "number"),
        ] {
            let value: &RawValue = serde_json::from_str(text).expect("JSON");
            assert_eq!(type_name(value), name, "{text}");
        }
    }

    #[test]
    fn only_what_a_string_escapes_takes_two_bytes_in_a_reply() {
        for (text, bytes) in
            [("", 0), ("{\"a b\": 1}", 12), ("\"\\n\"", 7), ("[\n\t1]", 7), ("é", 2)]
        {
            assert_eq!(bytes_in_reply(text), bytes, "{text}");
        }
        assert_eq!(bytes_in_reply(&"\"".repeat(1_000)), 2_000);
    }

    #[test]
    fn half_a_surrogate_pair_is_not_unicode() {
        for text in
            ["{}", r#""é""#, r#""\ud83e\udd80""#, r#""\\ud800""#, r#""\u0041\n\\\uD83E\uDD80\"""#]
        {
            assert!(is_unicode(text), "{text}");
        }
        for text in [
            r#""\ud800""#,
            r#""\udd80""#,
            r#""\udd80\ud83e""#,
            r#""\ud83e \udd80""#,
            r#""\ud83e\u0041""#,
            r#"{"\uDBFF":1}"#,
            r#""\\\ud800\n""#,
        ] {
            assert!(!is_unicode(text), "{text}");
        }
    }

    #[test]
    fn a_map_with_a_key_twice_is_refused() {
        let read = |text: &str| {
            let mut json = serde_json::Deserializer::from_str(text);
            unique_map::<_, String, i64>(&mut json)
        };
        assert_eq!(read(r#"{"a":1,"b":2}"#).expect("unique").len(), 2);
        let error = |text| read(text).expect_err(text).to_string();
        assert_eq!(error(r#"{"a":1,"a":2}"#), "duplicate key a at line 1 column 10");
        assert_eq!(error("[]"), "invalid type: sequence, expected an object at line 1 column 0");
    }
}
