//! `POST /api/v1/products`: a bulk upsert.

use std::time::{Duration, Instant};

use lambda_http::http::{Method, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
#[cfg(feature = "openapi")]
use serde_json::{Map, Value, json};

use super::list::{ALLOW, PATH};
use crate::{
    access::Permission,
    http::{ApiError, Call, Dialect, Endpoint, Methods, Reply, body},
    json::{first_elements, type_name},
    products::{Applied, ProductRow, RowError, arrived, upsert},
    text::FieldError,
};
#[cfg(feature = "openapi")]
use crate::{
    http::{
        body::MAX_BODY_BYTES,
        describe::{Failures, Operation, Schemas, idempotent, operation, or_of_gateway, written},
    },
    products::{FIELDS, Field, Rule, Scalar},
};

const MAX_ROWS: usize = 1_000;

/// The time reserved before the deadline for reporting the result of each row.
const RESERVE: Duration = Duration::from_secs(1);

pub struct UpsertProducts;

#[derive(Default, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "UpsertOutcome"))]
struct Outcome {
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

/// What the journal of changes tells as the source of these writes.
const WRITER: &str = "upsert";

impl Endpoint for UpsertProducts {
    const DIALECT: Dialect = Dialect::Products;
    const PERMISSION: Permission = Permission::ProductsWrite;
    const PATHS: &'static [(&'static str, Methods)] =
        &[(PATH, Methods { answered: &[Method::POST], allow: ALLOW })];

    async fn answer(&self, call: Call<'_>) -> Result<Reply, ApiError> {
        let Call { request, principal, identity, store, log } = call;
        let rows = rows(body::json(request)?)?;
        log.rows = rows.len() as u64;
        let mut good = Vec::new();
        let mut refused: Vec<Option<String>> = Vec::with_capacity(rows.len());
        for row in rows {
            refused.push(match ProductRow::parse(row) {
                Ok(row) => {
                    good.push(row);
                    None
                }
                Err(errors) => Some(joined(&errors)),
            });
        }
        let until = request.deadline.checked_sub(RESERVE).unwrap_or_else(Instant::now);
        let rows = arrived(&good, identity);
        let store = store.written_by(WRITER);
        let written = upsert(&store, &principal.account, &rows, until.into()).await;
        let mut written = written.into_iter();
        let mut has_rows_left = false;
        let mut outcome = Outcome::default();
        for (index, refused) in refused.into_iter().enumerate() {
            let result = match refused {
                Some(errors) => Err(errors),
                None => written.next().unwrap_or(Err(RowError::Unavailable)).map_err(|error| {
                    if let RowError::Failed { cause } = &error {
                        log.row_failure.get_or_insert_with(|| cause.clone());
                    }
                    has_rows_left |=
                        matches!(error, RowError::Failed { .. } | RowError::Unavailable);
                    error.to_string()
                }),
            };
            let (count, status, id, error) = match result {
                Ok(Applied { created: true, id, .. }) => {
                    (&mut outcome.created, "created", Some(id.to_string()), None)
                }
                Ok(Applied { id, .. }) => {
                    (&mut outcome.updated, "updated", Some(id.to_string()), None)
                }
                Err(error) => (&mut outcome.errors, "error", None, Some(error)),
            };
            *count += 1;
            outcome.results.push(Line { index, status, id, error });
        }
        log.items = outcome.created + outcome.updated;
        log.rejected = outcome.errors;
        let status = if outcome.errors == 0 { StatusCode::OK } else { StatusCode::MULTI_STATUS };
        let body = serde_json::to_string(&outcome).map_err(ApiError::internal)?;
        Ok(Reply::uncacheable(status, body).unfinished(has_rows_left))
    }
}

