//! `POST /catalog/v1/exports`, `GET /catalog/v1/exports/{exportId}`.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc, time::Duration};

use jiff::Timestamp;
use lambda_http::http::{Method, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
#[cfg(feature = "openapi")]
use serde_json::{Value, json};

#[cfg(feature = "openapi")]
use crate::http::describe::{
    Failures, Operation, Schemas, idempotent, job_parameter, operation, read, with, written,
};
use crate::{
    access::Permission,
    cause::chain,
    changes::{Kinds, Positions, View, ends},
    cursor::Cursors,
    exports::{ExportId, ExportJob, ExportStatus, ExportView, MAX_UNFINISHED, export_key},
    http::{Absent, ApiError, Call, Dialect, Endpoint, Excess, Methods, Reply, body},
    idempotency::RequestIdentity,
    imports::Kind,
    json::type_name,
    objects::Bucket,
    queue::{MessageQueue, export_message},
    retry::Patience,
    text::rfc3339_millis,
};

const PATH: &str = "/catalog/v1/exports";
const PATH_OF_ONE: &str = "/catalog/v1/exports/{exportId}";
const CACHE: &str = "private, no-cache";

/// How long a presigned URL for an export is valid. Each request gets a new one.
const URL_VALID_FOR: Duration = Duration::from_mins(15);

/// Exports over HTTP: requests and shows them.
pub struct ManageExports {
    bucket: Bucket,
    queue: Arc<dyn MessageQueue>,
    cursors: Arc<Cursors>,
}

impl ManageExports {
    /// Creates the endpoint. Exports are made by the function of this queue, in this bucket.
    #[must_use]
    pub fn new(bucket: Bucket, queue: Arc<dyn MessageQueue>, cursors: Arc<Cursors>) -> Self {
        Self { bucket, queue, cursors }
    }
}

impl Endpoint for ManageExports {
    const DIALECT: Dialect = Dialect::Catalog;
    const PERMISSION: Permission = Permission::ExportsRead;
    const PATHS: &'static [(&'static str, Methods)] = &[
        (PATH, Methods { answered: &[Method::POST], allow: "POST" }),
        (PATH_OF_ONE, Methods::READ),
    ];

    async fn answer(&self, call: Call<'_>) -> Result<Reply, ApiError> {
        match call.request.parameters(PATH_OF_ONE) {
            Some(parameters) => {
                let id = parameters.first().and_then(|id| ExportId::parse(id));
                self.show(call, id.ok_or(ApiError::NotFound(Absent::Export))?).await
            }
            None => self.request(call).await,
        }
    }
}

/// The state of an export.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "openapi", schemars(rename = "Export"))]
struct ExportState<'a> {
    export_id: &'a str,
    status: ExportStatus,
    kinds: Vec<Kind>,
    /// How many records are in it so far.
    records: u64,
    /// The size of the compressed file so far.
    bytes: u64,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    /// Until when it is kept.
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    /// A cursor for the parameter `since` of `GET /catalog/v1/changes`: the changes since the export was requested.
    changes_cursor: &'a str,
}

impl<'a> ExportState<'a> {
    fn of<P>(job: &'a ExportJob<P>, now: Timestamp) -> Self {
        let status = job.status_at(now);
        let has_ended = matches!(status, ExportStatus::Done | ExportStatus::Failed);
        let error = "it was given up; if a run failed, the operator's log lines have the cause";
        Self {
            export_id: job.id.as_str(),
            status,
            kinds: Kind::ALL.iter().copied().filter(|kind| job.kinds.contains(*kind)).collect(),
            records: job.progress.records,
            bytes: job.progress.bytes,
            created_at: rfc3339_millis(job.created_at),
            started_at: job.started_at.map(rfc3339_millis),
            updated_at: rfc3339_millis(job.updated_at),
            ended_at: has_ended.then(|| rfc3339_millis(job.updated_at)),
            expires_at: rfc3339_millis(job.expires_at),
            error: (status == ExportStatus::Failed).then_some(error),
            changes_cursor: &job.changes_cursor,
        }
    }
}

