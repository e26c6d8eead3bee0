//! `GET /api/v1/products`.

use lambda_http::Error;
use serverless_catalog::{
    http::ListProducts,
    lambda::{cursors_from_environment, run},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(|_| Ok(ListProducts::new(cursors_from_environment()?))).await
}
