use std::sync::Mutex;

use jiff::Timestamp;

use super::*;
use crate::products::FieldUpdate;

fn row(sku: &str, external_id: &str) -> ProductRow {
    ProductRow {
        sku: Sku::parse(sku).map_or(FieldUpdate::Keep, FieldUpdate::Set),
        external_id: ExternalId::parse(external_id).map_or(FieldUpdate::Keep, FieldUpdate::Set),
        ..ProductRow::default()
    }
}

#[test]
fn rows_of_one_product_are_one_group_in_their_order() {
    let rows = [
        row("a", ""),
        row("", "1"),
        row("b", "1"),
        row("", ""),
        row("a", ""),
        row("", "2"),
        row("c", ""),
        row("", ""),
        row("b", ""),
    ];
    let key = |text| ExternalId::parse(text).expect("id");
    let links = HashMap::from([(key("2"), Sku::parse("c").expect("sku"))]);
    let request = RequestIdentity::new(Timestamp::UNIX_EPOCH);
    let groups = same_product(&arrived(&rows, &request), &links);
    assert_eq!(groups, [vec![0, 4], vec![1, 2, 8], vec![3], vec![5, 6], vec![7]]);
}

/// Products in memory: which sku has an external id. It notes every row that it is asked to write.
#[derive(Default)]
struct Memory {
    owners: Mutex<HashMap<ExternalId, Sku>>,
    written: Mutex<Vec<String>>,
    /// The external ids whose skus were asked for.
    asked: Mutex<Vec<Vec<String>>>,
    /// Whether that is an error.
    links_fail: bool,
    /// Whether nothing is ever answered about links, or about rows with this sku.
    silent_links: bool,
    silent: Option<&'static str>,
}

impl Memory {
    /// Products by sku and external id.
    fn of(owners: &[(&str, &str)]) -> Self {
        let owner = |(sku, id): &(&str, &str)| {
            (ExternalId::parse(id).expect("an id"), Sku::parse(sku).expect("a sku"))
        };
        Self { owners: Mutex::new(owners.iter().map(owner).collect()), ..Self::default() }
    }

    fn written(&self) -> Vec<String> {
        std::mem::take(&mut *self.written.lock().expect("lock"))
    }

    fn asked(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut *self.asked.lock().expect("lock"))
    }
}

fn text<T>(update: &FieldUpdate<T>, show: impl Fn(&T) -> &str) -> &str {
    update.value().map_or("", show)
}

impl ProductWrites for Memory {
    async fn apply(&self, _: &AccountId, row: OrderedRow<'_>) -> Result<Applied, RowError> {
        let ProductRow { sku, external_id, .. } = row.row;
        let name = format!("{} {}", text(sku, Sku::as_str), text(external_id, ExternalId::as_str));
        self.written.lock().expect("lock").push(name.trim().to_owned());
        if sku.value().map(Sku::as_str) == self.silent && self.silent.is_some() {
            std::future::pending::<()>().await;
        }
        let mut taken = Ok(Applied { id: row.new_id, created: false, order: row.order });
        if let (Some(sku), Some(id)) = (sku.value(), external_id.value()) {
            let mut owners = self.owners.lock().expect("lock");
            if let Some(owner) = owners.get(id).filter(|owner| *owner != sku) {
                taken = Err(RowError::ExternalIdInUse { by: ProductKey::Sku(owner.clone()) });
            } else {
                owners.retain(|_, owner| owner != sku);
                owners.insert(id.clone(), sku.clone());
            }
        }
        // Others run before the answer is there.
        tokio::task::yield_now().await;
        taken
    }

