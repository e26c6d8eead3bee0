//! `catalog imports`: the import jobs of the queue and of `catalog import`.

use clap::Subcommand;
use serde_json::json;
use serverless_catalog::{account::AccountId, imports::job::Job, text::rfc3339_millis};

use super::changes::print_of_source;
use crate::{
    connect::Target,
    console::{say, warn},
    error::CliError,
};

/// Look at the imports: of files, S3, EventBridge and the queue.
#[derive(Subcommand, Debug)]
pub enum Imports {
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
    Show {
        /// Whose catalog it is
        #[arg(long)]
        account: AccountId,
        /// The import's id, or its beginning
        id: String,
    },
    /// Print what an import created, changed and deleted, a line of JSON a change, from the journal
    #[command(after_help = "Example:
  catalog imports changes --account ACME 3acd990027d0

Changes are kept for 30 days. The whole journal of the account is read.")]
    Changes {
        /// Whose catalog it is
        #[arg(long)]
        account: AccountId,
        /// The import's id, or its beginning
        id: String,
    },
    /// Forget one import, so that the next delivery of its source runs it again from the start
    #[command(after_help = "Example:\n  catalog imports retry --account ACME 3acd990027d0

What is stored already costs no write. Deliver the source again: redrive the dead-letter queue, or send a
catalog.import event with the object's bucket and key; catalog serve does so by itself when the file is
touched. A file of catalog import is imported from its beginning without --resume.")]
    Retry {
        /// Whose catalog it is
        #[arg(long)]
        account: AccountId,
        /// The import's id, or its beginning
        id: String,
    },
}

impl Imports {
    /// Runs the command.
    ///
    /// # Errors
    /// [`CliError`] if the tables cannot be reached, or there is no such import.
    pub async fn run(self, target: &Target) -> Result<(), CliError> {
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
            Self::Show { account, id } => {
                let job = find(store.jobs(&account).await?, &account, &id)?;
                say(serde_json::to_string_pretty(&job).unwrap_or_default());
                Ok(())
            }
            Self::Changes { account, id } => {
                let job = find(store.jobs(&account).await?, &account, &id)?;
                let id = job.import_id.as_str();
                let count = print_of_source(&store, &account, id).await?;
                warn(format!("{count} changes by import {id}."));
                Ok(())
            }
            Self::Retry { account, id } => {
                let job = find(store.jobs(&account).await?, &account, &id)?;
                store.delete_job(&account, &job.import_id).await?;
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

fn find(jobs: Vec<Job>, account: &AccountId, id: &str) -> Result<Job, CliError> {
    let mut found = jobs.into_iter().filter(|job| job.import_id.as_str().starts_with(id));
    match (found.next(), found.next()) {
        (Some(job), None) => Ok(job),
        (Some(_), Some(_)) => Err(CliError::Usage(format!("several imports begin with {id}"))),
        (None, _) => Err(CliError::Usage(format!(
            "{account} has no such import; see `catalog imports list --account {account}`"
        ))),
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
