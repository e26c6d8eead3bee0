//! Records of networks and bundles: the stored network is compared itself, bundle by bundle.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    num::NonZeroUsize,
};

use lru::LruCache;

use super::{
    ImportCost, NetworkRecord,
    engine::{Outcome, Verdict, judge},
};
use crate::{
    account::AccountId,
    networks::{Effect, NetworkChanges, NetworkId, NetworkKeys, NetworkPartitions},
};

/// The records of one import that are about networks.
pub(super) struct NetworkRecords<'a, T> {
    target: &'a T,
    account: &'a AccountId,
    dry_run: bool,
    /// Networks this import changed of late: they are read consistently.
    changed: LruCache<NetworkId, ()>,
}

/// Networks remembered: more than are written within the second or so that a read may lag behind.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

impl From<Effect> for Outcome {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Created => Self::Created,
            Effect::Updated => Self::Updated,
            Effect::Unchanged => Self::Unchanged,
            Effect::Stale => Self::Stale,
            Effect::Deleted => Self::Deleted,
        }
    }
}

impl<'a, T: NetworkPartitions> NetworkRecords<'a, T> {
    /// A dry run does all but write.
    pub(super) fn new(target: &'a T, account: &'a AccountId, dry_run: bool) -> Self {
        Self { target, account, dry_run, changed: LruCache::new(REMEMBERED) }
    }

    /// Imports records, by their lines, in order.
    ///
    /// # Errors
    /// When the database cannot be read or written at all.
    pub(super) async fn import(
        &mut self,
        records: Vec<(u64, NetworkRecord)>,
        cost: &mut ImportCost,
    ) -> Result<Vec<(u64, Verdict)>, T::Error> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let mut by_network: BTreeMap<NetworkId, Vec<(u64, NetworkRecord)>> = BTreeMap::new();
        for (line, record) in records {
            by_network.entry(record.network).or_default().push((line, record));
        }
        let wanted: Vec<(NetworkId, NetworkKeys)> =
            by_network.iter().map(|(id, records)| (*id, keys(records))).collect();
        let consistent = wanted.iter().any(|(id, _)| self.changed.contains(id));
        let read = self.target.network_states(self.account, &wanted, consistent).await?;
        cost.read_units += read.1;

        let mut changes = Vec::new();
        let mut outcomes = Vec::new();
        for (((id, keys), before), records) in
            wanted.into_iter().zip(read.0).zip(by_network.into_values())
        {
            let mut after = before.clone();
            for (line, record) in records {
                let effect = after.apply(record.change, record.source_updated_at);
                outcomes.push((line, id, Outcome::from(effect)));
            }
            if let Some(change) = NetworkChanges::between(id, &keys, &before, &after) {
                self.changed.put(id, ());
                changes.push(change);
            }
        }
        let mut not_taken = HashMap::new();
        if !self.dry_run && !changes.is_empty() {
            let (refused, write_units) = self.target.change_networks(self.account, changes).await?;
            cost.write_units += write_units;
            not_taken.extend(refused);
        }
        Ok(judge(outcomes, &not_taken))
    }
}

/// What must be known of a network for these records.
fn keys(records: &[(u64, NetworkRecord)]) -> NetworkKeys {
    if records.iter().any(|(_, record)| record.change.needs_all_bundles()) {
        return NetworkKeys::All;
    }
    let bundles: BTreeSet<_> =
        records.iter().filter_map(|(_, record)| record.change.bundle()).collect();
    NetworkKeys::Bundles(bundles)
}
