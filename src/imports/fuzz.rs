//! Any line of an import is a record with an identity, or is refused by its fields.

use super::{DocumentKey, Record, record::identities_of};
use crate::{fuzz::fuzz, products::ProductKey};

/// The identity that a record is found by.
fn identity_of(record: &Record) -> Option<String> {
    let product = |key: &ProductKey| match key {
        ProductKey::Sku(sku) => format!("sku {}", sku.as_str()),
        ProductKey::ExternalId(id) => format!("externalId {}", id.as_str()),
        ProductKey::Id(id) => format!("id {id}"),
    };
    match record {
        Record::Document(record) => Some(DocumentKey::identity(&record.key)),
        Record::Network(_) => None,
        Record::Product(record) => record.found_by().as_ref().map(product),
    }
}

#[test]
fn any_line_is_a_record_with_an_identity_or_is_refused_by_its_fields() {
    let words = [
        "kind",
        "op",
        "delete",
        "upsert",
        "updatedAt",
        "createdAt",
        "offering",
        "promotion",
        "partnerOffering",
        "network",
        "bundle",
        "exchangeRate",
        "product",
        "productOfferingId",
        "metadata",
        "fixed_bundles",
    ];
    fuzz("records", Vec::new(), &words, |input| {
        let found = identities_of(input);
        match Record::parse(input) {
            Ok((record, _)) => {
                let (_, identities) = found.expect("a record has an identity");
                if let Some(identity) = identity_of(&record) {
                    assert!(identities.contains(&identity), "{identity} is not in {identities:?}");
                }
            }
            Err(errors) => {
                assert!(!errors.is_empty());
                for error in errors {
                    assert!((1..=1_100).contains(&error.message.len()), "{}", error.message.len());
                    assert!(error.field.len() <= 1_100);
                }
            }
        }
    });
}
