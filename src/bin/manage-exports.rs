//! `POST /catalog/v1/exports`, `GET /catalog/v1/exports/{exportId}`.

use lambda_http::Error;
use serverless_catalog::{
    http::ManageExports,
    lambda::{
        bucket_from_environment, cursors_from_environment, export_queue_from_environment, run,
    },
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(|_| {
        let (bucket, queue) = (bucket_from_environment()?, export_queue_from_environment()?);
        Ok(ManageExports::new(bucket, queue, cursors_from_environment()?))
    })
    .await
}
