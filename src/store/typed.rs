//! Deserializes the items of a `Query` directly from the JSON of the reply into our own types.
//!
//! A list mostly copies its items into the reply. The SDK would build a map for each item first, with an allocation for
//! each name and value, which was half of the CPU time of a list. The SDK still sends the requests, and parses the error
//! replies.

use std::{
    collections::HashMap,
    fmt, mem,
    sync::{Arc, Mutex},
};

use aws_sdk_dynamodb::{
    config::{
        ConfigBag, Intercept, RuntimeComponents, http::HttpResponse,
        interceptors::BeforeDeserializationInterceptorContextMut,
    },
    error::BoxError,
    operation::query::QueryOutput,
    types::{AttributeValue, ConsumedCapacity},
};
use aws_smithy_runtime_api::client::{
    interceptors::context::{Error, Output},
    orchestrator::OrchestratorError,
    ser_de::{DeserializeResponse, SharedResponseDeserializer},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, IgnoredAny},
};
use serde_json::value::RawValue;

use crate::{document::JsonText, lock::lock};

/// An attribute value as DynamoDB sends it, `{"S": …}` or `{"SS": […]}`: lists read no other types.
#[derive(Debug, Deserialize)]
pub(super) enum Attribute<T> {
    S(T),
    #[serde(rename = "SS")]
    StringSet(T),
}

impl<T> Attribute<T> {
    pub(super) fn into_inner(self) -> T {
        match self {
            Self::S(value) | Self::StringSet(value) => value,
        }
    }
}

/// A JSON text, as it stands in a string of DynamoDB's reply: it stays escaped, because our reply needs it escaped, too.
#[derive(Debug)]
pub(super) struct RawJson(pub(super) JsonText);

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        let inside = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
        let inside = inside.ok_or_else(|| D::Error::custom("a document is a string"))?;
        Ok(Self(JsonText::escaped(inside.to_owned())))
    }
}

/// The response deserializer of one query: as an interceptor it replaces the SDK's own, and it keeps the items until
/// [`Self::take`]. Clones share the items, so the caller keeps one and gives the SDK another.
pub(super) struct TypedItems<T>(Arc<Mutex<Parsed<T>>>);

/// The items of a reply, or why one of them is not a `T`.
type Parsed<T> = Result<Vec<T>, serde_json::Error>;

impl<T> TypedItems<T> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Ok(Vec::new()))))
    }

    /// Takes the items of the last reply.
    pub(super) fn take(&self) -> Parsed<T> {
        mem::replace(&mut lock(&self.0), Ok(Vec::new()))
    }
}

impl<T> Clone for TypedItems<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for TypedItems<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypedItems(…)")
    }
}

impl<T: DeserializeOwned + Send + 'static> Intercept for TypedItems<T> {
    fn name(&self) -> &'static str {
        "TypedItems"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().status().is_success() {
            let deserializer = SharedResponseDeserializer::new(self.clone());
            config.interceptor_state().store_put(deserializer);
        }
        Ok(())
    }
}

/// What a list needs of a reply.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reply<I> {
    items: Option<I>,
    scanned_count: i32,
    /// All key attributes of the offerings' indexes are strings.
    last_evaluated_key: Option<HashMap<String, Attribute<String>>>,
    consumed_capacity: Option<Capacity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Capacity {
    capacity_units: f64,
}

impl<T: DeserializeOwned + Send + 'static> DeserializeResponse for TypedItems<T> {
    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        _: &ConfigBag,
    ) -> Result<Output, OrchestratorError<Error>> {
        let body = response.body().bytes().unwrap_or_default();
        let reply: Reply<Vec<T>> = match serde_json::from_slice(body) {
            Ok(reply) => reply,
            // An item of another shape will not change: `take` reports it, and the consumed capacity still counts. A body
            // that is not JSON fails the request instead, which is then retried.
            Err(error) if error.is_data() => {
                let reply: Reply<IgnoredAny> =
                    serde_json::from_slice(body).map_err(OrchestratorError::other)?;
                *lock(&self.0) = Err(error);
                return Ok(Output::erase(reply.into_output().0));
            }
            Err(error) => return Err(OrchestratorError::other(error)),
        };
        let (output, items) = reply.into_output();
        *lock(&self.0) = Ok(items.unwrap_or_default());
        Ok(Output::erase(output))
    }
}

