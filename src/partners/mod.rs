//! The partner offering (SendGrid Account Provisioning): a package or an add-on that a reseller may give to
//! its customers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    json::unique_map,
    text::{FieldError, identifier, spelled_enum},
};

spelled_enum! {
    /// What an offering is. The order is that of the published list.
    pub enum PartnerOfferingType {
        /// What an account is made of: it has exactly one.
        Package = "package",
        /// What may be added to it.
        Addon = "addon",
    }
}

identifier! {
    /// The name of an offering: with its type, its identity within the account.
    pub struct PartnerOfferingName, max 200, forbidden ""
}

identifier! {
    /// The name of an entitlement, such as `ip_count`; an open list.
    pub struct EntitlementName, max 100, forbidden ""
}

/// The identity of a partner offering within its account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct PartnerOfferingKey {
    pub name: PartnerOfferingName,
    #[serde(rename = "type")]
    pub offering_type: PartnerOfferingType,
}

/// A partner offering as the API returns it, and as a record brings it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct PartnerOffering {
    offering: OfferingLine,
    #[serde(default, deserialize_with = "unique_map")]
    entitlements: BTreeMap<EntitlementName, i64>,
}

/// What is offered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "PartnerOfferingLine"))]
struct OfferingLine {
    name: PartnerOfferingName,
    #[serde(rename = "type")]
    offering_type: PartnerOfferingType,
    #[serde(default = "one")]
    quantity: u32,
}

fn one() -> u32 {
    1
}

impl PartnerOffering {
    /// Validates what its types do not.
    ///
    /// # Errors
    /// The fields that break a rule.
    pub fn checked(self) -> Result<Self, Vec<FieldError>> {
        let message = match (self.offering.offering_type, self.offering.quantity) {
            (PartnerOfferingType::Package, 1) | (PartnerOfferingType::Addon, 1..) => {
                return Ok(self);
            }
            (PartnerOfferingType::Package, _) => "must be 1 for a package",
            (PartnerOfferingType::Addon, _) => "must be at least 1",
        };
        Err(vec![FieldError::new("offering.quantity", message)])
    }

    #[must_use]
    pub fn key(&self) -> PartnerOfferingKey {
        let OfferingLine { name, offering_type, .. } = &self.offering;
        PartnerOfferingKey { name: name.clone(), offering_type: *offering_type }
    }

    /// The published object.
    #[must_use]
    pub fn document(&self) -> String {
        // It has only strings and integers: serializing them cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}
