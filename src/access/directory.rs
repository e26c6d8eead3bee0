//! The access patterns of API keys, as traits.

use std::future::Future;

use jiff::Timestamp;

use super::{KeyHash, KeyRecord};
use crate::{account::AccountId, cost::Read};

/// Access pattern of authentication: one key by its hash.
pub trait KeyLookup: Send + Sync + 'static {
    /// An error of the database.
    type Error: Send;

    /// The record of the key with this hash, if there is one.
    fn key(
        &self,
        hash: &KeyHash,
    ) -> impl Future<Output = Result<Read<Option<KeyRecord>>, Self::Error>> + Send;
}

/// Access patterns of the operator: creating, listing and revoking keys.
pub trait KeyAdmin: Sync {
    /// An error of the database.
    type Error: Send;

    /// Stores a new key; `false` if there is a key with this hash already, which is not changed.
    fn create_key(
        &self,
        hash: &KeyHash,
        record: &KeyRecord,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// All keys of an account, the oldest first.
    fn keys_of(
        &self,
        account: &AccountId,
    ) -> impl Future<Output = Result<Vec<(KeyHash, KeyRecord)>, Self::Error>> + Send;

    /// Revokes a key from `now` on; `false` if the account has no key with this hash. A key that was revoked
    /// before keeps the time of its revocation.
    fn revoke_key(
        &self,
        account: &AccountId,
        hash: &KeyHash,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;
}
