use std::{sync::Mutex, time::Instant};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    geography::Country,
    offerings::{
        CatalogId, Category, Coverage, CustomerType, ProductType, Status, entries, key_of_entry,
        listing::tests::{
            account, any_query, any_stored, budget, categories, read_by_everyone, stored,
        },
    },
};

/// Entries and offerings in memory.
struct Memory {
    entries: BTreeSet<Vec<u8>>,
    rows: HashMap<OfferingId, StoredOffering>,
    /// The maximum number of entries that a read returns, in place of DynamoDB's 1 MB.
    page: usize,
    /// What a read of entries costs, and each offering.
    units: f64,
    /// The reads so far: an area, where its read began, and how many entries it asked for; or a number of offerings.
    reads: Mutex<Vec<String>>,
}

impl Memory {
    fn new(rows: impl IntoIterator<Item = StoredOffering>) -> Self {
        let rows: HashMap<_, _> = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
        let entries = rows.values().flat_map(entries).collect();
        Self { entries, rows, page: usize::MAX, units: 0.5, reads: Mutex::default() }
    }

    /// The reads since the last call.
    fn reads(&self) -> Vec<String> {
        std::mem::take(&mut *self.reads.lock().expect("lock"))
    }

    fn note(&self, read: String) {
        self.reads.lock().expect("lock").push(read);
    }
}

impl OfferingAreas for Memory {
    type Error = std::convert::Infallible;

    async fn entries(
        &self,
        _: &AccountId,
        area: &Area,
        range: KeyRange<'_>,
        from: Bound<'_>,
        limit: u32,
    ) -> Result<EntryPage, Self::Error> {
        let name = match area {
            Area::Country(country) => country.code(),
            Area::Region(region) => region.as_str(),
            Area::Catalog(catalog) => catalog.as_str(),
        };
        let begin = match from {
            Bound::Start => "start".to_owned(),
            Bound::At(key) => format!("at {}", key.id),
            Bound::After(key) => format!("after {}", key.id),
        };
        self.note(format!("{name} {begin} {limit}"));
        let (first, last) = area.range(range, &from);
        let most = self.page.min(limit as usize);
        let keys: Vec<OfferingKey> = self
            .entries
            .range(first..last)
            .take(most)
            .map(|entry| key_of_entry(entry).expect("an entry"))
            .collect();
        // As in DynamoDB, a read that used up its limit has no last key, even at the end.
        let is_last = keys.len() < most;
        Ok(EntryPage { keys, is_last, read_units: self.units })
    }

    async fn offerings(
        &self,
        _: &AccountId,
        ids: &[OfferingId],
    ) -> Result<(HashMap<OfferingId, StoredOffering>, f64), Self::Error> {
        self.note(format!("{} offerings", ids.len()));
        let found = ids.iter().filter_map(|id| Some((id.clone(), self.rows.get(id)?.clone())));
        let units = f64::from(u32::try_from(ids.len()).expect("small")) * self.units;
        Ok((found.collect(), units))
    }
}

fn catalog(id: &str) -> CatalogId {
    CatalogId::parse(id).expect("an id")
}

fn country(code: &str) -> Country {
    Country::parse(code).expect("a country")
}

/// Offering `o00001` and so on, small, in these catalogs and countries.
fn offering(number: u32, catalogs: &[&str], countries: &[&str]) -> StoredOffering {
    let mut row = stored(number, CustomerType::Consumer, ProductType::License);
    row.visibility.catalogs = catalogs.iter().map(|id| catalog(id)).collect();
    row.countries = countries.iter().map(|code| country(code)).collect();
    row.document = "{}".to_owned().into();
    row
}

fn by_catalog(id: &str) -> OfferingFilter {
    OfferingFilter { catalogs: Some([catalog(id)].into()), ..OfferingFilter::default() }
}

