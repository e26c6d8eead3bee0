//! The envelope in the description of the API.

use serde_json::{Value, json};

use super::envelope::Meta;
use crate::http::describe::Schemas;

/// A successful reply of the networks dialect.
pub(super) fn envelope_schema(schemas: &mut Schemas, data: impl Into<Value>) -> Value {
    let data: Value = data.into();
    json!({
        "type": "object",
        "required": ["success", "data", "meta"],
        "properties": { "success": { "type": "boolean", "const": true }, "data": data, "meta": schemas.of::<Meta<'_>>() },
    })
}

pub(super) fn in_envelope(data: impl Into<Value>) -> Value {
    let data: Value = data.into();
    let meta = json!({ "request_id": "req_01J9ZC6YQ2", "timestamp": "2026-01-15T10:30:00.000Z" });
    json!({ "success": true, "data": data, "meta": meta })
}
