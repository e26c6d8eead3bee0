//! The sample catalogs (`data/sample/`) and the keys that open them.
//!
//! The keys are known to everybody. Only [`load`] makes them, and only in a local engine.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serverless_catalog::{
    access::{ApiKey, KeyAdmin as _, KeyRecord, Permission},
    account::AccountId,
    imports::{Counts, GROUP_LINES, Importer},
    money::Currency,
    store::Store,
};

use crate::error::CliError;

/// One account's sample.
#[derive(Debug)]
pub struct Sample {
    /// Whose it is.
    pub account: &'static str,
    /// The key that opens it, with every permission.
    pub key: &'static str,
    /// Import records, one a line: offerings and promotions, networks and rates, partner offerings,
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

/// Imports every sample catalog (what is stored already costs no write) and makes their keys.
///
/// # Errors
/// [`CliError::Store`]; [`CliError::Incomplete`] when a sample record is refused.
pub async fn load(store: &Store) -> Result<Counts, CliError> {
    let mut counts = Counts::default();
    for sample in &SAMPLES {
        let account = AccountId::parse(sample.account)
            .map_err(|error| CliError::Incomplete(error.to_string()))?;
        let mut importer = Importer::new(store, &account, false);
        let records = sample.records.iter().flat_map(|records| records.lines());
        let lines: Vec<(u64, Vec<u8>)> =
            (1..).zip(records).map(|(number, line)| (number, line.into())).collect();
        for group in lines.chunks(GROUP_LINES) {
            let refused = importer.group(group, Timestamp::now()).await?;
            if let Some(first) = refused.first() {
                return Err(CliError::Incomplete(format!(
                    "the sample of {account}, line {}: {} {}",
                    first.line, first.error.field, first.error.message
                )));
            }
        }
        let done = importer.counts();
        counts.created += done.created;
        counts.updated += done.updated;
        counts.unchanged += done.unchanged;
        let key = ApiKey::parse(sample.key)
            .ok_or_else(|| CliError::Incomplete("a malformed sample key".to_owned()))?;
        store.create_key(&key.hash(), &demo_record(account)).await?;
    }
    Ok(counts)
}

fn demo_record(account: AccountId) -> KeyRecord {
    KeyRecord {
        account,
        label: Some("demo key of the sample data, local use only".to_owned()),
        permissions: Permission::ALL.iter().copied().collect::<BTreeSet<_>>(),
        customer_types: None,
        product_catalogs: None,
        wallet_currency: Currency::USD,
        allowed_cidrs: Vec::new(),
        expires_at: None,
        revoked_at: None,
        created_at: Timestamp::UNIX_EPOCH,
    }
}