fn by_countries(codes: &[&str]) -> OfferingFilter {
    let countries = codes.iter().map(|code| country(code)).collect();
    let coverage = Some(Coverage { countries, regions: BTreeSet::new() });
    OfferingFilter { coverage, ..OfferingFilter::default() }
}

/// A plan of one key range.
fn one_range() -> Plan {
    Plan::new(vec![CustomerType::Consumer], [], [], false)
}

async fn page(
    memory: &Memory,
    plan: &Plan,
    filter: &OfferingFilter,
    start: ListPosition,
    limit: u32,
    budget: Budget,
) -> (Vec<String>, Option<ListPosition>) {
    let areas = filter.by_area().expect("areas");
    let Ok(Listing { offerings: rows, next }) =
        list_by_area(memory, &account(), plan, &areas, start, limit, budget).await;
    (rows.iter().map(|row| row.id.to_string()).collect(), next)
}

/// The first page of the one key range.
async fn first_page(
    memory: &Memory,
    filter: &OfferingFilter,
    limit: u32,
    units: f64,
) -> (Vec<String>, Option<ListPosition>) {
    page(memory, &one_range(), filter, ListPosition::START, limit, budget(units)).await
}

fn ids(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("o{number:05}")).collect()
}

/// The position after an offering, in the first key range.
fn after(number: u32) -> ListPosition {
    ListPosition { range: 0, after: Some(OfferingKey::of(&offering(number, &[], &[]))) }
}

const AMPLE: f64 = 1e9;

#[tokio::test]
async fn a_page_reads_the_entries_of_its_area_and_then_the_offerings_that_it_shows() {
    let memory = Memory::new((1..=3).map(|n| offering(n, &["web"], &[])));
    let filter = by_catalog("web");
    for limit in [3, 10] {
        assert_eq!(first_page(&memory, &filter, limit, AMPLE).await, (ids(1..=3), None));
        assert_eq!(memory.reads(), ["web start 27", "3 offerings"]);
    }
    // The entry after the last offering tells that there is another page.
    assert_eq!(first_page(&memory, &filter, 2, AMPLE).await, (ids(1..=2), Some(after(2))));
    assert_eq!(memory.reads(), ["web start 27", "2 offerings"]);
    let start = after(2);
    let last = page(&memory, &one_range(), &filter, start, 2, budget(AMPLE)).await;
    assert_eq!(last, (ids([3]), None));
    assert_eq!(memory.reads(), ["web after o00002 27", "1 offerings"]);
    assert_eq!(first_page(&memory, &by_catalog("app"), 2, AMPLE).await, (vec![], None));
    assert_eq!(memory.reads(), ["app start 27"]);
}

#[tokio::test]
async fn small_offerings_are_read_ten_and_then_four_times_as_many_at_a_time() {
    let memory = Memory::new((1..=100).map(|n| offering(n, &["web"], &[])));
    let listed = first_page(&memory, &by_catalog("web"), 100, AMPLE).await;
    assert_eq!(listed, (ids(1..=100), None));
    assert_eq!(
        memory.reads(),
        [
            "web start 27",
            "10 offerings",
            "web after o00027 42",
            "40 offerings",
            "web after o00069 52",
            "50 offerings"
        ]
    );
}

