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
