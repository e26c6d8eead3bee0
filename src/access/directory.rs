//! Where keys are kept.

use std::future::Future;

use jiff::Timestamp;

use super::{KeyHash, KeyRecord};
use crate::{account::AccountId, cost::Read};

/// The access pattern of authentication.
pub trait KeyLookup: Send + Sync + 'static {
    /// What can go wrong below.
    type Error: Send;

    /// What is known of the key with this hash.
    fn key(
        &self,
        hash: &KeyHash,
    ) -> impl Future<Output = Result<Read<Option<KeyRecord>>, Self::Error>> + Send;
}

/// The access patterns of the operator.
pub trait KeyAdmin: Sync {
    /// What can go wrong below.
    type Error: Send;

    /// Stores a new key; `false` when there is one of this hash already, which stays as it is.
    fn create_key(
        &self,
        hash: &KeyHash,
        record: &KeyRecord,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// All keys of an account, oldest first.
    fn keys_of(
        &self,
        account: &AccountId,
    ) -> impl Future<Output = Result<Vec<(KeyHash, KeyRecord)>, Self::Error>> + Send;

    /// Revokes a key from `now` on; `false` when there is none of this hash in the account. A key
    /// revoked before keeps its time.
    fn revoke_key(
        &self,
        account: &AccountId,
        hash: &KeyHash,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;
}
