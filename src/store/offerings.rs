//! The table `Offerings`: pages of the key ranges of its two indexes, and one offering by its id.

use std::{collections::HashMap, fmt::Write as _};

use aws_sdk_dynamodb::types::AttributeValue;

use super::{
    Store, StoreError,
    item::{Item, ListedOffering, is_record, offering, read, text},
    units,
};
use crate::{
    account::AccountId,
    imports::{DocumentKey, Kind},
    offerings::{
        Category, KeyRange, OfferingFilter, OfferingId, OfferingKey, OfferingRanges, ProductType,
        RangeRead, Status, StoredOffering,
    },
};

const BY_CUSTOMER_TYPE: &str = "byCustomerType";
const BY_CATEGORY: &str = "byCategory";

/// The attributes that a list needs; the others are for imports.
const ROW_ATTRIBUTES: &str =
    "productOfferingId, customerType, category, #status, #type, productCatalogIds, document";

/// The attributes that only a filter by coverage needs: an offering has up to 250 countries.
const COVERAGE_ATTRIBUTES: &str = "countries, #regions";

/// DynamoDB allows 300 operators and 4 KB in an expression, and a term takes at most 37 bytes. A filter that
/// needs more is applied only here.
const MAX_FILTER_TERMS: usize = 100;

impl Store {
    /// One offering, whatever its status.
    pub async fn offering(
        &self,
        account: &AccountId,
        id: &OfferingId,
    ) -> Result<Option<StoredOffering>, StoreError> {
        const OPERATION: &str = "get offering";
        let place = self.place(Kind::Offering);
        let key = place.item_key(account, &DocumentKey::Offering(id.clone()));
        let item = self.get(OPERATION, place.table, key, false).await?.filter(is_record);
        item.map(|item| offering(OPERATION, item)).transpose()
    }
}

impl OfferingRanges for Store {
    type Error = StoreError;

    async fn read(
        &self,
        account: &AccountId,
        range: KeyRange<'_>,
        filter: &OfferingFilter,
        after: Option<&OfferingKey>,
        limit: u32,
    ) -> Result<RangeRead, StoreError> {
        const OPERATION: &str = "list offerings";
        let keys = key_attributes(account, range)
            .map(|(name, value)| (format!(":{}", name.trim_start_matches('#')), text(value)));
        let condition: Vec<String> = key_attributes(account, range)
            .map(|(name, _)| format!("{name} = :{}", name.trim_start_matches('#')))
            .collect();
        let filter_expression = FilterExpression::of(filter);
        let by_coverage = filter.coverage.is_some() || !filter.regions.is_empty();
        let projection = if by_coverage {
            format!("{ROW_ATTRIBUTES}, {COVERAGE_ATTRIBUTES}")
        } else {
            ROW_ATTRIBUTES.to_owned()
        };
        let regions = by_coverage.then_some(("#regions".to_owned(), "regions".to_owned()));
        let names = [("#status", "status"), ("#type", "type")];
        let names = names.map(|(name, attribute)| (name.to_owned(), attribute.to_owned()));
        let request = self
            .client
            .query()
            .table_name(&self.tables.offerings)
            .index_name(if range.category.is_some() { BY_CATEGORY } else { BY_CUSTOMER_TYPE })
            .key_condition_expression(condition.join(" AND "))
            .set_filter_expression(filter_expression.text)
            .projection_expression(projection)
            .set_expression_attribute_names(Some(names.into_iter().chain(regions).collect()))
            .set_expression_attribute_values(Some(keys.chain(filter_expression.values).collect()))
            .set_exclusive_start_key(after.map(|key| start_key(account, range, key)))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let (reply, items) = self.query_typed::<ListedOffering>(OPERATION, request).await?;
        let read_units = units(reply.consumed_capacity());
        let examined = u32::try_from(reply.scanned_count).unwrap_or_default();
        let resume = reply.last_evaluated_key.map(|key| read(OPERATION, key)).transpose()?;
        let offerings: Vec<StoredOffering> = items
            .into_iter()
            .map(ListedOffering::into_stored)
            .collect::<Result<_, _>>()
            .map_err(|cause| StoreError::unreadable(OPERATION, cause))?;
        // The filter expression only saves transfer; the decision is made here.
        let offerings = offerings.into_iter().filter(|offering| filter.admits(offering)).collect();
        Ok(RangeRead { offerings, resume, examined, read_units })
    }
}

/// The key attributes of a range, with their values: placeholders for the names that are reserved words of DynamoDB.
fn key_attributes<'a>(
    account: &'a AccountId,
    range: KeyRange<'a>,
) -> impl Iterator<Item = (&'static str, &'a str)> + Clone {
    let (status, product_type) = range.sort.parts();
    let attributes = [
        ("account", Some(account.as_str())),
        ("customerType", Some(range.customer_type.as_str())),
        ("category", range.category.map(Category::as_str)),
        ("#status", status.map(Status::as_str)),
        ("#type", product_type.map(ProductType::as_str)),
    ];
    attributes.into_iter().filter_map(|(name, value)| Some((name, value?)))
}

