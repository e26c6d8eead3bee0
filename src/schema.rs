//! JSON Schemas of types that are written as one text or number: what serde makes of them cannot be
//! told from their parts. Only the operator's tool asks for schemas (feature `openapi`).

/// Gives a type a JSON Schema that stands where the type is used.
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
