//! The table `ApiKeys`: lookup of an API key by its hash; creating, listing, changing and revoking keys.

use aws_sdk_dynamodb::{
    operation::{put_item::PutItemOutput, update_item::UpdateItemOutput},
    types::AttributeValue,
};
use jiff::Timestamp;

use super::{
    Store, StoreError,
    item::{Item, number, read, text, write},
};
use crate::{
    access::{Balance, Change, KeyChange, KeyHash, KeyLookup, KeyRecord},
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
fn limit_attribute(balance: Balance) -> &'static str {
    match balance {
        Balance::Reads => "readsPerMinute",
        Balance::Writes => "writesPerMinute",
        Balance::ReadUnits => "readUnitsPerMinute",
        Balance::WriteUnits => "writeUnitsPerMinute",
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

    /// Changes a key, and returns what it is then; `None` if the account has no key with this hash.
    ///
    /// # Errors
    /// When the table cannot be written.
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
        changes.extend(Balance::ALL.map(|balance| {
            (limit_attribute(balance), change.of(balance).map(|limit| number(limit.get())))
        }));
        if let Some(permissions) = &change.permissions {
            let names = permissions.iter().map(|permission| text(permission.as_str()));
            changes.push(("permissions", Change::Set(AttributeValue::L(names.collect()))));
        }
        let mut update = self
            .client
            .update_item()
            .table_name(&self.tables.api_keys)
            .key("keyHash", text(hash.as_str()))
            .condition_expression("account = :account")
            .expression_attribute_values(":account", text(account.as_str()));
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        for (name, change) in changes {
            match change {
                Change::Keep => continue,
                Change::Clear => remove.push(format!("#{name}")),
                Change::Set(value) => {
                    set.push(format!("#{name} = :{name}"));
                    update = update.expression_attribute_values(format!(":{name}"), value);
                }
            }
            update = update.expression_attribute_names(format!("#{name}"), name);
        }
        let clauses = [("SET", set), ("REMOVE", remove)].map(|(verb, parts)| {
            if parts.is_empty() { String::new() } else { format!("{verb} {}", parts.join(", ")) }
        });
        let update = update.update_expression(clauses.join(" ").trim());
        let updated = self.update_or_stored(OPERATION, update).await?.ok();
        updated.map(|item| read(OPERATION, item)).transpose()
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
