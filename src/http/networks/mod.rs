//! The networks dialect: the contract published by Click Airtime.

#[cfg(feature = "openapi")]
mod described;
pub(super) mod envelope;
pub(super) mod list;
pub(super) mod lookup;
pub(super) mod products;

pub use list::ListNetworks;
pub use lookup::LookupNetworkProducts;
pub use products::ListNetworkProducts;
