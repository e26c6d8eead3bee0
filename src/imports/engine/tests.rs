use std::{collections::BTreeMap, sync::Mutex};

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::{
    cost::{Costs, ReadCost},
    imports::{ChangeSet, Key, Operation, RefusedWrite, Stored, WholeRecord, Write},
    networks::{
        NetworkChanges, NetworkId, NetworkKeys, NetworkState, NetworkWrites, RefusedNetwork,
    },
    offerings::OfferingId,
    products::{Applied, ExternalId, Match, ProductId, ProductRow, RowError, Sku, StoredProduct},
};

/// Items in memory; every `refuse_every`th write is not taken.
#[derive(Default)]
struct Memory {
    items: Mutex<HashMap<Key, (Stored, String)>>,
    networks: Mutex<HashMap<NetworkId, NetworkState>>,
    writes: Mutex<u32>,
    refuse_every: Option<u32>,
    /// The next write fails as a whole.
    fail_once: Mutex<bool>,
    /// Reads see nothing of what was written.
    lagging: bool,
}

impl ImportTarget for Memory {
    type Error = &'static str;

    async fn stored(
        &self,
        _: &AccountId,
        keys: &[Key],
    ) -> Result<(HashMap<Key, Stored>, f64), Self::Error> {
        let items = self.items.lock().expect("lock");
        if self.lagging {
            return Ok((HashMap::new(), 0.0));
        }
        let found = keys.iter().filter_map(|key| Some((key.clone(), items.get(key)?.0))).collect();
        Ok((found, 0.0))
    }

    async fn write(
        &self,
        _: &AccountId,
        changes: ChangeSet,
    ) -> Result<(Vec<RefusedWrite>, f64), Self::Error> {
        if std::mem::take(&mut *self.fail_once.lock().expect("lock")) {
            return Err("away");
        }
        let mut items = self.items.lock().expect("lock");
        let mut writes = self.writes.lock().expect("lock");
        let mut refused = Vec::new();
        for (key, change) in changes {
            *writes += 1;
            if self.refuse_every.is_some_and(|every| (*writes).is_multiple_of(every)) {
                refused.push(RefusedWrite { key, why: NotTaken::Never });
                continue;
            }
            let there = items.get(&key).and_then(|(stored, _)| stored.source_updated_at);
            if change.guard().is_some_and(|guard| there.is_some_and(|there| there > guard)) {
                refused.push(RefusedWrite { key, why: NotTaken::Contended });
                continue;
            }
            match change {
                Write::Delete { .. } => {
                    items.remove(&key);
                }
                Write::Put { content, stored, .. } => {
                    items.insert(key, (stored, content.fingerprint_source()));
                }
            }
        }
        Ok((refused, 0.0))
    }
}

impl NetworkPartitions for Memory {
    type Error = &'static str;

    async fn network_states(
        &self,
        _: &AccountId,
        wanted: &[(NetworkId, NetworkKeys)],
        _: bool,
    ) -> Result<(Vec<NetworkState>, f64), Self::Error> {
        let networks = self.networks.lock().expect("lock");
        let read = |(id, keys): &(NetworkId, NetworkKeys)| {
            let mut state = networks.get(id).cloned().unwrap_or_default();
            if let NetworkKeys::Bundles(ids) = keys {
                state.bundles.retain(|id, _| ids.contains(id));
            }
            state
        };
        Ok((wanted.iter().map(read).collect(), 0.0))
    }

    async fn change_networks(
        &self,
        _: &AccountId,
        changes: Vec<NetworkChanges>,
    ) -> Result<(Vec<RefusedNetwork>, f64), Self::Error> {
        let mut networks = self.networks.lock().expect("lock");
        for change in changes {
            let state = networks.entry(change.id).or_default();
            let by = change.count_change();
            for (bundle, stored) in change.put {
                let before = state.bundles.insert(bundle.value.id, bundle);
                assert_eq!(before.is_some(), stored);
            }
            for id in change.delete {
                assert!(state.bundles.remove(&id).is_some());
            }
            let counted = state.product_count + by;
            assert!(counted >= 0);
            match change.network {
                NetworkWrites::Keep => {}
                NetworkWrites::Count => state.product_count = counted,
                NetworkWrites::Store(network) => {
                    state.product_count = counted;
                    state.network = Some(*network);
                }
                NetworkWrites::StoreCounted(network, count) => {
                    state.product_count = i64::from(count);
                    state.network = Some(*network);
                }
                NetworkWrites::CountOnly(count) => {
                    state.product_count = i64::from(count);
                    state.network = None;
                }
                NetworkWrites::Delete => (state.product_count, state.network) = (0, None),
            }
        }
        Ok((Vec::new(), 0.0))
    }
}

