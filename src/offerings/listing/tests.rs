use std::{collections::BTreeSet, sync::Mutex, time::Duration};

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::cost::{Cost, Meter};
use crate::offerings::{
    CatalogId, Category, CustomerType, OfferingId, OfferingQuery, ProductType, Status, Visibility,
};

/// Key ranges of a list in memory, sorted as DynamoDB sorts them. Every item examined costs its bytes, every
/// read at least half a unit.
struct Memory {
    offerings: Vec<StoredOffering>,
    /// The maximum number of items that a read examines, in place of DynamoDB's 1 MB.
    page: u32,
    /// How many ranges were read from their start and were empty.
    empty: Mutex<u32>,
    meter: Meter,
}

impl Memory {
    fn new(offerings: Vec<StoredOffering>, page: u32) -> Self {
        Self { offerings, page, empty: Mutex::new(0), meter: Meter::default() }
    }
}

fn sort_key(key: &OfferingKey) -> (&str, &str, &str) {
    (key.status.as_str(), key.product_type.as_str(), key.id.as_str())
}

impl OfferingRanges for Memory {
    type Error = std::convert::Infallible;

    async fn read(
        &self,
        _: &AccountId,
        range: KeyRange<'_>,
        filter: &OfferingFilter,
        after: Option<&OfferingKey>,
        limit: u32,
    ) -> Result<RangeRead, Self::Error> {
        let mut range: Vec<&StoredOffering> = self
            .offerings
            .iter()
            .filter(|offering| {
                offering.visibility.customer_type == range.customer_type
                    && range
                        .category
                        .is_none_or(|wanted| offering.category.as_ref() == Some(wanted))
                    && range.sort.holds(offering.status, offering.product_type)
            })
            .collect();
        range.sort_by(|a, b| sort_key(&OfferingKey::of(a)).cmp(&sort_key(&OfferingKey::of(b))));
        let from = after.map_or(0, |after| {
            range
                .partition_point(|offering| sort_key(&OfferingKey::of(offering)) <= sort_key(after))
        });
        let examined = range.len().saturating_sub(from).min(limit.min(self.page) as usize);
        let seen = &range[from..from + examined];
        *self.empty.lock().expect("lock") += u32::from(after.is_none() && range.is_empty());
        // As in DynamoDB, a read that used up its limit returns a key to continue after, even at the end.
        let used_up = examined == limit.min(self.page) as usize;
        let bytes: usize = seen.iter().map(|offering| offering.document.plain().len()).sum();
        let units = bytes.div_ceil(4_096).max(1);
        let read_units = f64::from(u32::try_from(units).expect("small")) * 0.5;
        self.meter.add_read(read_units);
        Ok(RangeRead {
            offerings: seen
                .iter()
                .filter(|offering| filter.admits(offering))
                .map(|offering| (*offering).clone())
                .collect(),
            resume: seen.last().filter(|_| used_up).map(|offering| OfferingKey::of(offering)),
            examined: u32::try_from(examined).expect("small"),
            read_units,
        })
    }
}

pub(in crate::offerings) fn stored(
    id: u32,
    customer_type: CustomerType,
    product_type: ProductType,
) -> StoredOffering {
    StoredOffering {
        id: OfferingId::parse(&format!("o{id:05}")).expect("id"),
        status: Status::Available,
        product_type,
        category: None,
        visibility: Visibility { customer_type, catalogs: BTreeSet::new() },
        countries: BTreeSet::new(),
        regions: BTreeSet::new(),
        document: "x".repeat(1_500).into(),
    }
}

pub(in crate::offerings) fn account() -> AccountId {
    AccountId::parse("ACME").expect("account")
}

const AMPLE: Duration = Duration::from_mins(10);

pub(in crate::offerings) fn budget(read_units: f64) -> Budget {
    Budget { read_units, until: Instant::now() + AMPLE }
}

fn plan(types: &[ProductType]) -> Plan {
    Plan::new(CustomerType::ALL.to_vec(), types.iter().copied(), [], false)
}