fn joined(errors: &[FieldError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn rows(json: &str) -> Result<Vec<&RawValue>, ApiError> {
    let wrong = |message: String| ApiError::invalid("", message);
    let other = |kind: &str| format!("Expected object, received {kind}");
    let members = body::members(json, |name| name == "products", other)?;
    if let Some(twice) = members.duplicate() {
        return Err(wrong(format!("{twice}: Duplicate key")));
    }
    let products = members.0.into_iter().next();
    let (_, products) = products.ok_or_else(|| wrong("products: Required".to_owned()))?;
    if type_name(products) != "array" {
        let message = format!("products: Expected array, received {}", type_name(products));
        return Err(wrong(message));
    }
    let rows = body::parsed(first_elements(products, MAX_ROWS + 1))?;
    match rows.len() {
        0 => Err(wrong("products must not be empty".to_owned())),
        1..=MAX_ROWS => Ok(rows),
        _ => Err(wrong(format!("Max {MAX_ROWS} products per request"))),
    }
}

#[cfg(feature = "openapi")]
pub(in crate::http) fn describe(schemas: &mut Schemas) -> Operation {
    let failures = Failures::of::<UpsertProducts>(schemas, PATH);
    let properties: Map<String, Value> =
        FIELDS.iter().map(|field| (field.name.to_owned(), row_field(field))).collect();
    let row = json!({
        "type": "object",
        "description": "Matched by `sku`, else by `externalId`, else created. Of a match only the fields present change, \
            and null clears. Unknown fields are ignored.",
        "properties": properties,
    });
    let body = json!({
        "type": "object",
        "required": ["products"],
        "properties": { "products": {
            "type": "array", "minItems": 1, "maxItems": MAX_ROWS, "items": row,
        } },
    });
    let sent = json!({ "products": [
        { "sku": "PLAN-PRO-MO", "price": 45.5 }, { "sku": "CABLE-2M", "name": "Cable", "price": 3.9 }, { "sku": "CABLE-3M" },
    ] });
    let some = json!({ "created": 1, "updated": 1, "errors": 1, "results": [
        { "index": 0, "status": "updated", "id": "01920e3a-7b1c-7def-8123-456789abcdef" },
        { "index": 1, "status": "created", "id": "01920e3a-7b1c-7def-8123-456789abcdf0" },
        { "index": 2, "status": "error", "error": "name: Required" },
    ] });
    let all = json!({ "created": 0, "updated": 1, "errors": 0, "results": [
        { "index": 0, "status": "updated", "id": "01920e3a-7b1c-7def-8123-456789abcdef" },
    ] });
    let outcome: Value = json!(schemas.of::<Outcome>());
    let reply = |description: &str, example: Value| written(description, &outcome, &example);
    let wrong = [
        ("empty", ApiError::invalid("", "products must not be empty")),
        ("tooMany", ApiError::invalid("", format!("Max {MAX_ROWS} products per request"))),
    ];
    let too_large = [("body", ApiError::TooLarge(MAX_BODY_BYTES))];
    let operation = operation(
        "upsertProducts",
        "Upsert products",
        "1 to 1,000 rows, each on its own. Rows of one product apply in their order.",
        &[],
        &failures,
        json!({
            "200": reply("Every row was written.", all),
            "207": reply("At least one row was not; `results` tells which and why, a line a row.", some),
            "400": failures.reply("The request as a whole is wrong.", &wrong),
            "413": or_of_gateway(
                failures.reply("The body is too large.", &too_large),
                "Where it is over 6 MB with its quotes, backslashes and line breaks counted twice, as Lambda does,",
            ),
        }),
    );
    let content = json!({ "application/json": { "schema": body, "example": sent } });
    idempotent(operation, &failures, &content)
}

#[cfg(feature = "openapi")]
/// A field of a row.
fn row_field(field: &Field) -> Value {
    let mut kind = vec![];
    let mut schema = match field.rule {
        Rule::Text(0, max) | Rule::Key(max) => {
            kind.push("string");
            json!({ "maxLength": max })
        }
        Rule::Text(min, max) => {
            kind.push("string");
            json!({ "minLength": min, "maxLength": max })
        }
        Rule::OneOf(texts) => json!({ "enum": texts() }),
        Rule::Currency => {
            kind.push("string");
            json!({ "description": "ISO 4217." })
        }
        Rule::Amount => {
            kind.push("number");
            json!({ "minimum": 0 })
        }
        Rule::Whole(min) => {
            kind.push("integer");
            json!({ "minimum": min })
        }
        Rule::Boolean => {
            kind.push("boolean");
            json!({})
        }
    };
    if field.is_nullable {
        kind.push("null");
        if let Some(Value::Array(texts)) = schema.get_mut("enum") {
            texts.push(Value::Null);
        }
    }
    if schema.get("enum").is_none() {
        schema["type"] = if let [only] = kind.as_slice() { json!(only) } else { json!(kind) };
    }
    match field.default {
        Some(Scalar::Text(text)) => schema["default"] = text.into(),
        Some(Scalar::Number(number)) => schema["default"] = json!(number),
        Some(Scalar::Boolean(value)) => schema["default"] = value.into(),
        None if !field.is_nullable => schema["description"] = "Required to create.".into(),
        None => {}
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_up_to_a_thousand_rows_in_products() {
        let told = |json: &str| {
            rows(json).map(|rows| rows.len()).map_err(|error| {
                let ApiError::Invalid(errors) = error else { panic!("{error:?}") };
                joined(&errors)
            })
        };
        let many = |count: usize| format!("{{\"products\":[{}]}}", vec!["{}"; count].join(","));
        assert_eq!((told(&many(1)), told(&many(MAX_ROWS))), (Ok(1), Ok(1_000)));
        assert_eq!(told(r#"{"a":1,"products":[1,[2]],"b":{}}"#), Ok(2));
        for (json, error) in [
            ("[]", "Expected object, received array"),
            ("{}", "products: Required"),
            (r#"{"products":[{}],"products":[{}]}"#, "products: Duplicate key"),
            (r#"{"products":{}}"#, "products: Expected array, received object"),
            (r#"{"products":null}"#, "products: Expected array, received null"),
            (r#"{"products":[]}"#, "products must not be empty"),
            (&many(MAX_ROWS + 1), "Max 1000 products per request"),
        ] {
            assert_eq!(told(json), Err(error.to_owned()), "{json:.60}");
        }
        let errors = ["a", "b"].map(|field| FieldError::new(field, "must be right"));
        assert_eq!(joined(&errors), "a: must be right; b: must be right");
    }
}
