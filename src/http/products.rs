//! The two endpoints of the products dialect (agentlyleads), and its errors.

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use lambda_http::http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    ApiError, ApiRequest, Dialect, Endpoint, Methods, Payload, RequestRecord, body,
    messages::{INTERNAL_ERROR, SERVICE_UNAVAILABLE, not_found},
    params::{Params, whole_number},
};
use crate::{
    access::{Permission, Principal},
    account::AccountId,
    cost::{Costs, ReadCost},
    cursor::{Context, Cursors, InvalidCursor},
    json::{Members, PAGE_BYTES, bytes_in_reply, first_elements, json_type, type_name},
    order::Origin,
    products::{
        Category, Product, ProductId, ProductLists, ProductLookup, ProductRow, ProductWrites,
        RowError, RowResult, Sku, arrived, upsert,
    },
    store::StoreError,
    text::{FieldError, random_name},
};

pub(super) const PATH: &str = "/api/v1/products";

/// All methods of the path, of both functions together.
pub(super) const ALLOW: &str = "GET, HEAD, POST";

/// The endpoint that cursors are bound to.
const ENDPOINT: &str = "products";

/// The maximum number of rows in a request.
pub(super) const MAX_ROWS: usize = 1_000;

/// The time reserved before the deadline for reporting the result of each row.
const RESERVE: Duration = Duration::from_secs(1);

/// A client may keep an answer, but must revalidate it.
const CACHE: &str = "private, no-cache";

/// `POST /api/v1/products`.
pub struct UpsertProducts<S> {
    store: S,
}

impl<S> UpsertProducts<S> {
    /// Creates the endpoint over these tables.
    pub fn new(store: S) -> Self {
        Self { store }
    }
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "UpsertOutcome"))]
pub(super) struct Outcome {
    created: usize,
    updated: usize,
    errors: usize,
    results: Vec<Line>,
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "UpsertedRow"))]
struct Line {
    index: usize,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl<S: ProductWrites + Send + 'static> Endpoint for UpsertProducts<S> {
    const DIALECT: Dialect = Dialect::Products;
    const PERMISSION: Permission = Permission::ProductsWrite;

    fn methods(&self, request: &ApiRequest) -> Option<Methods> {
        let methods = Methods { answered: &[Method::POST], allow: ALLOW };
        request.parameters(PATH).map(|_| methods)
    }

    async fn answer(
        &self,
        request: &ApiRequest,
        principal: &Principal,
        record: &mut RequestRecord,
    ) -> Result<Payload, ApiError> {
        let rows = rows(body::json(request)?)?;
        let (mut good, mut places) = (Vec::new(), Vec::new());
        let mut results: Vec<Result<_, String>> = Vec::with_capacity(rows.len());
        for (place, row) in rows.into_iter().enumerate() {
            match ProductRow::parse(row) {
                Ok(row) => {
                    good.push(row);
                    places.push(place);
                    results.push(Err(String::new()));
                }
                Err(errors) => results.push(Err(joined(&errors))),
            }
        }
        let until = request.deadline.checked_sub(RESERVE).unwrap_or_else(Instant::now);
        let mut costs = Costs::default();
        // Each request has its own random name: two concurrent requests are two sources.
        let origin = Origin::new(Timestamp::now(), &random_name());
        let written: Vec<RowResult> = upsert(
            &self.store,
            &principal.account,
            &arrived(&good, &origin),
            until.into(),
            &mut costs,
        )
        .await;
        (record.cost, record.write_cost) = (costs.reads, costs.writes);
        for (place, result) in places.into_iter().zip(written) {
            if let Err(RowError::Failed { cause }) = &result {
                record.row_failure.get_or_insert_with(|| cause.clone());
            }
            results[place] = result.map_err(|error| error.to_string());
        }

        let mut outcome = Outcome {
            created: 0,
            updated: 0,
            errors: 0,
            results: Vec::with_capacity(results.len()),
        };
        for (index, result) in results.into_iter().enumerate() {
            let (status, id, error) = match result {
                Ok(applied) if applied.created => ("created", Some(applied.id.to_string()), None),
                Ok(applied) => ("updated", Some(applied.id.to_string()), None),
                Err(error) => ("error", None, Some(error)),
            };
            match status {
                "created" => outcome.created += 1,
                "updated" => outcome.updated += 1,
                _ => outcome.errors += 1,
            }
            outcome.results.push(Line { index, status, id, error });
        }
        record.items = outcome.created + outcome.updated;
        record.rejected = outcome.errors;
        let status = if outcome.errors == 0 { StatusCode::OK } else { StatusCode::MULTI_STATUS };
        let body = serde_json::to_string(&outcome)
            .map_err(|error| ApiError::Internal(error.to_string()))?;
        Ok(Payload::written(status, body))
    }
}