impl ManageExports {
    async fn request(&self, call: Call<'_>) -> Result<Reply, ApiError> {
        let Call { request, principal, identity, store, log } = call;
        let account = &principal.account;
        let kinds = kinds(body::json(request)?)?;
        let RequestIdentity { arrived_at, name, is_repeated } = identity;
        let id = ExportId::of(&["https", name]);
        if store.unfinished_exports(account, &id).await? >= MAX_UNFINISHED {
            return Err(ApiError::TooMany(Excess::Exports));
        }
        // Before the first record is read: what changes while the export runs is read by this cursor, too.
        let oldest = Positions::oldest(*arrived_at, kinds, View::of(principal).fingerprint());
        let ends = ends(store, account, oldest).await?;
        let cursor = ends.seal(&self.cursors, account)?;
        let new = ExportJob::new(id, kinds, ExportView::of(principal), cursor, *arrived_at);
        let is_new = store.create_export(account, &new).await?;
        let job = if is_new {
            new
        } else {
            // An earlier attempt stored the job, and a worker may have begun to read the records: the cursor stored
            // then is the one that counts.
            let stored = store.export_job(account, &new.id).await?;
            stored.ok_or(ApiError::NotFound(Absent::Export))?
        };
        let send = || self.queue.send(export_message(account, &job.id));
        if let Err(error) = Patience::Attempts(3).retry(send, |_| true).await {
            // An export that nobody begins must not count as unfinished. One that an earlier attempt stored stays: the
            // client may know its id. Without an earlier attempt, this one stored it, even if the database's answer was
            // lost.
            if (is_new || !is_repeated)
                && let Err(error) = store.withdraw_export(account, &job.id).await
            {
                tracing::warn!(
                    cause = chain(&error),
                    "an export that failed to be requested stays"
                );
            }
            return Err(ApiError::Unavailable(error));
        }
        log.items = 1;
        let state = ExportState::of(&job, store.clock().now());
        let state = serde_json::to_string(&state).map_err(ApiError::internal)?;
        Ok(Reply::uncacheable(StatusCode::ACCEPTED, state))
    }

    async fn show(&self, call: Call<'_>, id: ExportId) -> Result<Reply, ApiError> {
        let Call { principal, store, log, .. } = call;
        let account = &principal.account;
        let job = store.export_job(account, &id).await?;
        // An export has what the key that requested it may see: a key with another view must not read it.
        let job = job.filter(|job| job.view == ExportView::of(principal));
        let job = job.ok_or(ApiError::NotFound(Absent::Export))?;
        log.items = 1;
        let state = ExportState::of(&job, store.clock().now());
        let mut body = serde_json::to_string(&state).map_err(ApiError::internal)?;
        if job.status == ExportStatus::Done {
            body.pop();
            let Bucket { objects, name: bucket } = &self.bucket;
            let file = format!("{account}-{}.ndjson.gz", job.created_at.strftime("%Y%m%dT%H%M%SZ"));
            let object_key = export_key(account, &job.id);
            let url = objects.presign_download(bucket, &object_key, &file, URL_VALID_FOR).await?;
            let url = serde_json::to_string(&url).map_err(ApiError::internal)?;
            let _ = write!(body, ",\"downloadUrl\":{url}}}");
            // A cached URL might have expired.
            return Ok(Reply::uncacheable(StatusCode::OK, body));
        }
        Ok(Reply::cacheable(body, CACHE))
    }
}

