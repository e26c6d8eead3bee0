//! Following cursors returns every matching offering exactly once, on the embedded engine and
//! through the real edge, compared with a plain filter over the whole list.

use proptest::{
    collection::vec, prelude::*, sample::select, strategy::ValueTree as _, test_runner::TestRunner,
};
use serde_json::{Value, json};

use crate::{
    coverage::without_entries,
    support::{Answer, Catalog, offering},
};

const TYPES: [&str; 4] = ["SUBSCRIPTION", "SUBSCRIPTION_ADDON", "LICENSE", "EXTERNAL_PRODUCT"];
const CASES: usize = 40;

#[derive(Clone, Debug)]
struct Made {
    id: String,
    customer_type: &'static str,
    product_type: &'static str,
    archived: bool,
    category: Option<&'static str>,
    catalogs: Vec<&'static str>,
    countries: Vec<&'static str>,
    regions: Vec<&'static str>,
    size: usize,
}

impl Made {
    fn record(&self) -> Value {
        let mut record = offering(
            &self.id,
            json!({
                "customerType": self.customer_type,
                "status": if self.archived { "ARCHIVED" } else { "AVAILABLE" },
                "product": {"type": self.product_type,
                            "features": {"countries": self.countries, "regions": self.regions}},
                "productCatalogIds": self.catalogs,
                "description": "d".repeat(self.size),
            }),
        );
        if let Some(category) = self.category {
            record["product"]["category"] = category.into();
        }
        record
    }
}

#[derive(Clone, Debug, Default)]
struct Asked {
    customer_type: Option<&'static str>,
    types: Vec<&'static str>,
    categories: Vec<&'static str>,
    archived: bool,
    catalog: Option<&'static str>,
    countries: Vec<&'static str>,
    regions: Vec<&'static str>,
}

impl Asked {
    fn query(&self) -> String {
        let mut parts = vec![format!("includeArchived={}", self.archived)];
        parts.extend(self.customer_type.map(|value| format!("customerType={value}")));
        parts.extend(self.catalog.map(|value| format!("productCatalogId={value}")));
        parts.extend(self.types.iter().map(|value| format!("types={value}")));
        parts.extend(
            self.categories.iter().map(|value| format!("categories[]=PRODUCT_CATEGORY_{value}")),
        );
        if !self.countries.is_empty() {
            parts.push(format!("countries={}", self.countries.join(",")));
        }
        parts.extend(self.regions.iter().map(|value| format!("regions={value}")));
        parts.join("&")
    }

    /// The contract in plain words, without any of the code under test.
    fn admits(&self, made: &Made) -> bool {
        let around = |country: &str| match country {
            "FR" => vec!["EUROPE", "GLOBAL"],
            "GH" => vec!["AFRICA", "GLOBAL"],
            "BR" => vec!["SOUTH_AMERICA", "AMERICAS", "GLOBAL"],
            other => panic!("{other}"),
        };
        let above = |region: &str| match region {
            "SOUTH_AMERICA" => vec!["SOUTH_AMERICA", "AMERICAS", "GLOBAL"],
            "AMERICAS" => vec!["AMERICAS", "GLOBAL"],
            "EUROPE" => vec!["EUROPE", "GLOBAL"],
            "GLOBAL" => vec!["GLOBAL"],
            other => panic!("{other}"),
        };
        let has_any = |wanted: &[&str]| made.regions.iter().any(|region| wanted.contains(region));
        self.customer_type.is_none_or(|wanted| wanted == made.customer_type)
            && (self.types.is_empty() || self.types.contains(&made.product_type))
            && (self.categories.is_empty()
                || made.category.is_some_and(|c| self.categories.contains(&c)))
            && (self.archived || !made.archived)
            && self.catalog.is_none_or(|wanted| made.catalogs.contains(&wanted))
            && (self.countries.is_empty()
                || self.countries.iter().any(|c| made.countries.contains(c) || has_any(&around(c))))
            && (self.regions.is_empty()
                || self.regions.iter().any(|region| has_any(&above(region))))
    }
}

fn any_made() -> impl Strategy<Value = Made> {
    (
        (select(vec!["CONSUMER", "BUSINESS"]), select(TYPES.to_vec()), prop::bool::weighted(0.2)),
        prop::option::weighted(0.8, select(vec!["TRAVEL_ESIM", "EXTRA_DATA", "OTHER"])),
        vec(select(vec!["retail", "web"]), 0..2),
        vec(select(vec!["FR", "GH", "BR"]), 0..2),
        vec(select(vec!["EUROPE", "AMERICAS", "SOUTH_AMERICA", "GLOBAL"]), 0..2),
        prop_oneof![9 => 0_usize..3_000, 1 => 3_000_usize..200_000],
    )
        .prop_map(
            |(
                (customer_type, product_type, archived),
                category,
                catalogs,
                countries,
                regions,
                size,
            )| {
                let id = String::new();
                Made {
                    id,
                    customer_type,
                    product_type,
                    archived,
                    category,
                    catalogs,
                    countries,
                    regions,
                    size,
                }
            },
        )
}

