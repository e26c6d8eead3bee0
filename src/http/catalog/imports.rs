//! `POST /catalog/v1/imports`, `GET /catalog/v1/imports`, `GET /catalog/v1/imports/{importId}`.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use lambda_http::http::{Method, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
#[cfg(feature = "openapi")]
use serde_json::{Value, json};

use super::submit::Submitted;
#[cfg(feature = "openapi")]
use super::submit::{DRY_RUN, MAX_UPLOAD_BYTES, ORDER, REPLACE, REPLACE_SHARE, WRONG_TYPE};
use crate::{
    access::Permission,
    account::AccountId,
    cursor::{Context, Cursors, InvalidCursor},
    http::{
        Absent, ApiError, Call, Dialect, Endpoint, Methods, Reply,
        params::{CURSOR, Cursor, Limit, Parameter, Params},
    },
    idempotency::RequestIdentity,
    imports::{
        Counts, Kind, OrderBy,
        job::{ImportId, Job, Status},
        report::ReportKeys,
        submission::{LONGEST_WAIT, SubmittedImport, UPLOAD_TERM, upload_key},
    },
    objects::{Bucket, PresignedUpload},
    retry::Patience,
    store::{JobPosition, Store},
    text::rfc3339_millis,
};
#[cfg(feature = "openapi")]
use crate::{
    http::{
        body::MAX_BODY_BYTES,
        describe::{
            Failures, Operation, Schemas, idempotent, job_parameter, operation, or_of_gateway,
            read, with, written,
        },
    },
    source::Format,
};

const PATH: &str = "/catalog/v1/imports";
const PATH_OF_ONE: &str = "/catalog/v1/imports/{importId}";
const CACHE: &str = "private, no-cache";

/// The endpoint that cursors are bound to.
const ENDPOINT: &str = "imports";

/// How many imports a page has if the request does not say.
const DEFAULT_LIMIT: u32 = 20;

/// The most imports on a page, even if the request allows more: each costs the read of a whole item.
const MAX_LIMIT: u32 = 100;

/// How many errors the state of an import shows.
const SHOWN_ERRORS: usize = 100;

/// How long a presigned URL for all errors of an import is valid.
const URL_VALID_FOR: Duration = Duration::from_mins(15);

/// How many times a request to S3 is attempted, at most.
const PATIENCE: Patience = Patience::Attempts(4);

const LIMIT: Parameter<Limit> = Parameter::new(
    "limit",
    "How many imports a page may have, from 1 to 1000; 20 by default. More than 100 counts as 100.",
);

/// Imports over HTTP: submits, shows and lists them.
pub struct ManageImports {
    bucket: Bucket,
    cursors: Arc<Cursors>,
}

impl ManageImports {
    /// Creates the endpoint: `bucket` is for what clients submit, `cursors` encrypts and decrypts the list's cursors.
    #[must_use]
    pub fn new(bucket: Bucket, cursors: Arc<Cursors>) -> Self {
        Self { bucket, cursors }
    }
}

impl Endpoint for ManageImports {
    const DIALECT: Dialect = Dialect::Catalog;
    const PERMISSION: Permission = Permission::ImportsWrite;
    const PATHS: &'static [(&'static str, Methods)] = &[
        (
            PATH,
            Methods {
                answered: &[Method::GET, Method::HEAD, Method::POST],
                allow: "GET, HEAD, POST",
            },
        ),
        (PATH_OF_ONE, Methods::READ),
    ];

    async fn answer(&self, call: Call<'_>) -> Result<Reply, ApiError> {
        if let Some(parameters) = call.request.parameters(PATH_OF_ONE) {
            let id = parameters.first().and_then(|id| ImportId::parse(id));
            return self.show(call, id.ok_or(ApiError::NotFound(Absent::Import))?).await;
        }
        if call.request.method == Method::POST {
            self.submit(call).await
        } else {
            self.list(call).await
        }
    }
}

/// What became of a submission.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
struct SubmittedState<'a> {
    import_id: &'a str,
    status: Status,
    created_at: String,
    /// Of an upload: where to send it, with `PUT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    upload_url: Option<String>,
    /// Of an upload: the headers that the request must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    upload_headers: Option<std::collections::BTreeMap<String, String>>,
    /// Of an upload: until when the URL is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    upload_expires_at: Option<String>,
}

