use std::sync::Arc;

use super::*;
use crate::{
    cause::chain,
    scripted_service::{Reply, ScriptedService},
};

const TRIES: Patience = Patience::Attempts(3);

fn objects(replies: impl IntoIterator<Item = Reply>) -> (Objects, Arc<ScriptedService>) {
    let service = ScriptedService::new(replies);
    let config = aws_sdk_s3::config::Builder::from(&service.config())
        .request_checksum_calculation(aws_sdk_s3::config::RequestChecksumCalculation::WhenRequired)
        .force_path_style(true);
    (Objects::new(Client::from_conf(config.build())), service)
}

fn refusal(status: u16, code: &str) -> Reply {
    Reply::new(status, format!("<Error><Code>{code}</Code><Message>m</Message></Error>"))
}

fn content(body: impl Into<Vec<u8>>) -> Reply {
    Reply::new(200, body).with("etag", "\"e\"")
}

fn address(version: Option<&str>) -> ObjectAddress {
    ObjectAddress {
        bucket: "b".to_owned(),
        key: "k".to_owned(),
        version: version.map(ToOwned::to_owned),
        sequencer: None,
    }
}

const MISSING: &str = "the object does not exist";
const DENIED: &str = "access to the object is denied";
const REPLACED: &str = "the object was replaced in the meantime";

#[tokio::test]
async fn what_s3_refuses_is_missing_denied_replaced_or_unavailable() {
    for (status, code, expected) in [
        (404, "NoSuchKey", MISSING),
        (404, "NoSuchUpload", MISSING),
        (400, "NoSuchKey", MISSING),
        (400, "NoSuchVersion", MISSING),
        (400, "NoSuchBucket", MISSING),
        (403, "AccessDenied", DENIED),
        (403, "SignatureDoesNotMatch", DENIED),
        (400, "AccessDenied", DENIED),
        (412, "PreconditionFailed", REPLACED),
        (412, "ConditionalRequestConflict", REPLACED),
        (400, "PreconditionFailed", REPLACED),
        (400, "InvalidPart", REPLACED),
        (400, "BadDigest", "S3"),
        (500, "InternalError", "S3"),
        (503, "SlowDown", "S3"),
    ] {
        let (objects, service) = objects([refusal(status, code)]);
        let refused = objects.put("b", "k", "text/plain", b"abc".to_vec()).await;
        let error = refused.expect_err(code);
        assert_eq!(error.to_string(), expected, "{status} {code}");
        let is_told = chain(&error).contains(code);
        assert_eq!(is_told, expected == "S3", "{}", chain(&error));
        let asked = service.asked();
        assert_eq!(asked.len(), 1, "a put is a single attempt");
        assert_eq!(asked[0].line, "PUT /b/k?x-id=PutObject");
        assert_eq!(asked[0].header("content-type"), Some("text/plain"));
        assert_eq!(asked[0].body, b"abc");
    }
    let (objects, _) = objects([Reply::Reset]);
    let error = objects.put("b", "k", "text/plain", Vec::new()).await.expect_err("a reset");
    assert!(chain(&error).starts_with("S3: dispatch failure"), "{}", chain(&error));
}

