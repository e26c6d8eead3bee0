//! Parses and validates one line of an import.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de::value::MapDeserializer};
use serde_json::value::RawValue;

use crate::{
    json::Members,
    networks::{
        BundleId, CurrencyPair, ExchangeRate, ExchangeRateDraft, NetworkChange, NetworkDraft,
        NetworkId, SingleBundleDraft,
    },
    offerings::{
        OfferingDraft, OfferingId, PreparedOffering, PreparedPromotion, PromoCode, PromotionDraft,
    },
    order::Order,
    partners::{PartnerOffering, PartnerOfferingKey},
    products::{ExternalId, Product, ProductId, ProductKey, ProductRow, Sku, is_field},
    text::{Fault, FieldError, spelled_enum},
};

/// The maximum length of a line, in bytes: well above the 400 KB that a DynamoDB item may have, and enough
/// for a network with about 20,000 bundles.
pub const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;

spelled_enum! {
    /// What a record is about.
    pub enum Kind {
        Offering = "offering",
        Promotion = "promotion",
        PartnerOffering = "partnerOffering",
        /// A network, with its bundles or without.
        Network = "network",
        Bundle = "bundle",
        ExchangeRate = "exchangeRate",
        Product = "product",
    }
}

/// The operation that a record asks for.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RequestedOperation {
    Upsert,
    Delete,
}

/// The identity of a document within its account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DocumentKey {
    Offering(OfferingId),
    Promotion(PromoCode),
    PartnerOffering(PartnerOfferingKey),
    ExchangeRate(CurrencyPair),
}

impl DocumentKey {
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Offering(_) => Kind::Offering,
            Self::Promotion(_) => Kind::Promotion,
            Self::PartnerOffering(_) => Kind::PartnerOffering,
            Self::ExchangeRate(_) => Kind::ExchangeRate,
        }
    }

    /// The identity within its kind, as text.
    #[must_use]
    pub fn identity(&self) -> String {
        match self {
            Self::Offering(id) => id.to_string(),
            Self::Promotion(code) => code.as_str().to_owned(),
            Self::PartnerOffering(PartnerOfferingKey { name, offering_type }) => {
                format!("{offering_type} {name}")
            }
            Self::ExchangeRate(CurrencyPair { source, destination }) => {
                format!("{source} {destination}")
            }
        }
    }
}

/// A validated record.
#[derive(Clone, Debug)]
pub enum Record {
    Document(DocumentRecord),
    /// A record of a network or a bundle.
    Network(NetworkRecord),
    Product(ProductRecord),
}

/// A record and its order.
#[derive(Clone, Debug)]
pub struct Ordered<R> {
    pub line: u64,
    pub order: Order,
    pub record: R,
}

/// A validated record of a network or of one of its bundles: the change that it makes.
#[derive(Clone, Debug)]
pub struct NetworkRecord {
    pub network: NetworkId,
    pub change: NetworkChange,
}

#[derive(Clone, Debug)]
pub enum ProductRecord {
    /// Merge this row.
    Upsert(Box<ProductRow>),
    /// Remove the fields that are older than the record; if the field `name` is among them, remove the whole product,
    /// since a product must have a name.
    Delete(ProductKey),
    /// Remove the product unless any field of it is newer than the record: it is missing from a snapshot.
    Purge(ProductKey),
}

impl ProductRecord {
    /// The key by which it finds its product.
    #[must_use]
    pub fn found_by(&self) -> Option<ProductKey> {
        match self {
            Self::Upsert(row) => row.key(),
            Self::Delete(key) | Self::Purge(key) => Some(key.clone()),
        }
    }

    /// The id in it, whether or not it has a sku or an external id.
    #[must_use]
    pub fn id(&self) -> Option<ProductId> {
        match self {
            Self::Upsert(row) => row.id,
            Self::Delete(ProductKey::Id(id)) | Self::Purge(ProductKey::Id(id)) => Some(*id),
            Self::Delete(_) | Self::Purge(_) => None,
        }
    }

