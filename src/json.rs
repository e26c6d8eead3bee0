//! JSON: what replies may hold, and reading with more care than a parser takes by itself: a key given
//! twice is a mistake to tell, not a value to lose (RFC 8259 section 4 calls what else happens
//! unpredictable).

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members of a JSON object in their order, values unparsed: numbers keep their digits.
#[derive(Debug)]
pub struct Members<'a>(pub Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Object<'a> {
            type Value = Members<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'a>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((member.0, member.1));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object(PhantomData))
    }
}

impl Members<'_> {
    /// The first name that comes twice.
    #[must_use]
    pub fn duplicate(&self) -> Option<&str> {
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }
}

/// The most bytes of a page, counted as its JSON text travels inside a Lambda reply (6 MB at most),
/// where every quote is escaped once more.
pub const PAGE_BYTES: usize = 5_500_000;

/// How long a JSON text is as a string inside JSON.
#[must_use]
pub fn bytes_in_reply(json: &str) -> usize {
    // Line ends and tabs stand raw between the tokens of JSON; no other control character does.
    json.len() + json.bytes().filter(|byte| matches!(byte, b'"' | b'\\' | ..b' ')).count()
}

/// What a JSON value is, in JavaScript's words.
#[must_use]
pub fn type_name(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

/// Reads a map whose keys come once each.
///
/// # Errors
/// As the keys and values do, and when a key comes twice.
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
        let text = format!(r#"{{"b": 1.10, "a": {deep}, "b": "\u0041"}}"#);
        let members: Members = serde_json::from_str(&text).expect("an object");
        let shown: Vec<_> =
            members.0.iter().map(|(name, value)| (&**name, type_name(value))).collect();
        assert_eq!(shown, [("b", "number"), ("a", "array"), ("b", "string")]);
        assert_eq!(members.0[0].1.get(), "1.10");
        assert_eq!(members.duplicate(), Some("b"));
        assert!(serde_json::from_str::<Members>("[]").is_err());
    }

    #[test]
    fn a_map_with_a_key_twice_is_refused() {
        let read = |text: &str| {
            let mut json = serde_json::Deserializer::from_str(text);
            unique_map::<_, String, i64>(&mut json)
        };
        assert_eq!(read(r#"{"a":1,"b":2}"#).expect("unique").len(), 2);
        let error = read(r#"{"a":1,"a":2}"#).expect_err("twice").to_string();
        assert!(error.contains("duplicate key a"), "{error}");
    }
}
