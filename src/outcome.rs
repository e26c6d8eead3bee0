//! What became of a record: its outcome, or why it was not stored.

/// The outcome of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Stored, and new.
    Created,
    /// Stored in place of another version.
    Updated,
    /// Equal to what is stored.
    Unchanged,
    /// Older than what is stored.
    Stale,
    /// Removed.
    Deleted,
}

/// Why the database did not store a write. The message is for the sender of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Something newer than the write is stored.
    #[error("updatedAt: older than what is stored")]
    Stale,
    /// The database throttled the write or was not available until the deadline: the same write may succeed
    /// later.
    #[error("write: temporarily unavailable, import this record again")]
    Unavailable,
    /// Conflict: other writers changed the record again and again, so what is stored must be read anew.
    #[error("write: a concurrent writer changed it, import this record again")]
    Conflict,
    /// The database rejects this write, now and later: because the item is too large, for instance.
    #[error("write: the database rejected this record")]
    Rejected,
}
