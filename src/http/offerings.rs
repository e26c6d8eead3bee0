//! The two endpoints of the offerings dialect (Connect).

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    Absent, ApiError, ApiRequest, Dialect, Endpoint, Methods, Payload, RequestRecord,
    params::{Params, boolean, whole_number},
};
use crate::{
    access::{Permission, Principal},
    account::AccountId,
    cost::ReadCost,
    cursor::{Context, Cursors},
    geography::{Country, Region},
    offerings::{
        Budget, CatalogId, Category, CustomerType, NotVisible, Offering, OfferingId,
        OfferingLookup, OfferingQuery, OfferingRow, OfferingStreams, Plan, Position, ProductType,
        PromoCode, Promotion, PromotionLookup, PromotionRejection, list,
    },
    store::StoreError,
    text::FieldError,
};

pub(super) const LIST: &str = "/product-offerings";
pub(super) const ONE: &str = "/product-offerings/{productOfferingId}";

/// The endpoint that cursors are bound to.
const ENDPOINT: &str = "product-offerings";

/// Offerings change rarely and are requested often: a client may keep an answer, but must revalidate it.
const CACHE: &str = "private, no-cache";

/// `GET /product-offerings`.
pub struct ListOfferings<S> {
    store: S,
    cursors: Arc<Cursors>,
}

/// `GET /product-offerings/{productOfferingId}`.
pub struct GetOffering<S> {
    store: S,
}

/// The query string of a list request.
struct ListRequest {
    query: OfferingQuery,
    promo_code: Option<PromoCode>,
    limit: u32,
    cursor: Option<String>,
}

impl ListRequest {
    fn parse(raw: &str) -> Result<Self, ApiError> {
        let mut params = Params::parse(raw);
        let one_of = |spellings: String| format!("must be one of {spellings}");
        let request = Self {
            query: OfferingQuery {
                types: params.list("types", |text| {
                    ProductType::parse(text).ok_or_else(|| one_of(ProductType::spellings()))
                }),
                categories: params.list("categories", Category::parse),
                customer_type: params.single("customerType", |text| {
                    CustomerType::parse(text).ok_or_else(|| one_of(CustomerType::spellings()))
                }),
                product_catalog: params.single("productCatalogId", CatalogId::parse),
                include_archived: params.single("includeArchived", boolean).unwrap_or(false),
                countries: params.list("countries", Country::parse),
                regions: params.list("regions", |text| {
                    Region::parse(text).ok_or_else(|| one_of(Region::spellings()))
                }),
            },
            promo_code: params.single("promoCode", PromoCode::parse),
            limit: params.single("limit", |text| whole_number(text, 1, 1_000)).unwrap_or(100),
            cursor: params.single("cursor", |text| Ok(text.to_owned())),
        };
        params.finish().map(|()| request)
    }
}

impl<S> ListOfferings<S> {
    /// Creates the endpoint over these tables, with cursors encrypted with these secrets.
    pub fn new(store: S, cursors: Arc<Cursors>) -> Self {
        Self { store, cursors }
    }
}

impl<S> Endpoint for ListOfferings<S>
where
    S: OfferingStreams<Error = StoreError> + PromotionLookup<Error = StoreError> + Send + 'static,
{
    const DIALECT: Dialect = Dialect::Offerings;
    const PERMISSION: Permission = Permission::OfferingsRead;

    fn methods(&self, request: &ApiRequest) -> Option<Methods> {
        request.parameters(LIST).map(|_| Methods::READ)
    }

    async fn answer(
        &self,
        request: &ApiRequest,
        principal: &Principal,
        record: &mut RequestRecord,
    ) -> Result<Payload, ApiError> {
        let ListRequest { query, promo_code, limit, cursor } = ListRequest::parse(&request.query)?;
        let customer_types = query.customer_types_for(principal).map_err(not_visible)?;
        let filter = query.filter_for(principal).map_err(not_visible)?;
        let plan = Plan::new(customer_types, query.types, query.categories, query.include_archived);
        let fingerprint = plan.fingerprint(&filter, promo_code.as_ref().map(PromoCode::as_str));
        let context =
            Context { account: &principal.account, endpoint: ENDPOINT, fingerprint: &fingerprint };
        let start = match &cursor {
            None => Position::START,
            Some(token) => open(&self.cursors, context, token, &plan)?,
        };
        record.has_cursor = cursor.is_some();

        let budget = Budget { read_units: Budget::READ_UNITS, until: request.page_end() };
        let RequestRecord { cost, promotion_cost, .. } = record;
        // The promotion is looked up concurrently with the page, so it adds no latency of its own.
        let (promotion, listing) = tokio::try_join!(
            promotion(&self.store, &principal.account, promo_code, promotion_cost),
            async {
                let account = &principal.account;
                list(&self.store, account, &plan, &filter, start, limit, budget, cost)
                    .await
                    .map_err(ApiError::from)
            },
        )?;
        record.items = listing.rows.len();

        let next = listing
            .next
            .map(|position| self.cursors.seal(context, &Plan::encode(&position)))
            .transpose()
            .map_err(|error| ApiError::Internal(error.to_string()))?;
        record.has_next_page = next.is_some();
        Ok(Payload::read(page(listing.rows, promotion.as_ref(), next.as_deref())?, CACHE))
    }
}