/// The kinds of the body's member `kinds`; all kinds if the body is `{}`.
pub(super) fn kinds(json: &str) -> Result<Kinds, ApiError> {
    let wrong = |message: String| ApiError::invalid("kinds", message);
    if json.trim().is_empty() {
        return Err(ApiError::invalid("", "Send {} for all kinds, or {\"kinds\":[…]}"));
    }
    let other = |_: &str| "Send an object, such as {\"kinds\":[\"offering\"]}".to_owned();
    let members = body::members(json, |_| true, other)?;
    if let Some((name, _)) = members.0.iter().find(|(name, _)| name != "kinds") {
        return Err(ApiError::invalid(name, "is unknown; the only member is kinds"));
    }
    let value = match members.0.as_slice() {
        [] => return Ok(Kinds::ALL),
        [(_, value)] => *value,
        _ => return Err(wrong("occurs twice".to_owned())),
    };
    let names: Vec<&RawValue> = serde_json::from_str(value.get())
        .map_err(|_| wrong(format!("must be an array, not {}", type_name(value))))?;
    if names.is_empty() {
        return Err(wrong("must not be empty; without it, all kinds are exported".to_owned()));
    }
    let kind = |name: &&RawValue| serde_json::from_str::<String>(name.get()).ok()?.parse().ok();
    let kinds: Option<BTreeSet<Kind>> = names.iter().map(kind).collect();
    let message = || wrong(format!("must be some of {}", Kind::spellings()));
    kinds.map(Kinds::of).ok_or_else(message)
}

#[cfg(feature = "openapi")]
const EXAMPLE_ID: &str = "8d1c07f2b0f64f7c9be1d2ffce1d0b55";

#[cfg(feature = "openapi")]
fn example(status: ExportStatus) -> Value {
    json!({
        "exportId": EXAMPLE_ID, "status": status, "kinds": ["offering"], "records": 638, "bytes": 81_920,
        "createdAt": "2026-01-15T10:30:00.000Z", "updatedAt": "2026-01-15T10:30:01.000Z",
        "expiresAt": "2026-01-22T10:30:00.000Z", "changesCursor": "AQ3xT0b1v5Kk",
    })
}

#[cfg(feature = "openapi")]
pub(in crate::http) fn describe_request(schemas: &mut Schemas) -> Operation {
    let failures = Failures::of::<ManageExports>(schemas, PATH);
    let body = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": { "kinds": {
            "type": "array", "minItems": 1, "items": schemas.of::<Kind>(),
            "description": "Only records of these kinds; without it, records of all kinds. A network does not contain its bundles: each bundle is a record of its own.",
        } },
    });
    let state: Value = json!(schemas.of::<ExportState<'_>>());
    let mut waiting = example(ExportStatus::Waiting);
    (waiting["records"], waiting["bytes"]) = (0.into(), 0.into());
    let operation = operation(
        "requestExport",
        "Request an export",
        "All records of some kinds, as far as the key may see them, as gzip-compressed NDJSON that can be imported. It is \
            made in the background, and kept for 7 days. `changesCursor` is a cursor for the parameter `since` of \
            `GET /catalog/v1/changes`: the changes since the export was requested.",
        &[],
        &failures,
        json!({
            "202": written("The export will be made.", &state, &waiting),
            "400": failures.invalid("kinds", "must be some of offering, product"),
        }),
    );
    let example = json!({ "kinds": ["offering"] });
    let content = json!({ "application/json": { "schema": body, "example": example } });
    idempotent(operation, &failures, &content)
}

