//! API keys: their form, their permissions, and why one is rejected.
//!
//! Only the SHA-256 of a key is ever stored; the key itself is shown once, when it is created.

mod directory;
mod key;
mod record;

pub use directory::KeyLookup;
pub use key::{ApiKey, InvalidPrefix, KeyHash, KeyPrefix};
pub use record::{KeyRecord, Permission, Principal, Rejection};
