//! Why a write was not stored.

use std::fmt;

/// Why the database did not store a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// What is stored is younger than the write.
    Stale,
    /// The database is throttling or in trouble, and time was over: the same write may succeed later.
    Unavailable,
    /// Another writer changed the record meanwhile, again and again: what is stored must be read again.
    Conflict,
    /// The database rejects this write, now and later: an item that is too large, for instance.
    Rejected,
}

impl fmt::Display for WriteError {
    /// The message for whoever sent the record.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stale => "updatedAt: older than what is stored",
            Self::Unavailable => "write: temporarily unavailable, import this record again",
            Self::Conflict => {
                "write: another writer changed it meanwhile, import this record again"
            }
            Self::Rejected => "write: the database refuses this record",
        })
    }
}
