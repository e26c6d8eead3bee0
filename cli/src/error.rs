//! The errors of a command: what failed, where, and what to do about it.

use std::{error::Error, io, net::SocketAddr, path::PathBuf};

use serverless_catalog::{cause::chain, store::StoreError};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("cannot {action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    /// A source of records could not be read to its end.
    #[error("cannot read {name} {cause}; the lines before that are imported")]
    Source { name: String, cause: String },
    /// The run of an import could not continue, even after retries.
    #[error(
        "{0}\n  is the catalog running (`catalog serve`), or --endpoint-url right, or are the AWS credentials good?"
    )]
    Unavailable(String),
    #[error(
        "cannot listen on {address}: {source}; choose another port with --port, or --port 0 for any, and with \
         --listen an address that this machine has"
    )]
    Port { address: SocketAddr, source: io::Error },
    #[error("another `catalog serve` is using {}; stop it, or choose other data with --data DIR or --memory", .0.display())]
    DataInUse(PathBuf),
    #[error("a catalog is starting in {}; try again in a moment (or give --endpoint-url or --aws)", .0.display())]
    Starting(PathBuf),
    #[error("the embedded DynamoDB engine failed: {0}")]
    Engine(String),
    #[error("template.yaml: {0}")]
    Template(String),
    /// A request to the tables failed.
    #[error(
        "{}\n  is the catalog running (`catalog serve`), or --endpoint-url right, or are the AWS credentials good?",
        chain(.0)
    )]
    Store(#[from] StoreError),
    /// An AWS call outside the catalog's own access patterns failed.
    #[error("{action}: {cause}")]
    Aws { action: String, cause: String },
    /// The arguments are not valid together.
    #[error("{0}")]
    Usage(String),
    /// The command did only part of its work; its output says what is missing.
    #[error("{0}")]
    Incomplete(String),
}

impl CliError {
    pub fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    pub fn aws<E: Error>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |error| Self::Aws {
            action,
            cause: aws_sdk_dynamodb::error::DisplayErrorContext(error).to_string(),
        }
    }
}
