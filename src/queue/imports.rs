//! The function `import-catalog`: receives messages, runs imports, returns partial batch responses.
//!
//! # How failures are handled
//! Each message is parsed and processed on its own. It is acknowledged if its import is complete, if that was
//! complete before, or if the message asks for nothing. It is acknowledged, too, if its run reached the
//! deadline after some progress: a new message, the continuation, takes its place, so that only runs without
//! progress use up receives. A message that made no progress, or has no known shape, is a batch item failure:
//! it becomes visible again after seconds, and finally goes to the dead-letter queue, where an operator sees
//! it. Nothing is dropped. A source that can never be read to its end is imported up to the unreadable place;
//! its report says so.

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::FutureExt as _;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{
    CONTINUES, MAX_RECEIVES, MessageQueue, QueueMessage, delay,
    message::{self, Event, ImportedObject, MessageError, Work, parse},
    receives, return_to_queue,
};

use crate::{
    account::AccountId,
    cause::Cause,
    imports::{
        Counts, GeneratedIds, Kind, Mode, OrderBy,
        job::{
            ImportId, ImportOptions, Job, JobStore as _, LEASE_TERM, Lease, ObjectVersion,
            Progress, Source, Status, Submission,
        },
        report::{Report, ReportKeys, Reporter},
        run::{End, Interruption, Request, SnapshotPart, run},
        snapshot::{DEFAULT_SHARE, Snapshot, parse_share},
    },
    objects::{Bucket, ObjectAddress, ObjectError, OpenObject},
    retry::Patience,
    source::{Format, GroupStream},
    store::{GivenUp, Store, StoreError},
    telemetry::ImportMeasures,
    text::{hex, random_name},
};

/// Objects of at most this size are read whole, without a separate thread.
const SMALL_OBJECT_BYTES: u64 = 1024 * 1024;

/// The function `import-catalog`.
#[derive(Clone, Debug)]
pub struct ImportCatalog {
    store: Store,
    /// The only bucket to import objects from, and the bucket for reports.
    bucket: Bucket,
    queue: Option<Arc<dyn MessageQueue>>,
    lease: Duration,
}

/// Why a message must be delivered again.
#[derive(Debug, thiserror::Error)]
enum RetryReason {
    /// It has no known shape.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object could not be read.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The object is in a foreign bucket: the account in its key cannot be trusted.
    #[error("the object is in bucket {0}, which is not the import bucket")]
    ForeignBucket(String),
    /// Its object is one that clients submit, and nobody submitted it.
    #[error("no such import was submitted")]
    NotSubmitted,
    /// Another worker holds its job; that lease expires after this time.
    #[error("another worker is importing it")]
    Busy(Duration),
    /// The run could not continue, and made no progress.
    #[error(transparent)]
    Interrupted(#[from] Interruption),
    /// The run made progress, but its continuation could not be sent.
    #[error("the continuation was not sent")]
    NotContinued(#[source] Cause),
    /// Metadata of the object is invalid.
    #[error("the object's metadata {0} is invalid")]
    Metadata(&'static str),
    /// An internal error.
    #[error("panic")]
    Panic,
}

impl RetryReason {
    /// The delay before the message becomes visible again, given how often it was received.
    fn delay(&self, receives: u32) -> Duration {
        match self {
            Self::Busy(left) => delay(receives, Some(*left)),
            _ => delay(receives, None),
        }
    }
}

/// A message and its identity, which its continuations keep.
struct Delivery<'a> {
    message: &'a SqsMessage,
    account: Option<&'a str>,
    /// The id of the first message; a continuation carries it.
    id: String,
    /// When the first message was sent.
    sent: Timestamp,
    receives: u32,
}

impl<'a> Delivery<'a> {
    fn of(message: &'a SqsMessage, now: Timestamp) -> Self {
        let attribute = |name: &str| message.message_attributes.get(name)?.string_value.as_deref();
        let system = |name: &str| message.attributes.get(name).map(String::as_str);
        let millis = |text: &str| Timestamp::from_millisecond(text.parse().ok()?).ok();
        let begun = attribute(CONTINUES).and_then(|begun| {
            let (sent, id) = begun.split_once(' ')?;
            Some((id.to_owned(), millis(sent)?))
        });
        let (id, sent) = begun.unwrap_or_else(|| {
            let sent = system("SentTimestamp").and_then(millis);
            (message.message_id.clone().unwrap_or_default(), sent.unwrap_or(now))
        });
        let receives = receives(message);
        Self { message, account: attribute("account"), id, sent, receives }
    }

    fn body(&self) -> &'a str {
        self.message.body.as_deref().unwrap_or_default()
    }

    fn continuation(&self, delay: Duration) -> QueueMessage {
        QueueMessage {
            body: self.body().to_owned(),
            account: self.account.map(ToOwned::to_owned),
            continues: Some(format!("{} {}", self.sent.as_millisecond(), self.id)),
            delay,
        }
    }
}

/// The result of processing a message without an error.
enum Done {
    /// It is complete, or was complete before.
    Completed,
    /// The run stopped early after some progress: another run continues.
    Unfinished,
}

impl ImportCatalog {
    #[must_use]
    pub fn new(store: Store, bucket: Bucket) -> Self {
        Self { store, bucket, queue: None, lease: LEASE_TERM }
    }

