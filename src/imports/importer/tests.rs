use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::{
    imports::{Before, ChangeSet, Content, DocumentKey, LineErrorCode, Stored, Version},
    networks::{Bundle, NetworkChanges, NetworkId, NetworkKeys, NetworkState},
    outcome::WriteError,
    products::{
        Applied, ExternalId, OrderedRow, ProductId, ProductKey, ProductRemoval, RowError, Sku,
        StoredProduct,
    },
};

/// Items in memory; every `reject_every`th write is rejected.
#[derive(Default)]
struct Memory {
    items: Mutex<HashMap<DocumentKey, (Stored, String)>>,
    networks: Mutex<HashMap<NetworkId, NetworkState>>,
    writes: Mutex<u32>,
    reject_every: Option<u32>,
    /// The next write fails as a whole.
    fail_once: Mutex<bool>,
    /// The next change of networks conflicts with another writer.
    conflict_once: Mutex<bool>,
}

impl DocumentStore for Memory {
    type Error = &'static str;

    async fn stored(
        &self,
        _: &AccountId,
        keys: &[DocumentKey],
    ) -> Result<HashMap<DocumentKey, Stored>, Self::Error> {
        let items = self.items.lock().expect("lock");
        let found =
            keys.iter().filter_map(|key| Some((key.clone(), items.get(key)?.0.clone()))).collect();
        Ok(found)
    }

    async fn write(
        &self,
        _: &AccountId,
        changes: ChangeSet,
    ) -> Result<Vec<(DocumentKey, WriteError)>, Self::Error> {
        if std::mem::take(&mut *self.fail_once.lock().expect("lock")) {
            return Err("away");
        }
        let mut items = self.items.lock().expect("lock");
        let mut writes = self.writes.lock().expect("lock");
        let mut not_stored = Vec::new();
        for (key, write) in changes {
            *writes += 1;
            if self.reject_every.is_some_and(|every| (*writes).is_multiple_of(every)) {
                not_stored.push((key, WriteError::Rejected));
                continue;
            }
            let order = Some(write.order);
            if items.get(&key).is_some_and(|(stored, _)| stored.order > order) {
                not_stored.push((key, WriteError::Stale));
                continue;
            }
            let version = write.version.as_ref().map(|(_, version)| *version);
            let content = write.version.map(|(content, _)| content.hashed_content());
            items.insert(
                key,
                (Stored { order, version, before: Before::default() }, content.unwrap_or_default()),
            );
        }
        Ok(not_stored)
    }
}

/// These tests show no differences.
impl ExportedRecords for Memory {
    type Error = &'static str;

    async fn stored_documents(
        &self,
        _: &AccountId,
        _: &[DocumentKey],
    ) -> Result<HashMap<DocumentKey, String>, Self::Error> {
        Err("these tests show no differences")
    }

    fn document(
        &self,
        _: &AccountId,
        _: &DocumentKey,
        _: Order,
        _: (Content, Version),
    ) -> Result<Option<String>, Self::Error> {
        Err("these tests show no differences")
    }

    fn network(_: &NetworkState) -> Option<String> {
        None
    }

    fn bundle(_: NetworkId, _: &Bundle, _: Option<Order>) -> String {
        String::new()
    }

    fn product(_: &StoredProduct) -> String {
        String::new()
    }
}

impl Memory {
    /// What is stored, without tombstones.
    fn documents(&self) -> BTreeMap<String, String> {
        let items = self.items.lock().expect("lock");
        let stored = items.iter().filter(|(_, (stored, _))| stored.version.is_some());
        stored.map(|(key, (_, content))| (key.identity(), content.clone())).collect()
    }
}

impl NetworkPartitions for Memory {
    type Error = &'static str;

    async fn network_states(
        &self,
        _: &AccountId,
        wanted: &[(NetworkId, NetworkKeys)],
    ) -> Result<Vec<NetworkState>, Self::Error> {
        let networks = self.networks.lock().expect("lock");
        let read = |(id, keys): &(NetworkId, NetworkKeys)| {
            let mut state = networks.get(id).cloned().unwrap_or_default();
            if let NetworkKeys::Bundles(ids) = keys {
                state.bundles.retain(|id, _| ids.contains(id));
            }
            state
        };
        Ok(wanted.iter().map(read).collect())
    }

