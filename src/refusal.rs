//! What becomes of writes that the database does not take.

use std::fmt;

/// Why the database did not take a write, after all retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// It is throttling, or in trouble: the same write may succeed later.
    Later,
    /// Another writer was faster: what is stored must be read again, and the write thought over.
    Contended,
    /// It never will take this one: an item too large, say.
    Never,
}

impl fmt::Display for NotTaken {
    /// In words for whoever sent the record.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Later => "write: temporarily unavailable, import this record again",
            Self::Contended => {
                "write: another writer changed it meanwhile, import this record again"
            }
            Self::Never => "write: the database refuses this record",
        })
    }
}
