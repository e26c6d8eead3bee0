//! A laptop's stand-in for the cloud.
//!
//! | File | |
//! |---|---|
//! | `engine` | the embedded DynamoDB engine, on its own thread and listener |
//! | `functions` | every Lambda of the project by its binary's name |
//! | `gateway` | an HTTP API: requests become events, replies become responses |
//! | `project` | the folder a running catalog keeps its data and its whereabouts in |
//! | `sample` | the sample catalogs and their keys |
//! | `stack` | all of it together |

mod engine;
mod functions;
mod gateway;
mod project;
pub mod sample;
mod stack;

pub use engine::{Engine, Storage};
pub use functions::{Function, functions};
pub use gateway::Gateway;
pub use project::{Project, Whereabouts};
pub use stack::{Stack, StackOptions};
