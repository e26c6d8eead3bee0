//! The offerings dialect: the contract published by Connect.

mod get;
mod list;
mod pricing;

pub use get::GetOffering;
pub use list::ListOfferings;

#[cfg(feature = "openapi")]
use super::describe::{Operation, Schemas};

#[cfg(feature = "openapi")]
pub(super) fn describe(schemas: &mut Schemas) -> Vec<Operation> {
    vec![list::describe(schemas), get::describe(schemas)]
}
