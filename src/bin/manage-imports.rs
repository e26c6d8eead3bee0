//! `POST /catalog/v1/imports`, `GET /catalog/v1/imports`, `GET /catalog/v1/imports/{importId}`.

use lambda_http::Error;
use serverless_catalog::{
    http::ManageImports,
    lambda::{bucket_from_environment, cursors_from_environment, run},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(|_| Ok(ManageImports::new(bucket_from_environment()?, cursors_from_environment()?))).await
}
