//! `GET /v3/partners/offerings`.

use lambda_http::Error;
use serverless_catalog::{http::ListPartnerOfferings, lambda::run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(|_| Ok(ListPartnerOfferings)).await
}
