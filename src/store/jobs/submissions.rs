//! Imports submitted over HTTP, and the list of all imports, newest first.

use aws_sdk_dynamodb::{operation::put_item::PutItemOutput, types::AttributeValue};

use super::{Conditional, job, key, number};
use crate::{
    account::AccountId,
    imports::{
        Kind, OrderBy,
        job::{ImportId, Job, Status},
        submission::{ImportOptions, Submission, SubmittedImport},
    },
    source::Format,
    store::{
        CAPACITY, Store, StoreError,
        item::{EXPIRES_AT, Item, text},
    },
};

/// How long a submission is kept of which nothing was ever imported: a day longer than its object, and than messages in
/// the dead-letter queue.
const UNUSED_SECONDS: i64 = 15 * 24 * 60 * 60;

/// The attributes of a submission.
pub(super) fn submission_attributes(submission: &Submission) -> Item {
    let Submission { options, length } = submission;
    let mut item = Item::from([
        ("length".to_owned(), number(*length)),
        ("orderBy".to_owned(), text(options.order_by.as_str())),
        ("dryRun".to_owned(), AttributeValue::Bool(options.dry_run)),
    ]);
    item.extend(options.format.map(|format| ("format".to_owned(), text(format.as_str()))));
    if let Some((kind, share)) = options.replace {
        item.insert("replace".to_owned(), text(kind.as_str()));
        // As text: a number of DynamoDB is 1E-130 or more, or zero.
        item.insert("replaceShare".to_owned(), text(format!("{share:e}")));
    }
    item
}

/// The submission in a job's item; `None`: the job has another source.
pub(super) fn submission_of(item: &Item) -> Option<Submission> {
    let string = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
    let digits = |name: &str| item.get(name).and_then(|value| value.as_n().ok());
    let replace = string("replace").and_then(|kind| Kind::parse(kind));
    let share = string("replaceShare").and_then(|share| share.parse().ok());
    Some(Submission {
        length: digits("length")?.parse().ok()?,
        options: ImportOptions {
            format: string("format").and_then(|format| Format::parse(format)),
            replace: replace.zip(share),
            order_by: string("orderBy").and_then(|order| OrderBy::parse(order))?,
            dry_run: item.get("dryRun").and_then(|dry_run| dry_run.as_bool().ok()).copied()?,
        },
    })
}

/// A page of jobs, and the key after which the next page begins.
pub type JobPage = (Vec<Job>, Option<JobPosition>);

/// The position of a job in the list of an account's jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPosition {
    /// In milliseconds since 1970.
    pub created_at: i64,
    pub import: String,
}

impl Store {
    /// Stores the job of a submitted import. A submission that is repeated changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn submit_import(
        &self,
        account: &AccountId,
        submitted: &SubmittedImport,
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "submit import";
        let SubmittedImport { import, submission, submitted_at } = submitted;
        let time = number(submitted_at.as_millisecond());
        let mut item = key(account, import.as_str());
        item.extend(submission_attributes(submission));
        item.extend([
            ("status".to_owned(), text(Status::Waiting.as_str())),
            ("source".to_owned(), text(crate::imports::submission::source_name(import))),
            ("createdAt".to_owned(), time.clone()),
            ("sourceTime".to_owned(), time.clone()),
            ("updatedAt".to_owned(), time),
            (EXPIRES_AT.to_owned(), number(self.clock.now().as_second() + UNUSED_SECONDS)),
        ]);
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.imports)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(importId)")
            .return_consumed_capacity(CAPACITY);
        let send = || put.clone().send();
        self.write_if(OPERATION, send, PutItemOutput::consumed_capacity).await.map(|_| ())
    }

    /// Ends a submitted import of which nothing was uploaded; `false`: it has begun.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fail_submission(
        &self,
        account: &AccountId,
        import: &ImportId,
        reason: &str,
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "end submitted import";
        let update = self
            .update_import(account, import.as_str())
            .update_expression("SET #status = :failed, #error = :reason, updatedAt = :now")
            .condition_expression("#status = :waiting AND attribute_not_exists(startedAt)")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#error", "error")
            .expression_attribute_values(":failed", text(Status::Failed.as_str()))
            .expression_attribute_values(":waiting", text(Status::Waiting.as_str()))
            .expression_attribute_values(":reason", text(reason))
            .expression_attribute_values(":now", number(self.now_millis()));
        Ok(matches!(self.conditional(OPERATION, update).await?, Conditional::Done(_)))
    }

    /// A page of an account's jobs, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn jobs_page(
        &self,
        account: &AccountId,
        limit: u32,
        after: Option<&JobPosition>,
    ) -> Result<JobPage, StoreError> {
        const OPERATION: &str = "list imports";
        let start = after.map(|JobPosition { created_at, import }| {
            let mut start = key(account, import);
            start.insert("createdAt".to_owned(), number(*created_at));
            start
        });
        let query = self
            .client
            .query()
            .table_name(&self.tables.imports)
            .index_name("newest")
            .key_condition_expression("account = :account")
            .expression_attribute_values(":account", text(account.as_str()))
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(start);
        let reply = self.query(OPERATION, query).await?;
        let ids: Vec<String> = reply
            .items
            .unwrap_or_default()
            .iter()
            .filter_map(|item| item.get("importId")?.as_s().ok().cloned())
            .collect();
        let items = self.read_imports(OPERATION, account, ids.iter().map(String::as_str)).await?;
        let mut jobs: Vec<Job> =
            items.iter().map(|item| job(OPERATION, item)).collect::<Result<_, _>>()?;
        let place = |job: &Job| ids.iter().position(|id| id == job.import_id.as_str());
        jobs.sort_by_key(place);
        let next = reply.last_evaluated_key.and_then(|last| {
            Some(JobPosition {
                created_at: last.get("createdAt")?.as_n().ok()?.parse().ok()?,
                import: last.get("importId")?.as_s().ok()?.clone(),
            })
        });
        Ok((jobs, next))
    }
}
