//! Full snapshots: a source that contains all records of a kind. Records missing from it are deleted;
//! offerings are archived.
//!
//! Nothing is removed unless the source was read to its end and every line of it can be identified, and never
//! more than a share of what is stored: a file that was truncated at its origin does not empty a catalog.
//! Only records older than the snapshot are removed; what was written since then stays.

use std::collections::HashSet;

use super::{
    Kind,
    existing::{Existing, ExistingRecord},
    job::ImportId,
    record::identities_of,
};
use crate::{
    order::Order,
    source::{Group, Line},
    text::sha256_prefix,
};

/// The share of the stored records that may be removed, unless another one is given.
pub const DEFAULT_SHARE: f64 = 0.5;

/// Parses the share of the stored records that may be removed: 0 to 1.
#[must_use]
pub fn parse_share(text: &str) -> Option<f64> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share))
}

/// The identities of the records of a kind that a source contains.
#[derive(Clone, Debug)]
struct SeenIdentities {
    /// Hashes: a few bytes each, however long an identity is.
    identities: HashSet<[u8; 16]>,
    /// How many lines cannot be identified.
    unreadable: u64,
}

/// A snapshot in progress.
#[derive(Clone, Debug)]
pub struct Snapshot {
    kind: Kind,
    share: f64,
    seen: SeenIdentities,
    begun: Option<(ImportId, Order)>,
}

