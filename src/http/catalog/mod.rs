//! The catalog's own API: problem documents as errors, cursors and bounded pages as in the offerings dialect.

mod changes;
mod exports;
#[cfg(test)]
mod fuzz;
mod imports;
mod submit;

pub use changes::ListChanges;
pub use exports::ManageExports;
pub use imports::ManageImports;

#[cfg(feature = "openapi")]
use super::describe::{Operation, Schemas};

#[cfg(feature = "openapi")]
pub(super) fn describe(schemas: &mut Schemas) -> Vec<Operation> {
    let mut operations = vec![changes::describe(schemas)];
    operations.extend(imports::describe(schemas));
    operations.extend(exports::describe(schemas));
    operations
}
