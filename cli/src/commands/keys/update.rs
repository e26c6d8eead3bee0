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

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serverless_catalog::access::PerMinute;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        update: Update,
    }

    /// The change that these options make.
    fn change(options: &[&str]) -> Result<KeyChange, String> {
        let line = Line::parse_from([&["catalog", "--account", "ACME", "id"], options].concat());
        line.update.change().map_err(|error| error.to_string())
    }

    fn limit(limit: u32) -> FieldUpdate<PerMinute> {
        FieldUpdate::Set(PerMinute::new(limit).expect("a limit"))
    }

    #[test]
    fn each_option_changes_its_own_value() {
        let time: Timestamp = "2099-01-01T00:00:00Z".parse().expect("a time");
        let set = [
            &["--label", "shop", "--expires-at", "2099-01-01T00:00:00Z"][..],
            &["--permissions", "offerings.read,airtime.read", "--reads-per-minute", "1"],
            &["--writes-per-minute", "2", "--read-units-per-minute", "3"],
            &["--write-units-per-minute", "4"],
        ];
        let expected = KeyChange {
            label: FieldUpdate::Set("shop".to_owned()),
            permissions: Some([Permission::OfferingsRead, Permission::AirtimeRead].into()),
            expires_at: FieldUpdate::Set(time),
            reads_per_minute: limit(1),
            writes_per_minute: limit(2),
            read_units_per_minute: limit(3),
            write_units_per_minute: limit(4),
        };
        assert_eq!(change(&set.concat()), Ok(expected));
        for (name, expected) in [
            ("label", KeyChange { label: FieldUpdate::Clear, ..KeyChange::default() }),
            ("expires-at", KeyChange { expires_at: FieldUpdate::Clear, ..KeyChange::default() }),
            (
                "reads-per-minute",
                KeyChange { reads_per_minute: FieldUpdate::Clear, ..KeyChange::default() },
            ),
            (
                "writes-per-minute",
                KeyChange { writes_per_minute: FieldUpdate::Clear, ..KeyChange::default() },
            ),
            (
                "read-units-per-minute",
                KeyChange { read_units_per_minute: FieldUpdate::Clear, ..KeyChange::default() },
            ),
            (
                "write-units-per-minute",
                KeyChange { write_units_per_minute: FieldUpdate::Clear, ..KeyChange::default() },
            ),
        ] {
            assert_eq!(change(&["--clear", name]), Ok(expected), "{name}");
        }
    }

    #[test]
    fn all_limits_can_be_cleared_but_those_that_are_set() {
        let expected = KeyChange {
            reads_per_minute: FieldUpdate::Clear,
            writes_per_minute: FieldUpdate::Clear,
            read_units_per_minute: limit(7),
            write_units_per_minute: FieldUpdate::Clear,
            ..KeyChange::default()
        };
        assert_eq!(change(&["--clear", "limits", "--read-units-per-minute", "7"]), Ok(expected));
    }

    #[test]
    fn a_change_of_nothing_and_one_that_contradicts_itself_are_refused() {
        let nothing = "there is nothing to change; give --permissions, --label, --expires-at, a limit such as \
            --reads-per-minute 600, or --clear";
        assert_eq!(change(&[]), Err(nothing.to_owned()));
        for (name, value) in [
            ("label", "shop"),
            ("expires-at", "2099-01-01T00:00:00Z"),
            ("reads-per-minute", "1"),
            ("writes-per-minute", "1"),
            ("read-units-per-minute", "1"),
            ("write-units-per-minute", "1"),
        ] {
            let refused = change(&[&format!("--{name}"), value, "--clear", name]);
            let told = format!("{name} is both set and cleared; give one of the two");
            assert_eq!(refused, Err(told));
        }
    }
}