/// The state of an import.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "Import"))]
struct ImportState<'a> {
    import_id: &'a str,
    status: Status,
    /// What is imported: an upload, an object, a message, an event or a file.
    source: &'a str,
    /// Whether nothing is written: then the counts say what would have become of the lines.
    dry_run: bool,
    /// Of an import submitted over HTTP: the kind of which it is a snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    replace: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<OrderBy>,
    /// The number of the last line that is completed; a rejected line is, too.
    lines: u64,
    counts: Counts,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    /// Why it failed or was superseded, or why `replace` removed nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<'a> ImportState<'a> {
    fn of(job: &'a Job) -> Self {
        let options = job.submission.as_ref().map(|submission| &submission.options);
        Self {
            import_id: job.import_id.as_str(),
            status: job.status,
            source: &job.source,
            dry_run: options.is_some_and(|options| options.dry_run),
            replace: options.and_then(|options| options.replace).map(|(kind, _)| kind),
            order: options.map(|options| options.order_by),
            lines: job.progress.line,
            counts: job.progress.counts,
            created_at: rfc3339_millis(job.created_at),
            started_at: job.started_at.map(rfc3339_millis),
            updated_at: rfc3339_millis(job.updated_at),
            ended_at: job.status.is_end().then(|| rfc3339_millis(job.updated_at)),
            error: job.error.as_deref(),
        }
    }

    fn json(&self) -> Result<String, ApiError> {
        serde_json::to_string(self).map_err(ApiError::internal)
    }
}

impl ManageImports {
    async fn submit(&self, call: Call<'_>) -> Result<Reply, ApiError> {
        let Call { request, principal, identity, store, log } = call;
        let account = &principal.account;
        let submitted = Submitted::parse(request)?;
        let RequestIdentity { arrived_at, name, .. } = identity;
        let import = ImportId::of(&["https", name]);
        let (submission, records) = match submitted {
            Submitted::Records(submission, records) => (submission, Some(records)),
            Submitted::Upload(submission) => (submission, None),
        };
        let length = submission.length;
        let job = SubmittedImport { import, submission, submitted_at: *arrived_at };
        // The job first: the object's event must find it.
        store.submit_import(account, &job).await?;
        let object_key = upload_key(account, &job.import);
        let Bucket { objects, name: bucket } = &self.bucket;
        let mut state = SubmittedState {
            import_id: job.import.as_str(),
            status: Status::Waiting,
            created_at: rfc3339_millis(*arrived_at),
            upload_url: None,
            upload_headers: None,
            upload_expires_at: None,
        };
        log.items = 1;
        let status = if let Some(records) = records {
            objects.put_once(bucket, &object_key, records.to_vec(), PATIENCE).await?;
            StatusCode::ACCEPTED
        } else {
            let expires_at = store.clock().now() + signed(UPLOAD_TERM);
            let upload = objects.presign_upload(bucket, &object_key, length, UPLOAD_TERM).await?;
            let PresignedUpload { url, headers } = upload;
            state.upload_url = Some(url);
            state.upload_headers = Some(headers.into_iter().collect());
            state.upload_expires_at = Some(rfc3339_millis(expires_at));
            StatusCode::CREATED
        };
        let body = serde_json::to_string(&state).map_err(ApiError::internal)?;
        Ok(Reply::uncacheable(status, body))
    }

    async fn show(&self, call: Call<'_>, id: ImportId) -> Result<Reply, ApiError> {
        let Call { principal, store, log, .. } = call;
        let account = &principal.account;
        let job = store.job(account, &id).await?;
        let mut job = job.ok_or(ApiError::NotFound(Absent::Import))?;
        self.expire(store, account, &mut job, PATIENCE).await?;
        log.items = 1;
        let errors = self.first_errors(account, &job).await?;
        let mut body = ImportState::of(&job).json()?;
        body.pop();
        body.push_str(",\"errors\":[");
        body.push_str(&errors.iter().map(|error| error.get()).collect::<Vec<_>>().join(","));
        body.push(']');
        let keys = ReportKeys::of(account, &job.source, &job.import_id);
        let object_key = keys.and_then(|keys| keys.all_errors(job.progress.error_parts));
        if let Some(object_key) = object_key.filter(|_| job.status.is_end()) {
            let Bucket { objects, name: bucket } = &self.bucket;
            let file = format!("{}.errors.ndjson", job.import_id.as_str());
            let url = objects.presign_download(bucket, &object_key, &file, URL_VALID_FOR).await?;
            let url = serde_json::to_string(&url).map_err(ApiError::internal)?;
            let _ = write!(body, ",\"errorsUrl\":{url}}}");
            // A cached URL might have expired.
            return Ok(Reply::uncacheable(StatusCode::OK, body));
        }
        body.push('}');
        Ok(Reply::cacheable(body, CACHE))
    }

