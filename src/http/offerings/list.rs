//! `GET /product-offerings`.

use std::sync::Arc;

#[cfg(feature = "openapi")]
use serde_json::json;

#[cfg(feature = "openapi")]
use super::pricing::offering_example;
use super::pricing::{CACHE, PROMO_CODE, document, promotion};
use crate::{
    access::Permission,
    cursor::{Context, Cursors, InvalidCursor},
    document::{JsonText, push_escaped},
    geography::{Country, Region},
    http::{
        ApiError, Call, Dialect, Endpoint, Methods, Reply,
        params::{ArrayParameter, CURSOR, Cursor, Limit, Parameter, Params},
    },
    offerings::{
        Budget, CatalogId, Category, CustomerType, ListPosition, NotVisible, OfferingQuery, Plan,
        ProductType, PromoCode, Promotion, StoredOffering, list, list_by_area,
    },
    text::FieldError,
};
#[cfg(feature = "openapi")]
use crate::{
    http::describe::{Failures, Operation, Schemas, operation, read, with},
    offerings::Offering,
};

const PATH: &str = "/product-offerings";

/// The endpoint that cursors are bound to.
const ENDPOINT: &str = "product-offerings";

/// How many offerings a page has if the request does not say.
const DEFAULT_LIMIT: u32 = 100;

const TYPES: ArrayParameter<ProductType> = ArrayParameter::new("types", "Product types.");

const CATEGORIES: ArrayParameter<Category> =
    ArrayParameter::new("categories", "Categories, with or without `PRODUCT_CATEGORY_`.");

const CUSTOMER_TYPE: Parameter<CustomerType> =
    Parameter::new("customerType", "Without it: every customer type the key may see.");

const PRODUCT_CATALOG: Parameter<CatalogId> =
    Parameter::new("productCatalogId", "Only offerings of this catalog.");

const INCLUDE_ARCHIVED: Parameter<bool> =
    Parameter::new("includeArchived", "Archived offerings, too; without them by default.");

const COUNTRIES: ArrayParameter<Country> = ArrayParameter::new(
    "countries",
    "ISO 3166-1 alpha-2: offerings that list any of them, or a region that contains one of them.",
);

const REGIONS: ArrayParameter<Region> = ArrayParameter::new(
    "regions",
    "Offerings that list any of them, or a region that contains one of them.",
);

const LIMIT: Parameter<Limit> =
    Parameter::new("limit", "The maximum number of offerings on a page; 100 by default.");

pub struct ListOfferings {
    cursors: Arc<Cursors>,
}

impl ListOfferings {
    /// Creates the endpoint; `cursors` encrypts and decrypts the cursors of its pages.
    #[must_use]
    pub fn new(cursors: Arc<Cursors>) -> Self {
        Self { cursors }
    }
}

impl Endpoint for ListOfferings {
    const DIALECT: Dialect = Dialect::Offerings;
    const PERMISSION: Permission = Permission::OfferingsRead;
    const PATHS: &'static [(&'static str, Methods)] = &[(PATH, Methods::READ)];

    async fn answer(&self, call: Call<'_>) -> Result<Reply, ApiError> {
        let Call { request, principal, store, log, .. } = call;
        let mut params = Params::parse(&request.query);
        let query = OfferingQuery {
            types: params.list(&TYPES),
            categories: params.list(&CATEGORIES),
            customer_type: params.single(&CUSTOMER_TYPE),
            product_catalog: params.single(&PRODUCT_CATALOG),
            include_archived: params.single(&INCLUDE_ARCHIVED).unwrap_or(false),
            countries: params.list(&COUNTRIES),
            regions: params.list(&REGIONS),
        };
        let promo_code = params.single(&PROMO_CODE);
        let limit = params.single(&LIMIT).map_or(DEFAULT_LIMIT, |Limit(limit)| limit);
        let cursor = params.single(&CURSOR);
        params.finish()?;
        let account = &principal.account;
        let customer_types = query.customer_types_for(principal).map_err(not_visible)?;
        let filter = query.filter_for(principal).map_err(not_visible)?;
        let plan = Plan::new(customer_types, query.types, query.categories, query.include_archived);
        let fingerprint = plan.fingerprint(&filter, promo_code.as_ref().map(PromoCode::as_str));
        let context = Context { account, endpoint: ENDPOINT, fingerprint: &fingerprint };
        let start = match &cursor {
            None => ListPosition::START,
            Some(Cursor(token)) => self
                .cursors
                .open(context, token)
                .and_then(|bytes| plan.decode(&bytes).map_err(|_| InvalidCursor))?,
        };
        log.has_cursor = cursor.is_some();

        let budget = Budget { read_units: Budget::READ_UNITS, until: request.page_end() };
        // The promotion is looked up concurrently with the page, so it adds no latency of its own.
        let (promotion, listing) =
            tokio::try_join!(promotion(store, account, promo_code), async {
                let page = match filter.by_area() {
                    Some(areas) if store.has_entries(account).await? => {
                        list_by_area(store, account, &plan, &areas, start, limit, budget).await
                    }
                    _ => list(store, account, &plan, &filter, start, limit, budget).await,
                };
                page.map_err(ApiError::from)
            })?;
        log.items = listing.offerings.len();
        let next = listing
            .next
            .map(|next| self.cursors.seal(context, &Plan::encode(&next)))
            .transpose()?;
        log.has_next_page = next.is_some();
        Ok(Reply::cacheable(page(listing.offerings, promotion.as_ref(), next.as_deref())?, CACHE))
    }
}