fn any_asked() -> impl Strategy<Value = Asked> {
    (
        prop::option::of(select(vec!["CONSUMER", "BUSINESS"])),
        vec(select(TYPES.to_vec()), 0..3),
        vec(select(vec!["TRAVEL_ESIM", "EXTRA_DATA", "OTHER", "NONE"]), 0..3),
        any::<bool>(),
        prop::option::weighted(0.3, select(vec!["retail", "web"])),
        prop_oneof![2 => Just(vec![]), 1 => vec(select(vec!["FR", "GH", "BR"]), 1..3)],
        prop_oneof![2 => Just(vec![]), 1 => vec(select(vec!["EUROPE", "AMERICAS", "SOUTH_AMERICA", "GLOBAL"]), 1..2)],
    )
        .prop_map(|(customer_type, types, categories, archived, catalog, countries, regions)| Asked {
            customer_type,
            types,
            categories,
            archived,
            catalog,
            countries,
            regions,
        })
}

#[tokio::test]
async fn following_cursors_gives_every_match_exactly_once() {
    let catalog = Catalog::start().await;
    let mut runner = TestRunner::deterministic();
    let catalogs = vec(any_made(), 0..80);
    let questions = vec((any_asked(), vec(1_u32..30, 1..3)), 6);
    for case in 0..CASES {
        let account = format!("account-{case}");
        let key = catalog.key(&account).await;
        let mut made = catalogs.new_tree(&mut runner).expect("catalog").current();
        made.iter_mut().enumerate().for_each(|(n, made)| made.id = format!("o{n:03}"));
        let records: Vec<Value> = made.iter().map(Made::record).collect();
        catalog.import(&account, &records).await;
        for (asked, mut limits) in questions.new_tree(&mut runner).expect("questions").current() {
            let mut expected: Vec<&str> = made
                .iter()
                .filter(|made| asked.admits(made))
                .map(|made| made.id.as_str())
                .collect();
            // Page ends inside DynamoDB's pages, at their end, and everything on one page.
            limits.push(1_000);
            for limits in [
                limits.clone(),
                vec![1_000],
                vec![u32::try_from(expected.len().max(1)).expect("small")],
            ] {
                let pages = catalog.pages(&key, &asked.query(), &limits).await;
                let mut listed: Vec<String> = pages.iter().flat_map(Answer::ids).collect();
                listed.sort();
                expected.sort_unstable();
                assert_eq!(listed, expected, "{asked:?} by {limits:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_full_last_page_has_no_next_and_an_equal_page_has_an_equal_cursor() {
    let catalog = Catalog::start().await;
    let records: Vec<Value> = (0..10).map(|n| offering(&format!("o{n}"), json!({}))).collect();
    catalog.import("ACME", &records).await;
    let key = catalog.key("ACME").await;
    let full = catalog.get(&key, "/product-offerings?limit=10").await;
    assert_eq!((full.ids().len(), full.next_cursor()), (10, None));
    let first = catalog.get(&key, "/product-offerings?limit=5").await;
    let again = catalog.get(&key, "/product-offerings?limit=5").await;
    assert_eq!(first.next_cursor(), again.next_cursor());
    assert_eq!(first.header("etag"), again.header("etag"));
}

#[tokio::test]
async fn offerings_added_and_removed_meanwhile_neither_repeat_nor_hide_others() {
    let catalog = Catalog::start().await;
    let records: Vec<Value> = (0..30).map(|n| offering(&format!("m{n:02}"), json!({}))).collect();
    catalog.import("ACME", &records).await;
    let key = catalog.key("ACME").await;
    let (mut seen, mut cursor, mut step) = (Vec::new(), String::new(), 0);
    loop {
        let page = catalog.get(&key, &format!("/product-offerings?limit=4{cursor}")).await;
        seen.extend(page.ids());
        let Some(next) = page.next_cursor() else { break };
        let gone =
            json!({"kind": "offering", "op": "delete", "productOfferingId": seen[seen.len() - 1]});
        catalog
            .import(
                "ACME",
                &[
                    gone,
                    offering(&format!("a{step}"), json!({})),
                    offering(&format!("z{step}"), json!({})),
                ],
            )
            .await;
        cursor = format!("&cursor={next}");
        step += 1;
    }
    let unique: std::collections::BTreeSet<&String> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len(), "nothing repeats");
    assert!((0..30).all(|n| unique.contains(&format!("m{n:02}"))), "nothing is hidden");
}

#[tokio::test]
async fn a_selective_filter_ends_its_pages_at_the_budget_and_still_finds_everything() {
    let catalog = Catalog::start().await;
    // 30 MB of offerings, three of which are of the catalog asked for.
    let text = "t".repeat(60_000);
    let records: Vec<Value> = (0..500)
        .map(|n| {
            let catalogs = if n % 200 == 99 { vec!["rare"] } else { vec![] };
            offering(
                &format!("o{n:03}"),
                json!({"description": text, "productCatalogIds": catalogs}),
            )
        })
        .collect();
    catalog.import("ACME", &records).await;
    let exact = catalog.pages(&catalog.key("ACME").await, "productCatalogId=rare", &[100]).await;
    assert_eq!((exact.len(), exact[0].ids().len()), (1, 3));
    // An account whose offerings have no entries yet reads them all.
    without_entries(&catalog, "OLD").await;
    let pages = catalog.pages(&catalog.key("OLD").await, "productCatalogId=rare", &[100]).await;
    let found: Vec<String> = pages.iter().flat_map(Answer::ids).collect();
    assert_eq!(found, ["o099", "o299", "o499"]);
    assert!(pages.len() > 3, "{} pages", pages.len());
    for page in &pages {
        assert!(page.read_units() < 1_150.0, "{}", page.read_units());
    }
}
