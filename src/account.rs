//! The account: the tenant that owns a catalog.

use serde::{Deserialize, Serialize};

use crate::text::parsed;

/// A tenant: the published APIs call it customer, organization, workspace or enterprise. All table and index
/// keys of the catalog begin with it, so tenants are isolated by the keys themselves.
///
/// 1 to 64 characters from `A-Z a-z 0-9 . _ -`, because it is also a path segment of import objects
/// (`imports/<account>/…`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId(String);

#[derive(Debug, thiserror::Error)]
#[error(
    "an account is 1 to 64 characters out of A-Z a-z 0-9 . _ - and starts with a letter or digit"
)]
pub struct InvalidAccountId;

impl AccountId {
    /// Parses an account id.
    ///
    /// # Errors
    /// [`InvalidAccountId`] when the text is empty, too long or has other characters.
    pub fn parse(text: &str) -> Result<Self, InvalidAccountId> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if starts_well && text.len() <= 64 && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidAccountId)
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

parsed!(AccountId, as_str, InvalidAccountId);
