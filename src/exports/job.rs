//! An export as a job: its identity, its state.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::GzipState;
use crate::{
    access::Principal,
    account::AccountId,
    changes::Kinds,
    imports::Kind,
    money::Currency,
    offerings::{CatalogId, CustomerType},
    text::{job_id, spelled_enum},
};

/// The folder of exports: `exports/<account>/<export>.ndjson.gz`.
pub const EXPORTS: &str = "exports/";

/// How many exports of an account may be unfinished at once: each reads the whole catalog.
pub const MAX_UNFINISHED: usize = 5;

/// How long an export may be without any progress: then its messages have been given up.
pub const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// How long an export is kept.
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

job_id! {
    /// The identity of an export within its account.
    pub struct ExportId;
}

/// The key of the object with an export.
#[must_use]
pub fn export_key(account: &AccountId, export: &ExportId) -> String {
    format!("{EXPORTS}{account}/{}.ndjson.gz", export.as_str())
}

/// The key of the object with what a run has compressed that is too little for a part. Each run has its own, since it
/// may die before it has stored what the object goes with.
#[must_use]
pub fn rest_key(account: &AccountId, export: &ExportId, run: &str) -> String {
    format!("{EXPORTS}{account}/{}.rest-{run}", export.as_str())
}

spelled_enum! {
    pub enum ExportStatus {
        /// It waits for a worker, or to be continued.
        Waiting = "waiting",
        /// A worker holds it, or held it when it died.
        Running = "running",
        Done = "done",
        /// Its records cannot be read.
        Failed = "failed",
    }
}

/// What a key sees of a catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_types: Option<BTreeSet<CustomerType>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product_catalogs: Option<BTreeSet<CatalogId>>,
}

impl ExportView {
    /// What a caller sees.
    #[must_use]
    pub fn of(principal: &Principal) -> Self {
        let Principal { customer_types, product_catalogs, .. } = principal.clone();
        Self { customer_types, product_catalogs }
    }

    /// A caller with this view.
    #[must_use]
    pub fn principal(&self, account: &AccountId) -> Principal {
        let Self { customer_types, product_catalogs } = self.clone();
        let account = account.clone();
        Principal { account, customer_types, product_catalogs, wallet_currency: Currency::USD }
    }
}

/// An export as it is stored.
#[derive(Clone, Debug)]
pub struct ExportJob<P> {
    pub id: ExportId,
    pub status: ExportStatus,
    pub kinds: Kinds,
    pub view: ExportView,
    /// The cursor of the changes since it was requested.
    pub changes_cursor: String,
    pub progress: ExportProgress<P>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub updated_at: Timestamp,
    pub expires_at: Timestamp,
}

/// How far an export is: everything before this is in the parts of its object that are written.
#[derive(Clone, Debug, Default)]
pub struct ExportProgress<P> {
    /// The table that is being read, as a place in [`ExportJob::tables`].
    pub table: usize,
    /// The position in that table; `None`: its beginning.
    pub position: Option<P>,
    pub records: u64,
    pub gzip: GzipState,
    /// The run that left an object with what is to be in the next part.
    pub rest: Option<String>,
    /// The id of the upload of the parts; `None`: no part is written.
    pub upload: Option<String>,
    /// The `ETag`s of the parts.
    pub parts: Vec<String>,
    /// The size of the parts in bytes.
    pub bytes: u64,
}

impl<P> ExportJob<P> {
    /// A new job.
    #[must_use]
    pub fn new(
        id: ExportId,
        kinds: Kinds,
        view: ExportView,
        changes_cursor: String,
        now: Timestamp,
    ) -> Self
    where
        P: Default,
    {
        Self {
            id,
            status: ExportStatus::Waiting,
            kinds,
            view,
            changes_cursor,
            progress: ExportProgress::default(),
            created_at: now,
            started_at: None,
            updated_at: now,
            expires_at: now.checked_add(KEPT_FOR).unwrap_or(Timestamp::MAX),
        }
    }

    /// The status as a client is told it.
    #[must_use]
    pub fn status_at(&self, now: Timestamp) -> ExportStatus {
        match self.status {
            ExportStatus::Waiting | ExportStatus::Running
                if self.updated_at + GIVEN_UP_AFTER < now =>
            {
                ExportStatus::Failed
            }
            status => status,
        }
    }

