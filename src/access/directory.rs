//! The lookup of API keys for authentication.

use std::future::Future;

use super::{KeyHash, KeyRecord};

/// Access pattern of authentication: one key by its hash.
pub trait KeyLookup: Send + Sync + 'static {
    type Error: Send;

    /// The record of the key with this hash, if there is one.
    fn key(
        &self,
        hash: &KeyHash,
    ) -> impl Future<Output = Result<Option<KeyRecord>, Self::Error>> + Send;
}