/// The `ExclusiveStartKey` for a position in a key range: all key attributes of the index and the table.
fn start_key(account: &AccountId, range: KeyRange<'_>, key: &OfferingKey) -> Item {
    let mut item = Item::from([
        ("account".to_owned(), text(account.as_str())),
        ("customerType".to_owned(), text(range.customer_type.as_str())),
        ("status".to_owned(), text(key.status.as_str())),
        ("type".to_owned(), text(key.product_type.as_str())),
        ("productOfferingId".to_owned(), text(key.id.as_str())),
    ]);
    if let Some(category) = range.category {
        item.insert("category".to_owned(), text(category.as_str()));
    }
    item
}

/// An [`OfferingFilter`] as a DynamoDB filter expression.
#[derive(Default)]
struct FilterExpression {
    text: Option<String>,
    values: HashMap<String, AttributeValue>,
    terms: usize,
}

impl FilterExpression {
    fn of(filter: &OfferingFilter) -> Self {
        let mut expression = Self::default();
        let mut groups = Vec::new();
        if let Some(catalogs) = &filter.catalogs {
            let ids = catalogs.iter().map(|id| ("productCatalogIds", id.as_str()));
            groups.push(expression.any_of(ids));
        }
        if let Some(coverage) = &filter.coverage {
            let countries = coverage.countries.iter().map(|country| ("countries", country.code()));
            let regions = coverage.regions.iter().map(|region| ("#regions", region.as_str()));
            groups.push(expression.any_of(countries.chain(regions)));
        }
        if !filter.regions.is_empty() {
            let regions = filter.regions.iter().map(|region| ("#regions", region.as_str()));
            groups.push(expression.any_of(regions));
        }
        if groups.is_empty() || expression.terms > MAX_FILTER_TERMS {
            return Self::default();
        }
        expression.text = Some(groups.join(" AND "));
        expression
    }

    /// `(contains(a, :x) OR contains(b, :y) …)`; an empty set matches nothing.
    fn any_of<'a>(&mut self, wanted: impl Iterator<Item = (&'a str, &'a str)>) -> String {
        let mut group = String::from("(");
        for (attribute, value) in wanted {
            let or = if group.len() > 1 { " OR " } else { "" };
            let placeholder = format!(":f{}", self.terms);
            let _ = write!(group, "{or}contains({attribute}, {placeholder})");
            self.values.insert(placeholder, text(value));
            self.terms += 1;
        }
        if group.len() == 1 {
            group.push_str("attribute_not_exists(document)");
        }
        group.push(')');
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        geography::{Country, Region},
        offerings::{CatalogId, Coverage},
    };

    fn catalogs(count: usize) -> OfferingFilter {
        let ids = (0..count).map(|number| CatalogId::parse(&number.to_string()).expect("an id"));
        OfferingFilter { catalogs: Some(ids.collect()), ..open() }
    }

    fn open() -> OfferingFilter {
        OfferingFilter { catalogs: None, coverage: None, regions: [].into() }
    }

    #[test]
    fn a_filter_is_one_expression_whose_groups_must_all_be_met() {
        let country = Country::parse("FR").expect("a country");
        let coverage = Coverage { countries: [country].into(), regions: [Region::Europe].into() };
        let regions = [Region::Africa].into();
        let all = OfferingFilter { coverage: Some(coverage), regions, ..catalogs(2) };
        let expression = FilterExpression::of(&all);
        assert_eq!(
            expression.text.as_deref(),
            Some(
                "(contains(productCatalogIds, :f0) OR contains(productCatalogIds, :f1)) AND \
                 (contains(countries, :f2) OR contains(#regions, :f3)) AND (contains(#regions, :f4))"
            )
        );
        let values =
            [(":f0", "0"), (":f1", "1"), (":f2", "FR"), (":f3", "EUROPE"), (":f4", "AFRICA")];
        let values = values.map(|(name, value)| (name.to_owned(), text(value)));
        assert_eq!(expression.values, values.into());
    }

    #[test]
    fn a_filter_of_no_value_admits_nothing_and_no_filter_everything() {
        let text = FilterExpression::of(&catalogs(0)).text;
        assert_eq!(text.as_deref(), Some("(attribute_not_exists(document))"));
        assert_eq!(FilterExpression::of(&open()).text, None);
    }

    #[test]
    fn a_filter_with_more_values_than_an_expression_may_have_is_left_out_whole() {
        let most = FilterExpression::of(&catalogs(MAX_FILTER_TERMS));
        assert_eq!((most.text.is_some(), most.values.len()), (true, 100));
        assert!(most.text.expect("an expression").len() < 4_096);
        let more = FilterExpression::of(&catalogs(MAX_FILTER_TERMS + 1));
        assert_eq!((more.text, more.values.len()), (None, 0));
    }
}
