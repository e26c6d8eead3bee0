//! `GET /catalog/v1/changes`.

use lambda_http::Error;
use serverless_catalog::{
    http::ListChanges,
    lambda::{cursors_from_environment, run},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(|settings| Ok(ListChanges::new(cursors_from_environment()?, settings.cache_for))).await
}
