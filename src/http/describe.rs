//! The building blocks with which endpoints describe themselves in the OpenAPI document.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{ApiError, Dialect, Endpoint, Excess, networks, partners, problem, products};
use crate::{
    access::{KeyRejection, LimitName, PerMinute, Permission, Standing},
    idempotency::IdempotencyKey,
    text::FieldError,
};

/// The schemas of replies, collected by name.
pub(super) struct Schemas {
    generator: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
            settings.meta_schema = None;
            settings.definitions_path = "/components/schemas".into();
        });
        Self { generator: settings.into_generator() }
    }

    pub(super) fn of<T: JsonSchema>(&mut self) -> Schema {
        self.generator.subschema_for::<T>()
    }

    pub(super) fn finish(mut self) -> Map<String, Value> {
        let mut schemas = self.generator.take_definitions(true);
        schemas.values_mut().for_each(tidy);
        schemas
    }
}

/// Optional members are omitted and never null, and Rust's names of number formats mean nothing to clients.
fn tidy(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    let formats = ["uint", "uint8", "uint16", "uint32", "uint64"];
    if members.get("format").and_then(Value::as_str).is_some_and(|format| formats.contains(&format))
    {
        members.remove("format");
    }
    let required: Vec<String> = members
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(|name| name.as_str().map(ToOwned::to_owned)).collect())
        .unwrap_or_default();
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        for (name, property) in properties {
            if !required.contains(name) {
                never_null(property);
            }
        }
    }
    for value in members.values_mut() {
        match value {
            Value::Array(values) => values.iter_mut().for_each(tidy),
            value => tidy(value),
        }
    }
}

fn never_null(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            members.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = members.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(any)) = members.get_mut("anyOf") {
        any.retain(|one| one.get("type").is_none_or(|kind| kind != "null"));
        if let [Value::Object(only)] = any.as_slice() {
            let only = only.clone();
            members.remove("anyOf");
            // A description next to the reference stays.
            for (name, value) in only {
                members.entry(name).or_insert(value);
            }
        }
    }
}

pub(super) fn headers() -> Value {
    json!({
        "RequestId": { "description": "The name of this request in logs and support tickets.", "schema": { "type": "string" } },
        "ETag": { "description": "The version of the data; send it back as `If-None-Match`.", "schema": { "type": "string" } },
        "CacheControl": { "description": "How long a client may keep the reply.", "schema": { "type": "string" } },
        "Allow": { "description": "The methods of the path.", "schema": { "type": "string" } },
        "RetryAfter": { "description": "Seconds to wait.", "schema": { "type": "integer" } },
        "WwwAuthenticate": { "description": "How to send the key.", "schema": { "type": "string" } },
        "IdempotencyReplayed": { "description": "`true`: this is the answer to an earlier request with the same `Idempotency-Key`.", "schema": { "type": "string", "enum": ["true"] } },
        "RateLimitLimit": { "description": "Of a key with limits: the limit a minute of its scarcest balance.", "schema": { "type": "integer" } },
        "RateLimitRemaining": { "description": "What is left of it, as far as this instance knows.", "schema": { "type": "integer", "minimum": 0 } },
        "RateLimitReset": { "description": "When it is full again or, if it is empty, positive again, in Unix seconds.", "schema": { "type": "integer" } },
        "Link": { "description": "Link to the next page, with `rel=\"next\"`.", "schema": { "type": "string" } },
    })
}

pub(super) fn header(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

/// The body of errors that API Gateway itself returns (developer guide, "Troubleshooting issues with HTTP
/// APIs").
fn gateway_schema() -> Value {
    json!({ "type": "object", "properties": { "message": { "type": "string" } }, "required": ["message"] })
}

/// A reply of the function, or of API Gateway if the function gave none.
pub(super) fn or_of_gateway(mut reply: Value, when: &str) -> Value {
    let description = reply["description"].as_str().unwrap_or_default();
    let description =
        format!("{description} {when} API Gateway answers in its own form: a `message` alone.");
    reply["description"] = description.into();
    let json = &mut reply["content"]["application/json"];
    if json.is_null() {
        *json = json!({ "schema": gateway_schema() });
    } else {
        let own = json["schema"].take();
        json["schema"] = json!({ "anyOf": [own, gateway_schema()] });
    }
    reply
}

/// An empty balance, for examples.
const EMPTY: Standing = Standing {
    limit_name: LimitName::Reads,
    limit: PerMinute::new(600).unwrap(),
    remaining: 0,
    is_empty: true,
    reset: 1_768_473_003,
    wait: 3,
};

impl Dialect {
    fn tag(self) -> &'static str {
        match self {
            Self::Offerings => "Offerings",
            Self::Partners => "Partners",
            Self::Networks => "Networks",
            Self::Products => "Products",
            Self::Catalog => "Catalog",
        }
    }

    fn security_scheme(self) -> &'static str {
        match self {
            Self::Offerings => "ApiKeyHeader",
            Self::Partners | Self::Networks | Self::Products | Self::Catalog => "BearerKey",
        }
    }

    fn error_schema(self, schemas: &mut Schemas) -> Schema {
        match self {
            Self::Offerings | Self::Catalog => schemas.of::<problem::Problem<'_>>(),
            Self::Partners => schemas.of::<partners::errors::Errors<'_>>(),
            Self::Networks => schemas.of::<networks::envelope::Failure<'_>>(),
            Self::Products => schemas.of::<products::errors::Failure>(),
        }
    }
}

