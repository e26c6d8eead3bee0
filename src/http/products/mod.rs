//! The products dialect: the contract published by agentlyleads.

pub(super) mod errors;
mod list;
mod upsert;

pub use list::ListProducts;
pub use upsert::UpsertProducts;

#[cfg(feature = "openapi")]
use super::describe::{Operation, Schemas};

#[cfg(feature = "openapi")]
pub(super) fn describe(schemas: &mut Schemas) -> Vec<Operation> {
    vec![list::describe(schemas), upsert::describe(schemas)]
}
