//! X-Ray subsegments: the requests to the database, if the trace is sampled.
//!
//! Lambda records the function's segment (`AWS::Lambda::Function`), but not what the function calls. Each attempt of a
//! request to the database becomes a subsegment of it: a UDP datagram to the daemon that Lambda runs for functions with
//! active tracing, sent without waiting. The format is described in the X-Ray developer guide, "AWS X-Ray segment
//! documents" and "Sending trace data to X-Ray".

use std::{
    future::Future,
    net::{SocketAddr, UdpSocket},
    sync::{Arc, OnceLock},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::json;

use crate::text::hex;

/// The header of each datagram.
const HEADER: &str = "{\"format\": \"json\", \"version\": 1}\n";

/// How a call failed, as X-Ray tells failures apart (developer guide, "Errors, faults and exceptions").
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    /// The database failed, or was not reached.
    Fault,
    /// Any other failure: the condition of a write did not hold (normal here), the request was invalid, or the error is
    /// unknown.
    Error,
    /// The database throttled the request.
    Throttle,
}

tokio::task_local! {
    static TRACE: Trace;
}

/// A sampled trace, and the daemon that its subsegments are sent to.
#[derive(Clone, Debug)]
struct Trace {
    root: String,
    parent: String,
    daemon: Arc<UdpSocket>,
}

impl Trace {
    /// Parses a trace header, such as `Root=1-…;Parent=…;Sampled=1`; `None` if it is not sampled.
    fn of(header: &str, daemon: &Arc<UdpSocket>) -> Option<Self> {
        let part = |name: &str| {
            let mut parts = header.split(';').filter_map(|part| part.trim().split_once('='));
            parts.find(|(known, _)| *known == name).map(|(_, value)| value)
        };
        (part("Sampled")? == "1").then_some(())?;
        let (root, parent) = (part("Root")?.to_owned(), part("Parent")?.to_owned());
        Some(Self { root, parent, daemon: daemon.clone() })
    }

    /// `operation` is the store's name of the request, such as `list products`, not DynamoDB's API action.
    fn send(&self, operation: &str, started: SystemTime, failure: Option<Failure>) {
        let seconds =
            |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut span = json!({
            "name": "DynamoDB",
            "id": hex(&fastrand::u64(..).to_be_bytes()),
            "trace_id": self.root,
            "parent_id": self.parent,
            "type": "subsegment",
            "namespace": "aws",
            "start_time": seconds(started),
            "end_time": seconds(SystemTime::now()),
            "aws": { "operation": operation },
        });
        match failure {
            None => {}
            Some(Failure::Fault) => span["fault"] = true.into(),
            Some(Failure::Error) => span["error"] = true.into(),
            Some(Failure::Throttle) => {
                span["error"] = true.into();
                span["throttle"] = true.into();
            }
        }
        // A lost datagram costs a line in a trace; it must not fail a request.
        let _ = self.daemon.send(format!("{HEADER}{span}").as_bytes());
    }
}

/// Runs a future. Its requests to the database become subsegments of the trace in this header, if it is sampled.
pub async fn traced<F: Future>(header: Option<&str>, work: F) -> F::Output {
    static DAEMON: OnceLock<Option<Arc<UdpSocket>>> = OnceLock::new();
    let address = || std::env::var("AWS_XRAY_DAEMON_ADDRESS").ok();
    let daemon = DAEMON.get_or_init(|| daemon(&address()?));
    match header.zip(daemon.as_ref()).and_then(|(header, daemon)| Trace::of(header, daemon)) {
        Some(trace) => TRACE.scope(trace, work).await,
        None => work.await,
    }
}

/// A non-blocking socket to the daemon.
fn daemon(address: &str) -> Option<Arc<UdpSocket>> {
    let address: SocketAddr = address.parse().ok()?;
    let any: SocketAddr =
        if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(address).ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(Arc::new(socket))
}

/// An attempt in progress, which becomes a subsegment of the current trace, if there is one.
pub(crate) struct Span(Option<(Trace, SystemTime)>);

