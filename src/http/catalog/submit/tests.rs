use lambda_http::{Body, http};
use serde_json::{Value, json};

use super::*;

fn request(query: &str, media_type: &str, body: &[u8]) -> ApiRequest {
    let uri = format!("https://localhost/catalog/v1/imports{query}");
    let request = http::Request::builder().method("POST").uri(uri);
    let request = request.header("content-type", media_type);
    ApiRequest::new(request.body(Body::Binary(body.to_vec())).expect("a request"))
}

/// What a request submits: whether that is records, and what it says of them.
fn submitted(
    query: &str,
    media_type: &str,
    body: &[u8],
) -> Result<(bool, Submission), Vec<String>> {
    match Submitted::parse(&request(query, media_type, body)) {
        Ok(Submitted::Records(submission, records)) => {
            assert_eq!(records, body);
            Ok((true, submission))
        }
        Ok(Submitted::Upload(submission)) => Ok((false, submission)),
        Err(ApiError::Invalid(errors)) => Err(errors.iter().map(ToString::to_string).collect()),
        Err(error) => panic!("{error:?}"),
    }
}

fn plain(format: Format, length: u64) -> Submission {
    let (format, order_by) = (Some(format), OrderBy::Record);
    Submission {
        options: ImportOptions { format, replace: None, order_by, dry_run: false },
        length,
    }
}

const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json";

#[test]
fn records_are_in_the_format_of_their_media_type() {
    for (media_type, body, format) in [
        (NDJSON, "{}", Format::Ndjson),
        ("text/csv; header=present", "sku\nA\n", Format::Csv),
        (JSON, "[]", Format::JsonArray),
        (JSON, "\u{feff} \n[{}]", Format::JsonArray),
    ] {
        let expected = Ok((true, plain(format, body.len() as u64)));
        assert_eq!(submitted("", media_type, body.as_bytes()), expected, "{body}");
    }
}

#[test]
fn records_come_with_options_as_parameters() {
    let query = "?replace=product&replaceShare=0.8&order=source&dryRun=true";
    let options = ImportOptions {
        format: Some(Format::Ndjson),
        replace: Some((Kind::Product, 0.8)),
        order_by: OrderBy::Source,
        dry_run: true,
    };
    let expected = Submission { options, length: 2 };
    assert_eq!(submitted(query, NDJSON, b"{}"), Ok((true, expected)));
    let half = submitted("?replace=offering&dryRun=false&order=record", NDJSON, b"{}");
    let options = half.expect("records").1.options;
    assert_eq!(options.replace, Some((Kind::Offering, DEFAULT_SHARE)));
    assert_eq!((options.order_by, options.dry_run), (OrderBy::Record, false));
}

#[test]
fn what_is_wrong_with_records_is_told_by_parameter() {
    let kinds =
        "must be one of offering, promotion, partnerOffering, network, exchangeRate, product";
    for (query, media_type, body, errors) in [
        ("", "text/plain", "{}", &[WRONG_TYPE][..]),
        ("", NDJSON, "", &["The body has no records"]),
        ("", "text/csv", "\u{feff} \r\n", &["The body has no records"]),
        ("?replaceShare=1", NDJSON, "{}", &["replaceShare: needs replace"]),
        ("?replace=bundle", NDJSON, "{}", &[format!("replace: {kinds}").as_str()]),
        (
            "?replace=product&replaceShare=1.1&order=x&dryRun=1",
            NDJSON,
            "{}",
            &[
                "replaceShare: must be a number from 0 to 1, such as 0.8",
                "order: must be one of record, source",
                "dryRun: must be true or false",
            ],
        ),
    ] {
        let expected: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            submitted(query, media_type, body.as_bytes()),
            Err(expected),
            "{query} {body:?}"
        );
    }
}

#[test]
fn an_upload_is_announced_with_its_length_and_options() {
    let announced = |upload: Value| {
        let body = json!({ "upload": upload }).to_string();
        submitted("", JSON, body.as_bytes())
    };
    for (length, format) in [(1, Format::Ndjson), (MAX_UPLOAD_BYTES, Format::JsonArray)] {
        let upload = json!({"format": format, "length": length});
        assert_eq!(announced(upload), Ok((false, plain(format, length))));
    }
    let upload = json!({
        "format": "csv", "compression": "zstd", "length": 9, "replace": "product", "replaceShare": 0.25,
        "order": "source", "dryRun": true,
    });
    let options = ImportOptions {
        format: Some(Format::Csv),
        replace: Some((Kind::Product, 0.25)),
        order_by: OrderBy::Source,
        dry_run: true,
    };
    assert_eq!(announced(upload), Ok((false, Submission { options, length: 9 })));
}

#[test]
fn everything_that_is_wrong_with_an_announcement_is_told_by_field() {
    let length = "upload.length: must be a whole number from 1 to 5368709120";
    for (body, errors) in [
        ("7", &["Send an array of records, or an object with upload"][..]),
        ("{}", &["upload: must be the only member"]),
        (r#"{"upload":{},"more":1}"#, &["upload: must be the only member"]),
        (r#"{"upload":{},"upload":{}}"#, &["upload: occurs twice"]),
        (r#"{"other":{}}"#, &["upload: is required, or an array of records"]),
        (r#"{"upload":[]}"#, &["upload: must be an object, not array"]),
        (
            r#"{"upload":{}}"#,
            &[
                "upload.format: is required: one of ndjson, json, csv",
                "upload.length: is required: the number of bytes",
            ],
        ),
        (r#"{"upload":{"format":"csv","length":0}}"#, &[length]),
        (r#"{"upload":{"format":"csv","length":5368709121}}"#, &[length]),
        (r#"{"upload":{"format":"csv","length":"1"}}"#, &[length]),
        (
            r#"{"upload":{"format":"csv","length":1,"format":"csv"}}"#,
            &["upload.format: occurs twice"],
        ),
        (
            r#"{"upload":{"format":"csv","length":1,"size":2}}"#,
            &[
                "upload.size: is unknown; there are format, compression, length, replace, replaceShare, order, dryRun",
            ],
        ),
        (
            r#"{"upload":{"format":"csv","length":1,"replaceShare":0.5}}"#,
            &["upload.replaceShare: needs replace"],
        ),
        (
            r#"{"upload":{"format":1,"compression":"zip","length":1,"replace":"bundle","order":null,"dryRun":"true","replaceShare":2}}"#,
            &[
                "upload.format: must be a string, not number",
                "upload.compression: must be one of none, gzip, zstd",
                "upload.replace: must be one of offering, promotion, partnerOffering, network, exchangeRate, product",
                "upload.order: must be a string, not null",
                "upload.dryRun: must be true or false",
                "upload.replaceShare: must be a number from 0 to 1, such as 0.8",
            ],
        ),
    ] {
        let expected: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(submitted("", JSON, body.as_bytes()), Err(expected), "{body}");
    }
    let upload = br#"{"upload":{"format":"csv","length":1}}"#;
    let expected = vec!["query: the options of an upload belong into upload".to_owned()];
    assert_eq!(submitted("?dryRun=true", JSON, upload), Err(expected));
}
