//! The job-state store: the table `Imports`. It contains jobs by their identity, the newest version of each
//! object, and the floors of snapshots.
//!
//! | File | |
//! |---|---|
//! | `mod` | the state of a job: claims, checkpoints, versions, snapshots |
//! | `operator` | jobs as the operator and the queue see them |
//! | `submissions` | imports submitted over HTTP; the list of jobs, newest first |
//!
//! | `importId` | |
//! |---|---|
//! | 32 hexadecimal digits | a job |
//! | `latest#<hash of an object's name>` | the newest known version of the object |
//! | `message#<hash of a content>` | the job of the first message with this content, and when it was first seen |
//! | `floors` | for each kind, the orders of its newest snapshot and of the snapshots in progress |

mod operator;
mod submissions;

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder, primitives::Blob,
    types::AttributeValue,
};
use jiff::Timestamp;

pub use self::{
    operator::{GivenUp, SeenContent},
    submissions::{JobPage, JobPosition},
};
use super::{
    Store, StoreError,
    batch::KeyToRead,
    expression::Expression,
    item::{
        Item, compressed, decompressed, key_of, number, number_of, order_of, order_value, text,
        text_of, time_of,
    },
};
use crate::{
    account::AccountId,
    cost::Meter,
    imports::{
        Counts, ImportCost, Kind,
        existing::ExistingRecord,
        job::{
            Claim, ImportId, Job, JobStore, Lease, ObjectVersion, Precheck, Progress, RunningJob,
            Source, Status,
        },
        run::GROUP_TIMEOUT,
    },
    order::Order,
    retry::Patience,
};

/// How long a job is kept after its last change. A later delivery starts the import again, which writes only
/// differences.
const REMEMBERED_SECONDS: i64 = 90 * 24 * 60 * 60;

/// The item that contains the floors.
const FLOORS: &str = "floors";

/// Parses the item of a job.
fn job(operation: &'static str, item: &Item) -> Result<Job, StoreError> {
    let wrong = |name: &str| StoreError::unreadable(operation, format!("attribute {name}"));
    let count = |name| number_of(item, name).unwrap_or(0);
    let units = |name| number_of(item, name).unwrap_or(0.0);
    let time = |name| time_of(item, name);
    let import_id = text_of(item, "importId").and_then(ImportId::parse);
    let status = text_of(item, "status").and_then(Status::parse);
    // A job from before there were submissions has only the second.
    let created_at = time("createdAt").or_else(|| time("startedAt"));
    let created_at = created_at.ok_or_else(|| wrong("createdAt"))?;
    let pending_errors = match item.get("pendingErrors") {
        Some(AttributeValue::B(errors)) => {
            decompressed(errors.as_ref()).ok_or_else(|| wrong("pendingErrors"))?
        }
        _ => Vec::new(),
    };
    Ok(Job {
        import_id: import_id.ok_or_else(|| wrong("importId"))?,
        source: text_of(item, "source").unwrap_or_default().to_owned(),
        status: status.ok_or_else(|| wrong("status"))?,
        progress: Progress {
            line: count("line"),
            counts: Counts {
                created: count("created"),
                updated: count("updated"),
                unchanged: count("unchanged"),
                stale: count("stale"),
                deleted: count("deleted"),
                failed: count("failed"),
            },
            cost: ImportCost { read_units: units("readUnits"), write_units: units("writeUnits") },
            error_parts: number_of(item, "errorParts").unwrap_or(0),
        },
        pending_errors,
        error: text_of(item, "error").map(ToOwned::to_owned),
        source_time: time("sourceTime").unwrap_or(created_at),
        created_at,
        started_at: time("startedAt"),
        updated_at: time("updatedAt").ok_or_else(|| wrong("updatedAt"))?,
        submission: submissions::submission_of(item),
    })
}

fn key(account: &AccountId, id: &str) -> Item {
    key_of(account, "importId", text(id))
}

/// The key of the item for the content of a message.
fn content_id(content: &ImportId) -> String {
    format!("message#{}", content.as_str())
}

impl Store {
    /// Reads items of the table by their keys, consistently.
    async fn read_imports(
        &self,
        operation: &'static str,
        account: &AccountId,
        ids: impl IntoIterator<Item = &str>,
    ) -> Result<Vec<Item>, StoreError> {
        let wanted = ids.into_iter().map(|id| KeyToRead {
            table: self.tables.imports.clone(),
            key: key(account, id),
            projection: None,
        });
        let items = self.read_items(operation, wanted.collect()).await?;
        Ok(items)
    }

