//! The errors of the database, and their classification.

use std::{
    error::Error,
    fmt::{self, Write as _},
};

use aws_sdk_dynamodb::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        RequestId as _, delete_item::DeleteItemError, put_item::PutItemError,
        transact_write_items::TransactWriteItemsError, update_item::UpdateItemError,
    },
};

use serde::Deserialize;

use super::item::Item;
use crate::{
    cause::{Cause, chain},
    outcome::WriteError,
    xray::Failure,
};

/// A failed database operation. Its details are for the log; callers use only the predicates.
#[derive(Debug)]
pub struct StoreError {
    kind: Kind,
    operation: &'static str,
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Throttled,
    Unavailable,
    ConditionFailed,
    Invalid,
    Other,
}

impl StoreError {
    /// The database throttled the request, failed or could not be reached: the same request may succeed
    /// later.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::Throttled)
    }

    /// The database throttled the request.
    pub(crate) fn is_throttled(&self) -> bool {
        self.kind == Kind::Throttled
    }

    /// How a trace shows the error.
    pub(super) fn failure(&self) -> Failure {
        match self.kind {
            Kind::Throttled => Failure::Throttle,
            Kind::Unavailable => Failure::Fault,
            Kind::ConditionFailed | Kind::Invalid | Kind::Other => Failure::Error,
        }
    }

    /// The database rejected the content of the request: because an item is too large, for instance.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        self.kind == Kind::Invalid
    }

    /// The condition of a write did not hold, because of a concurrent writer.
    #[must_use]
    pub(super) fn is_condition_failed(&self) -> bool {
        self.kind == Kind::ConditionFailed
    }

    /// What the error means for a single conditional write; `None` if it is an error of another kind.
    pub(super) fn write_error(&self) -> Option<WriteError> {
        match self.kind {
            Kind::Throttled | Kind::Unavailable => Some(WriteError::Unavailable),
            Kind::ConditionFailed => Some(WriteError::Stale),
            Kind::Invalid => Some(WriteError::Rejected),
            Kind::Other => None,
        }
    }

    /// Classifies the error of a transaction. A failed condition takes precedence over a conflict or a
    /// throttle, which are temporary.
    pub(super) fn from_transaction(
        operation: &'static str,
        error: &SdkError<TransactWriteItemsError, HttpResponse>,
    ) -> Self {
        let mut classified = Self::from_sdk(operation, error);
        if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        {
            let codes: Vec<&str> = cancelled
                .cancellation_reasons()
                .iter()
                .filter_map(|reason| reason.code())
                .collect();
            classified.kind = if codes.contains(&"ConditionalCheckFailed") {
                Kind::ConditionFailed
            } else if codes.contains(&"ValidationError") {
                Kind::Invalid
            } else if codes
                .iter()
                .any(|code| code.contains("Throttling") || code.contains("Throughput"))
            {
                Kind::Throttled
            } else {
                Kind::Unavailable
            };
        }
        classified
    }

    /// Classifies an SDK error. For the log it keeps the service's code, message and request id, or how the
    /// connection failed. It never keeps a request or a reply, because they contain customers' data.
    pub(super) fn from_sdk<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: Error + ProvideErrorMetadata + 'static,
    {
        let (kind, cause) = match error {
            SdkError::ServiceError(service) => {
                let status = service.raw().status().as_u16();
                let code = service.err().code().unwrap_or("no code");
                let kind = match code {
                    "ValidationException" => Kind::Invalid,
                    "ConditionalCheckFailedException" => Kind::ConditionFailed,
                    "ProvisionedThroughputExceededException"
                    | "ThrottlingException"
                    | "RequestLimitExceeded"
                    | "LimitExceededException" => Kind::Throttled,
                    "TransactionInProgressException"
                    | "TransactionConflictException"
                    | "ReplicatedWriteConflictException" => Kind::Unavailable,
                    // Not a reply of DynamoDB's, but of something in between.
                    _ if status == 429 => Kind::Throttled,
                    _ if status >= 500 || status == 200 => Kind::Unavailable,
                    _ => Kind::Other,
                };
                let message = service.err().message().unwrap_or("no message");
                let reasons = throttling_reasons(service.raw().body().bytes().unwrap_or_default());
                (kind, format!("{code}: {message}{reasons} (status {status})"))
            }
            SdkError::TimeoutError(_) => (Kind::Unavailable, "timeout".to_owned()),
            SdkError::ResponseError(_) => (Kind::Unavailable, "unreadable reply".to_owned()),
            SdkError::DispatchFailure(failure) => {
                let cause =
                    failure.as_connector_error().map(|error| chain(error)).unwrap_or_default();
                let kind = if failure.is_user() { Kind::Other } else { Kind::Unavailable };
                (kind, format!("not sent: {cause}"))
            }
            other => (Kind::Other, chain(other)),
        };
        let request_id = error.request_id().unwrap_or("none");
        Self { kind, operation, cause: format!("{cause} (request {request_id})").into() }
    }

    /// A stored item that this version cannot parse.
    pub(super) fn unreadable(operation: &'static str, cause: impl Into<Cause>) -> Self {
        Self { kind: Kind::Other, operation, cause: UnreadableItem(cause.into()).into() }
    }

    /// A request that could not be built: an internal error.
    pub(super) fn unbuildable(operation: &'static str, cause: impl Into<Cause>) -> Self {
        Self { kind: Kind::Other, operation, cause: RequestNotBuilt(cause.into()).into() }
    }

    /// Other writers were faster each time.
    pub(super) fn contended(operation: &'static str, tries: u32) -> Self {
        let cause = format!("other writers were faster {tries} times");
        Self { kind: Kind::Unavailable, operation, cause: cause.into() }
    }

    /// DynamoDB left keys of a batch unprocessed until the retries were exhausted.
    pub(super) fn left_over(operation: &'static str, count: usize) -> Self {
        let cause = format!("{count} keys left unprocessed after all retries");
        Self { kind: Kind::Unavailable, operation, cause: cause.into() }
    }
}