/// A page and its cost.
#[derive(Debug)]
struct Paid {
    offerings: Vec<StoredOffering>,
    next: Option<ListPosition>,
    cost: Cost,
    /// How many ranges that were read for it were empty.
    empty: u32,
}

async fn page(
    memory: &Memory,
    plan: &Plan,
    filter: &OfferingFilter,
    start: ListPosition,
    limit: u32,
    budget: Budget,
) -> Paid {
    *memory.empty.lock().expect("lock") = 0;
    let before = memory.meter.cost();
    let Ok(Listing { offerings, next }) =
        list(memory, &account(), plan, filter, start, limit, budget).await;
    let empty = *memory.empty.lock().expect("lock");
    let after = memory.meter.cost();
    let cost = Cost {
        reads: after.reads - before.reads,
        read_units: after.read_units - before.read_units,
        ..Cost::default()
    };
    Paid { offerings, next, cost, empty }
}

/// All pages of a list.
async fn walk(
    memory: &Memory,
    plan: &Plan,
    filter: &OfferingFilter,
    limits: &[u32],
    units: f64,
) -> Vec<Paid> {
    let mut pages = Vec::new();
    let mut next = Some(ListPosition::START);
    while let Some(position) = next {
        assert!(pages.len() < 10_000, "the list does not end");
        // Encoded and decoded, as in a cursor.
        let position = plan.decode(&Plan::encode(&position)).expect("position");
        let limit = limits[pages.len() % limits.len()];
        let page = page(memory, plan, filter, position, limit, budget(units)).await;
        assert!(page.offerings.len() <= limit as usize);
        next = page.next.clone();
        pages.push(page);
    }
    pages
}

fn ids(pages: &[Paid]) -> Vec<String> {
    let offerings = pages.iter().flat_map(|page| &page.offerings);
    offerings.map(|offering| offering.id.as_str().to_owned()).collect()
}

#[tokio::test]
async fn the_last_page_has_no_next_even_when_it_is_full() {
    let offerings =
        (0..20).map(|id| stored(id, CustomerType::Consumer, ProductType::License)).collect();
    let memory = Memory::new(offerings, 1_000);
    let pages = walk(&memory, &plan(&[]), &OfferingFilter::default(), &[10], 1e9).await;
    assert_eq!(pages.iter().map(|page| page.offerings.len()).collect::<Vec<_>>(), [10, 10]);
}

/// Categories C000, C001 and so on.
pub(in crate::offerings) fn categories(count: usize) -> Vec<Category> {
    (0..count).map(|n| Category::parse(&format!("C{n:03}")).expect("category")).collect()
}

#[tokio::test]
async fn empty_ranges_are_opened_several_at_a_time() {
    // 2 customer types by 100 categories, of which only the last has an offering.
    let categories = categories(100);
    let mut only = stored(1, CustomerType::Business, ProductType::License);
    only.category = categories.last().cloned();
    let memory = Memory::new(vec![only], 1_000);
    let plan = Plan::new(CustomerType::ALL.to_vec(), [], categories, false);
    let filter = OfferingFilter::default();
    let page = page(&memory, &plan, &filter, ListPosition::START, 10, budget(1e9)).await;
    assert_eq!((page.offerings.len(), page.cost.reads), (1, 200));
    assert_eq!(page.next, None);
    // 1 + 2 + 4 + 8 + 8 + …: 200 key ranges in 28 round trips.
    assert!((page.cost.read_units - 100.0).abs() < f64::EPSILON, "half a unit a range");
}

