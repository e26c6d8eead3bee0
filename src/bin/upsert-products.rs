//! `POST /api/v1/products`.

use lambda_http::Error;
use serverless_catalog::{http::UpsertProducts, lambda::run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(|_| Ok(UpsertProducts)).await
}
