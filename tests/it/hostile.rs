//! Any event of API Gateway is answered, and never with a 5xx.

use std::{cell::RefCell, collections::HashMap, panic::AssertUnwindSafe};

use catalog_cli::local::Function;
use lambda_http::Context;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::{
    events::{file, functions_over_sample, names},
    fuzz::fuzz,
    support::Catalog,
};

/// After so many events a new catalog takes the place of the one that they filled: the memory that the fuzzer measures
/// is not that of a full database.
const EVENTS: u32 = 10_000;

/// The functions over the sample data, and the runtime that they run on.
struct Edge {
    runtime: Runtime,
    functions: HashMap<&'static str, Function>,
    _catalog: Catalog,
    sent: u32,
}

impl Edge {
    fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let (catalog, functions) = runtime.block_on(functions_over_sample());
        Self { runtime, functions, _catalog: catalog, sent: 0 }
    }

    /// Sends an event to a function; `None`: it is not an event.
    fn send(&mut self, function: &str, event: &str) -> Option<Value> {
        if self.sent == EVENTS {
            *self = Self::start();
        }
        self.sent += 1;
        let invoked = self.functions[function].invoke(event.to_owned(), Context::default());
        match self.runtime.block_on(invoked) {
            Ok(reply) => Some(serde_json::from_str(&reply).expect("JSON")),
            Err(error) => {
                // The runtime of Lambda refuses what is no event; API Gateway sends none.
                let is_event = serde_json::from_str::<lambda_http::request::LambdaRequest>(event);
                assert!(is_event.is_err(), "{error}");
                None
            }
        }
    }
}

#[test]
fn any_event_is_answered_and_never_with_a_5xx() {
    let edge = AssertUnwindSafe(RefCell::new(Edge::start()));
    let mut functions: Vec<String> =
        edge.borrow().functions.keys().map(ToString::to_string).collect();
    functions.sort();
    // The first line is the function.
    let seeds = names(false).into_iter().map(|name| {
        let function = name.split('.').next().expect("a function").to_owned();
        let event: Value = serde_json::from_str(&file(&name)).expect("JSON");
        format!("{function}\n{event}").into_bytes()
    });
    let words = [
        "GET",
        "POST",
        "HEAD",
        "%2F",
        "%00",
        "limit=",
        "cursor=",
        "idempotency-key",
        "content-type",
        "application/json",
        "content-encoding",
        "gzip",
        "x-api-key",
        "authorization",
        "Bearer ",
        "rawPath",
        "rawQueryString",
        "isBase64Encoded",
        "pathParameters",
        "$default",
        "body",
    ];
    fuzz("events", seeds.collect(), &words, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let Some((function, event)) = text.split_once('\n') else { return };
        if !functions.iter().any(|name| name == function) {
            return;
        }
        let Some(reply) = edge.borrow_mut().send(function, event) else { return };
        let status = reply["statusCode"].as_u64().expect("a status");
        assert!((200..500).contains(&status), "{reply}");
        // A mutation may have copied the key to where it is no key, as into the request's id.
        let places =
            ["\"x-api-key\":\"cat_live_DemoKey", "\"authorization\":\"Bearer cat_live_DemoKey"];
        let is_key = places.iter().any(|place| event.contains(place));
        if is_key && event.matches("DemoKey").count() == 1 {
            let said = reply.to_string();
            assert!(!said.contains("DemoKey"), "a key is told: {said}");
        }
    });
}
