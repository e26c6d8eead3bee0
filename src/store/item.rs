//! Items as DynamoDB stores them, and their conversion to domain types.
//!
//! What keys and filters need is stored as separate attributes. What the API returns is one more attribute,
//! `document`: the published JSON, serialized once when it is written, and copied by every read. Its first
//! three fields (`productOfferingId`, `status`, `customerType`) are key attributes already, so the stored
//! document omits them, because read units depend on the size.

use std::{
    collections::{BTreeSet, HashMap},
    io::{Read as _, Write as _},
    str::FromStr,
};

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    StoreError,
    typed::{Attribute, RawJson},
};
use crate::{
    account::AccountId,
    clock::Clock,
    document::{JsonText, push_escaped},
    geography::{Country, Region},
    imports::{Version, job::ImportId},
    offerings::{
        CatalogId, Category, CustomerType, OfferingId, ProductType, Status, StoredOffering,
        Visibility,
    },
    order::Order,
    text::hex,
};

/// An item as the SDK represents it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// An item of the `Offerings` table.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfferingItem {
    /// Omitted from projections: the reader already knows it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    account: String,
    product_offering_id: OfferingId,
    customer_type: CustomerType,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<Category>,
    status: Status,
    #[serde(rename = "type")]
    product_type: ProductType,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "serde_dynamo::string_set")]
    product_catalog_ids: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "serde_dynamo::string_set")]
    countries: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "serde_dynamo::string_set")]
    regions: Vec<String>,
    #[serde(default)]
    document: String,
}

/// Compresses what an item is to contain, fast rather than well: an item is charged by its size.
pub(super) fn compressed(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(data);
    encoder.finish().unwrap_or_default()
}

/// The data that was compressed; `None` if it is damaged.
pub(super) fn decompressed(data: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    GzDecoder::new(data).read_to_end(&mut plain).ok()?;
    Some(plain)
}

/// The attribute that contains an item's order.
pub(super) const ORDER: &str = "at";

/// The attribute that says what wrote an item last, its writer: the id of an import, as bytes, or `upsert`.
/// Its name is short, since tombstones have it, too.
pub(super) const WRITER: &str = "b";

/// How many bytes of an import's id a tombstone has: in all it has at most 100.
const SHORT_ID: usize = 4;

/// A writer as an attribute value: the id of an import as bytes.
pub(super) fn writer_value(writer: &str) -> AttributeValue {
    let id = ImportId::parse(writer).map(|id| {
        let digits = id.as_str().as_bytes().chunks_exact(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        digits.filter_map(byte).collect::<Vec<u8>>()
    });
    id.map_or_else(|| text(writer), |id| AttributeValue::B(Blob::new(id)))
}

/// Adds its writer to an item; to a tombstone only the beginning of an import's id.
pub(super) fn note_writer(item: &mut Item, writer: &str) {
    let value = match writer_value(writer) {
        AttributeValue::B(id) if item.contains_key(EXPIRES_AT) => {
            let short: Vec<u8> = id.into_inner().into_iter().take(SHORT_ID).collect();
            AttributeValue::B(Blob::new(short))
        }
        value => value,
    };
    item.insert(WRITER.to_owned(), value);
}

/// What wrote an item last; `None`: the item does not say.
pub(super) fn writer_of(item: &Item) -> Option<String> {
    match item.get(WRITER)? {
        AttributeValue::S(writer) => Some(writer.clone()),
        AttributeValue::B(id) => Some(hex(id.as_ref())),
        _ => None,
    }
}

/// The condition that nothing newer than the order `:at` is stored. An equal order means that the same write is
/// repeated.
pub(super) const NOT_NEWER: &str = "attribute_not_exists(#at) OR #at <= :at";

/// The attribute that contains the expiry of a tombstone, in seconds since 1970: the tables' time-to-live
/// attribute.
pub(super) const EXPIRES_AT: &str = "expiresAt";

/// How long tombstones are kept. An older record that arrives later than that recreates what was deleted.
const TOMBSTONE_TTL: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Whether an item is a record: a tombstone has no document.
pub(super) fn is_record(item: &Item) -> bool {
    item.contains_key("document")
}

/// When a tombstone written now expires.
pub(super) fn expiry(clock: Clock) -> AttributeValue {
    AttributeValue::N((clock.now() + TOMBSTONE_TTL).as_second().to_string())
}

/// An order as an attribute value.
pub(super) fn order_value(order: Order) -> AttributeValue {
    AttributeValue::B(Blob::new(order.as_bytes().as_slice()))
}

/// The order in this attribute of an item.
pub(super) fn order_of(item: &Item, name: &str) -> Option<Order> {
    Order::from_bytes(item.get(name)?.as_b().ok()?.as_ref())
}

/// The attributes that have the version of a document, for projections; times are in milliseconds since 1970. Only items
/// that were written before writes had an order have an `updatedAt`.
pub(super) const VERSION_ATTRIBUTES: &str = "contentHash, createdAt, updatedAt";

/// The version of a document, as attributes of its own.
pub(super) fn version_attributes(version: Version) -> Item {
    Item::from([
        ("contentHash".to_owned(), AttributeValue::B(Blob::new(version.content_hash))),
        ("createdAt".to_owned(), number(version.created_at.as_millisecond())),
    ])
}

/// The version of a document; `None` if the item is a tombstone, or was written by something else.
pub(super) fn version_of(item: &Item) -> Option<Version> {
    Some(Version {
        content_hash: item.get("contentHash")?.as_b().ok()?.as_ref().try_into().ok()?,
        created_at: time_of(item, "createdAt")?,
    })
}

impl OfferingItem {
    pub(super) fn new(account: &AccountId, row: StoredOffering) -> Self {
        let head = document_head(&row.id, row.status, row.visibility.customer_type);
        let whole = row.document.plain();
        let document = whole.strip_prefix(&head).unwrap_or(&whole).to_owned();
        let texts = |values: BTreeSet<CatalogId>| values.into_iter().map(String::from).collect();
        Self {
            account: account.to_string(),
            product_offering_id: row.id,
            customer_type: row.visibility.customer_type,
            category: row.category,
            status: row.status,
            product_type: row.product_type,
            product_catalog_ids: texts(row.visibility.catalogs),
            countries: row.countries.into_iter().map(String::from).collect(),
            regions: row.regions.iter().map(|region| region.as_str().to_owned()).collect(),
            document,
        }
    }

    /// Converts an item that was read with all attributes.
    pub(super) fn into_stored(mut self) -> Result<StoredOffering, String> {
        let mut document = std::mem::take(&mut self.document);
        // A stored document with all its fields begins with a brace.
        if !document.starts_with('{') {
            let head = document_head(&self.product_offering_id, self.status, self.customer_type);
            document.insert_str(0, &head);
        }
        self.stored_with(document.into())
    }

    /// Converts an item that was read with all attributes but its document.
    fn stored_with(self, document: JsonText) -> Result<StoredOffering, String> {
        fn parsed<T: Ord, E>(
            texts: &[String],
            parse: impl Fn(&str) -> Result<T, E>,
        ) -> Result<BTreeSet<T>, E> {
            texts.iter().map(|text| parse(text)).collect()
        }
        Ok(StoredOffering {
            id: self.product_offering_id,
            status: self.status,
            product_type: self.product_type,
            category: self.category,
            visibility: Visibility {
                customer_type: self.customer_type,
                catalogs: parsed(&self.product_catalog_ids, CatalogId::parse)?,
            },
            countries: parsed(&self.countries, Country::parse)?,
            regions: parsed(&self.regions, str::parse::<Region>)?,
            document,
        })
    }
}

/// The offering in an item that was read with all attributes.
pub(super) fn offering(operation: &'static str, item: Item) -> Result<StoredOffering, StoreError> {
    let item: OfferingItem = read(operation, item)?;
    item.into_stored().map_err(|cause| StoreError::unreadable(operation, cause))
}

/// An offering's item in the JSON of a reply: what a list needs of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedOffering {
    product_offering_id: Attribute<OfferingId>,
    customer_type: Attribute<CustomerType>,
    category: Option<Attribute<Category>>,
    status: Attribute<Status>,
    #[serde(rename = "type")]
    product_type: Attribute<ProductType>,
    product_catalog_ids: Option<Attribute<Vec<String>>>,
    countries: Option<Attribute<Vec<String>>>,
    regions: Option<Attribute<Vec<String>>>,
    document: Attribute<RawJson>,
}

