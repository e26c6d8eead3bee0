//! The table `PartnerOfferings`: the whole catalog of an account in one Query.

use super::{
    Store, StoreError,
    item::{document, is_record},
};
use crate::{
    account::AccountId,
    partners::{PartnerOfferingKey, PartnerOfferingName, PartnerOfferingType},
};

/// The range key, which sorts as the published list does.
pub(super) fn offering_key(key: &PartnerOfferingKey) -> String {
    format!("{}#{}", prefix(key.offering_type), key.name)
}

/// Parses a range key.
pub(super) fn parse_offering_key(text: &str) -> Option<PartnerOfferingKey> {
    PartnerOfferingType::ALL.iter().find_map(|&offering_type| {
        let name = text.strip_prefix(prefix(offering_type))?.strip_prefix('#')?;
        let name = PartnerOfferingName::parse(name).ok()?;
        Some(PartnerOfferingKey { name, offering_type })
    })
}

fn prefix(offering_type: PartnerOfferingType) -> &'static str {
    match offering_type {
        PartnerOfferingType::Package => "1#PACKAGE",
        PartnerOfferingType::Addon => "2#ADDON",
    }
}

impl Store {
    /// The published objects of all partner offerings: packages before add-ons, each sorted by name.
    pub async fn partner_catalog(&self, account: &AccountId) -> Result<Vec<String>, StoreError> {
        const OPERATION: &str = "list partner offerings";
        let query = self
            .query_of(account, &self.tables.partner_offerings, "account = :account")
            .projection_expression("document");
        let items = self.query_all(OPERATION, query).await?;
        items.into_iter().filter(is_record).map(|item| document(OPERATION, item)).collect()
    }
}
