//! Any message says what to import, or is refused without being quoted.

use super::message::{MessageError, Work, parse};
use crate::fuzz::fuzz;

#[test]
fn any_message_is_understood_or_refused_without_being_quoted() {
    let words = [
        "kind",
        "Records",
        "Type",
        "Notification",
        "Message",
        "detail-type",
        "Object Created",
        "catalog.import",
        "detail",
        "s3:TestEvent",
        "imports/ACME/",
        "uploads/ACME/",
        "cat_live_SECRET",
    ];
    fuzz("messages", Vec::new(), &words, |input| {
        let body = String::from_utf8_lossy(input);
        let work = match parse(&body, Some("ACME")) {
            Ok(work) => work,
            Err(error) => {
                let told = error.to_string();
                assert!(told.len() < 120 && !told.contains("SECRET"), "{told}");
                if let MessageError::NotJson { line, .. } = error {
                    assert!(line <= body.lines().count() + 1);
                }
                return;
            }
        };
        for work in work {
            match work {
                Work::Records(account, records, _) => {
                    assert!(!records.is_empty());
                    // As an array of their own they are the same records, if they are JSON.
                    let is_json = |record: &Vec<u8>| {
                        serde_json::from_slice::<&serde_json::value::RawValue>(record).is_ok()
                    };
                    if records.iter().all(is_json) {
                        let texts = records.iter().map(|record| String::from_utf8_lossy(record));
                        let array = format!("[{}]", texts.collect::<Vec<_>>().join(","));
                        let again = parse(&array, Some(account.as_str())).expect("an array");
                        let [Work::Records(_, again, _)] = again.as_slice() else {
                            panic!("{again:?}")
                        };
                        let trimmed = |record: &Vec<u8>| record.trim_ascii().to_vec();
                        assert_eq!(
                            again.iter().map(trimmed).collect::<Vec<_>>(),
                            records.iter().map(trimmed).collect::<Vec<_>>()
                        );
                    }
                }
                Work::Object(address, _) => assert!(!address.key.ends_with('/')),
                Work::Nothing => {}
            }
        }
    });
}
