//! What the tool does, a file a command.

pub mod export;
pub mod import;
pub mod imports;
pub mod keys;
pub mod openapi;
pub mod serve;
pub mod smoke;
pub mod tables;
