//! A product catalog for telecom and SaaS resellers on AWS Lambda and DynamoDB: five APIs over one set of tables. Four of
//! them were published by other companies, whose paths, field names and errors they keep (product offerings, partner
//! offerings, networks with bundles, products); one is the catalog's own.
//!
//! # Project layout
//!
//! Dependencies point inward: `bin → lambda → http, queue, streams → domain ← store`. The adapters `http`, `queue` and
//! `streams` also use `store` directly and, except `streams`, `objects`. Of the adapters, only
//! `streams` knows a type of DynamoDB: the stream record. `http` also sends the message that requests an export through
//! `queue`.
//!
//! | Module | Contents |
//! |---|---|
//! | [`account`], [`money`], [`geography`], [`cost`], [`outcome`], [`cause`] | shared types: tenants, amounts, countries and regions, consumed capacity, what became of a record, and what caused an error |
//! | [`order`] | the total order of writes |
//! | [`clock`], [`retry`] | the clock; the retry policy: how long to wait between attempts, and when to give up |
//! | [`lock`] | locks an in-memory `Mutex`, even if it is poisoned |
//! | [`access`] | API keys: their format, what is stored of one, permissions and limits, and why one is rejected |
//! | [`idempotency`] | requests that do their work once, however often they are sent |
//! | [`offerings`] | the product offering, its filters, the query plan, paging, promotions |
//! | [`partners`] | the partner offering |
//! | [`networks`] | mobile networks, their bundles, exchange rates |
//! | [`products`] | the product, and the bulk upsert that merges rows into products |
//! | [`imports`] | import records: parsing, validation, the incremental import, and its jobs |
//! | [`changes`] | the journal: each change of an account's exported records, once |
//! | [`exports`] | exports as jobs, and the gzip file that several runs write |
//! | [`source`] | import files and byte streams: NDJSON, JSON arrays and CSV; plain, gzip or Zstandard |
//! | [`json`] | strict JSON parsing |
//! | [`document`] | the JSON text of a stored record, copied from items to replies without parsing |
//! | [`cursor`] | the opaque, encrypted page cursor |
//! | [`http`] | the HTTP adapter: query strings, errors in a dialect, `ETag`, gzip, the request log |
//! | [`queue`] | the SQS adapter: message shapes, continuations, partial batch responses |
//! | [`streams`] | DynamoDB Streams: the function that records changes, and their events |
//! | [`objects`] | S3: objects to import, reports, exports in parts, presigned URLs |
//! | [`store`] | DynamoDB: implements the traits that the domain declares; also builds the clients of all AWS services |
//! | [`lambda`] | wiring: settings from the environment, the service that a Lambda function runs |
//! | [`telemetry`], [`xray`] | logs and metrics; trace subsegments for database calls |
//! | [`text`] | string newtypes, enums with a fixed spelling, field errors |
//!
//! The domain modules use no AWS or HTTP crate: [`http`] translates requests, and [`store`] implements the domain's
//! traits with DynamoDB's conditional writes and transactions. The binaries in `src/bin` contain only wiring. The
//! operator's tool `catalog` has its own package, `cli/`.

pub mod access;
pub mod account;
pub mod cause;
pub mod changes;
pub mod clock;
pub mod cost;
pub mod cursor;
pub mod document;
pub mod exports;
#[cfg(test)]
mod fuzz;
pub mod geography;
pub mod http;
pub mod idempotency;
pub mod imports;
pub mod json;
pub mod lambda;
pub mod lock;
pub mod money;
pub mod networks;
pub mod objects;
pub mod offerings;
pub mod order;
pub mod outcome;
pub mod partners;
pub mod products;
pub mod queue;
pub mod retry;
pub(crate) mod schema;
#[cfg(test)]
mod scripted_service;
pub mod source;
pub mod store;
pub mod streams;
pub mod telemetry;
pub mod text;
pub mod xray;
