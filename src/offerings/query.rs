//! The filters of a list of offerings, restricted to what the caller may see.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::{CatalogId, Category, CustomerType, ProductType, StoredOffering};
use crate::{
    access::Principal,
    geography::{Country, Region},
};

/// The filters of a list. All filters combine with AND, the values in one filter with OR; an empty set does
/// not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfferingQuery {
    /// One customer type; `None` for all that the caller may see.
    pub customer_type: Option<CustomerType>,
    pub types: BTreeSet<ProductType>,
    pub categories: BTreeSet<Category>,
    pub product_catalog: Option<CatalogId>,
    pub include_archived: bool,
    /// Countries, of which at least one must be covered.
    pub countries: BTreeSet<Country>,
    /// Regions, of which at least one must be covered.
    pub regions: BTreeSet<Region>,
}

/// The caller requested something that the key may not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotVisible {
    CustomerType,
    ProductCatalog,
}

impl OfferingQuery {
    /// The customer types to read for this caller, in a fixed order.
    ///
    /// # Errors
    /// [`NotVisible::CustomerType`] if the caller may not see the requested one.
    pub fn customer_types_for(
        &self,
        principal: &Principal,
    ) -> Result<Vec<CustomerType>, NotVisible> {
        let may_see = |wanted: &CustomerType| {
            principal.customer_types.as_ref().is_none_or(|allowed| allowed.contains(wanted))
        };
        match self.customer_type {
            Some(wanted) if may_see(&wanted) => Ok(vec![wanted]),
            Some(_) => Err(NotVisible::CustomerType),
            None => Ok(CustomerType::ALL.iter().copied().filter(may_see).collect()),
        }
    }

    /// The filters that no index serves, for this caller.
    ///
    /// # Errors
    /// [`NotVisible::ProductCatalog`] if the caller may not see the requested catalog.
    pub fn filter_for(&self, principal: &Principal) -> Result<OfferingFilter, NotVisible> {
        let catalogs = match (&self.product_catalog, &principal.product_catalogs) {
            (Some(wanted), Some(allowed)) if !allowed.contains(wanted) => {
                return Err(NotVisible::ProductCatalog);
            }
            (Some(wanted), _) => Some(BTreeSet::from([wanted.clone()])),
            (None, allowed) => allowed.clone(),
        };
        let coverage = (!self.countries.is_empty()).then(|| Coverage {
            regions: self.countries.iter().flat_map(|country| country.regions()).copied().collect(),
            countries: self.countries.clone(),
        });
        let regions = self.regions.iter().flat_map(|region| region.with_containing()).copied();
        Ok(OfferingFilter { catalogs, coverage, regions: regions.collect() })
    }
}

/// The filters by catalog, country and region: served by entries, or applied while reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfferingFilter {
    /// The offering belongs to one of these; `None` if it may belong to any or none.
    pub catalogs: Option<BTreeSet<CatalogId>>,
    /// The offering covers one of the requested countries.
    pub coverage: Option<Coverage>,
    /// The offering has one of these regions: the requested ones and all that contain one of them. Empty for
    /// any.
    pub regions: BTreeSet<Region>,
}

/// Covers at least one of the countries: lists it, or has a region that contains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The requested countries.
    pub countries: BTreeSet<Country>,
    /// All regions that contain one of them.
    pub regions: BTreeSet<Region>,
}