/// An endpoint's description.
pub(super) struct Operation {
    pub(super) path: &'static str,
    pub(super) method: &'static str,
    pub(super) description: Value,
}

/// The errors of an operation, each with the body that its endpoint returns.
pub(super) struct Failures {
    dialect: Dialect,
    permission: Permission,
    path: &'static str,
    /// The path of a request, if it differs from `path`.
    instance: &'static str,
    /// The methods of the path.
    allow: &'static str,
    schema: Value,
}

impl Failures {
    /// The errors of an endpoint at one of its paths.
    pub(super) fn of<E: Endpoint>(schemas: &mut Schemas, path: &'static str) -> Self {
        let (dialect, permission) = (E::DIALECT, E::PERMISSION);
        let schema = dialect.error_schema(schemas).into();
        let methods = E::PATHS.iter().find(|(served, _)| *served == path);
        let allow = methods.map_or("", |(_, methods)| methods.allow);
        Self { dialect, permission, path, instance: path, allow, schema }
    }

    /// The same errors, for a request with this path.
    pub(super) fn at(self, instance: &'static str) -> Self {
        Self { instance, ..self }
    }

    pub(super) fn reply(&self, description: &str, errors: &[(&str, ApiError)]) -> Value {
        let request_id = "req_01J9ZC6YQ2";
        let content_type = self.dialect.error_media_type();
        let example = |error: &ApiError| {
            let (path, permission) = (self.instance, self.permission);
            let body = self.dialect.error_body(error, path, request_id, permission);
            let mut body = serde_json::from_str(&body).unwrap_or(Value::Null);
            if let Some(time) = body.pointer_mut("/meta/timestamp") {
                // A constant, so that the description does not depend on the time.
                *time = "2026-01-15T10:30:00.000Z".into();
            }
            json!({ "value": body })
        };
        let examples: Map<String, Value> =
            errors.iter().map(|(name, error)| ((*name).to_owned(), example(error))).collect();
        let mut headers = Map::from_iter([("X-Request-Id".to_owned(), header("RequestId"))]);
        match errors.first().map(|(_, error)| error.status()) {
            Some(401) => headers.insert("WWW-Authenticate".to_owned(), header("WwwAuthenticate")),
            Some(405) => headers.insert("Allow".to_owned(), header("Allow")),
            Some(409 | 429 | 503) => headers.insert("Retry-After".to_owned(), header("RetryAfter")),
            _ => None,
        };
        json!({
            "description": description,
            "headers": headers,
            "content": { content_type: { "schema": self.schema, "examples": examples } },
        })
    }

    /// The errors of every operation.
    fn common(&self) -> Map<String, Value> {
        let rejected = ApiError::KeyRejected;
        let unauthorized = [
            ("missing", rejected(KeyRejection::Malformed)),
            ("unknown", rejected(KeyRejection::Unknown)),
            ("revoked", rejected(KeyRejection::Revoked)),
            ("expired", rejected(KeyRejection::Expired)),
        ];
        let forbidden = [
            ("permission", rejected(KeyRejection::PermissionLacking)),
            ("address", rejected(KeyRejection::IpNotAllowed)),
        ];
        let replies = [
            ("401", "There is no key, or it is invalid.", &unauthorized[..]),
            ("403", "The key may not do this.", &forbidden),
            ("405", "Another method.", &[("method", ApiError::MethodNotAllowed(self.allow))]),
            (
                "429",
                "The key is over one of its limits, or too many unknown keys were tried.",
                &[
                    ("limit", ApiError::TooMany(Excess::Limit(EMPTY))),
                    ("unknownKeys", ApiError::TooMany(Excess::UnknownKeys)),
                ],
            ),
            (
                "500",
                "An internal error; the log has its cause.",
                &[("internal", ApiError::internal(""))],
            ),
            (
                "503",
                "The database is busy or unavailable.",
                &[("busy", ApiError::Unavailable("".into()))],
            ),
        ];
        let own_form = |status: &str| match status {
            "429" => Some("Where the rate of the stage or the route is exceeded,"),
            "500" | "503" => Some("Where the function crashed, was throttled or took too long,"),
            _ => None,
        };
        replies
            .into_iter()
            .map(|(status, description, errors)| {
                let reply = self.reply(description, errors);
                let reply = match own_form(status) {
                    Some(when) => or_of_gateway(reply, when),
                    None => reply,
                };
                (status.to_owned(), reply)
            })
            .collect()
    }

