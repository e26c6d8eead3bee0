//! API keys: their form, their permissions and limits, and why one is rejected.
//!
//! Only the SHA-256 of a key is ever stored; the key itself is shown once, when it is created.

mod change;
mod directory;
mod key;
pub mod ledger;
pub mod limits;
mod record;

pub use change::{FieldUpdate, KeyChange};
pub use directory::{KeyLookup, UsageCounters};
pub use key::{ApiKey, InvalidPrefix, KeyHash, KeyPrefix};
pub use limits::{LimitName, Limits, PerMinute, Standing, Usage};
pub use record::{KeyRecord, KeyRejection, Permission, Principal};
