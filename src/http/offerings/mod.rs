//! The offerings dialect: the contract published by Connect.

pub(super) mod get;
pub(super) mod list;
mod pricing;

pub use get::GetOffering;
pub use list::ListOfferings;
