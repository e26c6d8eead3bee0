//! Coverage entries: what makes lists by country, region and catalog exact key ranges.
//!
//! For each area that an offering belongs to, two small entries are stored: one for lists of all categories,
//! and one for its own category. An entry is only a key, in the order of lists: area, customer type, category,
//! status, type, id. A page reads the keys of its areas, and then the offerings that they name.
//!
//! # Minimal cover
//! A region inside another region of the offering has no entry, and neither has a country inside one of its
//! regions. A query for a country reads the ranges of that country and of all regions that contain it, so it
//! finds the offering all the same; and because those regions are a chain, the ranges of one country never
//! have the same offering twice.

use std::collections::BTreeSet;

use super::{
    CatalogId, KeyRange, OfferingFilter, OfferingId, OfferingKey, ProductType, SortRange, Status,
    StoredOffering, listing::MAX_EMPTY_RANGES,
};
use crate::geography::{Country, Region};

/// What an entry is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Area {
    /// A country that the offering lists.
    Country(Country),
    /// A region that the offering lists.
    Region(Region),
    /// A catalog that the offering belongs to.
    Catalog(CatalogId),
}

/// Ends a part of a key. It sorts before all characters, so that keys sort part by part.
const END: u8 = 0;

/// Sorts after everything that continues a prefix: no part of a key has this byte (it is not UTF-8).
const AFTER_ALL: u8 = 0xff;

fn part(key: &mut Vec<u8>, text: &str) {
    key.extend_from_slice(text.as_bytes());
    key.push(END);
}

impl Area {
    fn prefix(&self, range: KeyRange<'_>) -> Vec<u8> {
        let (letter, name) = match self {
            Self::Country(country) => (b'C', country.code()),
            Self::Region(region) => (b'R', region.as_str()),
            Self::Catalog(catalog) => (b'K', catalog.as_str()),
        };
        let mut key = Vec::with_capacity(96);
        key.push(letter);
        part(&mut key, name);
        part(&mut key, range.customer_type.as_str());
        part(&mut key, range.category.map_or("", |category| category.as_str()));
        let (status, product_type) = range.sort.parts();
        let status = status.map(Status::as_str);
        for limited in status.into_iter().chain(product_type.map(ProductType::as_str)) {
            part(&mut key, limited);
        }
        key
    }

    /// The first and the last key of a key range's entries in this area, from `from` on, which it includes.
    #[must_use]
    pub fn range(&self, range: KeyRange<'_>, from: &Bound<'_>) -> (Vec<u8>, Vec<u8>) {
        let prefix = self.prefix(range);
        let mut last = prefix.clone();
        last.push(AFTER_ALL);
        let whole = |key: &OfferingKey| self.key(range, key);
        let first = match from {
            Bound::Start => prefix,
            Bound::At(key) => whole(key),
            Bound::After(key) => {
                let mut key = whole(key);
                key.push(END);
                key
            }
        };
        (first, last)
    }

    fn key(&self, range: KeyRange<'_>, offering: &OfferingKey) -> Vec<u8> {
        let mut key = self.prefix(KeyRange { sort: SortRange::Everything, ..range });
        part(&mut key, offering.status.as_str());
        part(&mut key, offering.product_type.as_str());
        key.extend_from_slice(offering.id.as_str().as_bytes());
        key
    }
}

