//! `catalog keys usage`.

use clap::Args;
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use serde_json::json;
use serverless_catalog::account::AccountId;

use super::{find, unknown};
use crate::{connect::Target, console::say, error::CliError};

/// `catalog keys usage`.
#[derive(Args, Debug)]
pub(crate) struct Usage {
    /// Whose keys
    #[arg(long)]
    account: AccountId,
    /// The key's id, or the key (otherwise all keys of the account)
    key: Option<String>,
    /// How many days, today included; 90 are kept
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u8).range(1..=90))]
    days: u8,
    /// Print a line of JSON a key and day
    #[arg(long)]
    json: bool,
}

impl Usage {
    pub(super) async fn run(self, target: &Target) -> Result<(), CliError> {
        let store = target.store().await?;
        let mut keys = store.keys_of(&self.account).await?;
        if let Some(key) = &self.key {
            let wanted = find(&store, &self.account, key).await?;
            keys.retain(|(hash, _)| *hash == wanted);
            if keys.is_empty() {
                return Err(unknown(&self.account));
            }
        }
        let since = self.first_day(TimeZone::UTC.to_datetime(Timestamp::now()).date());
        let mut is_first = true;
        for (hash, _) in keys {
            for (day, usage) in store.usage_since(&hash, since).await? {
                if self.json {
                    let mut line = json!(usage);
                    line["keyId"] = hash.key_id().into();
                    line["date"] = day.to_string().into();
                    say(line.to_string());
                    continue;
                }
                if std::mem::take(&mut is_first) {
                    say(format!(
                        "{:<16}  {:<10}  {:>10}  {:>10}  {:>12}  {:>12}  {:>10}",
                        "KEY ID", "DATE", "READS", "WRITES", "READ UNITS", "WRITE UNITS", "REFUSED"
                    ));
                }
                say(format!(
                    "{:<16}  {:<10}  {:>10}  {:>10}  {:>12}  {:>12}  {:>10}",
                    hash.key_id(),
                    day.to_string(),
                    usage.reads,
                    usage.writes,
                    usage.read_units,
                    usage.write_units,
                    usage.rejected
                ));
            }
        }
        if is_first && !self.json {
            say(format!(
                "Nothing is counted in these days: only keys with limits are. See `catalog keys list --account {}`.",
                self.account
            ));
        }
        Ok(())
    }

    fn first_day(&self, today: Date) -> Date {
        today.saturating_sub(i32::from(self.days - 1).days())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        usage: Usage,
    }

    #[test]
    fn the_days_include_today() {
        let today: Date = "2026-03-02".parse().expect("a date");
        for (options, expected) in [
            (&[][..], "2026-02-24"),
            (&["--days", "1"], "2026-03-02"),
            (&["--days", "2"], "2026-03-01"),
            (&["--days", "90"], "2025-12-03"),
        ] {
            let line = Line::parse_from([&["catalog", "--account", "ACME"], options].concat());
            assert_eq!(line.usage.first_day(today).to_string(), expected);
        }
        for days in ["0", "91"] {
            assert!(
                Line::try_parse_from(["catalog", "--account", "ACME", "--days", days]).is_err()
            );
        }
    }
}