    async fn change_networks(
        &self,
        _: &AccountId,
        changes: Vec<NetworkChanges>,
    ) -> Result<HashMap<NetworkId, WriteError>, Self::Error> {
        let mut networks = self.networks.lock().expect("lock");
        if std::mem::take(&mut *self.conflict_once.lock().expect("lock")) {
            let conflicts = changes.iter().map(|change| (change.id, WriteError::Conflict));
            return Ok(conflicts.collect());
        }
        for change in changes {
            let state = networks.entry(change.id).or_default();
            assert_eq!(state.revision, change.before.revision);
            state.bundles.extend(change.put);
            for id in change.delete {
                assert!(state.bundles.remove(&id).is_some());
            }
            let bundles = std::mem::take(&mut state.bundles);
            let revision = Some(state.revision.unwrap_or_default() + 1);
            *state = NetworkState { revision, bundles, ..change.after };
        }
        Ok(HashMap::new())
    }
}

/// These tests import no products.
impl ProductWrites for Memory {
    async fn apply(&self, _: &AccountId, _: OrderedRow<'_>) -> Result<Applied, RowError> {
        Err(RowError::Unavailable)
    }

    async fn linked_skus(
        &self,
        _: &AccountId,
        _: &[ExternalId],
    ) -> Result<HashMap<ExternalId, Sku>, RowError> {
        Err(RowError::Unavailable)
    }
}

impl ProductDelete for Memory {
    type Error = &'static str;

    async fn stored_products(
        &self,
        _: &AccountId,
        _: &[ProductKey],
    ) -> Result<HashMap<ProductKey, StoredProduct>, Self::Error> {
        Err("these tests import no products")
    }

    async fn delete_product(
        &self,
        _: &AccountId,
        _: &ProductKey,
        _: ProductRemoval,
    ) -> Result<Outcome, RowError> {
        Err(RowError::Unavailable)
    }

    async fn keys_of_ids(
        &self,
        _: &AccountId,
        _: &[ProductId],
    ) -> Result<HashMap<ProductId, ProductKey>, Self::Error> {
        Err("these tests import no products")
    }
}

fn account() -> AccountId {
    AccountId::parse("ACME").expect("account")
}

fn at(minute: u8) -> Timestamp {
    format!("2026-01-01T00:{minute:02}:00Z").parse().expect("a time")
}

