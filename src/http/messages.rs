//! Response messages that several dialects share.

use super::{Absent, ApiError, Excess};
use crate::{
    access::{KeyRejection, Permission},
    exports::MAX_UNFINISHED,
    text::FieldError,
};

/// What the sender of a request is told that failed, and that required this permission. Where a dialect was published with
/// words of its own, it has those.
pub(super) fn message(error: &ApiError, permission: Permission) -> String {
    match error {
        ApiError::Invalid(errors) => errors.first().map(sentence).unwrap_or_default(),
        ApiError::NotVisible(error) => sentence(error),
        ApiError::Required(field) => format!("{field} is required."),
        ApiError::KeyRejected(rejection) => rejected(*rejection, permission),
        ApiError::NotFound(absent) => not_found(*absent).to_owned(),
        ApiError::MethodNotAllowed(allowed) => format!("Use one of: {allowed}."),
        ApiError::TooLarge(bytes) => format!("The body must be at most {bytes} bytes."),
        ApiError::Gone => "What changed after this cursor is no longer kept, was lost, or the key sees something \
            else now. Start over: take an export with its changesCursor, and read the changes since that."
            .to_owned(),
        ApiError::UnderWay(_) => "A request with this Idempotency-Key is under way; send it again in a moment to get \
            its answer."
            .to_owned(),
        ApiError::IdempotencyKeyOfAnotherRequest => "Another request was sent with this Idempotency-Key; each request needs a \
            key of its own."
            .to_owned(),
        ApiError::TooMany(excess) => too_many(*excess),
        ApiError::Unavailable(_) => "The catalog is busy; try again in a moment.".to_owned(),
        ApiError::Internal(_) => "Something went wrong on our side.".to_owned(),
    }
}

/// An error that concerns the request as a whole names no field.
fn sentence(error: &FieldError) -> String {
    format!("{} {}.", error.field, error.message).trim_start().to_owned()
}

/// The message of a 401 or 403: why the key was rejected by an endpoint that requires `permission`.
fn rejected(rejection: KeyRejection, permission: Permission) -> String {
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
fn too_many(excess: Excess) -> String {
    match excess {
        Excess::Limit(standing) => {
            let seconds = if standing.wait == 1 { "second" } else { "seconds" };
            format!(
                "The API key is over its limit of {} ({} a minute); try again in {} {seconds}.",
                standing.limit_name, standing.limit, standing.wait
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

fn not_found(absent: Absent) -> &'static str {
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
