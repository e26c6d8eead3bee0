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
    networks::{Effect, NetworkChanges, NetworkId, NetworkKeys, NetworkPartitions, NetworkState},
    refusal::NotTaken,
};

/// The records of one import that are about networks.
pub(super) struct NetworkRecords<'a, T> {
    target: &'a T,
    account: &'a AccountId,
    dry_run: bool,
    /// Networks this import changed of late: they are read consistently.
    changed: LruCache<NetworkId, ()>,
    /// What a dry run would have stored by now.
    tried: LruCache<NetworkId, NetworkState>,
}

/// Networks remembered: more than are written within the second or so that a read may lag behind.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

/// Networks held in memory at once, each with all its bundles.
const NETWORKS_AT_ONCE: usize = 50;

/// How often networks that others changed meanwhile are read again and changed.
const ATTEMPTS: usize = 3;

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

/// The records of one network, by their lines.
type OfNetwork = (NetworkId, Vec<(u64, NetworkRecord)>);

impl<'a, T: NetworkPartitions> NetworkRecords<'a, T> {
    /// A dry run does all but write.
    pub(super) fn new(target: &'a T, account: &'a AccountId, dry_run: bool) -> Self {
        let (changed, tried) = (LruCache::new(REMEMBERED), LruCache::new(REMEMBERED));
        Self { target, account, dry_run, changed, tried }
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
        let mut by_network: BTreeMap<NetworkId, Vec<(u64, NetworkRecord)>> = BTreeMap::new();
        for (line, record) in records {
            by_network.entry(record.network).or_default().push((line, record));
        }
        let by_network: Vec<OfNetwork> = by_network.into_iter().collect();
        let mut verdicts = Vec::new();
        for networks in by_network.chunks(NETWORKS_AT_ONCE) {
            let mut pending = networks.to_vec();
            for attempt in 1..=ATTEMPTS {
                let consistent =
                    attempt > 1 || pending.iter().any(|(id, _)| self.changed.contains(id));
                let (outcomes, not_taken) = self.change(&pending, consistent, cost).await?;
                let again = |id: &NetworkId| {
                    attempt < ATTEMPTS && not_taken.get(id) == Some(&NotTaken::Contended)
                };
                let told = outcomes.into_iter().filter(|(_, id, _)| !again(id)).collect();
                verdicts.extend(judge(told, &not_taken));
                pending.retain(|(id, _)| again(id));
                if pending.is_empty() {
                    break;
                }
            }
        }
        Ok(verdicts)
    }

    /// Brings networks to what their records want; returns what each record came to, and which
    /// networks were not brought there, and why.
    async fn change(
        &mut self,
        networks: &[OfNetwork],
        consistent: bool,
        cost: &mut ImportCost,
    ) -> Result<(Vec<(u64, NetworkId, Outcome)>, HashMap<NetworkId, NotTaken>), T::Error> {
        let wanted: Vec<(NetworkId, NetworkKeys)> = networks
            .iter()
            // A dry run remembers whole networks.
            .map(|(id, records)| (*id, if self.dry_run { NetworkKeys::All } else { keys(records) }))
            .collect();
        let (states, read_units) =
            self.target.network_states(self.account, &wanted, consistent).await?;
        cost.read_units += read_units;
        let mut changes = Vec::new();
        let mut outcomes = Vec::new();
        for (((id, keys), stored), (_, records)) in wanted.into_iter().zip(states).zip(networks) {
            let before = self.tried.get(&id).cloned().unwrap_or(stored);
            let mut after = before.clone();
            for (line, record) in records {
                let effect = after.apply(record.change.clone(), record.source_updated_at);
                outcomes.push((*line, id, Outcome::from(effect)));
            }
            if self.dry_run {
                self.tried.put(id, after);
            } else if let Some(change) = NetworkChanges::between(id, &keys, &before, &after) {
                self.changed.put(id, ());
                changes.push(change);
            }
        }
        let mut not_taken = HashMap::new();
        if !changes.is_empty() {
            let (refused, write_units) = self.target.change_networks(self.account, changes).await?;
            cost.write_units += write_units;
            for network in refused {
                not_taken.insert(network.id, network.why);
            }
        }
        Ok((outcomes, not_taken))
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
