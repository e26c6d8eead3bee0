//! The published product object.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{FIELDS, FieldUpdate, Product, ProductKey, ProductRow};
use crate::text::{rfc3339_millis, spelled_enum};

spelled_enum! {
    /// What is sold.
    pub enum ProductType {
        /// A thing.
        Product = "PRODUCT",
        /// Work.
        Service = "SERVICE",
        /// Something that is paid for again and again.
        Subscription = "SUBSCRIPTION",
        /// Something with a term.
        Contract = "CONTRACT",
    }
}

spelled_enum! {
    /// How often a price is due.
    pub enum Billing {
        /// Every month.
        Monthly = "MONTHLY",
        /// Every year.
        Yearly = "YEARLY",
    }
}

/// The id of a product: a `UUIDv7` (RFC 9562 section 5.7), so that ids sort by creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProductId(Uuid);

crate::schema::schema!(ProductId, { "type": "string", "format": "uuid" });

impl ProductId {
    /// Generates an id that is later than all that this process has generated before.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id of a record without keys, derived from its import and its place in it: the same record is the
    /// same product, however often it is imported. The ids sort by place, as generated ones would.
    #[must_use]
    pub fn of_record(started_at: Timestamp, seed: &str, place: u64) -> Self {
        let digest = Sha256::new().chain_update(seed).chain_update(place.to_be_bytes()).finalize();
        let hash = digest.iter().take(6).fold(0_u128, |hash, byte| hash << 8 | u128::from(*byte));
        // 32 bits of the place, and 42 of the hash. The first 12 of these 74 bits are next to the version.
        let bits = u128::from(place & 0xffff_ffff) << 42 | hash >> 6;
        let mut random = [0; 10];
        random[..2].copy_from_slice(&(bits >> 62).to_be_bytes()[14..]);
        random[2..].copy_from_slice(&(bits & ((1 << 62) - 1)).to_be_bytes()[8..]);
        let millis = u64::try_from(started_at.as_millisecond()).unwrap_or_default();
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// Parses the published form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let canonical = |uuid: &Uuid| uuid.hyphenated().to_string() == text;
        Uuid::try_parse(text).ok().filter(canonical).map(Self)
    }

    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

/// Defines a string newtype of 1 to `$max` characters.
macro_rules! short_text {
    ($(#[$meta:meta])* $name:ident, $max:literal) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The maximum number of characters (Unicode scalar values).
            pub const MAX_CHARACTERS: usize = $max;

            /// Parses it; `None` if it is empty or too long.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let fits = !text.is_empty() && text.chars().count() <= Self::MAX_CHARACTERS;
                fits.then(|| Self(text.to_owned()))
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        crate::schema::schema!($name, { "type": "string", "minLength": 1, "maxLength": $max });

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text).ok_or_else(|| format!("must have 1 to {} characters", $max))
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }
    };
}

short_text! {
    /// A stock keeping unit: the first key of an upsert, unique within the account.
    Sku, 100
}

short_text! {
    /// The product's id in another system: the second key, unique within the account.
    ExternalId, 200
}

short_text! {
    /// A category; letter case counts.
    Category, 100
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
pub(super) fn millis<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    rfc3339_millis(*time).serialize(serializer)
}

impl Product {
    /// The key under which it is stored: its sku, or else its external id, or else its id.
    #[must_use]
    pub fn key(&self) -> ProductKey {
        let sku = self.sku.clone().map(ProductKey::Sku);
        let external_id = || self.external_id.clone().map(ProductKey::ExternalId);
        sku.or_else(external_id).unwrap_or(ProductKey::Id(self.id))
    }

    /// The product that a row creates; `None` if the row has no name.
    #[must_use]
    pub fn created(row: &ProductRow, id: ProductId, now: Timestamp) -> Option<Self> {
        let values = row.changes().zip(FIELDS).map(|((_, change), field)| match change {
            FieldUpdate::Set(value) => Some(value),
            FieldUpdate::Keep | FieldUpdate::Clear => field.default,
        });
        Self::from_values(id, (row.created_at.unwrap_or(now), now), values).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_records_are_their_own_and_in_order() {
        let at: Timestamp = "2026-01-01T00:00:00.123Z".parse().expect("time");
        let ids: Vec<ProductId> =
            (1..2_000).map(|place| ProductId::of_record(at, "import", place * 7)).collect();
        assert!(ids.is_sorted_by(|one, next| one < next), "in the order of their places");
        assert_eq!(ids[0], ProductId::of_record(at, "import", 7), "the same again");
        assert_ne!(ids[0], ProductId::of_record(at, "another", 7));
        for id in &ids {
            assert_eq!(ProductId::parse(&id.to_string()), Some(*id));
            assert_eq!(id.0.get_version_num(), 7);
            let time = id.0.get_timestamp().expect("a time").to_unix();
            assert_eq!(time, (1_767_225_600, 123_000_000));
        }
    }
}
