//! The table `ApiKeys`: lookup of an API key by its hash; creating, listing and revoking keys.

use std::{collections::BTreeSet, error::Error};

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    types::AttributeValue,
};
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Store, StoreError,
    item::{read, text, write},
};
use crate::{
    access::{KeyHash, KeyLookup, KeyRecord, Permission},
    account::AccountId,
    money::Currency,
    offerings::{CatalogId, CustomerType},
};

/// An item of the table.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyItem {
    key_hash: String,
    account: AccountId,
    created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    permissions: BTreeSet<Permission>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer_types: Option<BTreeSet<CustomerType>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    product_catalogs: Option<BTreeSet<CatalogId>>,
    wallet_currency: Currency,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    allowed_cidrs: Vec<IpNet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Timestamp>,
}

impl KeyItem {
    fn new(hash: &KeyHash, record: &KeyRecord) -> Self {
        let record = record.clone();
        Self {
            key_hash: hash.as_str().to_owned(),
            account: record.account,
            created_at: record.created_at,
            label: record.label,
            permissions: record.permissions,
            customer_types: record.customer_types,
            product_catalogs: record.product_catalogs,
            wallet_currency: record.wallet_currency,
            allowed_cidrs: record.allowed_cidrs,
            expires_at: record.expires_at,
            revoked_at: record.revoked_at,
        }
    }

    fn into_record(self) -> KeyRecord {
        KeyRecord {
            account: self.account,
            label: self.label,
            permissions: self.permissions,
            customer_types: self.customer_types,
            product_catalogs: self.product_catalogs,
            wallet_currency: self.wallet_currency,
            allowed_cidrs: self.allowed_cidrs,
            expires_at: self.expires_at,
            revoked_at: self.revoked_at,
            created_at: self.created_at,
        }
    }
}

impl KeyLookup for Store {
    type Error = StoreError;

    async fn key(&self, hash: &KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        const OPERATION: &str = "get API key";
        let request = self
            .client
            .get_item()
            .table_name(&self.tables.api_keys)
            .key("keyHash", text(hash.as_str()))
            // This costs half a unit more, once a minute; but a new key works at once, and so does a
            // revocation.
            .consistent_read(true);
        let item = self.get(OPERATION, request).await?;
        item.map(|item| read(OPERATION, item).map(KeyItem::into_record)).transpose()
    }
}

impl Store {
    /// Stores a new key; `false` if there is a key with this hash already, which is not changed.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn create_key(&self, hash: &KeyHash, record: &KeyRecord) -> Result<bool, StoreError> {
        const OPERATION: &str = "create API key";
        let request = self
            .client
            .put_item()
            .table_name(&self.tables.api_keys)
            .set_item(Some(write(OPERATION, KeyItem::new(hash, record))?))
            .condition_expression("attribute_not_exists(keyHash)");
        let outcome = self.attempt(OPERATION, None, || request.clone().send()).await;
        unless_condition_failed(OPERATION, outcome)
    }

    /// All keys of an account, the oldest first.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn keys_of(
        &self,
        account: &AccountId,
    ) -> Result<Vec<(KeyHash, KeyRecord)>, StoreError> {
        const OPERATION: &str = "list API keys";
        let query = self
            .client
            .query()
            .table_name(&self.tables.api_keys)
            .index_name("byAccount")
            .key_condition_expression("account = :account")
            .expression_attribute_values(":account", text(account.as_str()));
        let items = self.query_all(OPERATION, query).await?;
        let keys = items.into_iter().map(|item| {
            let item: KeyItem = read(OPERATION, item)?;
            let hash = KeyHash::parse(&item.key_hash)
                .ok_or_else(|| StoreError::unreadable(OPERATION, "a malformed key hash"))?;
            Ok((hash, item.into_record()))
        });
        keys.collect()
    }

    /// Revokes a key from `now` on; `false` if the account has no key with this hash. A key that was revoked
    /// before keeps the time of its revocation.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn revoke_key(
        &self,
        account: &AccountId,
        hash: &KeyHash,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "revoke API key";
        let request = self
            .client
            .update_item()
            .table_name(&self.tables.api_keys)
            .key("keyHash", text(hash.as_str()))
            .update_expression("SET revokedAt = if_not_exists(revokedAt, :now)")
            .condition_expression("account = :account")
            .expression_attribute_values(":account", text(account.as_str()))
            .expression_attribute_values(":now", AttributeValue::S(now.to_string()));
        let outcome = self.attempt(OPERATION, None, || request.clone().send()).await;
        unless_condition_failed(OPERATION, outcome)
    }
}

/// Whether a conditional write took effect. A condition that did not hold is not an error.
fn unless_condition_failed<T, E>(
    operation: &'static str,
    outcome: Result<T, SdkError<E, HttpResponse>>,
) -> Result<bool, StoreError>
where
    E: Error + ProvideErrorMetadata + 'static,
{
    match outcome {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(false),
        Err(error) => Err(StoreError::from_sdk(operation, &error)),
    }
}
