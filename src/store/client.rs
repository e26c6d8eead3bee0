//! The lean SDK client.
//!
//! The SDK's default client probes profile files and loads every native root certificate before its
//! first request; in a Lambda that multiplies the time of a cold start. A function needs none of it:
//! region, credentials and an endpoint override are in its environment, and DynamoDB's certificates
//! chain to Amazon's own roots (`amazon-roots.pem`, from <https://www.amazontrust.com/repository/>).

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use aws_config::{
    BehaviorVersion, SdkConfig, environment::EnvironmentVariableCredentialsProvider,
    timeout::TimeoutConfigBuilder,
};
use aws_sdk_dynamodb::{
    Client,
    config::{
        Credentials, Region, SharedCredentialsProvider, SharedHttpClient, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};

const AMAZON_ROOTS: &[u8] = include_bytes!("amazon-roots.pem");

/// How long DynamoDB and SQS let a connection be idle, with a margin: one that the server has closed fails
/// the next request, and the SDK would keep it for 90 s.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// S3 closes an idle connection after some seconds.
const S3_POOL_IDLE: Duration = Duration::from_secs(5);

/// How a client reaches its service.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// The AWS region.
    pub region: Option<String>,
    /// The URL of a local engine instead.
    pub endpoint: Option<String>,
    /// A file of certificates in PEM, in place of Amazon's own roots: `AWS_CA_BUNDLE`, as the SDKs know it.
    /// Lambda's is `/etc/pki/tls/certs/ca-bundle.crt`; to load it takes a cold start some milliseconds more.
    pub ca_bundle: Option<PathBuf>,
}

impl Connection {
    /// To a local engine.
    #[must_use]
    pub fn local(endpoint: &str) -> Self {
        Self { endpoint: Some(endpoint.to_owned()), ..Self::default() }
    }
}

/// The client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no region to send requests to.
    #[error("AWS_REGION is missing: no region is a default, and another region has other tables")]
    NoRegion,
    /// The certificates cannot be read.
    #[error("AWS_CA_BUNDLE: {} cannot be read: {source}", path.display())]
    CaBundle {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The TLS settings are refused.
    #[error("the TLS settings were refused: {0}")]
    Tls(String),
}

/// Builds the client every function uses.
///
/// A local engine gets plain HTTP, and stand-in credentials where the environment has none. An attempt
/// ends after 3 s.
///
/// # Errors
/// [`ClientError`].
pub fn lean_client(connection: &Connection) -> Result<Client, ClientError> {
    Ok(Client::new(&shared_config(connection, POOL_IDLE, timeouts(3))?))
}

/// Builds the client for objects, in the same lean way. An object may be large: only its head has a
/// bound in time, and a body that stalls is ended by the SDK.
///
/// # Errors
/// [`ClientError`].
pub fn lean_s3_client(connection: &Connection) -> Result<aws_sdk_s3::Client, ClientError> {
    // Of a GET an attempt is the time to its head.
    let timeouts = timeouts(5).read_timeout(Duration::from_secs(20));
    let shared = shared_config(connection, S3_POOL_IDLE, timeouts)?;
    let config = aws_sdk_s3::config::Builder::from(&shared)
        // A local server has no host name a bucket could be put before.
        .force_path_style(connection.endpoint.is_some());
    Ok(aws_sdk_s3::Client::from_conf(config.build()))
}

/// Builds the client for the queue of imports, in the same lean way.
///
/// # Errors
/// [`ClientError`].
pub fn lean_sqs_client(connection: &Connection) -> Result<aws_sdk_sqs::Client, ClientError> {
    Ok(aws_sdk_sqs::Client::new(&shared_config(connection, POOL_IDLE, timeouts(3))?))
}

/// What all clients have in common. The SDK retries nothing: that is for [`crate::retry`] alone, so that
/// what a request may cost is one number.
fn shared_config(
    connection: &Connection,
    pool_idle: Duration,
    timeouts: TimeoutConfigBuilder,
) -> Result<SdkConfig, ClientError> {
    let region = match (&connection.region, &connection.endpoint) {
        (Some(region), _) => region.clone(),
        // Only a signature names it, which a local engine does not verify.
        (None, Some(_)) => "us-east-1".to_owned(),
        (None, None) => return Err(ClientError::NoRegion),
    };
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client(connection.ca_bundle.as_deref(), pool_idle)?)
        .region(Region::new(region))
        .credentials_provider(credentials(connection))
        .timeout_config(timeouts.build())
        .retry_config(RetryConfig::disabled());
    config.set_endpoint_url(connection.endpoint.clone());
    Ok(config.build())
}

/// The time for a connection, and for an attempt as a whole.
fn timeouts(attempt_seconds: u64) -> TimeoutConfigBuilder {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(Duration::from_secs(attempt_seconds))
}

fn http_client(
    ca_bundle: Option<&Path>,
    pool_idle: Duration,
) -> Result<SharedHttpClient, ClientError> {
    let roots = match ca_bundle {
        Some(path) => fs::read(path)
            .map_err(|source| ClientError::CaBundle { path: path.to_owned(), source })?,
        None => AMAZON_ROOTS.to_vec(),
    };
    let tls = TlsContext::builder()
        .with_trust_store(TrustStore::empty().with_pem_certificate(roots))
        .build()
        .map_err(|error| ClientError::Tls(error.to_string()))?;
    Ok(Builder::new()
        .pool_idle_timeout(pool_idle)
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls)
        .build_https())
}

fn credentials(connection: &Connection) -> SharedCredentialsProvider {
    match connection.endpoint {
        Some(_) if std::env::var_os("AWS_ACCESS_KEY_ID").is_none() => {
            SharedCredentialsProvider::new(stand_in_credentials())
        }
        _ => SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()),
    }
}

/// What a local engine accepts: it asks for a signature and does not verify it.
fn stand_in_credentials() -> Credentials {
    Credentials::new("local", "local", None, None, "local engine")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_has_a_region_and_roots_that_can_be_read() {
        let region = Some("eu-west-1".to_owned());
        assert!(matches!(lean_client(&Connection::default()), Err(ClientError::NoRegion)));
        assert!(
            lean_client(&Connection { region: region.clone(), ..Connection::default() }).is_ok()
        );

        let folder = tempfile::tempdir().expect("a folder");
        let bundle = folder.path().join("bundle.pem");
        let connection =
            Connection { region, ca_bundle: Some(bundle.clone()), ..Connection::default() };
        let error = lean_s3_client(&connection).expect_err("no file").to_string();
        assert!(error.starts_with("AWS_CA_BUNDLE: ") && error.contains("bundle.pem"), "{error}");
        fs::write(&bundle, AMAZON_ROOTS).expect("written");
        assert!(lean_s3_client(&connection).is_ok());
    }
}
