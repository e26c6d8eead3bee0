//! JSON texts that are copied from a stored item to a reply.
//!
//! Both are JSON around them, so a text stands in both as a string, with its quotes and backslashes escaped. Unescaping it
//! only to escape it again was a quarter of the CPU time of a page. So it stays escaped, until somebody parses it.

use std::borrow::Cow;

use twox_hash::XxHash3_128;

use crate::json::bytes_in_reply;

/// A JSON text, plain or as it stands inside a JSON string.
#[derive(Clone, Debug)]
pub struct JsonText(Text);

#[derive(Clone, Debug)]
enum Text {
    Plain(String),
    Escaped(String),
}

impl JsonText {
    /// A text as it stands inside a JSON string, without the quotes around it. It must be valid there.
    #[must_use]
    pub fn escaped(text: String) -> Self {
        Self(Text::Escaped(text))
    }

    /// The text itself.
    #[must_use]
    pub fn plain(&self) -> Cow<'_, str> {
        match &self.0 {
            Text::Plain(text) => text.into(),
            Text::Escaped(text) => unescaped(text).into(),
        }
    }

    /// The text as it stands inside a JSON string, if it is there in that form.
    #[must_use]
    pub fn as_escaped(&self) -> Option<&str> {
        match &self.0 {
            Text::Plain(_) => None,
            Text::Escaped(text) => Some(text),
        }
    }

    /// Whether the text begins as a JSON object does.
    #[must_use]
    pub fn begins_whole(&self) -> bool {
        let (Text::Plain(text) | Text::Escaped(text)) = &self.0;
        text.starts_with('{')
    }

    /// A hash of the text in the form it is in: the same for the same data of one endpoint, which always has one form.
    #[must_use]
    pub fn hash(&self) -> u128 {
        let (Text::Plain(text) | Text::Escaped(text)) = &self.0;
        XxHash3_128::oneshot(text.as_bytes())
    }

    /// Whether the text has more bytes than this.
    #[must_use]
    pub fn is_longer_than(&self, bytes: usize) -> bool {
        // A byte takes at most six inside a JSON string: a long text need not be unescaped to be seen to be long.
        match &self.0 {
            Text::Plain(text) => text.len() > bytes,
            Text::Escaped(text) => text.len() > 6 * bytes || unescaped(text).len() > bytes,
        }
    }

    /// The length of the text inside a JSON string.
    #[must_use]
    pub fn escaped_len(&self) -> usize {
        match &self.0 {
            Text::Plain(text) => bytes_in_reply(text),
            Text::Escaped(text) => text.len(),
        }
    }

    /// Appends the text as it stands inside a JSON string.
    pub fn push_escaped_to(&self, text: &mut String) {
        match &self.0 {
            Text::Plain(plain) => push_escaped(text, plain),
            Text::Escaped(escaped) => text.push_str(escaped),
        }
    }
}

impl From<String> for JsonText {
    fn from(text: String) -> Self {
        Self(Text::Plain(text))
    }
}

/// Two documents are equal if their texts are.
impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.plain() == other.plain()
    }
}

impl Eq for JsonText {}

/// Appends a text as it stands inside a JSON string.
pub fn push_escaped(text: &mut String, plain: &str) {
    // Serializing a string cannot fail.
    let quoted = serde_json::to_string(plain).unwrap_or_default();
    text.push_str(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default());
}

/// The text of what stands inside a JSON string.
#[must_use]
pub fn unescaped(escaped: &str) -> String {
    few_escapes(escaped).unwrap_or_else(|| {
        // Who makes a document has seen that it is valid.
        serde_json::from_str(&format!("\"{escaped}\"")).unwrap_or_default()
    })
}

/// The text, if it has no escapes but those of quotes, backslashes, slashes and line feeds. Others are rare: control
/// characters, and what needs no escape.
fn few_escapes(escaped: &str) -> Option<String> {
    let mut rest = escaped;
    let mut text = String::with_capacity(rest.len());
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        text.push(match after.as_bytes().first()? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'n' => '\n',
            _ => return None,
        });
        rest = after.get(1..)?;
    }
    text.push_str(rest);
    Some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn escaped_or_plain_it_is_the_same_document(text in r#"[a-z"\\/\n\t\u{1}\u{e9}\u{1f600}]{0,40}"#) {
            let plain = JsonText::from(text.clone());
            let mut inside = String::new();
            plain.push_escaped_to(&mut inside);
            prop_assert_eq!(format!("\"{}\"", &inside), serde_json::to_string(&text).expect("JSON"));
            let escaped = JsonText::escaped(inside.clone());
            prop_assert_eq!(&*escaped.plain(), text.as_str());
            prop_assert_eq!(escaped.escaped_len(), inside.len());
            prop_assert_eq!(&plain, &escaped);
            for bytes in 0..50 {
                prop_assert_eq!(plain.is_longer_than(bytes), text.len() > bytes);
                prop_assert_eq!(escaped.is_longer_than(bytes), text.len() > bytes);
            }
        }
    }

    #[test]
    fn escapes_that_are_not_needed_are_read() {
        assert_eq!(unescaped(r"\u0041\/\b\ud83d\ude00"), "A/\u{8}\u{1f600}");
    }

    #[test]
    fn the_usual_escapes_are_read_without_a_parser() {
        assert_eq!(few_escapes(r#"{\"a\":\"\\\/\n\"}"#).as_deref(), Some("{\"a\":\"\\/\n\"}"));
        assert_eq!(few_escapes(r"\t"), None);
        assert_eq!(few_escapes("\\"), None);
    }

    #[test]
    fn a_document_is_told_by_its_text_in_either_form() {
        let plain = JsonText::from(r#"{"a":1}"#.to_owned());
        let escaped = JsonText::escaped(r#"{\"a\":1}"#.to_owned());
        assert_eq!(plain, escaped);
        assert_ne!(plain, JsonText::from(r#"{"a":2}"#.to_owned()));
        assert_eq!((plain.as_escaped(), escaped.as_escaped()), (None, Some(r#"{\"a\":1}"#)));
        assert!(plain.begins_whole() && escaped.begins_whole());
        assert!(!JsonText::escaped(r#"\"a\":1}"#.to_owned()).begins_whole());
    }
}