#[tokio::test]
async fn a_page_ends_after_200_empty_ranges_and_the_next_one_goes_on_behind_them() {
    // The widest query: 2 customer types, 100 categories, 3 of 4 types, archived offerings, too.
    let categories = categories(100);
    let types = [ProductType::Subscription, ProductType::License, ProductType::ExternalProduct];
    let mut only = stored(1, CustomerType::Business, ProductType::ExternalProduct);
    only.status = Status::Archived;
    only.category = categories.last().cloned();
    let memory = Memory::new(vec![only], 1_000);
    let plan = Plan::new(CustomerType::ALL.to_vec(), types, categories, true);
    assert_eq!(plan.len(), 1_200);
    let pages = walk(&memory, &plan, &OfferingFilter::default(), &[10], 1e9).await;
    assert_eq!(ids(&pages), ["o00001"]);
    let counts: Vec<_> = pages.iter().map(|page| (page.cost.reads, page.empty)).collect();
    assert_eq!(counts, [(200, 200), (200, 200), (200, 200), (200, 200), (200, 200), (200, 199)]);
    assert!(pages.iter().all(|page| page.cost.read_units <= 100.0));
}

#[tokio::test]
async fn ranges_whose_offerings_a_filter_leaves_out_are_not_empty() {
    let categories = categories(250);
    let offerings = (0_u32..).zip(&categories).map(|(id, category)| StoredOffering {
        category: Some(category.clone()),
        ..stored(id, CustomerType::Consumer, ProductType::License)
    });
    let memory = Memory::new(offerings.collect(), 1_000);
    let plan = Plan::new(vec![CustomerType::Consumer], [], categories, false);
    let none = CatalogId::parse("none").expect("catalog");
    let filter = OfferingFilter { catalogs: Some([none].into()), ..OfferingFilter::default() };
    let page = page(&memory, &plan, &filter, ListPosition::START, 10, budget(1e9)).await;
    assert_eq!((page.offerings.len(), page.next), (0, None));
}

#[tokio::test]
async fn a_page_that_the_first_range_fills_opens_no_other() {
    let offerings = CustomerType::ALL
        .iter()
        .flat_map(|customer_type| {
            (0..50).map(|id| stored(id, *customer_type, ProductType::License))
        })
        .collect();
    let memory = Memory::new(offerings, 1_000);
    let filter = OfferingFilter::default();
    let page = page(&memory, &plan(&[]), &filter, ListPosition::START, 10, budget(1e9)).await;
    assert_eq!(page.cost.reads, 1);
}

#[tokio::test]
async fn a_selective_filter_stops_at_its_budget_and_the_next_page_goes_on_behind_it() {
    let mut offerings: Vec<StoredOffering> =
        (0..2_000).map(|id| stored(id, CustomerType::Consumer, ProductType::License)).collect();
    let catalog = CatalogId::parse("rare").expect("catalog");
    offerings[1_999].visibility.catalogs.insert(catalog.clone());
    let memory = Memory::new(offerings, 200);
    let filter = OfferingFilter { catalogs: Some([catalog].into()), ..OfferingFilter::default() };
    let pages = walk(&memory, &plan(&[]), &filter, &[10], 100.0).await;
    assert_eq!(ids(&pages), ["o01999"]);
    assert!(pages[0].offerings.is_empty() && pages.len() > 2);
    let units: f64 = pages.iter().map(|page| page.cost.read_units).sum();
    let all: f64 = 2_000.0 * 1_500.0 / BYTES_PER_UNIT;
    assert!(units < all * 1.1 + 5.0, "nothing is looked at twice: {units} units of {all}");
    for page in &pages {
        assert!(page.cost.read_units < 100.0 + 50.0, "a page ends near its budget");
    }
}