    /// Fails a job whose object was never uploaded.
    async fn expire(
        &self,
        store: &Store,
        account: &AccountId,
        job: &mut Job,
        patience: Patience,
    ) -> Result<(), ApiError> {
        let now = store.clock().now();
        if !is_overdue(job, now) {
            return Ok(());
        }
        let Bucket { objects, name: bucket } = &self.bucket;
        let object_key = upload_key(account, &job.import_id);
        let reason = "nothing was uploaded while the URL was valid";
        if objects.length(bucket, &object_key, patience).await?.is_none()
            && store.fail_submission(account, job, reason).await?
        {
            (job.status, job.updated_at) = (Status::Failed, now);
            job.error = Some(reason.to_owned());
        }
        Ok(())
    }

    /// The first errors of a job: those in the stored parts of its error list, then the pending ones in its item.
    async fn first_errors(
        &self,
        account: &AccountId,
        job: &Job,
    ) -> Result<Vec<Box<RawValue>>, ApiError> {
        let mut errors = Vec::new();
        let keys = ReportKeys::of(account, &job.source, &job.import_id);
        for part in 0..job.progress.error_parts {
            let Some(keys) = &keys else { break };
            let Bucket { objects, name: bucket } = &self.bucket;
            // The lifecycle of the bucket may have removed it.
            let list = objects.get(bucket, &keys.errors_part(part)).await?.unwrap_or_default();
            if !add_errors(&mut errors, &list).map_err(ApiError::internal)? {
                return Ok(errors);
            }
        }
        add_errors(&mut errors, &job.pending_errors).map_err(ApiError::internal)?;
        Ok(errors)
    }

    async fn list(&self, call: Call<'_>) -> Result<Reply, ApiError> {
        let Call { request, principal, store, log, .. } = call;
        let mut params = Params::parse(&request.query);
        let limit = params.single(&LIMIT).map_or(DEFAULT_LIMIT, |Limit(limit)| limit);
        let cursor = params.single(&CURSOR);
        params.finish()?;
        let context = Context { account: &principal.account, endpoint: ENDPOINT, fingerprint: b"" };
        log.has_cursor = cursor.is_some();
        let after = match cursor {
            None => None,
            Some(Cursor(token)) => {
                let position = self.cursors.open(context, &token)?;
                Some(position_of(&position).ok_or(InvalidCursor)?)
            }
        };
        let limit = limit.min(MAX_LIMIT);
        let account = &principal.account;
        let (mut jobs, next) = store.jobs_page(account, limit, after.as_ref()).await?;
        // A list does without S3: a job that cannot be decided waits, as it did before.
        let once = Patience::Attempts(1);
        let expired = jobs.iter_mut().map(|job| self.expire(store, account, job, once));
        let failures: Vec<ApiError> =
            join_all(expired).await.into_iter().filter_map(Result::err).collect();
        if let Some(error) = failures.first() {
            tracing::warn!(
                cause = error.cause(),
                imports = failures.len(),
                "imports may be overdue"
            );
        }
        log.items = jobs.len();
        log.has_next_page = next.is_some();
        let states = jobs.iter().map(|job| ImportState::of(job).json());
        let states: Vec<String> = states.collect::<Result<_, _>>()?;
        let mut body = format!("{{\"imports\":[{}]", states.join(","));
        if let Some(JobPosition { created_at, import }) = next {
            let position = format!("{created_at} {import}");
            let cursor = self.cursors.seal(context, position.as_bytes())?;
            // Cursors consist of URL-safe characters, so nothing needs to be escaped.
            let _ = write!(body, ",\"nextCursor\":\"{cursor}\"");
        }
        body.push('}');
        Ok(Reply::cacheable(body, CACHE))
    }
}

/// Whether the object of a submitted job should have come by now, and nobody has begun the job.
fn is_overdue(job: &Job, now: Timestamp) -> bool {
    job.submission.is_some()
        && job.status == Status::Waiting
        && job.started_at.is_none()
        && job.updated_at + signed(LONGEST_WAIT) < now
}

