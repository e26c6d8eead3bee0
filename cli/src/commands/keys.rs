//! `catalog keys`: make, list and revoke API keys.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};
use serverless_catalog::{
    access::{ApiKey, KeyHash, KeyPrefix, KeyRecord, Permission},
    account::AccountId,
    money::Currency,
    offerings::{CatalogId, CustomerType},
    text::rfc3339_millis,
};

use crate::{connect::Target, console::say, error::CliError};

/// Make, list and revoke API keys.
#[derive(Subcommand, Debug)]
pub enum Keys {
    /// Make a key; it is shown this once, and only its SHA-256 is stored
    #[command(after_help = "Examples:
  catalog keys create --account ACME --permissions offerings.read
  catalog keys create --account ACME --permissions offerings.read,airtime.read \\
      --customer-types CONSUMER --catalogs retail,web --expires-at 2027-01-01T00:00:00Z
  catalog keys create --account ACME --permissions airtime.read --wallet-currency EUR \\
      --allow-cidr 192.0.2.0/24 --allow-cidr 2001:db8::/32 --json")]
    Create(Create),
    /// List an account's keys, oldest first
    #[command(after_help = "Example:\n  catalog keys list --account ACME")]
    List(List),
    /// Revoke a key; it stops working everywhere within 60 seconds
    #[command(after_help = "Examples:
  catalog keys revoke --account ACME 3f2a9c81d07be645     (a key id of catalog keys list)
  catalog keys revoke --account ACME cat_live_…            (or the key itself)")]
    Revoke(Revoke),
}

/// `catalog keys create`.
#[derive(Args, Debug)]
pub struct Create {
    /// Whose data the key opens
    #[arg(long)]
    account: AccountId,
    /// What it may do: offerings.read, partners.read, airtime.read, products.read, products.write,
    /// changes.read
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
    /// What it begins with
    #[arg(long, value_name = "PREFIX", env = "CATALOG_KEY_PREFIX", default_value = "cat")]
    key_prefix: KeyPrefix,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `catalog keys list`.
#[derive(Args, Debug)]
pub struct List {
    /// Whose keys
    #[arg(long)]
    account: AccountId,
    /// Print a line of JSON a key
    #[arg(long)]
    json: bool,
}

/// `catalog keys revoke`.
#[derive(Args, Debug)]
pub struct Revoke {
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
    /// Runs the command.
    ///
    /// # Errors
    /// [`CliError`] if the tables cannot be reached, or there is no such key.
    pub async fn run(self, target: &Target) -> Result<(), CliError> {
        match self {
            Self::Create(create) => create.run(target).await,
            Self::List(list) => list.run(target).await,
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
            "{:<16}  {:<8}  {:<24}  {:<40}  LABEL",
            "KEY ID", "STATE", "CREATED", "PERMISSIONS"
        ));
        for (hash, record) in &keys {
            let permissions: Vec<&str> = record.permissions.iter().map(|p| p.as_str()).collect();
            say(format!(
                "{:<16}  {:<8}  {:<24}  {:<40}  {}",
                hash.key_id(),
                state(record),
                rfc3339_millis(record.created_at),
                permissions.join(","),
                record.label.as_deref().unwrap_or("")
            ));
        }
        Ok(())
    }
}

impl Revoke {
    async fn run(self, target: &Target) -> Result<(), CliError> {
        let store = target.store().await?;
        let hash = if let Some(key) = ApiKey::parse(&self.key) {
            key.hash()
        } else {
            let keys = store.keys_of(&self.account).await?;
            let wanted = |(hash, _): &(KeyHash, KeyRecord)| hash.key_id() == self.key;
            let found = keys.into_iter().find(wanted);
            found.ok_or_else(|| self.unknown())?.0
        };
        if !store.revoke_key(&self.account, &hash, Timestamp::now()).await? {
            return Err(self.unknown());
        }
        if self.json {
            say(json!({ "keyId": hash.key_id(), "state": "revoked" }).to_string());
        } else {
            say(format!("Key {} is revoked; it stops working within 60 seconds.", hash.key_id()));
        }
        Ok(())
    }

    fn unknown(&self) -> CliError {
        CliError::Usage(format!(
            "{} has no such key; see `catalog keys list --account {}`",
            self.account, self.account
        ))
    }
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
        "createdAt": rfc3339_millis(record.created_at),
    })
}
