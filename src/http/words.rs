//! Sentences that several dialects say.

use super::Absent;
use crate::access::{Permission, Rejection};

/// Of a 503.
pub(super) const BUSY: &str = "The catalog is busy; try again in a moment.";

/// Of a 500.
pub(super) const OUR_FAULT: &str = "Something went wrong on our side.";

/// Why a key was not admitted to something that needs `permission`.
#[must_use]
pub(super) fn rejected(rejection: Rejection, permission: Permission) -> String {
    match rejection {
        Rejection::Malformed => "Send one API key as Authorization: Bearer <key>.".to_owned(),
        Rejection::Unknown => "The API key is unknown.".to_owned(),
        Rejection::Revoked => "The API key was revoked.".to_owned(),
        Rejection::Expired => "The API key has expired.".to_owned(),
        Rejection::IpNotAllowed => "The API key may not be used from this address.".to_owned(),
        Rejection::PermissionLacking => format!("The API key lacks the permission {permission}."),
    }
}

/// What is not there.
#[must_use]
pub(super) fn not_found(absent: Absent) -> &'static str {
    match absent {
        Absent::Path => "There is nothing at this path.",
        Absent::Offering => "There is no such product offering.",
        Absent::Network => "There is no such network.",
        Absent::NetworkOfNumber => {
            "No network of the catalog has this number's prefix; give network_id."
        }
    }
}
