//! The record of an item, as export jobs and the journal of changes have it: each bundle apart from its network
//! (`export.rs` also puts them together).

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::json;

use super::{
    StoreError,
    item::{Item, ORDER, document, is_record, offering, order_of, text_of, time_of},
    kinds::Place,
    networks::{Part, parse_key, part},
    products::{parse_range_key, product_of},
};
use crate::{
    changes::{ExportedRecord, IdField, Identity, catalogs_and_end},
    imports::{DocumentKey, Kind},
    networks::{CurrencyPair, Network, NetworkId},
    order::Order,
    partners::PartnerOfferingKey,
    products::{Product, ProductKey},
    text::rfc3339_millis,
};

/// The record of an item of a kind: an item of networks may be a network or a bundle. `None`: the item is a link,
/// a tombstone, or the item of a network that has no record of its own, only a count of its bundles.
pub(super) fn exported(
    operation: &'static str,
    place: Place<'_>,
    item: Item,
) -> Result<Option<ExportedRecord>, StoreError> {
    let kind = place.kind;
    match kind {
        Kind::Product => {
            let stored = product_of(operation, &item)?;
            Ok(stored.map(|stored| ExportedRecord {
                identity: identity_of(&stored.product),
                json: product(&stored.product),
                visibility: None,
            }))
        }
        Kind::Network | Kind::Bundle => Ok(match part(operation, item)? {
            Part::Network(network, own, _) => Some(ExportedRecord {
                identity: identity(Kind::Network, network.id.to_string()),
                json: format!(
                    "{}{}}}",
                    open_network(&network),
                    updated_at_member(own.map(Order::time))
                ),
                visibility: None,
            }),
            Part::Bundle(network, id, Some(document), order) => Some(ExportedRecord {
                identity: identity(Kind::Bundle, format!("{network}/{id}")),
                json: bundle(network, &document, order),
                visibility: None,
            }),
            Part::Bundle(_, _, None, _) | Part::AbsentNetwork { .. } => None,
        }),
        _ if !is_record(&item) => Ok(None),
        Kind::Offering => {
            let row = offering(operation, item)?;
            let document = row.document.plain();
            let open = document.strip_suffix('}').unwrap_or(&document);
            let whole = format!("{open}{}", catalogs_and_end(&row.visibility.catalogs));
            Ok(Some(ExportedRecord {
                identity: identity(kind, row.id.to_string()),
                json: with_head("\"kind\":\"offering\"", &whole),
                visibility: Some(row.visibility),
            }))
        }
        // The other documents.
        _ => {
            let document_key = place.document_key_of(operation, &item)?;
            let time = order_of(&item, ORDER).map(Order::time);
            // Items that were written before writes had an order have an `updatedAt` instead.
            let time = time.or_else(|| time_of(&item, "updatedAt"));
            let head = format!("\"kind\":\"{kind}\"{}", updated_at_member(time));
            Ok(Some(ExportedRecord {
                identity: identity(kind, id_of(&document_key)),
                json: with_head(&head, &document(operation, item)?),
                visibility: None,
            }))
        }
    }
}

/// The identity of an item's record, by the item's key alone, for items that cannot be read otherwise. `None`: the key is
/// unreadable, too.
pub(super) fn identity_by_key(place: Place<'_>, item: &Item) -> Option<Identity> {
    match place.kind {
        Kind::Product => {
            let (field, id) = parse_range_key(text_of(item, place.range_key)?)?;
            Some(Identity { kind: place.kind, id: id.to_owned(), id_field: Some(field) })
        }
        Kind::Network | Kind::Bundle => {
            let (network, bundle) = parse_key(text_of(item, place.range_key)?)?;
            Some(match bundle {
                Some(bundle) => identity(Kind::Bundle, format!("{network}/{bundle}")),
                None => identity(Kind::Network, network.to_string()),
            })
        }
        kind => Some(identity(kind, id_of(&place.document_key_of("identify", item).ok()?))),
    }
}

fn identity(kind: Kind, id: String) -> Identity {
    Identity { kind, id, id_field: None }
}

fn identity_of(product: &Product) -> Identity {
    let (id_field, id) = match product.key() {
        ProductKey::Sku(sku) => (IdField::Sku, sku.as_str().to_owned()),
        ProductKey::ExternalId(id) => (IdField::ExternalId, id.as_str().to_owned()),
        ProductKey::Id(id) => (IdField::Id, id.to_string()),
    };
    Identity { kind: Kind::Product, id, id_field: Some(id_field) }
}

fn id_of(key: &DocumentKey) -> String {
    match key {
        DocumentKey::Offering(id) => id.to_string(),
        DocumentKey::Promotion(code) => code.as_str().to_owned(),
        DocumentKey::PartnerOffering(PartnerOfferingKey { name, offering_type }) => {
            format!("{offering_type}/{name}")
        }
        DocumentKey::ExchangeRate(CurrencyPair { source, destination }) => {
            format!("{source}/{destination}")
        }
    }
}