    pub(super) fn invalid(&self, field: &str, message: &str) -> Value {
        let error = ApiError::Invalid(vec![FieldError::new(field, message)]);
        self.reply("A parameter is wrong; the body names it.", &[("field", error)])
    }
}

pub(super) fn operation(
    name: &str,
    summary: &str,
    description: &str,
    parameters: &[Value],
    failures: &Failures,
    replies: Value,
) -> Operation {
    let mut responses = failures.common();
    if let Value::Object(replies) = replies {
        responses.extend(replies);
    }
    for (status, reply) in &mut responses {
        // These come before the limits are looked at.
        if !["401", "405"].contains(&status.as_str()) {
            for name in ["Limit", "Remaining", "Reset"] {
                reply["headers"][format!("X-RateLimit-{name}")] =
                    header(&format!("RateLimit{name}"));
            }
        }
    }
    let scheme = failures.dialect.security_scheme();
    let permission = failures.permission;
    let description = json!({
        "operationId": name,
        "tags": [failures.dialect.tag()],
        "summary": summary,
        "description": format!("{description}\n\nPermission: `{permission}`."),
        "security": [{ scheme: [] }],
        "parameters": parameters,
        "responses": responses,
    });
    Operation { path: failures.path, method: "get", description }
}

/// The same operation as a `POST` with this content, which may have an idempotency key.
pub(super) fn idempotent(
    mut operation: Operation,
    failures: &Failures,
    content: &Value,
) -> Operation {
    operation.method = "post";
    let description = &mut operation.description;
    description["requestBody"] = json!({ "required": true, "content": content });
    if let Some(parameters) = description["parameters"].as_array_mut() {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "schema": {
                "type": "string", "minLength": 1, "maxLength": IdempotencyKey::MAX_LENGTH,
                "pattern": "^[!-~]+$",
            },
            "description": "A name for this request, such as a UUID. Sent again with the same name within 24 hours, the same \
                request gets the first answer, with `Idempotency-Replayed: true`, and does nothing. Answers with 5xx, 429 or \
                rows to retry are not kept: then the same request does what is left.",
        }));
    }
    let responses = &mut description["responses"];
    let under_way = ApiError::UnderWay(Duration::ZERO);
    responses["409"] = failures
        .reply("A request with this `Idempotency-Key` is under way.", &[("underWay", under_way)]);
    responses["422"] = failures.reply(
        "Another request was sent with this `Idempotency-Key`.",
        &[("reused", ApiError::IdempotencyKeyOfAnotherRequest)],
    );
    for status in ["200", "201", "202", "207"] {
        let headers = responses.get_mut(status).and_then(|reply| reply["headers"].as_object_mut());
        if let Some(headers) = headers {
            headers.insert("Idempotency-Replayed".to_owned(), header("IdempotencyReplayed"));
        }
    }
    operation
}

/// The reply to a write.
pub(super) fn written(description: &str, schema: &Value, example: &Value) -> Value {
    json!({
        "description": description,
        "headers": { "X-Request-Id": header("RequestId") },
        "content": { "application/json": { "schema": schema, "example": example } },
    })
}

/// The path parameter with the id of a job.
pub(super) fn job_parameter(name: &str, description: &str) -> Value {
    json!({
        "name": name, "in": "path", "required": true,
        "schema": { "type": "string", "pattern": "^[0-9a-f]{32}$" }, "description": description,
    })
}

/// The replies of a read: 200 with an `ETag`, or 304.
pub(super) fn read(description: &str, schema: impl Into<Value>, example: &Value) -> Value {
    let schema: Value = schema.into();
    let headers = json!({
        "X-Request-Id": header("RequestId"), "ETag": header("ETag"), "Cache-Control": header("CacheControl"),
    });
    json!({
        "200": {
            "description": description,
            "headers": headers,
            "content": { "application/json": { "schema": schema, "example": example } },
        },
        "304": {
            "description": "The data is that of the `ETag` sent as `If-None-Match`.",
            "headers": headers,
        },
    })
}

pub(super) fn with(mut replies: Value, status: &str, reply: Value) -> Value {
    replies[status] = reply;
    replies
}
