//! The `Imports` table: jobs by their identity, and the latest event of each source's name.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use jiff::Timestamp;

use super::{
    Store, StoreError,
    error::failed_condition,
    item::{Item, text},
};
use crate::{
    account::AccountId,
    cost::ReadCost,
    imports::{
        Counts, ImportCost,
        job::{Claim, ImportId, Job, Journal, Lease, Progress, Status},
    },
};

/// How long a job is remembered after its last change: a delivery later than that begins it again,
/// which writes only differences.
const REMEMBERED_SECONDS: u64 = 90 * 24 * 60 * 60;

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A job's item, read.
fn job(operation: &'static str, item: &Item) -> Result<Job, StoreError> {
    let wrong = |name: &str| StoreError::unreadable(operation, format!("attribute {name}"));
    let string = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
    let digits = |name: &str| item.get(name).and_then(|value| value.as_n().ok());
    let count = |name: &str| digits(name).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    let units = |name: &str| digits(name).and_then(|digits| digits.parse().ok()).unwrap_or(0.0);
    let time = |name: &str| {
        let millis = digits(name).and_then(|digits| digits.parse().ok());
        millis
            .and_then(|millis| Timestamp::from_millisecond(millis).ok())
            .ok_or_else(|| wrong(name))
    };
    Ok(Job {
        import_id: string("importId")
            .and_then(|id| ImportId::parse(id))
            .ok_or_else(|| wrong("importId"))?,
        source: string("source").cloned().unwrap_or_default(),
        status: string("status")
            .and_then(|status| Status::parse(status))
            .ok_or_else(|| wrong("status"))?,
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
            error_parts: u32::try_from(count("errorParts")).unwrap_or(u32::MAX),
        },
        error: string("error").cloned(),
        started_at: time("startedAt")?,
        updated_at: time("updatedAt")?,
    })
}

fn key(account: &AccountId, id: &str) -> HashMap<String, AttributeValue> {
    HashMap::from([
        ("account".to_owned(), text(account.as_str())),
        ("importId".to_owned(), text(id)),
    ])
}

/// What a conditional update came to.
enum Conditional {
    Done(Item),
    Otherwise(Item),
}

async fn conditional(
    operation: &'static str,
    update: UpdateItemFluentBuilder,
) -> Result<Conditional, StoreError> {
    let outcome = update
        .return_values(ReturnValue::AllNew)
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await;
    match outcome {
        Ok(reply) => Ok(Conditional::Done(reply.attributes.unwrap_or_default())),
        Err(error) => {
            let there = failed_condition(operation, error)?;
            Ok(Conditional::Otherwise(there.unwrap_or_default()))
        }
    }
}

impl Journal for Store {
    type Error = StoreError;

    async fn claim(&self, lease: &Lease, source: &str) -> Result<Claim, StoreError> {
        const OPERATION: &str = "claim import";
        let now = unix_millis();
        let term = u64::try_from(lease.term.as_millis()).unwrap_or(u64::MAX);
        let update = self
            .client
            .update_item()
            .table_name(&self.tables.imports)
            .set_key(Some(key(&lease.account, lease.import.as_str())))
            .update_expression(
                "SET #status = :running, holder = :holder, leaseUntil = :until, updatedAt = :now, \
                 expiresAt = :expires, startedAt = if_not_exists(startedAt, :now), #source = :source",
            )
            .condition_expression(
                "attribute_not_exists(importId) OR #status = :waiting \
                 OR (#status = :running AND (leaseUntil < :now OR holder = :holder))",
            )
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#source", "source")
            .expression_attribute_values(":running", text(Status::Running.as_str()))
            .expression_attribute_values(":waiting", text(Status::Waiting.as_str()))
            .expression_attribute_values(":holder", text(lease.holder.as_str()))
            .expression_attribute_values(":until", number(now.saturating_add(term)))
            .expression_attribute_values(":now", number(now))
            .expression_attribute_values(":expires", number(now / 1_000 + REMEMBERED_SECONDS))
            .expression_attribute_values(":source", text(source));
        Ok(match conditional(OPERATION, update).await? {
            Conditional::Done(item) => Claim::Ours(Box::new(job(OPERATION, &item)?)),
            Conditional::Otherwise(item) => match job(OPERATION, &item)?.status {
                ended @ (Status::Done | Status::Failed) => Claim::Finished(ended),
                Status::Running | Status::Waiting => Claim::Busy,
            },
        })
    }

