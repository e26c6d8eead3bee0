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
//! | `problem` | the offerings dialect's errors (RFC 9457) |
//! | `reply` | `ETag`, conditional requests, gzip, `HEAD` |
//! | `offerings` | the two endpoints of the offerings dialect |
//!
//! # Rules of every endpoint
//! A 5xx body is constant; its cause goes to the log. No key, promo code or body is ever logged. A
//! request ends before the function's deadline: with an answer, or with 503 and `Retry-After`.

mod auth;
mod dialect;
mod edge;
mod error;
mod offerings;
mod params;
mod problem;
mod reply;
mod request;

pub use auth::Authenticator;
pub use edge::{Edge, Endpoint, RequestRecord};
pub use error::ApiError;
pub use offerings::{GetOffering, ListOfferings};
pub use reply::Payload;
pub use request::ApiRequest;
