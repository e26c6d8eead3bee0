//! `catalog`: run the catalog on a laptop, and operate it anywhere.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    catalog_cli::run().await
}
