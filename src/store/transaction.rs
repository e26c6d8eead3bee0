//! Transactions: all items are written, or none.

use aws_sdk_dynamodb::types::TransactWriteItem;
use uuid::Uuid;

use super::{CAPACITY, Store, StoreError, total_units};

impl Store {
    /// Writes all items or none.
    pub(super) async fn transact(
        &self,
        operation: &'static str,
        items: Vec<TransactWriteItem>,
    ) -> Result<(), StoreError> {
        let request = self
            .client
            .transact_write_items()
            .set_transact_items(Some(items))
            // All attempts have the same token: if one succeeded and its answer was lost, the next does
            // nothing.
            .client_request_token(Uuid::now_v7().to_string())
            .return_consumed_capacity(CAPACITY);
        let classify = |error: &_| StoreError::from_transaction(operation, error);
        let send = || request.clone().send();
        let outcome = self
            .attempt_classified(operation, Some(&self.account_limits.batches), send, classify)
            .await;
        let reply = outcome.map_err(|error| classify(&error))?;
        self.meter.add_write(total_units(reply.consumed_capacity()));
        Ok(())
    }
}
