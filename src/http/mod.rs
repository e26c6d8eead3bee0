//! The edge: HTTP in, a domain call, HTTP out in the caller's dialect.
//!
//! | File | |
//! |---|---|
//! | `edge` | the way of every request: method, key, answer, reply, log line |
//! | `request` | an API Gateway request as endpoints see it |
//! | `params` | query strings: array spellings, complaints by field |
//! | `auth` | the key's record, cached, and its checks |
//! | `error` | what may go wrong, before any dialect |
//! | `dialect` | which dialect a path speaks; its errors and its key header |
//! | `body` | JSON bodies: media type, size, duplicate keys |
//! | `reply` | `ETag`, conditional requests, gzip, `HEAD` |
//! | `offerings`, `problem` | the two endpoints of the offerings dialect, and its errors (RFC 9457) |
//! | `partners` | the endpoint of the partners dialect, and its errors |
//! | `networks`, `lookup` | the three endpoints of the networks dialect, its envelope and its errors |
//! | `products` | the two endpoints of the products dialect, and its errors |
//! | `openapi` | the OpenAPI description of all of it (feature `openapi`) |
//! | `messages` | sentences that several dialects say |
//!
//! # Rules of every endpoint
//! A 5xx body is constant; its cause goes to the log. No key, promo code or body is ever logged. A
//! request ends before the function's deadline: with an answer, or with 503 and `Retry-After`.

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