#[tokio::test]
async fn a_full_page_does_not_read_far_to_learn_whether_there_is_another() {
    let mut offerings: Vec<StoredOffering> =
        (0..6_000).map(|id| stored(id, CustomerType::Consumer, ProductType::License)).collect();
    let catalog = CatalogId::parse("rare").expect("catalog");
    offerings[3].visibility.catalogs.insert(catalog.clone());
    let memory = Memory::new(offerings, 1_000);
    let filter = OfferingFilter { catalogs: Some([catalog].into()), ..OfferingFilter::default() };
    let page = page(&memory, &plan(&[]), &filter, ListPosition::START, 1, budget(1e9)).await;
    assert_eq!((page.offerings.len(), page.cost.reads), (1, 2));
    assert!(page.cost.read_units < 15.0, "{}", page.cost.read_units);

    // Two thousand categories after the one that fills the page.
    let categories = categories(2_000);
    let mut only = stored(1, CustomerType::Consumer, ProductType::License);
    only.category = categories.first().cloned();
    let memory = Memory::new(vec![only], 1_000);
    let plan = Plan::new(vec![CustomerType::Consumer], [], categories, false);
    let open = OfferingFilter::default();
    let page = self::page(&memory, &plan, &open, ListPosition::START, 1, budget(1e9)).await;
    assert_eq!((page.offerings.len(), page.next.is_some()), (1, true));
    assert!(page.cost.reads <= 3, "{}", page.cost.reads);
}

#[tokio::test]
async fn a_page_out_of_time_still_makes_progress() {
    let offerings =
        (0..30).map(|id| stored(id, CustomerType::Consumer, ProductType::License)).collect();
    let memory = Memory::new(offerings, 10);
    let filter = OfferingFilter::default();
    let over = Budget { read_units: 1e9, until: Instant::now() };
    let page = page(&memory, &plan(&[]), &filter, ListPosition::START, 25, over).await;
    assert_eq!(page.offerings.len(), 10);
    assert!(page.next.is_some());
}

#[tokio::test]
async fn a_page_ends_before_its_reply_would_pass_the_size_lambda_allows() {
    let offerings = (0..60)
        .map(|id| StoredOffering {
            // Quotes and tabs count twice: they are escaped inside the reply.
            document: "\"\t".repeat(50_000).into(),
            ..stored(id, CustomerType::Consumer, ProductType::License)
        })
        .collect();
    let memory = Memory::new(offerings, 1_000);
    let pages = walk(&memory, &plan(&[]), &OfferingFilter::default(), &[1_000], 1e9).await;
    assert_eq!(ids(&pages).len(), 60);
    assert_eq!(pages[0].offerings.len(), 27);
}

#[tokio::test]
async fn items_added_and_removed_meanwhile_neither_repeat_nor_hide_others() {
    let offerings: Vec<StoredOffering> =
        (0..40).map(|id| stored(id * 2, CustomerType::Consumer, ProductType::License)).collect();
    let mut memory = Memory::new(offerings, 1_000);
    let filter = OfferingFilter::default();
    let (mut seen, mut next, mut step) = (Vec::new(), Some(ListPosition::START), 0);
    while let Some(position) = next {
        let page = page(&memory, &plan(&[]), &filter, position, 7, budget(1e9)).await;
        seen.extend(page.offerings.iter().map(|offering| offering.id.clone()));
        next = page.next;
        // Changes around the position reached: remove the item just seen, add one on each side.
        let last = seen.last().cloned().expect("seen");
        memory.offerings.retain(|offering| offering.id != last);
        memory.offerings.push(stored(step * 2 + 1, CustomerType::Consumer, ProductType::License));
        memory.offerings.push(stored(101 + step, CustomerType::Consumer, ProductType::License));
        step += 1;
        assert!(step < 100);
    }
    let unique: BTreeSet<_> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len(), "nothing repeats");
    let lasting = (0..40).map(|id| OfferingId::parse(&format!("o{:05}", id * 2)).expect("id"));
    assert!(lasting.into_iter().all(|id| unique.contains(&id)), "nothing is hidden");
}

