//! The products dialect: the contract published by agentlyleads.

pub(super) mod errors;
pub(super) mod list;
pub(super) mod upsert;

pub use list::ListProducts;
pub use upsert::UpsertProducts;
