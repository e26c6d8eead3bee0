//! One change of a record.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use crate::{
    access::Principal,
    imports::Kind,
    offerings::{CatalogId, Visibility},
    text::{sha256_prefix, spelled_enum},
};

spelled_enum! {
    /// The field of a product that identifies it.
    pub enum IdField {
        Sku = "sku",
        ExternalId = "externalId",
        Id = "id",
    }
}

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    #[serde(rename = "k")]
    pub kind: Kind,
    /// The identity within the kind, as imports know it.
    #[serde(rename = "i")]
    pub id: String,
    /// Of a product, the field whose value `id` is: a sku and an external id may be the same text.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub id_field: Option<IdField>,
}

/// A record as an export has it.
#[derive(Clone, Debug)]
pub struct ExportedRecord {
    pub identity: Identity,
    /// The line of an export, without its line break.
    pub json: String,
    /// Of an offering, what decides whether a key may see it.
    pub visibility: Option<Visibility>,
}

impl ExportedRecord {
    /// Of an offering, what its record has besides its catalogs and its time.
    fn fixed_members(&self) -> Option<BTreeMap<String, String>> {
        self.visibility.as_ref()?;
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(&self.json).ok()?;
        let fixed = members
            .into_iter()
            .filter(|(name, _)| !matches!(name.as_str(), "productCatalogIds" | "updatedAt"));
        Some(fixed.map(|(name, value)| (name, value.get().to_owned())).collect())
    }
}

/// The record after a change is not JSON.
#[derive(Debug, thiserror::Error)]
#[error("the record of a change is not JSON")]
pub struct NotJson {
    pub identity: Identity,
    #[source]
    cause: serde_json::Error,
}

/// One change of a record, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Change {
    #[serde(flatten)]
    pub identity: Identity,
    #[serde(rename = "t", with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub changed_at: Timestamp,
    /// What made the change: the id of an import, or its beginning; or `upsert`.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The record after the change; `None`: it was deleted.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Box<RawValue>>,
    /// Of an offering, who may see it after the change.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    after: Option<Visibility>,
    /// Of an offering, who could see it before the change, where that differs.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    before: Option<Visibility>,
    /// Of an offering, whether nothing but its catalogs, and the time, changed.
    #[serde(rename = "o", default, skip_serializing_if = "std::ops::Not::not")]
    only_catalogs: bool,
}

impl Change {
    /// The change of a record that is no longer there, or cannot be read any more. `before` is who could see it.
    #[must_use]
    pub fn delete(
        identity: Identity,
        before: Option<Visibility>,
        changed_at: Timestamp,
        source: Option<String>,
    ) -> Self {
        let (record, after, only_catalogs) = (None, None, false);
        Self { identity, changed_at, source, record, after, before, only_catalogs }
    }

    /// The change between two states of a record; `None` if an export shows no difference.
    ///
    /// # Errors
    /// [`NotJson`].
    pub fn between(
        before: Option<ExportedRecord>,
        after: Option<ExportedRecord>,
        changed_at: Timestamp,
        source: Option<String>,
    ) -> Result<Option<Self>, NotJson> {
        let same = |before: &ExportedRecord, after: &ExportedRecord| before.json == after.json;
        if before.as_ref().zip(after.as_ref()).is_some_and(|(before, after)| same(before, after)) {
            return Ok(None);
        }
        let Some(identity) = after.as_ref().or(before.as_ref()).map(|one| one.identity.clone())
        else {
            return Ok(None);
        };
        // The records are parsed only where the answer is asked for: if who may see the offering differs.
        let only_catalogs = before.as_ref().zip(after.as_ref()).is_some_and(|(before, after)| {
            before.visibility != after.visibility
                && before.fixed_members().is_some_and(|own| Some(own) == after.fixed_members())
        });
        let before = before.and_then(|before| before.visibility);
        let (record, after) = match after {
            Some(after) => match RawValue::from_string(after.json) {
                Ok(record) => (Some(record), after.visibility),
                Err(cause) => return Err(NotJson { identity, cause }),
            },
            None => (None, None),
        };
        let before = before.filter(|before| after.as_ref() != Some(before));
        Ok(Some(Self { identity, changed_at, source, record, after, before, only_catalogs }))
    }

    /// The record after the change; `None`: it was deleted.
    #[must_use]
    pub fn record(&self) -> Option<&str> {
        self.record.as_deref().map(RawValue::get)
    }

    /// The change as a caller with this view is told it; `None`: not at all.
    #[must_use]
    pub fn seen_with(mut self, view: View<'_>) -> Option<Self> {
        let View::Of(principal) = view else { return Some(self) };
        match self.identity.kind {
            Kind::Promotion => None,
            Kind::Offering => {
                let sees = |visibility: &Visibility| visibility.allows(principal);
                let seen_after = self.after.as_ref().is_some_and(sees);
                // Only a difference is stored.
                let seen_before = self.before.as_ref().map_or(seen_after, sees);
                if seen_after && seen_before && self.is_of_other_catalogs(principal) {
                    return None;
                }
                if seen_after {
                    self.record = self.restricted_record(principal);
                } else if seen_before {
                    self.record = None;
                } else {
                    return None;
                }
                Some(self)
            }
            _ => Some(self),
        }
    }

