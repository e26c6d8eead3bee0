//! `catalog tables`: the tables of template.yaml.

use clap::Subcommand;
use serde_json::json;
use serverless_catalog::{account::AccountId, cost::Meter};

use crate::{
    connect::{Connected, Target},
    console::{say, warn},
    error::CliError,
    template::Template,
};

/// Create or describe the tables of template.yaml, or backfill the entries of offerings.
#[derive(Subcommand, Debug)]
pub(super) enum Tables {
    /// Create the tables that are not there yet (make deploy has created those of a deployed stack)
    #[command(after_help = "Example:
  catalog tables create --endpoint-url http://127.0.0.1:8000")]
    Create,
    /// Put the entries (one for each country, region and catalog) of offerings that an earlier version stored without
    /// them
    #[command(
        long_about = "Put the entries (one for each country, region and catalog) of offerings that an earlier version stored without
them.

Until all offerings of an account have entries, its lists by country, region and catalog read the other offerings, too,
and discard them; from then on such a list costs what it returns. Begin when no older version of the functions writes
any more. Stop it at any time: repeated without --again, the command continues where it stopped.",
        after_help = "Example:\n  catalog tables backfill --account ACME --account GLOBEX --aws"
    )]
    Backfill {
        /// The account; may be given several times
        #[arg(long = "account", required = true)]
        accounts: Vec<AccountId>,
        /// Start over, even if an account has all its entries: for accounts into which an older version has written
        /// since. Until this ends, their lists are read and filtered
        #[arg(long)]
        again: bool,
    },
    /// Show the tables: state, items, bytes, indexes
    #[command(after_help = "Example:\n  catalog tables describe --json")]
    Describe {
        /// Print one line of JSON for each table
        #[arg(long)]
        json: bool,
    },
}

impl Tables {
    pub(super) async fn run(self, target: &Target) -> Result<(), CliError> {
        if let Self::Backfill { accounts, again } = &self {
            return backfill(target, accounts, *again).await;
        }
        let Connected { client, place, .. } = target.connect().await?;
        let tables = Template::built_in()?.tables(&target.table_prefix)?;
        match self {
            Self::Backfill { .. } => {}
            Self::Create => {
                for table in tables {
                    let created = table.create(&client, place.is_aws()).await?;
                    let outcome = if created { "created" } else { "is there already" };
                    say(format!("{} {outcome} at {place}", table.name));
                }
            }
            Self::Describe { json } => {
                for table in tables {
                    let reply = client.describe_table().table_name(&table.name).send().await;
                    let reply = reply.map_err(CliError::aws(format!("describe {}", table.name)))?;
                    let Some(table) = reply.table else { continue };
                    let indexes = table.global_secondary_indexes();
                    let indexes: Vec<&str> =
                        indexes.iter().filter_map(|index| index.index_name()).collect();
                    let name = table.table_name().unwrap_or_default();
                    let status = table.table_status().map_or("unknown", |status| status.as_str());
                    let (items, bytes) = (
                        table.item_count().unwrap_or_default(),
                        table.table_size_bytes().unwrap_or_default(),
                    );
                    if json {
                        let line = json!({
                            "table": name, "status": status, "items": items, "bytes": bytes,
                            "indexes": indexes,
                        });
                        say(line.to_string());
                    } else {
                        say(format!(
                            "{name}: {status}, {items} items, {bytes} bytes, indexes: {}",
                            if indexes.is_empty() { "none".to_owned() } else { indexes.join(", ") }
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Puts the entries of all offerings of these accounts.
async fn backfill(target: &Target, accounts: &[AccountId], again: bool) -> Result<(), CliError> {
    let meter = Meter::default();
    let store = target.store().await?.metered(&meter);
    for account in accounts {
        if again {
            store.forget_entries(account).await?;
        }
        let mut offerings = 0;
        while let Some(count) = store.backfill_entries(account).await? {
            offerings += count;
            warn(format!("{account}: the entries of {offerings} offerings"));
        }
        say(format!("{account}: all offerings have their entries ({offerings} in this run)."));
    }
    let cost = meter.cost();
    warn(format!("{:.1} read units, {:.1} write units.", cost.read_units, cost.write_units));
    Ok(())
}
