//! What became of a record: its outcome, or why it was not stored.

use crate::text::spelled_enum;

spelled_enum! {
    /// The outcome of a record.
    pub enum Outcome {
        /// Stored, and new.
        Created = "created",
        /// Stored in place of another version.
        Updated = "updated",
        /// Equal to what is stored.
        Unchanged = "unchanged",
        /// Older than what is stored.
        Stale = "stale",
        /// Removed.
        Deleted = "deleted",
    }
}

impl Outcome {
    /// Whether the record is another one than before.
    #[must_use]
    pub fn is_change(self) -> bool {
        matches!(self, Self::Created | Self::Updated | Self::Deleted)
    }
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
