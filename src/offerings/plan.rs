//! The query plan: the indexed filters of a list as a sequence of exact key ranges.
//!
//! Every combination of customer type, product type, category and status is a set of **key ranges**:
//! key ranges of one index that contain only matching items. A list is the concatenation of its
//! key ranges. So a page never reads an item that the indexed filters would discard, and a position in
//! the list is the number of a key range and a key within it.
//!
//! The key ranges of a query are disjoint (an offering has one customer type, one category, one type
//! and one status), which is why following cursors returns each offering once.

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{
    Category, CustomerType, OfferingFilter, OfferingId, ProductType, Status, StoredOffering,
};

/// One key range of an index.
///
/// With a category it belongs to the index `byCategory`, without one to `byCustomerType`. A product
/// type requires a status, because the status precedes it in the range key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRange<'a> {
    /// Second attribute of the partition key, after the account.
    pub customer_type: CustomerType,
    /// Third attribute of the partition key of `byCategory`.
    pub category: Option<&'a Category>,
    pub sort: SortRange,
}

/// The part of a partition that a key range covers: everything, one status, or one status and one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortRange {
    Everything,
    Status(Status),
    StatusAndType(Status, ProductType),
}

impl SortRange {
    /// The status and the type that it is limited to.
    pub(crate) fn parts(self) -> (Option<Status>, Option<ProductType>) {
        match self {
            Self::Everything => (None, None),
            Self::Status(status) => (Some(status), None),
            Self::StatusAndType(status, product_type) => (Some(status), Some(product_type)),
        }
    }

    /// Whether the range contains items with this status and type.
    #[must_use]
    pub fn holds(self, status: Status, product_type: ProductType) -> bool {
        let (wanted, wanted_type) = self.parts();
        wanted.is_none_or(|wanted| wanted == status)
            && wanted_type.is_none_or(|wanted| wanted == product_type)
    }
}

/// The range key of an item in either index, which a cursor must contain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct OfferingKey {
    /// First attribute of the range key.
    pub status: Status,
    /// Second attribute of the range key.
    #[serde(rename = "type")]
    pub product_type: ProductType,
    /// Third attribute of the range key.
    #[serde(rename = "productOfferingId")]
    pub id: OfferingId,
}

impl OfferingKey {
    #[must_use]
    pub fn of(offering: &StoredOffering) -> Self {
        let StoredOffering { status, product_type, id, .. } = offering;
        Self { status: *status, product_type: *product_type, id: id.clone() }
    }
}

/// A position between two offerings of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPosition {
    /// The key range's number in the plan.
    pub range: u32,
    /// The position is right after this key; `None`: at the start of the key range.
    pub after: Option<OfferingKey>,
}

impl ListPosition {
    /// The position before the first offering.
    pub const START: Self = Self { range: 0, after: None };
}

/// The bytes do not encode a position in this plan.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not a position in this plan")]
pub struct InvalidPosition;

/// The key ranges of a query, in a fixed order. They are computed one at a time: a query may have 1,200.
#[derive(Clone, Debug)]
pub struct Plan {
    customer_types: Vec<CustomerType>,
    categories: Option<Vec<Category>>,
    sorts: Vec<SortRange>,
}

impl Plan {
    /// Plans a query over the customer types that the caller may see.
    #[must_use]
    pub fn new(
        customer_types: Vec<CustomerType>,
        types: impl IntoIterator<Item = ProductType>,
        categories: impl IntoIterator<Item = Category>,
        include_archived: bool,
    ) -> Self {
        let types: Vec<ProductType> = types.into_iter().collect();
        // Asking for all types is the same as asking for no type: one range instead of one per type.
        let every_type = types.is_empty() || types.len() == ProductType::ALL.len();
        let sorts = match (include_archived, every_type) {
            (true, true) => vec![SortRange::Everything],
            (false, true) => vec![SortRange::Status(Status::Available)],
            (include_archived, false) => {
                let statuses: &[Status] =
                    if include_archived { Status::ALL } else { &[Status::Available] };
                let with_types = |status: &Status| {
                    types.iter().map(|t| SortRange::StatusAndType(*status, *t)).collect()
                };
                statuses.iter().flat_map::<Vec<SortRange>, _>(with_types).collect()
            }
        };
        let categories: Vec<Category> = categories.into_iter().collect();
        let categories = (!categories.is_empty()).then_some(categories);
        Self { customer_types, categories, sorts }
    }

    #[must_use]
    pub fn len(&self) -> u32 {
        let categories = self.categories.as_ref().map_or(1, Vec::len);
        u32::try_from(self.customer_types.len() * categories * self.sorts.len()).unwrap_or(u32::MAX)
    }