    /// Its sku, external id and id, as far as it has them.
    #[must_use]
    pub fn all_product_keys(&self) -> Vec<ProductKey> {
        match self {
            Self::Upsert(row) => {
                let sku = row.sku.value().cloned().map(ProductKey::Sku);
                let external_id = row.external_id.value().cloned().map(ProductKey::ExternalId);
                sku.into_iter().chain(external_id).chain(row.id.map(ProductKey::Id)).collect()
            }
            Self::Delete(key) | Self::Purge(key) => vec![key.clone()],
        }
    }
}

/// A record of a document: an offering, a promotion, a partner offering or an exchange rate.
#[derive(Clone, Debug)]
pub struct DocumentRecord {
    pub key: DocumentKey,
    pub operation: Operation,
}

#[derive(Clone, Debug)]
pub enum Operation {
    Upsert(Content),
    Delete,
}

#[derive(Clone, Debug)]
pub enum Content {
    Offering(Box<PreparedOffering>),
    Promotion(Box<PreparedPromotion>),
    PartnerOffering(Box<PartnerOffering>),
    ExchangeRate(Box<ExchangeRate>),
}

/// The fields that are read first: the kind and the operation determine how the others are read; the time is for the
/// record's order.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    kind: Option<Kind>,
    op: Option<RequestedOperation>,
    updated_at: Option<Timestamp>,
}

/// The kind alone: what is wrong with the rest of an [`Envelope`] does not concern the identity of a record.
#[derive(Deserialize)]
struct OfKind {
    kind: Kind,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfferingIdentity {
    product_offering_id: OfferingId,
}

#[derive(Deserialize)]
struct PromotionIdentity {
    code: PromoCode,
}

#[derive(Deserialize)]
struct PartnerIdentity {
    offering: PartnerOfferingKey,
}

#[derive(Deserialize)]
struct NetworkIdentity {
    id: NetworkId,
}

#[derive(Deserialize)]
struct BundleIdentity {
    network_id: NetworkId,
    id: BundleId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProductIdentity {
    sku: Option<Sku>,
    external_id: Option<ExternalId>,
    #[serde(default, deserialize_with = "text_of")]
    id: Option<String>,
}

/// The string in a value; `None` if it is not a string: such an id has a meaning only in its source.
fn text_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(value.get()).ok())
}

impl Record {
    /// Parses and validates one line. Returns the record, and when it last changed according to its source.
    ///
    /// # Errors
    /// What is wrong with it. A line that cannot be read as its kind (syntax, missing fields, wrong types) has one error;
    /// otherwise all wrong values are told, field by field. The field is "" if the line is not a JSON object.
    pub fn parse(line: &[u8]) -> Result<(Self, Option<Timestamp>), Vec<FieldError>> {
        let text = std::str::from_utf8(line).map_err(|error| {
            let at = error.valid_up_to() + 1;
            let message = format!("is not UTF-8 from byte {at} on");
            vec![FieldError::new("", message).with_fault(Fault::NotUtf8)]
        })?;
        if !text.trim_start().starts_with('{') {
            return Err(vec![FieldError::new("", "must be a JSON object")]);
        }
        let members = members(text)?;
        let envelope: Envelope = read(&members)?;
        let kind = envelope.kind.ok_or_else(|| {
            vec![FieldError::new("kind", format!("is required: one of {}", Kind::spellings()))]
        })?;
        let wanted = envelope.op.unwrap_or(RequestedOperation::Upsert);
        let updated_at = envelope.updated_at;
        let delete = wanted == RequestedOperation::Delete;
        let (key, operation) = match kind {
            Kind::Offering if delete => {
                let id = read::<OfferingIdentity>(&members)?.product_offering_id;
                (DocumentKey::Offering(id), Operation::Delete)
            }
            Kind::Offering => {
                let offering = read::<OfferingDraft>(&members)?.prepare()?;
                let key = DocumentKey::Offering(offering.id().clone());
                (key, Operation::Upsert(Content::Offering(Box::new(offering))))
            }
            Kind::Promotion if delete => {
                let code = read::<PromotionIdentity>(&members)?.code;
                (DocumentKey::Promotion(code), Operation::Delete)
            }
            Kind::Promotion => {
                let promotion = read::<PromotionDraft>(&members)?.prepare()?;
                let key = DocumentKey::Promotion(promotion.code().clone());
                (key, Operation::Upsert(Content::Promotion(Box::new(promotion))))
            }
            Kind::PartnerOffering if delete => {
                let key = read::<PartnerIdentity>(&members)?.offering;
                (DocumentKey::PartnerOffering(key), Operation::Delete)
            }
            Kind::PartnerOffering => {
                let offering = read::<PartnerOffering>(&members)?.checked()?;
                let key = DocumentKey::PartnerOffering(offering.key());
                (key, Operation::Upsert(Content::PartnerOffering(Box::new(offering))))
            }
            Kind::ExchangeRate if delete => {
                (DocumentKey::ExchangeRate(read(&members)?), Operation::Delete)
            }
            Kind::ExchangeRate => {
                let rate = read::<ExchangeRateDraft>(&members)?.checked()?;
                let key = DocumentKey::ExchangeRate(rate.pair());
                (key, Operation::Upsert(Content::ExchangeRate(Box::new(rate))))
            }
            Kind::Network | Kind::Bundle => {
                let (network, change) = network_change(kind, delete, &members)?;
                return Ok((Self::Network(NetworkRecord { network, change }), updated_at));
            }
            Kind::Product if delete => {
                let key = product_identity(&members)?;
                return Ok((Self::Product(ProductRecord::Delete(key)), updated_at));
            }
            Kind::Product => {
                let row = product_row(members)?;
                return Ok((Self::Product(ProductRecord::Upsert(Box::new(row))), updated_at));
            }
        };
        Ok((Self::Document(DocumentRecord { key, operation }), updated_at))
    }
}