    /// The tables to read, each by a kind that is in it: networks and their bundles are in one.
    #[must_use]
    pub fn tables(&self) -> Vec<Kind> {
        let is_wanted = |kind: &Kind| match kind {
            Kind::Network => {
                self.kinds.contains(Kind::Network) || self.kinds.contains(Kind::Bundle)
            }
            kind => self.kinds.contains(*kind),
        };
        let tables = Kind::ALL.iter().copied().filter(|kind| *kind != Kind::Bundle);
        tables.filter(is_wanted).collect()
    }
}

/// A worker's claim on an export.
#[derive(Clone, Debug)]
pub struct ExportLease {
    pub account: AccountId,
    pub export: ExportId,
    /// A random name for this claim.
    pub holder: String,
    /// How long the claim is valid unless it is extended.
    pub term: Duration,
}

/// The result of claiming an export.
#[derive(Clone, Debug)]
pub enum ExportClaim<P> {
    /// This worker holds it, and continues from its progress.
    Held(Box<ExportJob<P>>),
    /// It has ended, or is gone.
    Ended,
    /// Another worker holds it; that lease expires after this time.
    Busy(Duration),
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_767_225_600, 0);

    fn account() -> AccountId {
        AccountId::parse("ACME").expect("account")
    }

    fn job(kinds: &[Kind]) -> ExportJob<()> {
        let kinds = Kinds::of(kinds.iter().copied());
        let view = ExportView::default();
        ExportJob::new(ExportId::of(&["x"]), kinds, view, "cursor".to_owned(), NOW)
    }

    #[test]
    fn an_export_has_an_object_and_each_of_its_runs_another_one() {
        let id = ExportId::of(&["x"]);
        let name = format!("exports/ACME/{}", id.as_str());
        assert_eq!(export_key(&account(), &id), format!("{name}.ndjson.gz"));
        assert_eq!(rest_key(&account(), &id, "run"), format!("{name}.rest-run"));
    }

    #[test]
    fn an_export_without_progress_for_a_day_has_failed() {
        let mut job = job(&[Kind::Product]);
        assert_eq!(job.expires_at, NOW + SignedDuration::from_hours(7 * 24));
        for (status, later) in [
            (ExportStatus::Waiting, ExportStatus::Failed),
            (ExportStatus::Running, ExportStatus::Failed),
            (ExportStatus::Done, ExportStatus::Done),
            (ExportStatus::Failed, ExportStatus::Failed),
        ] {
            job.status = status;
            let day = SignedDuration::from_hours(24);
            assert_eq!(job.status_at(NOW + day), status);
            assert_eq!(job.status_at(NOW + day + SignedDuration::from_millis(1)), later);
        }
    }

    #[test]
    fn networks_and_bundles_are_read_from_one_table() {
        use Kind::{Bundle, Network, Offering, Product};
        for (kinds, tables) in [
            (&[][..], &[][..]),
            (&[Bundle], &[Network]),
            (&[Network], &[Network]),
            (&[Product, Bundle, Network, Offering], &[Offering, Network, Product]),
        ] {
            assert_eq!(job(kinds).tables(), tables, "{kinds:?}");
        }
        assert_eq!(job(Kind::ALL).tables().len(), Kind::ALL.len() - 1);
    }

    #[test]
    fn a_view_is_what_its_key_sees() {
        let catalog = CatalogId::parse("web").expect("id");
        let caller = Principal {
            account: account(),
            customer_types: Some([CustomerType::Business].into()),
            product_catalogs: Some([catalog].into()),
            wallet_currency: Currency::USD,
        };
        let view = ExportView::of(&caller);
        let shown = serde_json::to_string(&view).expect("JSON");
        assert_eq!(shown, r#"{"customerTypes":["BUSINESS"],"productCatalogs":["web"]}"#);
        let same = view.principal(&account());
        assert_eq!(
            (same.customer_types, same.product_catalogs),
            (caller.customer_types, caller.product_catalogs)
        );
        assert_eq!(serde_json::to_string(&ExportView::default()).expect("JSON"), "{}");
    }
}
