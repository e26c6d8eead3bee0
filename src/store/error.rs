//! What can go wrong with the database.

use std::{error::Error, fmt};

use aws_sdk_dynamodb::{
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::RequestId as _,
};

/// A failed database operation. What it was about is for the log; callers look only at
/// [`StoreError::is_unavailable`].
#[derive(Debug)]
pub struct StoreError {
    unavailable: bool,
    operation: &'static str,
    cause: String,
}

impl StoreError {
    /// The database is throttling, out of reach or in trouble: the same request may succeed later.
    /// The SDK's own retries are over by then.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.unavailable
    }

    /// Sorts an SDK error. Its service code, message and request id are kept for the log; they hold
    /// no item's content.
    pub(super) fn from_sdk<E, R>(operation: &'static str, error: &SdkError<E, R>) -> Self
    where
        E: Error + ProvideErrorMetadata + Send + Sync + 'static,
        R: fmt::Debug + Send + Sync + 'static,
        SdkError<E, R>: aws_sdk_dynamodb::operation::RequestId,
    {
        let unavailable = match error {
            SdkError::TimeoutError(_)
            | SdkError::DispatchFailure(_)
            | SdkError::ResponseError(_) => true,
            SdkError::ServiceError(service) => matches!(
                service.err().code().unwrap_or_default(),
                "ProvisionedThroughputExceededException"
                    | "ThrottlingException"
                    | "RequestLimitExceeded"
                    | "LimitExceededException"
                    | "InternalServerError"
                    | "InternalServerErrorException"
                    | "ServiceUnavailable"
                    | "ServiceUnavailableException"
                    | "TransactionInProgressException"
                    | "ReplicatedWriteConflictException"
            ),
            _ => false,
        };
        let request_id = error.request_id().unwrap_or("none");
        let cause = format!("{} (request {request_id})", DisplayErrorContext(error));
        Self { unavailable, operation, cause }
    }

    /// A stored item that this version cannot read.
    pub(super) fn unreadable(operation: &'static str, cause: impl fmt::Display) -> Self {
        Self { unavailable: false, operation, cause: format!("unreadable item: {cause}") }
    }

    /// A request that could not be built: a mistake of ours.
    pub(super) fn unbuildable(operation: &'static str, cause: impl fmt::Display) -> Self {
        Self { unavailable: false, operation, cause: format!("request not built: {cause}") }
    }

    /// The database never took all of a batch within the retries allowed.
    pub(super) fn left_over(operation: &'static str, count: usize) -> Self {
        let cause = format!("{count} keys left unprocessed after all retries");
        Self { unavailable: true, operation, cause }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.cause)
    }
}

impl Error for StoreError {}