fn network_change(
    kind: Kind,
    delete: bool,
    members: &Members<'_>,
) -> Result<(NetworkId, NetworkChange), Vec<FieldError>> {
    Ok(match (kind, delete) {
        (Kind::Bundle, true) => {
            let bundle = read::<BundleIdentity>(members)?;
            (bundle.network_id, NetworkChange::DeleteBundle(bundle.id))
        }
        (Kind::Bundle, false) => {
            let (network, bundle) = read::<SingleBundleDraft>(members)?.checked()?;
            (network, NetworkChange::Bundle(Box::new(bundle)))
        }
        (_, true) => (read::<NetworkIdentity>(members)?.id, NetworkChange::DeleteNetwork),
        (_, false) => {
            let (network, bundles) = read::<NetworkDraft>(members)?.checked()?;
            (network.id, NetworkChange::Network { network: Box::new(network), bundles })
        }
    })
}

/// The identity of a product to delete: its sku, or else its external id, or else its id.
fn product_identity(members: &Members<'_>) -> Result<ProductKey, Vec<FieldError>> {
    let ProductIdentity { sku, external_id, id } = read(members)?;
    let id = id.and_then(|id| ProductId::parse(&id)).map(ProductKey::Id);
    sku.map(ProductKey::Sku)
        .or(external_id.map(ProductKey::ExternalId))
        .or(id)
        .ok_or_else(|| vec![FieldError::new("sku", "is required, or externalId, or id")])
}

/// A product's row, and what only an import brings: the id and the creation time that it has in its source.
fn product_row(mut members: Members<'_>) -> Result<ProductRow, Vec<FieldError>> {
    members.0.retain(|(name, _)| matches!(name.as_str(), "id" | "createdAt") || is_field(name));
    let id = members.0.iter().find(|(name, _)| name == "id").and_then(|(_, id)| {
        // An id in another format means something only to the source.
        ProductId::parse(&serde_json::from_str::<String>(id.get()).ok()?)
    });
    let created_at = members.0.iter().find(|(name, _)| name == "createdAt");
    let created_at = created_at.map_or(Ok(None), |(name, time)| {
        serde_json::from_str::<Option<Timestamp>>(time.get())
            .map_err(|error| vec![FieldError::new(name, without_place(&error.to_string()))])
    })?;
    let row = ProductRow::of(&members)?;
    Ok(ProductRow { id, created_at, ..row })
}

