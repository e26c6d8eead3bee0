//! `GET /v2/catalog/networks` and `GET /v2/catalog/countries`.

use lambda_http::Error;
use serverless_catalog::{http::ListNetworks, lambda::run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(|_| Ok(ListNetworks)).await
}