fn joined(errors: &[FieldError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The rows of a body.
fn rows(body: &str) -> Result<Vec<&RawValue>, ApiError> {
    let wrong = |message: String| ApiError::invalid("", message);
    let malformed = |error| wrong(format!("Malformed JSON: {error}"));
    let kind = json_type(body.trim_start().as_bytes().first().copied());
    if kind != "object" {
        // A body that is not JSON at all is reported as such.
        serde_json::from_str::<IgnoredAny>(body).map_err(malformed)?;
        return Err(wrong(format!("Expected object, received {kind}")));
    }
    let members = Members::of(body, |name| name == "products").map_err(malformed)?;
    if let Some(twice) = members.duplicate() {
        return Err(wrong(format!("{twice}: Duplicate key")));
    }
    let products = members.0.into_iter().next();
    let (_, products) = products.ok_or_else(|| wrong("products: Required".to_owned()))?;
    if type_name(products) != "array" {
        let message = format!("products: Expected array, received {}", type_name(products));
        return Err(wrong(message));
    }
    let rows = first_elements(products, MAX_ROWS + 1).map_err(malformed)?;
    match rows.len() {
        0 => Err(wrong("products must not be empty".to_owned())),
        1..=MAX_ROWS => Ok(rows),
        _ => Err(wrong(format!("Max {MAX_ROWS} products per request"))),
    }
}

/// `GET /api/v1/products`.
pub struct ListProducts<S> {
    store: S,
    cursors: Arc<Cursors>,
}

impl<S> ListProducts<S> {
    /// Creates the endpoint over these tables, with cursors encrypted with these secrets.
    pub fn new(store: S, cursors: Arc<Cursors>) -> Self {
        Self { store, cursors }
    }
}

/// The query string of a list request.
struct ListRequest {
    sku: Option<String>,
    category: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

impl ListRequest {
    fn parse(raw: &str) -> Result<Self, ApiError> {
        let mut params = Params::parse(raw);
        // The published documentation shows these parameters without a value: then they do not filter.
        let text = |text: &str| Ok(text.to_owned());
        let filter = |value: Option<String>| value.filter(|value| !value.is_empty());
        let request = Self {
            sku: filter(params.single("sku", text)),
            category: filter(params.single("category", text)),
            limit: params.single("limit", |text| whole_number(text, 1, 1_000)),
            cursor: params.single("cursor", |text| Ok(text.to_owned())),
        };
        params.finish().map(|()| request)
    }

    /// The filters that a cursor is bound to.
    fn fingerprint(&self) -> Vec<u8> {
        let part = |text: &Option<String>| match text {
            None => "-".to_owned(),
            Some(text) => format!("+{}:{text}", text.len()),
        };
        format!("{} {}", part(&self.sku), part(&self.category)).into_bytes()
    }

    /// The URL of the next page, relative to this one's path.
    fn next(&self, path: &str, cursor: &str) -> String {
        let mut reference = format!("{path}?");
        let filters = [("sku", &self.sku), ("category", &self.category)];
        for (name, value) in filters {
            if let Some(value) = value {
                let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
                let _ = write!(reference, "{name}={value}&");
            }
        }
        if let Some(limit) = self.limit {
            let _ = write!(reference, "limit={limit}&");
        }
        let _ = write!(reference, "cursor={cursor}");
        reference
    }
}

impl<S> Endpoint for ListProducts<S>
where
    S: ProductLists<Error = StoreError> + ProductLookup<Error = StoreError> + Send + 'static,
{
    const DIALECT: Dialect = Dialect::Products;
    const PERMISSION: Permission = Permission::ProductsRead;

    fn methods(&self, request: &ApiRequest) -> Option<Methods> {
        let methods = Methods { answered: Methods::READ.answered, allow: ALLOW };
        request.parameters(PATH).map(|_| methods)
    }

    async fn answer(
        &self,
        request: &ApiRequest,
        principal: &Principal,
        record: &mut RequestRecord,
    ) -> Result<Payload, ApiError> {
        let list = ListRequest::parse(&request.query)?;
        let account = &principal.account;
        let fingerprint = list.fingerprint();
        let context = Context { account, endpoint: ENDPOINT, fingerprint: &fingerprint };
        let invalid = |error: InvalidCursor| ApiError::invalid("cursor", error.to_string());
        let before = match &list.cursor {
            None => None,
            Some(token) => {
                let position = self.cursors.open(context, token).map_err(invalid)?;
                let bytes = position.try_into().map_err(|_| invalid(InvalidCursor))?;
                Some(ProductId::from_bytes(bytes))
            }
        };
        record.has_cursor = before.is_some();
        // No product has a key that is too long.
        let category = list.category.as_deref().map(Category::parse);
        let page = match (&list.sku, category) {
            (_, Some(None)) => ProductPage::default(),
            (Some(sku), category) => {
                self.one(account, sku, category.flatten(), &mut record.cost).await?
            }
            (None, category) => {
                let until = request.page_end();
                let category = category.flatten();
                let (category, limit) = (category.as_ref(), list.limit);
                self.page(account, category, before, limit, until, &mut record.cost).await?
            }
        };
        record.items = page.count;
        let next = page
            .next
            .map(|last| self.cursors.seal(context, &last.bytes()))
            .transpose()
            .map_err(|error| ApiError::Internal(error.to_string()))?;
        record.has_next_page = next.is_some();
        let mut body = format!("{{\"products\":[{}]", page.documents);
        let payload = |body| Payload::read(body, CACHE);
        Ok(match next {
            None => payload(body + "}"),
            Some(cursor) => {
                // Cursors consist of URL-safe characters, so nothing needs to be escaped.
                let _ = write!(body, ",\"nextCursor\":\"{cursor}\"}}");
                payload(body).with_next(&list.next(&request.path, &cursor))
            }
        })
    }
}

/// Products as JSON, separated by commas, and the last of them if there may be more.
#[derive(Default)]
struct ProductPage {
    documents: String,
    count: usize,
    next: Option<ProductId>,
}

impl ProductPage {
    fn push(&mut self, document: &str) {
        if self.count > 0 {
            self.documents.push(',');
        }
        self.documents.push_str(document);
        self.count += 1;
    }
}

fn document(product: &Product) -> Result<String, ApiError> {
    serde_json::to_string(product).map_err(|error| ApiError::Internal(error.to_string()))
}

impl<S> ListProducts<S>
where
    S: ProductLists<Error = StoreError> + ProductLookup<Error = StoreError>,
{
    /// The product with a sku, if it is in the requested category.
    async fn one(
        &self,
        account: &AccountId,
        sku: &str,
        category: Option<Category>,
        cost: &mut ReadCost,
    ) -> Result<ProductPage, ApiError> {
        let mut page = ProductPage::default();
        let Some(sku) = Sku::parse(sku) else { return Ok(page) };
        let found = self.store.by_sku(account, &sku).await?;
        cost.add(found.read_units);
        let wanted = |product: &Product| category.is_none() || product.category == category;
        if let Some(product) = found.value.filter(wanted) {
            page.push(&document(&product)?);
        }
        Ok(page)
    }

    /// Products from a position on: as many as were requested, fit into a reply and are read in time.
    async fn page(
        &self,
        account: &AccountId,
        category: Option<&Category>,
        mut before: Option<ProductId>,
        limit: Option<u32>,
        until: Instant,
        cost: &mut ReadCost,
    ) -> Result<ProductPage, ApiError> {
        let mut page = ProductPage::default();
        let mut bytes = 0;
        let most = limit.map_or(usize::MAX, |limit| limit as usize);
        loop {
            // One product more than requested shows whether there is a next page.
            let left = limit.map(|limit| {
                limit
                    .saturating_sub(u32::try_from(page.count).unwrap_or(u32::MAX))
                    .saturating_add(1)
            });
            let read = self.store.newest(account, category, before, left).await?;
            cost.add(read.read_units);
            for product in &read.products {
                // While a product changes its keys, the index may show it under both.
                if Some(product.id) == before {
                    continue;
                }
                let document = document(product)?;
                bytes += bytes_in_reply(&document) + 1;
                if page.count == most || (page.count > 0 && bytes > PAGE_BYTES) {
                    page.next = before;
                    return Ok(page);
                }
                page.push(&document);
                before = Some(product.id);
            }
            if !read.more {
                return Ok(page);
            }
            if page.count == most || Instant::now() >= until {
                page.next = before;
                return Ok(page);
            }
        }
    }
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "ProductsError"))]
pub(super) struct Failure {
    error: String,
}

/// `{"error":"…"}`.
pub(super) fn error_body(error: &ApiError) -> String {
    let message = match error {
        ApiError::Invalid(errors) => {
            let texts: Vec<String> = errors
                .iter()
                .map(|error| match error.field.as_str() {
                    "" => error.message.clone(),
                    field => format!("{field} {}", error.message),
                })
                .collect();
            format!("{}.", texts.join("; "))
        }
        ApiError::Required(field) => format!("{field} is required."),
        ApiError::NotAdmitted(_) if error.status() == 401 => "Unauthorized".to_owned(),
        ApiError::NotAdmitted(_) | ApiError::NotVisible(_) => "Forbidden".to_owned(),
        ApiError::NotFound(absent) => not_found(*absent).to_owned(),
        ApiError::MethodNotAllowed(allowed) => format!("Use one of: {allowed}."),
        ApiError::TooLarge(bytes) => format!("The body must be at most {bytes} bytes."),
        ApiError::Unavailable(_) => SERVICE_UNAVAILABLE.to_owned(),
        ApiError::Internal(_) => INTERNAL_ERROR.to_owned(),
    };
    // It has only a text: serializing it cannot fail.
    serde_json::to_string(&Failure { error: message }).unwrap_or_default()
}
