//! `GET /api/v1/products`.

use std::{fmt::Write as _, sync::Arc, time::Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
#[cfg(feature = "openapi")]
use serde_json::{Value, json};

#[cfg(feature = "openapi")]
use crate::http::describe::{Failures, Operation, Schemas, header, operation, read, with};
use crate::{
    access::Permission,
    account::AccountId,
    cursor::{Context, Cursors, InvalidCursor},
    http::{
        ApiError, Call, Dialect, Endpoint, Methods, Reply,
        params::{CURSOR, Cursor, Limit, Parameter, Params},
    },
    json::{PAGE_BYTES, bytes_in_reply},
    products::{Category, Product, ProductId, Sku},
    store::Store,
};

pub(super) const PATH: &str = "/api/v1/products";

/// All methods of the path, of both functions together.
pub(super) const ALLOW: &str = "GET, HEAD, POST";

/// The endpoint that cursors are bound to.
const ENDPOINT: &str = "products";

/// A client may keep an answer, but must revalidate it.
const CACHE: &str = "private, no-cache";

const SKU: Parameter<String> =
    Parameter::new("sku", "The product of exactly this sku, read consistently.");

const CATEGORY: Parameter<String> =
    Parameter::new("category", "Exactly this category; letter case counts.");

const LIMIT: Parameter<Limit> =
    Parameter::new("limit", "The maximum number of products on a page; as many as fit by default.");

pub struct ListProducts {
    cursors: Arc<Cursors>,
}

impl ListProducts {
    /// Creates the endpoint, with cursors encrypted with these secrets.
    #[must_use]
    pub fn new(cursors: Arc<Cursors>) -> Self {
        Self { cursors }
    }
}

/// The query string of a list request.
struct ListRequest {
    sku: Option<String>,
    category: Option<String>,
    limit: Option<u32>,
    cursor: Option<Cursor>,
}

impl ListRequest {
    fn parse(raw: &str) -> Result<Self, ApiError> {
        let mut params = Params::parse(raw);
        // The published documentation shows these parameters without a value: then they do not filter.
        let filter = |value: Option<String>| value.filter(|value| !value.is_empty());
        let request = Self {
            sku: filter(params.single(&SKU)),
            category: filter(params.single(&CATEGORY)),
            limit: params.single(&LIMIT).map(|Limit(limit)| limit),
            cursor: params.single(&CURSOR),
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
        let filters = [(SKU.name, &self.sku), (CATEGORY.name, &self.category)];
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

impl Endpoint for ListProducts {
    const DIALECT: Dialect = Dialect::Products;
    const PERMISSION: Permission = Permission::ProductsRead;
    const PATHS: &'static [(&'static str, Methods)] =
        &[(PATH, Methods { answered: Methods::READ.answered, allow: ALLOW })];

    async fn answer(&self, call: Call<'_>) -> Result<Reply, ApiError> {
        let Call { request, principal, store, log, .. } = call;
        let list = ListRequest::parse(&request.query)?;
        let account = &principal.account;
        let fingerprint = list.fingerprint();
        let context = Context { account, endpoint: ENDPOINT, fingerprint: &fingerprint };
        let before = match &list.cursor {
            None => None,
            Some(Cursor(token)) => {
                let position = self.cursors.open(context, token)?;
                let bytes = position.try_into().map_err(|_| InvalidCursor)?;
                Some(ProductId::from_bytes(bytes))
            }
        };
        log.has_cursor = before.is_some();
        // No product has a key that is too long.
        let category = list.category.as_deref().map(Category::parse);
        let page = match (&list.sku, category) {
            (_, Some(None)) => ProductPage::default(),
            (Some(sku), category) => one(store, account, sku, category.flatten()).await?,
            (None, category) => {
                let category = category.flatten();
                let (category, until) = (category.as_ref(), request.page_end());
                page(store, account, category, before, list.limit, until).await?
            }
        };
        log.items = page.count;
        let next = page.next.map(|last| self.cursors.seal(context, &last.bytes())).transpose()?;
        log.has_next_page = next.is_some();
        let mut body = format!("{{\"products\":[{}]", page.documents);
        let payload = |body| Reply::cacheable(body, CACHE);
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
    /// Their size in a reply, with a comma each.
    bytes: usize,
    count: usize,
    next: Option<ProductId>,
}

impl ProductPage {
    /// Adds a product, unless the page has as many as were requested, or it does not fit.
    fn take(&mut self, document: &str, most: usize) -> bool {
        let bytes = self.bytes + bytes_in_reply(document) + 1;
        if self.count == most || (self.count > 0 && bytes > PAGE_BYTES) {
            return false;
        }
        if self.count > 0 {
            self.documents.push(',');
        }
        self.documents.push_str(document);
        self.bytes = bytes;
        self.count += 1;
        true
    }
}

fn document(product: &Product) -> Result<String, ApiError> {
    serde_json::to_string(product).map_err(ApiError::internal)
}

/// The product with a sku, if it is in the requested category.
async fn one(
    store: &Store,
    account: &AccountId,
    sku: &str,
    category: Option<Category>,
) -> Result<ProductPage, ApiError> {
    let mut page = ProductPage::default();
    let Some(sku) = Sku::parse(sku) else { return Ok(page) };
    let found = store.product_by_sku(account, &sku).await?;
    let wanted = |product: &Product| category.is_none() || product.category == category;
    if let Some(product) = found.filter(wanted) {
        page.take(&document(&product)?, 1);
    }
    Ok(page)
}

/// Products from a position on: as many as were requested, fit into a reply and are read in time.
async fn page(
    store: &Store,
    account: &AccountId,
    category: Option<&Category>,
    mut before: Option<ProductId>,
    limit: Option<u32>,
    until: Instant,
) -> Result<ProductPage, ApiError> {
    let mut page = ProductPage::default();
    let most = limit.map_or(usize::MAX, |limit| limit as usize);
    loop {
        // One product more than requested shows whether there is a next page.
        let left = limit.map(|limit| {
            limit.saturating_sub(u32::try_from(page.count).unwrap_or(u32::MAX)).saturating_add(1)
        });
        let read = store.newest_products(account, category, before, left).await?;
        for product in &read.products {
            // While a product changes its keys, the index may show it under both.
            if Some(product.id) == before {
                continue;
            }
            if !page.take(&document(product)?, most) {
                page.next = before;
                return Ok(page);
            }
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

#[cfg(feature = "openapi")]
pub(in crate::http) fn describe(schemas: &mut Schemas) -> Operation {
    let failures = Failures::of::<ListProducts>(schemas, PATH);
    let list = json!({
        "type": "object",
        "required": ["products"],
        "properties": {
            "products": { "type": "array", "items": schemas.of::<Product>() },
            "nextCursor": { "type": "string", "maxLength": 512, "description": "The cursor of the next page, if there is one." },
        },
    });
    let parameters = [
        SKU.describe(schemas),
        CATEGORY.describe(schemas),
        LIMIT.describe(schemas),
        CURSOR.describe(schemas),
    ];
    let mut replies =
        read("Products, newest first.", list, &json!({ "products": [product_example()] }));
    replies["200"]["headers"]["Link"] = header("Link");
    operation(
        "listProducts",
        "List products",
        "Newest first.",
        &parameters,
        &failures,
        with(replies, "400", failures.invalid(LIMIT.name, "must be a whole number from 1 to 1000")),
    )
}

#[cfg(feature = "openapi")]
fn product_example() -> Value {
    json!({
        "id": "01920e3a-7b1c-7def-8123-456789abcdef", "name": "Pro plan", "type": "SUBSCRIPTION", "sku": "PLAN-PRO-MO",
        "externalId": "price_1", "category": "Plans", "price": 45.5, "cost": null, "currency": "USD", "unit": "seat",
        "billingPeriod": "MONTHLY", "termMonths": 12, "stockQty": null, "reorderLevel": null,
        "description": "For teams.", "features": null, "active": true,
        "createdAt": "2026-01-15T10:30:00.000Z", "updatedAt": "2026-01-15T10:30:00.000Z",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(query: &str) -> ListRequest {
        ListRequest::parse(query).expect(query)
    }

    #[test]
    fn the_next_page_has_the_filters_and_the_limit_of_this_one() {
        let next = |query: &str| request(query).next("/prod/api/v1/products", "TOKEN");
        assert_eq!(next("cursor=OLD"), "/prod/api/v1/products?cursor=TOKEN");
        assert_eq!(next("sku=&category=&limit=7"), "/prod/api/v1/products?limit=7&cursor=TOKEN");
        assert_eq!(
            next("category=A%26B+%C3%A9&sku=a/b"),
            "/prod/api/v1/products?sku=a%2Fb&category=A%26B%20%C3%A9&cursor=TOKEN"
        );
    }

    #[test]
    fn a_cursor_belongs_to_its_filters_alone() {
        let print = |query: &str| request(query).fingerprint();
        assert_eq!(print("limit=1"), print("sku=&cursor=x&category="));
        assert_eq!(print("sku=a&category=b&limit=3"), print("category=b&sku=a"));
        let all =
            ["", "sku=a", "category=a", "sku=a&category=a", "sku=a+%2B1:a", "sku=-&category=-"];
        for (place, query) in all.iter().enumerate() {
            for other in &all[..place] {
                assert_ne!(print(query), print(other), "{query} {other}");
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_list_request_is_told_by_parameter() {
        let error = ListRequest::parse("sku=a&sku=b&category=%FF&limit=0&cursor=x&cursor=y");
        let Err(ApiError::Invalid(errors)) = error else { panic!("no complaint") };
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "sku: must be given once",
                "category: must be UTF-8",
                "limit: must be a whole number from 1 to 1000",
                "cursor: must be given once"
            ]
        );
    }

    #[test]
    fn a_page_takes_products_up_to_its_size_and_at_least_one() {
        // A quote counts twice, and a comma follows each.
        let sized = |bytes: usize| format!("\"{}", "x".repeat(bytes - 3));
        for (sizes, fit) in [
            (&[PAGE_BYTES - 300, 100, 200][..], 3),
            (&[PAGE_BYTES - 300, 100, 201], 2),
            (&[PAGE_BYTES + 1, 100], 1),
        ] {
            let mut page = ProductPage::default();
            let taken: Vec<bool> =
                sizes.iter().map(|bytes| page.take(&sized(*bytes), usize::MAX)).collect();
            let expected: Vec<bool> = (0..sizes.len()).map(|place| place < fit).collect();
            assert_eq!((taken, page.count), (expected, fit), "{sizes:?}");
        }
        let mut page = ProductPage::default();
        let taken = ["1", "2", "3"].map(|document| page.take(document, 2));
        assert_eq!((taken, page.documents.as_str()), ([true, true, false], "1,2"));
    }
}
