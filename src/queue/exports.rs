//! The function `export-catalog`: receives the ids of export jobs, and writes their objects.
//!
//! An object of any size is written in parts with bounded memory. After each part the job's progress is stored; a run
//! that reaches its deadline sends a message for the next one, and a run that dies leaves its message, which is
//! received again. What a message asks for is done once, however often it is delivered.

use std::{io, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::FutureExt as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{MAX_RECEIVES, MessageQueue, QueueMessage, delay, receives, return_to_queue};
use crate::{
    account::AccountId,
    cause::Cause,
    changes::{Change, ExportedRecord, View},
    exports::{
        ExportClaim, ExportId, ExportJob, ExportLease, ExportProgress, ExportStatus, GzipParts,
        export_key, rest_key,
    },
    imports::{
        job::{JobStore as _, LEASE_TERM},
        run::CLOSING_TIME,
    },
    objects::{Bucket, MultipartUpload, ObjectError, PART_BYTES},
    retry::Patience,
    store::{ExportPosition, Store, StoreError},
    text::random_name,
};

const CONTENT_TYPE: &str = "application/gzip";

/// What a message asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportMessage {
    account: String,
    export_id: String,
}

/// The message that asks for an export.
#[must_use]
pub fn export_message(account: &AccountId, export: &ExportId) -> QueueMessage {
    let message =
        ExportMessage { account: account.to_string(), export_id: export.as_str().to_owned() };
    // It has only texts: serializing them cannot fail.
    let body = serde_json::to_string(&message).unwrap_or_default();
    QueueMessage { body, ..QueueMessage::default() }
}

