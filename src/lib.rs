//! A product catalog for telecom sellers on AWS Lambda and DynamoDB: published catalog APIs over
//! one set of tables, one small binary per endpoint.
//!
//! # The map of this house
//!
//! Dependencies point inward: `bin → lambda → http, queue → domain ← store`. Of `store` the edges know its type
//! and its error, nothing of `DynamoDB`.
//!
//! | Room | What lives there |
//! |---|---|
//! | [`account`], [`money`], [`geography`], [`cost`], [`write_error`] | shared types: whose data, how much, where, at what cost, and why a write was not stored |
//! | [`order`] | the total order of writes |
//! | [`clock`], [`retry`] | what time it is; how long to wait and to try: the one retry policy |
//! | [`access`] | API keys: their format, what they permit, why one is refused |
//! | [`offerings`] | the product offering, its filters, the query plan, paging, promotions |
//! | [`partners`] | the partner offering |
//! | [`networks`] | mobile networks, their bundles, exchange rates |
//! | [`products`] | the product, and the bulk upsert that merges |
//! | [`imports`] | import records: parsing, validation, the incremental import, and its jobs |
//! | [`source`] | import files and streams: NDJSON, JSON arrays and CSV, plain, in gzip or Zstandard |
//! | [`json`] | JSON read with care |
//! | [`cursor`] | the opaque page token |
//! | [`http`] | the edge: query strings, errors in a dialect, `ETag`, gzip, the request log |
//! | [`queue`] | the queue's edge: message shapes, continuations, partial batch responses |
//! | [`objects`] | S3: objects to import, reports |
//! | [`store`] | DynamoDB: one narrow implementation per access pattern |
//! | [`lambda`] | wiring: settings from the environment, the service a Lambda runs |
//! | [`telemetry`], [`xray`] | logs and metrics; spans of calls to the database |
//! | [`text`] | small vocabulary types over text |
//!
//! The domain rooms know neither AWS nor HTTP; [`http`] and [`store`] only translate. The binaries
//! in `src/bin` wire and run. The operator's tool `catalog` lives in its own package, `cli/`.

pub mod access;
pub mod account;
pub mod clock;
pub mod cost;
pub mod cursor;
pub mod geography;
pub mod http;
pub mod imports;
pub mod json;
pub mod lambda;
pub mod money;
pub mod networks;
pub mod objects;
pub mod offerings;
pub mod order;
pub mod partners;
pub mod products;
pub mod queue;
pub mod retry;
pub(crate) mod schema;
pub mod source;
pub mod store;
pub mod telemetry;
pub mod text;
pub mod write_error;
pub mod xray;
