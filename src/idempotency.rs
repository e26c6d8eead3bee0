//! Requests that do their work once, however often a client sends them: `Idempotency-Key`.
//!
//! The first request with a key claims it, does its work under a time and a name that are stored with the claim, and
//! stores its answer. The same request gets that answer for 24 hours. If an attempt dies, its claim expires; the next
//! attempt repeats the work under the same time and name, so that ids and orders are the same, and nothing is made
//! twice.

use std::{error::Error, future::Future, time::Duration};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::{
    account::AccountId,
    text::{hash_of, hex, random_name},
};

/// How long an answer is kept.
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// The identity of a request: what is made of it follows from this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestIdentity {
    /// When it arrived for the first time.
    pub arrived_at: Timestamp,
    /// A name that no other request has.
    pub name: String,
    /// Whether an earlier attempt may have done some of its work.
    pub is_repeated: bool,
}

impl RequestIdentity {
    /// The identity of a request that arrives now.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { arrived_at: now, name: random_name(), is_repeated: false }
    }
}

/// The value of the header `Idempotency-Key`: 1 to 255 visible ASCII characters. Only its hash is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    pub const MAX_LENGTH: usize = 255;

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        (is_visible && (1..=Self::MAX_LENGTH).contains(&text.len())).then(|| Self(text.to_owned()))
    }
}

/// A request with an idempotency key.
#[derive(Clone, Debug)]
pub struct KeyedRequest {
    pub account: AccountId,
    /// The endpoint and a hash of the key: keys of different endpoints are different.
    pub id: String,
    /// A hash of everything that the client sent: another request must not have the same key.
    pub content: Vec<u8>,
}

impl KeyedRequest {
    /// `content` is what two equal requests have in common: the query string, the media type, the body.
    #[must_use]
    pub fn new(
        account: AccountId,
        endpoint: &str,
        IdempotencyKey(key): &IdempotencyKey,
        content: &[&[u8]],
    ) -> Self {
        let id = format!("{endpoint}#{}", hex(&Sha256::digest(key)[..16]));
        Self { account, id, content: hash_of(content).to_vec() }
    }
}

/// An answer as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

/// A claim on a key. Only the holder of the latest claim may store an answer.
#[derive(Clone, Debug)]
pub struct RequestClaim {
    pub request: KeyedRequest,
    pub holder: String,
}

/// What claiming a key found.
#[derive(Clone, Debug)]
pub enum Claimed {
    /// The caller holds the key, and does the work under this identity.
    Held(RequestClaim, RequestIdentity),
    /// The work was done before.
    Answered(KeptAnswer),
    /// Another attempt is under way; its claim expires after this time.
    UnderWay(Duration),
    /// Another request has this key.
    OtherRequest,
}

/// Access pattern: claims on keys, and answers.
pub trait IdempotencyStore: Sync {
    type Error: Error + Send + Sync + 'static;

    /// Claims the key of a request for this long.
    fn claim_request(
        &self,
        request: KeyedRequest,
        term: Duration,
    ) -> impl Future<Output = Result<Claimed, Self::Error>> + Send;

    /// Ends a claim: with an answer to keep, or without one; then the next request with the key does what is left.
    fn end_request(
        &self,
        claim: &RequestClaim,
        answer: Option<&KeptAnswer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_1_to_255_visible_ascii_characters() {
        for good in ["a", "f47ac10b-58cc-4372-a567-0e02b2c3d479", "!~", &"x".repeat(255)] {
            assert!(IdempotencyKey::parse(good).is_some(), "{good}");
        }
        for wrong in ["", " ", "a b", "\t", "é", "a\n", &"x".repeat(256)] {
            assert!(IdempotencyKey::parse(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn requests_differ_by_account_endpoint_key_and_every_part_of_their_content() {
        let key = |text| IdempotencyKey::parse(text).expect("key");
        let account = || AccountId::parse("ACME").expect("account");
        let one = KeyedRequest::new(account(), "a", &key("k"), &[b"x", b"yz"]);
        assert_eq!(one.id, KeyedRequest::new(account(), "a", &key("k"), &[b"other"]).id);
        assert_ne!(one.id, KeyedRequest::new(account(), "b", &key("k"), &[b"x", b"yz"]).id);
        assert_ne!(one.id, KeyedRequest::new(account(), "a", &key("l"), &[b"x", b"yz"]).id);
        let moved = KeyedRequest::new(account(), "a", &key("k"), &[b"xy", b"z"]);
        assert_ne!(one.content, moved.content);
        assert!(!one.id.contains("k#") && !format!("{:?}", one.content).contains("yz"));
    }
}
