//! The commands of the tool, one file each.

pub mod changes;
mod difference;
pub mod export;
pub mod import;
pub mod imports;
pub mod keys;
pub mod openapi;
pub mod serve;
pub mod smoke;
pub mod tables;
