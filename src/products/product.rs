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

    /// The id of a record, derived from a seed and its place: the same seed and place give the same id. The ids sort by
    /// place, as generated ones would.
    #[must_use]
    pub fn of_record(started_at: Timestamp, seed: &str, place: u64) -> Self {
        let digest = Sha256::new().chain_update(seed).chain_update(place.to_be_bytes()).finalize();
        let mut hash = [0; 16];
        hash[10..].copy_from_slice(&digest[..6]);
        let hash = u128::from_be_bytes(hash);
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
    use serde_json::json;

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

    #[test]
    fn an_id_of_a_record_is_that_of_its_import_and_place_for_ever() {
        let at: Timestamp = "2026-01-01T00:00:00.123Z".parse().expect("time");
        for (place, id) in [
            (0, "019b76da-a87b-7000-8000-01bc824ea29e"),
            (1, "019b76da-a87b-7000-8000-0413b9953ebe"),
            (7, "019b76da-a87b-7000-8000-1e590cc632eb"),
            (1_048_576, "019b76da-a87b-7001-8000-016ef6062a8f"),
            (4_294_967_295, "019b76da-a87b-7fff-bfff-fdebc9b87bc9"),
            (4_294_967_303, "019b76da-a87b-7000-8000-1e752917d493"),
        ] {
            assert_eq!(ProductId::of_record(at, "import", place).to_string(), id, "{place}");
        }
    }

    #[test]
    fn an_id_is_known_by_its_bytes_and_its_published_form_alone() {
        let text = "01920e3a-7b1c-7def-8123-456789abcdef";
        let id = ProductId::parse(text).expect("an id");
        assert_eq!((id.to_string(), ProductId::from_bytes(id.bytes())), (text.to_owned(), id));
        assert_eq!(id.bytes()[..4], [0x01, 0x92, 0x0e, 0x3a]);
        for other in [
            "",
            "01920E3A-7B1C-7DEF-8123-456789ABCDEF",
            "01920e3a7b1c7def8123456789abcdef",
            "{01920e3a-7b1c-7def-8123-456789abcdef}",
            "urn:uuid:01920e3a-7b1c-7def-8123-456789abcdef",
        ] {
            assert_eq!(ProductId::parse(other), None, "{other}");
        }
        let (first, second) = (ProductId::generate(), ProductId::generate());
        assert!(first < second);
    }

    #[test]
    fn a_text_is_as_long_as_it_may_be_in_characters() {
        let sku = Sku::parse(&"é".repeat(100)).expect("a sku");
        assert_eq!(sku.as_str(), "é".repeat(100));
        for text in [String::new(), "x".repeat(101)] {
            let error = Sku::try_from(text).expect_err("no sku");
            assert_eq!(error, "must have 1 to 100 characters");
        }
    }

    fn row(json: &serde_json::Value) -> ProductRow {
        let text = json.to_string();
        ProductRow::parse(serde_json::from_str(&text).expect("JSON")).expect("a row")
    }

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    const ID: &str = "01920e3a-7b1c-7def-8123-456789abcdef";

    fn created(json: &serde_json::Value) -> Product {
        let id = ProductId::parse(ID).expect("an id");
        Product::created(&row(json), id, time("2026-01-15T10:30:00Z")).expect("a product")
    }

    /// A row that sets every field to something else than its default.
    fn full() -> serde_json::Value {
        json!({
            "name": "Pro plan", "type": "SUBSCRIPTION", "sku": "s", "externalId": "e", "category": "Plans",
            "price": 45.5, "cost": 1.25, "currency": "EUR", "unit": "seat", "billingPeriod": "MONTHLY",
            "termMonths": 12, "stockQty": 3, "reorderLevel": 4, "description": "For teams.", "features": "Many.",
            "active": false,
        })
    }

    #[test]
    fn a_new_product_has_what_its_row_says_and_defaults_for_the_rest() {
        let document = |product: &Product| serde_json::to_value(product).expect("JSON");
        let at = "2026-01-15T10:30:00.000Z";
        let named = created(&json!({"name": "n", "category": null}));
        let mut expected = json!({
            "id": ID, "name": "n", "type": "PRODUCT", "sku": null, "externalId": null, "category": null, "price": 0,
            "cost": null, "currency": "USD", "unit": null, "billingPeriod": null, "termMonths": null,
            "stockQty": null, "reorderLevel": null, "description": null, "features": null, "active": true,
            "createdAt": at, "updatedAt": at,
        });
        assert_eq!(document(&named), expected);
        for (name, value) in full().as_object().expect("an object") {
            expected[name] = value.clone();
        }
        let whole = created(&full());
        assert_eq!(document(&whole), expected);
        let values: serde_json::Map<_, _> = whole
            .values()
            .map(|(name, value)| {
                let value = match value.expect("a value") {
                    super::super::Scalar::Text(text) => json!(text),
                    super::super::Scalar::Number(number) => json!(number),
                    super::super::Scalar::Boolean(value) => json!(value),
                };
                (name.to_owned(), value)
            })
            .collect();
        assert_eq!(serde_json::Value::Object(values), full());
        assert_eq!(named.values().filter(|(_, value)| value.is_some()).count(), 5);

        // Without a name there is none. An import says itself when its products were created.
        let (id, now) = (whole.id, time("2026-01-15T10:30:00Z"));
        assert_eq!(Product::created(&row(&json!({"sku": "s"})), id, now), None);
        let created_at = Some(time("2020-01-01T00:00:00Z"));
        let imported = Product::created(&ProductRow { created_at, ..row(&full()) }, id, now);
        let imported = imported.expect("a product");
        assert_eq!((Some(imported.created_at), imported.updated_at), (created_at, now));
    }

    #[test]
    fn a_row_changes_only_the_fields_that_it_has() {
        let mut product = created(&full());
        let changes = json!({"sku": "s", "price": 7, "cost": null, "unit": "box", "active": true, "stockQty": null});
        product.merge(&row(&changes));
        let mut expected = full();
        for (name, value) in changes.as_object().expect("an object") {
            expected[name] = value.clone();
        }
        assert_eq!(product, created(&expected));
        // All fields but the keys and the name are set back to what a new product has.
        assert_eq!(ProductRow::reset().name, None);
        product.merge(&ProductRow::reset());
        assert_eq!(product, created(&json!({"name": "Pro plan", "sku": "s", "externalId": "e"})));
        assert_eq!(ProductRow::reset().fields().len(), FIELDS.len() - 3);
    }

    #[test]
    fn a_product_is_stored_under_its_sku_or_else_its_external_id_or_else_its_id() {
        let key = |changes: serde_json::Value| {
            let mut product = created(&full());
            product.merge(&row(&changes));
            product.key()
        };
        let external_id = crate::products::ExternalId::parse("e").expect("an id");
        assert_eq!(key(json!({"sku": "t"})), ProductKey::Sku(Sku::parse("t").expect("a sku")));
        assert_eq!(key(json!({"name": "n", "sku": null})), ProductKey::ExternalId(external_id));
        let neither = json!({"name": "n", "sku": null, "externalId": null});
        assert_eq!(key(neither), ProductKey::Id(ProductId::parse(ID).expect("an id")));
    }
}
