//! The catalog's own API: problem documents as errors, cursors and bounded pages as in the offerings dialect.

mod changes;

pub use changes::ListChanges;

#[cfg(feature = "openapi")]
use super::describe::{Operation, Schemas};

#[cfg(feature = "openapi")]
pub(super) fn describe(schemas: &mut Schemas) -> Vec<Operation> {
    vec![changes::describe(schemas)]
}