#[tokio::test]
async fn large_offerings_are_read_as_many_at_a_time_as_still_fit() {
    let sized = |number: u32, bytes: usize| StoredOffering {
        // A comma follows each.
        document: "x".repeat(bytes - 1).into(),
        ..offering(number, &["web"], &[])
    };
    let filter = by_catalog("web");
    // Exactly 55 of them are a page.
    let memory = Memory::new((1..=60).map(|n| sized(n, PAGE_BYTES / 55)));
    assert_eq!(first_page(&memory, &filter, 100, AMPLE).await, (ids(1..=55), Some(after(55))));
    let reads = memory.reads();
    let offerings: Vec<&String> = reads.iter().filter(|read| read.ends_with("offerings")).collect();
    assert_eq!(offerings, ["10 offerings", "40 offerings", "5 offerings", "1 offerings"]);
    // A byte more, and one less fits.
    let memory = Memory::new((1..=60).map(|n| sized(n, PAGE_BYTES / 55 + usize::from(n == 30))));
    assert_eq!(first_page(&memory, &filter, 100, AMPLE).await, (ids(1..=54), Some(after(54))));
    // The largest counts, wherever it was.
    let memory = Memory::new((1..=60).map(|n| sized(n, if n == 3 { PAGE_BYTES / 4 } else { 100 })));
    assert_eq!(first_page(&memory, &filter, 100, AMPLE).await, (ids(1..=60), None));
    let reads = memory.reads();
    let offerings: Vec<&String> = reads.iter().filter(|read| read.ends_with("offerings")).collect();
    let [first, rest @ ..] = offerings.as_slice() else { panic!("{offerings:?}") };
    assert_eq!((first.as_str(), rest[0].as_str()), ("10 offerings", "2 offerings"));
    // One that exceeds a page has a page of its own.
    let memory = Memory::new((1..=2).map(|n| sized(n, PAGE_BYTES + 1)));
    assert_eq!(first_page(&memory, &filter, 100, AMPLE).await, (ids([1]), Some(after(1))));
}

#[tokio::test]
async fn areas_of_one_kind_share_a_page_and_list_an_offering_once() {
    let countries = |n: u32| match n % 3 {
        0 => &["FR", "GH"][..],
        1 => &["FR"],
        _ => &["GH"],
    };
    let memory = Memory::new((1..=300).map(|n| offering(n, &[], countries(n))));
    let filter = by_countries(&["FR", "GH"]);
    assert_eq!(first_page(&memory, &filter, 4, AMPLE).await, (ids(1..=4), Some(after(4))));
    assert_eq!(memory.reads(), ["FR start 27", "GH start 27", "4 offerings"]);
    // Each area is asked for its share of what the page needs, and one more.
    assert_eq!(first_page(&memory, &filter, 300, AMPLE).await, (ids(1..=300), None));
    assert_eq!(
        memory.reads(),
        [
            "FR start 27",
            "GH start 27",
            "10 offerings",
            "FR after o00040 27",
            "GH after o00041 27",
            "40 offerings",
            "FR after o00081 52",
            "GH after o00081 52",
            "100 offerings",
            "FR after o00159 52",
            "GH after o00159 52",
            "FR after o00237 52",
            "GH after o00237 52",
            "100 offerings",
            "50 offerings"
        ]
    );
}

#[tokio::test]
async fn areas_of_two_kinds_leap_to_each_others_entries() {
    let rows = (1..=100).map(|n| offering(n, &["web"], if n % 50 == 0 { &["GH"] } else { &[] }));
    let memory = Memory::new(rows.chain([offering(200, &[], &["GH"])]));
    let filter = OfferingFilter { catalogs: by_catalog("web").catalogs, ..by_countries(&["GH"]) };
    assert_eq!(first_page(&memory, &filter, 10, AMPLE).await, (ids([50, 100]), None));
    assert_eq!(
        memory.reads(),
        ["web start 27", "GH at o00001 27", "web at o00050 27", "web at o00100 27", "2 offerings"]
    );
}

