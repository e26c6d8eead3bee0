//! The lean SDK client.
//!
//! The SDK's default client probes profile files and loads every native root certificate before its
//! first request; in a Lambda that multiplies the time of a cold start. A function needs none of it:
//! region, credentials and an endpoint override are in its environment, and DynamoDB's certificates
//! chain to Amazon's own roots (`amazon-roots.pem`, from <https://www.amazontrust.com/repository/>).

use std::time::Duration;

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

/// The client cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("the TLS settings of the DynamoDB client were refused: {0}")]
pub struct ClientError(String);

/// Builds the client every function uses.
///
/// With `endpoint` it speaks to a local engine: plain HTTP, and stand-in credentials where the
/// environment has none. An attempt ends after 3 s.
///
/// # Errors
/// [`ClientError`] when the TLS settings are refused.
pub fn lean_client(region: Option<String>, endpoint: Option<&str>) -> Result<Client, ClientError> {
    Ok(Client::new(&shared_config(region, endpoint, timeouts(3))?))
}

/// Builds the client for objects, in the same lean way. An object may be large: only its head has a
/// bound in time, and a body that stalls is ended by the SDK.
///
/// # Errors
/// [`ClientError`] when the TLS settings are refused.
pub fn lean_s3_client(
    region: Option<String>,
    endpoint: Option<&str>,
) -> Result<aws_sdk_s3::Client, ClientError> {
    // Of a GET an attempt is the time to its head.
    let timeouts = timeouts(5).read_timeout(Duration::from_secs(20));
    let config = aws_sdk_s3::config::Builder::from(&shared_config(region, endpoint, timeouts)?)
        // A local server has no host name a bucket could be put before.
        .force_path_style(endpoint.is_some());
    Ok(aws_sdk_s3::Client::from_conf(config.build()))
}

/// Builds the client for the queue of imports, in the same lean way.
///
/// # Errors
/// [`ClientError`] when the TLS settings are refused.
pub fn lean_sqs_client(
    region: Option<String>,
    endpoint: Option<&str>,
) -> Result<aws_sdk_sqs::Client, ClientError> {
    Ok(aws_sdk_sqs::Client::new(&shared_config(region, endpoint, timeouts(3))?))
}

/// What all clients have in common. The SDK retries nothing: that is for [`crate::retry`] alone, so that
/// what a request may cost is one number.
fn shared_config(
    region: Option<String>,
    endpoint: Option<&str>,
    timeouts: TimeoutConfigBuilder,
) -> Result<SdkConfig, ClientError> {
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client()?)
        .region(Region::new(region.unwrap_or_else(|| "us-east-1".to_owned())))
        .credentials_provider(credentials(endpoint))
        .timeout_config(timeouts.build())
        .retry_config(RetryConfig::disabled());
    config.set_endpoint_url(endpoint.map(ToOwned::to_owned));
    Ok(config.build())
}

/// The time for a connection, and for an attempt as a whole.
fn timeouts(attempt_seconds: u64) -> TimeoutConfigBuilder {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(Duration::from_secs(attempt_seconds))
}

fn http_client() -> Result<SharedHttpClient, ClientError> {
    let trust = TrustStore::empty().with_pem_certificate(AMAZON_ROOTS);
    let tls = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|error| ClientError(error.to_string()))?;
    Ok(Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls)
        .build_https())
}

fn credentials(endpoint: Option<&str>) -> SharedCredentialsProvider {
    match endpoint {
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