pub(in crate::offerings) fn any_stored() -> impl Strategy<Value = StoredOffering> {
    (
        0_u32..200,
        select(CustomerType::ALL),
        select(ProductType::ALL),
        select(Status::ALL),
        prop::option::of(select(vec!["A", "B", "C"])),
        vec(select(vec!["retail", "web"]), 0..3),
        vec(select(vec!["FR", "GH", "BR"]), 0..3),
        vec(select(crate::geography::Region::ALL), 0..2),
        1_usize..9_000,
    )
        .prop_map(
            |(
                id,
                customer_type,
                product_type,
                status,
                category,
                catalogs,
                countries,
                regions,
                size,
            )| {
                StoredOffering {
                    status,
                    category: category.map(|name| Category::parse(name).expect("category")),
                    visibility: Visibility {
                        customer_type,
                        catalogs: catalogs
                            .into_iter()
                            .map(|id| CatalogId::parse(id).expect("id"))
                            .collect(),
                    },
                    countries: countries
                        .into_iter()
                        .map(|code| crate::geography::Country::parse(code).expect("country"))
                        .collect(),
                    regions: regions.into_iter().collect(),
                    document: "\"".repeat(size).into(),
                    ..stored(id, customer_type, product_type)
                }
            },
        )
}

pub(in crate::offerings) fn any_query() -> impl Strategy<Value = OfferingQuery> {
    (
        prop::option::of(select(CustomerType::ALL)),
        vec(select(ProductType::ALL), 0..4),
        vec(select(vec!["A", "B", "C", "D"]), 0..3),
        any::<bool>(),
        prop::option::weighted(0.3, select(vec!["retail", "web"])),
        vec(select(vec!["FR", "US", "BR"]), 0..2),
        prop::option::weighted(0.3, select(crate::geography::Region::ALL)),
    )
        .prop_map(
            |(customer_type, types, categories, include_archived, catalog, countries, region)| {
                OfferingQuery {
                    customer_type,
                    types: types.into_iter().collect(),
                    categories: categories
                        .iter()
                        .map(|c| Category::parse(c).expect("category"))
                        .collect(),
                    product_catalog: catalog.map(|id| CatalogId::parse(id).expect("id")),
                    include_archived,
                    countries: countries
                        .iter()
                        .map(|code| crate::geography::Country::parse(code).expect("country"))
                        .collect(),
                    regions: region.into_iter().collect(),
                }
            },
        )
}

