//! API keys: what one looks like, what it permits, and why one is refused.
//!
//! Only the SHA-256 of a key is ever stored; the key itself is shown once, when it is made.

mod directory;
mod key;
mod record;

pub use directory::{KeyAdmin, KeyLookup};
pub use key::{ApiKey, InvalidPrefix, KeyHash, KeyPrefix};
pub use record::{KeyRecord, Permission, Principal, Rejection};
