//! Encrypted, opaque page cursors.
//!
//! # Design
//! A cursor is `base64url(version ‖ AES-SIV(key, context, position))`. AES-SIV (RFC 5297) is authenticated
//! and deterministic: it needs no nonce, equal pages have equal cursors (so a page's `ETag` is stable), and
//! all that two cursors reveal is whether they are equal.
//!
//! The **context** is authenticated but not contained in the cursor: the account, the endpoint and a
//! fingerprint of the filters. A cursor from another account's key, from another endpoint or with other
//! filters fails to decrypt, just as one that was tampered with does, and the error does not show which. The
//! limit is not part of the context: it may change between pages.
//!
//! The **key** is derived from a secret that outlives deployments. During a rotation, the previous secret
//! still decrypts cursors; new cursors are encrypted with the current one.

use std::fmt;

use aes_siv::{KeyInit as _, siv::Aes256Siv};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha512};

use crate::account::AccountId;

/// The maximum length, in characters, of a cursor that is issued or accepted.
pub const MAX_CHARACTERS: usize = 512;

const VERSION: u8 = 1;

/// What a cursor is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The account whose list it belongs to.
    pub account: &'a AccountId,
    pub endpoint: &'static str,
    /// The fingerprint of the filters, the same for every spelling of them.
    pub fingerprint: &'a [u8],
}

impl Context<'_> {
    fn headers(&self) -> [&[u8]; 4] {
        [&[VERSION], self.account.as_str().as_bytes(), self.endpoint.as_bytes(), self.fingerprint]
    }
}

/// Encrypts and decrypts cursors.
pub struct Cursors {
    current: Key,
    previous: Option<Key>,
}

/// A secret that is too short to be secure.
#[derive(Debug, thiserror::Error)]
#[error("the cursor secret must be at least 32 characters long")]
pub struct WeakSecret;

/// The text is not a cursor of this list: it was tampered with or truncated, has other filters, belongs to
/// another account, or has an unknown version. The error does not say which.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor of this list; start again without one")]
pub struct InvalidCursor;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the position does not fit a cursor")]
pub struct PositionTooLong;

struct Key([u8; 64]);

impl Key {
    fn derive(secret: &str) -> Result<Self, WeakSecret> {
        if secret.len() < 32 {
            return Err(WeakSecret);
        }
        let mut digest = Sha512::new();
        digest.update(b"serverless-catalog cursor v1\0");
        digest.update(secret.as_bytes());
        Ok(Self(digest.finalize().into()))
    }

    fn cipher(&self) -> Aes256Siv {
        Aes256Siv::new((&self.0).into())
    }
}

impl Cursors {
    /// Derives the keys from the current secret and, during a rotation, the previous one.
    ///
    /// # Errors
    /// [`WeakSecret`] if one of them is shorter than 32 characters.
    pub fn new(current: &str, previous: Option<&str>) -> Result<Self, WeakSecret> {
        Ok(Self {
            current: Key::derive(current)?,
            previous: previous.map(Key::derive).transpose()?,
        })
    }

    /// Encrypts a position.
    ///
    /// # Errors
    /// [`PositionTooLong`] if the cursor would exceed [`MAX_CHARACTERS`].
    pub fn seal(&self, context: Context<'_>, position: &[u8]) -> Result<String, PositionTooLong> {
        let sealed = self
            .current
            .cipher()
            .encrypt(context.headers(), position)
            .map_err(|_| PositionTooLong)?;
        let token = URL_SAFE_NO_PAD.encode([&[VERSION], sealed.as_slice()].concat());
        if token.len() > MAX_CHARACTERS { Err(PositionTooLong) } else { Ok(token) }
    }

