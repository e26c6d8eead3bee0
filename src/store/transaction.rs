//! Transactions: all items or none.

use aws_sdk_dynamodb::types::TransactWriteItem;
use uuid::Uuid;

use super::{
    CAPACITY, Store, StoreError,
    batch::{MAX_FRUITLESS, back_off},
    total_units,
};

impl Store {
    /// Writes all items or none, with retries, and tells the write units consumed.
    pub(super) async fn transact(
        &self,
        operation: &'static str,
        items: Vec<TransactWriteItem>,
    ) -> Result<f64, StoreError> {
        // One token for all attempts: one that succeeded unseen is not done twice.
        let token = Uuid::now_v7().to_string();
        let mut attempt = 0;
        loop {
            back_off(attempt).await;
            attempt += 1;
            let outcome = self
                .client
                .transact_write_items()
                .set_transact_items(Some(items.clone()))
                .client_request_token(&token)
                .return_consumed_capacity(CAPACITY)
                .send()
                .await
                .map_err(|error| StoreError::from_transaction(operation, &error));
            match outcome {
                Ok(reply) => return Ok(total_units(reply.consumed_capacity())),
                Err(error) if error.is_unavailable() && attempt < MAX_FRUITLESS => {}
                Err(error) => return Err(error),
            }
        }
    }
}
