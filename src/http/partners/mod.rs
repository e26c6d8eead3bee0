//! The partners dialect: the contract of SendGrid's Account Provisioning API.

pub(super) mod errors;
pub(super) mod list;

pub use list::ListPartnerOfferings;
