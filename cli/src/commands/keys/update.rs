//! `catalog keys update`.

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serverless_catalog::{
    access::{FieldUpdate, KeyChange, Limits, Permission},
    account::AccountId,
};

use super::{LimitOptions, find, json_of, limits_text, unknown};
use crate::{connect::Target, console::say, error::CliError};

/// `catalog keys update`.
#[derive(Args, Debug)]
pub(crate) struct Update {
    /// Whose key it is
    #[arg(long)]
    account: AccountId,
    /// The key's id, or the key
    key: String,
    /// All that it may do from now on
    #[arg(long, value_delimiter = ',', num_args = 1..)]
    permissions: Option<Vec<Permission>>,
    /// When it ends (RFC 3339)
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,
    /// What you call it
    #[arg(long)]
    label: Option<String>,
    #[command(flatten)]
    limits: LimitOptions,
    /// What it has no more
    #[arg(long, value_delimiter = ',', value_name = "NAMES", num_args = 1..)]
    clear: Vec<Clear>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A value that a key may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Clear {
    Label,
    ExpiresAt,
    /// All four limits.
    Limits,
    ReadsPerMinute,
    WritesPerMinute,
    ReadUnitsPerMinute,
    WriteUnitsPerMinute,
}

impl Update {
    pub(super) async fn run(self, target: &Target) -> Result<(), CliError> {
        let change = self.change()?;
        let store = target.store().await?;
        let hash = find(&store, &self.account, &self.key).await?;
        let record = store.update_key(&self.account, &hash, &change).await?;
        let record = record.ok_or_else(|| unknown(&self.account))?;
        if self.json {
            say(json_of(&hash, &record).to_string());
        } else {
            say(format!(
                "Key {} is changed, everywhere within 60 seconds. Limits a minute: {}.",
                hash.key_id(),
                limits_text(record.limits)
            ));
        }
        Ok(())
    }

    fn change(&self) -> Result<KeyChange, CliError> {
        let limits = Limits::from(self.limits);
        let limit = |value, name| self.one(value, &[name, Clear::Limits]);
        let change = KeyChange {
            label: self.one(self.label.clone(), &[Clear::Label])?,
            permissions: self.permissions.clone().map(|all| all.into_iter().collect()),
            expires_at: self.one(self.expires_at, &[Clear::ExpiresAt])?,
            reads_per_minute: limit(limits.reads_per_minute, Clear::ReadsPerMinute)?,
            writes_per_minute: limit(limits.writes_per_minute, Clear::WritesPerMinute)?,
            read_units_per_minute: limit(limits.read_units_per_minute, Clear::ReadUnitsPerMinute)?,
            write_units_per_minute: limit(
                limits.write_units_per_minute,
                Clear::WriteUnitsPerMinute,
            )?,
        };
        if change.is_none() {
            return Err(CliError::Usage(
                "there is nothing to change; give --permissions, --label, --expires-at, a limit such as \
                 --reads-per-minute 600, or --clear"
                    .to_owned(),
            ));
        }
        Ok(change)
    }

    /// The change of one value: set, cleared by one of these names, or neither. All limits can be cleared but the
    /// ones that are set.
    fn one<T>(&self, value: Option<T>, names: &[Clear]) -> Result<FieldUpdate<T>, CliError> {
        let cleared = self.clear.iter().find(|clear| names.contains(clear));
        match (value, cleared) {
            (Some(_), Some(clear)) if *clear != Clear::Limits => {
                let name = clear.to_possible_value();
                let name = name.as_ref().map_or("it", |name| name.get_name());
                Err(CliError::Usage(format!("{name} is both set and cleared; give one of the two")))
            }
            (Some(value), _) => Ok(FieldUpdate::Set(value)),
            (None, Some(_)) => Ok(FieldUpdate::Clear),
            (None, None) => Ok(FieldUpdate::Keep),
        }
    }
}