/// These tests import no products.
impl ProductWrites for Memory {
    async fn apply(
        &self,
        _: &AccountId,
        _: &ProductRow,
        _: ProductId,
        _: &mut Costs,
    ) -> Result<Applied, RowError> {
        Err(RowError::Unavailable)
    }

    async fn linked_skus(
        &self,
        _: &AccountId,
        _: &[ExternalId],
        _: &mut ReadCost,
    ) -> Result<HashMap<ExternalId, Sku>, RowError> {
        Err(RowError::Unavailable)
    }
}

impl ProductDelete for Memory {
    type Error = &'static str;

    async fn stored_products(
        &self,
        _: &AccountId,
        _: &[Match],
    ) -> Result<(HashMap<Match, StoredProduct>, f64), Self::Error> {
        Err("these tests import no products")
    }

    async fn delete_product(
        &self,
        _: &AccountId,
        _: &Match,
        _: Option<Timestamp>,
        _: &mut Costs,
    ) -> Result<bool, RowError> {
        Err(RowError::Unavailable)
    }

    async fn keys_of_ids(
        &self,
        _: &AccountId,
        _: &[ProductId],
    ) -> Result<(HashMap<ProductId, Match>, f64), Self::Error> {
        Err("these tests import no products")
    }
}

fn account() -> AccountId {
    AccountId::parse("ACME").expect("account")
}

