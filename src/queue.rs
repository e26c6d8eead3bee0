//! The queue's edge: messages in, imports done, what could not be done handed back.
//!
//! # The contract of failures
//! Every message is parsed and done on its own. One that is done, that asks for nothing, or that was
//! done before is acknowledged. One that could not be done now (a database or S3 in trouble, time
//! over, another worker at it) and one that nobody understands are handed back: the queue delivers
//! them again, and in the end to its dead-letter queue, where an operator sees them. Nothing is
//! dropped. A source that cannot be read to its end, now or ever, is done as far as it goes; its
//! report says so.

use std::{
    collections::HashMap,
    io::Cursor,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::FutureExt as _;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::{
    account::AccountId,
    imports::{
        Counts, Format, Group, Groups, ImportCost, Importer, Kind, LineError, RefusalCode,
        job::{Claim, Ending, ImportId, Job, Journal, Lease, Observer, Progress, Status, Turn},
        message::{ObjectAddress, Work, parse},
        replace::{DEFAULT_SHARE, Named, Replacement, parse_share, replace},
    },
    objects::{ObjectError, Objects, OpenObject, reader},
    store::{Export, Store, StoreError},
    telemetry::{self, ImportMeasures},
    text::{random_name, rfc3339_millis},
};

/// How long a claim holds without being extended; every group and every attempt of one extends it.
const LEASE: Duration = Duration::from_mins(2);

/// The most bytes of a report's errors that are put together into one object.
const MAX_ERRORS: usize = 16 * 1024 * 1024;

/// The function `import-catalog`.
#[derive(Clone, Debug)]
pub struct ImportCatalog {
    store: Store,
    objects: Objects,
    /// The bucket of reports of plain records; an object's report goes to its own bucket.
    bucket: Option<String>,
    lease: Duration,
}

/// Why a message is handed back.
#[derive(Debug, thiserror::Error)]
enum HandBack {
    /// Nobody understands it.
    #[error("{0}")]
    Message(#[from] crate::imports::message::MessageError),
    /// The database.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The object.
    #[error("{0}")]
    Object(#[from] ObjectError),
    /// Another worker has it.
    #[error("another worker is importing it")]
    Busy,
    /// The source broke off.
    #[error("the source broke off: {0}")]
    BrokenOff(String),
    /// Time is over; what is done is checkpointed.
    #[error("time is over after line {0}")]
    OutOfTime(u64),
    /// What its uploader noted is not understood.
    #[error("the object's metadata {0} is not understood")]
    Metadata(&'static str),
    /// A mistake of ours.
    #[error("panic")]
    Panic,
}

/// An object that is the whole of a kind, by its metadata `replace: product` and, if more than half of
/// what is stored may go, `replace-share: 0.9`.
#[derive(Clone, Copy)]
struct Whole {
    kind: Kind,
    share: f64,
}

impl Whole {
    fn of(metadata: &HashMap<String, String>) -> Result<Option<Self>, HandBack> {
        let Some(kind) = metadata.get("replace") else { return Ok(None) };
        let kind: Kind = kind.parse().map_err(|_| HandBack::Metadata("replace"))?;
        if kind == Kind::Bundle {
            // Bundles go with their networks.
            return Err(HandBack::Metadata("replace"));
        }
        let share = match metadata.get("replace-share") {
            None => DEFAULT_SHARE,
            Some(share) => parse_share(share).ok_or(HandBack::Metadata("replace-share"))?,
        };
        Ok(Some(Self { kind, share }))
    }
}

/// What is imported: where it comes from, and what names it.
struct Source {
    /// In words, for reports and logs: `s3://bucket/key` or `message <id>`.
    words: String,
    /// Where its report goes: bucket and key without its ending.
    report: Option<(String, String)>,
    /// What orders it among the others of its name.
    sequencer: Option<String>,
}

impl ImportCatalog {
    /// Over these tables and buckets.
    #[must_use]
    pub fn new(store: Store, objects: Objects, bucket: Option<String>) -> Self {
        Self { store, objects, bucket, lease: LEASE }
    }

    /// With claims that hold this long: a worker that died is followed by another that much later.
    #[must_use]
    pub fn with_lease(mut self, term: Duration) -> Self {
        self.lease = term;
        self
    }

    /// Does what the messages ask for, each on its own, until `until`; tells which are to be delivered
    /// again.
    pub async fn handle(&self, event: SqsEvent, until: Instant) -> SqsBatchResponse {
        let mut response = SqsBatchResponse::default();
        for message in event.records {
            let id = message.message_id.clone().unwrap_or_default();
            let done = if Instant::now() >= until {
                Err(HandBack::OutOfTime(0))
            } else {
                let work = AssertUnwindSafe(Box::pin(self.message(&message, until))).catch_unwind();
                work.await.unwrap_or(Err(HandBack::Panic))
            };
            if let Err(cause) = done {
                tracing::error!(message_id = id, cause = %cause, "message handed back");
                telemetry::message_handed_back();
                let mut failure = BatchItemFailure::default();
                failure.item_identifier = id;
                response.batch_item_failures.push(failure);
            }
        }
        response
    }

    async fn message(&self, message: &SqsMessage, until: Instant) -> Result<(), HandBack> {
        let attribute = message.message_attributes.get("account");
        let account = attribute.and_then(|attribute| attribute.string_value.as_deref());
        let body = message.body.as_deref().unwrap_or_default();
        for (place, work) in parse(body, account)?.into_iter().enumerate() {
            match work {
                Work::Nothing => {}
                Work::Object(address) => self.object(&address, until).await?,
                Work::Records(account, records) => {
                    let id = message.message_id.as_deref().unwrap_or_default();
                    self.records(&account, records, &format!("{id}.{place}"), until).await?;
                }
            }
        }
        Ok(())
    }

    /// Imports an object: once a version, in the order of its key's events.
    async fn object(&self, address: &ObjectAddress, until: Instant) -> Result<(), HandBack> {
        let Some((account, name)) = address.account_and_name() else { return Ok(()) };
        let words = format!("s3://{}/{}", address.bucket, address.key);
        if let Some(sequencer) = &address.sequencer
            && !self.store.note_sequence(&account, &words, sequencer).await?
        {
            tracing::info!(account = account.as_str(), source = words, "import is stale");
            return Ok(());
        }
        let object = self.objects.open(address).await?;
        // A bucket without versions, or with versions suspended, may come back to the same content.
        let version = object.version.as_deref().filter(|version| *version != "null");
        let import = if let Some(version) = version {
            ImportId::of(&[&words, version])
        } else {
            let sequencer = address.sequencer.as_deref().unwrap_or_default();
            ImportId::of(&[&words, &object.etag, sequencer])
        };
        let report = format!("reports/{account}/{name}.{}", import.as_str());
        let source = Source {
            words,
            report: Some((address.bucket.clone(), report)),
            sequencer: address.sequencer.clone(),
        };
        let format = Format::of_name(name);
        let OpenObject { body, metadata, .. } = object;
        let whole = Whole::of(&metadata)?;
        let open = move || Groups::read_ahead(reader(body), format, Arc::default());
        self.job(&account, import, &source, whole, until, open).await
    }

    /// Imports the records of a message.
    async fn records(
        &self,
        account: &AccountId,
        records: Vec<Vec<u8>>,
        id: &str,
        until: Instant,
    ) -> Result<(), HandBack> {
        let import = ImportId::of(&["message", id]);
        let report = |bucket: &String| {
            (bucket.clone(), format!("reports/{account}/messages/{id}.{}", import.as_str()))
        };
        let source = Source {
            words: format!("message {id}"),
            report: self.bucket.as_ref().map(report),
            sequencer: None,
        };
        let lines = one_line_each(&records);
        let open =
            move || Groups::read_ahead(Cursor::new(lines), Some(Format::Ndjson), Arc::default());
        self.job(account, import, &source, None, until, open).await
    }

    /// Claims a job, drives it, and tells how it ended.
    async fn job(
        &self,
        account: &AccountId,
        import: ImportId,
        source: &Source,
        whole: Option<Whole>,
        until: Instant,
        open: impl FnOnce() -> mpsc::Receiver<Group>,
    ) -> Result<(), HandBack> {
        let started = Instant::now();
        let holder = random_name();
        let lease = Lease { account: account.clone(), import, holder, term: self.lease };
        let job = match self.store.claim(&lease, &source.words).await? {
            Claim::Ours(job) => *job,
            Claim::Finished(_) => return Ok(()),
            Claim::Busy => return Err(HandBack::Busy),
        };
        let mut progress = job.progress;
        let mut groups = open();
        let mut named = whole.map(|whole| Named::new(whole.kind));
        let parts = Parts { objects: &self.objects, report: source.report.as_ref() };
        let turn = Turn {
            journal: &self.store,
            lease: &lease,
            started_at: job.started_at,
            observer: &parts,
            until: Some(until),
        };
        let mut importer = Importer::new(&self.store, account, false);
        let driven = turn.drive(&mut importer, &mut progress, &mut groups, named.as_mut()).await;
        let (status, error, outcome) = match driven {
            Ok(Ending::Finished) => match whole.zip(named) {
                Some((whole, named)) => {
                    let by = (whole, &named);
                    let replacement =
                        self.replace(&mut importer, source, by, &mut progress, &parts);
                    // Cut off anywhere, it is safe to do again.
                    let replaced = tokio::time::timeout_at(until.into(), replacement).await;
                    match replaced.unwrap_or(Err(HandBack::OutOfTime(job.progress.line))) {
                        Ok(error) => (Status::Done, error, Ok(())),
                        Err(error) => (Status::Waiting, None, Err(error)),
                    }
                }
                None => (Status::Done, None, Ok(())),
            },
            Ok(Ending::Unreadable(error)) => (Status::Failed, Some(error.to_string()), Ok(())),
            Ok(Ending::OutOfTime) => {
                (Status::Waiting, None, Err(HandBack::OutOfTime(progress.line)))
            }
            Ok(Ending::BrokenOff(cause)) => {
                (Status::Waiting, None, Err(HandBack::BrokenOff(cause)))
            }
            Ok(Ending::LeaseLost) => return Err(HandBack::Busy),
            Err(error) => (Status::Waiting, None, Err(HandBack::Store(error))),
        };
        let errors_together = match &outcome {
            // The report before the state: a job that is done has one.
            Ok(()) => {
                self.report(account, source, &job, status, progress, error.as_deref()).await?
            }
            Err(_) => false,
        };
        let recorded = self.store.record(&lease, status, progress, error.as_deref()).await;
        let elapsed = started.elapsed();
        summary(&lease, source, status, progress, error.as_deref(), elapsed);
        let ended = outcome.is_ok() && matches!(recorded, Ok(true));
        ImportMeasures {
            ended,
            failed: ended && status == Status::Failed,
            counts: progress.counts.since(job.progress.counts),
            cost: progress.cost.since(job.progress.cost),
            elapsed,
        }
        .publish();
        outcome?;
        if !recorded? {
            return Err(HandBack::Busy);
        }
        if errors_together {
            self.forget_parts(source, progress.error_parts).await;
        }
        Ok(())
    }

    /// Removes what a source that is the whole of a kind does not name; tells why it did not.
    async fn replace(
        &self,
        importer: &mut Importer<'_, Store>,
        source: &Source,
        (whole, named): (Whole, &Named),
        progress: &mut Progress,
        errors: &Parts<'_>,
    ) -> Result<Option<String>, HandBack> {
        let account = importer.account();
        if let Some(sequencer) = &source.sequencer
            && !self.store.note_sequence(account, &source.words, sequencer).await?
        {
            return Ok(Some("nothing was removed: a later version came meanwhile".to_owned()));
        }
        let stock = || Export::new(&self.store, account, whole.kind);
        let replacement = replace(importer, named, stock, whole.share).await?;
        if let Replacement::Done(refused) = &replacement {
            if refused.iter().any(LineError::is_temporary) {
                return Err(HandBack::BrokenOff("some removals were not taken".to_owned()));
            }
            (progress.counts, progress.cost) = (importer.counts(), importer.cost());
            if !refused.is_empty() {
                let stored = errors.refused(progress.error_parts, refused).await;
                stored.map_err(HandBack::BrokenOff)?;
                progress.error_parts += 1;
            }
        }
        let allowed = format!("the share of {} allowed (metadata replace-share)", whole.share);
        Ok(replacement.why_kept(whole.kind, &allowed))
    }

    /// Stores a job's report; tells whether the parts of its errors are together in one object now.
    async fn report(
        &self,
        account: &AccountId,
        source: &Source,
        job: &Job,
        status: Status,
        progress: Progress,
        error: Option<&str>,
    ) -> Result<bool, HandBack> {
        let Some((bucket, key)) = &source.report else { return Ok(false) };
        let (errors, together) = self.errors(bucket, key, progress.error_parts).await?;
        let finished_at = Timestamp::now();
        let report = Report {
            import_id: &job.import_id,
            account,
            source: &source.words,
            status,
            error,
            lines: progress.counts.total(),
            counts: progress.counts,
            cost: progress.cost,
            started_at: rfc3339_millis(job.started_at),
            finished_at: rfc3339_millis(finished_at),
            duration_ms: finished_at.as_millisecond() - job.started_at.as_millisecond(),
            errors,
        };
        let report =
            serde_json::to_vec(&report).map_err(|error| HandBack::BrokenOff(error.to_string()))?;
        self.objects.put(bucket, &format!("{key}.json"), "application/json", report).await?;
        Ok(together)
    }

    /// Puts the parts of a list of errors together, if that is not too much; tells where they are, and
    /// whether they are together.
    async fn errors(
        &self,
        bucket: &str,
        key: &str,
        parts: u32,
    ) -> Result<(Vec<String>, bool), HandBack> {
        if parts == 0 {
            return Ok((Vec::new(), false));
        }
        let names: Vec<String> = (0..parts).map(|part| part_key(key, part)).collect();
        let mut whole = Vec::new();
        for name in &names {
            whole.extend(self.objects.get(bucket, name).await?.unwrap_or_default());
            if whole.len() > MAX_ERRORS {
                // Too much for one object of a small function: the parts are the list.
                return Ok((names, false));
            }
        }
        let name = format!("{key}.errors.ndjson");
        self.objects.put(bucket, &name, NDJSON, whole).await?;
        Ok((vec![name], true))
    }

    /// Removes the parts of a list of errors that are together in one object by now. Only when the job
    /// is done: until then another turn may have to put them together again.
    async fn forget_parts(&self, source: &Source, parts: u32) {
        let Some((bucket, key)) = &source.report else { return };
        for part in 0..parts {
            // What stays is only a copy.
            let _ = self.objects.remove(bucket, &part_key(key, part)).await;
        }
    }
}

const NDJSON: &str = "application/x-ndjson";

fn part_key(key: &str, part: u32) -> String {
    format!("{key}.errors.part-{part:06}.ndjson")
}

/// Records a line each, whatever line breaks stand between their tokens.
fn one_line_each(records: &[Vec<u8>]) -> Vec<u8> {
    let flat = records.iter().map(|record| {
        let breaks = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
        record.iter().map(breaks).collect::<Vec<u8>>()
    });
    flat.collect::<Vec<_>>().join(&b'\n')
}

/// The list of errors, a part a checkpoint.
struct Parts<'a> {
    objects: &'a Objects,
    report: Option<&'a (String, String)>,
}

#[derive(Serialize)]
struct ErrorLine<'a> {
    line: u64,
    field: &'a str,
    message: &'a str,
    code: RefusalCode,
}

impl Observer for Parts<'_> {
    async fn refused(&self, part: u32, errors: &[LineError]) -> Result<(), String> {
        let mut lines = Vec::new();
        for error in errors {
            let line = ErrorLine {
                line: error.line,
                field: &error.error.field,
                message: &error.error.message,
                code: error.code,
            };
            serde_json::to_writer(&mut lines, &line).map_err(|error| error.to_string())?;
            lines.push(b'\n');
        }
        let Some((bucket, key)) = self.report else {
            for error in errors {
                tracing::warn!(line = error.line, field = error.error.field, "record refused");
            }
            return Ok(());
        };
        let stored = self.objects.put(bucket, &part_key(key, part), NDJSON, lines).await;
        stored.map_err(|error| error.to_string())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    import_id: &'a ImportId,
    account: &'a AccountId,
    source: &'a str,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    lines: u64,
    counts: Counts,
    cost: ImportCost,
    started_at: String,
    finished_at: String,
    duration_ms: i64,
    /// The objects that list every refused record.
    errors: Vec<String>,
}

/// The one line of a turn.
fn summary(
    lease: &Lease,
    source: &Source,
    status: Status,
    progress: Progress,
    error: Option<&str>,
    elapsed: Duration,
) {
    let Counts { created, updated, unchanged, stale, deleted, failed } = progress.counts;
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(
        account = lease.account.as_str(),
        import_id = lease.import.as_str(),
        source = source.words,
        status = status.as_str(),
        line = progress.line,
        created,
        updated,
        unchanged,
        stale,
        deleted,
        failed,
        read_units = progress.cost.read_units,
        write_units = progress.cost.write_units,
        millis,
        error,
        "import"
    );
}
