use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::{
    imports::{Before, ChangeSet, Content, DocumentKey, LineErrorCode, Stored, Version},
    networks::{Bundle, NetworkChanges, NetworkId, NetworkKeys, NetworkState},
    offerings::OfferingId,
    outcome::WriteError,
    products::{
        Applied, ExternalId, OrderedRow, ProductId, ProductKey, ProductRemoval, RowError, Sku,
        StoredProduct,
    },
};

mod networks;

/// Items in memory; every `reject_every`th write is rejected.
#[derive(Default)]
struct Memory {
    items: Mutex<HashMap<DocumentKey, (Stored, String)>>,
    networks: Mutex<HashMap<NetworkId, NetworkState>>,
    writes: Mutex<u32>,
    reject_every: Option<u32>,
    /// The next write fails as a whole.
    fail_once: Mutex<bool>,
    /// How many changes of networks conflict with another writer.
    conflicts: Mutex<u32>,
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

/// These tests show differences of bundles alone.
impl ExportedRecords for Memory {
    type Error = &'static str;

    async fn stored_documents(
        &self,
        _: &AccountId,
        _: &[DocumentKey],
    ) -> Result<HashMap<DocumentKey, String>, Self::Error> {
        Err("these tests show differences of bundles alone")
    }

    fn document(
        &self,
        _: &AccountId,
        _: &DocumentKey,
        _: Order,
        _: (Content, Version),
    ) -> Result<Option<String>, Self::Error> {
        Err("these tests show differences of bundles alone")
    }

    fn network(_: &NetworkState) -> Option<String> {
        None
    }

    fn bundle(_: NetworkId, bundle: &Bundle, order: Option<Order>) -> String {
        let updated_at = order.map(|order| order.time().to_string()).unwrap_or_default();
        format!(r#"{{"name":"{}","updatedAt":"{updated_at}"}}"#, bundle.name)
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
        *self.writes.lock().expect("lock") += 1;
        let mut conflicts = self.conflicts.lock().expect("lock");
        if let Some(left) = conflicts.checked_sub(1) {
            *conflicts = left;
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
        ids: GeneratedIds { seed: "seed".to_owned(), time: at(minute), run: "run".to_owned() },
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
    // What has the order of the floor is not below it.
    let floors = [(Kind::Offering, source(9).origin.order(1))];
    let (counts, _) = import_as(&memory, source(9), &[offering("d", "D", None)], 10, &floors).await;
    assert_eq!(counts.created, 1);
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

#[tokio::test]
async fn a_group_that_is_imported_again_writes_nothing_twice() {
    let memory = Memory::default();
    let lines = [offering("a", "A", None), offering("a", "B", None), delete("c"), delete("d")];
    let (first, _) = import(&memory, 1, &lines).await;
    assert_eq!(first, Counts { created: 1, updated: 1, unchanged: 2, ..Counts::default() });
    assert_eq!(std::mem::take(&mut *memory.writes.lock().expect("lock")), 3);
    let (again, _) = import(&memory, 1, &lines).await;
    assert_eq!(again, Counts { stale: 1, unchanged: 3, ..Counts::default() });
    assert_eq!(*memory.writes.lock().expect("lock"), 0);
}

#[tokio::test]
async fn an_offering_is_created_when_its_source_says_and_else_when_it_first_came() {
    let memory = Memory::default();
    let own = offering("a", "A", None)
        .replace("\"name\"", r#""createdAt":"2025-01-01T00:00:00Z","name""#);
    import(&memory, 1, &[own, offering("b", "B", None)]).await;
    import(&memory, 2, &[offering("a", "A2", None), offering("b", "B2", None)]).await;
    let items = memory.items.lock().expect("lock");
    let created_at = |id: &str| {
        let key = DocumentKey::Offering(OfferingId::parse(id).expect("an id"));
        items[&key].0.version.expect("a version").created_at.to_string()
    };
    assert_eq!(created_at("a"), "2025-01-01T00:00:00Z");
    assert_eq!(created_at("b"), "2026-01-01T00:01:00Z");
}

#[tokio::test]
async fn a_line_that_its_format_rejects_is_told_with_all_that_is_wrong_with_its_record() {
    let (memory, account) = (Memory::default(), account());
    let wrong =
        |field: &str, message: &str| (LineErrorCode::InvalidField, FieldError::new(field, message));
    let record = br#"{"kind":"product","sku":"A","name":"","price":"x","cost":"y"}"#.to_vec();
    let errors = vec![wrong("price", "of the cell"), wrong("cost", "of the cell")];
    let lines = [
        (2, Ok(offering("a", "", None).into_bytes())),
        (3, Err(RejectedLine { errors, record: Some(record) })),
        (4, Err(RejectedLine { errors: vec![wrong("", "no record")], record: None })),
    ];
    let mut importer = Importer::new(&memory, &account, source(1), Mode::Write);
    let rejected = importer.import_group(&lines, &[]).await.expect("import");
    let told: Vec<_> =
        rejected.iter().map(|error| format!("{} {}", error.line, error.error)).collect();
    let expected = [
        "2 name: must not be empty",
        "3 price: of the cell",
        "3 cost: of the cell",
        "3 name: String must contain at least 1 character(s)",
        "4 no record",
    ];
    assert_eq!(told, expected);
    assert_eq!(importer.counts(), Counts { failed: 3, ..Counts::default() });
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
}