fn not_visible(what: NotVisible) -> ApiError {
    let (field, message) = match what {
        NotVisible::CustomerType => (CUSTOMER_TYPE.name, "is a customer type this key may not see"),
        NotVisible::ProductCatalog => (PRODUCT_CATALOG.name, "is a catalog this key may not see"),
    };
    ApiError::NotVisible(FieldError::new(field, message))
}

/// Joins documents, which are JSON already, into `{"items":[…],"pagination":{…}}`. Lambda's response carries the body
/// as a JSON string, so it is built with that string's escapes, and the documents are copied as they are (`JsonText`).
fn page(
    offerings: Vec<StoredOffering>,
    promotion: Option<&Promotion>,
    next_cursor: Option<&str>,
) -> Result<JsonText, ApiError> {
    let bytes: usize = offerings.iter().map(|offering| offering.document.escaped_len()).sum();
    // With room for a thousand commas and a cursor.
    let mut body = String::with_capacity(bytes + 2_000);
    push_escaped(&mut body, "{\"items\":[");
    for (index, offering) in offerings.into_iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        document(offering, promotion)?.push_escaped_to(&mut body);
    }
    // Cursors consist of URL-safe characters.
    let cursor = next_cursor.map(|cursor| format!("\"nextCursor\":\"{cursor}\""));
    let end = format!("],\"pagination\":{{{}}}}}", cursor.unwrap_or_default());
    push_escaped(&mut body, &end);
    Ok(JsonText::escaped(body))
}

#[cfg(feature = "openapi")]
pub(in crate::http) fn describe(schemas: &mut Schemas) -> Operation {
    let failures = Failures::of::<ListOfferings>(schemas, PATH);
    let parameters = [
        TYPES.describe(schemas),
        CATEGORIES.describe(schemas),
        CUSTOMER_TYPE.describe(schemas),
        PRODUCT_CATALOG.describe(schemas),
        INCLUDE_ARCHIVED.describe(schemas),
        PROMO_CODE.describe(schemas),
        COUNTRIES.describe(schemas),
        REGIONS.describe(schemas),
        LIMIT.describe(schemas),
        CURSOR.describe(schemas),
    ];
    let page = json!({
        "type": "object",
        "required": ["items", "pagination"],
        "properties": {
            "items": { "type": "array", "items": schemas.of::<Offering>() },
            "pagination": {
                "type": "object",
                "properties": { "nextCursor": {
                    "type": "string", "maxLength": 512,
                    "description": "The cursor of the next page; left out on the last page.",
                } },
            },
        },
    });
    let example =
        json!({ "items": [offering_example()], "pagination": { "nextCursor": "AQ3xT0b1v5Kk" } });
    operation(
        "listOfferings",
        "List product offerings",
        "Filters combine with AND, the values of one with OR. A page ends early, with a `nextCursor` and perhaps no \
            items: before a reply would exceed 5.5 MB, after 1,000 read units, after 20 s (or 5 s before the request's \
            deadline), or after 200 empty key ranges (at most one for each requested combination of customer type, \
            category, status, type and, if filtered by them, country, region or catalog).",
        &parameters,
        &failures,
        with(
            read("A page of offerings.", page, &example),
            "400",
            failures.invalid(LIMIT.name, "must be a whole number from 1 to 1000"),
        ),
    )
}