#[tokio::test]
async fn a_page_whose_budget_is_spent_goes_on_after_what_it_examined() {
    let memory = Memory::new((1..=30).map(|n| offering(n, &["web"], &[])));
    let filter = by_catalog("web");
    // 27 entries and 10 offerings; then the other entries, with which the budget is spent.
    assert_eq!(first_page(&memory, &filter, 100, 6.0).await, (ids(1..=28), Some(after(28))));
    assert_eq!(
        memory.reads(),
        ["web start 27", "10 offerings", "web after o00027 42", "18 offerings"]
    );
    // Spent with the offerings themselves.
    assert_eq!(first_page(&memory, &filter, 100, 5.5).await, (ids(1..=10), Some(after(10))));
    assert_eq!(memory.reads(), ["web start 27", "10 offerings"]);
    // A read that reports no units counts as half a one.
    let free = Memory { units: 0.0, ..memory };
    assert_eq!(first_page(&free, &filter, 100, 1.0).await, (ids(1..=10), Some(after(10))));
    assert_eq!(first_page(&free, &filter, 100, 1.5).await, (ids(1..=28), Some(after(28))));
    // The one that was read ahead is not forgotten.
    let memory = Memory::new((1..=11).map(|n| offering(n, &["web"], &[])));
    assert_eq!(first_page(&memory, &filter, 100, 5.5).await, (ids(1..=10), Some(after(10))));
    // A page with which the list ends has no next, even if it has spent all.
    let memory = Memory::new((1..=10).map(|n| offering(n, &["web"], &[])));
    assert_eq!(first_page(&memory, &filter, 100, 5.5).await, (ids(1..=10), None));
}

#[tokio::test]
async fn a_page_without_a_match_goes_on_after_the_last_entry_that_it_examined() {
    // Every entry of one kind lies between two of the other.
    let memory = Memory::new((1..=20).map(|n| match n % 2 {
        0 => offering(n, &[], &["GH"]),
        _ => offering(n, &["web"], &[]),
    }));
    let filter = OfferingFilter { catalogs: by_catalog("web").catalogs, ..by_countries(&["GH"]) };
    assert_eq!(first_page(&memory, &filter, 10, 1.0).await, (vec![], Some(after(1))));
    assert_eq!(memory.reads(), ["web start 27", "GH at o00001 27"]);
    let start = after(1);
    let second = page(&memory, &one_range(), &filter, start, 10, budget(1.0)).await;
    assert_eq!(second, (vec![], Some(after(3))));
    assert_eq!(memory.reads(), ["web after o00001 27", "GH at o00003 27"]);
    assert_eq!(first_page(&memory, &filter, 10, AMPLE).await, (vec![], None));
}

#[tokio::test]
async fn a_budget_that_is_spent_with_a_key_range_ends_the_page_before_the_next_one() {
    let mut business = offering(2, &["web"], &[]);
    business.visibility.customer_type = CustomerType::Business;
    let memory = Memory::new([offering(1, &["web"], &[]), business]);
    let plan = Plan::new(CustomerType::ALL.to_vec(), [], [], false);
    let filter = by_catalog("web");
    let first = page(&memory, &plan, &filter, ListPosition::START, 10, budget(1.0)).await;
    let next = ListPosition { range: 1, after: None };
    assert_eq!(first, (ids([1]), Some(next.clone())));
    assert_eq!(memory.reads(), ["web start 27", "1 offerings"]);
    assert_eq!(page(&memory, &plan, &filter, next, 10, budget(1.0)).await, (ids([2]), None));
    // Whatever its budget, a page reads something.
    let over = Budget { read_units: AMPLE, until: Instant::now() };
    let first = page(&memory, &plan, &filter, ListPosition::START, 10, over).await;
    assert_eq!(first, (ids([1]), Some(ListPosition { range: 1, after: None })));
}

#[tokio::test]
async fn a_page_ends_before_it_reads_more_than_200_empty_ranges() {
    let plan = Plan::new(vec![CustomerType::Consumer], [], categories(250), false);
    let memory = Memory::new([]);
    for (filter, ranges, reads) in
        [(by_catalog("web"), 200, 200), (by_countries(&["FR", "GH", "US"]), 66, 198)]
    {
        let first = page(&memory, &plan, &filter, ListPosition::START, 10, budget(AMPLE)).await;
        assert_eq!(first, (vec![], Some(ListPosition { range: ranges, after: None })));
        assert_eq!(memory.reads().len(), reads);
    }
    // A range that ends with its second read was not empty.
    let rows = (1..).zip(categories(250)).map(|(number, category)| StoredOffering {
        category: Some(category),
        ..offering(number, &["web"], &[])
    });
    let memory = Memory { page: 1, ..Memory::new(rows) };
    let (filter, start) = (by_catalog("web"), ListPosition::START);
    let all = page(&memory, &plan, &filter, start, 999, budget(AMPLE)).await;
    assert_eq!(all, (ids(1..=250), None));
}

