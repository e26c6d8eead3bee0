//! Imports submitted over HTTP, and the list of all imports, newest first.

use aws_sdk_dynamodb::types::AttributeValue;

use super::{job, key, number};
use crate::{
    account::AccountId,
    imports::{
        Kind, OrderBy,
        job::{ImportOptions, Job, Status, Submission},
        submission::SubmittedImport,
    },
    source::Format,
    store::{
        Store, StoreError,
        item::{EXPIRES_AT, Item, number_of, text, text_of},
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
    let replace = text_of(item, "replace").and_then(Kind::parse);
    let share = text_of(item, "replaceShare").and_then(|share| share.parse().ok());
    Some(Submission {
        length: number_of(item, "length")?,
        options: ImportOptions {
            format: text_of(item, "format").and_then(Format::parse),
            replace: replace.zip(share),
            order_by: text_of(item, "orderBy").and_then(OrderBy::parse)?,
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
    /// Stores the job of a submitted import. A submission that is repeated waits anew for what it imports, even if it had
    /// been given up; once the import has begun, it changes nothing.
    pub async fn submit_import(
        &self,
        account: &AccountId,
        submitted: &SubmittedImport,
    ) -> Result<(), StoreError> {
        let SubmittedImport { import, submission, submitted_at } = submitted;
        let (time, now) = (number(submitted_at.as_millisecond()), self.clock.now());
        let mut item = key(account, import.as_str());
        item.extend(submission_attributes(submission));
        item.extend([
            ("status".to_owned(), text(Status::Waiting.as_str())),
            ("source".to_owned(), text(crate::imports::submission::source_name(import))),
            ("createdAt".to_owned(), time.clone()),
            ("sourceTime".to_owned(), time),
            ("updatedAt".to_owned(), number(now.as_millisecond())),
            (EXPIRES_AT.to_owned(), number(now.as_second() + UNUSED_SECONDS)),
        ]);
        let put = self
            .put_item(&self.tables.imports, item)
            .condition_expression("attribute_not_exists(startedAt)");
        self.put("submit import", put).await.map(drop)
    }

    /// Ends a submitted import of which nothing was uploaded; `false`: it has begun, or was submitted again since it was
    /// seen.
    pub async fn fail_submission(
        &self,
        account: &AccountId,
        seen: &Job,
        reason: &str,
    ) -> Result<bool, StoreError> {
        let update = self
            .update_import(account, seen.import_id.as_str())
            .update_expression("SET #status = :failed, #error = :reason, updatedAt = :now")
            .condition_expression(
                "#status = :waiting AND attribute_not_exists(startedAt) AND updatedAt = :seen",
            )
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#error", "error")
            .expression_attribute_values(":failed", text(Status::Failed.as_str()))
            .expression_attribute_values(":waiting", text(Status::Waiting.as_str()))
            .expression_attribute_values(":reason", text(reason))
            .expression_attribute_values(":seen", number(seen.updated_at.as_millisecond()))
            .expression_attribute_values(":now", number(self.now_millis()));
        Ok(self.update_or_stored("end submitted import", update).await?.is_ok())
    }

    /// A page of an account's jobs, the newest first.
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
            .query_of(account, &self.tables.imports, "account = :account")
            .index_name("newest")
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(start);
        let reply = self.query(OPERATION, query).await?;
        let ids: Vec<&str> =
            reply.items().iter().filter_map(|item| text_of(item, "importId")).collect();
        let items = self.read_imports(OPERATION, account, ids.iter().copied()).await?;
        let mut jobs: Vec<Job> =
            items.iter().map(|item| job(OPERATION, item)).collect::<Result<_, _>>()?;
        let place = |job: &Job| ids.iter().position(|id| *id == job.import_id.as_str());
        jobs.sort_by_key(place);
        let next = reply.last_evaluated_key().and_then(|last| {
            Some(JobPosition {
                created_at: number_of(last, "createdAt")?,
                import: text_of(last, "importId")?.to_owned(),
            })
        });
        Ok((jobs, next))
    }
}
