//! The OpenAPI 3.1 description of the four APIs, made of the very types, limits and error bodies that
//! the endpoints use. `openapi.yaml` is what `catalog openapi` prints of it.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    Absent, ApiError, Dialect, body::MAX_BODY_BYTES, lookup, networks, offerings,
    params::MAX_VALUES, partners, problem, products,
};
use crate::{
    access::{Permission, Rejection},
    geography::{Country, Region},
    offerings::{CatalogId, Category, CustomerType, Offering, OfferingId, ProductType, PromoCode},
    partners::PartnerOffering,
    products::{FIELDS, Field, Product, Rule, Scalar},
    text::FieldError,
};

/// The whole description.
#[must_use]
pub fn document() -> Value {
    let mut schemas = Schemas::new();
    let paths = json!({
        offerings::LIST: { "get": list_offerings(&mut schemas) },
        offerings::ONE: { "get": get_offering(&mut schemas) },
        partners::LIST: { "get": list_partner_offerings(&mut schemas) },
        networks::NETWORKS: { "get": list_networks(&mut schemas) },
        networks::COUNTRIES: { "get": list_countries(&mut schemas) },
        networks::PRODUCTS: { "get": list_network_products(&mut schemas) },
        lookup::LOOKUP: { "get": lookup_network_products(&mut schemas) },
        products::PATH: {
            "get": list_products(&mut schemas),
            "post": upsert_products(&mut schemas),
        },
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "serverless-catalog",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Four published catalog APIs over one catalog",
            "description": "Product offerings, partner offerings, mobile networks with their bundles, and \
                products with a bulk upsert. Each API keeps the paths, names, key header and error bodies \
                that it was published with. Money is an exact decimal number in the currency's major \
                unit. Reads carry an `ETag` and answer `If-None-Match` with 304; bodies over 1 KB are \
                compressed for clients that accept gzip. Every reply has an `X-Request-Id`, and names in \
                `Vary` the header that carried the key.",
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "servers": [{ "url": "/", "description": "Where this document is served from" }],
        "tags": [
            { "name": "Offerings", "description": "What is on sale: filters, promotional prices, coverage" },
            { "name": "Partners", "description": "What an account offers its partners" },
            { "name": "Networks", "description": "Mobile networks and what tops them up" },
            { "name": "Products", "description": "Products and their bulk upsert" },
        ],
        "paths": paths,
        "components": {
            "schemas": schemas.finish(),
            "headers": headers(),
            "responses": {
                "TooManyRequests": of_gateway(
                    "The stage's or the route's rate is exceeded. API Gateway answers this itself, in its own form.",
                    "Too Many Requests",
                ),
            },
            "securitySchemes": {
                "ApiKeyHeader": {
                    "type": "apiKey", "in": "header", "name": "X-Api-Key",
                    "description": "An API key with the permission of the operation.",
                },
                "BearerKey": {
                    "type": "http", "scheme": "bearer",
                    "description": "An API key with the permission of the operation, as `Authorization: Bearer <key>`.",
                },
            },
        },
    })
}

/// The schemas of replies, collected by name.
struct Schemas {
    generator: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
            settings.meta_schema = None;
            settings.definitions_path = "/components/schemas".into();
        });
        Self { generator: settings.into_generator() }
    }

    fn of<T: JsonSchema>(&mut self) -> Schema {
        self.generator.subschema_for::<T>()
    }

    fn finish(mut self) -> Map<String, Value> {
        let mut schemas = self.generator.take_definitions(true);
        schemas.values_mut().for_each(tidy);
        schemas
    }
}

/// A member that is left out where there is nothing to tell is never null; and Rust's own names of
/// number formats say nothing to others.
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
            // A description beside the reference stays.
            for (name, value) in only {
                members.entry(name).or_insert(value);
            }
        }
    }
}

fn headers() -> Value {
    json!({
        "RequestId": { "description": "The name of this request in logs and support tickets.", "schema": { "type": "string" } },
        "ETag": { "description": "The version of the data; send it back as `If-None-Match`.", "schema": { "type": "string" } },
        "CacheControl": { "description": "How long a client may keep the reply.", "schema": { "type": "string" } },
        "Allow": { "description": "The methods of the path.", "schema": { "type": "string" } },
        "RetryAfter": { "description": "Seconds to wait.", "schema": { "type": "integer" } },
        "WwwAuthenticate": { "description": "How to send the key.", "schema": { "type": "string" } },
        "Link": { "description": "Where the list goes on, with `rel=\"next\"`.", "schema": { "type": "string" } },
    })
}