    /// Decrypts the position in a cursor.
    ///
    /// # Errors
    /// [`InvalidCursor`], whatever the reason.
    pub fn open(&self, context: Context<'_>, token: &str) -> Result<Vec<u8>, InvalidCursor> {
        if token.len() > MAX_CHARACTERS {
            return Err(InvalidCursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| InvalidCursor)?;
        let Some((&VERSION, sealed)) = bytes.split_first() else {
            return Err(InvalidCursor);
        };
        [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .find_map(|key| key.cipher().decrypt(context.headers(), sealed).ok())
            .ok_or(InvalidCursor)
    }
}

impl fmt::Debug for Cursors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cursors(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "a secret of at least 32 characters";
    const OTHER: &str = "another one of at least 32 characters";

    fn account(name: &str) -> AccountId {
        AccountId::parse(name).expect("account")
    }

    fn context(account: &AccountId) -> Context<'_> {
        Context { account, endpoint: "offerings", fingerprint: b"filters" }
    }

    fn cursors() -> Cursors {
        Cursors::new(SECRET, None).expect("secret")
    }

    #[test]
    fn a_token_opens_to_its_position_and_is_the_same_each_time() {
        let acme = account("ACME");
        let token = cursors().seal(context(&acme), b"position").expect("token");
        assert_eq!(cursors().open(context(&acme), &token), Ok(b"position".to_vec()));
        assert_eq!(cursors().seal(context(&acme), b"position").expect("token"), token);
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    }

    #[test]
    fn a_token_is_bound_to_account_endpoint_and_filters() {
        let (acme, globex) = (account("ACME"), account("GLOBEX"));
        let token = cursors().seal(context(&acme), b"position").expect("token");
        let elsewhere = Context { endpoint: "products", ..context(&acme) };
        let filtered = Context { fingerprint: b"other filters", ..context(&acme) };
        for context in [context(&globex), elsewhere, filtered] {
            assert_eq!(cursors().open(context, &token), Err(InvalidCursor));
        }
    }

    #[test]
    fn every_single_changed_character_is_noticed() {
        let acme = account("ACME");
        let token = cursors().seal(context(&acme), b"position").expect("token");
        for index in 0..token.len() {
            for replacement in ['A', 'B', '_', '='] {
                let mut tampered: Vec<char> = token.chars().collect();
                if tampered[index] == replacement {
                    continue;
                }
                tampered[index] = replacement;
                let tampered: String = tampered.into_iter().collect();
                assert_eq!(cursors().open(context(&acme), &tampered), Err(InvalidCursor));
            }
        }
    }

    #[test]
    fn cut_extended_foreign_and_future_tokens_are_refused() {
        let acme = account("ACME");
        let token = cursors().seal(context(&acme), b"position").expect("token");
        let sealed = URL_SAFE_NO_PAD.decode(&token).expect("base64");
        let future = URL_SAFE_NO_PAD.encode([&[VERSION + 1], &sealed[1..]].concat());
        let mut broken = vec![String::new(), "AQ".into(), "é".into(), "A".repeat(513), future];
        broken.extend((1..token.len()).map(|end| token[..end].to_owned()));
        broken.push(format!("{token}A"));
        broken.push(format!("{token}=="));
        for token in broken {
            assert_eq!(cursors().open(context(&acme), &token), Err(InvalidCursor), "{token}");
        }
    }

    #[test]
    fn a_rotation_keeps_old_tokens_good_and_a_second_one_ends_them() {
        let acme = account("ACME");
        let token = cursors().seal(context(&acme), b"position").expect("token");
        let rotated = Cursors::new(OTHER, Some(SECRET)).expect("secrets");
        assert_eq!(rotated.open(context(&acme), &token), Ok(b"position".to_vec()));
        let renewed = rotated.seal(context(&acme), b"position").expect("token");
        assert_eq!(cursors().open(context(&acme), &renewed), Err(InvalidCursor));
        let done = Cursors::new(OTHER, None).expect("secret");
        assert_eq!(done.open(context(&acme), &token), Err(InvalidCursor));
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", cursors()), "Cursors(…)");
    }

    #[test]
    fn short_secrets_and_long_positions_are_refused() {
        let secret = |length| "s".repeat(length);
        assert!(Cursors::new(&secret(32), Some(&secret(32))).is_ok());
        assert!(Cursors::new(&secret(31), None).is_err());
        assert!(Cursors::new(SECRET, Some(&secret(31))).is_err());
        let acme = account("ACME");
        assert_eq!(cursors().seal(context(&acme), &[0; 400]), Err(PositionTooLong));
        let longest = cursors().seal(context(&acme), &[0; 367]).expect("it fits");
        assert_eq!(longest.len(), MAX_CHARACTERS);
        assert_eq!(cursors().open(context(&acme), &longest), Ok(vec![0; 367]));
        assert_eq!(cursors().seal(context(&acme), &[0; 368]), Err(PositionTooLong));
    }

    proptest! {
        #[test]
        fn any_position_survives_and_any_text_is_harmless(position: Vec<u8>, text: String) {
            let acme = account("ACME");
            if let Ok(token) = cursors().seal(context(&acme), &position) {
                prop_assert!(token.len() <= MAX_CHARACTERS);
                prop_assert_eq!(cursors().open(context(&acme), &token), Ok(position));
            }
            prop_assert_eq!(cursors().open(context(&acme), &text), Err(InvalidCursor));
        }
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use crate::fuzz::fuzz;

    #[test]
    fn no_text_is_a_cursor_but_those_that_were_issued() {
        let account = AccountId::parse("ACME").expect("account");
        let context = Context { account: &account, endpoint: "offerings", fingerprint: b"f" };
        let cursors = Cursors::new(&"secret".repeat(6), None).expect("a secret");
        let issued = [&b""[..], b"position", &[0xff; 300]]
            .map(|position| cursors.seal(context, position).expect("a cursor"));
        let seeds = issued.clone().map(String::into_bytes).to_vec();
        fuzz("cursors", seeds, &["=", "-", "_"], |input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            let is_issued = issued.iter().any(|issued| issued == text);
            assert_eq!(cursors.open(context, text).is_ok(), is_issued);
        });
    }
}