    async fn record(
        &self,
        lease: &Lease,
        status: Status,
        progress: Progress,
        error: Option<&str>,
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "record import";
        let now = unix_millis();
        let term = u64::try_from(lease.term.as_millis()).unwrap_or(u64::MAX);
        let Progress { line, counts, cost, error_parts } = progress;
        let mut expression = "SET #status = :status, leaseUntil = :until, updatedAt = :now, \
             expiresAt = :expires, #line = :line, created = :created, updated = :updated, \
             unchanged = :unchanged, stale = :stale, deleted = :deleted, failed = :failed, \
             readUnits = :readUnits, writeUnits = :writeUnits, errorParts = :errorParts"
            .to_owned();
        let mut update = self
            .client
            .update_item()
            .table_name(&self.tables.imports)
            .set_key(Some(key(&lease.account, lease.import.as_str())))
            .condition_expression("#status = :running AND holder = :holder")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#line", "line")
            .expression_attribute_values(":running", text(Status::Running.as_str()))
            .expression_attribute_values(":holder", text(lease.holder.as_str()))
            .expression_attribute_values(":status", text(status.as_str()))
            .expression_attribute_values(":until", number(now.saturating_add(term)))
            .expression_attribute_values(":now", number(now))
            .expression_attribute_values(":expires", number(now / 1_000 + REMEMBERED_SECONDS));
        for (name, value) in [
            (":line", line),
            (":created", counts.created),
            (":updated", counts.updated),
            (":unchanged", counts.unchanged),
            (":stale", counts.stale),
            (":deleted", counts.deleted),
            (":failed", counts.failed),
            (":errorParts", u64::from(error_parts)),
        ] {
            update = update.expression_attribute_values(name, number(value));
        }
        update = update
            .expression_attribute_values(
                ":readUnits",
                AttributeValue::N(cost.read_units.to_string()),
            )
            .expression_attribute_values(
                ":writeUnits",
                AttributeValue::N(cost.write_units.to_string()),
            );
        if let Some(error) = error {
            expression.push_str(", #error = :error");
            update = update
                .expression_attribute_names("#error", "error")
                .expression_attribute_values(":error", text(error));
        }
        let update = update.update_expression(expression);
        Ok(match conditional(OPERATION, update).await? {
            Conditional::Done(_) => true,
            Conditional::Otherwise(item) => {
                // An attempt whose success was not seen, and that was sent again.
                let ours = item.get("holder") == Some(&text(lease.holder.as_str()));
                ours && item.get("status") == Some(&text(status.as_str()))
            }
        })
    }

    async fn note_sequence(
        &self,
        account: &AccountId,
        name: &str,
        sequencer: &str,
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "note sequence";
        let id = format!("latest#{}", ImportId::of(&[name]).as_str());
        // "Right pad the shorter string with zeros, and then do a lexicographical comparison" (S3 user
        // guide, event message structure).
        let padded = format!("{sequencer:0<64}");
        let update = self
            .client
            .update_item()
            .table_name(&self.tables.imports)
            .set_key(Some(key(account, &id)))
            .update_expression("SET sequencer = :sequencer, expiresAt = :expires")
            .condition_expression("attribute_not_exists(sequencer) OR sequencer <= :sequencer")
            .expression_attribute_values(":sequencer", text(padded))
            .expression_attribute_values(
                ":expires",
                number(unix_millis() / 1_000 + REMEMBERED_SECONDS),
            );
        Ok(matches!(conditional(OPERATION, update).await?, Conditional::Done(_)))
    }
}

impl Store {
    /// Forgets a job: the next delivery of its source runs it from the start.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_job(
        &self,
        account: &AccountId,
        import: &ImportId,
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "forget import";
        let delete = self
            .client
            .delete_item()
            .table_name(&self.tables.imports)
            .set_key(Some(key(account, import.as_str())));
        delete.send().await.map(|_| ()).map_err(|error| StoreError::from_sdk(OPERATION, &error))
    }

    /// The jobs of an account, the latest change first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn jobs(&self, account: &AccountId) -> Result<Vec<Job>, StoreError> {
        const OPERATION: &str = "list imports";
        let query = self
            .client
            .query()
            .table_name(&self.tables.imports)
            .key_condition_expression("account = :account AND importId < :latest")
            .expression_attribute_values(":account", text(account.as_str()))
            // Jobs are hexadecimal; "latest#…" comes after them.
            .expression_attribute_values(":latest", text("g"));
        let items = self.query_all(OPERATION, query, &mut ReadCost::default()).await?;
        let jobs = items.iter().filter(|item| item.contains_key("status"));
        let mut jobs: Vec<Job> = jobs.map(|item| job(OPERATION, item)).collect::<Result<_, _>>()?;
        jobs.sort_by_key(|job| std::cmp::Reverse(job.updated_at));
        Ok(jobs)
    }
}