fn header(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

/// What API Gateway answers itself: "Troubleshooting issues with HTTP APIs" in its developer guide.
fn gateway_schema() -> Value {
    json!({ "type": "object", "properties": { "message": { "type": "string" } }, "required": ["message"] })
}

fn of_gateway(description: &str, message: &str) -> Value {
    json!({
        "description": description,
        "content": { "application/json": {
            "schema": gateway_schema(), "example": { "message": message },
        } },
    })
}

/// A reply of the function, or of API Gateway where the function gave none.
fn or_of_gateway(mut reply: Value, when: &str) -> Value {
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

/// The errors an operation may answer with, each with the body its endpoint makes of it.
struct Failures {
    dialect: Dialect,
    permission: Permission,
    path: &'static str,
    schema: Value,
}

impl Failures {
    fn of<T: JsonSchema>(
        schemas: &mut Schemas,
        dialect: Dialect,
        permission: Permission,
        path: &'static str,
    ) -> Self {
        Self { dialect, permission, path, schema: json!(schemas.of::<T>()) }
    }

    fn reply(&self, description: &str, errors: &[(&str, ApiError)]) -> Value {
        let request_id = "req_01J9ZC6YQ2";
        let content_type = match self.dialect {
            Dialect::Offerings => "application/problem+json",
            Dialect::Partners | Dialect::Networks | Dialect::Products => "application/json",
        };
        let example = |error: &ApiError| {
            let body = match self.dialect {
                Dialect::Offerings => problem::body(error, self.path),
                Dialect::Partners => partners::error_body(error, self.permission),
                Dialect::Networks => networks::error_body(error, request_id, self.permission),
                Dialect::Products => products::error_body(error),
            };
            let mut body = serde_json::from_str(&body).unwrap_or(Value::Null);
            if let Some(time) = body.pointer_mut("/meta/timestamp") {
                // The description does not change with the time it is made.
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
            Some(503) => headers.insert("Retry-After".to_owned(), header("RetryAfter")),
            _ => None,
        };
        json!({
            "description": description,
            "headers": headers,
            "content": { content_type: { "schema": self.schema, "examples": examples } },
        })
    }

    /// What every operation may answer.
    fn common(&self) -> Map<String, Value> {
        let rejected = ApiError::NotAdmitted;
        let methods = if self.path == products::PATH { products::ALLOW } else { "GET, HEAD" };
        let unauthorized = [
            ("missing", rejected(Rejection::Malformed)),
            ("unknown", rejected(Rejection::Unknown)),
            ("revoked", rejected(Rejection::Revoked)),
            ("expired", rejected(Rejection::Expired)),
        ];
        let forbidden = [
            ("permission", rejected(Rejection::PermissionLacking)),
            ("address", rejected(Rejection::IpNotAllowed)),
        ];
        let replies = [
            ("401", "There is no key, or it is not good.", &unauthorized[..]),
            ("403", "The key may not do this.", &forbidden),
            ("405", "Another method.", &[("method", ApiError::MethodNotAllowed(methods))]),
            (
                "500",
                "A mistake of ours; the log has its cause.",
                &[("internal", ApiError::Internal(String::new()))],
            ),
            (
                "503",
                "The database is busy or away.",
                &[("busy", ApiError::Unavailable(String::new()))],
            ),
        ];
        let mut common: Map<String, Value> = replies
            .into_iter()
            .map(|(status, description, errors)| {
                let reply = self.reply(description, errors);
                let silent = "Where the function crashed, was throttled or took too long,";
                let reply = if status >= "500" { or_of_gateway(reply, silent) } else { reply };
                (status.to_owned(), reply)
            })
            .collect();
        common
            .insert("429".to_owned(), json!({ "$ref": "#/components/responses/TooManyRequests" }));
        common
    }

    fn invalid(&self, field: &str, message: &str) -> Value {
        let error = ApiError::Invalid(vec![FieldError::new(field, message)]);
        self.reply("A parameter is wrong; the body names it.", &[("field", error)])
    }
}

fn operation(
    name: &str,
    texts: (&str, &str, &str),
    parameters: &[Value],
    failures: &Failures,
    replies: Value,
) -> Value {
    let (tag, summary, description) = texts;
    let mut responses = failures.common();
    if let Value::Object(replies) = replies {
        responses.extend(replies);
    }
    let scheme = match failures.dialect {
        Dialect::Offerings => "ApiKeyHeader",
        Dialect::Partners | Dialect::Networks | Dialect::Products => "BearerKey",
    };
    let permission = failures.permission;
    json!({
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "description": format!("{description}\n\nPermission: `{permission}`."),
        "security": [{ scheme: [] }],
        "parameters": parameters,
        "responses": responses,
    })
}

/// A reply that carries an `ETag`, and the 304 in its place.
fn read(description: &str, schema: impl Into<Value>, example: &Value) -> Value {
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

fn with(mut replies: Value, status: &str, reply: Value) -> Value {
    replies[status] = reply;
    replies
}

fn query(name: &str, schema: impl Into<Value>, description: &str) -> Value {
    let schema: Value = schema.into();
    json!({ "name": name, "in": "query", "required": false, "schema": schema, "description": description })
}

/// An array in a query, which may come repeated, bracketed or with commas.
fn array(name: &str, items: impl Into<Value>, description: &str) -> Value {
    let items: Value = items.into();
    json!({
        "name": name, "in": "query", "required": false, "style": "form", "explode": true,
        "schema": { "type": "array", "items": items, "minItems": 1, "maxItems": MAX_VALUES },
        "description": format!("{description} Repeated (`{name}=A&{name}=B`), bracketed (`{name}[]=A`) or with commas (`{name}=A,B`)."),
    })
}

fn limit(description: &str) -> Value {
    query("limit", json!({ "type": "integer", "minimum": 1, "maximum": 1_000 }), description)
}

fn cursor() -> Value {
    query(
        "cursor",
        json!({ "type": "string", "minLength": 1, "maxLength": 512, "pattern": "^[A-Za-z0-9_-]+$" }),
        "The `nextCursor` of the page before, with the same filters. Opaque.",
    )
}

fn promo_code(schemas: &mut Schemas) -> Value {
    query(
        "promoCode",
        json!(schemas.of::<PromoCode>()),
        "Prices with this promotion. An unknown, expired or not yet valid code is a 400.",
    )
}

/// A list of offerings (Connect).
fn list_offerings(schemas: &mut Schemas) -> Value {
    let failures = offering_failures(schemas, offerings::LIST);
    let country: Value = json!(schemas.of::<Country>());
    let parameters = [
        array("types", schemas.of::<ProductType>(), "Product types."),
        array(
            "categories",
            schemas.of::<Category>(),
            "Categories, with or without `PRODUCT_CATEGORY_`.",
        ),
        query(
            "customerType",
            json!(schemas.of::<CustomerType>()),
            "Without it: every customer type the key may see.",
        ),
        query(
            "productCatalogId",
            json!(schemas.of::<CatalogId>()),
            "Only offerings of this catalog.",
        ),
        query(
            "includeArchived",
            json!({ "type": "boolean", "default": false }),
            "Archived offerings, too.",
        ),
        promo_code(schemas),
        array(
            "countries",
            country,
            "ISO 3166-1 alpha-2: offerings that cover any of them, by name or by region.",
        ),
        array(
            "regions",
            schemas.of::<Region>(),
            "Offerings that cover any of them, or a region that holds it.",
        ),
        limit("The most offerings of a page; 100 without it."),
        cursor(),
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
                    "description": "Where the list goes on; left out on the last page.",
                } },
            },
        },
    });
    let example =
        json!({ "items": [offering_example()], "pagination": { "nextCursor": "AQ3xT0b1v5Kk" } });
    operation(
        "listOfferings",
        (
            "Offerings",
            "List product offerings",
            "Filters combine with AND, the values of one with OR. A page also ends before a reply \
            would pass 5.5 MB, when a selective filter has read its budget, and when 200 of the ranges it comes to (one for \
            each customer type, category, status and type asked for) are empty; it then carries a `nextCursor` even if it \
            is short or empty.",
        ),
        &parameters,
        &failures,
        with(
            read("A page of offerings.", page, &example),
            "400",
            failures.invalid("limit", "must be a whole number from 1 to 1000"),
        ),
    )
}

