//! The partners dialect (SendGrid Account Provisioning): its errors.

pub(super) mod errors;
mod list;

pub use list::ListPartnerOfferings;

#[cfg(feature = "openapi")]
use super::describe::{Operation, Schemas};

#[cfg(feature = "openapi")]
pub(super) fn describe(schemas: &mut Schemas) -> Vec<Operation> {
    vec![list::describe(schemas)]
}