/// Where a read of a range begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound<'a> {
    /// With its first entry.
    Start,
    /// With this key, or the next one.
    At(&'a OfferingKey),
    /// After this key.
    After(&'a OfferingKey),
}

/// The offering that an entry is about, and its place in a list; `None` if it is not an entry.
#[must_use]
pub fn key_of_entry(key: &[u8]) -> Option<OfferingKey> {
    let mut parts = key.rsplitn(4, |byte| *byte == END).map(std::str::from_utf8);
    let mut next = || parts.next()?.ok();
    let (id, product_type, status) = (next()?, next()?, next()?);
    Some(OfferingKey {
        status: Status::parse(status)?,
        product_type: ProductType::parse(product_type)?,
        id: OfferingId::parse(id).ok()?,
    })
}

/// The keys of an offering's entries.
#[must_use]
pub fn entries(offering: &StoredOffering) -> BTreeSet<Vec<u8>> {
    let is_inside = |region: &Region| {
        let containing = region.with_containing().iter().filter(|wider| *wider != region);
        containing.into_iter().any(|wider| offering.regions.contains(wider))
    };
    let regions = offering.regions.iter().filter(|region| !is_inside(region)).copied();
    let countries = offering.countries.iter().filter(|country| {
        !country.regions().iter().any(|region| offering.regions.contains(region))
    });
    let areas = regions
        .map(Area::Region)
        .chain(countries.copied().map(Area::Country))
        .chain(offering.visibility.catalogs.iter().cloned().map(Area::Catalog));
    let key = OfferingKey::of(offering);
    let range = |category| KeyRange {
        customer_type: offering.visibility.customer_type,
        category,
        sort: SortRange::Everything,
    };
    areas
        .flat_map(|area| {
            let own =
                offering.category.as_ref().map(|category| area.key(range(Some(category)), &key));
            [Some(area.key(range(None), &key)), own].into_iter().flatten()
        })
        .collect()
}

/// A filter that entries serve: an offering matches if it is in at least one area of each set.
#[derive(Clone, Debug)]
pub struct AreaFilter<'a> {
    pub(super) filter: &'a OfferingFilter,
    /// The smallest first: if it has no entries in a key range, the others are not read.
    pub(super) sets: Vec<Vec<Area>>,
}

