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
        let rest = record.get().strip_suffix(&catalogs_member(&seen.catalogs))?;
        let visible = seen.catalogs.intersection(own).cloned().collect();
        RawValue::from_string(format!("{rest}{}", catalogs_member(&visible))).ok()
    }
}

/// The last member of an offering's record, and the end of the record.
#[must_use]
pub fn catalogs_member(catalogs: &BTreeSet<CatalogId>) -> String {
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