#[tokio::test(start_paused = true)]
async fn a_request_is_repeated_as_long_as_s3_is_unavailable() {
    let there = || Reply::new(200, "").with("content-length", "7");
    let busy = || Reply::new(503, "");
    for (replies, expected) in [
        (vec![there()], Ok(Some(7))),
        (vec![busy(), Reply::Reset, there()], Ok(Some(7))),
        (vec![Reply::new(404, "")], Ok(None)),
        (vec![Reply::new(403, "")], Err(DENIED.to_owned())),
        (vec![busy(), busy(), busy()], Err("S3".to_owned())),
    ] {
        let (objects, service) = objects(replies.clone());
        let length = objects.length("b", "k", TRIES).await.map_err(|error| error.to_string());
        assert_eq!(length, expected);
        assert_eq!(service.lines(), vec!["HEAD /b/k"; replies.len()]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_never_changes_is_stored_once() {
    for (replies, expected) in [
        (vec![content("")], Ok(())),
        (vec![Reply::new(503, ""), content("")], Ok(())),
        // It is stored already.
        (vec![refusal(412, "PreconditionFailed")], Ok(())),
        (vec![refusal(403, "AccessDenied")], Err(DENIED.to_owned())),
    ] {
        let (objects, service) = objects(replies.clone());
        let put = objects.put_once("b", "k", b"abc".to_vec(), TRIES).await;
        assert_eq!(put.map_err(|error| error.to_string()), expected);
        let asked = service.asked();
        assert_eq!(asked.len(), replies.len());
        for asked in asked {
            assert_eq!(asked.line, "PUT /b/k?x-id=PutObject");
            assert_eq!(asked.header("if-none-match"), Some("*"));
            assert_eq!(asked.body, b"abc");
        }
    }
}

#[tokio::test]
async fn an_open_object_tells_what_s3_knows_of_it() {
    let (all, service) = objects([content("abc")
        .with("content-length", "3")
        .with("x-amz-version-id", "v2")
        .with("last-modified", "Thu, 01 Jan 2026 00:00:01 GMT")
        .with("x-amz-meta-order", "source")]);
    let object = all.open(&address(Some("v1")), TRIES).await.expect("an object");
    assert_eq!(service.lines(), ["GET /b/k?x-id=GetObject&versionId=v1"]);
    assert_eq!(object.etag.as_deref(), Some("\"e\""));
    assert_eq!(object.version.as_deref(), Some("v2"));
    assert_eq!(object.modified, "2026-01-01T00:00:01Z".parse().expect("a time"));
    assert_eq!(object.length, Some(3));
    assert_eq!(object.metadata, HashMap::from([("order".to_owned(), "source".to_owned())]));
    assert_eq!(object.body.read_whole().await.expect("content"), b"abc");

    // A bucket without versions.
    let (bare, service) = objects([Reply::new(200, "").with("x-amz-version-id", "null")]);
    let object = bare.open(&address(None), TRIES).await.expect("an object");
    assert_eq!(service.lines(), ["GET /b/k?x-id=GetObject"]);
    assert_eq!((object.etag, object.version, object.length), (None, None, None));
    assert_eq!(object.modified, Timestamp::UNIX_EPOCH);
    assert!(object.metadata.is_empty());
    assert_eq!(object.body.read_whole().await.expect("content"), b"");
}

/// The content of an object that S3 sends with these replies, and what it was asked for after the first of them.
async fn read(
    version: Option<&str>,
    patience: Patience,
    replies: Vec<Reply>,
) -> (Result<String, String>, Vec<String>) {
    let (objects, service) = objects(replies);
    let object = objects.open(&address(version), patience).await.expect("an object");
    let read = object.body.read_whole().await;
    let asked = service.asked().into_iter().skip(1).map(|asked| {
        let header = |name| asked.header(name).unwrap_or("-");
        format!("{} {} {}", asked.line, header("range"), header("if-match"))
    });
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (read.map(text).map_err(|error| error.to_string()), asked.collect())
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_early_is_read_on_from_there() {
    const AGAIN: &str = "GET /b/k?x-id=GetObject";
    let cut = |body: &str| content(body).with("content-length", "6");
    let busy = || Reply::new(503, "");
    for (replies, expected, asked) in [
        (vec![cut("abc"), content("def")], Ok("abcdef"), vec![format!("{AGAIN} bytes=3- \"e\"")]),
        (vec![cut(""), content("abcdef")], Ok("abcdef"), vec![format!("{AGAIN} - \"e\"")]),
        (
            vec![cut("a"), busy(), Reply::Reset, content("bcdef")],
            Err("S3"),
            vec![format!("{AGAIN} bytes=1- \"e\""); 2],
        ),
        // What it reads in between gives it its patience back.
        (
            vec![cut("a"), busy(), cut("b"), busy(), cut("cd"), busy(), content("ef")],
            Ok("abcdef"),
            ["1", "1", "2", "2", "4", "4"].map(|at| format!("{AGAIN} bytes={at}- \"e\"")).to_vec(),
        ),
    ] {
        let mut replies = replies;
        if expected.is_err() {
            replies.pop();
        }
        let (read, then) = read(None, TRIES, replies).await;
        assert_eq!(read, expected.map(ToOwned::to_owned).map_err(ToOwned::to_owned));
        assert_eq!(then, asked);
    }
    // A version never changes.
    let versioned = |body| cut(body).with("x-amz-version-id", "v");
    let (read_on, then) = read(Some("v"), TRIES, vec![versioned("abc"), content("def")]).await;
    assert_eq!(read_on.as_deref(), Ok("abcdef"));
    assert_eq!(then, ["GET /b/k?x-id=GetObject&versionId=v bytes=3- -"]);
}

#[tokio::test(start_paused = true)]
async fn a_body_is_not_read_on_in_another_object() {
    let cut = || content("abc").with("content-length", "6");
    for (reply, expected) in [
        (refusal(412, "PreconditionFailed"), REPLACED),
        (Reply::new(200, "def").with("etag", "\"other\""), REPLACED),
        (refusal(404, "NoSuchKey"), MISSING),
        (refusal(403, "AccessDenied"), DENIED),
    ] {
        let (read, then) = read(None, TRIES, vec![cut(), reply]).await;
        assert_eq!(read, Err(expected.to_owned()));
        assert_eq!(then.len(), 1);
    }
}

#[tokio::test]
async fn a_small_object_is_read_whole_or_is_none() {
    for (reply, expected) in [
        (content("abc"), Ok(Some(b"abc".to_vec()))),
        (refusal(404, "NoSuchKey"), Ok(None)),
        (refusal(403, "AccessDenied"), Err(DENIED.to_owned())),
    ] {
        let (objects, service) = objects([reply]);
        let got = objects.get("b", "k").await.map_err(|error| error.to_string());
        assert_eq!(got, expected);
        assert_eq!(service.lines(), ["GET /b/k?x-id=GetObject"]);
    }
}

#[tokio::test]
async fn a_reader_gives_the_content_to_its_end_or_the_reason_why_not() {
    let read = async |replies: Vec<Reply>| {
        let (objects, _) = objects(replies);
        let object = objects.open(&address(None), TRIES).await.expect("an object");
        let mut reader = object.body.into_reader();
        let read = move || {
            let (mut content, mut some) = (Vec::new(), [0; 2]);
            loop {
                match reader.read(&mut some) {
                    Ok(0) => return (content, reader.read(&mut some).map_err(|e| e.to_string())),
                    Ok(count) => content.extend_from_slice(&some[..count]),
                    Err(error) => return (content, Err(error.to_string())),
                }
            }
        };
        tokio::task::spawn_blocking(read).await.expect("a thread")
    };
    assert_eq!(read(vec![content("abcde")]).await, (b"abcde".to_vec(), Ok(0)));
    assert_eq!(read(vec![content("")]).await, (Vec::new(), Ok(0)));
    // An empty frame is no end.
    let frames = Reply::in_frames(200, ["", "ab", "", "cde", ""]);
    assert_eq!(read(vec![frames]).await, (b"abcde".to_vec(), Ok(0)));
    let cut = content("abc").with("content-length", "6");
    let (content, end) = read(vec![cut, refusal(404, "NoSuchKey")]).await;
    assert_eq!((content, end), (b"abc".to_vec(), Err(MISSING.to_owned())));
}

const BEGUN: &str =
    "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
const COMPLETED: &str = "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>";

fn upload() -> MultipartUpload {
    MultipartUpload { bucket: "b".to_owned(), key: "k".to_owned(), id: "u".to_owned() }
}

fn completion(etags: &[&str]) -> String {
    let part = |(number, etag): (usize, &&str)| {
        format!("<Part><ETag>{etag}</ETag><PartNumber>{}</PartNumber></Part>", number + 1)
    };
    let parts: String = etags.iter().enumerate().map(part).collect();
    format!(
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{parts}</CompleteMultipartUpload>"
    )
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_begun_written_in_parts_and_completed() {
    let (objects, service) = objects([
        Reply::new(503, ""),
        Reply::new(200, BEGUN),
        Reply::new(503, ""),
        Reply::new(200, "").with("etag", "e1"),
        Reply::new(503, ""),
        Reply::new(200, COMPLETED),
    ]);
    let started = objects.begin_upload("b", "k", "text/plain", TRIES).await.expect("an upload");
    assert_eq!(started, upload());
    let etag = objects.upload_part(&started, 7, b"abc".to_vec(), TRIES).await.expect("a part");
    assert_eq!(etag, "e1");
    let parts = ["e1".to_owned(), "e2".to_owned()];
    objects.complete_upload(&started, &parts, TRIES).await.expect("an object");
    let asked = service.asked();
    let lines: Vec<&str> = asked.iter().map(|asked| asked.line.as_str()).collect();
    let begin = "POST /b/k?uploads";
    let write = "PUT /b/k?x-id=UploadPart&partNumber=7&uploadId=u";
    let complete = "POST /b/k?uploadId=u";
    assert_eq!(lines, [begin, begin, write, write, complete, complete]);
    assert_eq!(asked[1].header("content-type"), Some("text/plain"));
    assert_eq!((&asked[2].body[..], &asked[3].body[..]), (&b"abc"[..], &b"abc"[..]));
    assert_eq!(String::from_utf8_lossy(&asked[5].body), completion(&["e1", "e2"]));
}

#[tokio::test]
async fn a_reply_without_what_the_next_request_needs_is_an_error() {
    let (replies, _) = objects([Reply::new(200, BEGUN.replace("UploadId", "Other"))]);
    let error = replies.begin_upload("b", "k", "text/plain", Patience::Attempts(1)).await;
    let error = chain(&error.expect_err("no id"));
    assert_eq!(error, "S3: the reply has no id of the upload");
    let (replies, _) = objects([Reply::new(200, "")]);
    let error = replies.upload_part(&upload(), 1, Vec::new(), Patience::Attempts(1)).await;
    let error = chain(&error.expect_err("no ETag"));
    assert_eq!(error, "S3: the reply has no ETag of the part");
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_gone_is_complete_if_its_object_is_there() {
    let complete = "POST /b/k?uploadId=u";
    let gone = || refusal(404, "NoSuchUpload");
    for (replies, expected, lines) in [
        (vec![gone(), Reply::new(200, "")], Ok(()), vec![complete, "HEAD /b/k"]),
        (
            vec![Reply::Reset, gone(), Reply::new(200, "")],
            Ok(()),
            vec![complete, complete, "HEAD /b/k"],
        ),
        (vec![gone(), Reply::new(404, "")], Err(MISSING), vec![complete, "HEAD /b/k"]),
        (vec![refusal(400, "InvalidPart")], Err(REPLACED), vec![complete]),
    ] {
        let (objects, service) = objects(replies);
        let completed = objects.complete_upload(&upload(), &["e1".to_owned()], TRIES).await;
        let completed = completed.map_err(|error| error.to_string());
        assert_eq!(completed, expected.map_err(ToOwned::to_owned));
        assert_eq!(service.lines(), lines);
    }
}

/// The requests that join objects of these lengths, each with the length of its body, and the body of the last.
async fn joined(lengths: &[usize], replies: Vec<Reply>) -> (Vec<String>, Vec<u8>) {
    let (objects, service) = objects(replies);
    let sources: Vec<String> = (0..lengths.len()).map(|number| format!("s{number}")).collect();
    objects.join("b", &sources, "k", "text/plain").await.expect("joined");
    let asked = service.asked();
    let lines = asked.iter().map(|asked| {
        let line = asked.line.replace("?x-id=GetObject", "");
        format!("{line} {}", asked.body.len())
    });
    (lines.collect(), asked.last().expect("requests").body.clone())
}

#[tokio::test]
async fn objects_are_joined_in_parts_of_at_least_eight_mebibytes() {
    const MIB: usize = 1024 * 1024;
    let source = |letter: u8, length: usize| content(vec![letter; length]);
    let part = |etag| Reply::new(200, "").with("etag", etag);
    let put_part = |number: u32, length: usize| {
        format!("PUT /b/k?x-id=UploadPart&partNumber={number}&uploadId=u {length}")
    };
    let complete = |etags: &[&str]| format!("POST /b/k?uploadId=u {}", completion(etags).len());

    let (lines, whole) = joined(&[2, 3], vec![source(b'a', 2), source(b'b', 3), content("")]).await;
    assert_eq!(lines, ["GET /b/s0 0", "GET /b/s1 0", "PUT /b/k?x-id=PutObject 5"]);
    assert_eq!(whole, b"aabbb");

    // What does not fill a part is put with the next object; the last part is what is left.
    let lengths = [5 * MIB, 5 * MIB, 8 * MIB, 1];
    let (lines, completed) = joined(
        &lengths,
        vec![
            source(b'a', lengths[0]),
            source(b'b', lengths[1]),
            Reply::new(200, BEGUN),
            part("e1"),
            source(b'c', lengths[2]),
            part("e2"),
            source(b'd', 1),
            part("e3"),
            Reply::new(200, COMPLETED),
        ],
    )
    .await;
    let expected = [
        "GET /b/s0 0",
        "GET /b/s1 0",
        "POST /b/k?uploads 0",
        &put_part(1, 10 * MIB),
        "GET /b/s2 0",
        &put_part(2, 8 * MIB),
        "GET /b/s3 0",
        &put_part(3, 1),
        &complete(&["e1", "e2", "e3"]),
    ];
    assert_eq!(lines, expected);
    assert_eq!(String::from_utf8_lossy(&completed), completion(&["e1", "e2", "e3"]));

    // Nothing is left for a last part.
    let replies =
        vec![source(b'a', 8 * MIB), Reply::new(200, BEGUN), part("e1"), Reply::new(200, COMPLETED)];
    let (lines, _) = joined(&[8 * MIB], replies).await;
    let expected =
        ["GET /b/s0 0", "POST /b/k?uploads 0", &put_part(1, 8 * MIB), &complete(&["e1"])];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn an_object_to_join_that_is_missing_is_told() {
    let (objects, service) = objects([content("abc"), refusal(404, "NoSuchKey")]);
    let sources = ["s0".to_owned(), "s1".to_owned()];
    let error = objects.join("b", &sources, "k", "text/plain").await.expect_err("missing");
    assert_eq!(error.to_string(), MISSING);
    assert_eq!(service.lines().len(), 2);
}

#[tokio::test]
async fn a_presigned_link_says_what_it_is_for_and_how_long() {
    let (objects, _) = objects([]);
    let valid = std::time::Duration::from_mins(15);
    let link = objects.presign_download("b", "a key", "file.gz", valid).await.expect("a link");
    let (target, query) = link.split_once('?').expect("a query");
    assert_eq!(target, "http://service.invalid/b/a%20key");
    let query: Vec<&str> = query.split('&').collect();
    for part in [
        "response-content-disposition=attachment%3B%20filename%3D%22file.gz%22",
        "X-Amz-Expires=900",
        "X-Amz-SignedHeaders=host",
    ] {
        assert!(query.contains(&part), "{part} is not in {link}");
    }

    let upload = objects.presign_upload("b", "k", 17, valid).await.expect("a link");
    let (target, query) = upload.url.split_once('?').expect("a query");
    assert_eq!(target, "http://service.invalid/b/k");
    let query: Vec<&str> = query.split('&').collect();
    for part in ["X-Amz-Expires=900", "X-Amz-SignedHeaders=content-length%3Bhost%3Bif-none-match"] {
        assert!(query.contains(&part), "{part} is not in {}", upload.url);
    }
    let mut headers = upload.headers;
    headers.sort();
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(headers, [header("content-length", "17"), header("if-none-match", "*")]);

    // S3 takes no link that is valid for longer than a week.
    let error = objects.presign_download("b", "k", "f", std::time::Duration::from_hours(200)).await;
    assert_eq!(error.expect_err("too long").to_string(), "S3");
}