    /// Sets the queue that its messages come from. It is used to send continuations, and to make failed
    /// messages visible again soon.
    #[must_use]
    pub fn with_queue(mut self, queue: Arc<dyn MessageQueue>) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Sets how long claims are valid. When a worker dies, another can take over after this time.
    #[must_use]
    pub fn with_lease(mut self, term: Duration) -> Self {
        self.lease = term;
        self
    }

    /// Processes the messages of an event, each on its own, until the deadline. The response lists those that
    /// must be delivered again.
    pub async fn handle(&self, event: SqsEvent, deadline: Instant) -> SqsBatchResponse {
        let mut response = SqsBatchResponse::default();
        for message in &event.records {
            let delivery = Delivery::of(message, self.store.clock().now());
            let done = if Instant::now() >= deadline {
                Err(RetryReason::Interrupted(Interruption::DeadlineReached(0)))
            } else {
                let work = AssertUnwindSafe(Box::pin(self.handle_message(&delivery, deadline)));
                work.catch_unwind().await.unwrap_or(Err(RetryReason::Panic))
            };
            let done = match done {
                Ok(Done::Completed) => continue,
                Ok(Done::Unfinished) => self.send_continuation(&delivery, Duration::ZERO).await,
                // Waiting for an import in progress must not send a message to the dead-letter queue.
                Err(RetryReason::Busy(left)) if delivery.receives + 1 >= MAX_RECEIVES => {
                    let delay = RetryReason::Busy(left).delay(delivery.receives);
                    self.send_continuation(&delivery, delay)
                        .await
                        .map_err(|_| RetryReason::Busy(left))
                }
                Err(reason) => Err(reason),
            };
            let Err(reason) = done else { continue };
            let delay = reason.delay(delivery.receives);
            return_to_queue(self.queue.as_deref(), message, &reason, delay, &mut response).await;
        }
        response
    }

    /// Sends the continuation of a delivery. After that the delivery may be acknowledged.
    async fn send_continuation(
        &self,
        delivery: &Delivery<'_>,
        delay: Duration,
    ) -> Result<(), RetryReason> {
        let Some(queue) = &self.queue else {
            return Err(RetryReason::NotContinued("there is no queue".into()));
        };
        let send = || queue.send(delivery.continuation(delay));
        Patience::Attempts(3).retry(send, |_| true).await.map_err(RetryReason::NotContinued)
    }

