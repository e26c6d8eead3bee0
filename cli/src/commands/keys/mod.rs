//! `catalog keys`: make, list, change and revoke API keys, and tell what they used.

mod update;
mod usage;

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};
use serverless_catalog::{
    access::{ApiKey, KeyHash, KeyPrefix, KeyRecord, Limits, PerMinute, Permission},
    account::AccountId,
    money::Currency,
    offerings::{CatalogId, CustomerType},
    store::Store,
    text::rfc3339_millis,
};

use self::{update::Update, usage::Usage};
use crate::{connect::Target, console::say, error::CliError};

/// Make, list, change and revoke API keys.
#[derive(Subcommand, Debug)]
pub(crate) enum Keys {
    /// Make a key; it is shown this once, and only its SHA-256 is stored
    #[command(after_help = "Examples:
  catalog keys create --account ACME --permissions offerings.read
  catalog keys create --account ACME --permissions offerings.read,airtime.read \\
      --customer-types CONSUMER --catalogs retail,web --expires-at 2027-01-01T00:00:00Z
  catalog keys create --account ACME --permissions airtime.read --wallet-currency EUR \\
      --allow-cidr 192.0.2.0/24 --allow-cidr 2001:db8::/32 --json
  catalog keys create --account ACME --permissions offerings.read,products.write \\
      --reads-per-minute 600 --read-units-per-minute 3000 --writes-per-minute 5000")]
    Create(Create),
    /// List an account's keys, oldest first
    #[command(after_help = "Example:\n  catalog keys list --account ACME")]
    List(List),
    /// Change a key that is in use: its limits, label, expiry or permissions
    #[command(after_help = "Examples:
  catalog keys update --account ACME 3f2a9c81d07be645 --reads-per-minute 1200
  catalog keys update --account ACME 3f2a9c81d07be645 --permissions offerings.read,airtime.read
  catalog keys update --account ACME 3f2a9c81d07be645 --clear limits,expires-at --label 'the shop'

A change reaches every instance within 60 seconds.")]
    Update(Update),
    /// Tell what an account's keys with limits used, by day (UTC)
    #[command(after_help = "Examples:
  catalog keys usage --account ACME
  catalog keys usage --account ACME 3f2a9c81d07be645 --days 30 --json

Use is counted only for keys with limits: it costs a write each time an instance reports. To count without
limiting, set a limit that is never reached. What an instance has not reported yet is not shown.")]
    Usage(Usage),
    /// Revoke a key; it stops working everywhere within 60 seconds
    #[command(after_help = "Examples:
  catalog keys revoke --account ACME 3f2a9c81d07be645     (a key id of catalog keys list)
  catalog keys revoke --account ACME cat_live_…            (or the key itself)")]
    Revoke(Revoke),
}

/// `catalog keys create`.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Whose data the key opens
    #[arg(long)]
    account: AccountId,
    /// What it may do: offerings.read, partners.read, airtime.read, products.read, products.write,
    /// changes.read, imports.write, exports.read
    #[arg(long, value_delimiter = ',', required = true, num_args = 1..)]
    permissions: Vec<Permission>,
    /// The only customer types it may see: CONSUMER, BUSINESS
    #[arg(long, value_delimiter = ',', num_args = 1..)]
    customer_types: Option<Vec<CustomerType>>,
    /// The only product catalogs it may see
    #[arg(long, value_delimiter = ',', num_args = 1..)]
    catalogs: Option<Vec<CatalogId>>,
    /// The currency exchange rates are quoted from
    #[arg(long, default_value = "USD", value_name = "CODE")]
    wallet_currency: Currency,
    /// A network it may be used from; repeat for more (otherwise from anywhere)
    #[arg(long, value_name = "CIDR", value_parser = network)]
    allow_cidr: Vec<ipnet::IpNet>,
    /// When it ends (RFC 3339)
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,
    /// What you call it
    #[arg(long)]
    label: Option<String>,
    #[command(flatten)]
    limits: LimitOptions,
    /// What it begins with
    #[arg(long, value_name = "PREFIX", env = "CATALOG_KEY_PREFIX", default_value = "cat")]
    key_prefix: KeyPrefix,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The limits of a key.
#[derive(Args, Clone, Copy, Debug)]
struct LimitOptions {
    /// How many requests it may read with in a minute
    #[arg(long = "reads-per-minute", value_name = "REQUESTS")]
    reads: Option<PerMinute>,
    /// How many rows it may upsert in a minute
    #[arg(long = "writes-per-minute", value_name = "ROWS")]
    writes: Option<PerMinute>,
    /// How many read units of the database its requests may consume in a minute
    #[arg(long = "read-units-per-minute", value_name = "UNITS")]
    read_units: Option<PerMinute>,
    /// How many write units of the database its requests may consume in a minute
    #[arg(long = "write-units-per-minute", value_name = "UNITS")]
    write_units: Option<PerMinute>,
}