impl<I> Reply<I> {
    fn into_output(self) -> (QueryOutput, Option<I>) {
        let key = self.last_evaluated_key.map(|key| {
            let text = |value: Attribute<String>| AttributeValue::S(value.into_inner());
            key.into_iter().map(|(name, value)| (name, text(value))).collect()
        });
        let capacity = self.consumed_capacity.map(|capacity| {
            ConsumedCapacity::builder().capacity_units(capacity.capacity_units).build()
        });
        let output = QueryOutput::builder()
            .scanned_count(self.scanned_count)
            .set_last_evaluated_key(key)
            .set_consumed_capacity(capacity);
        (output.build(), self.items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_from_a_json_string_and_from_nothing_else() {
        let RawJson(read) = serde_json::from_str(r#""{\"a\":\"\u0041\/\"}""#).expect("text");
        assert_eq!(read.plain(), r#"{"a":"A/"}"#);
        for broken in [r#""\x""#, r#""\u12""#, "1", "{}", "\"a\nb\""] {
            assert!(serde_json::from_str::<RawJson>(broken).is_err(), "{broken}");
        }
    }
    #[test]
    fn the_items_of_a_reply_are_not_told_in_debugging_output() {
        let items = TypedItems::<String>::new();
        *lock(&items.0) = Ok(vec!["SECRET".to_owned()]);
        assert_eq!(format!("{items:?} of {}", items.name()), "TypedItems(…) of TypedItems");
        assert_eq!(items.clone().take().expect("items"), ["SECRET"]);
        assert!(items.take().expect("none").is_empty(), "they are taken once");
    }

    fn deserialized(body: &str) -> (Option<QueryOutput>, Parsed<u32>) {
        let items = TypedItems::<u32>::new();
        let status = 200.try_into().expect("a status");
        let response = HttpResponse::new(status, body.to_owned().into());
        let config = ConfigBag::base();
        let output = items.deserialize_nonstreaming_with_config(&response, &config).ok();
        (output.map(|output| output.downcast().expect("the output of a query")), items.take())
    }

    #[test]
    fn a_reply_is_read_even_if_its_items_are_of_another_shape() {
        let reply = |items: &str| {
            format!(
                r#"{{"Items":{items},"ScannedCount":3,"LastEvaluatedKey":{{"a":{{"S":"x"}}}},
                "ConsumedCapacity":{{"TableName":"t","CapacityUnits":1.5}}}}"#
            )
        };
        for (items, read) in [("[1,2]", Some(vec![1, 2])), (r#"["x"]"#, None)] {
            let (output, taken) = deserialized(&reply(items));
            let output = output.expect("a reply");
            assert_eq!(output.scanned_count, 3);
            let key = HashMap::from([("a".to_owned(), AttributeValue::S("x".to_owned()))]);
            assert_eq!(output.last_evaluated_key, Some(key));
            let units = output.consumed_capacity.and_then(|capacity| capacity.capacity_units);
            assert_eq!(units, Some(1.5));
            assert_eq!(taken.ok(), read, "{items}");
        }
        let (output, taken) = deserialized(r#"{"ScannedCount":0}"#);
        let output = output.expect("a reply");
        assert_eq!((output.last_evaluated_key, output.consumed_capacity), (None, None));
        assert!(taken.expect("no items").is_empty());
        // The request is then retried.
        for broken in ["", "{", "<html>"] {
            assert!(deserialized(broken).0.is_none(), "{broken}");
        }
    }
}