impl OfferingFilter {
    /// Whether it admits everything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.catalogs.is_none() && self.coverage.is_none() && self.regions.is_empty()
    }

    #[must_use]
    pub fn admits(&self, offering: &StoredOffering) -> bool {
        let in_catalog = self
            .catalogs
            .as_ref()
            .is_none_or(|catalogs| !catalogs.is_disjoint(&offering.visibility.catalogs));
        let covers = self.coverage.as_ref().is_none_or(|wanted| {
            !wanted.countries.is_disjoint(&offering.countries)
                || !wanted.regions.is_disjoint(&offering.regions)
        });
        let in_region = self.regions.is_empty() || !self.regions.is_disjoint(&offering.regions);
        in_catalog && covers && in_region
    }

    /// Adds the meaning of the filter to a digest, so that all spellings of the same filter have the same
    /// digest.
    pub(super) fn digest(&self, digest: &mut Sha256) {
        let mut part = |tag: u8, value: &str| {
            digest.update([tag]);
            digest.update(u64::try_from(value.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(value.as_bytes());
        };
        if let Some(catalogs) = &self.catalogs {
            part(b'K', "");
            for catalog in catalogs {
                part(b'k', catalog.as_str());
            }
        }
        if let Some(coverage) = &self.coverage {
            for country in &coverage.countries {
                part(b'c', country.code());
            }
        }
        for region in &self.regions {
            part(b'r', region.as_str());
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        account::AccountId,
        money::Currency,
        offerings::{OfferingId, Status, Visibility},
    };

    pub(in crate::offerings) fn catalog(id: &str) -> CatalogId {
        CatalogId::parse(id).expect("an id")
    }

    pub(in crate::offerings) fn country(code: &str) -> Country {
        Country::parse(code).expect("a country")
    }

    /// A caller that may see these; `None`: all.
    fn principal(
        customer_types: Option<&[CustomerType]>,
        product_catalogs: Option<&[&str]>,
    ) -> Principal {
        Principal {
            account: AccountId::parse("ACME").expect("account"),
            customer_types: customer_types.map(|types| types.iter().copied().collect()),
            product_catalogs: product_catalogs
                .map(|ids| ids.iter().map(|id| catalog(id)).collect()),
            wallet_currency: Currency::USD,
        }
    }

    /// An offering of these catalogs and places.
    pub(in crate::offerings) fn offering(
        catalogs: &[&str],
        countries: &[&str],
        regions: &[Region],
    ) -> StoredOffering {
        StoredOffering {
            id: OfferingId::parse("o1").expect("an id"),
            status: Status::Available,
            product_type: ProductType::License,
            category: None,
            visibility: Visibility {
                customer_type: CustomerType::Consumer,
                catalogs: catalogs.iter().map(|id| catalog(id)).collect(),
            },
            countries: countries.iter().map(|code| country(code)).collect(),
            regions: regions.iter().copied().collect(),
            document: "{}".to_owned().into(),
        }
    }

    #[test]
    fn a_caller_reads_the_customer_types_that_it_asks_for_and_may_see() {
        let (consumer, business) = (CustomerType::Consumer, CustomerType::Business);
        let read = |asked, seen: Option<&[CustomerType]>| {
            let query = OfferingQuery { customer_type: asked, ..OfferingQuery::default() };
            query.customer_types_for(&principal(seen, None))
        };
        assert_eq!(read(None, None), Ok(vec![consumer, business]));
        assert_eq!(read(None, Some(&[business])), Ok(vec![business]));
        assert_eq!(read(None, Some(&[])), Ok(vec![]));
        assert_eq!(read(Some(consumer), None), Ok(vec![consumer]));
        assert_eq!(read(Some(business), Some(&[business])), Ok(vec![business]));
        assert_eq!(read(Some(consumer), Some(&[business])), Err(NotVisible::CustomerType));
    }

    #[test]
    fn a_caller_reads_the_catalogs_that_it_asks_for_and_may_see() {
        let read = |asked: Option<&str>, seen: Option<&[&str]>| {
            let query =
                OfferingQuery { product_catalog: asked.map(catalog), ..OfferingQuery::default() };
            let filter = query.filter_for(&principal(None, seen))?;
            let catalogs = filter.catalogs;
            Ok(catalogs.map(|ids| ids.iter().map(ToString::to_string).collect::<Vec<_>>()))
        };
        let some = |ids: &[&str]| Ok(Some(ids.iter().map(ToString::to_string).collect()));
        assert_eq!(read(None, None), Ok(None));
        assert_eq!(read(None, Some(&["app", "web"])), some(&["app", "web"]));
        assert_eq!(read(None, Some(&[])), some(&[]));
        assert_eq!(read(Some("web"), None), some(&["web"]));
        assert_eq!(read(Some("web"), Some(&["app", "web"])), some(&["web"]));
        assert_eq!(read(Some("web"), Some(&["app"])), Err(NotVisible::ProductCatalog));
    }

    #[test]
    fn an_area_is_asked_for_with_all_regions_that_contain_it() {
        let filter = |query: OfferingQuery| query.filter_for(&principal(None, None)).expect("seen");
        assert_eq!(filter(OfferingQuery::default()), OfferingFilter::default());
        let countries = BTreeSet::from([country("GH"), country("BR")]);
        let by_country =
            filter(OfferingQuery { countries: countries.clone(), ..OfferingQuery::default() });
        let regions =
            [Region::Africa, Region::SouthAmerica, Region::Americas, Region::Global].into();
        let coverage = Some(Coverage { countries, regions });
        assert_eq!(by_country, OfferingFilter { coverage, ..OfferingFilter::default() });
        let by_region = filter(OfferingQuery {
            regions: [Region::SouthAmerica].into(),
            ..OfferingQuery::default()
        });
        let regions = [Region::SouthAmerica, Region::Americas, Region::Global].into();
        assert_eq!(by_region, OfferingFilter { regions, ..OfferingFilter::default() });
    }

    #[test]
    fn a_filter_admits_what_is_in_each_of_its_parts() {
        let catalogs = || Some([catalog("web"), catalog("app")].into());
        let coverage = || {
            Some(Coverage {
                countries: [country("GH")].into(),
                regions: [Region::Africa, Region::Global].into(),
            })
        };
        let regions = || [Region::Europe, Region::Global].into();
        let open = OfferingFilter::default();
        let by_catalog = OfferingFilter { catalogs: catalogs(), ..open.clone() };
        let by_country = OfferingFilter { coverage: coverage(), ..open.clone() };
        let by_region = OfferingFilter { regions: regions(), ..open.clone() };
        let by_all =
            OfferingFilter { catalogs: catalogs(), coverage: coverage(), regions: regions() };
        let filters = [&open, &by_catalog, &by_country, &by_region, &by_all];
        let (europe, africa, global) = (Region::Europe, Region::Africa, Region::Global);
        for (catalogs, countries, regions, admitted) in [
            (&[][..], &[][..], &[][..], [true, false, false, false, false]),
            (&["web"], &[], &[], [true, true, false, false, false]),
            (&["other"], &["FR"], &[], [true, false, false, false, false]),
            (&[], &["GH"], &[], [true, false, true, false, false]),
            (&[], &[], &[africa], [true, false, true, false, false]),
            (&[], &[], &[europe], [true, false, false, true, false]),
            (&[], &[], &[global], [true, false, true, true, false]),
            (&["web"], &[], &[global], [true, true, true, true, true]),
            (&["app", "other"], &["GH"], &[europe], [true, true, true, true, true]),
            (&["other"], &["GH"], &[europe], [true, false, true, true, false]),
            (&["web"], &["FR"], &[europe], [true, true, false, true, false]),
            (&["web"], &["GH"], &[], [true, true, true, false, false]),
        ] {
            let offering = offering(catalogs, countries, regions);
            assert_eq!(filters.map(|filter| filter.admits(&offering)), admitted, "{offering:?}");
        }
        assert_eq!(filters.map(OfferingFilter::is_open), [true, false, false, false, false]);
    }

    #[test]
    fn different_filters_have_different_digests() {
        let digest = |filter: &OfferingFilter| {
            let mut digest = Sha256::new();
            filter.digest(&mut digest);
            digest.finalize()
        };
        let by_catalogs = |ids: &[&str]| OfferingFilter {
            catalogs: Some(ids.iter().map(|id| catalog(id)).collect()),
            ..OfferingFilter::default()
        };
        let by_country = |code: &str| OfferingFilter {
            coverage: Some(Coverage {
                countries: [country(code)].into(),
                regions: [Region::Global].into(),
            }),
            ..OfferingFilter::default()
        };
        let by_region = |region: Region| OfferingFilter {
            regions: [region].into(),
            ..OfferingFilter::default()
        };
        let all = [
            OfferingFilter::default(),
            by_catalogs(&[]),
            by_catalogs(&["GH"]),
            by_catalogs(&["a", "b"]),
            by_catalogs(&["ab"]),
            by_country("GH"),
            by_country("FR"),
            by_region(Region::Africa),
            by_region(Region::Europe),
        ];
        for (place, filter) in all.iter().enumerate() {
            assert_eq!(digest(filter), digest(&filter.clone()));
            for other in &all[..place] {
                assert_ne!(digest(filter), digest(other), "{filter:?} {other:?}");
            }
        }
    }
}