impl Snapshot {
    /// Creates the snapshot of a kind. It may remove at most this share of what is stored.
    #[must_use]
    pub fn new(kind: Kind, share: f64) -> Self {
        let seen = SeenIdentities { identities: HashSet::new(), unreadable: 0 };
        Self { kind, share, seen, begun: None }
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The import that began it, and its order.
    #[must_use]
    pub fn begun(&self) -> Option<(&ImportId, Order)> {
        self.begun.as_ref().map(|(import, order)| (import, *order))
    }

    /// Begins it, unless an earlier file of the same snapshot has begun it.
    pub(super) fn begin(&mut self, import: &ImportId, order: Order) -> Order {
        self.begun.get_or_insert_with(|| (import.clone(), order)).1
    }

    /// Adds the identities in a group's lines, whether or not the rest of a record is valid.
    pub(super) fn note_group(&mut self, group: Option<&Group>) {
        if let Some(Group::Lines(lines)) = group {
            for line in lines {
                self.note(line);
            }
        }
    }

    fn note(&mut self, (_, line): &Line) {
        let record = line.as_ref().map_or_else(|rejected| rejected.record.as_ref(), Some);
        match record.and_then(|record| identities_of(record)) {
            // A record without a key of its own creates a product that no later record could identify.
            Some((kind, identities)) if kind == self.kind && identities.is_empty() => {
                self.seen.unreadable += 1;
            }
            Some((kind, identities)) if kind == self.kind => {
                self.seen.identities.extend(identities.iter().map(sha256_prefix));
            }
            Some(_) => {}
            None => self.seen.unreadable += 1,
        }
    }

    /// Whether this record must be removed: it is older than the snapshot, and missing from it.
    pub(super) fn removes(&self, existing: &ExistingRecord) -> bool {
        existing.order < self.begun.as_ref().map(|(_, order)| *order) && !self.contains(existing)
    }

    /// Whether older parts of a newer record must be removed: bundles of a network that was written since.
    pub(super) fn removes_parts_of(&self, existing: &ExistingRecord) -> bool {
        matches!(existing.what, Existing::Network(_)) && !self.contains(existing)
    }

    /// Whether the source contains it.
    fn contains(&self, existing: &ExistingRecord) -> bool {
        existing
            .identities()
            .iter()
            .any(|identity| self.seen.identities.contains(&sha256_prefix(identity)))
    }

    /// Why nothing may be removed, given how many of the stored records are missing from it; `None` if they
    /// may be.
    pub(super) fn reason_to_keep(&self, unnamed: u64, stored: u64) -> Option<String> {
        let Self { kind, share, seen, .. } = self;
        if seen.unreadable > 0 {
            let lines = seen.unreadable;
            return Some(format!("nothing was removed: {lines} lines do not tell what they name"));
        }
        #[allow(clippy::cast_precision_loss, reason = "a share needs no last digit")]
        let too_many = unnamed as f64 > stored as f64 * share;
        too_many.then(|| {
            format!(
                "nothing was removed: {unnamed} of {stored} records of kind {kind} are not named, more than \
                 the share of {share} that may be removed"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::{
        imports::DocumentKey, networks::NetworkId, offerings::PromoCode, order::Origin,
        source::RejectedLine,
    };

    fn order(minute: i64) -> Order {
        let time = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute);
        Origin::new(time, "source").order(0)
    }

    /// A snapshot of this kind, as of minute 5, whose source has these lines.
    fn snapshot(kind: Kind, lines: &[&str]) -> Snapshot {
        let mut snapshot = Snapshot::new(kind, 0.5);
        snapshot.begin(&ImportId::of(&["x"]), order(5));
        let lines = lines.iter().map(|line| Ok(line.as_bytes().to_vec()));
        snapshot.note_group(Some(&Group::Lines((1..).zip(lines).collect())));
        snapshot.note_group(Some(&Group::End));
        snapshot
    }

    fn stored(what: Existing, minute: Option<i64>) -> ExistingRecord {
        ExistingRecord { what, order: minute.map(order) }
    }

    fn promotion(code: &str) -> Existing {
        let code = PromoCode::parse(code).expect("a code");
        Existing::Document(DocumentKey::Promotion(code))
    }

    #[test]
    fn a_snapshot_removes_its_share_and_not_one_record_more() {
        let snapshot = Snapshot::new(Kind::Product, 0.5);
        assert_eq!(snapshot.reason_to_keep(5, 10), None);
        let why = "nothing was removed: 6 of 10 records of kind product are not named, more than the share of 0.5 \
                   that may be removed";
        assert_eq!(snapshot.reason_to_keep(6, 10).as_deref(), Some(why));
        assert_eq!(Snapshot::new(Kind::Product, 0.0).reason_to_keep(0, 10), None);
        assert_eq!(Snapshot::new(Kind::Product, 1.0).reason_to_keep(10, 10), None);
    }

    #[test]
    fn a_share_is_a_number_from_0_to_1() {
        for (text, share) in [
            ("0", Some(0.0)),
            ("0.25", Some(0.25)),
            ("1", Some(1.0)),
            ("1.01", None),
            ("-0.1", None),
            ("NaN", None),
            ("half", None),
            ("", None),
        ] {
            assert_eq!(parse_share(text), share, "{text:?}");
        }
    }

    #[test]
    fn a_snapshot_removes_what_is_older_and_missing_from_it() {
        let seen = [r#"{"kind":"promotion","code":"KEPT"}"#, r#"{"kind":"product","sku":"GONE"}"#];
        let snapshot = snapshot(Kind::Promotion, &seen);
        for (code, minute, is_removed) in [
            ("GONE", Some(4), true),
            ("GONE", None, true),
            ("GONE", Some(5), false),
            ("GONE", Some(6), false),
            ("KEPT", Some(4), false),
            ("KEPT", None, false),
        ] {
            let existing = stored(promotion(code), minute);
            assert_eq!(snapshot.removes(&existing), is_removed, "{code} {minute:?}");
            assert!(!snapshot.removes_parts_of(&existing));
        }
        assert_eq!(snapshot.reason_to_keep(1, 2), None);
        let before = Snapshot::new(Kind::Promotion, 0.5);
        assert!(!before.removes(&stored(promotion("GONE"), None)), "it has not begun");
    }

    #[test]
    fn of_a_newer_network_that_is_missing_the_older_bundles_are_removed() {
        let snapshot = snapshot(Kind::Network, &[r#"{"kind":"network","id":1,"name":7}"#]);
        for (id, minute, is_removed, are_parts) in [
            (1, Some(4), false, false),
            (1, Some(6), false, false),
            (2, Some(4), true, true),
            (2, Some(6), false, true),
        ] {
            let network = NetworkId::new(id).expect("an id");
            let existing = stored(Existing::Network(network), minute);
            let told = (snapshot.removes(&existing), snapshot.removes_parts_of(&existing));
            assert_eq!(told, (is_removed, are_parts), "{id} {minute:?}");
        }
    }

    #[test]
    fn a_line_that_names_nothing_keeps_everything() {
        let lines = [
            r#"{"kind":"product","name":"without a key"}"#,
            r#"{"kind":"product","sku":7}"#,
            r#"{"kind":"offering","name":"of another kind, and without an id"}"#,
            "{",
            r#"{"kind":"promotion"}"#,
            r#"{"kind":"product","sku":"A","price":"x"}"#,
            r#"{"kind":"promotion","code":"P"}"#,
        ];
        let snapshot = snapshot(Kind::Product, &lines);
        let why = "nothing was removed: 5 lines do not tell what they name";
        assert_eq!(snapshot.reason_to_keep(0, 10).as_deref(), Some(why));
        let mut snapshot = self::snapshot(Kind::Product, &[]);
        let record = Some(br#"{"kind":"product","sku":"A","price":"x"}"#.to_vec());
        let rejected = |record| (1, Err(RejectedLine { errors: Vec::new(), record }));
        snapshot.note_group(Some(&Group::Lines(vec![rejected(record)])));
        assert_eq!(snapshot.reason_to_keep(0, 10), None, "a row with a wrong cell has its keys");
        snapshot.note_group(Some(&Group::Lines(vec![rejected(None)])));
        let why = "nothing was removed: 1 lines do not tell what they name";
        assert_eq!(snapshot.reason_to_keep(0, 10).as_deref(), Some(why));
    }

    #[test]
    fn the_first_source_of_a_snapshot_gives_its_order() {
        let mut snapshot = Snapshot::new(Kind::Product, 0.5);
        let (one, other) = (ImportId::of(&["1"]), ImportId::of(&["2"]));
        assert_eq!(snapshot.begun(), None);
        assert_eq!(snapshot.begin(&one, order(5)), order(5));
        assert_eq!(snapshot.begin(&other, order(6)), order(5));
        assert_eq!(snapshot.begun(), Some((&one, order(5))));
        assert_eq!(snapshot.kind(), Kind::Product);
    }
}
