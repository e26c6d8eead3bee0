//! Lists by country, region and catalog, compared with what their filters admit.

use std::time::Duration;

use jiff::Timestamp;
use serverless_catalog::{
    access::{KeyRecord, Permission},
    geography::{Country, Region},
    offerings::{
        Budget, CatalogId, Category, CustomerType, ListPosition, OfferingId, OfferingQuery, Plan,
        StoredOffering, list_by_area,
    },
    store::Store,
};

use super::orders::account;

/// Every list by country, region, catalog, or several of them, has what its filter admits.
pub(super) async fn check_areas(
    store: &Store,
    listed: impl Iterator<Item = &String>,
) -> Result<(), String> {
    let mut listed = listed.peekable();
    if listed.peek().is_some() && !store.has_entries(&account()).await.expect("marker") {
        return Err("an account that was empty is not marked".to_owned());
    }
    let mut rows: Vec<StoredOffering> = Vec::new();
    for thing in listed {
        let id = thing.trim_start_matches("offering ");
        let id = OfferingId::parse(id).expect("an id");
        rows.extend(store.offering(&account(), &id).await.expect("offering"));
    }
    let seller = KeyRecord::new(account(), [Permission::OfferingsRead]);
    let seller = seller.admit(Permission::OfferingsRead, None, Timestamp::now()).expect("a key");
    for (countries, regions, catalog) in [
        (&["GH"][..], &[][..], None),
        (&["FR", "GH"], &[], None),
        (&[], &[Region::Africa], None),
        (&[], &[], Some("k1")),
        (&["GH"], &[Region::Africa], Some("k1")),
        (&["FR"], &[], Some("k2")),
    ] {
        let query = OfferingQuery {
            include_archived: true,
            countries: countries.iter().map(|code| Country::parse(code).expect("code")).collect(),
            regions: regions.iter().copied().collect(),
            product_catalog: catalog.map(|id| CatalogId::parse(id).expect("id")),
            ..OfferingQuery::default()
        };
        let filter = query.filter_for(&seller).expect("visible");
        let areas = filter.by_area().expect("areas");
        for category in [None, Some("C1")] {
            let category = category.map(|name| Category::parse(name).expect("name"));
            let plan = Plan::new(CustomerType::ALL.to_vec(), [], category.clone(), true);
            let budget = Budget {
                read_units: 1_000.0,
                until: std::time::Instant::now() + Duration::from_mins(1),
            };
            let page = list_by_area(
                store,
                &seller.account,
                &plan,
                &areas,
                ListPosition::START,
                1_000,
                budget,
            );
            let page = page.await.expect("a page");
            let mut got: Vec<&OfferingId> =
                page.offerings.iter().map(|offering| &offering.id).collect();
            got.sort();
            let in_category =
                |row: &&StoredOffering| category.is_none() || row.category == category;
            let admitted = rows.iter().filter(in_category).filter(|row| filter.admits(row));
            let mut wanted: Vec<&OfferingId> = admitted.map(|row| &row.id).collect();
            wanted.sort();
            if got != wanted || page.next.is_some() {
                return Err(format!("{filter:?} {category:?}: {got:?} instead of {wanted:?}"));
            }
        }
    }
    Ok(())
}
