//! Jobs as the operator and the queue see them: listing, releasing, restarting and giving up.

use aws_sdk_dynamodb::{operation::query::builders::QueryFluentBuilder, types::AttributeValue};
use jiff::Timestamp;

use super::{FLOORS, content_id, job, key, number};
use crate::{
    account::AccountId,
    imports::job::{ImportId, Job, Lease, Status},
    store::{
        Store, StoreError,
        item::{Item, text, text_of, time_of},
    },
};

/// What is known of the content of a message.
#[derive(Clone, Debug)]
pub struct SeenContent {
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// The job of an earlier message with this content that was given up, or whose message is at its last
    /// receive.
    pub given_up: Option<GivenUp>,
}

#[derive(Clone, Debug)]
pub struct GivenUp {
    pub import: ImportId,
    pub source: String,
    /// Whether the message in question has already begun to continue it.
    pub is_continued: bool,
}

impl Store {
    /// The state of a job.
    pub async fn job(
        &self,
        account: &AccountId,
        import: &ImportId,
    ) -> Result<Option<Job>, StoreError> {
        const OPERATION: &str = "get import";
        let items = self.read_imports(OPERATION, account, [import.as_str()]).await?;
        items.first().map(|item| job(OPERATION, item)).transpose()
    }

    /// Releases the claim on a job that its worker leaves unfinished.
    pub async fn release_job(&self, lease: &Lease) -> Result<(), StoreError> {
        let update = self
            .update_import(&lease.account, lease.import.as_str())
            .update_expression("SET #status = :waiting ADD checkpoints :one")
            .condition_expression("#status = :running AND holder = :holder")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":waiting", text(Status::Waiting.as_str()))
            .expression_attribute_values(":running", text(Status::Running.as_str()))
            .expression_attribute_values(":holder", text(lease.holder.as_str()))
            .expression_attribute_values(":one", number(1));
        self.update_or_stored("release import", update).await.map(|_| ())
    }

    /// Deletes the state of a job: the next delivery of its source runs it from the start.
    pub async fn delete_job(
        &self,
        account: &AccountId,
        import: &ImportId,
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "forget import";
        let delete = self.delete_item(&self.tables.imports, key(account, import.as_str()));
        self.send(OPERATION, || delete.clone().send()).await?;
        // A snapshot that was interrupted leaves its floor.
        let floors = self.read_imports(OPERATION, account, [FLOORS]).await?;
        let names = floors.iter().flat_map(Item::keys);
        for name in names.filter(|name| name.ends_with(import.as_str())) {
            self.remove_pending_floor(OPERATION, account, name).await?;
        }
        Ok(())
    }

    /// Records that `message` carries this content. Returns when the content was first seen, and the job of
    /// an earlier message with this content, if that was given up.
    pub async fn note_content(
        &self,
        account: &AccountId,
        content: &ImportId,
        message: &str,
    ) -> Result<SeenContent, StoreError> {
        let now = self.clock.now();
        let update = self
            .update_import(account, &content_id(content))
            .update_expression(
                "SET firstSeen = if_not_exists(firstSeen, :now), expiresAt = :expires",
            )
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .expression_attribute_values(":expires", self.job_expiry());
        let (Ok(item) | Err(item)) = self.update_or_stored("note content", update).await?;
        let given_up = text_of(&item, "givenUp").and_then(ImportId::parse);
        let source = text_of(&item, "givenUpSource").unwrap_or_default().to_owned();
        let continued_by = item.get("continuedBy").and_then(|messages| messages.as_ss().ok());
        let is_continued =
            continued_by.is_some_and(|messages| messages.iter().any(|other| other == message));
        Ok(SeenContent {
            first_seen: time_of(&item, "firstSeen").unwrap_or(now),
            given_up: given_up.map(|import| GivenUp { import, source, is_continued }),
        })
    }

    /// Records that the job of a content counts as given up, unless it ends.
    pub async fn give_up(
        &self,
        account: &AccountId,
        content: &ImportId,
        import: &ImportId,
        source: &str,
    ) -> Result<(), StoreError> {
        let update = self
            .update_import(account, &content_id(content))
            .update_expression("SET givenUp = :import, givenUpSource = :source REMOVE continuedBy")
            .expression_attribute_values(":import", text(import.as_str()))
            .expression_attribute_values(":source", text(source));
        self.update_or_stored("give up import", update).await.map(|_| ())
    }

    /// Records that a message continues the job of its content that was given up.
    pub async fn continue_given_up(
        &self,
        account: &AccountId,
        content: &ImportId,
        message: &str,
    ) -> Result<(), StoreError> {
        let message = AttributeValue::Ss(vec![message.to_owned()]);
        let update = self
            .update_import(account, &content_id(content))
            .update_expression("ADD continuedBy :message")
            .expression_attribute_values(":message", message);
        self.update_or_stored("continue import", update).await.map(|_| ())
    }

    /// The query for the jobs of an account.
    pub(super) fn jobs_query(&self, account: &AccountId) -> QueryFluentBuilder {
        let condition = "account = :account AND importId < :others";
        self.query_of(account, &self.tables.imports, condition)
            // The keys of jobs are hexadecimal; all other keys sort after them.
            .expression_attribute_values(":others", text("fg"))
    }

    /// The jobs of an account, the latest change first.
    pub async fn jobs(&self, account: &AccountId) -> Result<Vec<Job>, StoreError> {
        const OPERATION: &str = "list imports";
        let query = self.jobs_query(account);
        let items = self.query_all(OPERATION, query).await?;
        let jobs = items.iter().filter(|item| item.contains_key("status"));
        let mut jobs: Vec<Job> = jobs.map(|item| job(OPERATION, item)).collect::<Result<_, _>>()?;
        jobs.sort_by_key(|job| std::cmp::Reverse(job.updated_at));
        Ok(jobs)
    }
}