    /// Whether an offering was only put into catalogs, or taken out of some, that the caller is told nothing of.
    fn is_of_other_catalogs(&self, principal: &Principal) -> bool {
        let (Some(own), Some(before), Some(after)) =
            (&principal.product_catalogs, &self.before, &self.after)
        else {
            return false;
        };
        self.only_catalogs
            && before.customer_type == after.customer_type
            && before.catalogs.intersection(own).eq(after.catalogs.intersection(own))
    }

    /// The record of an offering that names only the caller's own catalogs.
    fn restricted_record(&self, principal: &Principal) -> Option<Box<RawValue>> {
        let (record, seen) = (self.record.as_ref()?, self.after.as_ref()?);
        let Some(own) = &principal.product_catalogs else { return Some(record.clone()) };
        let rest = record.get().strip_suffix(&catalogs_and_end(&seen.catalogs))?;
        let visible = seen.catalogs.intersection(own).cloned().collect();
        RawValue::from_string(format!("{rest}{}", catalogs_and_end(&visible))).ok()
    }
}

/// The last member of an offering's record, and the end of the record.
#[must_use]
pub fn catalogs_and_end(catalogs: &BTreeSet<CatalogId>) -> String {
    format!(",\"productCatalogIds\":{}}}", json!(catalogs))
}

/// What a caller may see of the journal.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    Everything,
    /// What this caller's key is restricted to.
    Of(&'a Principal),
}

impl<'a> View<'a> {
    /// The view of a caller.
    #[must_use]
    pub fn of(principal: &'a Principal) -> Self {
        if principal.customer_types.is_none() && principal.product_catalogs.is_none() {
            Self::Everything
        } else {
            Self::Of(principal)
        }
    }