fn get_offering(schemas: &mut Schemas) -> Value {
    let failures = offering_failures(schemas, "/product-offerings/none");
    let mut id = json!(schemas.of::<OfferingId>());
    id["pattern"] = "^[A-Za-z0-9][A-Za-z0-9_:.-]*$".into();
    let parameters = [
        json!({ "name": "productOfferingId", "in": "path", "required": true, "schema": id,
            "description": "The identity of the offering." , "example": "esim-pkg-africa-1gb-7d"}),
        promo_code(schemas),
    ];
    let replies =
        read("The offering, archived or not.", schemas.of::<Offering>(), &offering_example());
    let replies =
        with(replies, "400", failures.invalid("promoCode", "is unknown or not valid now"));
    let absent = [("offering", ApiError::NotFound(Absent::Offering))];
    operation(
        "getOffering",
        ("Offerings", "Get one product offering", "One offering by its identity."),
        &parameters,
        &failures,
        with(replies, "404", failures.reply("There is none, or the key may not see it.", &absent)),
    )
}

fn offering_failures(schemas: &mut Schemas, path: &'static str) -> Failures {
    Failures::of::<problem::Problem<'_>>(
        schemas,
        Dialect::Offerings,
        Permission::OfferingsRead,
        path,
    )
}

fn list_partner_offerings(schemas: &mut Schemas) -> Value {
    let permission = Permission::PartnersRead;
    let failures = Failures::of::<partners::Errors<'_>>(
        schemas,
        Dialect::Partners,
        permission,
        partners::LIST,
    );
    let catalog = json!({
        "type": "object",
        "required": ["catalog"],
        "properties": { "catalog": { "type": "array", "items": schemas.of::<PartnerOffering>() } },
    });
    let example = json!({ "catalog": [{
        "offering": { "name": "Reseller Essentials", "type": "package", "quantity": 1 },
        "entitlements": { "email_sends_max_monthly": 50_000, "ip_count": 1, "teammates_max_total": 1, "users_max_total": 10 },
    }] });
    operation(
        "listPartnerOfferings",
        (
            "Partners",
            "List partner offerings",
            "Packages first, then addons, each by name. The list changes rarely: a client may keep it for five minutes.",
        ),
        &[],
        &failures,
        read("All of them.", catalog, &example),
    )
}