/// The ordering of a source whose time is this minute.
fn source(minute: u8) -> Ordering {
    Ordering {
        origin: Origin::new(at(minute), &format!("source {minute}")),
        order_by: OrderBy::Record,
        snapshot: None,
        ids: GeneratedIds { seed: "seed".to_owned(), time: at(minute) },
    }
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

fn numbered(lines: &[String]) -> Vec<Line> {
    (1..).zip(lines).map(|(number, line)| (number, Ok(line.clone().into_bytes()))).collect()
}

async fn import_as(
    memory: &Memory,
    ordering: Ordering,
    lines: &[String],
    group: usize,
    floors: &[(Kind, Order)],
) -> (Counts, Vec<LineError>) {
    let account = account();
    let mut importer = Importer::new(memory, &account, ordering, Mode::Write);
    let mut rejected = Vec::new();
    for lines in numbered(lines).chunks(group) {
        rejected.extend(importer.import_group(lines, floors).await.expect("import"));
    }
    (importer.counts(), rejected)
}

/// Imports lines as a source whose time is this minute.
async fn import(memory: &Memory, minute: u8, lines: &[String]) -> (Counts, Vec<LineError>) {
    import_as(memory, source(minute), lines, 10, &[]).await
}

#[tokio::test]
async fn only_differences_are_written_and_every_line_is_counted_once() {
    let memory = Memory::default();
    let lines = [offering("a", "A", None), offering("b", "B", None), "{}".into(), delete("c")];
    let (counts, rejected) = import(&memory, 1, &lines).await;
    assert_eq!(counts, Counts { created: 2, failed: 1, unchanged: 1, ..Counts::default() });
    assert_eq!((rejected.len(), rejected[0].line), (1, 3));

    let lines = [offering("a", "A", None), offering("b", "B2", None), delete("a")];
    let writes_before = *memory.writes.lock().expect("lock");
    let (counts, _) = import(&memory, 2, &lines).await;
    assert_eq!(counts, Counts { unchanged: 1, updated: 1, deleted: 1, ..Counts::default() });
    assert_eq!(*memory.writes.lock().expect("lock") - writes_before, 2);
}

#[tokio::test]
async fn the_youngest_record_stays_whichever_comes_first() {
    for group in [1, 10] {
        let memory = Memory::default();
        let lines = [
            offering("a", "of minute 5", Some(5)),
            offering("a", "of minute 4", Some(4)),
            offering("a", "of minute 6", Some(6)),
            offering("a", "of the source", None),
        ];
        let (counts, _) = import_as(&memory, source(7), &lines, group, &[]).await;
        let expected = Counts { created: 1, stale: 1, updated: 2, ..Counts::default() };
        assert_eq!(counts, expected, "a record without a time has its source's");
        let (counts, _) = import_as(&memory, source(6), &lines, group, &[]).await;
        let expected = Counts { stale: 3, unchanged: 1, ..Counts::default() };
        assert_eq!(counts, expected, "an equal record is unchanged, whatever its time");
        let (counts, _) = import(&memory, 8, &[delete("a"), offering("a", "late", Some(7))]).await;
        assert_eq!((counts.deleted, counts.stale), (1, 1), "a delete is remembered");
        let (counts, _) = import(&memory, 9, &lines[3..]).await;
        assert_eq!(counts.created, 1);
    }
}

#[tokio::test]
async fn a_delete_counts_against_an_older_record_that_comes_after_it() {
    let memory = Memory::default();
    let (counts, _) = import(&memory, 5, &[delete("a")]).await;
    assert_eq!(counts.unchanged, 1, "there was nothing");
    let (counts, _) = import(&memory, 4, &[offering("a", "A", None)]).await;
    assert_eq!(counts.stale, 1);
    let (counts, _) = import(&memory, 8, &[delete("a")]).await;
    assert_eq!(counts.unchanged, 1);
    let (counts, _) = import(&memory, 7, &[offering("a", "A", None)]).await;
    assert_eq!(counts.stale, 1, "the newest delete is remembered");
    assert!(memory.documents().is_empty());
}

#[tokio::test]
async fn a_record_from_the_future_is_rejected() {
    let memory = Memory::default();
    let lines = [offering("a", "A", Some(15)), offering("b", "B", Some(16))];
    let (counts, rejected) = import(&memory, 5, &lines).await;
    assert_eq!((counts.created, counts.failed), (1, 1), "clocks may differ by ten minutes");
    let told = (rejected[0].line, rejected[0].error.to_string(), rejected[0].code);
    assert_eq!(told, (2, "updatedAt: is in the future".to_owned(), LineErrorCode::InvalidField));
    // If the source's time counts, a record's own does not.
    let ordering = Ordering { order_by: OrderBy::Source, ..source(6) };
    let (counts, _) = import_as(&memory, ordering, &lines, 10, &[]).await;
    assert_eq!((counts.unchanged, counts.created), (1, 1));
}

#[tokio::test]
async fn a_source_may_count_as_a_whole_at_its_own_time() {
    let memory = Memory::default();
    import(&memory, 5, &[offering("a", "corrected by hand", None)]).await;
    let old = [offering("a", "of the system of record", Some(1))];
    assert_eq!(import(&memory, 6, &old).await.0.stale, 1);
    let ordering = Ordering { order_by: OrderBy::Source, ..source(6) };
    let (counts, _) = import_as(&memory, ordering, &old, 10, &[]).await;
    assert_eq!(counts.updated, 1);
}

#[tokio::test]
async fn below_the_floor_of_a_snapshot_everything_is_stale_but_the_snapshots_own_records() {
    let memory = Memory::default();
    let floor = source(5).origin.order(0);
    let mut floors = vec![(Kind::Offering, floor)];
    let old = [
        offering("a", "A", Some(3)),
        delete("b").replace('}', r#","updatedAt":"2026-01-01T00:03:00Z"}"#),
    ];
    let (counts, _) = import_as(&memory, source(9), &old, 10, &floors).await;
    assert_eq!(counts.stale, 2, "whether anything is stored or not");
    let own = Ordering { snapshot: Some((Kind::Offering, floor)), ..source(5) };
    let (counts, _) = import_as(&memory, own.clone(), &old, 10, &floors).await;
    assert_eq!((counts.created, counts.unchanged), (1, 1));
    floors.push((Kind::Offering, source(6).origin.order(0)));
    let (counts, _) = import_as(&memory, own, &[offering("c", "C", None)], 10, &floors).await;
    assert_eq!(counts.stale, 1, "a newer snapshot counts for an older one, too");
}

#[tokio::test]
async fn a_write_that_was_rejected_is_a_rejected_line() {
    let memory = Memory { reject_every: Some(3), ..Memory::default() };
    let lines: Vec<String> =
        (0..9).map(|number| offering(&format!("o{number}"), "A", None)).collect();
    let (counts, rejected) = import(&memory, 1, &lines).await;
    assert_eq!(counts, Counts { created: 6, failed: 3, ..Counts::default() });
    let lines: Vec<u64> = rejected.iter().map(|error| error.line).collect();
    assert_eq!(lines, [3, 6, 9], "writes go in the order of the lines");

    let memory = Memory { reject_every: Some(1), ..Memory::default() };
    let twice = [offering("a", "A", None), offering("a", "A", None)];
    let (counts, _) = import(&memory, 1, &twice).await;
    assert_eq!(counts.failed, 2, "a repeated row is not stored either");
}

#[tokio::test]
async fn a_group_that_failed_can_be_imported_again_with_the_same_importer() {
    let memory = Memory { fail_once: Mutex::new(true), ..Memory::default() };
    let account = account();
    let mut importer = Importer::new(&memory, &account, source(1), Mode::Write);
    let lines = numbered(&[offering("a", "A", None)]);
    assert!(importer.import_group(&lines, &[]).await.is_err());
    assert!(importer.import_group(&lines, &[]).await.is_ok());
    assert_eq!(importer.counts(), Counts { created: 1, ..Counts::default() });
    assert_eq!(memory.items.lock().expect("lock").len(), 1);
}

#[tokio::test]
async fn a_dry_run_counts_as_the_import_itself_would() {
    let lines = [offering("a", "A", None), offering("a", "B", None), delete("a"), delete("a")];
    let (memory, account) = (Memory::default(), account());
    let mut importer = Importer::new(&memory, &account, source(1), Mode::DryRun);
    for line in numbered(&lines).chunks(1) {
        importer.import_group(line, &[]).await.expect("import");
    }
    let (counts, _) = import_as(&Memory::default(), source(1), &lines, 1, &[]).await;
    assert_eq!(importer.counts(), counts);
    assert_eq!(*memory.writes.lock().expect("lock"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_network_that_others_changed_meanwhile_is_read_again() {
    let memory = Memory { conflict_once: Mutex::new(true), ..Memory::default() };
    let (counts, rejected) = import(&memory, 1, &[network_line(0, 1, &[1], "N")]).await;
    assert!(rejected.is_empty(), "{rejected:?}");
    assert_eq!(counts.created, 1);
}

/// A line of a source: its id, its content (`None`: a delete), and its own minute, if it has one.
type Step = (&'static str, Option<&'static str>, Option<u8>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever comes first, and whatever the grouping, the newest write of each record stays.
    #[test]
    fn the_newest_write_stays_whatever_order_sources_arrive_in(
        sources in vec(
            vec((select(vec!["a", "b", "c"]), prop::option::weighted(0.8, Just("x")), prop::option::of(0_u8..20)), 0..8),
            1..5,
        ),
        arrival in any::<prop::sample::Index>(),
        group in 1_usize..6,
    ) {
        // Contents are distinct, because an unchanged record is not written: its order is not stored.
        let step = |source: usize, line: usize, (id, content, minute): &Step| {
            let name = format!("{source}.{line}");
            let text = match content {
                Some(_) => offering(id, &name, *minute),
                None => minute.map_or_else(|| delete(id), |minute| {
                    delete(id).replace('}', &format!(r#","updatedAt":"2026-01-01T00:{minute:02}:00Z"}}"#))
                }),
            };
            (text, name)
        };
        let mut newest: BTreeMap<&str, (Order, Option<String>)> = BTreeMap::new();
        let mut texts = Vec::new();
        for (number, lines) in sources.iter().enumerate() {
            let minute = u8::try_from(10 + number).expect("few");
            let origin = source(minute).origin;
            let mut of_source = Vec::new();
            for (line, record) in lines.iter().enumerate() {
                let (text, name) = step(number, line, record);
                of_source.push(text);
                let place = u64::try_from(line + 1).expect("few");
                let order = record.2.map_or(origin.order(place), |minute| origin.dated(at(minute), place));
                let content = record.1.map(|_| name);
                let known = newest.entry(record.0).or_insert((order, content.clone()));
                if known.0 <= order {
                    *known = (order, content);
                }
            }
            texts.push((minute, of_source));
        }
        let rotation = arrival.index(texts.len());
        texts.rotate_left(rotation);
        let memory = Memory::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        for (minute, lines) in &texts {
            let imported = import_as(&memory, source(*minute), lines, group, &[]);
            let (counts, rejected) = runtime.block_on(imported);
            prop_assert!(rejected.is_empty(), "{:?}", rejected);
            prop_assert_eq!(counts.total(), lines.len() as u64);
        }
        let stored = memory.documents();
        let expected: BTreeMap<&str, String> =
            newest.into_iter().filter_map(|(id, (_, name))| Some((id, name?))).collect();
        prop_assert_eq!(stored.len(), expected.len(), "{:?} {:?}", stored.keys(), expected);
        for (id, name) in expected {
            prop_assert!(stored[id].contains(&format!("\"{name}\"")), "{}: {} {}", id, name, stored[id]);
        }
    }

    /// Whatever the grouping, the networks and bundles are those that applying the lines one by one gives,
    /// and the number of bundles is correct.
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
        let imported = import_as(&memory, source(1), &lines, group, &[]);
        let (counts, rejected) = runtime.block_on(imported);
        prop_assert!(rejected.is_empty(), "{:?}", rejected);
        prop_assert_eq!(counts.total(), lines.len() as u64);
        let networks = memory.networks.lock().expect("lock");
        for (id, (network, bundles)) in replayed {
            let state = networks.get(&NetworkId::new(id).expect("id")).cloned().unwrap_or_default();
            let stored: BTreeMap<u32, String> =
                state.visible_bundles().map(|bundle| (bundle.id.get(), bundle.name.clone())).collect();
            prop_assert_eq!(state.network.map(|network| network.name), network.map(String::from));
            prop_assert_eq!(state.product_count, i64::try_from(stored.len()).expect("few"));
            prop_assert_eq!(stored, bundles.into_iter().map(|(id, name)| (id, name.to_owned())).collect());
        }
    }

    /// Whatever comes first, the orders alone decide which networks and bundles remain.
    #[test]
    fn networks_end_alike_whatever_comes_first(
        steps in vec((0_u8..5, vec(1_u32..4, 0..3)), 1..7),
        seed in any::<u64>(),
    ) {
        let lines: Vec<String> = steps
            .iter()
            .enumerate()
            .map(|(number, (kind, bundles))| network_line(*kind, 1, bundles, &format!("n{number}")))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let mut arrivals: Vec<usize> = (0..lines.len()).collect();
        let mut ended = Vec::new();
        for round in 0..2 {
            let memory = Memory::default();
            for number in &arrivals {
                let minute = u8::try_from(*number).expect("few");
                let line = std::slice::from_ref(&lines[*number]);
                let imported = import_as(&memory, source(minute), line, 1, &[]);
                let (_, rejected) = runtime.block_on(imported);
                prop_assert!(rejected.is_empty(), "{:?}", rejected);
            }
            let networks = memory.networks.lock().expect("lock");
            let state = networks.values().next().cloned().unwrap_or_default();
            let bundles: Vec<String> =
                state.visible_bundles().map(|bundle| bundle.name.clone()).collect();
            prop_assert_eq!(state.product_count, i64::try_from(bundles.len()).expect("few"));
            ended.push((state.network.map(|network| network.name), bundles));
            if round == 0 {
                let mut random = fastrand::Rng::with_seed(seed);
                random.shuffle(&mut arrivals);
            }
        }
        prop_assert_eq!(&ended[0], &ended[1], "{:?} {:?}", steps, arrivals);
    }
}

/// A network with its bundles (0), a network alone (1), its removal (2), a bundle (3), a bundle's removal
/// (4).
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