    /// A fingerprint of the restrictions.
    #[must_use]
    pub fn fingerprint(self) -> [u8; 8] {
        match self {
            Self::Everything => [0; 8],
            Self::Of(Principal { customer_types, product_catalogs, .. }) => {
                sha256_prefix(json!([customer_types, product_catalogs]).to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{account::AccountId, money::Currency, offerings::CustomerType};

    const AT: Timestamp = Timestamp::constant(1_767_225_600, 0);

    fn catalogs(ids: &[&str]) -> BTreeSet<CatalogId> {
        ids.iter().map(|id| CatalogId::parse(id).expect("id")).collect()
    }

    /// An offering with this name, in these catalogs.
    fn offering(name: &str, customer_type: CustomerType, ids: &[&str]) -> ExportedRecord {
        let identity = Identity { kind: Kind::Offering, id: "o".to_owned(), id_field: None };
        let catalogs = catalogs(ids);
        let end = catalogs_and_end(&catalogs);
        let json = format!("{{\"name\":\"{name}\",\"customerType\":\"{customer_type}\"{end}");
        ExportedRecord { identity, json, visibility: Some(Visibility { customer_type, catalogs }) }
    }

    fn consumer(name: &str, ids: &[&str]) -> ExportedRecord {
        offering(name, CustomerType::Consumer, ids)
    }

    fn between(before: Option<ExportedRecord>, after: Option<ExportedRecord>) -> Change {
        let change = Change::between(before, after, AT, Some("import".to_owned()));
        change.expect("JSON").expect("a change")
    }

    fn principal(own: Option<&[&str]>, types: Option<CustomerType>) -> Principal {
        Principal {
            account: AccountId::parse("ACME").expect("account"),
            customer_types: types.map(|one| [one].into()),
            product_catalogs: own.map(catalogs),
            wallet_currency: Currency::USD,
        }
    }

    /// What a caller is told of a change: the record, or that it is deleted; "" if nothing.
    fn told(principal: &Principal, change: Change) -> String {
        let Some(change) = change.seen_with(View::of(principal)) else { return String::new() };
        change.record().unwrap_or("deleted").to_owned()
    }

    #[test]
    fn a_key_of_some_catalogs_is_told_of_offerings_that_enter_change_in_and_leave_them() {
        let web_shop = principal(Some(&["web", "shop"]), None);
        let record = |name: &str, ids: &[&str]| consumer(name, ids).json;
        let other = |name: &str, ids: &[&str]| offering(name, CustomerType::Business, ids);
        let (retail, web): (&[&str], &[&str]) = (&["retail"], &["web"]);
        for (before, after, expected) in [
            (None, Some(consumer("a", &["retail", "web"])), record("a", web)),
            (None, Some(consumer("a", retail)), String::new()),
            (Some(consumer("a", retail)), Some(consumer("a", web)), record("a", web)),
            (Some(consumer("a", web)), Some(consumer("a", retail)), "deleted".into()),
            (Some(consumer("a", retail)), Some(consumer("b", retail)), String::new()),
            (Some(consumer("a", web)), Some(consumer("b", web)), record("b", web)),
            // What happens in other catalogs alone is nothing.
            (Some(consumer("a", web)), Some(consumer("a", &["retail", "web"])), String::new()),
            (Some(consumer("a", web)), Some(consumer("b", &["retail", "web"])), record("b", web)),
            (
                Some(consumer("a", web)),
                Some(consumer("a", &["shop", "web"])),
                record("a", &["shop", "web"]),
            ),
            (Some(other("a", web)), Some(consumer("a", &["retail", "web"])), record("a", web)),
            (Some(consumer("a", web)), None, "deleted".into()),
            (Some(consumer("a", retail)), None, String::new()),
        ] {
            let shown = format!("{before:?} {after:?}");
            assert_eq!(told(&web_shop, between(before, after)), expected, "{shown}");
        }
    }

    #[test]
    fn a_key_of_some_customers_is_told_of_their_offerings_with_all_catalogs() {
        let consumers = principal(None, Some(CustomerType::Consumer));
        let seen = consumer("a", &["retail", "web"]);
        let hidden = offering("a", CustomerType::Business, &["web"]);
        let create = between(None, Some(seen.clone()));
        assert_eq!(told(&consumers, create), seen.json);
        let enter = between(Some(hidden.clone()), Some(seen.clone()));
        assert_eq!(told(&consumers, enter), seen.json);
        let leave = between(Some(seen), Some(hidden.clone()));
        assert_eq!(told(&consumers, leave), "deleted");
        assert_eq!(told(&consumers, between(None, Some(hidden))), "");
    }

    #[test]
    fn a_restricted_key_is_told_everything_of_other_kinds_but_promotions() {
        let restricted = principal(Some(&["web"]), None);
        let whole = principal(None, None);
        for kind in Kind::ALL.iter().copied().filter(|kind| *kind != Kind::Offering) {
            let identity = Identity { kind, id: "x".to_owned(), id_field: None };
            let record = ExportedRecord { identity, json: "{}".to_owned(), visibility: None };
            let change = between(None, Some(record));
            let expected = if kind == Kind::Promotion { "" } else { "{}" };
            assert_eq!(told(&restricted, change.clone()), expected, "{kind}");
            assert_eq!(told(&whole, change), "{}", "{kind}");
        }
    }

    #[test]
    fn a_change_is_stored_with_who_saw_it_before_only_where_that_differs() {
        let stored = |change: &Change| serde_json::to_string(change).expect("JSON");
        let (one, other) = (consumer("a", &["web"]), consumer("a", &["retail"]));
        assert_eq!(
            stored(&between(Some(one.clone()), Some(other.clone()))),
            format!(
                r#"{{"k":"offering","i":"o","t":1767225600000,"s":"import","r":{},"a":{{"t":"CONSUMER","c":["retail"]}},"b":{{"t":"CONSUMER","c":["web"]}},"o":true}}"#,
                other.json
            )
        );
        let renamed = consumer("b", &["web"]);
        assert_eq!(
            stored(&between(Some(one.clone()), Some(renamed.clone()))),
            format!(
                r#"{{"k":"offering","i":"o","t":1767225600000,"s":"import","r":{},"a":{{"t":"CONSUMER","c":["web"]}}}}"#,
                renamed.json
            )
        );
        let deleted = between(Some(one), None);
        let expected = r#"{"k":"offering","i":"o","t":1767225600000,"s":"import","b":{"t":"CONSUMER","c":["web"]}}"#;
        assert_eq!(stored(&deleted), expected);
        let read: Change = serde_json::from_str(expected).expect("a change");
        assert_eq!(stored(&read), expected);
    }

    #[test]
    fn no_difference_is_no_change_and_what_is_no_json_is_named() {
        let one = || Some(consumer("a", &["web"]));
        assert!(Change::between(one(), one(), AT, None).expect("JSON").is_none());
        assert!(Change::between(None, None, AT, None).expect("JSON").is_none());
        let broken = ExportedRecord { json: "{".to_owned(), ..consumer("a", &["web"]) };
        let error = Change::between(None, Some(broken), AT, None).expect_err("no JSON");
        assert_eq!(error.identity, consumer("a", &[]).identity);
        assert_eq!(error.to_string(), "the record of a change is not JSON");
    }

    #[test]
    fn keys_have_one_fingerprint_if_they_have_one_view() {
        let own = Some(CustomerType::Consumer);
        let keys = [
            principal(None, None),
            principal(Some(&["web"]), None),
            principal(None, own),
            principal(Some(&["web"]), own),
            principal(Some(&[]), None),
        ];
        let fingerprints: Vec<_> = keys.iter().map(|key| View::of(key).fingerprint()).collect();
        assert_eq!(fingerprints[0], [0; 8]);
        assert_eq!(fingerprints.iter().collect::<BTreeSet<_>>().len(), keys.len());
        let same = principal(Some(&["web"]), None);
        assert_eq!(View::of(&same).fingerprint(), fingerprints[1]);
    }
}