    async fn handle_message(
        &self,
        delivery: &Delivery<'_>,
        deadline: Instant,
    ) -> Result<Done, RetryReason> {
        let parts = parse(delivery.body(), delivery.account)?;
        for (place, work) in parts.into_iter().enumerate() {
            let done = match work {
                Work::Nothing => Done::Completed,
                Work::Object(address, event) => {
                    Box::pin(self.import_object(&address, event, deadline)).await?
                }
                Work::Records(account, records, Some(event)) => {
                    self.import_event_records(account, &records, event, delivery, deadline).await?
                }
                Work::Records(account, records, None) => {
                    let id = format!("{}.{place}", delivery.id);
                    self.import_message_records(account, &records, &id, delivery, deadline).await?
                }
            };
            if let Done::Unfinished = done {
                return Ok(done);
            }
        }
        Ok(Done::Completed)
    }

    /// Imports an object: once per version; a newer version supersedes an older one.
    async fn import_object(
        &self,
        address: &ObjectAddress,
        event: Option<Event>,
        deadline: Instant,
    ) -> Result<Done, RetryReason> {
        let Some(object) = message::imported_object(address) else {
            return Ok(Done::Completed);
        };
        if address.bucket != self.bucket.name {
            return Err(RetryReason::ForeignBucket(address.bucket.clone()));
        }
        let (account, name) = match object {
            ImportedObject::Dropped(account, name) => (account, name),
            ImportedObject::Uploaded(account, import) => {
                return Box::pin(self.import_upload(account, import, address, deadline)).await;
            }
        };
        let object = self.bucket.objects.open(address, Patience::Until(deadline)).await?;
        let uri = format!("s3://{}/{}", address.bucket, address.key);
        // In a bucket without versioning an object may get an earlier content again, or be replaced before it
        // is read. There the event that announced the object is its identity.
        let id = match (&object.version, &address.sequencer, event) {
            (Some(version), ..) => ImportId::of(&[&uri, version]),
            (None, Some(sequencer), _) => ImportId::of(&[&uri, "", sequencer]),
            (None, None, Some(event)) => ImportId::of(&[&uri, "", &event.name]),
            (None, None, None) => ImportId::of(&[&uri, &content_name(&object)]),
        };
        let source = Source {
            name: uri,
            version: Some(ObjectVersion {
                sequencer: address.sequencer.clone(),
                modified: object.modified,
            }),
            content: Some(content_name(&object)),
            time: object.modified,
        };
        let request = Request {
            order_by: order_by(&object.metadata)?,
            ..self.request(account, id, source, deadline)
        };
        let snapshot = snapshot(&object.metadata)?;
        self.import_content(&request, object, Format::of_name(name), snapshot).await
    }

    /// Imports an object that a client submitted over HTTP, as it was submitted.
    async fn import_upload(
        &self,
        account: AccountId,
        id: ImportId,
        address: &ObjectAddress,
        deadline: Instant,
    ) -> Result<Done, RetryReason> {
        let store = self.store.until(Some(deadline));
        let job = store.job(&account, &id).await?;
        let Some(Job { source, source_time, submission: Some(submission), .. }) = job else {
            return Err(RetryReason::NotSubmitted);
        };
        let object = self.bucket.objects.open(address, Patience::Until(deadline)).await?;
        let Submission { options, length } = submission;
        let ImportOptions { format, replace, order_by, dry_run } = options;
        let mode = if dry_run { Mode::DryRun } else { Mode::Write };
        // The object can be written only once.
        let source = Source::named(source, source_time);
        let request = Request { order_by, mode, ..self.request(account, id, source, deadline) };
        let snapshot = replace.map(|(kind, share)| Snapshot::new(kind, share));
        if let Some(bytes) = object.length.filter(|bytes| *bytes != length) {
            let message = format!("{bytes} bytes were uploaded, and {length} were declared");
            return self.import(&request, || GroupStream::unreadable(message), snapshot).await;
        }
        self.import_content(&request, object, format, snapshot).await
    }

    async fn import_content(
        &self,
        request: &Request,
        OpenObject { body, length, .. }: OpenObject,
        format: Option<Format>,
        snapshot: Option<Snapshot>,
    ) -> Result<Done, RetryReason> {
        if length.is_some_and(|length| length <= SMALL_OBJECT_BYTES) {
            let content = body.read_whole().await?;
            self.import(request, move || GroupStream::of_bytes(content, format), snapshot).await
        } else {
            let open = move || GroupStream::read_ahead(body.into_reader(), format, Arc::default());
            self.import(request, open, snapshot).await
        }
    }

