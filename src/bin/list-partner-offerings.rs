//! `GET /v3/partners/offerings`.

use lambda_http::Error;
use serverless_catalog::{http::ListPartnerOfferings, lambda::run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(|settings| Ok(ListPartnerOfferings::new(settings.store.clone()))).await
}