fn offering(id: &str, name: &str, updated_at: Option<u8>) -> String {
    let updated_at = updated_at
        .map(|minute| format!(r#","updatedAt":"2026-01-01T00:{minute:02}:00Z""#))
        .unwrap_or_default();
    format!(
        r#"{{"kind":"offering","productOfferingId":"{id}","name":"{name}","customerType":"CONSUMER","price":{{"currency":"USD","priceType":"ONE_TIME","grossPrice":1}},"product":{{"productId":"p","type":"LICENSE"}}{updated_at}}}"#
    )
}

fn delete(id: &str) -> String {
    format!(r#"{{"kind":"offering","op":"delete","productOfferingId":"{id}"}}"#)
}

async fn import(memory: &Memory, lines: &[String], group: usize) -> (Counts, Vec<LineError>) {
    let account = account();
    let mut importer = Importer::new(memory, &account, false);
    let numbered: Vec<(u64, Vec<u8>)> =
        (1..).zip(lines).map(|(number, line)| (number, line.clone().into_bytes())).collect();
    let mut refused = Vec::new();
    for lines in numbered.chunks(group) {
        refused.extend(importer.group(lines, Timestamp::UNIX_EPOCH).await.expect("import"));
    }
    (importer.counts(), refused)
}

#[tokio::test]
async fn only_differences_are_written_and_every_line_is_counted_once() {
    let memory = Memory::default();
    let lines = [offering("a", "A", None), offering("b", "B", None), "{}".into(), delete("c")];
    let (counts, refused) = import(&memory, &lines, 10).await;
    assert_eq!(counts, Counts { created: 2, failed: 1, unchanged: 1, ..Counts::default() });
    assert_eq!((refused.len(), refused[0].line), (1, 3));

    let lines = [offering("a", "A", None), offering("b", "B2", None), delete("a")];
    let writes_before = *memory.writes.lock().expect("lock");
    let (counts, _) = import(&memory, &lines, 10).await;
    assert_eq!(counts, Counts { unchanged: 1, updated: 1, deleted: 1, ..Counts::default() });
    assert_eq!(*memory.writes.lock().expect("lock") - writes_before, 2);
}

#[tokio::test]
async fn an_older_record_never_overwrites_a_newer_one_in_or_across_groups() {
    for group in [1, 10] {
        let memory = Memory::default();
        let lines = [
            offering("a", "new", Some(5)),
            offering("a", "old", Some(4)),
            offering("a", "newer", Some(6)),
            offering("a", "undated", None),
        ];
        let (counts, _) = import(&memory, &lines[..3], group).await;
        assert_eq!(counts, Counts { created: 1, stale: 1, updated: 1, ..Counts::default() });
        let (counts, _) = import(&memory, &lines[3..], group).await;
        assert_eq!(counts.updated, 1, "a record without a time always counts");
        let (counts, _) = import(&memory, &lines[..1], group).await;
        assert_eq!(counts.stale, 1, "and leaves the known time in force");
    }
}

/// What a removal took away may be younger than what comes after it in the same group.
#[tokio::test]
async fn a_record_made_anew_after_a_removal_is_stored_however_old_it_is() {
    let timed = |id: &str, minute: u8| {
        delete(id).replace('}', &format!(r#","updatedAt":"2026-01-01T00:{minute:02}:00Z"}}"#))
    };
    let offering = |name: &str, minute: u8| offering("a", name, Some(minute));
    for lines in [
        vec![delete("a"), offering("anew", 1)],
        vec![timed("a", 5), offering("anew", 1)],
        vec![delete("a"), offering("once", 1), timed("a", 2), offering("anew", 1)],
        vec![delete("a"), offering("once", 1), offering("anew", 2)],
    ] {
        for group in [1, lines.len()] {
            let memory = Memory::default();
            import(&memory, &[offering("old", 3)], 1).await;
            let (counts, refused) = import(&memory, &lines, group).await;
            assert!(refused.is_empty(), "{lines:?}: {refused:?}");
            assert_eq!(counts.stale + counts.failed, 0, "{lines:?}");
            let items = memory.items.lock().expect("lock");
            let stored = items.values().map(|(_, content)| content.as_str());
            assert!(stored.clone().all(|content| content.contains("anew")), "{lines:?}");
            assert_eq!(stored.count(), 1);
        }
    }
}

#[tokio::test]
async fn a_write_that_was_not_taken_is_a_refused_line() {
    let memory = Memory { refuse_every: Some(3), ..Memory::default() };
    let lines: Vec<String> =
        (0..9).map(|number| offering(&format!("o{number}"), "A", None)).collect();
    let (counts, refused) = import(&memory, &lines, 9).await;
    assert_eq!(counts, Counts { created: 6, failed: 3, ..Counts::default() });
    let lines: Vec<u64> = refused.iter().map(|refusal| refusal.line).collect();
    assert_eq!(lines, [3, 6, 9], "writes go in the order of the lines");

    let memory = Memory { refuse_every: Some(1), ..Memory::default() };
    let twice = [offering("a", "A", None), offering("a", "A", None)];
    let (counts, _) = import(&memory, &twice, 9).await;
    assert_eq!(counts.failed, 2, "a repeated row is not stored either");
}

#[tokio::test]
async fn an_import_trusts_what_it_wrote_before_what_a_lagging_read_tells() {
    let memory = Memory { lagging: true, ..Memory::default() };
    let lines = [
        offering("a", "A", None),
        offering("a", "B", None),
        offering("a", "A", None),
        delete("a"),
        delete("a"),
        offering("a", "C", None),
    ];
    let (counts, _) = import(&memory, &lines, 1).await;
    let expected = Counts { created: 2, updated: 2, deleted: 1, unchanged: 1, ..Counts::default() };
    assert_eq!(counts, expected);
    assert!(
        memory.items.lock().expect("lock").values().all(|(_, content)| content.contains("\"C\""))
    );
}

#[tokio::test]
async fn a_group_that_failed_can_be_imported_again_with_the_same_importer() {
    let memory = Memory { fail_once: Mutex::new(true), ..Memory::default() };
    let account = account();
    let mut importer = Importer::new(&memory, &account, false);
    let lines = [(1, offering("a", "A", None).into_bytes())];
    assert!(importer.group(&lines, Timestamp::UNIX_EPOCH).await.is_err());
    assert!(importer.group(&lines, Timestamp::UNIX_EPOCH).await.is_ok());
    assert_eq!(importer.counts(), Counts { created: 1, ..Counts::default() });
    assert_eq!(memory.items.lock().expect("lock").len(), 1);
}

#[tokio::test]
async fn a_dry_run_counts_as_the_import_itself_would() {
    let lines = [offering("a", "A", None), offering("a", "B", None), delete("a"), delete("a")];
    let numbered: Vec<(u64, Vec<u8>)> =
        (1..).zip(&lines).map(|(number, line)| (number, line.clone().into_bytes())).collect();
    let (memory, account) = (Memory::default(), account());
    let mut importer = Importer::new(&memory, &account, true);
    for line in numbered.chunks(1) {
        importer.group(line, Timestamp::UNIX_EPOCH).await.expect("import");
    }
    assert_eq!(importer.counts(), import(&Memory::default(), &lines, 1).await.0);
    assert_eq!(*memory.writes.lock().expect("lock"), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the grouping, an import ends where replaying its lines one by one ends.
    #[test]
    fn an_import_equals_the_replay_of_its_lines(
        lines in vec(
            (select(vec!["a", "b", "c"]), select(vec!["N", "M"]), prop::option::of(0_u8..4), prop::bool::weighted(0.2)),
            0..40,
        ),
        group in 1_usize..12,
    ) {
        // Content, and the latest source's time.
        type Version<'a> = (&'a str, Option<u8>);
        let mut replayed: HashMap<&str, Version> = HashMap::new();
        let mut stale = 0;
        for (id, name, time, deleted) in &lines {
            let known = replayed.get(id).copied();
            let known_time = known.and_then(|(_, time)| time);
            if *deleted {
                replayed.remove(id);
            } else if time.is_some() && known_time > *time {
                stale += 1;
            } else {
                let same = |(known, source): Version| known == *name && *time <= source;
                if !known.is_some_and(same) {
                    replayed.insert(id, (name, time.or(known_time)));
                }
            }
        }
        let texts: Vec<String> = lines
            .iter()
            .map(|(id, name, time, deleted)| if *deleted { delete(id) } else { offering(id, name, *time) })
            .collect();
        let memory = Memory::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let (counts, refused) = runtime.block_on(import(&memory, &texts, group));
        prop_assert!(refused.is_empty());
        prop_assert_eq!(counts.total(), lines.len() as u64);
        prop_assert_eq!(counts.stale, stale);
        let items = memory.items.lock().expect("lock");
        prop_assert_eq!(items.len(), replayed.len());
        for (id, (name, ..)) in &replayed {
            let key = Key::Offering(OfferingId::parse(id).expect("id"));
            let line = offering(id, name, None);
            let Ok(Record::Whole(WholeRecord { operation: Operation::Upsert(content), .. })) =
                Record::parse(line.as_bytes())
            else {
                panic!("own line");
            };
            prop_assert_eq!(&items[&key].1, &content.fingerprint_source());
        }
    }

    /// Whatever the grouping, networks and bundles end where replaying their lines one by one ends,
    /// and the number of bundles is right.
    #[test]
    fn networks_end_where_the_replay_of_their_lines_ends(
        steps in vec((0_u8..5, 1_u32..3, vec(1_u32..5, 0..4), select(vec!["N", "M"])), 0..40),
        group in 1_usize..12,
    ) {
        let lines: Vec<String> =
            steps.iter().map(|(kind, id, bundles, name)| network_line(*kind, *id, bundles, name)).collect();
        let mut replayed: HashMap<u32, (Option<&str>, BTreeMap<u32, &str>)> = HashMap::new();
        for (kind, id, bundles, name) in &steps {
            let (network, stored) = replayed.entry(*id).or_default();
            let one = bundles.first().copied().unwrap_or(1);
            match kind {
                0 => {
                    *network = Some(name);
                    *stored = bundles.iter().map(|id| (*id, *name)).collect();
                }
                1 => *network = Some(name),
                2 => (*network, *stored) = (None, BTreeMap::new()),
                3 => {
                    stored.insert(one, name);
                }
                _ => {
                    stored.remove(&one);
                }
            }
        }
        let memory = Memory::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let (counts, refused) = runtime.block_on(import(&memory, &lines, group));
        prop_assert!(refused.is_empty(), "{:?}", refused);
        prop_assert_eq!(counts.total(), lines.len() as u64);
        let networks = memory.networks.lock().expect("lock");
        for (id, (network, bundles)) in replayed {
            let state = networks.get(&NetworkId::new(id).expect("id")).cloned().unwrap_or_default();
            prop_assert_eq!(state.network.map(|stored| stored.value.network.name), network.map(String::from));
            let stored: BTreeMap<u32, String> =
                state.bundles.into_iter().map(|(id, bundle)| (id.get(), bundle.value.name)).collect();
            prop_assert_eq!(state.product_count, i64::try_from(stored.len()).expect("few"));
            prop_assert_eq!(stored, bundles.into_iter().map(|(id, name)| (id, name.to_owned())).collect());
        }
    }
}

/// A whole network (0), a network alone (1), its removal (2), a bundle (3), a bundle's removal (4).
fn network_line(kind: u8, id: u32, bundles: &[u32], name: &str) -> String {
    let fields = |id: u32| {
        format!(r#""id":{id},"name":"{name}","type":"DATA","price_usd":1,"local_currency":"GHS""#)
    };
    let one = bundles.first().copied().unwrap_or(1);
    let network = format!(
        r#""kind":"network","id":{id},"name":"{name}","country":"Ghana","country_code":"GH","currency":"GHS""#
    );
    match kind {
        0 => {
            let ids: std::collections::BTreeSet<u32> = bundles.iter().copied().collect();
            let all: Vec<String> = ids.iter().map(|id| format!("{{{}}}", fields(*id))).collect();
            format!(r#"{{{network},"fixed_bundles":[{}]}}"#, all.join(","))
        }
        1 => format!("{{{network}}}"),
        2 => format!(r#"{{"kind":"network","op":"delete","id":{id}}}"#),
        3 => format!(r#"{{"kind":"bundle","network_id":{id},{}}}"#, fields(one)),
        _ => format!(r#"{{"kind":"bundle","op":"delete","network_id":{id},"id":{one}}}"#),
    }
}