/// Why a message must be delivered again.
#[derive(Debug, thiserror::Error)]
enum RetryReason {
    #[error("the message is no export")]
    Message,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Another worker holds the job; that lease expires after this time.
    #[error("another worker is exporting it")]
    Busy(Duration),
    #[error("the lease was lost")]
    LeaseLost,
    /// The run reached its deadline before it had read anything.
    #[error("the deadline was reached")]
    DeadlineReached,
    /// The run made progress, but the message for the next one could not be sent.
    #[error("the next run was not requested")]
    NotContinued(#[source] Cause),
    #[error("a record cannot be written")]
    Record(#[source] Cause),
    #[error("panic")]
    Panic,
}

impl From<io::Error> for RetryReason {
    fn from(error: io::Error) -> Self {
        Self::Record(error.into())
    }
}

/// How a run ended, if nothing failed.
enum End {
    Done,
    /// It reached its deadline; what is left is for another run.
    Unfinished {
        has_progressed: bool,
    },
}

/// The function `export-catalog`.
#[derive(Clone, Debug)]
pub struct ExportCatalog {
    store: Store,
    bucket: Bucket,
    queue: Arc<dyn MessageQueue>,
    lease: Duration,
    part_bytes: usize,
}

impl ExportCatalog {
    /// Creates the function. Its messages come from this queue, and it sends messages to it for what is left.
    #[must_use]
    pub fn new(store: Store, bucket: Bucket, queue: Arc<dyn MessageQueue>) -> Self {
        Self { store, bucket, queue, lease: LEASE_TERM, part_bytes: PART_BYTES }
    }

    /// Sets how long claims are valid, and how large the parts of an object are.
    #[must_use]
    pub fn with_limits(self, lease: Duration, part_bytes: usize) -> Self {
        Self { lease, part_bytes, ..self }
    }

    /// Processes the messages of an event, each on its own, until the deadline. The response lists those that must be
    /// delivered again.
    pub async fn handle(&self, event: SqsEvent, deadline: Instant) -> SqsBatchResponse {
        let mut response = SqsBatchResponse::default();
        for message in &event.records {
            let work = AssertUnwindSafe(Box::pin(self.handle_message(message, deadline)));
            let Err(reason) = work.catch_unwind().await.unwrap_or(Err(RetryReason::Panic)) else {
                continue;
            };
            let busy = match reason {
                RetryReason::Busy(left) => Some(left),
                _ => None,
            };
            let delay = delay(receives(message), busy);
            // Waiting for another worker must not send a message to the dead-letter queue.
            if busy.is_some() && receives(message) + 1 >= MAX_RECEIVES {
                let body = message.body.clone().unwrap_or_default();
                let later = QueueMessage { body, delay, ..QueueMessage::default() };
                if self.queue.send(later).await.is_ok() {
                    continue;
                }
            }
            return_to_queue(Some(&*self.queue), message, &reason, delay, &mut response).await;
        }
        response
    }

    async fn handle_message(
        &self,
        message: &SqsMessage,
        deadline: Instant,
    ) -> Result<(), RetryReason> {
        let asked: Option<ExportMessage> =
            message.body.as_deref().and_then(|body| serde_json::from_str(body).ok());
        let asked = asked.ok_or(RetryReason::Message)?;
        let account = AccountId::parse(&asked.account).map_err(|_| RetryReason::Message)?;
        let export = ExportId::parse(&asked.export_id).ok_or(RetryReason::Message)?;
        let lease = ExportLease { account, export, holder: random_name(), term: self.lease };
        let store = self.store.until(Some(deadline));
        let job = match store.claim_export(&lease).await? {
            ExportClaim::Ended => return Ok(()),
            ExportClaim::Busy(left) => return Err(RetryReason::Busy(left)),
            ExportClaim::Held(job) => *job,
        };
        let mut run = Run {
            function: self,
            store,
            closing: self.store.until(Some(deadline + CLOSING_TIME)),
            patience: Patience::Until(deadline + CLOSING_TIME),
            upload: job.progress.upload.clone().map(|id| self.upload(&lease, id)),
            progress: job.progress.clone(),
            has_progressed: false,
            extended_at: Instant::now(),
            lease,
        };
        let outcome = run.export(&job, deadline).await;
        log(&job, &run, &outcome);
        match outcome {
            Ok(End::Done) => Ok(()),
            Ok(End::Unfinished { has_progressed }) => {
                run.release(ExportStatus::Waiting).await;
                if !has_progressed {
                    return Err(RetryReason::DeadlineReached);
                }
                let next =
                    || self.queue.send(export_message(&run.lease.account, &run.lease.export));
                let sent = Patience::Attempts(3).retry(next, |_| true).await;
                sent.map_err(RetryReason::NotContinued)
            }
            Err(reason) => {
                // After the last receive nobody continues it; its message is with the dead letters.
                let is_last = receives(message) >= MAX_RECEIVES;
                run.release(if is_last { ExportStatus::Failed } else { ExportStatus::Waiting })
                    .await;
                Err(reason)
            }
        }
    }

    fn upload(&self, lease: &ExportLease, id: String) -> MultipartUpload {
        let key = export_key(&lease.account, &lease.export);
        MultipartUpload { bucket: self.bucket.name.clone(), key, id }
    }
}

/// A run in progress.
struct Run<'a> {
    function: &'a ExportCatalog,
    store: Store,
    /// The same store with a later deadline, for the job's last state.
    closing: Store,
    patience: Patience,
    lease: ExportLease,
    progress: ExportProgress<ExportPosition>,
    upload: Option<MultipartUpload>,
    /// Whether the next run continues after what this one began with.
    has_progressed: bool,
    extended_at: Instant,
}

impl Run<'_> {
    async fn export(
        &mut self,
        job: &ExportJob<ExportPosition>,
        deadline: Instant,
    ) -> Result<End, RetryReason> {
        let principal = job.view.principal(&self.lease.account);
        let view = View::of(&principal);
        let tables = job.tables();
        let mut gzip = GzipParts::new(self.progress.gzip, self.rest().await?);
        // What is read, but not in a part yet.
        let mut next = self.progress.clone();
        let mut has_read = false;
        while let Some(table) = tables.get(next.table) {
            if Instant::now() >= deadline {
                if has_read {
                    self.leave_rest(&mut gzip, next).await?;
                }
                return Ok(End::Unfinished { has_progressed: self.has_progressed });
            }
            let (records, position) = self
                .store
                .exported_records(&self.lease.account, *table, next.position.take())
                .await?;
            for record in records {
                if !job.kinds.contains(record.identity.kind) {
                    continue;
                }
                if let Some(line) = line(record, view)? {
                    gzip.write(line.as_bytes())?;
                    gzip.write(b"\n")?;
                    next.records += 1;
                }
            }
            has_read = true;
            next.position = position;
            if next.position.is_none() {
                next.table += 1;
            }
            if gzip.compressed_len() >= self.function.part_bytes {
                let (part, state) = gzip.part()?;
                (next.gzip, next.rest) = (state, None);
                self.write_part(&mut next, part).await?;
                has_read = false;
            } else if self.extended_at.elapsed() >= self.lease.term / 4 {
                self.checkpoint().await?;
            }
        }
        self.finish(gzip, next).await?;
        Ok(End::Done)
    }

    /// What the run before has compressed that is not in a part.
    async fn rest(&self) -> Result<Vec<u8>, RetryReason> {
        let Some(run) = &self.progress.rest else { return Ok(Vec::new()) };
        let Bucket { objects, name: bucket } = &self.function.bucket;
        let key = rest_key(&self.lease.account, &self.lease.export, run);
        Ok(objects.get(bucket, &key).await?.ok_or(ObjectError::Missing)?)
    }

    /// Leaves what is too little for a part to the next run, so that it does not read the same again.
    async fn leave_rest(
        &mut self,
        gzip: &mut GzipParts,
        mut next: ExportProgress<ExportPosition>,
    ) -> Result<(), RetryReason> {
        let Bucket { objects, name: bucket } = &self.function.bucket;
        let (rest, state) = gzip.part()?;
        let key = rest_key(&self.lease.account, &self.lease.export, &self.lease.holder);
        objects.put(bucket, &key, CONTENT_TYPE, rest).await?;
        (next.gzip, next.rest) = (state, Some(self.lease.holder.clone()));
        self.progress = next;
        self.has_progressed = true;
        Ok(())
    }

