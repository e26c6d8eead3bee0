//! The catalog's own API: problem documents as errors, cursors and bounded pages as in the offerings dialect.

pub(super) mod changes;
pub(super) mod exports;
#[cfg(test)]
mod fuzz;
pub(super) mod imports;
mod submit;

pub use changes::ListChanges;
pub use exports::ManageExports;
pub use imports::ManageImports;
