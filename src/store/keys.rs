//! The table `ApiKeys`: lookup of an API key by its hash; creating, listing, changing and revoking keys.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::{
    Store, StoreError,
    expression::Expression,
    item::{Item, number, read, text, text_of, write},
};
use crate::{
    access::{FieldUpdate, KeyChange, KeyHash, KeyLookup, KeyRecord, LimitName},
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

/// The attribute that has a limit.
fn limit_attribute(name: LimitName) -> &'static str {
    match name {
        LimitName::Reads => "readsPerMinute",
        LimitName::Writes => "writesPerMinute",
        LimitName::ReadUnits => "readUnitsPerMinute",
        LimitName::WriteUnits => "writeUnitsPerMinute",
    }
}

impl KeyLookup for Store {
    type Error = StoreError;

    async fn key(&self, hash: &KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        const OPERATION: &str = "get API key";
        let key = Item::from([("keyHash".to_owned(), text(hash.as_str()))]);
        // A consistent read costs half a unit more per minute, but new keys and revocations take effect at once.
        let item = self.get(OPERATION, &self.tables.api_keys, key, true).await?;
        item.map(|item| read(OPERATION, item)).transpose()
    }
}

impl Store {
    /// Stores a new key; `false` if there is a key with this hash already, which is not changed.
    pub async fn create_key(&self, hash: &KeyHash, record: &KeyRecord) -> Result<bool, StoreError> {
        const OPERATION: &str = "create API key";
        let request = self
            .put_item(&self.tables.api_keys, key_item(OPERATION, hash, record)?)
            .condition_expression("attribute_not_exists(keyHash)");
        Ok(self.put(OPERATION, request).await?.is_ok())
    }

    /// All keys of an account, the oldest first.
    pub async fn keys_of(
        &self,
        account: &AccountId,
    ) -> Result<Vec<(KeyHash, KeyRecord)>, StoreError> {
        const OPERATION: &str = "list API keys";
        let query = self
            .query_of(account, &self.tables.api_keys, "account = :account")
            .index_name("byAccount");
        let items = self.query_all(OPERATION, query).await?;
        let keys = items.into_iter().map(|item| {
            let hash = text_of(&item, "keyHash").and_then(KeyHash::parse);
            let hash =
                hash.ok_or_else(|| StoreError::unreadable(OPERATION, "a malformed key hash"))?;
            Ok((hash, read(OPERATION, item)?))
        });
        keys.collect()
    }

    /// Changes a key, and returns what it is then; `None` if the account has no key with this hash.
    pub async fn update_key(
        &self,
        account: &AccountId,
        hash: &KeyHash,
        change: &KeyChange,
    ) -> Result<Option<KeyRecord>, StoreError> {
        const OPERATION: &str = "update API key";
        let mut changes = vec![
            ("label", change.label.map(text)),
            ("expiresAt", change.expires_at.map(|time| text(time.to_string()))),
        ];
        changes.extend(
            LimitName::ALL.map(|name| {
                (limit_attribute(name), change.of(name).map(|limit| number(limit.get())))
            }),
        );
        if let Some(permissions) = &change.permissions {
            let names = permissions.iter().map(|permission| text(permission.as_str()));
            changes.push(("permissions", FieldUpdate::Set(AttributeValue::L(names.collect()))));
        }
        let mut expression = Expression::default();
        for (name, change) in changes {
            match change {
                FieldUpdate::Keep => {}
                FieldUpdate::Clear => expression.remove(name),
                FieldUpdate::Set(value) => expression.set(name, value),
            }
        }
        expression.value("account", text(account.as_str()));
        let update = expression
            .update(self.client.update_item())
            .table_name(&self.tables.api_keys)
            .key("keyHash", text(hash.as_str()))
            .condition_expression("account = :account");
        let updated = self.update_or_stored(OPERATION, update).await?.ok();
        updated.map(|item| read(OPERATION, item)).transpose()
    }

    /// Revokes a key from `now` on; `false` if the account has no key with this hash. A key that was revoked
    /// before keeps the time of its revocation.
    pub async fn revoke_key(
        &self,
        account: &AccountId,
        hash: &KeyHash,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let request = self
            .client
            .update_item()
            .table_name(&self.tables.api_keys)
            .key("keyHash", text(hash.as_str()))
            .update_expression("SET revokedAt = if_not_exists(revokedAt, :now)")
            .condition_expression("account = :account")
            .expression_attribute_values(":account", text(account.as_str()))
            .expression_attribute_values(":now", AttributeValue::S(now.to_string()));
        Ok(self.update("revoke API key", Some(&self.account_limits.writes), request).await?.is_ok())
    }
}