    /// Imports the records of an event, once for however many messages carry it.
    async fn import_event_records(
        &self,
        account: AccountId,
        records: &[Vec<u8>],
        event: Event,
        delivery: &Delivery<'_>,
        deadline: Instant,
    ) -> Result<Done, RetryReason> {
        let id = ImportId::of(&["event", &event.name]);
        let time = event.time.map_or(delivery.sent, |time| time.min(delivery.sent));
        let request = self.request(account, id, Source::named(event.name, time), deadline);
        let lines = one_line_each(records);
        let open = move || GroupStream::of_bytes(lines, Some(Format::Ndjson));
        self.import(&request, open, None).await
    }

    /// Imports the records of a message. A message redriven from the dead-letter queue has a new id. It
    /// continues the job that was given up and whose message had the same content.
    async fn import_message_records(
        &self,
        account: AccountId,
        records: &[Vec<u8>],
        message_id: &str,
        delivery: &Delivery<'_>,
        deadline: Instant,
    ) -> Result<Done, RetryReason> {
        let lines = one_line_each(records);
        let content = ImportId::of(&["content", &hex(&Sha256::digest(&lines))]);
        let store = self.store.until(Some(deadline));
        let known = store.note_content(&account, &content, message_id).await?;
        let own = (ImportId::of(&["message", message_id]), format!("message {message_id}"));
        let given_up = known.given_up.filter(|given_up| given_up.import != own.0);
        let continued = self.continued(&store, &account, &content, given_up, message_id).await?;
        if continued.is_none() && delivery.receives >= MAX_RECEIVES {
            // Before the run, because the worker may die while it has the message.
            store.give_up(&account, &content, &own.0, &own.1).await?;
        }
        let (id, name) = continued.unwrap_or(own);
        let source = Source::named(name, delivery.sent);
        let ids = GeneratedIds {
            seed: content.as_str().to_owned(),
            time: known.first_seen,
            run: random_name(),
        };
        let request = Request { ids: Some(ids), ..self.request(account, id, source, deadline) };
        let open = move || GroupStream::of_bytes(lines, Some(Format::Ndjson));
        self.import(&request, open, None).await
    }

    /// The job of an earlier message with the same content, if it was given up and this message is to
    /// continue it. Once that job has ended, no other message continues it: the same content may be sent
    /// again on purpose.
    async fn continued(
        &self,
        store: &Store,
        account: &AccountId,
        content: &ImportId,
        given_up: Option<GivenUp>,
        message_id: &str,
    ) -> Result<Option<(ImportId, String)>, RetryReason> {
        let Some(GivenUp { import, source, is_continued }) = given_up else { return Ok(None) };
        if !is_continued {
            let job = store.job(account, &import).await?;
            let Some(job) = job.filter(|job| !job.status.is_end()) else { return Ok(None) };
            if job.status == Status::Running {
                // Its last receive may still be in progress.
                let held = store.clock().now().duration_since(job.updated_at).unsigned_abs();
                let left = self.lease.saturating_sub(held);
                if !left.is_zero() {
                    return Err(RetryReason::Busy(left));
                }
            }
            store.continue_given_up(account, content, message_id).await?;
        }
        Ok(Some((import, source)))
    }

    /// A request that writes the records of a source, each ordered by its own time.
    fn request(
        &self,
        account: AccountId,
        import: ImportId,
        source: Source,
        deadline: Instant,
    ) -> Request {
        Request {
            lease: Lease { account, import, holder: random_name(), term: self.lease },
            source,
            order_by: OrderBy::Record,
            ids: None,
            mode: Mode::Write,
            is_stored: true,
            deadline: Some(deadline),
        }
    }

