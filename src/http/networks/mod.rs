//! The networks dialect: the contract published by Click Airtime.

#[cfg(feature = "openapi")]
mod described;
pub(super) mod envelope;
mod list;
mod lookup;
mod products;

pub use list::ListNetworks;
pub use lookup::LookupNetworkProducts;
pub use products::ListNetworkProducts;

#[cfg(feature = "openapi")]
use super::describe::{Operation, Schemas};

#[cfg(feature = "openapi")]
pub(super) fn describe(schemas: &mut Schemas) -> Vec<Operation> {
    vec![
        list::describe_networks(schemas),
        list::describe_countries(schemas),
        products::describe(schemas),
        lookup::describe(schemas),
    ]
}
