//! The HTTP layer: turns an HTTP request into a call of the domain, and its result into a response in the
//! dialect of the caller.
//!
//! | File | |
//! |---|---|
//! | `adapter` | the HTTP adapter, for every request: path, method, key, endpoint, response, log line |
//! | `request` | an API Gateway request as endpoints see it |
//! | `params` | query strings: parameters with their types, spellings of arrays, errors by field |
//! | `auth` | authentication: the cached record of a key, and its checks |
//! | `limits` | the limits of a key: admission, charges, reports |
//! | `error` | the errors of a request, independent of any dialect |
//! | `dialect` | the dialect of a path; its error bodies and its API key header |
//! | `body` | JSON bodies: media type and size |
//! | `idempotency` | requests with an idempotency key |
//! | `reply` | `ETag`, conditional requests, gzip, `HEAD` |
//! | `response` | responses as API Gateway expects them |
//! | `offerings`, `partners`, `networks`, `products` | the four dialects, one file per endpoint |
//! | `catalog` | the catalog's own API, one file per endpoint |
//! | `problem` | error bodies as problem documents |
//! | `openapi`, `describe` | the OpenAPI document, and its building blocks (feature `openapi`) |
//! | `messages` | messages that several dialects share |
//!
//! # Rules for every endpoint
//! The body of a 5xx is constant; the cause is logged. No key, promo code or body is ever logged. A request
//! ends before the function's deadline, either with an answer or with 503 and `Retry-After`.

mod adapter;
mod auth;
mod body;
mod catalog;
#[cfg(feature = "openapi")]
mod describe;
mod dialect;
mod error;
#[cfg(test)]
mod fuzz;
mod idempotency;
mod limits;
mod messages;
mod networks;
mod offerings;
#[cfg(feature = "openapi")]
pub mod openapi;
mod params;
mod partners;
mod problem;
mod products;
mod reply;
mod request;
mod response;

pub use adapter::{Call, Endpoint, HttpAdapter, Methods, RequestLog};
pub use auth::Authenticator;
pub use catalog::{ListChanges, ManageExports, ManageImports};
pub use dialect::Dialect;
pub use error::{Absent, ApiError, Excess};
pub use networks::{ListNetworkProducts, ListNetworks, LookupNetworkProducts};
pub use offerings::{GetOffering, ListOfferings};
pub use partners::ListPartnerOfferings;
pub use products::{ListProducts, UpsertProducts};
pub use reply::Reply;
pub use request::ApiRequest;
pub use response::{GatewayResponse, ResponseBody};
