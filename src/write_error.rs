//! Why a write was not stored.

/// Why the database did not store a write; the message is for whoever sent the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// What is stored is newer than the write.
    #[error("updatedAt: older than what is stored")]
    Stale,
    /// The database is throttling or in trouble, and time was over: the same write may succeed later.
    #[error("write: temporarily unavailable, import this record again")]
    Unavailable,
    /// Another writer changed the record meanwhile, again and again: what is stored must be read again.
    #[error("write: another writer changed it meanwhile, import this record again")]
    Conflict,
    /// The database rejects this write, now and later: an item that is too large, for instance.
    #[error("write: the database refuses this record")]
    Rejected,
}