    /// Removes the floor of a snapshot in progress.
    async fn remove_pending_floor(
        &self,
        operation: &'static str,
        account: &AccountId,
        name: &str,
    ) -> Result<(), StoreError> {
        let update = self
            .update_import(account, FLOORS)
            .update_expression("REMOVE #pending")
            .expression_attribute_names("#pending", name);
        self.update_or_stored(operation, update).await.map(|_| ())
    }

    fn update_import(&self, account: &AccountId, id: &str) -> UpdateItemFluentBuilder {
        self.update_item(&self.tables.imports, key(account, id))
    }

    /// Sends the update of a job that this holder runs, with its new status; `false`: the lease was lost. Imports and
    /// exports spell their states alike.
    pub(super) async fn checkpointed(
        &self,
        operation: &'static str,
        update: UpdateItemFluentBuilder,
        mut expression: Expression,
        holder: &str,
        status: &str,
    ) -> Result<bool, StoreError> {
        expression.set("status", text(status));
        expression.value("running", text(Status::Running.as_str()));
        expression.value("holder", text(holder));
        let update = expression
            .update(update)
            .condition_expression("#status = :running AND holder = :holder");
        let outcome = self.update_or_stored(operation, update).await?;
        // An attempt that succeeded, but whose answer was lost, was repeated.
        let is = |item: &Item, name, value| item.get(name) == Some(&text(value));
        let is_ours = |item| is(&item, "holder", holder) && is(&item, "status", status);
        Ok(outcome.map_or_else(is_ours, |_| true))
    }

    /// Claims a job for this content (`None`: for any). Returns `None` if the job was started for another
    /// content, and has been reset.
    async fn claim_content(
        &self,
        lease: &Lease,
        source: &Source,
        content: Option<&str>,
    ) -> Result<Option<Claim>, StoreError> {
        const OPERATION: &str = "claim import";
        let mut expression = Expression::default();
        expression.set("status", text(Status::Running.as_str()));
        expression.set("holder", text(lease.holder.as_str()));
        expression.set("leaseUntil", self.lease_end(lease.term));
        expression.set("updatedAt", number(self.now_millis()));
        expression.set("expiresAt", self.job_expiry());
        expression.set("source", text(source.name.as_str()));
        expression.set_to("createdAt", "if_not_exists(createdAt, :updatedAt)");
        expression.set_to("startedAt", "if_not_exists(startedAt, :updatedAt)");
        expression.set_if_new("sourceTime", number(source.time.as_millisecond()));
        expression.add("checkpoints", number(1));
        expression.value("waiting", text(Status::Waiting.as_str()));
        let mut free = FREE.to_owned();
        if let Some(content) = content {
            expression.set("content", text(content));
            free = format!("(({free}) AND (attribute_not_exists(content) OR content = :content))");
        }
        let update = expression
            .update(self.update_import(&lease.account, lease.import.as_str()))
            .condition_expression(format!("attribute_not_exists(importId) OR {free}"));
        let claim = match self.update_or_stored(OPERATION, update).await? {
            Ok(item) => Claim::Held(Box::new(job(OPERATION, &item)?)),
            Err(item) => {
                let job = job(OPERATION, &item)?;
                let left = self.lease_left(&item);
                let is_free = job.status == Status::Waiting || left.is_zero();
                let another =
                    content.is_some() && content.map(text) != item.get("content").cloned();
                if job.status.is_end() {
                    Claim::Ended(Box::new(job))
                } else if is_free && another && item.contains_key("content") {
                    // A superseded job is not reset: it ends with what it has done.
                    if !self.precheck(&lease.account, source).await?.is_superseded {
                        self.reset_job(lease, &item).await?;
                        return Ok(None);
                    }
                    return Box::pin(self.claim_content(lease, source, None)).await;
                } else {
                    Claim::Busy(left)
                }
            }
        };
        Ok(Some(claim))
    }

    /// Resets a job whose content was replaced in the meantime.
    async fn reset_job(&self, lease: &Lease, seen: &Item) -> Result<(), StoreError> {
        let update = self
            .update_import(&lease.account, lease.import.as_str())
            .update_expression(
                "REMOVE content, sourceTime, #line, created, #updated, unchanged, stale, deleted, \
                 failed, readUnits, writeUnits, pendingErrors, errorParts ADD checkpoints :one",
            )
            .condition_expression("checkpoints = :seen")
            .expression_attribute_names("#line", "line")
            .expression_attribute_names("#updated", "updated")
            .set_expression_attribute_values(Some(HashMap::from([
                (":one".to_owned(), number(1)),
                (":seen".to_owned(), seen.get("checkpoints").cloned().unwrap_or_else(|| number(0))),
            ])));
        self.update_or_stored("reset import", update).await.map(|_| ())
    }