impl<S> GetOffering<S> {
    /// Creates the endpoint over these tables.
    pub fn new(store: S) -> Self {
        Self { store }
    }
}

impl<S> Endpoint for GetOffering<S>
where
    S: OfferingLookup<Error = StoreError> + PromotionLookup<Error = StoreError> + Send + 'static,
{
    const DIALECT: Dialect = Dialect::Offerings;
    const PERMISSION: Permission = Permission::OfferingsRead;

    fn methods(&self, request: &ApiRequest) -> Option<Methods> {
        request.parameters(ONE).map(|_| Methods::READ)
    }

    async fn answer(
        &self,
        request: &ApiRequest,
        principal: &Principal,
        record: &mut RequestRecord,
    ) -> Result<Payload, ApiError> {
        const NOT_FOUND: ApiError = ApiError::NotFound(Absent::Offering);
        let mut params = Params::parse(&request.query);
        let promo_code = params.single("promoCode", PromoCode::parse);
        params.finish()?;
        let id = request.parameters(ONE).and_then(|mut values| values.pop()).unwrap_or_default();
        // No offering has an invalid id.
        let id = OfferingId::parse(&id).map_err(|_| NOT_FOUND)?;

        let RequestRecord { cost, promotion_cost, .. } = record;
        let (promotion, offering) = tokio::try_join!(
            promotion(&self.store, &principal.account, promo_code, promotion_cost),
            async {
                let offering = self.store.offering(&principal.account, &id).await?;
                cost.add(offering.read_units);
                Ok(offering.value)
            },
        )?;
        let row = offering.filter(|row| row.visibility.allows(principal)).ok_or(NOT_FOUND)?;
        record.items = 1;
        Ok(Payload::read(document(row, promotion.as_ref())?, CACHE))
    }
}

fn not_visible(what: NotVisible) -> ApiError {
    let (field, message) = match what {
        NotVisible::CustomerType => ("customerType", "is a customer type this key may not see"),
        NotVisible::ProductCatalog => ("productCatalogId", "is a catalog this key may not see"),
    };
    ApiError::NotVisible(FieldError::new(field, message))
}

/// The position in a cursor. The message is the same, whatever is wrong with the cursor.
fn open(
    cursors: &Cursors,
    context: Context<'_>,
    token: &str,
    plan: &Plan,
) -> Result<Position, ApiError> {
    let opened = cursors.open(context, token);
    let position =
        opened.and_then(|bytes| plan.decode(&bytes).map_err(|_| crate::cursor::InvalidCursor));
    position.map_err(|error| ApiError::invalid("cursor", error.to_string()))
}

/// The promotion of a code, if it is valid now.
async fn promotion<S: PromotionLookup<Error = StoreError>>(
    store: &S,
    account: &AccountId,
    code: Option<PromoCode>,
    cost: &mut ReadCost,
) -> Result<Option<Promotion>, ApiError> {
    let Some(code) = code else { return Ok(None) };
    let found = store.promotion(account, &code).await?;
    cost.add(found.read_units);
    let valid = found
        .value
        .ok_or(PromotionRejection::Unknown)
        .and_then(|promotion| promotion.valid_at(Timestamp::now()).map(|()| promotion));
    match valid {
        Ok(promotion) => Ok(Some(promotion)),
        Err(rejection) => Err(ApiError::invalid(
            "promoCode",
            match rejection {
                PromotionRejection::Unknown => "is not a known promo code",
                PromotionRejection::NotYetValid => "is not valid yet",
                PromotionRejection::Expired => "has expired",
            },
        )),
    }
}

/// Joins documents, which are JSON already, to `{"items":[…],"pagination":{…}}`.
fn page(
    rows: Vec<OfferingRow>,
    promotion: Option<&Promotion>,
    next_cursor: Option<&str>,
) -> Result<String, ApiError> {
    let bytes: usize = rows.iter().map(|row| row.document.len() + 1).sum();
    let mut body = String::with_capacity(bytes + 640);
    body.push_str("{\"items\":[");
    for (index, row) in rows.into_iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(&document(row, promotion)?);
    }
    body.push_str("],\"pagination\":{");
    if let Some(cursor) = next_cursor {
        // Cursors consist of URL-safe characters, so nothing needs to be escaped.
        body.push_str("\"nextCursor\":\"");
        body.push_str(cursor);
        body.push('"');
    }
    body.push_str("}}");
    Ok(body)
}

/// The published object: as stored, or with its promotional price.
fn document(row: OfferingRow, promotion: Option<&Promotion>) -> Result<String, ApiError> {
    let Some(promotion) = promotion else { return Ok(row.document) };
    let unreadable = |error| ApiError::Internal(format!("stored document: {error}"));
    let mut offering: Offering = serde_json::from_str(&row.document).map_err(unreadable)?;
    promotion.apply(&mut offering);
    serde_json::to_string(&offering).map_err(unreadable)
}
