//! Stream records of the catalog's tables: the journal of changes.

use lambda_runtime::Error;
use serverless_catalog::lambda::run_changes;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run_changes().await
}
