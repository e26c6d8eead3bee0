//! The operator's tool `catalog`.
//!
//! | Module | Contents |
//! |---|---|
//! | [`template`] | `template.yaml` as the tool reads it: tables, functions, routes |
//! | [`local`] | local stand-ins for AWS: embedded DynamoDB engine, API Gateway, S3; sample data |
//! | `connect` | how a command connects to a catalog: a running `serve`, an endpoint, AWS |
//! | `api_docs` | the OpenAPI description: a file, and a page on which to try the APIs |
//! | `commands` | the commands: `serve`, `keys`, `import`, `export`, `changes`, `imports`, `tables`, `smoke`, `openapi` |
//! | `console`, `interruption` | output that survives a closed pipe; Ctrl-C and SIGTERM |

mod api_docs;
mod commands;
mod connect;
mod console;
mod error;
mod interruption;
pub mod local;
pub mod template;

pub use commands::run;
