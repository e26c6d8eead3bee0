//! How a command connects to a catalog.

use std::{fmt, path::PathBuf, time::Duration};

use aws_config::{BehaviorVersion, Region, timeout::TimeoutConfig};
use aws_sdk_dynamodb::Client;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use clap::Args;
use serverless_catalog::{
    cursor::Cursors,
    store::{ClientError, Connection, Store, TableNames, lean_client, lean_s3_client},
};

use crate::{
    console::warn,
    error::CliError,
    local::{Addresses, known_cursor_secret},
};

/// Where the catalog is. Without any of these: the `catalog serve` running in this folder, else AWS
/// by the usual credential chain.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Where the catalog is")]
pub(crate) struct Target {
    /// A DynamoDB endpoint, such as a local engine's
    #[arg(long, value_name = "URL", env = "CATALOG_ENDPOINT_URL", global = true)]
    endpoint_url: Option<String>,

    /// AWS, even while catalog serve is running here or an endpoint is set
    #[arg(long, global = true)]
    aws: bool,

    /// The AWS region (otherwise from the environment or the profile)
    #[arg(long, value_name = "REGION", global = true)]
    region: Option<String>,

    /// The AWS profile (otherwise from the environment)
    #[arg(long, value_name = "NAME", global = true)]
    profile: Option<String>,

    /// What the tables' names begin with: the stack's name
    #[arg(
        long,
        value_name = "NAME",
        env = "CATALOG_TABLE_PREFIX",
        default_value = "catalog",
        global = true
    )]
    pub(crate) table_prefix: String,

    /// The folder of a local catalog
    #[arg(
        long,
        value_name = "DIR",
        env = "CATALOG_DATA",
        default_value = ".catalog",
        global = true
    )]
    pub(crate) data: PathBuf,
}

/// The secret that seals cursors, as the functions have it.
#[derive(Args, Clone, Debug)]
pub(crate) struct CursorSecret {
    /// The secret that seals cursors; that of a catalog on this machine is found by itself. A deployed stack tells
    /// the name of its secret as an output
    #[arg(long, value_name = "SECRET", env = "CURSOR_SECRET", hide_env_values = true)]
    cursor_secret: Option<String>,
}

impl CursorSecret {
    /// Seals and opens cursors as the catalog's functions do.
    pub(crate) fn cursors(&self, target: &Target) -> Result<Cursors, CliError> {
        let local = || if target.aws { None } else { known_cursor_secret(&target.data) };
        let secret = self.cursor_secret.clone().or_else(local).ok_or_else(|| {
            CliError::Usage(
                "the secret that seals cursors is not known; give --cursor-secret, or set CURSOR_SECRET".to_owned(),
            )
        })?;
        Cursors::new(&secret, None).map_err(|error| CliError::Usage(error.to_string()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At a URL: usually a local engine.
    Endpoint(String),
    /// In an AWS region.
    Aws(String),
}

impl Place {
    /// Whether it is AWS itself, not a local stand-in.
    pub(crate) fn is_aws(&self) -> bool {
        matches!(self, Self::Aws(_))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(url) => f.write_str(url),
            Self::Aws(region) => write!(f, "AWS {region}"),
        }
    }
}

/// A connection to a catalog.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) place: Place,
    pub(crate) client: Client,
    /// The client for its bucket; `None` if it has no bucket.
    pub(crate) s3: Option<aws_sdk_s3::Client>,
    /// The addresses that `catalog serve` has published, if that is what the command connects to.
    pub(crate) addresses: Option<Addresses>,
}

impl Target {
    pub(crate) async fn connect(&self) -> Result<Connected, CliError> {
        if let Some(url) = self.endpoint_url.as_ref().filter(|_| !self.aws) {
            return self.local(url, Some(url), None);
        }
        if !self.aws
            && let Some(running) = Addresses::of_running(&self.data)?
        {
            let (database, objects) = (running.dynamodb_url.clone(), running.objects_url.clone());
            return self.local(&database, objects.as_deref(), Some(running));
        }
        let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        // A connection that the network dropped silently ends one attempt, not the whole command.
        let times = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .operation_attempt_timeout(Duration::from_secs(30))
            .build();
        let mut loader =
            aws_config::defaults(BehaviorVersion::latest()).http_client(http).timeout_config(times);
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        let config = loader.load().await;
        let Some(region) = config.region() else {
            return Err(CliError::Usage(format!(
                "no catalog is running in {} and no AWS region is set; start one with `catalog serve`, \
                 or give --endpoint-url URL, or --region REGION with AWS credentials",
                self.data.display()
            )));
        };
        Ok(Connected {
            place: Place::Aws(region.to_string()),
            client: Client::new(&config),
            s3: Some(aws_sdk_s3::Client::new(&config)),
            addresses: None,
        })
    }

    fn local(
        &self,
        database: &str,
        objects: Option<&str>,
        addresses: Option<Addresses>,
    ) -> Result<Connected, CliError> {
        let region = self.region.clone().or_else(|| std::env::var("AWS_REGION").ok());
        let at = |url: &str| Connection { region: region.clone(), ..Connection::local(url) };
        let failed = |error: ClientError| CliError::Engine(error.to_string());
        Ok(Connected {
            place: Place::Endpoint(database.to_owned()),
            client: lean_client(&at(database)).map_err(failed)?,
            s3: objects.map(|url| lean_s3_client(&at(url))).transpose().map_err(failed)?,
            addresses,
        })
    }

    /// Connects to the catalog's tables, and prints on standard error where they are.
    pub(crate) async fn store(&self) -> Result<Store, CliError> {
        let Connected { client, place, .. } = self.connect().await?;
        warn(format!("Using the catalog at {place}."));
        Ok(Store::new(client, TableNames::with_prefix(&self.table_prefix)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        target: Target,
    }

    /// Where these options lead.
    async fn place(options: &[&str]) -> Place {
        let line = Line::parse_from([&["catalog"], options].concat());
        line.target.connect().await.expect("connected").place
    }

    #[tokio::test]
    async fn an_endpoint_is_used_unless_aws_is_asked_for() {
        let endpoint = ["--endpoint-url", "http://127.0.0.1:1", "--region", "eu-west-1"];
        let local = place(&endpoint).await;
        assert_eq!((local.to_string().as_str(), local.is_aws()), ("http://127.0.0.1:1", false));
        let aws = place(&[&endpoint[..], &["--aws"]].concat()).await;
        assert_eq!((aws.to_string().as_str(), aws.is_aws()), ("AWS eu-west-1", true));
    }

    #[tokio::test]
    async fn a_local_client_has_the_region_that_is_given() {
        let line = Line::parse_from(["x", "--endpoint-url", "http://127.0.0.1:1", "--region", "r"]);
        let Connected { client, s3, .. } = line.target.connect().await.expect("connected");
        let s3 = s3.expect("a client of the bucket");
        assert_eq!(client.config().region().map(Region::as_ref), Some("r"));
        assert_eq!(s3.config().region().map(Region::as_ref), Some("r"));
    }
}