    /// Writes a part, and stores that everything before this progress is in parts.
    async fn write_part(
        &mut self,
        next: &mut ExportProgress<ExportPosition>,
        part: Vec<u8>,
    ) -> Result<(), RetryReason> {
        // A run that has lost its lease must not replace a part of its successor.
        self.checkpoint().await?;
        let Bucket { objects, name: bucket } = &self.function.bucket;
        let upload = if let Some(upload) = &self.upload {
            upload.clone()
        } else {
            let key = export_key(&self.lease.account, &self.lease.export);
            let begun = objects.begin_upload(bucket, &key, CONTENT_TYPE, self.patience).await?;
            self.upload.insert(begun).clone()
        };
        next.upload = Some(upload.id.clone());
        next.bytes += u64::try_from(part.len()).unwrap_or_default();
        let number = next.parts.len() + 1;
        let written = objects.upload_part(&upload, number, part, self.patience).await;
        next.parts.push(written.map_err(|error| self.begin_anew_without(error))?);
        self.progress = next.clone();
        self.checkpoint().await?;
        self.has_progressed = true;
        Ok(())
    }

    async fn finish(
        &mut self,
        gzip: GzipParts,
        mut next: ExportProgress<ExportPosition>,
    ) -> Result<(), RetryReason> {
        let Bucket { objects, name: bucket } = &self.function.bucket;
        let key = export_key(&self.lease.account, &self.lease.export);
        let last = gzip.finish()?;
        if let Some(upload) = self.upload.clone() {
            // The last part is not a progress to continue from: it is written again until the object is complete.
            next.bytes += u64::try_from(last.len()).unwrap_or_default();
            let mut parts = next.parts.clone();
            let completed =
                match objects.upload_part(&upload, parts.len() + 1, last, self.patience).await {
                    Ok(etag) => {
                        parts.push(etag);
                        objects.complete_upload(&upload, &parts, self.patience).await
                    }
                    Err(error) => Err(error),
                };
            if let Err(error) = completed {
                // An earlier run may have completed the object, and died before it stored that.
                if objects.length(bucket, &key, self.patience).await?.is_none() {
                    return Err(self.begin_anew_without(error));
                }
            }
        } else {
            next.bytes = u64::try_from(last.len()).unwrap_or_default();
            objects.put(bucket, &key, CONTENT_TYPE, last).await?;
        }
        self.progress = next;
        let stored =
            self.closing.checkpoint_export(&self.lease, ExportStatus::Done, &self.progress);
        if stored.await? { Ok(()) } else { Err(RetryReason::LeaseLost) }
    }

    /// What to do about a part that is not written: if its upload or a part is gone, the next run begins anew.
    fn begin_anew_without(&mut self, error: ObjectError) -> RetryReason {
        // Two workers may have written the same part: one of them had lost its lease.
        if matches!(error, ObjectError::Missing | ObjectError::Denied | ObjectError::Replaced) {
            self.progress = ExportProgress::default();
            self.upload = None;
        }
        error.into()
    }

    async fn checkpoint(&mut self) -> Result<(), RetryReason> {
        let running = ExportStatus::Running;
        let stored = self.closing.checkpoint_export(&self.lease, running, &self.progress);
        if !stored.await? {
            return Err(RetryReason::LeaseLost);
        }
        self.extended_at = Instant::now();
        Ok(())
    }

    /// Leaves the job. If this fails, the lease expires by itself.
    async fn release(&self, status: ExportStatus) {
        let _ = self.closing.checkpoint_export(&self.lease, status, &self.progress).await;
    }
}

/// The line of a record as a caller with this view is told it; `None`: not at all.
fn line(record: ExportedRecord, view: View<'_>) -> Result<Option<String>, RetryReason> {
    if matches!(view, View::Everything) {
        return Ok(Some(record.json));
    }
    // As the journal tells it.
    let created = Change::between(None, Some(record), Timestamp::UNIX_EPOCH, None)
        .map_err(|error| RetryReason::Record(error.into()))?;
    let seen = created.and_then(|created| created.seen_with(view));
    Ok(seen.and_then(|change| change.record().map(ToOwned::to_owned)))
}

/// Writes the log line of a run.
fn log(job: &ExportJob<ExportPosition>, run: &Run<'_>, outcome: &Result<End, RetryReason>) {
    let status = match outcome {
        Ok(End::Done) => ExportStatus::Done,
        Ok(End::Unfinished { .. }) | Err(_) => ExportStatus::Waiting,
    };
    let ExportProgress { records, bytes, parts, .. } = &run.progress;
    tracing::info!(
        account = run.lease.account.as_str(),
        export_id = job.id.as_str(),
        status = status.as_str(),
        records,
        bytes,
        parts = parts.len(),
        "export"
    );
}
