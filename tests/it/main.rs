//! Whole-system tests: requests over HTTP, through the gateway's events, the very service a Lambda
//! runs, the SDK, and the embedded engine with the tables of `template.yaml`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on has failed"
)]

mod admission;
mod bad_input;
mod changes;
mod cost;
mod coverage;
mod dialects;
mod difference;
mod events;
mod export;
mod exports;
mod faults;
mod functions;
#[path = "../../src/fuzz.rs"]
mod fuzz;
mod hostile;
mod idempotency;
mod imports;
mod isolation;
mod items;
mod job_store;
mod jobs;
mod limits;
mod log;
mod messages;
mod networks;
mod offerings;
mod order;
mod paging;
mod permissions;
mod products;
mod promotions;
mod proxy;
mod published;
mod queue;
mod readme;
mod reads;
mod replies;

mod simulation;
mod support;
mod tables;
mod trouble;
mod upsert;