fn network_failures(schemas: &mut Schemas, path: &'static str) -> Failures {
    Failures::of::<networks::Failure<'_>>(schemas, Dialect::Networks, Permission::AirtimeRead, path)
}

/// A successful reply of the networks dialect.
fn envelope(schemas: &mut Schemas, data: impl Into<Value>) -> Value {
    let data: Value = data.into();
    json!({
        "type": "object",
        "required": ["success", "data", "meta"],
        "properties": { "success": { "type": "boolean", "const": true }, "data": data, "meta": schemas.of::<networks::Meta<'_>>() },
    })
}

fn in_envelope(data: impl Into<Value>) -> Value {
    let data: Value = data.into();
    let meta = json!({ "request_id": "req_01J9ZC6YQ2", "timestamp": "2026-01-15T10:30:00.000Z" });
    json!({ "success": true, "data": data, "meta": meta })
}

fn list_networks(schemas: &mut Schemas) -> Value {
    let failures = network_failures(schemas, networks::NETWORKS);
    let list = json!({ "type": "array", "items": schemas.of::<crate::networks::ListedNetwork>() });
    let list = envelope(schemas, list);
    let example = in_envelope(json!([{
        "id": 390, "name": "MTN", "country": "Ghana", "country_code": "GH", "currency": "GHS",
        "logo_url": null, "product_count": 12, "supports_custom_airtime": true,
    }]));
    let country = query(
        "country_code",
        json!({ "type": "string", "pattern": "^[A-Za-z]{2}$", "example": "GH" }),
        "Two letters (ISO 3166-1 alpha-2). Those of no country give an empty list.",
    );
    operation(
        "listNetworks",
        ("Networks", "List mobile networks", "By country code, then by id."),
        &[country],
        &failures,
        with(
            read("The networks.", list, &example),
            "400",
            failures.invalid("country_code", "must be two letters"),
        ),
    )
}

fn list_countries(schemas: &mut Schemas) -> Value {
    let failures = network_failures(schemas, networks::COUNTRIES);
    let list = json!({ "type": "array", "items": schemas.of::<networks::CountryLine>() });
    let list = envelope(schemas, list);
    let example = in_envelope(json!([{
        "code": "GH", "name": "Ghana", "currency": "GHS", "network_count": 1,
        "networks": [{ "id": 390, "name": "MTN" }],
    }]));
    operation(
        "listCountries",
        (
            "Networks",
            "List countries with networks",
            "By country code, each with the names of its networks.",
        ),
        &[],
        &failures,
        read("The countries.", list, &example),
    )
}

fn network_products_example() -> Value {
    json!({
        "network": { "id": 390, "name": "MTN", "country": "Ghana", "country_code": "GH", "currency": "GHS" },
        "exchange_rate": { "source_currency": "USD", "destination_currency": "GHS", "rate": 12.35 },
        "products": {
            "custom_airtime": { "available": true, "min_amount_local": 1, "max_amount_local": 5_000, "local_currency": "GHS" },
            "fixed_bundles": [{
                "id": 390_101, "name": "1GB Data - 3 Days", "type": "DATA", "price_usd": 1.75,
                "local_value": "1GB Data - 3 Days", "local_currency": "GHS", "description": "1GB Data - 3 Days",
            }],
        },
        "sms_notification": { "available": true, "cost_usd": 0.1 },
    })
}

fn list_network_products(schemas: &mut Schemas) -> Value {
    let failures = network_failures(schemas, networks::PRODUCTS);
    let data = schemas.of::<networks::NetworkData<'_>>();
    let data = envelope(schemas, data);
    let example = in_envelope(network_products_example());
    let mut id = query(
        "network_id",
        json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX, "example": 390 }),
        "The identity of the network.",
    );
    id["required"] = true.into();
    let missing = [
        ("missing", ApiError::Required("network_id")),
        ("wrong", ApiError::invalid("network_id", "must be a positive integer")),
    ];
    let absent = [("network", ApiError::NotFound(Absent::Network))];
    let replies = read("What tops the network up.", data, &example);
    let replies =
        with(replies, "400", failures.reply("`network_id` is missing or wrong.", &missing));
    operation(
        "listNetworkProducts",
        (
            "Networks",
            "List the products of a network",
            "The exchange rate is from the wallet currency of the key; null where there is none.",
        ),
        &[id],
        &failures,
        with(replies, "404", failures.reply("The account has no such network.", &absent)),
    )
}