#[tokio::test]
async fn an_entry_that_outlives_a_change_of_its_offering_lists_nothing() {
    let category = |name: &str| Category::parse(name).expect("a category");
    let before = StoredOffering { category: Some(category("A")), ..offering(1, &["web"], &["GH"]) };
    let plan = Plan::new(vec![CustomerType::Consumer], [], [category("A")], false);
    let filter = by_catalog("web");
    let listed = async |rows: Vec<StoredOffering>| {
        let mut memory = Memory::new([before.clone(), offering(2, &[], &[])]);
        memory.rows = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
        page(&memory, &plan, &filter, ListPosition::START, 10, budget(AMPLE)).await
    };
    assert_eq!(listed(vec![before.clone()]).await, (ids([1]), None));
    let changed = |change: &dyn Fn(&mut StoredOffering)| {
        let mut row = before.clone();
        change(&mut row);
        vec![row]
    };
    for rows in [
        vec![],
        changed(&|row| row.status = Status::Archived),
        changed(&|row| row.product_type = ProductType::Subscription),
        changed(&|row| row.visibility.customer_type = CustomerType::Business),
        changed(&|row| row.category = Some(category("B"))),
        changed(&|row| row.category = None),
        changed(&|row| row.visibility.catalogs = BTreeSet::new()),
    ] {
        assert_eq!(listed(rows.clone()).await, (vec![], None), "{rows:?}");
    }
    // It is listed once, by the entry that is right.
    let other = StoredOffering { product_type: ProductType::Subscription, ..before.clone() };
    let mut memory = Memory::new([before.clone()]);
    memory.entries.extend(entries(&other));
    let listed = page(&memory, &one_range(), &filter, ListPosition::START, 10, budget(AMPLE)).await;
    assert_eq!(listed, (ids([1]), None));
    assert_eq!(memory.reads(), ["web start 27", "1 offerings"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn following_positions_gives_every_match_once_in_the_order_of_the_list(
        rows in vec(any_stored(), 0..80),
        query in any_query(),
        limits in vec(1_u32..30, 1..4),
        entries_a_read in 1_usize..30,
        units in 1_u32..60,
    ) {
        let (filter, plan) = read_by_everyone(&query);
        prop_assume!(filter.by_area().is_some());
        let memory = Memory { page: entries_a_read, ..Memory::new(rows) };
        let mut expected = Vec::new();
        for number in 0..plan.len() {
            let range = plan.range(number).expect("a range");
            let mut keys: Vec<OfferingKey> = memory
                .rows
                .values()
                .filter(|row| {
                    row.visibility.customer_type == range.customer_type
                        && range.category.is_none_or(|wanted| row.category.as_ref() == Some(wanted))
                        && range.sort.holds(row.status, row.product_type)
                        && filter.admits(row)
                })
                .map(OfferingKey::of)
                .collect();
            keys.sort_by(|one, other| sort_key(one).cmp(&sort_key(other)));
            expected.extend(keys.iter().map(|key| key.id.to_string()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let (mut listed, mut pages) = (Vec::new(), 0);
        let mut next = Some(ListPosition::START);
        while let Some(position) = next {
            prop_assert!(pages < 10_000, "the list does not end");
            let position = plan.decode(&Plan::encode(&position)).expect("a position");
            let limit = limits[pages % limits.len()];
            let page = page(&memory, &plan, &filter, position, limit, budget(f64::from(units)));
            let (shown, after) = runtime.block_on(page);
            prop_assert!(shown.len() <= limit as usize);
            listed.extend(shown);
            next = after;
            pages += 1;
        }
        prop_assert_eq!(listed, expected);
    }
}