/// The kind of a line and all identities in it, whether or not the rest of the line is valid; `None` if the line does
/// not have them.
pub(super) fn identities_of(line: &[u8]) -> Option<(Kind, Vec<String>)> {
    let members = members(std::str::from_utf8(line).ok()?).ok()?;
    let OfKind { kind } = read(&members).ok()?;
    let key = match kind {
        Kind::Offering => {
            DocumentKey::Offering(read::<OfferingIdentity>(&members).ok()?.product_offering_id)
        }
        Kind::Promotion => DocumentKey::Promotion(read::<PromotionIdentity>(&members).ok()?.code),
        Kind::PartnerOffering => {
            DocumentKey::PartnerOffering(read::<PartnerIdentity>(&members).ok()?.offering)
        }
        Kind::ExchangeRate => DocumentKey::ExchangeRate(read(&members).ok()?),
        Kind::Network => {
            return Some((kind, vec![read::<NetworkIdentity>(&members).ok()?.id.to_string()]));
        }
        Kind::Bundle => {
            let BundleIdentity { network_id, id } = read(&members).ok()?;
            return Some((kind, vec![format!("{network_id} {id}")]));
        }
        Kind::Product => {
            let ProductIdentity { sku, external_id, id } = read(&members).ok()?;
            return Some((
                kind,
                product_identities(sku.as_ref(), external_id.as_ref(), id.as_deref()),
            ));
        }
    };
    Some((kind, vec![key.identity()]))
}

/// All identities of a stored product.
pub(super) fn identities_of_product(product: &Product) -> Vec<String> {
    let id = product.id.to_string();
    product_identities(product.sku.as_ref(), product.external_id.as_ref(), Some(&id))
}

fn product_identities(
    sku: Option<&Sku>,
    external_id: Option<&ExternalId>,
    id: Option<&str>,
) -> Vec<String> {
    let sku = sku.map(|sku| format!("sku {}", sku.as_str()));
    let external_id = external_id.map(|id| format!("externalId {}", id.as_str()));
    let id = id.map(|id| format!("id {id}"));
    sku.into_iter().chain(external_id).chain(id).collect()
}

impl Content {
    /// The text that is hashed to compare two versions: they are equal if their texts are. It is also the document to
    /// store, except for an offering: its stored document has its times besides.
    #[must_use]
    pub fn hashed_content(&self) -> String {
        match self {
            Self::Offering(offering) => offering.content(),
            Self::Promotion(promotion) => promotion.document(),
            Self::PartnerOffering(offering) => offering.document(),
            Self::ExchangeRate(rate) => rate.document(),
        }
    }

    /// When the record was created, if its source says so.
    #[must_use]
    pub fn source_created_at(&self) -> Option<Timestamp> {
        if let Self::Offering(offering) = self { offering.source_created_at() } else { None }
    }
}

/// The members of a line, which is parsed no further yet: how each is read follows from the line's kind.
fn members(text: &str) -> Result<Members<'_>, Vec<FieldError>> {
    Members::of(text, |_| true)
        .map_err(|error| vec![FieldError::new("", without_place(&error.to_string()))])
}

/// Reads the members of a line as `T`. The error for a field of the wrong type contains its path.
fn read<'a, T: Deserialize<'a>>(members: &Members<'a>) -> Result<T, Vec<FieldError>> {
    let fields = members.0.iter().map(|(name, value)| (name.as_str(), *value));
    let fields = MapDeserializer::<_, serde_json::Error>::new(fields);
    serde_path_to_error::deserialize(fields).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.inner();
        let mut field = if path == "." || inner.is_syntax() { String::new() } else { path };
        let message = without_place(&inner.to_string());
        if let Some(missing) =
            message.strip_prefix("missing field `").and_then(|m| m.strip_suffix('`'))
        {
            let dot = if field.is_empty() { "" } else { "." };
            field = format!("{field}{dot}{missing}");
            return vec![FieldError::new(field, "is required").with_fault(Fault::Missing)];
        }
        vec![FieldError::new(field, message)]
    })
}

