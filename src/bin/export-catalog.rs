//! Messages of the export queue: export jobs.

use lambda_runtime::Error;
use serverless_catalog::lambda::run_export;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run_export().await
}
