//! Local stand-ins for AWS.
//!
//! | File | |
//! |---|---|
//! | `bucket` | the bucket in a folder, and the events of its objects |
//! | `engine` | the embedded DynamoDB engine, on its own thread and listener |
//! | `functions` | all Lambda functions by the names of their binaries |
//! | `objects` | an S3 server over a folder |
//! | `gateway` | an HTTP API: requests become events, replies become responses |
//! | `partitions` | a model of the limits of DynamoDB's partitions |
//! | `proxy` | a proxy before the engine that enforces them |
//! | `project` | the folder in which a running catalog keeps its data and publishes its addresses |
//! | `queue` | an SQS queue, and its event source |
//! | `queue_server` | SQS over HTTP, for functions in other processes |
//! | `sample` | the sample catalogs and their keys |
//! | `streams` | reads the engine's streams, and invokes `record-changes` |
//! | `stack` | all of it together |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::{net::TcpListener, task::JoinSet};

use crate::error::CliError;

mod bucket;
mod engine;
mod functions;
mod gateway;
mod objects;
mod partitions;
mod project;
mod proxy;
mod queue;
mod queue_server;
pub mod sample;
mod stack;
mod streams;

pub use bucket::{BUCKET, LocalBucket};
pub use engine::{Engine, Storage};
pub use functions::{Function, JobServices, functions};
pub use gateway::Gateway;
pub use objects::ObjectServer;
pub use partitions::{Admission, Forwarded, PartitionLimits, Partitions, Tally};
pub use project::{Addresses, Project, known_cursor_secret};
pub use proxy::ThrottlingProxy;
pub use queue::LocalQueue;
pub use queue_server::QueueServer;
pub use stack::{Stack, StackOptions};
pub use streams::Streams;

/// The loopback address.
pub const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Listens on an address and port (0: any free one).
async fn listener(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), CliError> {
    let refused = |source| CliError::Port { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok((listener, address))
}

/// A running server; it stops when dropped.
#[derive(Debug)]
struct Server {
    address: SocketAddr,
    _task: JoinSet<()>,
}

impl Server {
    /// Listens on an address, on any free port, and serves what connects.
    async fn start<F: Future<Output = ()> + Send + 'static>(
        listen: IpAddr,
        serve: impl FnOnce(TcpListener) -> F,
    ) -> Result<Self, CliError> {
        let (listener, address) = listener(SocketAddr::new(listen, 0)).await?;
        let mut task = JoinSet::new();
        task.spawn(serve(listener));
        Ok(Self { address, _task: task })
    }

    fn url(&self) -> String {
        url_of(self.address)
    }
}

/// The URL at which this machine reaches a server that listens on this address.
fn url_of(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => LOCALHOST,
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_reached_at_the_loopback_address() {
        for (listens, url) in [
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:80", "http://[::1]:80"),
            ("192.0.2.1:3000", "http://192.0.2.1:3000"),
            ("[2001:db8::1]:3000", "http://[2001:db8::1]:3000"),
        ] {
            assert_eq!(url_of(listens.parse().expect("an address")), url);
        }
    }
}