impl OfferingFilter {
    /// The filter by areas; `None` if it has none, or more than a page may read in vain (a key may be limited to any
    /// number of catalogs).
    #[must_use]
    pub fn by_area(&self) -> Option<AreaFilter<'_>> {
        let mut sets: Vec<Vec<Area>> = Vec::new();
        if let Some(catalogs) = &self.catalogs {
            sets.push(catalogs.iter().cloned().map(Area::Catalog).collect());
        }
        if let Some(coverage) = &self.coverage {
            let regions = coverage.regions.iter().copied().map(Area::Region);
            let countries = coverage.countries.iter().copied().map(Area::Country);
            sets.push(regions.chain(countries).collect());
        }
        if !self.regions.is_empty() {
            sets.push(self.regions.iter().copied().map(Area::Region).collect());
        }
        sets.sort_by_key(Vec::len);
        let ranges = u32::try_from(sets.iter().map(Vec::len).sum::<usize>()).unwrap_or(u32::MAX);
        (1..=MAX_EMPTY_RANGES).contains(&ranges).then_some(AreaFilter { filter: self, sets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offerings::{
        Category, Coverage, CustomerType,
        query::tests::{catalog, country, offering},
    };

    fn row_key(id: &str) -> OfferingKey {
        let id = OfferingId::parse(id).expect("an id");
        OfferingKey { status: Status::Available, product_type: ProductType::License, id }
    }

    fn key_range(category: Option<&Category>, sort: SortRange) -> KeyRange<'_> {
        KeyRange { customer_type: CustomerType::Consumer, category, sort }
    }

    fn texts(keys: impl IntoIterator<Item = Vec<u8>>) -> Vec<String> {
        keys.into_iter()
            .map(|key| {
                let end = key.strip_suffix(&[AFTER_ALL]).map_or("", |_| "…");
                let key = key.strip_suffix(&[AFTER_ALL]).unwrap_or(&key);
                String::from_utf8_lossy(key).replace('\0', "|") + end
            })
            .collect()
    }

    #[test]
    fn a_range_is_all_entries_of_an_area_with_what_a_key_range_is_limited_to() {
        let category = Category::parse("ESIM").expect("a category");
        let (any, own) = (None, Some(&category));
        let everything = SortRange::Everything;
        let archived = SortRange::Status(Status::Archived);
        let licenses = SortRange::StatusAndType(Status::Available, ProductType::License);
        for (area, range, expected) in [
            (Area::Country(country("GH")), key_range(any, everything), "CGH|CONSUMER||"),
            (
                Area::Region(Region::Africa),
                key_range(own, archived),
                "RAFRICA|CONSUMER|ESIM|ARCHIVED|",
            ),
            (
                Area::Catalog(catalog("web")),
                key_range(any, licenses),
                "Kweb|CONSUMER||AVAILABLE|LICENSE|",
            ),
        ] {
            let (first, last) = area.range(range, &Bound::Start);
            assert_eq!(texts([first, last]), [expected.to_owned(), format!("{expected}…")]);
        }
    }

    #[test]
    fn a_read_goes_on_at_a_key_or_after_it_wherever_the_range_begins() {
        let area = Area::Country(country("GH"));
        let key = row_key("o1");
        for sort in [
            SortRange::Everything,
            SortRange::Status(Status::Available),
            SortRange::StatusAndType(Status::Available, ProductType::License),
        ] {
            let range = key_range(None, sort);
            let whole = "CGH|CONSUMER||AVAILABLE|LICENSE|o1";
            let last = area.range(range, &Bound::Start).1;
            for (from, expected) in
                [(Bound::At(&key), whole.to_owned()), (Bound::After(&key), format!("{whole}|"))]
            {
                let (first, end) = area.range(range, &from);
                assert_eq!((texts([first]), end), (vec![expected], last.clone()));
            }
        }
    }

    #[test]
    fn an_entry_names_its_offering_and_anything_else_names_none() {
        let row = |key: &str| key_of_entry(key.replace('|', "\0").as_bytes());
        assert_eq!(row("CGH|CONSUMER||AVAILABLE|LICENSE|o1"), Some(row_key("o1")));
        assert_eq!(row("Kweb|BUSINESS|ESIM|AVAILABLE|LICENSE|o1"), Some(row_key("o1")));
        for other in [
            "",
            "m",
            "AVAILABLE|LICENSE",
            "CGH|CONSUMER||AVAILABLE|LICENSE|",
            "CGH|CONSUMER||AVAILABLE|THING|o1",
            "CGH|CONSUMER||ON_SALE|LICENSE|o1",
        ] {
            assert_eq!(row(other), None, "{other}");
        }
    }

    #[test]
    fn an_offering_has_an_entry_for_each_area_that_no_other_one_contains() {
        let areas = |row: &StoredOffering| {
            texts(entries(row))
                .into_iter()
                .map(|key| key.replace("|CONSUMER||AVAILABLE|LICENSE|o1", ""))
                .collect::<Vec<_>>()
        };
        assert!(areas(&offering(&[], &[], &[])).is_empty());
        assert_eq!(
            areas(&offering(&["web", "app"], &["GH", "US"], &[])),
            ["CGH", "CUS", "Kapp", "Kweb"]
        );
        // Ghana is in Africa, and South America in the Americas.
        let regions = [Region::Africa, Region::Americas, Region::SouthAmerica];
        assert_eq!(
            areas(&offering(&[], &["GH", "FR", "BR"], &regions)),
            ["CFR", "RAFRICA", "RAMERICAS"]
        );
        assert_eq!(areas(&offering(&[], &["GH"], &[Region::Global, Region::Africa])), ["RGLOBAL"]);

        let category = Category::parse("ESIM").expect("a category");
        let with_category =
            StoredOffering { category: Some(category), ..offering(&[], &["GH"], &[]) };
        let expected =
            ["CGH|CONSUMER|ESIM|AVAILABLE|LICENSE|o1", "CGH|CONSUMER||AVAILABLE|LICENSE|o1"];
        let mut keys = texts(entries(&with_category));
        keys.sort();
        assert_eq!(keys, expected);
    }

    #[test]
    fn areas_serve_a_filter_that_has_no_more_of_them_than_a_page_may_read_in_vain() {
        let catalogs = |count: u32| Some((0..count).map(|n| catalog(&format!("k{n}"))).collect());
        let filter =
            |count| OfferingFilter { catalogs: catalogs(count), ..OfferingFilter::default() };
        let sizes = |filter: &OfferingFilter| {
            filter.by_area().map(|areas| areas.sets.iter().map(Vec::len).collect::<Vec<_>>())
        };
        assert_eq!(sizes(&OfferingFilter::default()), None);
        assert_eq!(sizes(&filter(0)), None);
        assert_eq!(sizes(&filter(MAX_EMPTY_RANGES)), Some(vec![200]));
        assert_eq!(sizes(&filter(MAX_EMPTY_RANGES + 1)), None);
        // The smallest set first, and all sets together.
        let coverage = Coverage {
            countries: [country("GH")].into(),
            regions: [Region::Africa, Region::Global].into(),
        };
        let regions = [Region::Europe, Region::Global].into();
        let all = OfferingFilter { coverage: Some(coverage), regions, ..filter(1) };
        assert_eq!(sizes(&all), Some(vec![1, 2, 3]));
        assert_eq!(
            sizes(&OfferingFilter { catalogs: catalogs(195), ..all.clone() }),
            Some(vec![2, 3, 195])
        );
        assert_eq!(sizes(&OfferingFilter { catalogs: catalogs(196), ..all }), None);
    }
}