/// Adds the errors of a list, a line each, until there are as many as are shown; returns whether more are wanted.
fn add_errors(errors: &mut Vec<Box<RawValue>>, list: &[u8]) -> Result<bool, serde_json::Error> {
    for line in list.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if errors.len() < SHOWN_ERRORS {
            errors.push(serde_json::from_slice(line)?);
        }
    }
    Ok(errors.len() < SHOWN_ERRORS)
}

fn position_of(bytes: &[u8]) -> Option<JobPosition> {
    let (created_at, import) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
    Some(JobPosition { created_at: created_at.parse().ok()?, import: import.to_owned() })
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

#[cfg(feature = "openapi")]
const EXAMPLE_ID: &str = "3acd990027d0d8caede63621ac484963";

#[cfg(feature = "openapi")]
fn example() -> Value {
    json!({
        "importId": EXAMPLE_ID, "status": "done", "source": format!("upload {EXAMPLE_ID}"), "dryRun": false,
        "order": "record", "lines": 3,
        "counts": { "created": 1, "updated": 0, "unchanged": 1, "stale": 0, "deleted": 0, "failed": 1 },
        "createdAt": "2026-01-15T10:30:00.000Z", "startedAt": "2026-01-15T10:30:00.400Z",
        "updatedAt": "2026-01-15T10:30:00.900Z", "endedAt": "2026-01-15T10:30:00.900Z",
    })
}

#[cfg(feature = "openapi")]
pub(in crate::http) fn describe_list(schemas: &mut Schemas) -> Operation {
    let failures = Failures::of::<ManageImports>(schemas, PATH);
    let page = json!({
        "type": "object",
        "required": ["imports"],
        "properties": {
            "imports": { "type": "array", "items": schemas.of::<ImportState<'_>>() },
            "nextCursor": { "type": "string", "maxLength": 512, "description": "There are more: the `cursor` of the next page." },
        },
    });
    let replies = with(
        read("A page of imports, the newest first.", page, &json!({ "imports": [example()] })),
        "400",
        failures.invalid(LIMIT.name, "must be a whole number from 1 to 1000"),
    );
    operation(
        "listImports",
        "List imports",
        "All imports of the account, whatever their source, the newest first. They are remembered for 90 days; a submission whose import never began, for 15.",
        &[LIMIT.describe(schemas), CURSOR.describe(schemas)],
        &failures,
        replies,
    )
}

#[cfg(feature = "openapi")]
pub(in crate::http) fn describe_submit(schemas: &mut Schemas) -> Operation {
    let failures = Failures::of::<ManageImports>(schemas, PATH);
    let state: Value = json!(schemas.of::<SubmittedState<'_>>());
    let reply = |description: &str, example: Value| written(description, &state, &example);
    let waiting = json!({ "importId": EXAMPLE_ID, "status": "waiting", "createdAt": "2026-01-15T10:30:00.000Z" });
    let mut with_url = waiting.clone();
    with_url["uploadUrl"] = "https://bucket.s3.amazonaws.com/uploads/ACME/…".into();
    with_url["uploadHeaders"] = json!({ "content-length": "52428800", "if-none-match": "*" });
    with_url["uploadExpiresAt"] = "2026-01-15T10:45:00.000Z".into();
    let upload = json!({
        "type": "object",
        "required": ["upload"],
        "additionalProperties": false,
        "properties": { "upload": {
            "type": "object",
            "required": ["format", "length"],
            "additionalProperties": false,
            "properties": {
                "format": schemas.of::<Format>(),
                "compression": { "type": "string", "enum": ["none", "gzip", "zstd"], "default": "none", "description": "A hint; the first bytes of the upload decide." },
                "length": { "type": "integer", "minimum": 1, "maximum": MAX_UPLOAD_BYTES, "description": "The number of bytes of the upload." },
                REPLACE.name: REPLACE.describe(schemas)["schema"],
                REPLACE_SHARE.name: REPLACE_SHARE.describe(schemas)["schema"],
                ORDER.name: ORDER.describe(schemas)["schema"],
                DRY_RUN.name: DRY_RUN.describe(schemas)["schema"],
            },
        } },
    });
    let record = json!({ "type": "object", "required": ["kind"], "properties": { "kind": schemas.of::<Kind>() } });
    let records = json!({ "type": "array", "items": record });
    let too_large = [("body", ApiError::TooLarge(MAX_BODY_BYTES))];
    let wrong = [
        ("type", ApiError::invalid("", WRONG_TYPE)),
        ("upload", ApiError::invalid("upload.length", "is required: the number of bytes")),
    ];
    let operation = operation(
        "submitImport",
        "Submit an import",
        "Records of up to 5,000,000 bytes in the body (NDJSON behind API Gateway: about 4.4 MB): NDJSON, a JSON \
            array, or CSV of products, with options as parameters. More: announce an `upload` with its options, then \
            `PUT` it to `uploadUrl` with the headers in `uploadHeaders`, once and within 15 minutes; it may be \
            compressed. Only differences are written; each rejected line is reported, and does not stop the rest. The \
            answer to an announcement is kept under its `Idempotency-Key`, too: after `uploadExpiresAt` use a new one.",
        &[
            REPLACE.describe(schemas),
            REPLACE_SHARE.describe(schemas),
            ORDER.describe(schemas),
            DRY_RUN.describe(schemas),
        ],
        &failures,
        json!({
            "201": reply("The upload may begin.", with_url),
            "202": reply("The records are stored, and will be imported.", waiting),
            "400": failures.reply("The request as a whole is wrong.", &wrong),
            "413": or_of_gateway(
                failures.reply("The body is too large.", &too_large),
                "If the event exceeds Lambda's 6 MB (quotes, backslashes and line breaks count twice; NDJSON is in base64, so about 4.4 MB of it fit),",
            ),
        }),
    );
    let ndjson =
        "{\"kind\":\"product\",\"sku\":\"PLAN-PRO-MO\",\"name\":\"Pro Plan\",\"price\":49}\n";
    let content = json!({
        "application/x-ndjson": { "schema": { "type": "string" }, "example": ndjson },
        "application/json": {
            "schema": { "anyOf": [records, upload] },
            "examples": {
                "records": { "value": [{ "kind": "product", "sku": "PLAN-PRO-MO", "name": "Pro Plan", "price": 49 }] },
                "upload": { "value": { "upload": { "format": "ndjson", "compression": "gzip", "length": 52_428_800 } } },
            },
        },
        "text/csv": { "schema": { "type": "string" }, "example": "sku,name,price\nPLAN-PRO-MO,Pro Plan,49\n" },
    });
    idempotent(operation, &failures, &content)
}

#[cfg(feature = "openapi")]
pub(in crate::http) fn describe_one(schemas: &mut Schemas) -> Operation {
    let failures = Failures::of::<ManageImports>(schemas, PATH_OF_ONE)
        .at("/catalog/v1/imports/3acd990027d0d8caede63621ac484963");
    let error = json!({
        "type": "object",
        "required": ["line", "field", "message", "code"],
        "properties": {
            "line": { "type": "integer", "minimum": 1 },
            "field": { "type": "string" },
            "message": { "type": "string" },
            "code": { "type": "string" },
        },
    });
    let state = json!({
        "allOf": [schemas.of::<ImportState<'_>>()],
        "type": "object",
        "required": ["errors"],
        "properties": {
            "errors": { "type": "array", "maxItems": SHOWN_ERRORS, "items": error, "description": "The first lines that were rejected, and why." },
            "errorsUrl": { "type": "string", "format": "uri", "description": "Of an import that has ended: all errors as NDJSON. The URL is valid for 15 minutes." },
        },
    });
    let mut shown = example();
    shown["errors"] = json!([{ "line": 3, "field": "price", "message": "Expected number, received string", "code": "INVALID" }]);
    shown["errorsUrl"] = "https://bucket.s3.amazonaws.com/reports/ACME/…".into();
    let missing = failures.reply(
        "The account has no such import.",
        &[("import", ApiError::NotFound(Absent::Import))],
    );
    operation(
        "getImport",
        "Get an import",
        "How far an import is, and what became of its lines. Of a dry run: what would have become of them.",
        &[job_parameter("importId", "The import's id.")],
        &failures,
        with(read("The import.", state, &shown), "404", missing),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::imports::job::{ImportOptions, Progress, Submission};

    #[test]
    fn the_first_hundred_errors_are_shown_however_many_lists_they_are_in() {
        let list = |lines: std::ops::Range<u32>| {
            let lines: Vec<String> = lines.map(|line| format!("{{\"line\":{line}}}\n")).collect();
            lines.concat().into_bytes()
        };
        let shown =
            |errors: &[Box<RawValue>]| errors.iter().map(|error| error.get()).collect::<String>();
        let mut errors = Vec::new();
        for (lines, more) in
            [(0..0, true), (0..60, true), (60..99, true), (99..100, false), (100..120, false)]
        {
            assert_eq!(
                add_errors(&mut errors, &list(lines.clone())).expect("JSON"),
                more,
                "{lines:?}"
            );
        }
        let expected = String::from_utf8(list(0..100)).expect("UTF-8").replace('\n', "");
        assert_eq!(shown(&errors), expected);
        errors.clear();
        assert!(!add_errors(&mut errors, &list(0..120)).expect("JSON"));
        assert_eq!((errors.len(), shown(&errors)), (100, expected));
    }

    #[test]
    fn a_cursor_holds_the_time_and_the_id_of_an_import() {
        let position = position_of(b"1768473000000 3acd990027d0d8caede63621ac484963").expect("one");
        let import = "3acd990027d0d8caede63621ac484963".to_owned();
        assert_eq!(position, JobPosition { created_at: 1_768_473_000_000, import });
        for other in [&b""[..], b"1768473000000", b"today 3acd", b"\xff"] {
            assert!(position_of(other).is_none(), "{other:?}");
        }
    }

    /// A job that was submitted at ten.
    fn submitted() -> Job {
        let at = "2026-01-15T10:00:00Z".parse().expect("a time");
        let order_by = OrderBy::Record;
        let options = ImportOptions { format: None, replace: None, order_by, dry_run: false };
        Job {
            import_id: ImportId::of(&["x"]),
            source: "upload".to_owned(),
            status: Status::Waiting,
            progress: Progress::default(),
            pending_errors: Vec::new(),
            error: None,
            source_time: at,
            created_at: at,
            started_at: None,
            updated_at: at,
            submission: Some(Submission { options, length: 1 }),
        }
    }

    #[test]
    fn a_submitted_job_that_nobody_has_begun_is_overdue_after_six_hours() {
        let six: Timestamp = "2026-01-15T16:00:00Z".parse().expect("a time");
        let later = six + SignedDuration::from_millis(1);
        assert!(!is_overdue(&submitted(), six));
        assert!(is_overdue(&submitted(), later));
        for other in [
            Job { submission: None, ..submitted() },
            Job { status: Status::Running, ..submitted() },
            Job { status: Status::Failed, ..submitted() },
            Job { started_at: Some(six), ..submitted() },
            Job { updated_at: later, ..submitted() },
        ] {
            assert!(!is_overdue(&other, later), "{other:?}");
        }
    }

    #[test]
    fn the_state_of_an_import_has_what_there_is_to_tell() {
        let state = |job: &Job| serde_json::to_value(ImportState::of(job)).expect("JSON");
        let counts = |created: u64| json!({"created": created, "updated": 0, "unchanged": 0, "stale": 0, "deleted": 0, "failed": 0});
        let (at, id) = ("2026-01-15T10:00:00.000Z", ImportId::of(&["x"]));
        let waiting = json!({
            "importId": id.as_str(), "status": "waiting", "source": "upload", "dryRun": false, "order": "record",
            "lines": 0, "counts": counts(0), "createdAt": at, "updatedAt": at,
        });
        assert_eq!(state(&submitted()), waiting);
        let mut job = Job { submission: None, source: "message 1".to_owned(), ..submitted() };
        job.started_at = Some("2026-01-15T10:00:01Z".parse().expect("a time"));
        job.updated_at = "2026-01-15T10:00:02Z".parse().expect("a time");
        job.progress.line = 3;
        job.progress.counts.created = 2;
        job.status = Status::Failed;
        job.error = Some("it is unreadable".to_owned());
        let failed = json!({
            "importId": id.as_str(), "status": "failed", "source": "message 1", "dryRun": false, "lines": 3,
            "counts": counts(2), "createdAt": at, "startedAt": "2026-01-15T10:00:01.000Z",
            "updatedAt": "2026-01-15T10:00:02.000Z", "endedAt": "2026-01-15T10:00:02.000Z",
            "error": "it is unreadable",
        });
        assert_eq!(state(&job), failed);
        let replace = Some((Kind::Product, 0.5));
        let order_by = OrderBy::Source;
        let options = ImportOptions { format: None, replace, order_by, dry_run: true };
        let job = Job { submission: Some(Submission { options, length: 1 }), ..submitted() };
        let told = state(&job);
        let options = ["dryRun", "replace", "order"].map(|name| &told[name]);
        assert_eq!(options, [&json!(true), &json!("product"), &json!("source")]);
    }
}
