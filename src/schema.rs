//! JSON Schemas of types that serde writes as a string or a number: they cannot be derived from the fields.
//! Only the operator's tool needs schemas (feature `openapi`).

/// Gives a type a JSON Schema that is inlined where the type is used.
macro_rules! schema {
    ($name:ty, $($schema:tt)+) => {
        #[cfg(feature = "openapi")]
        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($($schema)+)
            }
        }
    };
}
pub(crate) use schema;
