//! `GET /v2/catalog/lookup`.

use lambda_http::Error;
use serverless_catalog::{
    http::{ListNetworkProducts, LookupNetworkProducts},
    lambda::run,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(|settings| Ok(LookupNetworkProducts(ListNetworkProducts::new(settings.cache_for)))).await
}