/// Adds members before those of a JSON object.
fn with_head(head: &str, object: &str) -> String {
    match object.strip_prefix('{') {
        Some("}") | None => format!("{{{head}}}"),
        Some(rest) => format!("{{{head},{rest}"),
    }
}

/// The member `,"updatedAt":"…"`; empty without a time.
pub(super) fn updated_at_member(updated_at: Option<Timestamp>) -> String {
    updated_at
        .map(|time| format!(",\"updatedAt\":\"{}\"", rfc3339_millis(time)))
        .unwrap_or_default()
}

pub(super) fn product(product: &Product) -> String {
    // Serializing cannot fail, so the fallback is never used.
    let document = serde_json::to_string(product).unwrap_or_default();
    with_head("\"kind\":\"product\"", &document)
}

/// The record of a bundle.
pub(super) fn bundle(network: NetworkId, document: &str, order: Option<Order>) -> String {
    let updated_at = updated_at_member(order.map(Order::time));
    let head = format!("\"kind\":\"bundle\",\"network_id\":{network}{updated_at}");
    with_head(&head, document)
}

/// The beginning of a network's record, without `updatedAt`, bundles and closing brace, which the caller appends.
pub(super) fn open_network(network: &Network) -> String {
    let record = json!({
        "kind": "network",
        "id": network.id,
        "name": network.name,
        "country": network.country,
        "country_code": network.country_code,
        "currency": network.currency,
        "logo_url": network.logo_url,
    });
    let mut text = record.to_string();
    text.pop();
    // As text, not as values, so that amounts keep their digits.
    let own = [
        ("custom_airtime", serde_json::to_string(&network.custom_airtime)),
        ("sms_notification", serde_json::to_string(&network.sms_notification)),
    ];
    for (name, value) in own {
        let _ = write!(text, ",\"{name}\":{}", value.unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod fuzz {
    use jiff::Timestamp;
    use serde_json::value::RawValue;

    use super::{bundle, open_network, product, with_head};
    use crate::{
        changes::catalogs_and_end,
        fuzz::fuzz,
        imports::{Content, DocumentRecord, NetworkRecord, Operation, ProductRecord, Record},
        json::is_unicode,
        networks::NetworkChange,
        products::{Product, ProductId},
    };

    /// The lines that an export with each bundle apart has after only this record was imported; none after a delete.
    fn exported(record: Record) -> Vec<String> {
        let now = Timestamp::from_second(1_767_225_600).expect("a time");
        match record {
            Record::Document(DocumentRecord { operation: Operation::Delete, .. })
            | Record::Product(ProductRecord::Delete(_) | ProductRecord::Purge(_)) => Vec::new(),
            Record::Document(DocumentRecord { key, operation: Operation::Upsert(content) }) => {
                let head = format!("\"kind\":\"{}\"", key.kind());
                let Content::Offering(offering) = content else {
                    return vec![with_head(&head, &content.hashed_content())];
                };
                let row = offering.into_stored(now, now);
                let document = row.document.plain();
                let open = document.strip_suffix('}').expect("an object");
                let catalogs = catalogs_and_end(&row.visibility.catalogs);
                vec![with_head(&head, &format!("{open}{catalogs}"))]
            }
            Record::Network(NetworkRecord { network: id, change }) => match change {
                NetworkChange::Bundle(stored) => vec![bundle(id, &stored.document(), None)],
                NetworkChange::Network { network, bundles } => {
                    let bundles = bundles.unwrap_or_default();
                    let bundles = bundles.iter().map(|stored| bundle(id, &stored.document(), None));
                    bundles.chain([format!("{}}}", open_network(&network))]).collect()
                }
                NetworkChange::DeleteBundle(_) | NetworkChange::DeleteNetwork => Vec::new(),
            },
            Record::Product(ProductRecord::Upsert(row)) => {
                let id = row.id.unwrap_or(ProductId::from_bytes([7; 16]));
                Product::created(&row, id, now).iter().map(product).collect()
            }
        }
    }

    #[test]
    fn any_record_that_is_taken_is_exported_as_a_line_that_is_taken_as_the_same() {
        let words =
            ["metadata", "features", "richContent", "\\u2028", "\u{2028}", "productCatalogIds"];
        fuzz("records", Vec::new(), &words, |input| {
            let Ok((record, _)) = Record::parse(input) else { return };
            for line in exported(record) {
                assert!(!line.contains('\n') && !line.contains('\r'), "{line}");
                serde_json::from_str::<&RawValue>(&line).expect("JSON");
                assert!(is_unicode(&line), "{line}");
                let again = Record::parse(line.as_bytes());
                let (again, _) = again.unwrap_or_else(|errors| panic!("{line}: {errors:?}"));
                assert_eq!(exported(again), [line]);
            }
        });
    }
}
