//! `catalog imports`: the import jobs of the queue and of `catalog import`.

use clap::{Args, Subcommand};
use serde_json::json;
use serverless_catalog::{
    account::AccountId, imports::job::Job, store::Store, text::rfc3339_millis,
};

use super::changes::print_of_source;
use crate::{
    connect::Target,
    console::{say, warn},
    error::CliError,
};

/// Look at the imports: of files, S3, EventBridge and the queue.
#[derive(Subcommand, Debug)]
pub(super) enum Imports {
    /// List an account's imports, the latest first
    #[command(after_help = "Example:\n  catalog imports list --account ACME --json")]
    List {
        /// Whose catalog it is
        #[arg(long)]
        account: AccountId,
        /// Print a line of JSON an import
        #[arg(long)]
        json: bool,
    },
    /// Show one import: how far it is, what became of its lines, what it cost
    #[command(
        after_help = "Example:\n  catalog imports show --account ACME 3acd990027d0d8caede63621ac484963"
    )]
    Show(One),
    /// Print what an import created, changed and deleted, a line of JSON a change, from the journal
    #[command(after_help = "Example:
  catalog imports changes --account ACME 3acd990027d0

Changes are kept for 30 days. The whole journal of the account is read.")]
    Changes(One),
    /// Forget one import, so that the next delivery of its source runs it again from the start
    #[command(after_help = "Example:\n  catalog imports retry --account ACME 3acd990027d0

What is stored already costs no write. Deliver the source again: redrive the dead-letter queue, or send a
catalog.import event with the object's bucket and key; catalog serve does so by itself when the file is
touched. A file of catalog import is imported from its beginning without --resume.")]
    Retry(One),
}

/// One import.
#[derive(Args, Debug)]
pub(super) struct One {
    /// Whose catalog it is
    #[arg(long)]
    account: AccountId,
    /// The import's id, or its beginning
    id: String,
}

impl One {
    async fn find(&self, store: &Store) -> Result<Job, CliError> {
        let Self { account, id } = self;
        let jobs = store.jobs(account).await?;
        let mut found = jobs.into_iter().filter(|job| job.import_id.as_str().starts_with(id));
        match (found.next(), found.next()) {
            (Some(job), None) => Ok(job),
            (Some(_), Some(_)) => Err(CliError::Usage(format!("several imports begin with {id}"))),
            (None, _) => Err(CliError::Usage(format!(
                "{account} has no such import; see `catalog imports list --account {account}`"
            ))),
        }
    }
}

impl Imports {
    pub(super) async fn run(self, target: &Target) -> Result<(), CliError> {
        let store = target.store().await?;
        match self {
            Self::List { account, json } => {
                let jobs = store.jobs(&account).await?;
                if jobs.is_empty() && !json {
                    say(format!("{account} has no imports."));
                }
                for job in &jobs {
                    say(if json { line(job) } else { short(job) });
                }
                Ok(())
            }
            Self::Show(one) => {
                let job = one.find(&store).await?;
                say(serde_json::to_string_pretty(&job).unwrap_or_default());
                Ok(())
            }
            Self::Changes(one) => {
                let job = one.find(&store).await?;
                let id = job.import_id.as_str();
                let count = print_of_source(&store, &one.account, id).await?;
                warn(format!("{count} changes by import {id}."));
                Ok(())
            }
            Self::Retry(one) => {
                let job = one.find(&store).await?;
                store.delete_job(&one.account, &job.import_id).await?;
                let id = job.import_id.as_str();
                say(format!(
                    "Import {id} was deleted; the next delivery of {} runs it.",
                    job.source
                ));
                Ok(())
            }
        }
    }
}

fn line(job: &Job) -> String {
    json!(job).to_string()
}

fn short(job: &Job) -> String {
    let status = job.status.as_str();
    let counts = job.progress.counts;
    format!(
        "{}  {status:<8} {}  {:>9} lines, {} refused  {}",
        &job.import_id.as_str()[..12],
        rfc3339_millis(job.updated_at),
        counts.total(),
        counts.failed,
        job.source
    )
}