    /// Runs the job of an import.
    async fn import(
        &self,
        request: &Request,
        open: impl FnOnce() -> GroupStream,
        mut snapshot: Option<Snapshot>,
    ) -> Result<Done, RetryReason> {
        let started = Instant::now();
        let Request { lease, source, .. } = request;
        let keys = ReportKeys::of(&lease.account, &source.name, &lease.import);
        let reporter = Reports { bucket: &self.bucket, keys };
        let part = snapshot.as_mut().map(|snapshot| SnapshotPart { snapshot, is_last: true });
        let end = run(&self.store, request, open, part, &reporter).await?;
        let (ended, job, before) = match &end {
            End::Busy(left) => return Err(RetryReason::Busy(*left)),
            // The job had ended before: nothing was done now.
            End::Ended(_, None) => return Ok(Done::Completed),
            End::Ended(job, Some(before)) => (true, job, before),
            End::Unfinished { job, before, .. } => (false, job, before),
        };
        summary(request, job, started.elapsed());
        ImportMeasures {
            ended,
            failed: job.status == Status::Failed,
            counts: job.progress.counts.since(before.counts),
            cost: job.progress.cost.since(before.cost),
            elapsed: started.elapsed(),
        }
        .publish();
        match end {
            End::Unfinished { job, before, .. } if has_progressed(&job.progress, &before) => {
                Ok(Done::Unfinished)
            }
            End::Unfinished { cause, .. } => Err(cause.into()),
            End::Ended(..) | End::Busy(_) => Ok(Done::Completed),
        }
    }
}

/// Whether a run made progress. The removals of a snapshot come after the last line, so counts matter, too.
fn has_progressed(progress: &Progress, before: &Progress) -> bool {
    progress.line > before.line || progress.counts.total() > before.counts.total()
}

/// Identifies the content of an object among all contents under its key.
fn content_name(object: &OpenObject) -> String {
    let time_and_length = || format!("{} {:?}", object.modified, object.length);
    object.etag.clone().unwrap_or_else(time_and_length)
}

/// The snapshot that an object declares with its metadata `replace: product`. With `replace-share: 0.9`, up
/// to that share of the stored records may be removed; the default is half.
fn snapshot(metadata: &HashMap<String, String>) -> Result<Option<Snapshot>, RetryReason> {
    let Some(kind) = metadata.get("replace") else { return Ok(None) };
    let kind: Kind = kind.parse().map_err(|_| RetryReason::Metadata("replace"))?;
    if kind == Kind::Bundle {
        // Bundles are replaced together with their networks.
        return Err(RetryReason::Metadata("replace"));
    }
    let share = match metadata.get("replace-share") {
        None => DEFAULT_SHARE,
        Some(share) => parse_share(share).ok_or(RetryReason::Metadata("replace-share"))?,
    };
    Ok(Some(Snapshot::new(kind, share)))
}

/// Which time orders the records of an object; its metadata `order: source` selects the source's time.
fn order_by(metadata: &HashMap<String, String>) -> Result<OrderBy, RetryReason> {
    match metadata.get("order") {
        None => Ok(OrderBy::Record),
        Some(order) => order.parse().map_err(|_| RetryReason::Metadata("order")),
    }
}

const NDJSON: &str = "application/x-ndjson";

/// Joins records to NDJSON; line breaks within a record become spaces.
fn one_line_each(records: &[Vec<u8>]) -> Vec<u8> {
    let flat = records.iter().map(|record| {
        let breaks = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
        record.iter().map(breaks).collect::<Vec<u8>>()
    });
    flat.collect::<Vec<_>>().join(&b'\n')
}

/// Stores reports and error lists as objects.
struct Reports<'a> {
    bucket: &'a Bucket,
    /// `None`: the job stores no report.
    keys: Option<ReportKeys>,
}

