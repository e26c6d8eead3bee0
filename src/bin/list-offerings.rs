//! `GET /product-offerings`.

use lambda_http::Error;
use serverless_catalog::{
    http::ListOfferings,
    lambda::{cursors_from_environment, run},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(|_| Ok(ListOfferings::new(cursors_from_environment()?))).await
}