/// Why DynamoDB throttled a request, and which table or index (developer guide, "Diagnosing throttling").
/// Empty if the reply does not say.
fn throttling_reasons(body: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Throttled {
        // DynamoDB's exceptions differ in the case of the first letter.
        #[serde(rename = "ThrottlingReasons", alias = "throttlingReasons")]
        reasons: Vec<Reason>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Reason {
        reason: String,
        resource: String,
    }
    let throttled: Throttled = serde_json::from_slice(body).unwrap_or_default();
    throttled.reasons.iter().fold(String::new(), |mut told, Reason { reason, resource }| {
        // `arn:aws:dynamodb:<region>:<account>:table/<name>/index/<name>`
        let resource = resource.rsplit(':').next().unwrap_or_default();
        let _ = write!(told, ", {reason} of {resource}");
        told
    })
}

/// The error of a conditional write of one item.
pub(super) trait ConditionalWriteError {
    /// The item that was stored when the condition did not hold.
    fn stored_item(self) -> Option<Item>;
}

macro_rules! conditional_writes {
    ($($error:ty),+) => {
        $(impl ConditionalWriteError for $error {
            fn stored_item(self) -> Option<Item> {
                if let Self::ConditionalCheckFailedException(failed) = self { failed.item } else { None }
            }
        })+
    };
}
conditional_writes!(DeleteItemError, PutItemError, UpdateItemError);

/// The item that was stored when the condition of a write did not hold. Any other error stays an error.
pub(super) fn failed_condition<E>(
    operation: &'static str,
    error: SdkError<E, HttpResponse>,
) -> Result<Option<Item>, StoreError>
where
    E: ConditionalWriteError + Error + ProvideErrorMetadata + 'static,
{
    let class = StoreError::from_sdk(operation, &error);
    match error {
        SdkError::ServiceError(service) if class.is_condition_failed() => {
            Ok(service.into_err().stored_item())
        }
        _ => Err(class),
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operation)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.cause)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("unreadable item")]
struct UnreadableItem(#[source] Cause);

#[derive(Debug, thiserror::Error)]
#[error("request not built")]
struct RequestNotBuilt(#[source] Cause);

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::{
        error::ErrorMetadata,
        operation::get_item::GetItemError,
        types::{
            AttributeValue, CancellationReason,
            error::{ConditionalCheckFailedException, TransactionCanceledException},
        },
    };
    use aws_sdk_s3::primitives::SdkBody;
    use aws_smithy_runtime_api::client::result::ConnectorError;

    use super::*;

    fn response(status: u16, body: &str) -> HttpResponse {
        let status = status.try_into().expect("a status");
        let mut response = HttpResponse::new(status, SdkBody::from(body));
        response.headers_mut().insert("x-amzn-requestid", "R1");
        response
    }

    /// What a request to read an item is refused with.
    fn refused(status: u16, code: &str) -> StoreError {
        let error = ErrorMetadata::builder().code(code).message("m").build();
        let error = SdkError::service_error(GetItemError::generic(error), response(status, ""));
        StoreError::from_sdk("get item", &error)
    }

    /// The answers of all predicates: unavailable, throttled, invalid, a failed condition.
    fn predicates(error: &StoreError) -> [bool; 4] {
        [
            error.is_unavailable(),
            error.is_throttled(),
            error.is_invalid(),
            error.is_condition_failed(),
        ]
    }

    const THROTTLED: [bool; 4] = [true, true, false, false];
    const UNAVAILABLE: [bool; 4] = [true, false, false, false];
    const INVALID: [bool; 4] = [false, false, true, false];
    const CONDITION_FAILED: [bool; 4] = [false, false, false, true];
    const OTHER: [bool; 4] = [false; 4];

    #[test]
    fn an_error_is_classified_by_its_code_and_else_by_its_status() {
        for (status, code, expected) in [
            (400, "ValidationException", INVALID),
            (400, "ConditionalCheckFailedException", CONDITION_FAILED),
            (400, "ProvisionedThroughputExceededException", THROTTLED),
            (400, "ThrottlingException", THROTTLED),
            (400, "RequestLimitExceeded", THROTTLED),
            (400, "LimitExceededException", THROTTLED),
            (400, "TransactionInProgressException", UNAVAILABLE),
            (400, "TransactionConflictException", UNAVAILABLE),
            (400, "ReplicatedWriteConflictException", UNAVAILABLE),
            (400, "TransactionCanceledException", OTHER),
            (400, "AccessDeniedException", OTHER),
            (499, "x", OTHER),
            (429, "x", THROTTLED),
            (500, "InternalServerError", UNAVAILABLE),
            (503, "x", UNAVAILABLE),
            // A reply that breaks off.
            (200, "x", UNAVAILABLE),
            (201, "x", OTHER),
        ] {
            assert_eq!(predicates(&refused(status, code)), expected, "{status} {code}");
        }
    }

    #[test]
    fn an_error_means_something_for_a_write_and_for_a_trace() {
        for (code, write_error, failure) in [
            ("ThrottlingException", Some(WriteError::Unavailable), "Throttle"),
            ("TransactionConflictException", Some(WriteError::Unavailable), "Fault"),
            ("ConditionalCheckFailedException", Some(WriteError::Stale), "Error"),
            ("ValidationException", Some(WriteError::Rejected), "Error"),
            ("AccessDeniedException", None, "Error"),
        ] {
            let error = refused(400, code);
            assert_eq!(error.write_error(), write_error, "{code}");
            assert_eq!(format!("{:?}", error.failure()), failure, "{code}");
        }
    }

    #[test]
    fn the_log_tells_what_the_service_said_and_never_the_reply() {
        assert_eq!(
            chain(&refused(400, "AccessDeniedException")),
            "get item: AccessDeniedException: m (status 400) (request R1)"
        );
        let body = r#"{"ThrottlingReasons":[{"reason":"TableReadProvisionedThroughputExceeded","resource":"arn:x:table/t"}]}"#;
        let throttled = GetItemError::generic(ErrorMetadata::builder().build());
        let throttled = SdkError::service_error(throttled, response(400, body));
        assert_eq!(
            chain(&StoreError::from_sdk("get item", &throttled)),
            "get item: no code: no message, TableReadProvisionedThroughputExceeded of table/t \
             (status 400) (request R1)"
        );
    }

    #[test]
    fn a_request_without_an_answer_may_be_sent_again() {
        type Failed = SdkError<GetItemError, HttpResponse>;
        let reset = || std::io::Error::new(std::io::ErrorKind::ConnectionReset, "reset");
        for (error, expected, told) in [
            (Failed::timeout_error("late"), UNAVAILABLE, "get item: timeout (request none)"),
            (
                Failed::response_error("SECRET", response(200, "SECRET")),
                UNAVAILABLE,
                "get item: unreadable reply (request R1)",
            ),
            (
                Failed::dispatch_failure(ConnectorError::io(reset().into())),
                UNAVAILABLE,
                "get item: not sent: io error: reset (request none)",
            ),
            // Nothing that a repetition would change.
            (
                Failed::dispatch_failure(ConnectorError::user(reset().into())),
                OTHER,
                "get item: not sent: user error: reset (request none)",
            ),
            (
                Failed::construction_failure("no key"),
                OTHER,
                "get item: failed to construct request: no key (request none)",
            ),
        ] {
            let error = StoreError::from_sdk("get item", &error);
            assert_eq!((predicates(&error), chain(&error).as_str()), (expected, told));
        }
    }

    #[test]
    fn a_cancelled_transaction_is_classified_by_its_gravest_reason() {
        for (codes, expected) in [
            (
                &["None", "ThrottlingError", "ValidationError", "ConditionalCheckFailed"][..],
                CONDITION_FAILED,
            ),
            (&["ThrottlingError", "TransactionConflict", "ValidationError"], INVALID),
            (&["TransactionConflict", "ThrottlingError"], THROTTLED),
            (&["ProvisionedThroughputExceeded", "None"], THROTTLED),
            (&["TransactionConflict"], UNAVAILABLE),
            (&[], UNAVAILABLE),
        ] {
            let reason = |code: &&str| CancellationReason::builder().code(*code).build();
            let reasons = codes.iter().map(reason).collect();
            let cancelled =
                TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons));
            let error = TransactWriteItemsError::TransactionCanceledException(cancelled.build());
            let error = SdkError::service_error(error, response(400, ""));
            let error = StoreError::from_transaction("write", &error);
            assert_eq!(predicates(&error), expected, "{codes:?}");
        }
        let conflict = ErrorMetadata::builder().code("TransactionConflictException").build();
        let conflict = TransactWriteItemsError::generic(conflict);
        let conflict = SdkError::service_error(conflict, response(400, ""));
        let conflict = StoreError::from_transaction("write", &conflict);
        assert_eq!(predicates(&conflict), UNAVAILABLE, "an error of another kind stays what it is");
    }

    #[test]
    fn errors_of_our_own_tell_what_they_are() {
        for (error, expected, told) in [
            (
                StoreError::unreadable("read", "attribute id"),
                OTHER,
                "read: unreadable item: attribute id",
            ),
            (StoreError::unbuildable("read", "no key"), OTHER, "read: request not built: no key"),
            (
                StoreError::contended("write", 5),
                UNAVAILABLE,
                "write: other writers were faster 5 times",
            ),
            (
                StoreError::left_over("read", 7),
                UNAVAILABLE,
                "read: 7 keys left unprocessed after all retries",
            ),
        ] {
            assert_eq!((predicates(&error), chain(&error).as_str()), (expected, told));
        }
    }

    #[test]
    fn a_failed_condition_gives_what_was_stored_and_another_error_stays_one() {
        let item = Item::from([("a".to_owned(), AttributeValue::S("b".to_owned()))]);
        let failed = ConditionalCheckFailedException::builder()
            .set_item(Some(item.clone()))
            .meta(ErrorMetadata::builder().code("ConditionalCheckFailedException").build())
            .build();
        let failed = PutItemError::ConditionalCheckFailedException(failed);
        let failed = SdkError::service_error(failed, response(400, ""));
        assert_eq!(failed_condition("put", failed).expect("stored"), Some(item));

        let code = ErrorMetadata::builder().code("ConditionalCheckFailedException").build();
        let bare = SdkError::service_error(PutItemError::generic(code), response(400, ""));
        assert_eq!(failed_condition("put", bare).expect("nothing"), None);

        let code = ErrorMetadata::builder().code("ValidationException").build();
        let other = SdkError::service_error(PutItemError::generic(code), response(400, ""));
        let other = failed_condition("put", other).expect_err("another error");
        assert_eq!((predicates(&other), other.to_string().as_str()), (INVALID, "put"));
    }

    #[test]
    fn the_reasons_of_a_throttle_are_told_with_their_table_or_index() {
        let body = |name: &str| {
            format!(
                r#"{{"__type":"x","message":"m","{name}":[{{"reason":"IndexWriteKeyRangeThroughputExceeded",
                "resource":"arn:aws:dynamodb:eu-west-1:123456789012:table/c-products/index/newest"}}]}}"#
            )
        };
        for name in ["ThrottlingReasons", "throttlingReasons"] {
            assert_eq!(
                throttling_reasons(body(name).as_bytes()),
                ", IndexWriteKeyRangeThroughputExceeded of table/c-products/index/newest"
            );
        }
        for body in [&b""[..], b"{}", b"<html>", br#"{"ThrottlingReasons":null}"#] {
            assert_eq!(throttling_reasons(body), "");
        }
    }
}
