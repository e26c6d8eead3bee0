//! What an operator changes of a key that is in use.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{LimitName, PerMinute, Permission};
pub use crate::products::FieldUpdate;

/// A change of a key. Its account, its restrictions and its hash stay what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChange {
    pub label: FieldUpdate<String>,
    /// All permissions that it has from now on.
    pub permissions: Option<BTreeSet<Permission>>,
    pub expires_at: FieldUpdate<Timestamp>,
    pub reads_per_minute: FieldUpdate<PerMinute>,
    pub writes_per_minute: FieldUpdate<PerMinute>,
    pub read_units_per_minute: FieldUpdate<PerMinute>,
    pub write_units_per_minute: FieldUpdate<PerMinute>,
}

impl KeyChange {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The change of a limit.
    #[must_use]
    pub fn of(&self, name: LimitName) -> &FieldUpdate<PerMinute> {
        match name {
            LimitName::Reads => &self.reads_per_minute,
            LimitName::Writes => &self.writes_per_minute,
            LimitName::ReadUnits => &self.read_units_per_minute,
            LimitName::WriteUnits => &self.write_units_per_minute,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_none_until_it_changes_something_and_names_each_limit_by_itself() {
        let limit = |limit| FieldUpdate::Set(PerMinute::new(limit).expect("a limit"));
        assert!(KeyChange::default().is_none());
        assert!(!KeyChange { label: FieldUpdate::Clear, ..KeyChange::default() }.is_none());
        let change = KeyChange {
            reads_per_minute: limit(1),
            writes_per_minute: limit(2),
            read_units_per_minute: limit(3),
            write_units_per_minute: FieldUpdate::Clear,
            ..KeyChange::default()
        };
        assert!(!change.is_none());
        let each = LimitName::ALL.map(|name| change.of(name).clone());
        assert_eq!(each, [limit(1), limit(2), limit(3), FieldUpdate::Clear]);
    }
}
