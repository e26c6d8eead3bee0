//! The table `ApiKeys`: lookup of an API key by its hash; creating, listing and revoking keys.

use aws_sdk_dynamodb::{
    operation::{put_item::PutItemOutput, update_item::UpdateItemOutput},
    types::AttributeValue,
};
use jiff::Timestamp;

use super::{
    Store, StoreError,
    item::{Item, read, text, write},
};
use crate::{
    access::{KeyHash, KeyLookup, KeyRecord},
    account::AccountId,
};

/// The item of a key.
fn key_item(
    operation: &'static str,
    hash: &KeyHash,
    record: &KeyRecord,
) -> Result<Item, StoreError> {
    let mut item = write(operation, record)?;
    item.insert("keyHash".to_owned(), text(hash.as_str()));
    Ok(item)
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
            // This costs half a unit more per minute, but new keys and revocations take effect at once.
            .consistent_read(true);
        let item = self.get(OPERATION, request).await?;
        item.map(|item| read(OPERATION, item)).transpose()
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
            .set_item(Some(key_item(OPERATION, hash, record)?))
            .condition_expression("attribute_not_exists(keyHash)");
        let send = || request.clone().send();
        self.write_if(OPERATION, send, PutItemOutput::consumed_capacity).await
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
            let hash = item.get("keyHash").and_then(|hash| KeyHash::parse(hash.as_s().ok()?));
            let hash =
                hash.ok_or_else(|| StoreError::unreadable(OPERATION, "a malformed key hash"))?;
            Ok((hash, read(OPERATION, item)?))
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
        let send = || request.clone().send();
        self.write_if(OPERATION, send, UpdateItemOutput::consumed_capacity).await
    }
}