impl From<LimitOptions> for Limits {
    fn from(options: LimitOptions) -> Self {
        Self {
            reads_per_minute: options.reads,
            writes_per_minute: options.writes,
            read_units_per_minute: options.read_units,
            write_units_per_minute: options.write_units,
        }
    }
}

/// `catalog keys list`.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Whose keys
    #[arg(long)]
    account: AccountId,
    /// Print a line of JSON a key
    #[arg(long)]
    json: bool,
}

/// `catalog keys revoke`.
#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// Whose key it is
    #[arg(long)]
    account: AccountId,
    /// The key's id, or the key
    key: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Parses a network; a single address is a network of one.
fn network(text: &str) -> Result<ipnet::IpNet, String> {
    let lone = || text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from);
    text.parse::<ipnet::IpNet>()
        .or_else(|_| lone())
        .map_err(|_| "must be a network such as 192.0.2.0/24 or 2001:db8::/32".to_owned())
}

impl Keys {
    pub(crate) async fn run(self, target: &Target) -> Result<(), CliError> {
        match self {
            Self::Create(create) => create.run(target).await,
            Self::List(list) => list.run(target).await,
            Self::Update(update) => update.run(target).await,
            Self::Usage(usage) => usage.run(target).await,
            Self::Revoke(revoke) => revoke.run(target).await,
        }
    }
}

impl Create {
    async fn run(self, target: &Target) -> Result<(), CliError> {
        let key = ApiKey::generate(&self.key_prefix)
            .map_err(|error| CliError::Usage(format!("no randomness for a key: {error}")))?;
        let hash = key.hash();
        let record = KeyRecord {
            label: self.label,
            customer_types: self.customer_types.map(|types| types.into_iter().collect()),
            product_catalogs: self.catalogs.map(|ids| ids.into_iter().collect::<BTreeSet<_>>()),
            wallet_currency: self.wallet_currency,
            allowed_cidrs: self.allow_cidr,
            expires_at: self.expires_at,
            limits: self.limits.into(),
            ..KeyRecord::new(self.account, self.permissions)
        };
        target.store().await?.create_key(&hash, &record).await?;
        if self.json {
            let mut line = json_of(&hash, &record);
            line["key"] = key.reveal().into();
            say(line.to_string());
        } else {
            say(key.reveal());
            say(format!(
                "Key {} of {}. It is shown this once; keep it safe.",
                hash.key_id(),
                record.account
            ));
        }
        Ok(())
    }
}

impl List {
    async fn run(self, target: &Target) -> Result<(), CliError> {
        let keys = target.store().await?.keys_of(&self.account).await?;
        if self.json {
            for (hash, record) in &keys {
                say(json_of(hash, record).to_string());
            }
            return Ok(());
        }
        if keys.is_empty() {
            say(format!("{} has no keys.", self.account));
            return Ok(());
        }
        say(format!(
            "{:<16}  {:<8}  {:<24}  {:<40}  {:<32}  LABEL",
            "KEY ID", "STATE", "CREATED", "PERMISSIONS", "LIMITS A MINUTE"
        ));
        for (hash, record) in &keys {
            let permissions: Vec<&str> = record.permissions.iter().map(|p| p.as_str()).collect();
            say(format!(
                "{:<16}  {:<8}  {:<24}  {:<40}  {:<32}  {}",
                hash.key_id(),
                state(record),
                rfc3339_millis(record.created_at),
                permissions.join(","),
                limits_text(record.limits),
                record.label.as_deref().unwrap_or("")
            ));
        }
        Ok(())
    }
}

impl Revoke {
    async fn run(self, target: &Target) -> Result<(), CliError> {
        let store = target.store().await?;
        let hash = find(&store, &self.account, &self.key).await?;
        if !store.revoke_key(&self.account, &hash, Timestamp::now()).await? {
            return Err(unknown(&self.account));
        }
        if self.json {
            say(json!({ "keyId": hash.key_id(), "state": "revoked" }).to_string());
        } else {
            say(format!("Key {} is revoked; it stops working within 60 seconds.", hash.key_id()));
        }
        Ok(())
    }
}

/// The hash of a key that is given as its id, or as itself.
async fn find(store: &Store, account: &AccountId, key: &str) -> Result<KeyHash, CliError> {
    if let Some(key) = ApiKey::parse(key) {
        return Ok(key.hash());
    }
    let keys = store.keys_of(account).await?;
    let found = keys.into_iter().find(|(hash, _)| hash.key_id() == key);
    found.map(|(hash, _)| hash).ok_or_else(|| unknown(account))
}

fn unknown(account: &AccountId) -> CliError {
    CliError::Usage(format!(
        "{account} has no such key; see `catalog keys list --account {account}`"
    ))
}

/// The limits of a key in words: `600 reads, 50 write units`.
fn limits_text(limits: Limits) -> String {
    let each: Vec<String> =
        limits.each().map(|(balance, limit)| format!("{limit} {balance}")).collect();
    if each.is_empty() { "none".to_owned() } else { each.join(", ") }
}