    /// Whether there are no key ranges: the caller may see nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key range with this number; `None` past the last one.
    #[must_use]
    pub fn range(&self, number: u32) -> Option<KeyRange<'_>> {
        let number = usize::try_from(number).ok()?;
        let (outer, sort) = (number / self.sorts.len(), number % self.sorts.len());
        let (customer_type, category) = match &self.categories {
            None => (outer, None),
            Some(list) => (outer / list.len(), list.get(outer % list.len())),
        };
        Some(KeyRange {
            customer_type: *self.customer_types.get(customer_type)?,
            category,
            sort: *self.sorts.get(sort)?,
        })
    }

    /// What a cursor of this list is bound to. It is the same for every spelling of the same filters.
    #[must_use]
    pub fn fingerprint(&self, filter: &OfferingFilter, promo_code: Option<&str>) -> [u8; 32] {
        let mut digest = Sha256::new();
        for customer_type in &self.customer_types {
            digest.update(customer_type.as_str());
            digest.update([0]);
        }
        for sort in &self.sorts {
            digest.update([1, encode_range(*sort)]);
        }
        for category in self.categories.iter().flatten() {
            digest.update([2]);
            digest.update(category.as_str());
        }
        digest.update([3]);
        filter.digest(&mut digest);
        digest.update([4]);
        digest.update(promo_code.unwrap_or_default());
        digest.finalize().into()
    }

    /// Encodes a position as bytes, for a cursor.
    #[must_use]
    pub fn encode(position: &ListPosition) -> Vec<u8> {
        let mut bytes = position.range.to_be_bytes().to_vec();
        if let Some(key) = &position.after {
            bytes.push(encode_range(SortRange::StatusAndType(key.status, key.product_type)));
            bytes.extend_from_slice(key.id.as_str().as_bytes());
        }
        bytes
    }

    /// Decodes a position that [`Plan::encode`] encoded.
    ///
    /// # Errors
    /// [`InvalidPosition`] when the bytes do not contain a key range of this plan and a key within it.
    pub fn decode(&self, bytes: &[u8]) -> Result<ListPosition, InvalidPosition> {
        let (number, rest) = bytes.split_first_chunk::<4>().ok_or(InvalidPosition)?;
        let range = u32::from_be_bytes(*number);
        let sort = self.range(range).ok_or(InvalidPosition)?.sort;
        let after = match rest.split_first() {
            None => None,
            Some((code, id)) => {
                let (status, product_type) = decode_row(*code).ok_or(InvalidPosition)?;
                if !sort.holds(status, product_type) {
                    return Err(InvalidPosition);
                }
                let id = std::str::from_utf8(id).map_err(|_| InvalidPosition)?;
                let id = OfferingId::parse(id).map_err(|_| InvalidPosition)?;
                Some(OfferingKey { status, product_type, id })
            }
        };
        Ok(ListPosition { range, after })
    }
}

fn encode_range(range: SortRange) -> u8 {
    let (status, product_type) = match range {
        SortRange::Everything => return 0,
        SortRange::Status(status) => (status, 0),
        SortRange::StatusAndType(status, ProductType::Subscription) => (status, 1),
        SortRange::StatusAndType(status, ProductType::SubscriptionAddon) => (status, 2),
        SortRange::StatusAndType(status, ProductType::License) => (status, 3),
        SortRange::StatusAndType(status, ProductType::ExternalProduct) => (status, 4),
    };
    match status {
        Status::Available => 0x10 + product_type,
        Status::Archived => 0x20 + product_type,
    }
}

