//! What requests need of stored keys: their records, and the counter of their use.

use std::future::Future;

use super::{
    KeyHash, KeyRecord,
    limits::{Counter, UsageReport},
};

/// Access pattern of authentication: one key by its hash.
pub trait KeyLookup: Send + Sync + 'static {
    type Error: Send;

    /// The record of the key with this hash, if there is one.
    fn key(
        &self,
        hash: &KeyHash,
    ) -> impl Future<Output = Result<Option<KeyRecord>, Self::Error>> + Send;
}

/// Access pattern of limits: the counter of one key.
pub trait UsageCounters: Send + Sync + 'static {
    type Error: std::error::Error + Send;

    /// The counter of a key.
    fn counter(&self, hash: &KeyHash) -> impl Future<Output = Result<Counter, Self::Error>> + Send;

    /// Adds a report to the counter, and returns what that is then.
    fn report(
        &self,
        hash: &KeyHash,
        report: &UsageReport,
    ) -> impl Future<Output = Result<Counter, Self::Error>> + Send;
}
