//! String newtypes (enums with fixed spellings, identifiers), and the error of one field.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// One thing wrong with one field of a request or a record, in words for its sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct FieldError {
    /// The parameter's name, or the path of the field (`price.grossPrice`).
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// What kind of error it is, for programs.
    #[serde(skip)]
    pub fault: Fault,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    Invalid,
    Missing,
    NotUtf8,
}

impl std::fmt::Display for FieldError {
    /// `field: message`, or only the message if there is no field.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let separator = if self.field.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}{}", self.field, self.message)
    }
}

impl FieldError {
    /// The longest that its field or its message may be, in bytes.
    const MAX_BYTES: usize = 1_000;

    /// An error. Field and message may quote what was sent, which may be megabytes: of a long one the middle is left
    /// out.
    #[must_use]
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        let short = |text: String| match text.len() {
            ..=Self::MAX_BYTES => text,
            length => {
                let head = text.floor_char_boundary(Self::MAX_BYTES / 2);
                let tail = text.ceil_char_boundary(length - Self::MAX_BYTES / 2 + '…'.len_utf8());
                format!("{}…{}", &text[..head], &text[tail..])
            }
        };
        let (field, message) = (short(field.into()), short(message.into()));
        Self { field, message, fault: Fault::Invalid }
    }

    #[must_use]
    pub fn with_fault(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }
}

/// Defines an enum whose values have one fixed spelling each, in JSON, in DynamoDB and in parameters.
macro_rules! spelled_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        $vis enum $name { $($(#[$vmeta])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// All values, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The published spelling.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// Parses the published spelling, case-sensitively.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text)
            }

            /// All spellings, in declaration order.
            #[must_use]
            pub fn texts() -> Vec<&'static str> {
                Self::ALL.iter().map(|value| value.as_str()).collect()
            }

            /// All spellings, for error messages: `A, B, C`.
            #[must_use]
            pub fn spellings() -> String {
                Self::texts().join(", ")
            }
        }

        crate::schema::schema!($name, { "type": "string", "enum": [$($text),+] });

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text).ok_or_else(|| format!("must be one of {}", Self::spellings()))
            }
        }
    };
}
pub(crate) use spelled_enum;

/// Defines the identity of a job within its account: 128 bits of a hash, in hexadecimal.
macro_rules! job_id {
    ($(#[$meta:meta])* $vis:vis struct $name:ident;) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        #[serde(transparent)]
        $vis struct $name(String);

        impl $name {
            /// The identity of what these parts identify uniquely.
            #[must_use]
            pub fn of(parts: &[&str]) -> Self {
                Self(crate::text::hex(&crate::text::hash_of(parts)))
            }

            /// Parses the hexadecimal form.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
                (text.len() == 32 && text.bytes().all(is_digit)).then(|| Self(text.to_owned()))
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}
pub(crate) use job_id;

/// 128 bits of a hash of parts.
pub(crate) fn hash_of(parts: &[impl AsRef<[u8]>]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts.iter().map(AsRef::as_ref) {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    prefix(hash.finalize())
}

/// Gives a type that has `parse` what serde (`try_from`, `into`), `FromStr` and `Display` need; `$text` is its method that
/// gives the text. `secret`: it is not displayed.
macro_rules! parsed {
    (secret $name:ident, $text:ident, $error:ty) => {
        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.$text().to_owned()
            }
        }
    };
    ($name:ident, $text:ident, $error:ty) => {
        crate::text::parsed!(secret $name, $text, $error);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.$text())
            }
        }
    };
}
pub(crate) use parsed;

/// Defines an identifier: text of 1 to `$max` bytes without control characters, without leading or trailing
/// spaces, and without the characters of `$forbidden`.
macro_rules! identifier {
    ($(#[$meta:meta])* $vis:vis struct $name:ident, max $max:literal, forbidden $forbidden:literal) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        $vis struct $name(String);

        impl $name {
            /// The maximum length, in bytes of UTF-8.
            pub const MAX_BYTES: usize = $max;

            /// Parses and validates an identifier.
            ///
            /// # Errors
            /// The message for the sender if the text breaks a rule.
            pub fn parse(text: &str) -> Result<Self, String> {
                if text.is_empty() {
                    return Err("must not be empty".to_owned());
                }
                if text.len() > Self::MAX_BYTES {
                    return Err(format!("must be at most {} bytes", Self::MAX_BYTES));
                }
                let forbidden = |c: char| c.is_control() || ($forbidden as &str).contains(c);
                if text == "." || text == ".." {
                    return Err("must not be . or ..".to_owned());
                }
                if text.chars().any(forbidden) || text.trim() != text {
                    return Err(crate::text::forbidden_message($forbidden));
                }
                Ok(Self(text.to_owned()))
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        crate::schema::schema!($name, { "type": "string", "minLength": 1, "maxLength": $max });

        crate::text::parsed!($name, as_str, String);
    };
}
pub(crate) use identifier;

pub(crate) fn forbidden_message(forbidden: &str) -> String {
    let mut message = "must not hold control characters or spaces at its ends".to_owned();
    if !forbidden.is_empty() {
        let shown: Vec<String> = forbidden.chars().map(|c| format!("'{c}'")).collect();
        message.push_str(", nor ");
        message.push_str(&shown.join(" "));
    }
    message
}

/// The schema of a time in replies.
#[cfg(feature = "openapi")]
pub(crate) struct Time;

crate::schema::schema!(Time, { "type": "string", "format": "date-time" });

/// Formats a time as all replies do: RFC 3339 in UTC with milliseconds.
#[must_use]
pub fn rfc3339_millis(time: jiff::Timestamp) -> String {
    format!("{time:.3}")
}

/// Bytes in lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// The first bytes of the SHA-256 hash of some data; at most 32.
#[must_use]
pub(crate) fn sha256_prefix<const BYTES: usize>(data: impl AsRef<[u8]>) -> [u8; BYTES] {
    prefix(Sha256::digest(data))
}

fn prefix<const BYTES: usize>(digest: impl IntoIterator<Item = u8>) -> [u8; BYTES] {
    let mut prefix = [0; BYTES];
    for (to, from) in prefix.iter_mut().zip(digest) {
        *to = from;
    }
    prefix
}

/// A unique name: 128 random bits, in hexadecimal.
#[must_use]
pub fn random_name() -> String {
    let mut random = [0_u8; 16];
    // Without randomness, the claims of two concurrent workers could not be told apart; but both would write
    // the same.
    let _ = getrandom::fill(&mut random);
    hex(&random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_name_has_128_bits_in_hexadecimal() {
        let (one, other) = (random_name(), random_name());
        assert_eq!((one.len(), other.len()), (32, 32));
        assert!(one.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{one}");
        assert_ne!(one, other);
    }

    #[test]
    fn a_long_quotation_lacks_its_middle() {
        let error = FieldError::new("é".repeat(500), "é".repeat(501));
        assert_eq!(error.field.chars().count(), 500);
        assert_eq!(error.message, format!("{}…{}", "é".repeat(250), "é".repeat(248)));
        let error =
            FieldError::new("", format!("unknown variant `{}`, expected x", "y".repeat(4_000_000)));
        assert!(error.message.len() <= 1_000);
        assert!(error.message.starts_with("unknown variant `yyy"), "{}", error.message);
        assert!(error.message.ends_with("yyy`, expected x"), "{}", error.message);
    }
}