    async fn linked_skus(
        &self,
        _: &AccountId,
        ids: &[ExternalId],
    ) -> Result<HashMap<ExternalId, Sku>, RowError> {
        let texts = ids.iter().map(|id| id.as_str().to_owned()).collect();
        self.asked.lock().expect("lock").push(texts);
        if self.silent_links {
            std::future::pending::<()>().await;
        }
        if self.links_fail {
            return Err(RowError::Unavailable);
        }
        let owners = self.owners.lock().expect("lock");
        Ok(ids.iter().filter_map(|id| Some((id.clone(), owners.get(id)?.clone()))).collect())
    }
}

/// Upserts rows of these skus and external ids; returns what became of each.
async fn upserted(memory: &Memory, rows: &[(&str, &str)], time: Duration) -> Vec<&'static str> {
    let account = AccountId::parse("ACME").expect("account");
    let rows: Vec<ProductRow> = rows.iter().map(|(sku, id)| row(sku, id)).collect();
    let request = RequestIdentity::new(Timestamp::UNIX_EPOCH);
    let rows = arrived(&rows, &request);
    let results = upsert(memory, &account, &rows, Instant::now() + time).await;
    assert_eq!(results.len(), rows.len());
    let shown = results.into_iter().zip(&rows).map(|(result, row)| match result {
        Ok(applied) => {
            assert_eq!((applied.id, applied.order), (row.new_id, row.order));
            "written"
        }
        Err(RowError::ExternalIdInUse { .. }) => "in use",
        Err(RowError::Unavailable) => "unavailable",
        Err(error) => panic!("{error}"),
    });
    shown.collect()
}

const ENOUGH: Duration = Duration::from_mins(1);

#[tokio::test]
async fn rows_of_one_product_are_written_in_their_order_also_where_only_a_link_joins_them() {
    let memory = Memory::of(&[("c", "2")]);
    let rows = [("c", ""), ("a", ""), ("", "2"), ("a", "1"), ("", "2"), ("", "1"), ("", "9")];
    assert_eq!(upserted(&memory, &rows, ENOUGH).await, ["written"; 7]);
    let written = memory.written();
    let about = |names: &[&str]| -> Vec<String> {
        written.iter().filter(|name| names.contains(&name.as_str())).cloned().collect()
    };
    assert_eq!(about(&["c", "2"]), ["c", "2", "2"]);
    assert_eq!(about(&["a", "a 1", "1"]), ["a", "a 1", "1"]);
    assert_eq!(memory.asked(), [["1", "2", "9"]], "each id once, and sorted");
}

#[tokio::test]
async fn links_are_asked_for_only_where_a_row_has_a_sku_and_another_one_only_an_external_id() {
    let memory = Memory::default();
    for rows in [&[("a", "1"), ("b", "")][..], &[("", "1"), ("", "2")], &[("", "")]] {
        assert_eq!(upserted(&memory, rows, ENOUGH).await, vec!["written"; rows.len()]);
        assert!(memory.asked().is_empty(), "{rows:?}");
    }
}

#[tokio::test]
async fn without_links_a_row_with_only_an_external_id_is_not_attempted() {
    let memory = Memory { links_fail: true, ..Memory::default() };
    let rows = [("a", "1"), ("", "2"), ("", "1"), ("b", "")];
    let expected = ["unavailable", "unavailable", "unavailable", "written"];
    assert_eq!(upserted(&memory, &rows, ENOUGH).await, expected);
    assert_eq!(memory.written(), ["b"]);
}