fn lookup_network_products(schemas: &mut Schemas) -> Value {
    let failures = network_failures(schemas, lookup::LOOKUP);
    let data: Value = schemas.of::<networks::NetworkData<'_>>().into();
    let number = json!({
        "type": "string", "pattern": "^\\+[1-9][0-9]{6,14}$", "description": "E.164.",
        "example": "+233541112259",
    });
    let with_number = json!({
        "allOf": [data, { "type": "object", "properties": { networks::PHONE_NUMBER: number } }],
    });
    let data = envelope(schemas, with_number);
    let mut found = json!({ networks::PHONE_NUMBER: "+233541112259" });
    if let (Value::Object(found), Value::Object(network)) = (&mut found, network_products_example())
    {
        found.extend(network);
    }
    let parameters = [
        query(
            networks::PHONE_NUMBER,
            number,
            "An international number. Its prefix tells the network it was first given to.",
        ),
        query(
            "network_id",
            json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX }),
            "The identity of the network, where the number was ported to another one.",
        ),
    ];
    let wrong = [
        ("missing", ApiError::Required(networks::PHONE_NUMBER)),
        ("noNumber", ApiError::invalid(networks::PHONE_NUMBER, lookup::NO_PHONE_NUMBER)),
        ("noNetwork", ApiError::NotFound(Absent::NetworkOfNumber)),
    ];
    let absent = [("network", ApiError::NotFound(Absent::Network))];
    let replies = read("What tops the number up.", data, &in_envelope(found));
    let replies = with(
        replies,
        "400",
        failures.reply(
            "A parameter is missing or wrong, or no network of the account has the prefix.",
            &wrong,
        ),
    );
    operation(
        "lookupNetworkProducts",
        (
            "Networks",
            "Look up the products of a phone number",
            "By the prefix of the number, or by `network_id`; at least one of the two.",
        ),
        &parameters,
        &failures,
        with(replies, "404", failures.reply("The account has no such network.", &absent)),
    )
}