    pub(super) fn now_millis(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    /// When a lease that is extended now ends.
    pub(super) fn lease_end(&self, term: Duration) -> AttributeValue {
        number(self.now_millis().saturating_add(millis(term)))
    }

    fn job_expiry(&self) -> AttributeValue {
        number(self.clock.now().as_second() + REMEMBERED_SECONDS)
    }

    /// How long the lease in a job's item is still valid.
    pub(super) fn lease_left(&self, item: &Item) -> Duration {
        let until: i64 = number_of(item, "leaseUntil").unwrap_or_default();
        let left = until.saturating_sub(self.now_millis());
        Duration::from_millis(u64::try_from(left).unwrap_or_default())
    }
}

/// The condition of a claim that sets `status`, `holder` and `updatedAt`: nobody else holds the job.
pub(super) const FREE: &str =
    "#status = :waiting OR (#status = :status AND (leaseUntil < :updatedAt OR holder = :holder))";

fn millis(term: Duration) -> i64 {
    i64::try_from(term.as_millis()).unwrap_or(i64::MAX)
}

/// The key of the item for the newest version of an object.
fn latest_id(name: &str) -> String {
    format!("latest#{}", ImportId::of(&[name]).as_str())
}

/// A sequencer in a form that sorts correctly: "Right pad the shorter string with zeros, and then do a
/// lexicographical comparison" (S3 user guide, "Event message structure").
fn padded(sequencer: &str) -> String {
    format!("{:0<64}", sequencer.to_ascii_uppercase())
}

/// The attribute of a snapshot in progress.
fn pending_floor(kind: Kind, import: &ImportId) -> String {
    format!("{kind}#{}", import.as_str())
}

impl JobStore for Store {
    type Error = StoreError;
    type Cursor = Item;

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn until(&self, deadline: Option<tokio::time::Instant>) -> Self {
        let patience = deadline.map_or(Patience::OPERATOR, Patience::Until);
        Self { patience, ..self.clone() }
    }

    fn for_records(&self, lease: &Lease, meter: &Meter) -> Self {
        self.for_account(&lease.account, meter).written_by(lease.import.as_str())
    }

    async fn claim(&self, lease: &Lease, source: &Source) -> Result<Claim, StoreError> {
        loop {
            let content = source.content.as_deref();
            if let Some(claim) = self.claim_content(lease, source, content).await? {
                return Ok(claim);
            }
        }
    }

    async fn checkpoint(&self, lease: &Lease, job: &Job) -> Result<bool, StoreError> {
        let Progress { line, counts, cost, error_parts } = job.progress;
        let mut expression = Expression::default();
        for (name, value) in [
            ("leaseUntil", self.lease_end(lease.term)),
            ("updatedAt", number(self.now_millis())),
            ("expiresAt", self.job_expiry()),
            ("line", number(line)),
            ("created", number(counts.created)),
            ("updated", number(counts.updated)),
            ("unchanged", number(counts.unchanged)),
            ("stale", number(counts.stale)),
            ("deleted", number(counts.deleted)),
            ("failed", number(counts.failed)),
            ("readUnits", number(cost.read_units)),
            ("writeUnits", number(cost.write_units)),
            ("errorParts", number(error_parts)),
        ] {
            expression.set(name, value);
        }
        if let Some(error) = &job.error {
            expression.set("error", text(error));
        }
        // They are repetitive, and an item is charged by its size.
        let errors = (!job.pending_errors.is_empty()).then(|| compressed(&job.pending_errors));
        let errors = errors.map(|errors| AttributeValue::B(Blob::new(errors)));
        expression.set_or_remove("pendingErrors", errors);
        expression.add("checkpoints", number(1));
        let (holder, status) = (lease.holder.as_str(), job.status.as_str());
        let update = self.update_import(&lease.account, lease.import.as_str());
        self.checkpointed("checkpoint import", update, expression, holder, status).await
    }