fn state(record: &KeyRecord) -> &'static str {
    if record.revoked_at.is_some() {
        "revoked"
    } else if record.expires_at.is_some_and(|end| end <= Timestamp::now()) {
        "expired"
    } else {
        "active"
    }
}

fn json_of(hash: &KeyHash, record: &KeyRecord) -> Value {
    json!({
        "keyId": hash.key_id(),
        "account": record.account,
        "state": state(record),
        "label": record.label,
        "permissions": record.permissions,
        "customerTypes": record.customer_types,
        "catalogs": record.product_catalogs,
        "walletCurrency": record.wallet_currency,
        "allowedCidrs": record.allowed_cidrs,
        "expiresAt": record.expires_at.map(rfc3339_millis),
        "revokedAt": record.revoked_at.map(rfc3339_millis),
        "limits": record.limits,
        "createdAt": rfc3339_millis(record.created_at),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::local::sample::SAMPLES;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        limits: LimitOptions,
    }

    fn limits(options: &[&str]) -> Limits {
        Line::parse_from([&["catalog"], options].concat()).limits.into()
    }

    fn record() -> KeyRecord {
        let created_at = "2026-01-02T03:04:05Z".parse().expect("a time");
        KeyRecord {
            created_at,
            ..KeyRecord::new("ACME".parse().expect("an account"), [Permission::OfferingsRead])
        }
    }

    #[test]
    fn limits_are_told_in_words() {
        assert_eq!(limits_text(limits(&[])), "none");
        let reads = limits(&["--reads-per-minute", "600"]);
        assert_eq!((limits_text(reads).as_str(), reads.writes_per_minute), ("600 reads", None));
        let all = limits(&[
            "--writes-per-minute",
            "2",
            "--reads-per-minute",
            "1",
            "--write-units-per-minute",
            "4",
            "--read-units-per-minute",
            "3",
        ]);
        assert_eq!(limits_text(all), "1 reads, 2 writes, 3 read units, 4 write units");
    }

    #[test]
    fn a_key_is_active_until_it_is_revoked_or_its_time_is_over() {
        let now = Timestamp::now();
        let far: Timestamp = "9999-01-01T00:00:00Z".parse().expect("a time");
        for (expires_at, revoked_at, expected) in [
            (None, None, "active"),
            (Some(far), None, "active"),
            (Some(now), None, "expired"),
            (Some(far), Some(now), "revoked"),
            (Some(now), Some(now), "revoked"),
        ] {
            let record = KeyRecord { expires_at, revoked_at, ..record() };
            assert_eq!(state(&record), expected, "{expires_at:?} {revoked_at:?}");
        }
    }

    #[test]
    fn a_network_may_be_a_single_address() {
        let texts = ["192.0.2.0/24", "192.0.2.1", "2001:db8::/32", "::1"];
        let networks = texts.map(|text| network(text).expect("a network").to_string());
        assert_eq!(networks, ["192.0.2.0/24", "192.0.2.1/32", "2001:db8::/32", "::1/128"]);
        let refused = Err("must be a network such as 192.0.2.0/24 or 2001:db8::/32".to_owned());
        assert_eq!([network("192.0.2.0/33"), network("")], [refused.clone(), refused]);
    }

    #[test]
    fn a_key_as_json_has_all_but_the_key() {
        let key = ApiKey::parse(SAMPLES[0].key).expect("a key");
        let plain = json!({
            "keyId": key.hash().key_id(), "account": "ACME", "state": "active", "label": null,
            "permissions": ["offerings.read"], "customerTypes": null, "catalogs": null, "walletCurrency": "USD",
            "allowedCidrs": [], "expiresAt": null, "revokedAt": null, "limits": {},
            "createdAt": "2026-01-02T03:04:05.000Z",
        });
        assert_eq!(json_of(&key.hash(), &record()), plain);
        let time: Timestamp = "2026-02-03T04:05:06.789Z".parse().expect("a time");
        let full = KeyRecord {
            label: Some("shop".to_owned()),
            customer_types: Some([CustomerType::Business].into()),
            product_catalogs: Some(["web".parse().expect("a catalog")].into()),
            wallet_currency: "EUR".parse().expect("a currency"),
            allowed_cidrs: vec![network("::1").expect("a network")],
            expires_at: Some(time),
            revoked_at: Some(time),
            limits: limits(&["--writes-per-minute", "2"]),
            ..record()
        };
        let mut expected = plain;
        for (name, value) in [
            ("state", json!("revoked")),
            ("label", json!("shop")),
            ("customerTypes", json!(["BUSINESS"])),
            ("catalogs", json!(["web"])),
            ("walletCurrency", json!("EUR")),
            ("allowedCidrs", json!(["::1/128"])),
            ("expiresAt", json!("2026-02-03T04:05:06.789Z")),
            ("revokedAt", json!("2026-02-03T04:05:06.789Z")),
            ("limits", json!({ "writesPerMinute": 2 })),
        ] {
            expected[name] = value;
        }
        assert_eq!(json_of(&key.hash(), &full), expected);
    }
}