#[cfg(feature = "openapi")]
pub(in crate::http) fn describe_one(schemas: &mut Schemas) -> Operation {
    let failures = Failures::of::<ManageExports>(schemas, PATH_OF_ONE)
        .at("/catalog/v1/exports/8d1c07f2b0f64f7c9be1d2ffce1d0b55");
    let state = json!({
        "allOf": [schemas.of::<ExportState<'_>>()],
        "type": "object",
        "properties": {
            "downloadUrl": { "type": "string", "format": "uri", "description": "Of an export that is done: the file. The URL is valid for 15 minutes; each request gets a new one." },
        },
    });
    let mut done = example(ExportStatus::Done);
    done["downloadUrl"] = "https://bucket.s3.amazonaws.com/exports/ACME/…".into();
    let missing = failures.reply(
        "The account has no such export, it is no longer kept, or a key with another view requested it.",
        &[("export", ApiError::NotFound(Absent::Export))],
    );
    operation(
        "getExport",
        "Get an export",
        "How far an export is, and the URL of its file once it is done.",
        &[job_parameter("exportId", "The export's id.")],
        &failures,
        with(read("The export.", state, &done), "404", missing),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::exports::ExportProgress;

    #[test]
    fn the_kinds_of_an_export_are_those_that_it_names_or_all() {
        let told = |body: &str| {
            kinds(body).map_err(|error| {
                let ApiError::Invalid(errors) = error else { panic!("{error:?}") };
                errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            })
        };
        assert_eq!(told(" {} "), Ok(Kinds::ALL));
        let some = Kinds::of([Kind::Product, Kind::Offering]);
        assert_eq!(told(r#"{"kinds":["product","offering","product"]}"#), Ok(some));
        let names = "kinds: must be some of offering, promotion, partnerOffering, network, bundle, \
                     exchangeRate, product";
        for (body, error) in [
            (" ", "Send {} for all kinds, or {\"kinds\":[…]}"),
            ("[]", "Send an object, such as {\"kinds\":[\"offering\"]}"),
            (r#"{"kinds":["offering"],"other":1}"#, "other: is unknown; the only member is kinds"),
            (r#"{"kinds":["offering"],"kinds":["offering"]}"#, "kinds: occurs twice"),
            (r#"{"kinds":"offering"}"#, "kinds: must be an array, not string"),
            (r#"{"kinds":[]}"#, "kinds: must not be empty; without it, all kinds are exported"),
            (r#"{"kinds":["offering","other"]}"#, names),
            (r#"{"kinds":[1]}"#, names),
        ] {
            assert_eq!(told(body), Err(error.to_owned()), "{body}");
        }
    }

    #[test]
    fn an_export_tells_how_far_it_is_and_when_it_has_ended() {
        let time = |text: &str| text.parse::<Timestamp>().expect("a time");
        let created_at = time("2026-01-15T10:30:00Z");
        let (id, kinds) = (ExportId::of(&["x"]), Kinds::of([Kind::Product, Kind::Offering]));
        let new: ExportJob<u8> =
            ExportJob::new(id, kinds, ExportView::default(), "CURSOR".to_owned(), created_at);
        let state = |job: &ExportJob<u8>, now: Timestamp| {
            serde_json::to_value(ExportState::of(job, now)).expect("JSON")
        };
        let mut expected = json!({
            "exportId": new.id.as_str(), "status": "waiting", "kinds": ["offering", "product"], "records": 0,
            "bytes": 0, "createdAt": "2026-01-15T10:30:00.000Z", "updatedAt": "2026-01-15T10:30:00.000Z",
            "expiresAt": "2026-01-22T10:30:00.000Z", "changesCursor": "CURSOR",
        });
        assert_eq!(state(&new, created_at), expected);
        let (started_at, updated_at) =
            (Some(time("2026-01-15T10:30:01Z")), time("2026-01-15T10:30:02Z"));
        let progress = ExportProgress { records: 638, bytes: 81_920, ..ExportProgress::default() };
        let job = |status| ExportJob {
            status,
            started_at,
            updated_at,
            progress: progress.clone(),
            ..new.clone()
        };
        let set = |expected: &mut Value, more: Value| {
            for (name, value) in more.as_object().expect("an object") {
                expected[name] = value.clone();
            }
        };
        set(
            &mut expected,
            json!({
                "status": "running", "records": 638, "bytes": 81_920, "startedAt": "2026-01-15T10:30:01.000Z",
                "updatedAt": "2026-01-15T10:30:02.000Z",
            }),
        );
        assert_eq!(state(&job(ExportStatus::Running), updated_at), expected);
        set(&mut expected, json!({"status": "done", "endedAt": "2026-01-15T10:30:02.000Z"}));
        assert_eq!(state(&job(ExportStatus::Done), updated_at), expected);
        let error = "it was given up; if a run failed, the operator's log lines have the cause";
        set(&mut expected, json!({"status": "failed", "error": error}));
        assert_eq!(state(&job(ExportStatus::Failed), updated_at), expected);
        // One that has had no progress for a day is given up.
        let later = time("2026-01-16T10:30:02.001Z");
        assert_eq!(state(&job(ExportStatus::Running), later), expected);
    }
}
