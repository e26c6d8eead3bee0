//! What an import would change, record by record and field by field: what a dry run shows.
//!
//! Records are compared as an export writes them, before and after, so an export that is imported again differs
//! in nothing. Values are compared and kept as JSON text: numbers keep their digits.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Content, DocumentKey, Kind, Version};
use crate::{
    account::AccountId,
    json::{Members, first_elements, type_name},
    networks::{Bundle, NetworkId, NetworkState},
    order::Order,
    outcome::Outcome,
    products::StoredProduct,
};

/// Access pattern of dry runs: records as an export writes them.
pub trait ExportedRecords: Sync {
    /// An error that ends the import.
    type Error: Send;

    /// The stored documents under these distinct keys, read consistently. Keys without a document are omitted.
    fn stored_documents(
        &self,
        account: &AccountId,
        keys: &[DocumentKey],
    ) -> impl Future<Output = Result<HashMap<DocumentKey, String>, Self::Error>> + Send;

    /// A document, once this version is written with this order.
    fn document(
        &self,
        account: &AccountId,
        key: &DocumentKey,
        order: Order,
        version: (Content, Version),
    ) -> Result<Option<String>, Self::Error>;

    /// A network with all its bundles; `None` if there is neither. Bundles without their network are a record
    /// without its other fields.
    fn network(state: &NetworkState) -> Option<String>;

    /// A bundle by itself, and the order of its newest write.
    fn bundle(network: NetworkId, bundle: &Bundle, order: Option<Order>) -> String;

    fn product(stored: &StoredProduct) -> String;
}

/// A record that an import would create, update or delete.
#[derive(Clone, Debug, Serialize)]
pub struct RecordChange {
    pub kind: Kind,
    /// Its identity within its kind: the fields that identify it, as text.
    pub id: String,
    /// The line that changes it; `None`: a snapshot removes it, because it is missing from the source.
    pub line: Option<u64>,
    pub outcome: Outcome,
    /// The fields that would change: first those that the record has already.
    pub fields: Vec<FieldChange>,
}

/// A field that would change.
#[derive(Clone, Debug, Serialize)]
pub struct FieldChange {
    /// Names joined by dots (`price.grossPrice`). A name with other characters than letters, digits and `_` is in
    /// brackets (`metadata["a.b"]`), and so is the id of a bundle (`fixed_bundles[id=101].price_usd`).
    pub path: String,
    /// `None`: the record does not have the field yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Box<RawValue>>,
    /// `None`: the record would no longer have the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Box<RawValue>>,
}

/// The member of a network's record that is compared element by element: a set of bundles with ids. Any other
/// array is one value.
const BUNDLES: &str = "fixed_bundles";

/// How deep objects are compared member by member; what is deeper is one value. Only metadata is ever as deep.
const MAX_DEPTH: usize = 8;

impl RecordChange {
    /// The change of a record from one state to another, each as an export writes it; `None`: no such record.
    pub(super) fn new(
        (kind, id): (Kind, String),
        line: u64,
        outcome: Outcome,
        (old, new): (Option<&str>, Option<&str>),
    ) -> Self {
        let mut fields = Vec::new();
        compare_members("", &fields_of(old), &fields_of(new), 0, &mut fields);
        // A snapshot's removals have no line.
        Self { kind, id, line: (line > 0).then_some(line), outcome, fields }
    }
}

/// Parts of a value by the ends of their paths.
type Parts<'a> = Vec<(String, &'a RawValue)>;

/// The fields of a record. Its kind is none of them.
fn fields_of(record: Option<&str>) -> Parts<'_> {
    // An export writes objects, so the fallback is never used.
    let members = record.and_then(|record| Members::of(record, |name| name != "kind").ok());
    members.map(|members| members.0).unwrap_or_default()
}

/// The members of an object; `None` if it is none, or has a name twice.
fn members_of(value: &RawValue) -> Option<Parts<'_>> {
    if type_name(value) != "object" {
        return None;
    }
    let members = Members::of(value.get(), |_| true).ok()?;
    if members.duplicate().is_some() {
        return None;
    }
    let end = |name: String| {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if !name.is_empty() && name.bytes().all(is_plain) {
            format!(".{name}")
        } else {
            format!("[{}]", serde_json::Value::String(name))
        }
    };
    Some(members.0.into_iter().map(|(name, value)| (end(name), value)).collect())
}

/// The bundles in an array, by their ids.
fn bundles_of(value: Option<&RawValue>) -> Option<Parts<'_>> {
    let Some(value) = value else { return Some(Vec::new()) };
    let bundle = |bundle| {
        let id = Members::of(RawValue::get(bundle), |name| name == "id").ok()?.0.pop()?.1;
        Some((format!("[id={}]", id.get()), bundle))
    };
    first_elements(value, usize::MAX).ok()?.into_iter().map(bundle).collect()
}

