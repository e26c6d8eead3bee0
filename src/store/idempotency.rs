//! The table `IdempotencyKeys`: claims on the keys of requests, and the answers to keep.
//!
//! An item is put by one conditional write, which costs one unit and reads nothing; what is stored already comes with
//! the failed condition. The answer is compressed, since an item costs a unit per KB.

use std::time::Duration;

use aws_sdk_dynamodb::{
    primitives::Blob,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use jiff::Timestamp;

use super::{
    Store, StoreError,
    item::{
        EXPIRES_AT, Item, compressed, decompressed, key_of, number, number_of, text, text_of,
        time_of,
    },
};
use crate::{
    account::AccountId,
    idempotency::{
        Claimed, IdempotencyStore, KEPT_FOR, KeptAnswer, KeyedRequest, RequestClaim,
        RequestIdentity,
    },
    text::random_name,
};

const CLAIM: &str = "claim idempotency key";
const END: &str = "end idempotent request";

fn key(account: &AccountId, id: &str) -> Item {
    key_of(account, "requestId", text(id))
}

/// What is stored under a key.
struct StoredRequest {
    holder: String,
    held_until: i64,
    expires_at: i64,
    content: Vec<u8>,
    identity: RequestIdentity,
    answer: Option<KeptAnswer>,
}

impl StoredRequest {
    fn read(item: &Item) -> Result<Self, StoreError> {
        let wrong = |name: &str| StoreError::unreadable(CLAIM, format!("attribute {name}"));
        let string = |name| text_of(item, name).map(ToOwned::to_owned).ok_or_else(|| wrong(name));
        let bytes = |name: &str| item.get(name)?.as_b().ok().map(AsRef::as_ref);
        let answer = match bytes("answer") {
            None => None,
            Some(body) => Some(KeptAnswer {
                status: number_of(item, "status").ok_or_else(|| wrong("status"))?,
                content_type: string("contentType")?,
                body: decompressed(body)
                    .and_then(|body| String::from_utf8(body).ok())
                    .ok_or_else(|| wrong("answer"))?,
            }),
        };
        Ok(Self {
            holder: string("holder")?,
            held_until: number_of(item, "heldUntil").unwrap_or_default(),
            expires_at: number_of(item, EXPIRES_AT).unwrap_or_default(),
            content: bytes("content").ok_or_else(|| wrong("content"))?.to_vec(),
            identity: RequestIdentity {
                arrived_at: time_of(item, "arrivedAt").ok_or_else(|| wrong("arrivedAt"))?,
                name: string("name")?,
                is_repeated: true,
            },
            answer,
        })
    }
}

impl IdempotencyStore for Store {
    type Error = StoreError;

    async fn claim_request(
        &self,
        request: KeyedRequest,
        term: Duration,
    ) -> Result<Claimed, StoreError> {
        let now = self.clock.now();
        let held_until = now.checked_add(term).unwrap_or(Timestamp::MAX).as_millisecond();
        let identity = RequestIdentity::new(now);
        let claim = RequestClaim { request, holder: random_name() };
        let Some(stored) = self.put_request(&claim, &identity, held_until).await? else {
            return Ok(Claimed::Held(claim, identity));
        };
        if stored.holder == claim.holder {
            // The put succeeded, its answer was lost, and the next attempt found it.
            return Ok(Claimed::Held(
                claim,
                RequestIdentity { is_repeated: false, ..stored.identity },
            ));
        }
        if stored.content != claim.request.content {
            return Ok(Claimed::OtherRequest);
        }
        if let Some(answer) = stored.answer {
            return Ok(Claimed::Answered(answer));
        }
        let left = stored.held_until.saturating_sub(now.as_millisecond());
        if let Some(left) = u64::try_from(left).ok().filter(|left| *left > 0) {
            return Ok(Claimed::UnderWay(Duration::from_millis(left)));
        }
        if self.take_over(&claim, &stored, held_until).await? {
            Ok(Claimed::Held(claim, stored.identity))
        } else {
            Ok(Claimed::UnderWay(term))
        }
    }

    async fn end_request(
        &self,
        claim: &RequestClaim,
        answer: Option<&KeptAnswer>,
    ) -> Result<(), StoreError> {
        let mut update = self
            .update_item(
                &self.tables.idempotency_keys,
                key(&claim.request.account, &claim.request.id),
            )
            .condition_expression("holder = :holder")
            .expression_attribute_values(":holder", text(claim.holder.as_str()));
        update = match answer {
            None => update.update_expression("REMOVE heldUntil"),
            Some(KeptAnswer { status, content_type, body }) => update
                .update_expression(
                    "SET answer = :answer, #status = :status, contentType = :type REMOVE heldUntil",
                )
                .expression_attribute_names("#status", "status")
                .expression_attribute_values(
                    ":answer",
                    AttributeValue::B(Blob::new(compressed(body.as_bytes()))),
                )
                .expression_attribute_values(":status", number(*status))
                .expression_attribute_values(":type", text(content_type.as_str())),
        };
        // If the claim has expired, another attempt holds the key, and will answer the same.
        self.update(END, Some(&self.account_limits.writes), update).await.map(drop)
    }
}

impl Store {
    /// Puts a request whose key is free. Returns what is stored under the key if it is not.
    async fn put_request(
        &self,
        claim: &RequestClaim,
        identity: &RequestIdentity,
        held_until: i64,
    ) -> Result<Option<StoredRequest>, StoreError> {
        let RequestClaim { request, holder } = claim;
        let now = identity.arrived_at;
        let expires_at = now.checked_add(KEPT_FOR).unwrap_or(Timestamp::MAX);
        let mut item = key(&request.account, &request.id);
        item.extend([
            ("holder".to_owned(), text(holder.as_str())),
            ("heldUntil".to_owned(), number(held_until)),
            ("arrivedAt".to_owned(), number(now.as_millisecond())),
            ("name".to_owned(), text(identity.name.as_str())),
            ("content".to_owned(), AttributeValue::B(Blob::new(request.content.as_slice()))),
            (EXPIRES_AT.to_owned(), number(expires_at.as_second())),
        ]);
        let put = self
            .put_item(&self.tables.idempotency_keys, item)
            // DynamoDB removes an item some time after it expires.
            .condition_expression("attribute_not_exists(requestId) OR expiresAt <= :now")
            .expression_attribute_values(":now", number(now.as_second()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match self.put(CLAIM, put).await? {
            Ok(()) => Ok(None),
            Err(there) => StoredRequest::read(&there.unwrap_or_default()).map(Some),
        }
    }

    /// Takes the key of an attempt that died, or left work to do; `false` if another attempt was first.
    async fn take_over(
        &self,
        claim: &RequestClaim,
        stored: &StoredRequest,
        held_until: i64,
    ) -> Result<bool, StoreError> {
        let update = self
            .update_item(
                &self.tables.idempotency_keys,
                key(&claim.request.account, &claim.request.id),
            )
            .update_expression("SET holder = :holder, heldUntil = :until")
            .condition_expression(
                "(holder = :seen OR holder = :holder) AND attribute_not_exists(answer) \
                 AND expiresAt = :expires",
            )
            .expression_attribute_values(":holder", text(claim.holder.as_str()))
            .expression_attribute_values(":seen", text(stored.holder.as_str()))
            .expression_attribute_values(":expires", number(stored.expires_at))
            .expression_attribute_values(":until", number(held_until));
        Ok(self.update(CLAIM, Some(&self.account_limits.writes), update).await?.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::Client;
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde_json::json;

    use super::*;
    use crate::{
        cause::chain,
        idempotency::IdempotencyKey,
        scripted_service::{Reply, ScriptedService},
        store::TableNames,
    };

    fn request() -> KeyedRequest {
        let account = AccountId::parse("ACME").expect("account");
        let key = IdempotencyKey::parse("k").expect("key");
        KeyedRequest::new(account, "POST /x", &key, &[b"a"])
    }

    /// What a request claims if another attempt of it, whose time is over, is stored without these attributes.
    async fn claimed(without: &[&str], replies: &[Reply]) -> Result<Claimed, StoreError> {
        let content = STANDARD.encode(request().content);
        let mut item = json!({
            "holder": { "S": "another" }, "heldUntil": { "N": "0" }, "expiresAt": { "N": "9" },
            "arrivedAt": { "N": "7" }, "name": { "S": "n" }, "content": { "B": content },
        });
        for name in without {
            item.as_object_mut().and_then(|item| item.remove(*name)).expect("an attribute");
        }
        let failed = json!({ "__type": "x#ConditionalCheckFailedException", "Item": item });
        let there = Reply::new(400, failed.to_string());
        let service = ScriptedService::new([there].into_iter().chain(replies.iter().cloned()));
        let store = Store::new(Client::new(&service.config()), TableNames::with_prefix("test"));
        let claimed = store.claim_request(request(), Duration::from_secs(10)).await;
        assert_eq!(service.asked().len(), 1 + replies.len());
        claimed
    }

    #[tokio::test]
    async fn of_two_attempts_that_take_a_key_over_one_gets_it() {
        let first = claimed(&[], &[Reply::new(200, "{}")]).await.expect("a claim");
        let Claimed::Held(_, identity) = first else { panic!("{first:?}") };
        let arrived_at = Timestamp::from_millisecond(7).expect("a time");
        let expected = RequestIdentity { arrived_at, name: "n".to_owned(), is_repeated: true };
        assert_eq!(identity, expected);
        let refused = Reply::new(400, r#"{"__type":"x#ConditionalCheckFailedException"}"#);
        let second = claimed(&[], &[refused]).await.expect("a claim");
        let term = Duration::from_secs(10);
        assert!(matches!(second, Claimed::UnderWay(left) if left == term), "{second:?}");
    }

    #[tokio::test]
    async fn a_stored_request_that_lacks_an_attribute_is_an_error_that_names_it() {
        for name in ["holder", "arrivedAt", "name", "content"] {
            let error = claimed(&[name], &[]).await.expect_err(name);
            let expected = format!("claim idempotency key: unreadable item: attribute {name}");
            assert_eq!(chain(&error), expected);
        }
    }
}
