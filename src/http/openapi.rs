//! The OpenAPI 3.1 description of the APIs, generated from the types, limits and error bodies that the
//! endpoints use. `openapi.yaml` is the output of `catalog openapi`.

use serde_json::{Value, json};

use super::{
    catalog,
    describe::{Operation, Schemas, headers},
    networks, offerings, partners, products,
};

#[must_use]
pub fn document() -> Value {
    let mut collected = Schemas::new();
    let schemas = &mut collected;
    let operations = [
        offerings::list::describe(schemas),
        offerings::get::describe(schemas),
        partners::list::describe(schemas),
        networks::list::describe_networks(schemas),
        networks::list::describe_countries(schemas),
        networks::products::describe(schemas),
        networks::lookup::describe(schemas),
        products::list::describe(schemas),
        products::upsert::describe(schemas),
        catalog::changes::describe(schemas),
        catalog::imports::describe_list(schemas),
        catalog::imports::describe_submit(schemas),
        catalog::imports::describe_one(schemas),
        catalog::exports::describe_request(schemas),
        catalog::exports::describe_one(schemas),
    ];
    let mut paths = json!({});
    for Operation { path, method, description } in operations {
        paths[path][method] = description;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "serverless-catalog",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Four published catalog APIs over one catalog, and its own",
            "description": "Product offerings, partner offerings, mobile networks with their bundles, and \
                products with a bulk upsert. Each API keeps the paths, names, key header and error bodies \
                that it was published with. Money is an exact decimal number in the currency's major \
                unit. Reads carry an `ETag` and answer `If-None-Match` with 304; bodies over 1 KB are \
                compressed for clients that accept gzip. Every reply has an `X-Request-Id`, and names in \
                `Vary` the header that carried the key. A key may have limits a minute; what is over them is a \
                429 with `Retry-After`, and every reply to such a key tells in `X-RateLimit-*` what is left.",
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "servers": [{ "url": "/", "description": "Where this document is served from" }],
        "tags": [
            { "name": "Offerings", "description": "What is on sale: filters, promotional prices, coverage" },
            { "name": "Partners", "description": "What an account offers its partners" },
            { "name": "Networks", "description": "Mobile networks and what tops them up" },
            { "name": "Products", "description": "Products and their bulk upsert" },
            { "name": "Catalog", "description": "The catalog's own API: what changed, imports, exports" },
        ],
        "paths": paths,
        "components": {
            "schemas": collected.finish(),
            "headers": headers(),
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