impl ListedOffering {
    pub(super) fn into_stored(self) -> Result<StoredOffering, String> {
        let texts = |set: Option<Attribute<Vec<String>>>| {
            set.map(Attribute::into_inner).unwrap_or_default()
        };
        let item = OfferingItem {
            account: String::new(),
            product_offering_id: self.product_offering_id.into_inner(),
            customer_type: self.customer_type.into_inner(),
            category: self.category.map(Attribute::into_inner),
            status: self.status.into_inner(),
            product_type: self.product_type.into_inner(),
            product_catalog_ids: texts(self.product_catalog_ids),
            countries: texts(self.countries),
            regions: texts(self.regions),
            document: String::new(),
        };
        let RawJson(stored) = self.document.into_inner();
        let mut text = String::with_capacity(stored.escaped_len() + 160);
        if !stored.begins_whole() {
            let head = document_head(&item.product_offering_id, item.status, item.customer_type);
            push_escaped(&mut text, &head);
        }
        stored.push_escaped_to(&mut text);
        item.stored_with(JsonText::escaped(text))
    }
}

/// The beginning of a published document, from the key attributes of its item.
fn document_head(id: &OfferingId, status: Status, customer_type: CustomerType) -> String {
    // Serializing a string cannot fail.
    let id = serde_json::to_string(id.as_str()).unwrap_or_default();
    format!(
        "{{\"productOfferingId\":{id},\"status\":\"{status}\",\"customerType\":\"{customer_type}\","
    )
}

/// Deserializes an item.
pub(super) fn read<'de, T: Deserialize<'de>>(
    operation: &'static str,
    item: Item,
) -> Result<T, StoreError> {
    serde_dynamo::from_item(item).map_err(|error| StoreError::unreadable(operation, error))
}

/// Serializes an item.
pub(super) fn write<T: Serialize>(operation: &'static str, value: T) -> Result<Item, StoreError> {
    serde_dynamo::to_item(value).map_err(|error| StoreError::unbuildable(operation, error))
}

/// The attribute `document` of an item: a published object, ready to be copied.
pub(super) fn document(operation: &'static str, mut item: Item) -> Result<String, StoreError> {
    match item.remove("document") {
        Some(AttributeValue::S(document)) => Ok(document),
        _ => Err(StoreError::unreadable(operation, "no document")),
    }
}

/// The primary key of an account's item.
pub(super) fn key_of(account: &AccountId, range_key: &str, value: AttributeValue) -> Item {
    Item::from([("account".to_owned(), text(account.as_str())), (range_key.to_owned(), value)])
}

/// The text in an attribute of an item.
pub(super) fn text_of<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// The number in an attribute of an item.
pub(super) fn number_of<T: FromStr>(item: &Item, name: &str) -> Option<T> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// The time in an attribute of an item, which is in milliseconds since 1970.
pub(super) fn time_of(item: &Item, name: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(number_of(item, name)?).ok()
}

/// A string attribute.
pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number attribute.
pub(super) fn number<T: Copy + ToString>(value: T) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
