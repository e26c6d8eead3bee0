//! The record of a key, and the checks that a request must pass.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Limits;
use crate::{
    account::AccountId,
    money::Currency,
    offerings::{CatalogId, CustomerType},
    text::spelled_enum,
};

spelled_enum! {
    /// What a key may do.
    pub enum Permission {
        /// List and get product offerings.
        OfferingsRead = "offerings.read",
        /// List partner offerings.
        PartnersRead = "partners.read",
        /// List networks, countries and network products.
        AirtimeRead = "airtime.read",
        /// List products.
        ProductsRead = "products.read",
        /// Upsert products.
        ProductsWrite = "products.write",
        /// Read what changed in the catalog, of all kinds.
        ChangesRead = "changes.read",
        /// Submit imports, and read what became of all imports of the account.
        ImportsWrite = "imports.write",
        /// Export the catalog.
        ExportsRead = "exports.read",
    }
}

/// Everything stored about a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRecord {
    /// The account whose data it gives access to.
    pub account: AccountId,
    /// The name that its holder gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    pub permissions: BTreeSet<Permission>,
    /// The customer types it may see; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_types: Option<BTreeSet<CustomerType>>,
    /// The product catalogs it may see; `None`: all, and offerings without a catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_catalogs: Option<BTreeSet<CatalogId>>,
    /// The currency that exchange rates convert from.
    pub wallet_currency: Currency,
    /// The IP networks it may be used from; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_cidrs: Vec<IpNet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// How much it may use in a minute.
    #[serde(flatten)]
    pub limits: Limits,
    pub created_at: Timestamp,
}

/// Why a key was rejected. The order of the variants is the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRejection {
    /// No key, more than one, or a malformed one.
    Malformed,
    Unknown,
    Revoked,
    Expired,
    /// The caller's address is not in the key's networks.
    IpNotAllowed,
    /// The key does not have the endpoint's permission.
    PermissionLacking,
}

/// An authenticated caller, and what it may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub account: AccountId,
    /// The customer types it may see; `None`: all.
    pub customer_types: Option<BTreeSet<CustomerType>>,
    /// The product catalogs it may see; `None`: all.
    pub product_catalogs: Option<BTreeSet<CatalogId>>,
    /// The currency that exchange rates convert from.
    pub wallet_currency: Currency,
}

impl KeyRecord {
    /// A key without restrictions, created now.
    #[must_use]
    pub fn new(account: AccountId, permissions: impl IntoIterator<Item = Permission>) -> Self {
        Self {
            account,
            label: None,
            permissions: permissions.into_iter().collect(),
            customer_types: None,
            product_catalogs: None,
            wallet_currency: Currency::USD,
            allowed_cidrs: Vec::new(),
            expires_at: None,
            revoked_at: None,
            limits: Limits::default(),
            created_at: Timestamp::now(),
        }
    }

    /// Checks, in the contract's order, whether a request with this key is permitted.
    ///
    /// A key that is restricted to networks is rejected if the caller's address is unknown.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn admit(
        &self,
        permission: Permission,
        source_ip: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Principal, KeyRejection> {
        if self.revoked_at.is_some() {
            return Err(KeyRejection::Revoked);
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            return Err(KeyRejection::Expired);
        }
        if !self.allowed_cidrs.is_empty() {
            // An IPv4 caller may arrive as an IPv4-mapped IPv6 address.
            let source = source_ip.map(|ip| ip.to_canonical());
            if !source.is_some_and(|ip| self.allowed_cidrs.iter().any(|net| net.contains(&ip))) {
                return Err(KeyRejection::IpNotAllowed);
            }
        }
        if !self.permissions.contains(&permission) {
            return Err(KeyRejection::PermissionLacking);
        }
        Ok(Principal {
            account: self.account.clone(),
            customer_types: self.customer_types.clone(),
            product_catalogs: self.product_catalogs.clone(),
            wallet_currency: self.wallet_currency,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> KeyRecord {
        let account = AccountId::parse("ACME").expect("account");
        KeyRecord::new(account, [Permission::OfferingsRead])
    }

    fn admit(record: &KeyRecord, ip: &str) -> Result<(), KeyRejection> {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("time");
        record.admit(Permission::OfferingsRead, ip.parse().ok(), now).map(|_| ())
    }

    #[test]
    fn the_first_failing_check_of_the_contracts_order_is_told() {
        let mut key = record();
        assert_eq!(admit(&key, "10.0.0.1"), Ok(()));
        key.permissions.clear();
        assert_eq!(admit(&key, "10.0.0.1"), Err(KeyRejection::PermissionLacking));
        key.allowed_cidrs = vec!["192.0.2.0/24".parse().expect("cidr")];
        assert_eq!(admit(&key, "10.0.0.1"), Err(KeyRejection::IpNotAllowed));
        key.expires_at = Some("2026-01-01T00:00:00Z".parse().expect("time"));
        assert_eq!(admit(&key, "10.0.0.1"), Err(KeyRejection::Expired));
        key.revoked_at = Some(Timestamp::UNIX_EPOCH);
        assert_eq!(admit(&key, "10.0.0.1"), Err(KeyRejection::Revoked));
    }

    #[test]
    fn an_admitted_caller_may_see_what_its_key_may() {
        let limited = KeyRecord {
            customer_types: Some([CustomerType::Business].into()),
            product_catalogs: Some([CatalogId::parse("web").expect("id")].into()),
            wallet_currency: Currency::parse("EUR").expect("currency"),
            // It ends a moment later.
            expires_at: Some("2026-01-01T00:00:00.001Z".parse().expect("time")),
            ..record()
        };
        let now = "2026-01-01T00:00:00Z".parse().expect("time");
        let principal = Principal {
            account: limited.account.clone(),
            customer_types: limited.customer_types.clone(),
            product_catalogs: limited.product_catalogs.clone(),
            wallet_currency: limited.wallet_currency,
        };
        assert_eq!(limited.admit(Permission::OfferingsRead, None, now), Ok(principal));
        let lacking = Err(KeyRejection::PermissionLacking);
        assert_eq!(limited.admit(Permission::ProductsRead, None, now), lacking);
    }

    #[test]
    fn networks_of_both_families_are_told_apart() {
        let mut key = record();
        key.allowed_cidrs =
            vec!["192.0.2.0/24".parse().expect("v4"), "2001:db8::/32".parse().expect("v6")];
        assert_eq!(admit(&key, "192.0.2.77"), Ok(()));
        assert_eq!(admit(&key, "::ffff:192.0.2.77"), Ok(()));
        assert_eq!(admit(&key, "2001:db8:1::9"), Ok(()));
        assert_eq!(admit(&key, "192.0.3.1"), Err(KeyRejection::IpNotAllowed));
        assert_eq!(admit(&key, "2001:db9::1"), Err(KeyRejection::IpNotAllowed));
        assert_eq!(admit(&key, "no address"), Err(KeyRejection::IpNotAllowed));
    }
}
