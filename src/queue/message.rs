//! Message shapes: what a message asks to be imported.
//!
//! One queue receives all shapes: S3's own notifications, S3 events through `EventBridge`, `catalog.import`
//! events, and plain records; SNS may wrap any of them. Sources: "Event message structure" in the S3 user
//! guide, "S3 event message structure" for `EventBridge` there, "Amazon SNS message formats".
//!
//! The account comes from an object's key, from the detail of a `catalog.import` event, or from the
//! message attribute `account`; never from a record.

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    account::AccountId,
    imports::{job::ImportId, report::IMPORTS, submission::uploaded},
    json::Members,
    objects::ObjectAddress,
};

/// An object to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ImportedObject<'a> {
    /// It was put into an account's folder, under this name.
    Dropped(AccountId, &'a str),
    /// A client uploaded it for an import that it submitted.
    Uploaded(AccountId, ImportId),
}

/// What an object's key says; `None`: it is not an object to import.
pub(super) fn imported_object(object: &ObjectAddress) -> Option<ImportedObject<'_>> {
    if let Some((account, import)) = uploaded(&object.key) {
        return Some(ImportedObject::Uploaded(account, import));
    }
    let (account, name) = object.key.strip_prefix(IMPORTS)?.split_once('/')?;
    let account = AccountId::parse(account).ok()?;
    let is_file = !name.is_empty() && !name.ends_with('/');
    is_file.then_some(ImportedObject::Dropped(account, name))
}

/// What a message asks for.
#[derive(Debug)]
pub(super) enum Work {
    /// An object to import.
    Object(ObjectAddress, Option<Event>),
    /// Records of an account, one JSON text each.
    Records(AccountId, Vec<Vec<u8>>, Option<Event>),
    /// Nothing: a test event, or an object outside `imports/` and `uploads/`.
    Nothing,
}

/// An event that carries work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// What distinguishes it from all others: its source and its id.
    pub name: String,
    pub time: Option<Timestamp>,
}

/// Why a message has no known shape. The error never quotes the message: it may contain customers' data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    #[error("the message is empty")]
    Empty,
    /// It is neither JSON nor lines of JSON.
    #[error("the message is not JSON: {problem} at line {line}, column {column}")]
    NotJson {
        problem: &'static str,
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
    /// It is JSON of no known shape.
    #[error("the message is of no known kind")]
    Unknown,
    #[error("records without an account: give the message attribute `account`")]
    NoAccount,
    #[error("the account is malformed")]
    WrongAccount,
}

impl From<serde_json::Error> for MessageError {
    fn from(error: serde_json::Error) -> Self {
        // The parser's own message may quote the text.
        let problem = match error.classify() {
            serde_json::error::Category::Io => "unreadable",
            serde_json::error::Category::Syntax => "a syntax error",
            serde_json::error::Category::Data => "not an object or an array",
            serde_json::error::Category::Eof => "it ends too early",
        };
        Self::NotJson { problem, line: error.line(), column: error.column() }
    }
}

/// The fields that distinguish the shapes. A record may have fields of these names, too.
struct Envelope<'a>(Members<'a>);

impl<'a> Envelope<'a> {
    const FIELDS: [&'static str; 10] = [
        "kind",
        "Event",
        "Records",
        "Type",
        "Message",
        "detail-type",
        "detail",
        "id",
        "source",
        "time",
    ];

    fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        Members::of(text, |name| Self::FIELDS.contains(&name)).map(Self)
    }

    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.0.iter().find(|(field, _)| field == name).map(|(_, value)| *value)
    }

    fn string(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// The identity of an event of `EventBridge`.
    fn event(&self) -> Option<Event> {
        let id = self.string("id")?;
        let source = self.string("source").unwrap_or_default();
        let time = self.string("time").and_then(|time| time.parse().ok());
        Some(Event { name: format!("event {source} {id}"), time })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct S3Record {
    event_name: String,
    s3: S3Entity,
}

#[derive(Deserialize)]
struct S3Entity {
    bucket: S3Bucket,
    object: S3Object,
}

#[derive(Deserialize)]
struct S3Bucket {
    name: String,
}

#[derive(Deserialize)]
struct S3Object {
    key: String,
    #[serde(alias = "versionId", rename = "version-id", default)]
    version: Option<String>,
    sequencer: Option<String>,
}

/// The detail of a `catalog.import` event: an object's address, or an account and its records.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImportDetail<'a> {
    bucket: Option<String>,
    key: Option<String>,
    version_id: Option<String>,
    account: Option<String>,
    #[serde(default, borrow)]
    records: Option<Vec<&'a RawValue>>,
}

/// The maximum number of wrappers around a message.
const MAX_WRAPPERS: u8 = 3;

/// What a body asks for. `account` is the message attribute of that name.
///
/// # Errors
/// [`MessageError`]; a retry would fail the same way.
pub(super) fn parse(body: &str, account: Option<&str>) -> Result<Vec<Work>, MessageError> {
    parse_within(body, account, MAX_WRAPPERS)
}

fn parse_within(
    body: &str,
    account: Option<&str>,
    wrappers: u8,
) -> Result<Vec<Work>, MessageError> {
    let body = body.trim_start_matches('\u{feff}').trim();
    if body.is_empty() {
        return Err(MessageError::Empty);
    }
    if body.starts_with('[') {
        let records: Vec<&RawValue> = serde_json::from_str(body)?;
        return Ok(vec![plain_records(account, records.into_iter().map(RawValue::get), None)?]);
    }
    let envelope = match Envelope::parse(body) {
        Ok(envelope) => envelope,
        Err(error) => {
            // One record per line: if the first line is a record, the others are imported like the lines of a
            // file, and an invalid one is reported.
            let lines: Vec<&str> = body.lines().filter(|line| !line.trim().is_empty()).collect();
            let first = Envelope::parse(lines.first().unwrap_or(&""));
            if lines.len() > 1 && first.is_ok_and(|first| first.get("kind").is_some()) {
                return Ok(vec![plain_records(account, lines, None)?]);
            }
            return Err(error.into());
        }
    };
    if envelope.get("kind").is_some() {
        return Ok(vec![plain_records(account, [body], None)?]);
    }
    if envelope.string("Event").as_deref() == Some("s3:TestEvent") {
        return Ok(vec![Work::Nothing]);
    }
    if envelope.string("Type").as_deref() == Some("Notification") {
        let message = envelope.string("Message").ok_or(MessageError::Unknown)?;
        let wrappers = wrappers.checked_sub(1).ok_or(MessageError::Unknown)?;
        return parse_within(&message, account, wrappers);
    }
    if let Some(records) = envelope.get("Records") {
        let records: Vec<&RawValue> =
            serde_json::from_str(records.get()).map_err(|_| MessageError::Unknown)?;
        return records.into_iter().map(s3_notification).collect();
    }
    match (envelope.string("detail-type").as_deref(), envelope.get("detail")) {
        (Some("Object Created"), Some(detail)) => {
            let entity: S3Entity =
                serde_json::from_str(detail.get()).map_err(|_| MessageError::Unknown)?;
            Ok(vec![object(entity, |key| key)])
        }
        // Other events of a bucket.
        (Some(kind), _) if kind.starts_with("Object ") => Ok(vec![Work::Nothing]),
        (Some("catalog.import"), Some(detail)) => import_event(detail, envelope.event()),
        _ => Err(MessageError::Unknown),
    }
}

fn s3_notification(record: &RawValue) -> Result<Work, MessageError> {
    let record: S3Record = serde_json::from_str(record.get()).map_err(|_| MessageError::Unknown)?;
    if !record.event_name.starts_with("ObjectCreated:") {
        return Ok(Work::Nothing);
    }
    // In notifications keys are form-encoded, with `+` for a space.
    let decode = |key: String| {
        let spaced = key.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    Ok(object(record.s3, decode))
}

fn object(entity: S3Entity, decode: impl FnOnce(String) -> String) -> Work {
    let address = ObjectAddress {
        bucket: entity.bucket.name,
        key: decode(entity.object.key),
        version: entity.object.version,
        sequencer: entity.object.sequencer,
    };
    if imported_object(&address).is_some() { Work::Object(address, None) } else { Work::Nothing }
}

fn import_event(detail: &RawValue, event: Option<Event>) -> Result<Vec<Work>, MessageError> {
    let detail: ImportDetail =
        serde_json::from_str(detail.get()).map_err(|_| MessageError::Unknown)?;
    match detail {
        ImportDetail { records: Some(records), account, .. } => {
            let records = records.iter().map(|record| record.get());
            Ok(vec![plain_records(account.as_deref(), records, event)?])
        }
        ImportDetail { bucket: Some(bucket), key: Some(key), version_id, .. } => {
            let address = ObjectAddress { bucket, key, version: version_id, sequencer: None };
            let importable = imported_object(&address).is_some();
            if importable {
                Ok(vec![Work::Object(address, event)])
            } else {
                Err(MessageError::WrongAccount)
            }
        }
        _ => Err(MessageError::Unknown),
    }
}

fn plain_records<'a>(
    account: Option<&str>,
    records: impl IntoIterator<Item = &'a str>,
    event: Option<Event>,
) -> Result<Work, MessageError> {
    let account = account.ok_or(MessageError::NoAccount)?;
    let account = AccountId::parse(account).map_err(|_| MessageError::WrongAccount)?;
    let records: Vec<Vec<u8>> =
        records.into_iter().map(|record| record.as_bytes().to_vec()).collect();
    Ok(if records.is_empty() { Work::Nothing } else { Work::Records(account, records, event) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(body: &str) -> String {
        match parse(body, Some("ACME")) {
            Err(error) => format!("! {error}"),
            Ok(work) => {
                let shown = work.iter().map(|work| match work {
                    Work::Nothing => "nothing".to_owned(),
                    Work::Records(account, records, _) => {
                        format!("{account}: {} records", records.len())
                    }
                    Work::Object(address, _) => {
                        let ObjectAddress { bucket, key, version, sequencer } = address;
                        format!(
                            "{bucket}/{key} {} {}",
                            version.as_deref().unwrap_or("-"),
                            sequencer.as_deref().unwrap_or("-")
                        )
                    }
                });
                shown.collect::<Vec<_>>().join(", ")
            }
        }
    }

    fn notification(name: &str, key: &str) -> String {
        format!(
            r#"{{"Records":[{{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"{name}","s3":{{"bucket":{{"name":"b","arn":"x"}},"object":{{"key":"{key}","size":1,"versionId":"v1","sequencer":"0055"}}}}}}]}}"#
        )
    }

    #[test]
    fn every_known_shape_is_understood() {
        let put = notification("ObjectCreated:Put", "imports/ACME/a+b%2Bc%C3%A9.csv");
        let sns = serde_json::json!({"Type": "Notification", "Message": put}).to_string();
        let event = |kind: &str, detail: &str| {
            format!(r#"{{"version":"0","source":"x","detail-type":"{kind}","detail":{detail}}}"#)
        };
        let created = r#"{"bucket":{"name":"b"},"object":{"key":"imports/ACME/a+b","size":1,"version-id":"v","sequencer":"s"}}"#;
        for (body, expected) in [
            (put.clone(), "b/imports/ACME/a b+cé.csv v1 0055"),
            (sns, "b/imports/ACME/a b+cé.csv v1 0055"),
            (notification("ObjectRemoved:Delete", "imports/ACME/a"), "nothing"),
            (notification("ObjectCreated:Put", "reports/ACME/a"), "nothing"),
            (notification("ObjectCreated:Put", "imports/ACME/"), "nothing"),
            (notification("ObjectCreated:Put", "imports/../a"), "nothing"),
            (r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}"#.into(), "nothing"),
            (event("Object Created", created), "b/imports/ACME/a+b v s"),
            (event("Object Deleted", created), "nothing"),
            (
                event("catalog.import", r#"{"account":"SHOP","records":[{"kind":"x"},2]}"#),
                "SHOP: 2 records",
            ),
            (
                event("catalog.import", r#"{"bucket":"b","key":"imports/ACME/x"}"#),
                "b/imports/ACME/x - -",
            ),
            (r#"{"kind":"offering"}"#.into(), "ACME: 1 records"),
            (r#"[{"kind":"offering"},{"kind":"product"}]"#.into(), "ACME: 2 records"),
            ("{\"kind\":\"offering\"}\r\n\n{\"kind\":\"product\"}\n".into(), "ACME: 2 records"),
            ("{\"kind\":\"offering\"}\n{\"kind\":\nnonsense".into(), "ACME: 3 records"),
            ("[]".into(), "nothing"),
        ] {
            assert_eq!(shown(&body), expected, "{body}");
        }
    }

    #[test]
    fn a_record_may_have_fields_that_messages_have_too() {
        for fields in [
            r#""Type":"Notification","Message":"x""#,
            r#""Type":7,"Message":{"a":1}"#,
            r#""Event":"s3:TestEvent""#,
            r#""Event":[1]"#,
            r#""detail-type":"Object Created","detail":{}"#,
            r#""detail-type":null,"Records":3"#,
            r#""Type":"a","Type":"b""#,
        ] {
            let record = format!(r#"{{"kind":"offering",{fields}}}"#);
            assert_eq!(shown(&record), "ACME: 1 records", "{record}");
            assert_eq!(shown(&format!("{record}\n{record}")), "ACME: 2 records", "{record}");
        }
    }

    #[test]
    fn an_event_tells_its_identity_and_its_time() {
        let body = r#"{"version":"0","id":"e-1","source":"shop","time":"2026-01-01T00:00:00Z","detail-type":"catalog.import","detail":{"account":"ACME","records":[1]}}"#;
        let work = parse(body, None).expect("work");
        let [Work::Records(_, _, Some(event))] = work.as_slice() else { panic!("{work:?}") };
        assert_eq!(event.name, "event shop e-1");
        assert_eq!(event.time, "2026-01-01T00:00:00Z".parse().ok());
    }

    #[test]
    fn nothing_of_a_message_is_quoted() {
        for body in [
            "cat_live_SECRET",
            "{\"kind\": cat_live_SECRET",
            "\"cat_live_SECRET\"",
            "[\"cat_live_SECRET\"",
            "{\"cat_live_SECRET\": 1} cat_live_SECRET",
            "{\"Records\":[{\"eventName\":\"cat_live_SECRET\"}]}",
        ] {
            let told = shown(body);
            assert!(told.starts_with("! ") && !told.contains("SECRET"), "{body}: {told}");
        }
    }

    #[test]
    fn what_is_not_understood_is_told() {
        for (body, expected) in [
            ("", "! the message is empty"),
            (" \n ", "! the message is empty"),
            ("hello", "! the message is not JSON"),
            ("{", "! the message is not JSON"),
            ("hello\n{\"kind\":\"offering\"}", "! the message is not JSON"),
            ("{}", "! the message is of no known kind"),
            ("7", "! the message is not JSON"),
            (r#"{"Records":[{}]}"#, "! the message is of no known kind"),
            (r#"{"detail-type":"Order Placed","detail":{}}"#, "! the message is of no known kind"),
            (
                r#"{"detail-type":"catalog.import","detail":{}}"#,
                "! the message is of no known kind",
            ),
            (
                r#"{"detail-type":"catalog.import","detail":{"records":[1]}}"#,
                "! records without an account",
            ),
            (
                r#"{"detail-type":"catalog.import","detail":{"account":"a b","records":[1]}}"#,
                "! the account is malformed",
            ),
        ] {
            assert!(shown(body).starts_with(expected), "{body}: {}", shown(body));
        }
        assert_eq!(
            parse(r#"{"kind":"offering"}"#, None).expect_err("none"),
            MessageError::NoAccount
        );
        let mut wrapped = r#"{"kind":"x"}"#.to_owned();
        for _ in 0..5 {
            wrapped = serde_json::json!({"Type": "Notification", "Message": wrapped}).to_string();
        }
        assert_eq!(shown(&wrapped), "! the message is of no known kind");
    }
}
