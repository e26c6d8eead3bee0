//! The partners dialect: the contract of SendGrid's Account Provisioning API.

pub(super) mod errors;
mod list;

pub use list::ListPartnerOfferings;

#[cfg(feature = "openapi")]
use super::describe::{Operation, Schemas};

#[cfg(feature = "openapi")]
pub(super) fn describe(schemas: &mut Schemas) -> Vec<Operation> {
    vec![list::describe(schemas)]
}