/// What a caller that may see everything reads for a query.
pub(in crate::offerings) fn read_by_everyone(query: &OfferingQuery) -> (OfferingFilter, Plan) {
    let principal = crate::access::Principal {
        account: account(),
        customer_types: None,
        product_catalogs: None,
        wallet_currency: crate::money::Currency::USD,
    };
    let filter = query.filter_for(&principal).expect("visible");
    let customer_types = query.customer_types_for(&principal).expect("visible");
    let (types, asked) = (query.types.clone(), query.categories.clone());
    (filter, Plan::new(customer_types, types, asked, query.include_archived))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn following_positions_gives_every_match_once_whatever_limits_budget_and_database_pages(
        offerings in vec(any_stored(), 0..120),
        query in any_query(),
        limits in vec(1_u32..40, 1..4),
        page in 1_u32..50,
        units in 1_u32..200,
    ) {
        let mut offerings = offerings;
        let mut known = BTreeSet::new();
        offerings.retain(|offering| known.insert(offering.id.clone()));
        let (filter, plan) = read_by_everyone(&query);
        // The same query on the whole list, without plan or pages.
        let mut expected: Vec<String> = offerings
            .iter()
            .filter(|offering| query.customer_type.is_none_or(|t| t == offering.visibility.customer_type))
            .filter(|offering| query.types.is_empty() || query.types.contains(&offering.product_type))
            .filter(|offering| {
                query.categories.is_empty()
                    || offering.category.as_ref().is_some_and(|c| query.categories.contains(c))
            })
            .filter(|offering| query.include_archived || offering.status == Status::Available)
            .filter(|offering| filter.admits(offering))
            .map(|offering| offering.id.as_str().to_owned())
            .collect();
        let memory = Memory::new(offerings, page);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let pages = runtime.block_on(walk(&memory, &plan, &filter, &limits, f64::from(units)));
        let mut listed = ids(&pages);
        listed.sort();
        expected.sort();
        prop_assert_eq!(listed, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_page_reads_at_most_200_empty_ranges_and_the_pages_still_give_every_match_once(
        places in vec(
            (select(CustomerType::ALL), 0_usize..100, select(ProductType::ALL), select(Status::ALL)),
            0..60,
        ),
        asked in (prop::option::of(select(CustomerType::ALL)), vec(select(ProductType::ALL), 0..4)),
        categories_asked in 1_usize..=100,
        include_archived in any::<bool>(),
        limits in vec(1_u32..20, 1..4),
        page in 1_u32..50,
    ) {
        let known = categories(100);
        let offerings: Vec<StoredOffering> = (0_u32..)
            .zip(places)
            .map(|(id, (customer_type, category, product_type, status))| StoredOffering {
                status,
                category: Some(known[category].clone()),
                ..stored(id, customer_type, product_type)
            })
            .collect();
        let (customer_type, types) = asked;
        // Every second category, then the others, so that those requested are far apart.
        let asked: BTreeSet<Category> = (0..100)
            .step_by(2)
            .chain((1..100).step_by(2))
            .take(categories_asked)
            .map(|n| known[n].clone())
            .collect();
        let types: BTreeSet<ProductType> = types.into_iter().collect();
        let customer_types = customer_type.map_or_else(|| CustomerType::ALL.to_vec(), |one| vec![one]);
        let mut expected: Vec<String> = offerings
            .iter()
            .filter(|offering| customer_types.contains(&offering.visibility.customer_type))
            .filter(|offering| types.is_empty() || types.contains(&offering.product_type))
            .filter(|offering| offering.category.as_ref().is_some_and(|category| asked.contains(category)))
            .filter(|offering| include_archived || offering.status == Status::Available)
            .map(|offering| offering.id.as_str().to_owned())
            .collect();
        let plan = Plan::new(customer_types, types, asked, include_archived);
        let memory = Memory::new(offerings, page);
        let filter = OfferingFilter::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let pages = runtime.block_on(walk(&memory, &plan, &filter, &limits, 1e9));
        for page in &pages {
            prop_assert!(page.empty <= 200, "{} empty ranges", page.empty);
            if page.offerings.is_empty() && page.next.is_some() {
                prop_assert_eq!(page.cost.reads, 200, "it is empty for no other reason");
                prop_assert!(page.cost.read_units <= 100.0, "{} units", page.cost.read_units);
            }
        }
        let mut listed = ids(&pages);
        listed.sort();
        expected.sort();
        prop_assert_eq!(listed, expected);
    }
}

#[tokio::test]
async fn ranges_that_end_with_their_first_read_are_not_empty() {
    let categories = categories(500);
    // Many in every second one: a read looks at more than the others have.
    let offerings = (0_u32..).zip(&categories).flat_map(|(number, category)| {
        let count = if number % 2 == 0 { 20 } else { 1 };
        (0..count).map(move |place| StoredOffering {
            category: Some(category.clone()),
            document: "x".to_owned().into(),
            ..stored(number * 20 + place, CustomerType::Consumer, ProductType::License)
        })
    });
    let memory = Memory::new(offerings.collect(), 1_000);
    let plan = Plan::new(vec![CustomerType::Consumer], [], categories, false);
    let filter = OfferingFilter::default();
    let page = page(&memory, &plan, &filter, ListPosition::START, 10_000, budget(1e9)).await;
    assert_eq!((page.offerings.len(), page.empty, page.next), (250 * 21, 0, None));
}

#[test]
fn a_page_takes_offerings_up_to_its_size_and_at_least_one() {
    let sized = |id: u32, bytes: usize| StoredOffering {
        // A comma follows each.
        document: "x".repeat(bytes - 1).into(),
        ..stored(id, CustomerType::Consumer, ProductType::License)
    };
    let after = |id| {
        let last = OfferingKey::of(&stored(id, CustomerType::Consumer, ProductType::License));
        ListPosition { range: 3, after: Some(last) }
    };
    for (sizes, fit) in [
        (&[PAGE_BYTES - 300, 100, 200][..], 3),
        (&[PAGE_BYTES - 300, 100, 201], 2),
        (&[PAGE_BYTES + 1, 100], 1),
    ] {
        let mut page = Page { offerings: Vec::new(), bytes: 0, limit: 10, last: None };
        let taken: Vec<_> =
            (1..).zip(sizes).map(|(id, bytes)| page.take(3, sized(id, *bytes))).collect();
        let mut expected = vec![Ok(()); fit];
        let last = u32::try_from(fit).expect("small");
        expected.resize(sizes.len(), Err(after(last)));
        assert_eq!(taken, expected, "{sizes:?}");
    }
    let mut page = Page { offerings: Vec::new(), bytes: 0, limit: 1, last: None };
    assert_eq!((page.room(), page.take(3, sized(1, 10))), (1, Ok(())));
    assert_eq!((page.room(), page.take(3, sized(2, 10))), (0, Err(after(1))));
}

#[test]
fn a_read_examines_as_many_as_will_probably_be_wanted() {
    let open = OfferingFilter::default();
    let some = OfferingFilter { catalogs: Some([].into()), ..OfferingFilter::default() };
    let learned =
        |reads, read_units, examined, admitted| Learned { reads, read_units, examined, admitted };
    let (nothing, every_tenth) = (Learned::default(), learned(1, 125.0, 1_000, 100));
    // Without a filter exactly those.
    assert_eq!((nothing.full_read(11, &open), every_tenth.full_read(9_000, &open)), (11, 5_000));
    // At first every second one should be admitted; later a fourth more than as many as were.
    let reads =
        |learned: &Learned| [1, 2, 13, 101, 9_000].map(|wanted| learned.full_read(wanted, &some));
    assert_eq!(reads(&nothing), [25, 25, 26, 202, 5_000]);
    assert_eq!(reads(&every_tenth), [25, 25, 162, 1_262, 5_000]);
    assert_eq!(reads(&learned(1, 1.0, 20, 0)), [25, 50, 325, 2_525, 5_000]);
    assert_eq!(reads(&learned(1, 1.0, 100, 100)), [25, 25, 25, 126, 5_000]);
    // A first look is what half a unit pays for: offerings of 1,500 bytes, or as large as they have been.
    let peeks = |learned: &Learned| [1, 3, 99].map(|wanted| learned.peek(wanted));
    assert_eq!(peeks(&nothing), [1, 2, 2]);
    assert_eq!(peeks(&learned(1, 10.0, 20, 0)), [1, 1, 1]);
    assert_eq!(peeks(&learned(1, 2.0, 100, 0)), [1, 3, 25]);
    assert_eq!(peeks(&learned(1, 0.0, 100, 0)), [1, 3, 99]);
}

#[test]
fn a_budget_is_spent_with_its_last_unit_and_never_before_the_first_read() {
    let spent = |reads, units| budget(2.0).is_spent(reads, units);
    assert_eq!([spent(1, 1.5), spent(1, 2.0), spent(1, 2.5)], [false, true, true]);
    // A read without results is charged half a unit, even if it reports none.
    assert_eq!([spent(3, 0.0), spent(4, 0.0)], [false, true]);
    assert!(!spent(0, 2.0));
    let over = Budget { read_units: 2.0, until: Instant::now() };
    assert_eq!([over.is_spent(0, 0.0), over.is_spent(1, 0.5)], [false, true]);
}

#[test]
fn a_read_adds_to_what_the_page_has_learned() {
    let mut learned = Learned::default();
    let offerings = vec![stored(1, CustomerType::Consumer, ProductType::License)];
    for _ in 0..2 {
        let (offerings, read_units) = (offerings.clone(), 1.5);
        learned.record(&RangeRead { offerings, resume: None, examined: 7, read_units });
    }
    let Learned { reads, read_units, examined, admitted } = learned;
    assert_eq!((reads, read_units.to_string(), examined, admitted), (2, "3".to_owned(), 14, 2));
}