impl Span {
    pub(crate) fn begin() -> Self {
        Self(TRACE.try_with(|trace| (trace.clone(), SystemTime::now())).ok())
    }

    pub(crate) fn end(self, operation: &str, failure: Option<Failure>) {
        if let Some((trace, started)) = self.0 {
            trace.send(operation, started, failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;

    #[tokio::test]
    async fn a_call_within_a_sampled_trace_is_a_datagram_to_the_daemon() {
        let listener = UdpSocket::bind("127.0.0.1:0").expect("a port");
        listener.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let socket = daemon(&listener.local_addr().expect("an address").to_string());
        let socket = socket.expect("a socket");
        let header = |sampled| format!("Root=1-a-b;Parent=c;Sampled={sampled};Lineage=1:x:0");

        let trace = Trace::of(&header(1), &socket).expect("sampled");
        TRACE.scope(trace, async { Span::begin().end("list products", None) }).await;
        let mut datagram = [0; 2_048];
        let length = listener.recv(&mut datagram).expect("a datagram");
        let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
        let span: Value = serde_json::from_str(text.strip_prefix(HEADER).expect("its header"))
            .expect("a document");
        assert_eq!((&span["trace_id"], &span["parent_id"]), (&"1-a-b".into(), &"c".into()));
        assert_eq!(span["aws"]["operation"], "list products");
        assert_eq!(span["id"].as_str().map(str::len), Some(16));
        assert!(span["end_time"].as_f64() >= span["start_time"].as_f64());

        assert!(Trace::of(&header(0), &socket).is_none());
        assert!(Trace::of("Root=1-a-b", &socket).is_none());
        // There is no trace, so nothing is sent.
        Span::begin().end("list products", None);
        listener.set_nonblocking(true).expect("a flag");
        assert!(listener.recv(&mut datagram).is_err());
    }
    /// The subsegment of a call that failed like this, without what differs each time.
    fn told(failure: Option<Failure>) -> Value {
        let listener = UdpSocket::bind("127.0.0.1:0").expect("a port");
        listener.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let socket = daemon(&listener.local_addr().expect("an address").to_string());
        let trace = Trace::of("Sampled=1; Parent=c;x;Root=r", &socket.expect("a socket"));
        trace.expect("sampled").send("get item", UNIX_EPOCH, failure);
        let mut datagram = [0; 2_048];
        let length = listener.recv(&mut datagram).expect("a datagram");
        let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
        let span = text.strip_prefix("{\"format\": \"json\", \"version\": 1}\n");
        let mut span: Value = serde_json::from_str(span.expect("its header")).expect("JSON");
        for name in ["id", "end_time"] {
            assert!(span.as_object_mut().and_then(|span| span.remove(name)).is_some(), "{name}");
        }
        span
    }

    #[test]
    fn a_subsegment_tells_an_error_a_fault_and_a_throttle_apart() {
        let plain = json!({
            "name": "DynamoDB", "trace_id": "r", "parent_id": "c", "type": "subsegment",
            "namespace": "aws", "start_time": 0.0, "aws": { "operation": "get item" },
        });
        for (failure, flags) in [
            (None, &[][..]),
            (Some(Failure::Fault), &["fault"]),
            (Some(Failure::Error), &["error"]),
            (Some(Failure::Throttle), &["error", "throttle"]),
        ] {
            let mut expected = plain.clone();
            for flag in flags {
                expected[*flag] = true.into();
            }
            assert_eq!(told(failure), expected);
        }
    }

    #[test]
    fn the_daemon_is_reached_by_either_protocol_and_by_no_name() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine may have only one of the protocols.
            let Ok(listener) = UdpSocket::bind(address) else { continue };
            let address = listener.local_addr().expect("an address");
            let socket = daemon(&address.to_string()).expect("a socket");
            assert_eq!(socket.peer_addr().expect("connected"), address);
        }
        assert!(daemon("localhost").is_none());
    }
}
