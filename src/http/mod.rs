//! The HTTP layer: turns an HTTP request into a call of the domain, and its result into a response in the
//! dialect of the caller.
//!
//! | File | |
//! |---|---|
//! | `edge` | the HTTP adapter, for every request: path, method, key, endpoint, response, log line |
//! | `request` | an API Gateway request as endpoints see it |
//! | `params` | query strings: spellings of arrays, errors by field |
//! | `auth` | authentication: the cached record of a key, and its checks |
//! | `error` | the errors of a request, independent of any dialect |
//! | `dialect` | the dialect of a path; its error bodies and its API key header |
//! | `body` | JSON bodies: media type and size |
//! | `reply` | `ETag`, conditional requests, gzip, `HEAD` |
//! | `offerings`, `problem` | the two endpoints of the offerings dialect, and its errors (RFC 9457) |
//! | `partners` | the endpoint of the partners dialect, and its errors |
//! | `networks`, `lookup` | the three endpoints of the networks dialect, its envelope and its errors |
//! | `products` | the two endpoints of the products dialect, and its errors |
//! | `openapi` | the OpenAPI description of all endpoints (feature `openapi`) |
//! | `messages` | messages that several dialects share |
//!
//! # Rules for every endpoint
//! The body of a 5xx is constant; the cause is logged. No key, promo code or body is ever logged. A request
//! ends before the function's deadline, either with an answer or with 503 and `Retry-After`.

mod auth;
mod body;
mod dialect;
mod edge;
mod error;
mod lookup;
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

pub use auth::Authenticator;
pub use dialect::Dialect;
pub use edge::{Edge, Endpoint, Methods, RequestRecord};
pub use error::{Absent, ApiError};
pub use lookup::LookupNetworkProducts;
pub use networks::{ListNetworkProducts, ListNetworks};
pub use offerings::{GetOffering, ListOfferings};
pub use partners::ListPartnerOfferings;
pub use products::{ListProducts, UpsertProducts};
pub use reply::Payload;
pub use request::ApiRequest;
