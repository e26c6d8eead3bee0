//! Response messages that several dialects share.

use super::{Absent, Excess};
use crate::{
    access::{KeyRejection, Permission},
    exports::MAX_UNFINISHED,
};

/// The message of a 503.
pub(super) const SERVICE_UNAVAILABLE: &str = "The catalog is busy; try again in a moment.";

/// The message of a 410.
pub(super) const GONE: &str = "What changed after this cursor is no longer kept, was lost, or the key sees something \
     else now. Start over: take an export with its changesCursor, and read the changes since that.";

/// The message of a 409.
pub(super) const UNDER_WAY: &str = "A request with this Idempotency-Key is under way; send it again in a moment to get its answer.";

/// The message of a 422.
pub(super) const KEY_OF_ANOTHER_REQUEST: &str =
    "Another request was sent with this Idempotency-Key; each request needs a key of its own.";

/// The message of a 500.
pub(super) const INTERNAL_ERROR: &str = "Something went wrong on our side.";

/// The message of a 401 or 403: why the key was rejected by an endpoint that requires `permission`.
#[must_use]
pub(super) fn rejected(rejection: KeyRejection, permission: Permission) -> String {
    match rejection {
        KeyRejection::Malformed => "Send one API key as Authorization: Bearer <key>.".to_owned(),
        KeyRejection::Unknown => "The API key is unknown.".to_owned(),
        KeyRejection::Revoked => "The API key was revoked.".to_owned(),
        KeyRejection::Expired => "The API key has expired.".to_owned(),
        KeyRejection::IpNotAllowed => "The API key may not be used from this address.".to_owned(),
        KeyRejection::PermissionLacking => {
            format!("The API key lacks the permission {permission}.")
        }
    }
}

/// The message of a 429.
#[must_use]
pub(super) fn too_many(excess: Excess) -> String {
    match excess {
        Excess::Limit(standing) => {
            let seconds = if standing.wait == 1 { "second" } else { "seconds" };
            format!(
                "The API key is over its limit of {} ({} a minute); try again in {} {seconds}.",
                standing.balance, standing.limit, standing.wait
            )
        }
        Excess::Exports => {
            format!("{MAX_UNFINISHED} exports of the account have not ended; wait for one of them.")
        }
        Excess::UnknownKeys => {
            "There are too many requests with unknown API keys; try again in a moment.".to_owned()
        }
    }
}

#[must_use]
pub(super) fn not_found(absent: Absent) -> &'static str {
    match absent {
        Absent::Path => "There is nothing at this path.",
        Absent::Offering => "There is no such product offering.",
        Absent::Export => "There is no such export, or it is no longer kept.",
        Absent::Import => "There is no such import.",
        Absent::Network => "There is no such network.",
        Absent::NetworkOfNumber => {
            "No network of the catalog has this number's prefix; give network_id."
        }
    }
}
