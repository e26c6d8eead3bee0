//! Builds SDK clients that start fast.
//!
//! The SDK's default client looks for profile files and loads all native root certificates before its first
//! request, which multiplies the duration of a cold start in Lambda. A function needs neither: its
//! environment has region, credentials and an endpoint override, and DynamoDB's certificates chain to
//! Amazon's own roots (`amazon-roots.pem`, from <https://www.amazontrust.com/repository/>).

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

/// How long an idle connection to DynamoDB or SQS is kept: less than the servers keep it, with a margin. A
/// connection that the server has closed fails the next request, and the SDK's own default is 90 s.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// The same for S3, which closes an idle connection after some seconds.
const S3_POOL_IDLE: Duration = Duration::from_secs(5);

/// How to reach a service.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    pub region: Option<String>,
    /// The URL of a local stand-in, such as a DynamoDB emulator.
    pub endpoint: Option<String>,
    /// A PEM file of certificates that replace Amazon's own roots: `AWS_CA_BUNDLE`, as in the SDKs. In Lambda
    /// it would be `/etc/pki/tls/certs/ca-bundle.crt`; loading that adds some milliseconds to a cold start.
    pub ca_bundle: Option<PathBuf>,
}

impl Connection {
    /// A connection to a local stand-in.
    #[must_use]
    pub fn local(endpoint: &str) -> Self {
        Self { endpoint: Some(endpoint.to_owned()), ..Self::default() }
    }
}

/// Why a client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("AWS_REGION is missing; there is no default region")]
    NoRegion,
    /// The certificates cannot be read.
    #[error("AWS_CA_BUNDLE: {} cannot be read: {source}", path.display())]
    CaBundle {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    #[error("the TLS settings were refused: {0}")]
    Tls(String),
}

/// Builds the DynamoDB client that all functions use.
///
/// A local stand-in is reached over plain HTTP, and with stand-in credentials if the environment has none. An
/// attempt times out after 3 s.
pub fn lean_client(connection: &Connection) -> Result<Client, ClientError> {
    Ok(Client::new(&shared_config(connection, POOL_IDLE, timeouts(3))?))
}

/// Builds the S3 client, just as lean. Objects may be large, so the timeout covers only the response headers;
/// a stalled body is ended by the SDK.
pub fn lean_s3_client(connection: &Connection) -> Result<aws_sdk_s3::Client, ClientError> {
    // For a GET, the attempt ends with the response headers.
    let timeouts = timeouts(5).read_timeout(Duration::from_secs(20));
    let shared = shared_config(connection, S3_POOL_IDLE, timeouts)?;
    let config = aws_sdk_s3::config::Builder::from(&shared)
        // Parts of an upload need none: TLS protects them, and their ETags are compared.
        .request_checksum_calculation(aws_sdk_s3::config::RequestChecksumCalculation::WhenRequired)
        // A local server has no host name that a bucket's name could be a prefix of.
        .force_path_style(connection.endpoint.is_some());
    Ok(aws_sdk_s3::Client::from_conf(config.build()))
}

/// Builds the SQS client for the import queue, just as lean.
pub fn lean_sqs_client(connection: &Connection) -> Result<aws_sdk_sqs::Client, ClientError> {
    Ok(aws_sdk_sqs::Client::new(&shared_config(connection, POOL_IDLE, timeouts(3))?))
}

/// Builds the `EventBridge` client for the journal's events, just as lean.
pub fn lean_events_client(
    connection: &Connection,
) -> Result<aws_sdk_eventbridge::Client, ClientError> {
    Ok(aws_sdk_eventbridge::Client::new(&shared_config(connection, POOL_IDLE, timeouts(3))?))
}

/// The configuration that all clients share. The SDK's own retries are off: only [`crate::retry`] retries, so
/// that the number of attempts is defined in one place.
fn shared_config(
    connection: &Connection,
    pool_idle: Duration,
    timeouts: TimeoutConfigBuilder,
) -> Result<SdkConfig, ClientError> {
    let region = match (&connection.region, &connection.endpoint) {
        (Some(region), _) => region.clone(),
        // The region is needed only for the signature, which a local stand-in does not verify.
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

/// The timeouts for connecting, and for an attempt as a whole.
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
            // A local stand-in requires a signature, but does not verify it.
            let stand_in = Credentials::new("local", "local", None, None, "local engine");
            SharedCredentialsProvider::new(stand_in)
        }
        _ => SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()),
    }
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