/// A parser's message without its "at line 1 column 7", because the line is reported separately.
fn without_place(message: &str) -> String {
    match message.rsplit_once(" at line ") {
        Some((what, _)) => what.to_owned(),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> (String, String) {
        let error = Record::parse(line.as_bytes()).expect_err(line).remove(0);
        (error.field, error.message)
    }

    const OFFERING: &str = r#"{"kind":"offering","productOfferingId":"a","name":"A","customerType":"CONSUMER","price":{"currency":"USD","priceType":"ONE_TIME","grossPrice":1},"product":{"productId":"p","type":"LICENSE"}}"#;

    #[test]
    fn a_minimal_offering_and_both_deletes_are_read() {
        let (record, _) = Record::parse(OFFERING.as_bytes()).expect("record");
        let Record::Document(DocumentRecord { operation, .. }) = record else { panic!("document") };
        assert!(matches!(operation, Operation::Upsert(Content::Offering(_))));
        for line in [
            r#"{"kind":"offering","op":"delete","productOfferingId":"a"}"#,
            r#"{"kind":"promotion","op":"delete","code":"x"}"#,
        ] {
            let (record, _) = Record::parse(line.as_bytes()).expect(line);
            let Record::Document(DocumentRecord { operation, .. }) = record else {
                panic!("{line}")
            };
            assert!(matches!(operation, Operation::Delete));
        }
    }

    #[test]
    fn a_bad_line_names_its_field_and_what_would_be_right() {
        let with = |from: &str, to: &str| OFFERING.replace(from, to);
        for (line, field, part) in [
            (String::new(), "", "JSON object"),
            ("[]".into(), "", "JSON object"),
            ("{".into(), "", "EOF"),
            ("{}".into(), "kind", "is required"),
            (with("\"offering\"", "\"offer\""), "kind", "unknown variant"),
            (with("\"kind\"", "\"op\":\"drop\",\"kind\""), "op", "unknown variant"),
            (format!("{OFFERING} x"), "", "trailing characters"),
            (with("\"name\":\"A\",", ""), "name", "is required"),
            (with(",\"grossPrice\":1", ""), "price.grossPrice", "is required"),
            (with("\"name\":\"A\"", "\"name\":\" \""), "name", "must not be empty"),
            (with("\"name\":\"A\"", "\"name\":7"), "name", "invalid type"),
            (with("\"name\":\"A\"", "\"name\":\"A\",\"name\":\"B\""), "", "duplicate field"),
            (with(":1}", ":\"1\"}"), "price.grossPrice", "must be a number"),
            (with(":1}", ":-1}"), "price.grossPrice", "greater than or equal to 0"),
            (with(":1}", ":1e400}"), "price.grossPrice", "28 digits"),
            (with(":1}", ":NaN}"), "", "expected value"),
            (with("USD", "USDT"), "price.currency", "ISO 4217"),
            (with("ONE_TIME", "RECURRING"), "price.billingCycle", "is required"),
            (with("CONSUMER", "consumer"), "customerType", "unknown variant"),
            (with("LICENSE", "LICENCE"), "product.type", "unknown variant"),
            (
                with("\"LICENSE\"", "\"LICENSE\",\"category\":\"a b\""),
                "product.category",
                "letters",
            ),
            (
                with("\"LICENSE\"", "\"LICENSE\",\"features\":{\"countries\":[\"FR\",\"XX\"]}"),
                "product.features.countries[1]",
                "ISO 3166-1",
            ),
            (with("\"name\"", "\"metadata\":[],\"name\""), "metadata", "JSON object"),
            (with("\"name\"", "\"metadata\":{\"a\":\"\\ud800\"},\"name\""), "metadata", "Unicode"),
            (with("\"name\"", "\"updatedAt\":\"now\",\"name\""), "updatedAt", ""),
            (with("\"a\"", "\"a/b\""), "productOfferingId", "'/'"),
            (with("\"a\"", &format!("\"{}\"", "a".repeat(201))), "productOfferingId", "200 bytes"),
            (with("\"a\"", "\"\""), "productOfferingId", "empty"),
        ] {
            let (told_field, message) = refusal(&line);
            assert_eq!(told_field, field, "{line}: {message}");
            assert!(message.contains(part), "{line}: {message}");
        }
        let broken = Record::parse(b"{\"kind\":\"\xff\"}").expect_err("not UTF-8");
        assert_eq!(broken[0].message, "is not UTF-8 from byte 10 on");
    }

    /// A record of each kind, what it is read as, and its identities. With `"op":"delete"` it is a delete.
    const EACH_KIND: [(&str, &str, &[&str]); 9] = [
        (OFFERING, "offering", &["a"]),
        (r#"{"kind":"promotion","code":"x","percentOff":5}"#, "promotion", &["X"]),
        (
            r#"{"kind":"partnerOffering","offering":{"type":"addon","name":"p q","quantity":1},"entitlements":{}}"#,
            "partnerOffering",
            &["addon p q"],
        ),
        (
            r#"{"kind":"exchangeRate","source_currency":"USD","destination_currency":"GHS","rate":12}"#,
            "exchangeRate",
            &["USD GHS"],
        ),
        (
            r#"{"kind":"network","id":7,"name":"N","country":"Ghana","country_code":"GH","currency":"GHS"}"#,
            "network 7",
            &["7"],
        ),
        (
            r#"{"kind":"bundle","network_id":7,"id":1,"name":"b","type":"DATA","price_usd":1,"local_currency":"GHS"}"#,
            "network 7 bundle 1",
            &["7 1"],
        ),
        (r#"{"kind":"product","sku":"A","name":"a"}"#, r#"product [Sku(Sku("A"))]"#, &["sku A"]),
        (
            r#"{"kind":"product","id":"01920e3a-7b1c-7def-8123-456789abcdef","externalId":"E","name":"a"}"#,
            r#"product [ExternalId(ExternalId("E")), Id(ProductId(01920e3a-7b1c-7def-8123-456789abcdef))]"#,
            &["externalId E", "id 01920e3a-7b1c-7def-8123-456789abcdef"],
        ),
        (
            r#"{"kind":"product","id":"01920e3a-7b1c-7def-8123-456789abcdef","name":"a"}"#,
            "product [Id(ProductId(01920e3a-7b1c-7def-8123-456789abcdef))]",
            &["id 01920e3a-7b1c-7def-8123-456789abcdef"],
        ),
    ];

    /// What a record is about, and whether it is a delete.
    fn about(record: &Record) -> (String, bool) {
        match record {
            Record::Document(DocumentRecord { key, operation }) => {
                (key.kind().to_string(), matches!(operation, Operation::Delete))
            }
            Record::Network(NetworkRecord { network, change }) => {
                let bundle = change.bundle().map(|id| format!(" bundle {id}")).unwrap_or_default();
                (format!("network {network}{bundle}"), change.is_delete())
            }
            Record::Product(record) => {
                let is_delete = matches!(record, ProductRecord::Delete(_));
                (format!("product {:?}", record.all_product_keys()), is_delete)
            }
        }
    }

    #[test]
    fn a_record_of_each_kind_and_its_delete_are_read_and_identified() {
        for (line, expected, identities) in EACH_KIND {
            let (record, updated_at) = Record::parse(line.as_bytes()).expect(line);
            assert_eq!((about(&record), updated_at), ((expected.to_owned(), false), None));
            let kind = Kind::parse(expected.split(' ').next().unwrap_or_default());
            let kind = if expected.contains("bundle") { Some(Kind::Bundle) } else { kind };
            let identities: Vec<String> = identities.iter().map(|&one| one.to_owned()).collect();
            assert_eq!(identities_of(line.as_bytes()), kind.zip(Some(identities.clone())));
            let delete =
                line.replacen('{', r#"{"op":"delete","updatedAt":"2026-01-01T00:00:00Z","#, 1);
            let (record, updated_at) = Record::parse(delete.as_bytes()).expect(&delete);
            let (named, is_delete) = about(&record);
            assert!(is_delete, "{delete}");
            assert_eq!(updated_at, Some(Timestamp::constant(1_767_225_600, 0)));
            // A delete finds its product by the first of its keys.
            let first = named.trim_end_matches(']');
            assert!(expected.starts_with(first), "{named}");
            assert_eq!(identities_of(delete.as_bytes()).map(|(_, all)| all), Some(identities));
        }
        let keyless = r#"{"kind":"product","op":"delete","name":"a"}"#;
        assert_eq!(refusal(keyless), ("sku".into(), "is required, or externalId, or id".into()));
    }

    #[test]
    fn a_product_that_an_import_creates_has_the_id_and_the_creation_time_of_its_record() {
        let row = |line: &str| match Record::parse(line.as_bytes()).expect(line).0 {
            Record::Product(ProductRecord::Upsert(row)) => row,
            other => panic!("{other:?}"),
        };
        let id = "01920e3a-7b1c-7def-8123-456789abcdef";
        let line = format!(
            r#"{{"kind":"product","sku":"A","name":"a","id":"{id}","createdAt":"2026-01-01T00:00:00Z","x":"1","x":"2"}}"#
        );
        let whole = row(&line);
        assert_eq!(whole.id, ProductId::parse(id));
        assert_eq!(whole.created_at, Some(Timestamp::constant(1_767_225_600, 0)));
        let other = row(&line.replace(id, "7").replace("\"2026-01-01T00:00:00Z\"", "null"));
        assert_eq!((other.id, other.created_at), (None, None));
        let wrong = line.replace("2026-01-01", "yesterday");
        assert_eq!(refusal(&wrong).0, "createdAt");
    }

    #[test]
    fn an_offering_alone_has_a_creation_time_of_its_source() {
        let created_at = |line: &str| match Record::parse(line.as_bytes()).expect(line).0 {
            Record::Document(DocumentRecord { operation: Operation::Upsert(content), .. }) => {
                content.source_created_at()
            }
            other => panic!("{other:?}"),
        };
        let own = r#""createdAt":"2026-01-01T00:00:00Z","name""#;
        let time = Some(Timestamp::constant(1_767_225_600, 0));
        assert_eq!(created_at(&OFFERING.replace("\"name\"", own)), time);
        assert_eq!(created_at(OFFERING), None);
        assert_eq!(created_at(EACH_KIND[1].0), None);
    }

    #[test]
    fn a_product_is_named_by_its_keys_whatever_the_id_of_its_source_is() {
        for id in ["7", "null", "true", "[1]", "\"\\ud800\""] {
            let line = format!(r#"{{"kind":"product","sku":"A","name":"a","id":{id}}}"#);
            Record::parse(line.as_bytes()).expect(&line);
            assert_eq!(
                identities_of(line.as_bytes()),
                Some((Kind::Product, vec!["sku A".to_owned()])),
                "{line}"
            );
            let delete = line.replace("\"name\"", "\"op\":\"delete\",\"name\"");
            let (record, _) = Record::parse(delete.as_bytes()).expect(&delete);
            assert!(matches!(record, Record::Product(ProductRecord::Delete(_))), "{delete}");
        }
    }

    #[test]
    fn a_line_has_its_identity_whatever_its_operation_and_its_time_are() {
        for wrong in [r#""updatedAt":"now""#, r#""updatedAt":7"#, r#""op":"drop""#] {
            let line = format!(r#"{{"kind":"product","sku":"A","name":"a",{wrong}}}"#);
            Record::parse(line.as_bytes()).expect_err(&line);
            let identities = identities_of(line.as_bytes());
            assert_eq!(identities, Some((Kind::Product, vec!["sku A".to_owned()])), "{line}");
        }
    }

    #[test]
    fn all_that_is_wrong_with_the_values_of_a_record_is_told_at_once() {
        let line = OFFERING.replace("\"A\"", "\"\"").replace(":1}", ":-1}");
        let errors = Record::parse(line.as_bytes()).expect_err("two errors");
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["name", "price.grossPrice"]);
    }
}
