//! What the operator's tool `catalog` is made of.
//!
//! | Room | What lives there |
//! |---|---|
//! | [`template`] | `template.yaml` as the tool reads it: tables, functions, routes |
//! | [`local`] | a laptop's stand-in for the cloud: embedded DynamoDB engine, API Gateway, sample data |
//! | [`connect`] | how a command reaches a catalog's tables: a running `serve`, an endpoint, AWS |
//! | [`api_docs`] | the description of the APIs: a file, and a page to try it out |
//! | [`commands`] | what the tool does: `serve`, `keys`, `import`, `imports`, `export`, `tables`, `openapi` |
//! | [`console`], [`interruption`] | output that survives a closed pipe; being told to stop |

pub mod api_docs;
pub mod commands;
pub mod connect;
pub mod console;
pub mod error;
pub mod interruption;
pub mod local;
pub mod template;