impl Reporter for Reports<'_> {
    async fn store_errors(&self, part: u32, errors: Vec<u8>) -> Result<(), Cause> {
        let Some(keys) = &self.keys else { return Ok(()) };
        let Bucket { objects, name: bucket } = self.bucket;
        let stored = objects.put(bucket, &keys.errors_part(part), NDJSON, errors).await;
        stored.map_err(Cause::from)
    }

    async fn store_report(&self, mut report: Report<'_>) -> Result<(), Cause> {
        let Some(keys) = &self.keys else { return Ok(()) };
        let Bucket { objects, name: bucket } = self.bucket;
        report.errors.extend(keys.all_errors(report.error_parts));
        if let Some(key) = report.errors.first()
            && report.error_parts > 1
        {
            let parts: Vec<String> =
                (0..report.error_parts).map(|part| keys.errors_part(part)).collect();
            let join = || objects.join(bucket, &parts, key, NDJSON);
            Patience::REQUEST.retry(join, |_| true).await?;
        }
        let (key, content) = (keys.report(), serde_json::to_vec(&report)?);
        let put = || objects.put(bucket, &key, "application/json", content.clone());
        Ok(Patience::REQUEST.retry(put, |_| true).await?)
    }
}

/// Writes the log line of a run.
fn summary(request: &Request, job: &Job, elapsed: Duration) {
    let Progress { line, counts, cost, .. } = job.progress;
    let Counts { created, updated, unchanged, stale, deleted, failed } = counts;
    tracing::info!(
        account = request.lease.account.as_str(),
        import_id = request.lease.import.as_str(),
        source = request.source.name,
        status = job.status.as_str(),
        line,
        created,
        updated,
        unchanged,
        stale,
        deleted,
        failed,
        read_units = cost.read_units,
        write_units = cost.write_units,
        millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        error = job.error,
        "import"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_back_within_seconds_at_first() {
        let trouble = || RetryReason::Interrupted(Interruption::DeadlineReached(0));
        assert!(trouble().delay(1) <= Duration::from_secs(10));
        assert!(trouble().delay(5) <= Duration::from_secs(160));
        let busy = RetryReason::Busy(Duration::from_secs(90)).delay(1);
        assert!(busy >= Duration::from_secs(90) && busy <= Duration::from_secs(100), "{busy:?}");
    }
    #[test]
    fn a_run_has_progressed_with_a_line_or_with_a_removal_after_the_last_line() {
        let progress = |line, deleted| Progress {
            line,
            counts: Counts { deleted, ..Counts::default() },
            ..Progress::default()
        };
        let before = progress(7, 2);
        for (line, deleted, expected) in [(7, 2, false), (8, 2, true), (7, 3, true)] {
            assert_eq!(has_progressed(&progress(line, deleted), &before), expected);
        }
    }

    #[test]
    fn the_metadata_of_an_object_says_what_it_replaces_and_how_it_is_ordered() {
        let metadata = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let told = |pairs: &[(&str, &str)]| snapshot(&metadata(pairs)).map_err(|e| e.to_string());
        assert!(told(&[]).expect("valid").is_none());
        let product = told(&[("replace", "product")]).expect("valid").expect("a snapshot");
        assert_eq!(product.kind(), Kind::Product);
        for (pairs, name) in [
            (&[("replace", "bundle")][..], "replace"),
            (&[("replace", "nothing")], "replace"),
            (&[("replace", "product"), ("replace-share", "x")], "replace-share"),
        ] {
            let error = told(pairs).expect_err("invalid");
            assert_eq!(error, format!("the object's metadata {name} is invalid"));
        }
        assert_eq!(order_by(&metadata(&[])).expect("valid"), OrderBy::Record);
        assert_eq!(order_by(&metadata(&[("order", "source")])).expect("valid"), OrderBy::Source);
        let error = order_by(&metadata(&[("order", "x")])).expect_err("invalid");
        assert_eq!(error.to_string(), "the object's metadata order is invalid");
    }

    #[test]
    fn records_are_lines_without_breaks_of_their_own() {
        let records = [b"{\r\n\"a\": 1}".to_vec(), b"2".to_vec()];
        assert_eq!(one_line_each(&records), b"{  \"a\": 1}\n2");
        assert_eq!(one_line_each(&[]), b"");
    }
}
