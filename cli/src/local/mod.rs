//! A laptop's stand-in for the cloud.
//!
//! | File | |
//! |---|---|
//! | `engine` | the embedded DynamoDB engine, on its own thread and listener |
//! | `functions` | every Lambda of the project by its binary's name |
//! | `objects` | an S3 server over a folder |
//! | `gateway` | an HTTP API: requests become events, replies become responses |
//! | `project` | the folder a running catalog keeps its data and its whereabouts in |
//! | `sample` | the sample catalogs and their keys |
//! | `watch` | files dropped into the bucket becoming events |
//! | `stack` | all of it together |

mod engine;
mod functions;
mod gateway;
mod objects;
mod project;
pub mod sample;
mod stack;
mod watch;

pub use engine::{Engine, Storage};
pub use functions::{Function, functions};
pub use gateway::Gateway;
pub use objects::ObjectServer;
pub use project::{Project, Whereabouts};
pub use stack::{Stack, StackOptions};
pub use watch::Bucket;