fn product_failures(schemas: &mut Schemas, permission: Permission) -> Failures {
    Failures::of::<products::Failure>(schemas, Dialect::Products, permission, products::PATH)
}

fn product_example() -> Value {
    json!({
        "id": "01920e3a-7b1c-7def-8123-456789abcdef", "name": "Pro plan", "type": "SUBSCRIPTION", "sku": "PLAN-PRO-MO",
        "externalId": "price_1", "category": "Plans", "price": 45.5, "cost": null, "currency": "USD", "unit": "seat",
        "billingPeriod": "MONTHLY", "termMonths": 12, "stockQty": null, "reorderLevel": null,
        "description": "For teams.", "features": null, "active": true,
        "createdAt": "2026-01-15T10:30:00.000Z", "updatedAt": "2026-01-15T10:30:00.000Z",
    })
}

fn list_products(schemas: &mut Schemas) -> Value {
    let failures = product_failures(schemas, Permission::ProductsRead);
    let list = json!({
        "type": "object",
        "required": ["products"],
        "properties": {
            "products": { "type": "array", "items": schemas.of::<Product>() },
            "nextCursor": { "type": "string", "maxLength": 512, "description": "Where the list goes on, if it does." },
        },
    });
    let parameters = [
        query(
            "sku",
            json!({ "type": "string" }),
            "The product of exactly this sku, read consistently.",
        ),
        query(
            "category",
            json!({ "type": "string" }),
            "Exactly this category; letter case counts.",
        ),
        limit("The most products of a page; as many as fit without it."),
        cursor(),
    ];
    let mut replies =
        read("Products, newest first.", list, &json!({ "products": [product_example()] }));
    replies["200"]["headers"]["Link"] = header("Link");
    operation(
        "listProducts",
        ("Products", "List products", "Newest first."),
        &parameters,
        &failures,
        with(replies, "400", failures.invalid("limit", "must be a whole number from 1 to 1000")),
    )
}

fn upsert_products(schemas: &mut Schemas) -> Value {
    let failures = product_failures(schemas, Permission::ProductsWrite);
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
            "type": "array", "minItems": 1, "maxItems": products::MAX_ROWS, "items": row,
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
    let outcome: Value = json!(schemas.of::<products::Outcome>());
    let reply = |description: &str, example: Value| {
        json!({
            "description": description,
            "headers": { "X-Request-Id": header("RequestId") },
            "content": { "application/json": { "schema": outcome, "example": example } },
        })
    };
    let wrong = [
        ("empty", ApiError::invalid("", "products must not be empty")),
        (
            "tooMany",
            ApiError::invalid("", format!("Max {} products per request", products::MAX_ROWS)),
        ),
    ];
    let too_large = [("body", ApiError::TooLarge(MAX_BODY_BYTES))];
    let mut operation = operation(
        "upsertProducts",
        (
            "Products",
            "Upsert products",
            "1 to 1,000 rows, each on its own. Rows of one product apply in their order.",
        ),
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
    operation["requestBody"] = json!({
        "required": true,
        "content": { "application/json": { "schema": body, "example": sent } },
    });
    operation
}

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

fn offering_example() -> Value {
    json!({
        "productOfferingId": "esim-pkg-africa-1gb-7d", "status": "AVAILABLE", "customerType": "CONSUMER",
        "name": "Africa 1GB – 7 days",
        "price": {
            "currency": "USD", "priceType": "ONE_TIME", "grossPrice": 10.49, "discount": 0, "netPrice": 10.49,
            "taxIncluded": false,
        },
        "product": {
            "productId": "prd-esim-pkg-africa-1gb-7d", "type": "SUBSCRIPTION_ADDON", "category": "TRAVEL_ESIM_PACKAGE",
            "features": { "dataMb": 1_024, "validityDays": 7, "regions": ["AFRICA"], "activationType": "INSTANT" },
        },
        "metadata": {},
        "createdAt": "2023-05-05T09:08:11.659Z", "updatedAt": "2026-01-06T10:27:06.007Z",
    })
}