    async fn note_version(
        &self,
        account: &AccountId,
        name: &str,
        version: &ObjectVersion,
    ) -> Result<bool, StoreError> {
        let mut expression = Expression::default();
        expression.set("modified", number(version.modified.as_millisecond()));
        expression.set("expiresAt", self.job_expiry());
        let sequencer = version.sequencer.as_deref().map(|sequencer| text(padded(sequencer)));
        let is_known = sequencer.is_some();
        // A sequencer is that of the version that is noted, not that of an older one.
        expression.set_or_remove("sequencer", sequencer);
        let update = expression
            .update(self.update_import(account, &latest_id(name)))
            // The last-modified time of a multipart upload is when the upload began. So times are compared
            // only if one of the two has no sequencer.
            .condition_expression(if is_known {
                "attribute_not_exists(modified) OR sequencer <= :sequencer \
                 OR (attribute_not_exists(sequencer) AND modified <= :modified)"
            } else {
                "attribute_not_exists(modified) OR modified < :modified"
            });
        let noted = self.update_or_stored("note version", update).await?;
        // The same version, whose sequencer may be known by now.
        let is_same =
            |item: &Item| !is_known && time_of(item, "modified") == Some(version.modified);
        Ok(noted.map_or_else(|item| is_same(&item), |_| true))
    }

    async fn precheck(&self, account: &AccountId, source: &Source) -> Result<Precheck, StoreError> {
        let latest = source.version.as_ref().map(|_| latest_id(&source.name));
        let ids = latest.as_deref().into_iter().chain([FLOORS]);
        let items = self.read_imports("read floors", account, ids).await?;
        let mut precheck = Precheck::default();
        for item in &items {
            if item.get("importId") == Some(&text(FLOORS)) {
                precheck.floors = floors(item);
            } else if let Some(version) = &source.version {
                precheck.is_superseded = is_newer(item, version);
            }
        }
        Ok(precheck)
    }

    async fn begin_snapshot(
        &self,
        account: &AccountId,
        import: &ImportId,
        (kind, order): (Kind, Order),
    ) -> Result<(), StoreError> {
        let update = self
            .update_import(account, FLOORS)
            .update_expression("SET #pending = :order")
            .expression_attribute_names("#pending", pending_floor(kind, import))
            .expression_attribute_values(":order", order_value(order));
        self.update_or_stored("begin snapshot", update).await.map(|_| ())
    }

    async fn end_snapshot(
        &self,
        account: &AccountId,
        import: &ImportId,
        (kind, order): (Kind, Order),
        done: bool,
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "end snapshot";
        let pending = pending_floor(kind, import);
        if done {
            let update = self
                .update_import(account, FLOORS)
                .update_expression("SET #kind = :order REMOVE #pending")
                .condition_expression("attribute_not_exists(#kind) OR #kind <= :order")
                .expression_attribute_names("#kind", kind.as_str())
                .expression_attribute_names("#pending", &pending)
                .expression_attribute_values(":order", order_value(order));
            if self.update_or_stored(OPERATION, update).await?.is_ok() {
                return Ok(());
            }
        }
        self.remove_pending_floor(OPERATION, account, &pending).await
    }

    async fn running(&self, account: &AccountId) -> Result<Vec<RunningJob>, StoreError> {
        const OPERATION: &str = "list running imports";
        let query = self
            .jobs_query(account)
            .consistent_read(true)
            // A dry run writes nothing that a snapshot must wait for.
            .filter_expression(
                "#status = :running AND leaseUntil >= :now \
                 AND (attribute_not_exists(dryRun) OR dryRun = :false)",
            )
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":false", AttributeValue::Bool(false))
            .expression_attribute_values(":running", text(Status::Running.as_str()))
            // A group may have begun just before its lease expired.
            .expression_attribute_values(":now", number(self.now_millis() - millis(GROUP_TIMEOUT)));
        let items = self.query_all(OPERATION, query).await?;
        let running = items.iter().map(|item| {
            Ok(RunningJob {
                import: job(OPERATION, item)?.import_id,
                checkpoints: number_of(item, "checkpoints").unwrap_or_default(),
                may_write_for: self.lease_left(item) + GROUP_TIMEOUT,
            })
        });
        running.collect()
    }

    async fn existing(
        &self,
        account: &AccountId,
        kind: Kind,
        after: Option<Item>,
    ) -> Result<(Vec<ExistingRecord>, Option<Item>), StoreError> {
        self.existing_records(account, kind, after).await
    }
}

/// The floors in their item, of completed snapshots and of those in progress.
fn floors(item: &Item) -> Vec<(Kind, Order)> {
    let floor = |name: &String| {
        let kind = name.split('#').next().and_then(Kind::parse)?;
        Some((kind, order_of(item, name)?))
    };
    item.keys().filter_map(floor).collect()
}

/// Whether an item contains a newer version of the object than this one.
fn is_newer(item: &Item, version: &ObjectVersion) -> bool {
    let ours = version.sequencer.as_deref().map(padded);
    match text_of(item, "sequencer").zip(ours.as_deref()) {
        Some((known, ours)) => known > ours,
        None => time_of(item, "modified") > Some(version.modified),
    }
}