fn compare_members(
    path: &str,
    old: &Parts<'_>,
    new: &Parts<'_>,
    depth: usize,
    changes: &mut Vec<FieldChange>,
) {
    let news: HashMap<&str, &RawValue> =
        new.iter().map(|(end, value)| (end.as_str(), *value)).collect();
    let olds: HashSet<&str> = old.iter().map(|(end, _)| end.as_str()).collect();
    for (end, value) in old {
        let there = news.get(end.as_str()).copied();
        compare(format!("{path}{end}"), Some(*value), there, depth, changes);
    }
    for (end, value) in new.iter().filter(|(end, _)| !olds.contains(end.as_str())) {
        compare(format!("{path}{end}"), None, Some(*value), depth, changes);
    }
}

fn compare(
    path: String,
    old: Option<&RawValue>,
    new: Option<&RawValue>,
    depth: usize,
    changes: &mut Vec<FieldChange>,
) {
    if old.map(RawValue::get) == new.map(RawValue::get) {
        return;
    }
    let before = changes.len();
    let parts = if path == BUNDLES {
        bundles_of(old).zip(bundles_of(new))
    } else if depth < MAX_DEPTH {
        old.and_then(members_of).zip(new.and_then(members_of))
    } else {
        None
    };
    if let Some((old, new)) = parts {
        compare_members(&path, &old, &new, depth + 1, changes);
    }
    // Two texts of the same parts still differ: metadata is kept to the character.
    if changes.len() == before {
        let (old, new) = (old.map(ToOwned::to_owned), new.map(ToOwned::to_owned));
        changes.push(FieldChange { path, old, new });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(old: Option<&str>, new: Option<&str>) -> Vec<String> {
        let id = (Kind::Offering, "a".to_owned());
        let change = RecordChange::new(id, 1, Outcome::Updated, (old, new));
        let text = |value: &Option<Box<RawValue>>| {
            value.as_ref().map_or("", |value| value.get()).to_owned()
        };
        let line = |field: &FieldChange| {
            format!("{}: {} → {}", field.path, text(&field.old), text(&field.new))
        };
        change.fields.iter().map(line).collect()
    }

    #[test]
    fn only_what_differs_is_told_with_its_path_and_its_digits() {
        let old = r#"{"kind":"offering","name":"a","price":{"grossPrice":1.10,"currency":"USD"},"list":[1,2]}"#;
        let new = r#"{"kind":"offering","price":{"grossPrice":0.1234567890123456789012345678,"currency":"USD"},"list":[1,3],"x":null}"#;
        let told = [
            r#"name: "a" → "#,
            "price.grossPrice: 1.10 → 0.1234567890123456789012345678",
            "list: [1,2] → [1,3]",
            "x:  → null",
        ];
        assert_eq!(shown(Some(old), Some(new)), told);
        assert_eq!(shown(Some(old), Some(old)), [""; 0]);
    }

    #[test]
    fn what_is_only_on_one_side_is_one_value() {
        let record = r#"{"kind":"offering","price":{"grossPrice":1},"metadata":{}}"#;
        assert_eq!(shown(None, Some(record)), [r#"price:  → {"grossPrice":1}"#, "metadata:  → {}"]);
        assert_eq!(shown(Some(record), None), [r#"price: {"grossPrice":1} → "#, "metadata: {} → "]);
    }

    #[test]
    fn bundles_are_compared_by_their_ids() {
        let old = r#"{"fixed_bundles":[{"id":1,"price_usd":1},{"id":2,"price_usd":2}]}"#;
        let new = r#"{"fixed_bundles":[{"id":2,"price_usd":2.5},{"id":3,"price_usd":3}]}"#;
        let told = [
            r#"fixed_bundles[id=1]: {"id":1,"price_usd":1} → "#,
            "fixed_bundles[id=2].price_usd: 2 → 2.5",
            r#"fixed_bundles[id=3]:  → {"id":3,"price_usd":3}"#,
        ];
        assert_eq!(shown(Some(old), Some(new)), told);
        assert_eq!(shown(None, Some(r#"{"fixed_bundles":[]}"#)), ["fixed_bundles:  → []"]);
    }

    #[test]
    fn metadata_is_told_to_the_character_and_however_deep_it_is() {
        let with = |metadata: &str| format!(r#"{{"metadata":{metadata}}}"#);
        for (old, new, told) in [
            (r#"{"a.b":{"c":1}}"#, r#"{"a.b":{"c":2}}"#, r#"metadata["a.b"].c: 1 → 2"#),
            (r#"{"a":1}"#, r#"{"a": 1}"#, r#"metadata: {"a":1} → {"a": 1}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":1}"#, r#"metadata: {"a":1,"a":2} → {"a":1}"#),
        ] {
            assert_eq!(shown(Some(&with(old)), Some(&with(new))), [told]);
        }
        let deep = |value| format!("{}{value}{}", "{\"a\":".repeat(50_000), "}".repeat(50_000));
        let told = shown(Some(&with(&deep(1))), Some(&with(&deep(2))));
        assert_eq!(told.len(), 1);
        // Eight objects are compared member by member.
        let path = format!("metadata{}: {{", ".a".repeat(8));
        assert!(told[0].starts_with(&path), "{}", &told[0][..40]);
    }
}
