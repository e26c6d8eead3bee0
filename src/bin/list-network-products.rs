//! `GET /v2/catalog/products`: one network, with its bundles and custom airtime.

use lambda_http::Error;
use serverless_catalog::{http::ListNetworkProducts, lambda::run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(|settings| Ok(ListNetworkProducts::new(settings.cache_for))).await
}