fn decode_row(code: u8) -> Option<(Status, ProductType)> {
    Status::ALL
        .iter()
        .flat_map(|status| ProductType::ALL.iter().map(|product_type| (*status, *product_type)))
        .find(|(status, product_type)| {
            encode_range(SortRange::StatusAndType(*status, *product_type)) == code
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn categories(names: &[&str]) -> Vec<Category> {
        names.iter().map(|name| Category::parse(name).expect("category")).collect()
    }

    #[test]
    fn without_types_a_customer_type_is_one_range_even_with_archived_offerings() {
        for include_archived in [false, true] {
            let plan = Plan::new(CustomerType::ALL.to_vec(), [], [], include_archived);
            assert_eq!(plan.len(), 2);
        }
    }

    #[test]
    fn all_types_are_planned_as_no_type() {
        let plan = Plan::new(
            vec![CustomerType::Consumer],
            ProductType::ALL.iter().copied(),
            categories(&["A", "B"]),
            false,
        );
        assert_eq!(plan.len(), 2);
    }

    #[test]
    fn every_item_asked_for_lies_in_exactly_one_range() {
        let types = [ProductType::License, ProductType::Subscription];
        let plan = Plan::new(CustomerType::ALL.to_vec(), types, categories(&["A", "B", "C"]), true);
        assert_eq!(plan.len(), 2 * 3 * 4);
        let ranges: Vec<KeyRange> = (0..plan.len()).filter_map(|n| plan.range(n)).collect();
        let names = categories(&["A", "B", "C"]);
        for customer_type in CustomerType::ALL {
            for category in &names {
                for status in Status::ALL {
                    for product_type in types {
                        let holding = ranges.iter().filter(|s| {
                            s.customer_type == *customer_type
                                && s.category == Some(category)
                                && s.sort.holds(*status, product_type)
                        });
                        assert_eq!(holding.count(), 1);
                    }
                }
            }
        }
        assert_eq!(plan.range(plan.len()), None);
    }

    #[test]
    fn a_position_survives_its_bytes_and_foreign_bytes_are_refused() {
        let plan = Plan::new(vec![CustomerType::Consumer], [ProductType::License], [], false);
        let id = OfferingId::parse("plán-🦀").expect("id");
        let key = OfferingKey { status: Status::Available, product_type: ProductType::License, id };
        for after in [None, Some(key.clone())] {
            let position = ListPosition { range: 0, after };
            assert_eq!(plan.decode(&Plan::encode(&position)), Ok(position));
        }
        let elsewhere = ListPosition { range: 1, after: Some(key.clone()) };
        let other_type = OfferingKey { product_type: ProductType::Subscription, ..key };
        let other_range = ListPosition { range: 0, after: Some(other_type) };
        for bytes in [
            vec![],
            vec![0, 0, 0],
            vec![0, 0, 0, 0, 0xff, b'x'],
            vec![0, 0, 0, 0, 0x13],
            vec![0, 0, 0, 0, 0x13, 0xff],
            Plan::encode(&elsewhere),
            Plan::encode(&other_range),
        ] {
            assert_eq!(plan.decode(&bytes), Err(InvalidPosition), "{bytes:?}");
        }
    }

    #[test]
    fn a_caller_that_may_see_no_customer_type_has_no_range() {
        let plan = Plan::new(vec![], [], categories(&["A"]), true);
        assert_eq!((plan.is_empty(), plan.len(), plan.range(0)), (true, 0, None));
        assert!(!Plan::new(vec![CustomerType::Consumer], [], [], false).is_empty());
    }

    #[test]
    fn a_cursor_belongs_to_the_filters_of_its_list_however_they_are_spelled() {
        let both = CustomerType::ALL.to_vec();
        let print =
            |plan: &Plan, promo: Option<&str>| plan.fingerprint(&OfferingFilter::default(), promo);
        let every = ProductType::ALL.iter().copied();
        let plain = Plan::new(both.clone(), [], [], false);
        assert_eq!(print(&plain, None), print(&Plan::new(both.clone(), every, [], false), None));
        let one = [ProductType::License];
        let plans = [
            plain.clone(),
            Plan::new(vec![CustomerType::Consumer], [], [], false),
            Plan::new(both.clone(), [], [], true),
            Plan::new(both.clone(), one, [], false),
            Plan::new(both.clone(), one, [], true),
            Plan::new(both.clone(), [ProductType::Subscription], [], false),
            Plan::new(both.clone(), [], categories(&["A"]), false),
            Plan::new(both.clone(), [], categories(&["A", "B"]), false),
            Plan::new(both, [], categories(&["AB"]), false),
        ];
        let mut prints: Vec<_> = plans.iter().map(|plan| print(plan, None)).collect();
        prints.push(print(&plain, Some("A")));
        prints.push(print(&plain, Some("B")));
        let none = OfferingFilter { catalogs: Some([].into()), ..OfferingFilter::default() };
        prints.push(plain.fingerprint(&none, None));
        let different: std::collections::BTreeSet<_> = prints.iter().collect();
        assert_eq!(different.len(), prints.len());
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use crate::fuzz::fuzz;

    #[test]
    fn any_position_of_a_list_is_the_same_bytes_again_and_any_other_bytes_are_refused() {
        let plan = Plan::new(CustomerType::ALL.to_vec(), [ProductType::License], [], true);
        let id = OfferingId::parse("plán-🦀").expect("id");
        let key = OfferingKey { status: Status::Available, product_type: ProductType::License, id };
        let seeds = [None, Some(key)].map(|after| Plan::encode(&ListPosition { range: 0, after }));
        fuzz("positions", seeds.to_vec(), &[], |input| {
            if let Ok(position) = plan.decode(input) {
                assert!(plan.range(position.range).is_some());
                assert_eq!(Plan::encode(&position), input);
            }
        });
    }
}
