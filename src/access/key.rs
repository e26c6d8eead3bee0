//! The API key itself, and its hash.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::text::hex;

const SECRET_CHARACTERS: usize = 32;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A key as its holder sends it: `<prefix>_live_<32 alphanumerics>`.
///
/// Its debug output shows only the prefix, so that no log or error can reveal it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

/// The first part of new keys, by which a key's issuer can be recognized (`ce_live_…`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPrefix(String);

#[derive(Debug, thiserror::Error)]
#[error("a key prefix is 1 to 16 lower-case letters and digits, a letter first")]
pub struct InvalidPrefix;

impl KeyPrefix {
    fn is_valid(text: &str) -> bool {
        let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        starts_well
            && text.len() <= 16
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    }
}

impl Default for KeyPrefix {
    fn default() -> Self {
        Self("cat".to_owned())
    }
}

impl std::str::FromStr for KeyPrefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if Self::is_valid(text) { Ok(Self(text.to_owned())) } else { Err(InvalidPrefix) }
    }
}

impl ApiKey {
    /// Parses a key; `None` if it is malformed. Any prefix is accepted, so that keys created with an earlier
    /// prefix stay valid.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (prefix, secret) = text.split_once("_live_")?;
        let well_formed = KeyPrefix::is_valid(prefix)
            && secret.len() == SECRET_CHARACTERS
            && secret.bytes().all(|b| b.is_ascii_alphanumeric());
        well_formed.then(|| Self(text.to_owned()))
    }

    /// Generates a new key with the operating system's random generator: 190 bits.
    ///
    /// # Errors
    /// When the generator fails.
    pub fn generate(prefix: &KeyPrefix) -> Result<Self, getrandom::Error> {
        let mut text = format!("{}_live_", prefix.0);
        let full_length = text.len() + SECRET_CHARACTERS;
        let mut random = [0_u8; 64];
        while text.len() < full_length {
            getrandom::fill(&mut random)?;
            // Bytes beyond the last multiple of the alphabet's length are discarded, so that every character
            // is equally likely.
            let fair =
                random.iter().filter(|byte| **byte < 248).map(|byte| usize::from(*byte) % 62);
            for index in fair.take(full_length - text.len()) {
                text.push(char::from(ALPHABET[index]));
            }
        }
        Ok(Self(text))
    }

    /// Its hash, which is all that is stored.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash(hex(&Sha256::digest(self.0.as_bytes())))
    }

    /// The complete key, for the only time it is shown.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = self.0.split('_').next().unwrap_or_default();
        write!(f, "ApiKey({prefix}_live_…)")
    }
}

/// The SHA-256 of a key in lower-case hexadecimal: the partition key of the table `ApiKeys`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(String);

impl KeyHash {
    /// Parses 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 64 && text.bytes().all(digit)).then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The short id by which an operator refers to the key: enough to tell keys apart, useless to an
    /// attacker.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.0.get(..16).unwrap_or(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_new_key_is_well_formed_and_never_the_same() {
        let prefix: KeyPrefix = "ce".parse().expect("prefix");
        let first = ApiKey::generate(&prefix).expect("random");
        let second = ApiKey::generate(&prefix).expect("random");
        assert!(first.reveal().starts_with("ce_live_"));
        assert_eq!(first.reveal().len(), "ce_live_".len() + 32);
        assert_eq!(ApiKey::parse(first.reveal()).as_ref(), Some(&first));
        assert_ne!(first, second);
    }

    #[test]
    fn a_new_key_has_any_of_the_letters_and_digits() {
        let mut seen = BTreeSet::new();
        for _ in 0..100 {
            let key = ApiKey::generate(&KeyPrefix::default()).expect("random");
            seen.extend(key.reveal().bytes().skip("cat_live_".len()));
        }
        assert_eq!(seen, BTreeSet::from(*ALPHABET));
    }

    #[test]
    fn a_prefix_is_a_letter_and_at_most_fifteen_more_letters_or_digits() {
        for text in ["a", "c3", "abcdefghijklmno9"] {
            assert_eq!(text.parse::<KeyPrefix>().expect(text), KeyPrefix(text.to_owned()));
        }
        for text in ["", "3c", "Cat", "c-t", "c_t", "ca\u{e9}", "abcdefghijklmnop9"] {
            let error = text.parse::<KeyPrefix>().expect_err(text);
            assert_eq!(
                error.to_string(),
                "a key prefix is 1 to 16 lower-case letters and digits, a letter first"
            );
        }
    }

    #[test]
    fn a_hash_is_64_lower_case_hexadecimal_digits_of_which_16_are_the_keys_id() {
        let key = ApiKey::parse("cat_live_DemoKeyOfAcmeForLocalUseOnly0001").expect("key");
        // As `sha256sum` prints it.
        let text = "d944a80c159ab3d8e9b25c7333a94d3784f6a6d96fa922a7d0f29ec1ba47638f";
        assert_eq!(key.hash().as_str(), text);
        assert_eq!(key.hash().key_id(), &text[..16]);
        assert_eq!(KeyHash::parse(text), Some(key.hash()));
        assert_eq!(KeyHash::parse(&"09af".repeat(16)), Some(KeyHash("09af".repeat(16))));
        let wrong = [
            &text[1..],
            &format!("{text}0"),
            &text.to_uppercase(),
            &"g".repeat(64),
            &"/".repeat(64),
        ];
        for text in wrong {
            assert_eq!(KeyHash::parse(text), None, "{text}");
        }
    }

    #[test]
    fn ill_formed_keys_are_refused() {
        let secret = "x".repeat(32);
        for text in [
            String::new(),
            secret.clone(),
            format!("_live_{secret}"),
            format!("cat_live_{}", "x".repeat(31)),
            format!("cat_live_{}", "x".repeat(33)),
            format!("cat_test_{secret}"),
            format!("CAT_live_{secret}"),
            format!("cat_live_{}é", "x".repeat(30)),
            format!(" cat_live_{secret}"),
        ] {
            assert!(ApiKey::parse(&text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_key_never_prints_itself() {
        let key = ApiKey::parse(&format!("cat_live_{}", "s".repeat(32))).expect("key");
        assert_eq!(format!("{key:?}"), "ApiKey(cat_live_…)");
    }
}
