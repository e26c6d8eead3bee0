//! What an operator changes of a key that is in use.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Balance, PerMinute, Permission};
pub use crate::products::Change;

/// A change of a key. Its account, its restrictions and its hash stay what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChange {
    pub label: Change<String>,
    /// All permissions that it has from now on.
    pub permissions: Option<BTreeSet<Permission>>,
    pub expires_at: Change<Timestamp>,
    pub reads_per_minute: Change<PerMinute>,
    pub writes_per_minute: Change<PerMinute>,
    pub read_units_per_minute: Change<PerMinute>,
    pub write_units_per_minute: Change<PerMinute>,
}

impl KeyChange {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The change of a limit.
    #[must_use]
    pub fn of(&self, balance: Balance) -> &Change<PerMinute> {
        match balance {
            Balance::Reads => &self.reads_per_minute,
            Balance::Writes => &self.writes_per_minute,
            Balance::ReadUnits => &self.read_units_per_minute,
            Balance::WriteUnits => &self.write_units_per_minute,
        }
    }
}
