//! The sample catalogs (`data/sample/`) and their API keys.
//!
//! The keys are public. Only [`load`] creates them, and only in a local engine.

use std::sync::Mutex;

use jiff::Timestamp;
use serverless_catalog::{
    access::{ApiKey, KeyRecord, Permission},
    account::AccountId,
    cause::chain,
    imports::{
        Counts, GeneratedIds, LineError, Mode, OrderBy,
        job::{ImportId, LEASE_TERM, Lease, Source},
        report::Reporter,
        run::{End, Request, run},
    },
    lock::lock,
    source::{Format, GroupStream},
    store::Store,
    text::FieldError,
};

use crate::error::CliError;

/// One account's sample.
#[derive(Debug)]
pub struct Sample {
    /// The account that owns it.
    pub account: &'static str,
    /// Its API key, which has all permissions.
    pub key: &'static str,
    /// Import records, one per line: offerings and promotions, networks and rates, partner offerings,
    /// products.
    pub records: [&'static str; 4],
}

/// The sample accounts.
pub const SAMPLES: [Sample; 2] = [
    Sample {
        account: "ACME",
        key: "cat_live_DemoKeyOfAcmeForLocalUseOnly0001",
        records: [
            include_str!("../../../data/sample/acme.ndjson"),
            include_str!("../../../data/sample/acme-networks.ndjson"),
            include_str!("../../../data/sample/acme-partners.ndjson"),
            include_str!("../../../data/sample/acme-products.ndjson"),
        ],
    },
    Sample {
        account: "GLOBEX",
        key: "cat_live_DemoKeyOfGlobexForLocalUse000001",
        records: [
            include_str!("../../../data/sample/globex.ndjson"),
            include_str!("../../../data/sample/globex-networks.ndjson"),
            include_str!("../../../data/sample/globex-partners.ndjson"),
            include_str!("../../../data/sample/globex-products.ndjson"),
        ],
    },
];

/// Imports all sample catalogs (unchanged records cost no write), and creates their keys.
///
/// # Errors
/// [`CliError::Store`]; [`CliError::Incomplete`] if a sample record is rejected.
pub async fn load(store: &Store) -> Result<Counts, CliError> {
    let mut counts = Counts::default();
    for sample in &SAMPLES {
        let account = AccountId::parse(sample.account)
            .map_err(|error| CliError::Incomplete(error.to_string()))?;
        for (number, records) in sample.records.iter().enumerate() {
            let name = format!("sample {account} {number}");
            counts = counts + load_records(store, &account, &name, records).await?;
        }
        let key = ApiKey::parse(sample.key)
            .ok_or_else(|| CliError::Incomplete("a malformed sample key".to_owned()))?;
        store.create_key(&key.hash(), &demo_record(account)).await?;
    }
    Ok(counts)
}

async fn load_records(
    store: &Store,
    account: &AccountId,
    name: &str,
    records: &str,
) -> Result<Counts, CliError> {
    let import = ImportId::of(&[name]);
    let holder = name.to_owned();
    let request = Request {
        lease: Lease { account: account.clone(), import, holder, term: LEASE_TERM },
        source: Source::named(name.to_owned(), store.clock().now()),
        order_by: OrderBy::Record,
        // The same ids at every start.
        ids: Some(GeneratedIds {
            seed: name.to_owned(),
            time: Timestamp::UNIX_EPOCH,
            run: name.to_owned(),
        }),
        mode: Mode::Write,
        is_stored: false,
        deadline: None,
    };
    let rejected = FirstError::default();
    let open = || GroupStream::of_bytes(records.as_bytes().to_vec(), Some(Format::Ndjson));
    let end = run(store, &request, open, None, &rejected).await?;
    if let Some(error) = lock(&rejected.0).take() {
        let FieldError { field, message, .. } = error.error;
        let line = error.line;
        return Err(CliError::Incomplete(format!("the {name}, line {line}: {field} {message}")));
    }
    match end {
        End::Ended(job, _) => Ok(job.progress.counts),
        End::Unfinished { cause, .. } => Err(CliError::Unavailable(chain(&cause))),
        End::Busy(_) => Err(CliError::Incomplete(format!("the {name} is being imported"))),
    }
}

/// Keeps the first error of a rejected record.
#[derive(Default)]
struct FirstError(Mutex<Option<LineError>>);

impl Reporter for FirstError {
    fn rejected(&self, errors: &[LineError]) {
        let mut first = lock(&self.0);
        if first.is_none() {
            *first = errors.first().cloned();
        }
    }
}

fn demo_record(account: AccountId) -> KeyRecord {
    KeyRecord {
        label: Some("demo key of the sample data, local use only".to_owned()),
        created_at: Timestamp::UNIX_EPOCH,
        ..KeyRecord::new(account, Permission::ALL.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::{Stack, StackOptions, Storage};

    #[tokio::test]
    async fn a_sample_is_loaded_whole_or_its_first_wrong_line_is_told() {
        let options = StackOptions::built_in("test", Storage::Memory).expect("a template");
        let stack = Stack::start(options).await.expect("a stack");
        let account = AccountId::parse("ACME").expect("an account");
        let product = r#"{"kind": "product", "sku": "a", "name": "a"}"#;
        let load = async |name: &str, records: &str| {
            load_records(&stack.store, &account, name, records)
                .await
                .map_err(|error| error.to_string())
        };
        let created = Counts { created: 1, ..Counts::default() };
        assert_eq!(load("first sample", product).await, Ok(created));
        let unchanged = Counts { unchanged: 1, ..Counts::default() };
        assert_eq!(load("first sample", product).await, Ok(unchanged));
        let wrong = format!("{product}\n{}\n{{}}", product.replace("sku", "price"));
        assert_eq!(
            load("second sample", &wrong).await,
            Err("the second sample, line 2: price Expected number, received string".to_owned())
        );
    }
}