#[tokio::test]
async fn a_row_waits_for_the_external_id_that_another_row_gives_up() {
    // Each takes the id of the next one, and the last one a new id.
    let memory = Memory::of(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let rows = [("a", "2"), ("a", ""), ("b", "3"), ("c", "4"), ("d", "")];
    assert_eq!(upserted(&memory, &rows, ENOUGH).await, ["written"; 5]);
    let attempts = ["a 2", "b 3", "c 4", "d", "a 2", "b 3", "a 2", "a"];
    assert_eq!(memory.written(), attempts);
}

#[tokio::test]
async fn rows_that_wait_for_each_other_are_refused_and_those_after_them_written() {
    let memory = Memory::of(&[("a", "1"), ("b", "2")]);
    let rows = [("a", "2"), ("a", ""), ("b", "1"), ("d", "")];
    let expected = ["in use", "written", "in use", "written"];
    assert_eq!(upserted(&memory, &rows, ENOUGH).await, expected);
    let attempts = ["a 2", "b 1", "d", "a 2", "b 1", "a 2", "b 1", "a"];
    assert_eq!(memory.written(), attempts);
}

#[tokio::test]
async fn an_external_id_of_a_product_that_no_row_names_is_refused_at_once() {
    let memory = Memory::of(&[("a", "1"), ("x", "9")]);
    let rows = [("a", "9"), ("a", ""), ("b", "2")];
    assert_eq!(upserted(&memory, &rows, ENOUGH).await, ["in use", "written", "written"]);
    assert_eq!(memory.written(), ["a 9", "b 2", "a"]);
}

#[tokio::test(start_paused = true)]
async fn no_row_is_begun_after_the_time_and_none_goes_on() {
    let memory = Memory { silent: Some("b"), ..Memory::default() };
    let rows = [("a", ""), ("b", ""), ("b", "")];
    assert_eq!(upserted(&memory, &rows, Duration::ZERO).await, ["unavailable"; 3]);
    assert!(memory.written().is_empty());
    let start = Instant::now();
    let results = upserted(&memory, &rows, Duration::from_secs(7)).await;
    assert_eq!(results, ["written", "unavailable", "unavailable"]);
    assert_eq!((memory.written(), start.elapsed().as_secs()), (vec!["a".into(), "b".into()], 7));
}

#[tokio::test(start_paused = true)]
async fn links_take_five_seconds_at_most_and_no_longer_than_there_is() {
    let memory = Memory { silent_links: true, ..Memory::default() };
    let rows = [("a", ""), ("", "2")];
    for (time, seconds, first) in
        [(ENOUGH, 5, "written"), (Duration::from_secs(2), 2, "unavailable")]
    {
        let start = Instant::now();
        assert_eq!(upserted(&memory, &rows, time).await, [first, "unavailable"]);
        assert_eq!(start.elapsed().as_secs(), seconds);
    }
}

#[test]
fn rows_of_a_request_have_its_time_and_their_place() {
    let rows = [row("a", ""), row("b", "")];
    let request = RequestIdentity::new(Timestamp::from_second(9).expect("a time"));
    let again = RequestIdentity { is_repeated: true, ..request.clone() };
    let (first, second) = (arrived(&rows, &request), arrived(&rows, &again));
    let origin = Origin::new(request.arrived_at, &request.name);
    for (line, (one, other)) in (1..).zip(first.iter().zip(&second)) {
        assert_eq!((one.order, one.when_older), (origin.order(line), WhenOlder::MoveAfterNewest));
        assert_eq!(other.when_older, WhenOlder::CountAsWritten);
        assert_eq!((one.order, one.new_id), (other.order, other.new_id));
        assert_eq!(one.new_id, ProductId::of_record(request.arrived_at, &request.name, line));
    }
    assert!(first[0].new_id < first[1].new_id);
}

#[test]
fn a_row_that_was_not_written_says_why() {
    let by = ProductKey::Sku(Sku::parse("s").expect("a sku"));
    let cause = "secret".to_owned();
    for (error, text, fault) in [
        (RowError::NameRequired, "name: Required", Fault::Missing),
        (
            RowError::ExternalIdInUse { by },
            "externalId: Already used by another product",
            Fault::Invalid,
        ),
        (RowError::Unavailable, "write: temporarily unavailable, retry this row", Fault::Invalid),
        (RowError::Stale, "updatedAt: older than what is stored", Fault::Invalid),
        (RowError::Failed { cause }, "write: failed, the cause is logged", Fault::Invalid),
    ] {
        assert_eq!((error.to_string().as_str(), error.field_error().fault), (text, fault));
    }
}
