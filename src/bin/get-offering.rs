//! `GET /product-offerings/{productOfferingId}`.

use lambda_http::Error;
use serverless_catalog::{http::GetOffering, lambda::run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(|_| Ok(GetOffering)).await
}
