//! Messages of the import queue: S3 notifications, `EventBridge` events, plain records.

use lambda_runtime::Error;
use serverless_catalog::lambda::run_import;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run_import().await
}
