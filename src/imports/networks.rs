//! Imports records of networks and bundles: compares the stored network, bundle by bundle.
//!
//! Optimistic concurrency: each write has the condition that the network's revision is the one that was read.
//! If another writer changed the network in between, it is read again, and the records are applied again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    num::NonZeroUsize,
    time::Duration,
};

use lru::LruCache;

use super::{
    ExportedRecords, Kind, Mode, NetworkRecord, Ordered, RecordChange,
    line::{Expected, LineOutcome, resolve},
};
use crate::{
    account::AccountId,
    networks::{
        NetworkChange, NetworkChanges, NetworkId, NetworkKeys, NetworkPartitions, NetworkState,
    },
    outcome::{Outcome, WriteError},
    retry::jittered,
};

/// The importer of networks and bundles.
pub(super) struct NetworkRecords<'a, T> {
    target: &'a T,
    account: &'a AccountId,
    mode: Mode,
    /// What a dry run would have stored so far; `None` if this is not a dry run.
    dry_run: Option<LruCache<NetworkId, NetworkState>>,
}

/// How many networks a dry run keeps.
const DRY_RUN_CACHE: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

/// How many networks are in memory at the same time, each with all its bundles.
const NETWORKS_AT_ONCE: usize = 50;

/// How often a change is attempted if other writers keep changing the network.
const ATTEMPTS: u32 = 10;

/// The longest wait before the second attempt; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(10);

/// The expected outcome of each line, and the networks that were not stored, with the reasons.
type Attempt = (Vec<Expected<NetworkId>>, HashMap<NetworkId, WriteError>);

/// The records of one network, in the order of their lines.
type OfNetwork = (NetworkId, Vec<Ordered<NetworkRecord>>);

impl<'a, T: NetworkPartitions + ExportedRecords> NetworkRecords<'a, T> {
    pub(super) fn new(target: &'a T, account: &'a AccountId, mode: Mode) -> Self {
        let dry_run = mode.is_dry_run().then(|| LruCache::new(DRY_RUN_CACHE));
        Self { target, account, mode, dry_run }
    }

    /// Imports records in the order of their lines.
    pub(super) async fn import(
        &mut self,
        records: Vec<Ordered<NetworkRecord>>,
        changes: &mut Vec<RecordChange>,
    ) -> Result<Vec<LineOutcome>, <T as NetworkPartitions>::Error> {
        let mut by_network: BTreeMap<NetworkId, Vec<Ordered<NetworkRecord>>> = BTreeMap::new();
        for record in records {
            by_network.entry(record.record.network).or_default().push(record);
        }
        let by_network: Vec<OfNetwork> = by_network.into_iter().collect();
        let mut outcomes = Vec::new();
        for networks in by_network.chunks(NETWORKS_AT_ONCE) {
            let mut pending = networks.to_vec();
            for attempt in 1..=ATTEMPTS {
                let (expected, not_stored) = self.change(&pending, changes).await?;
                let again = |id: &NetworkId| {
                    attempt < ATTEMPTS && not_stored.get(id) == Some(&WriteError::Conflict)
                };
                let settled = expected.into_iter().filter(|line| !again(&line.key)).collect();
                outcomes.extend(resolve(settled, &not_stored));
                pending.retain(|(id, _)| again(id));
                if pending.is_empty() {
                    break;
                }
                tokio::time::sleep(jittered(FIRST_WAIT * 2_u32.pow(attempt))).await;
            }
        }
        Ok(outcomes)
    }

    /// Applies records to their networks. Returns the expected outcome of each line, and the networks that
    /// were not stored, with the reasons.
    async fn change(
        &mut self,
        networks: &[OfNetwork],
        shown: &mut Vec<RecordChange>,
    ) -> Result<Attempt, <T as NetworkPartitions>::Error> {
        let wanted: Vec<(NetworkId, NetworkKeys)> = networks
            .iter()
            // A dry run keeps complete networks.
            .map(|(id, records)| {
                (*id, if self.dry_run.is_some() { NetworkKeys::All } else { keys(records) })
            })
            .collect();
        let states = self.target.network_states(self.account, &wanted).await?;
        let (mut changes, mut expected) = (Vec::new(), Vec::new());
        for ((stored, (_, keys)), (id, records)) in states.into_iter().zip(&wanted).zip(networks) {
            let tried = self.dry_run.as_mut().and_then(|tried| tried.get(id));
            let before = tried.cloned().unwrap_or(stored);
            let mut after = before.clone();
            for Ordered { line, order, record } in records {
                let orders = (after.order, after.set_order);
                let earlier = (self.mode == Mode::Diff).then(|| touched(&after, &record.change));
                let outcome = after.apply(record.change.clone(), *order);
                if let Some(earlier) = earlier.filter(|_| outcome.is_change()) {
                    let later = touched(&after, &record.change);
                    let states = [earlier, later].map(|state| exported::<T>(record, &state));
                    let [earlier, later] = &states;
                    let states = (earlier.as_deref(), later.as_deref());
                    shown.push(RecordChange::new(identity(record), *line, outcome, states));
                }
                // Orders may change even if nothing visible does.
                let writes = !matches!(outcome, Outcome::Unchanged | Outcome::Stale)
                    || record.change.is_delete()
                    || orders != (after.order, after.set_order);
                expected.push(Expected { line: *line, key: *id, outcome, writes });
            }
            match &mut self.dry_run {
                Some(tried) => {
                    tried.put(*id, after);
                }
                None => changes.extend(NetworkChanges::between(*id, keys, before, after)),
            }
        }
        let mut not_stored = HashMap::new();
        if !changes.is_empty() {
            not_stored = self.target.change_networks(self.account, changes).await?;
        }
        Ok((expected, not_stored))
    }
}

/// The part of a network's state that a change may touch.
fn touched(state: &NetworkState, change: &NetworkChange) -> NetworkState {
    let Some(id) = change.bundle() else { return state.clone() };
    let bundle = state.bundles.get(&id).map(|stored| (id, stored.clone()));
    NetworkState {
        set_order: state.set_order,
        bundles: bundle.into_iter().collect(),
        ..NetworkState::default()
    }
}

/// What an export writes of the network or the bundle that a record is about; `None`: there is none.
fn exported<T: ExportedRecords>(record: &NetworkRecord, state: &NetworkState) -> Option<String> {
    let NetworkRecord { network, change } = record;
    let Some(id) = change.bundle() else { return T::network(state) };
    let stored = state.bundles.get(&id)?;
    Some(T::bundle(*network, stored.bundle.as_ref()?, stored.order.max(state.set_order)))
}

/// What a record is about.
fn identity(NetworkRecord { network, change }: &NetworkRecord) -> (Kind, String) {
    match change.bundle() {
        Some(bundle) => (Kind::Bundle, format!("{network} {bundle}")),
        None => (Kind::Network, network.to_string()),
    }
}

/// What must be read of a network for these records.
fn keys(records: &[Ordered<NetworkRecord>]) -> NetworkKeys {
    if records.iter().any(|record| record.record.change.needs_all_bundles()) {
        return NetworkKeys::All;
    }
    let bundles: BTreeSet<_> =
        records.iter().filter_map(|record| record.record.change.bundle()).collect();
    NetworkKeys::Bundles(bundles)
}
