//! The table `Exports`: export jobs, and the records that they read.

use std::{collections::BTreeSet, fmt::Display, time::Duration};

use aws_sdk_dynamodb::{
    operation::{put_item::PutItemOutput, update_item::builders::UpdateItemFluentBuilder},
    types::AttributeValue,
};
use jiff::Timestamp;

use super::{
    CAPACITY, Store, StoreError,
    item::{EXPIRES_AT, Item, number, text},
    jobs::Conditional,
    records::exported,
};
use crate::{
    account::AccountId,
    changes::{ExportedRecord, Kinds},
    exports::{
        ExportClaim, ExportId, ExportJob, ExportLease, ExportProgress, ExportStatus, ExportView,
        GzipState,
    },
    imports::Kind,
    offerings::{CatalogId, CustomerType},
};

/// The position in a table after which an export continues.
#[derive(Clone, Debug)]
pub struct ExportPosition(Item);

fn key(account: &AccountId, export: &ExportId) -> Item {
    Item::from([
        ("account".to_owned(), text(account.as_str())),
        ("exportId".to_owned(), text(export.as_str())),
    ])
}

fn texts<T: Display>(values: impl IntoIterator<Item = T>) -> AttributeValue {
    AttributeValue::L(values.into_iter().map(|value| text(value.to_string())).collect())
}

/// Parses the item of an export.
fn export(operation: &'static str, item: &Item) -> Result<ExportJob<ExportPosition>, StoreError> {
    let wrong = |name: &str| StoreError::unreadable(operation, format!("attribute {name}"));
    let string = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
    let digits = |name: &str| item.get(name).and_then(|value| value.as_n().ok());
    let count = |name: &str| digits(name).and_then(|digits| digits.parse().ok()).unwrap_or(0_u64);
    let time = |name: &str| {
        let millis = digits(name).and_then(|digits| digits.parse().ok());
        millis.and_then(|millis| Timestamp::from_millisecond(millis).ok())
    };
    let list = |name: &str| -> Option<Vec<&String>> {
        let values = item.get(name).and_then(|value| value.as_l().ok())?;
        values.iter().map(|value| value.as_s().ok()).collect()
    };
    let kinds: Option<Vec<Kind>> =
        list("kinds").and_then(|kinds| kinds.iter().map(|kind| Kind::parse(kind)).collect());
    let customer_types: Option<Option<BTreeSet<CustomerType>>> = list("customerTypes")
        .map(|types| types.iter().map(|one| CustomerType::parse(one)).collect());
    let catalogs: Option<Option<BTreeSet<CatalogId>>> = list("productCatalogs")
        .map(|catalogs| catalogs.iter().map(|one| CatalogId::parse(one).ok()).collect());
    let expires_at = digits(EXPIRES_AT).and_then(|digits| digits.parse().ok());
    Ok(ExportJob {
        id: string("exportId")
            .and_then(|id| ExportId::parse(id))
            .ok_or_else(|| wrong("exportId"))?,
        status: string("status")
            .and_then(|status| ExportStatus::parse(status))
            .ok_or_else(|| wrong("status"))?,
        kinds: Kinds::of(kinds.ok_or_else(|| wrong("kinds"))?),
        // A restriction that cannot be read must not count as none.
        view: ExportView {
            customer_types: customer_types
                .map(|types| types.ok_or_else(|| wrong("customerTypes")))
                .transpose()?,
            product_catalogs: catalogs
                .map(|catalogs| catalogs.ok_or_else(|| wrong("productCatalogs")))
                .transpose()?,
        },
        changes_cursor: string("changesCursor").cloned().unwrap_or_default(),
        progress: ExportProgress {
            table: usize::try_from(count("tablesRead")).unwrap_or(usize::MAX),
            position: item
                .get("position")
                .and_then(|position| position.as_m().ok())
                .map(|position| ExportPosition(position.clone())),
            records: count("records"),
            gzip: GzipState {
                crc: u32::try_from(count("crc")).unwrap_or_default(),
                length: count("plainBytes"),
            },
            rest: string("rest").cloned(),
            upload: string("upload").cloned(),
            parts: list("parts").unwrap_or_default().into_iter().cloned().collect(),
            bytes: count("bytes"),
        },
        created_at: time("createdAt").ok_or_else(|| wrong("createdAt"))?,
        started_at: time("startedAt"),
        updated_at: time("updatedAt").ok_or_else(|| wrong("updatedAt"))?,
        expires_at: expires_at
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .ok_or_else(|| wrong(EXPIRES_AT))?,
    })
}

impl Store {
    /// Stores a new export; `false` if it is stored already: a request that is repeated changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_export(
        &self,
        account: &AccountId,
        job: &ExportJob<ExportPosition>,
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "create export";
        let kinds = Kind::ALL.iter().filter(|kind| job.kinds.contains(**kind));
        let time = number(job.created_at.as_millisecond());
        let mut item = key(account, &job.id);
        item.extend([
            ("status".to_owned(), text(job.status.as_str())),
            ("kinds".to_owned(), texts(kinds)),
            ("changesCursor".to_owned(), text(job.changes_cursor.as_str())),
            ("createdAt".to_owned(), time.clone()),
            ("updatedAt".to_owned(), time),
            (EXPIRES_AT.to_owned(), number(job.expires_at.as_second())),
        ]);
        let ExportView { customer_types, product_catalogs } = &job.view;
        item.extend(
            customer_types.as_ref().map(|types| ("customerTypes".to_owned(), texts(types))),
        );
        item.extend(
            product_catalogs.as_ref().map(|ids| ("productCatalogs".to_owned(), texts(ids))),
        );
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.exports)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(exportId)")
            .return_consumed_capacity(CAPACITY);
        let send = || put.clone().send();
        self.write_if(OPERATION, send, PutItemOutput::consumed_capacity).await
    }

    /// How many exports of an account have not ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unfinished_exports(&self, account: &AccountId) -> Result<usize, StoreError> {
        const OPERATION: &str = "count exports";
        let query = self
            .client
            .query()
            .table_name(&self.tables.exports)
            .key_condition_expression("account = :account")
            .filter_expression("#status IN (:waiting, :running)")
            .projection_expression("exportId")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":account", text(account.as_str()))
            .expression_attribute_values(":waiting", text(ExportStatus::Waiting.as_str()))
            .expression_attribute_values(":running", text(ExportStatus::Running.as_str()));
        Ok(self.query_all(OPERATION, query).await?.len())
    }

    /// The state of an export that is still kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn export_job(
        &self,
        account: &AccountId,
        id: &ExportId,
    ) -> Result<Option<ExportJob<ExportPosition>>, StoreError> {
        const OPERATION: &str = "get export";
        let request = self
            .client
            .get_item()
            .table_name(&self.tables.exports)
            .set_key(Some(key(account, id)))
            .consistent_read(true);
        let item = self.get(OPERATION, request).await?;
        let job = item.map(|item| export(OPERATION, &item)).transpose()?;
        // DynamoDB removes an item some time after it expires.
        Ok(job.filter(|job| job.expires_at > self.clock.now()))
    }

    fn update_export(&self, account: &AccountId, id: &ExportId) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.tables.exports)
            .set_key(Some(key(account, id)))
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":running", text(ExportStatus::Running.as_str()))
            .expression_attribute_values(":now", number(self.clock.now().as_millisecond()))
    }

    fn lease_end(&self, term: Duration) -> AttributeValue {
        let end = self.clock.now().checked_add(term).unwrap_or(Timestamp::MAX);
        number(end.as_millisecond())
    }

    /// Claims an export.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_export(
        &self,
        lease: &ExportLease,
    ) -> Result<ExportClaim<ExportPosition>, StoreError> {
        const OPERATION: &str = "claim export";
        let update = self
            .update_export(&lease.account, &lease.export)
            .update_expression(
                "SET #status = :running, holder = :holder, leaseUntil = :until, \
                 updatedAt = :now, startedAt = if_not_exists(startedAt, :now)",
            )
            .condition_expression(
                "#status = :waiting OR (#status = :running AND (leaseUntil < :now OR holder = :holder))",
            )
            .expression_attribute_values(":waiting", text(ExportStatus::Waiting.as_str()))
            .expression_attribute_values(":holder", text(lease.holder.as_str()))
            .expression_attribute_values(":until", self.lease_end(lease.term));
        Ok(match self.conditional(OPERATION, update).await? {
            Conditional::Done(item) => ExportClaim::Held(Box::new(export(OPERATION, &item)?)),
            Conditional::ConditionFailed(item) => {
                let is_running = item.get("status") == Some(&text(ExportStatus::Running.as_str()));
                if is_running {
                    ExportClaim::Busy(self.lease_left(&item))
                } else {
                    ExportClaim::Ended
                }
            }
        })
    }

    /// Stores how far an export is, and extends the lease. `false`: the lease was lost, and nothing was stored.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn checkpoint_export(
        &self,
        lease: &ExportLease,
        status: ExportStatus,
        progress: &ExportProgress<ExportPosition>,
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "checkpoint export";
        let ExportProgress { table, position, records, gzip, rest, upload, parts, bytes } =
            progress;
        let mut expression = "SET #status = :status, leaseUntil = :until, updatedAt = :now, \
             tablesRead = :tables, records = :records, crc = :crc, plainBytes = :plain, \
             parts = :parts, #bytes = :bytes"
            .to_owned();
        let mut update = self
            .update_export(&lease.account, &lease.export)
            .condition_expression("#status = :running AND holder = :holder")
            .expression_attribute_names("#bytes", "bytes")
            .expression_attribute_values(":holder", text(lease.holder.as_str()))
            .expression_attribute_values(":status", text(status.as_str()))
            .expression_attribute_values(":until", self.lease_end(lease.term))
            .expression_attribute_values(":tables", number(*table))
            .expression_attribute_values(":records", number(*records))
            .expression_attribute_values(":crc", number(gzip.crc))
            .expression_attribute_values(":plain", number(gzip.length))
            .expression_attribute_values(":parts", texts(parts))
            .expression_attribute_values(":bytes", number(*bytes));
        if let Some(upload) = upload {
            expression.push_str(", upload = :upload");
            update = update.expression_attribute_values(":upload", text(upload.as_str()));
        }
        update = update.expression_attribute_names("#position", "position");
        if let Some(rest) = rest {
            expression.push_str(", rest = :rest");
            update = update.expression_attribute_values(":rest", text(rest.as_str()));
        }
        if let Some(ExportPosition(position)) = position {
            expression.push_str(", #position = :position");
            let position = AttributeValue::M(position.clone());
            update = update.expression_attribute_values(":position", position);
        }
        let gone = [
            (position.is_none(), "#position"),
            (rest.is_none(), "rest"),
            (upload.is_none(), "upload"),
        ];
        let gone: Vec<&str> =
            gone.into_iter().filter(|(is_gone, _)| *is_gone).map(|(_, name)| name).collect();
        if !gone.is_empty() {
            expression.push_str(" REMOVE ");
            expression.push_str(&gone.join(", "));
        }
        let update = update.update_expression(expression);
        Ok(match self.conditional(OPERATION, update).await? {
            Conditional::Done(_) => true,
            Conditional::ConditionFailed(item) => {
                // An attempt that succeeded, but whose answer was lost, was repeated.
                let is_ours = item.get("holder") == Some(&text(lease.holder.as_str()));
                is_ours && item.get("status") == Some(&text(status.as_str()))
            }
        })
    }

    /// A page of the records of a table, read consistently, each bundle as a record of its own; and where the next
    /// page begins.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn exported_records(
        &self,
        account: &AccountId,
        table: Kind,
        after: Option<ExportPosition>,
    ) -> Result<(Vec<ExportedRecord>, Option<ExportPosition>), StoreError> {
        const OPERATION: &str = "export";
        let start = after.map(|ExportPosition(start)| start);
        let (items, next) = self.items_of_kind(OPERATION, account, table, start).await?;
        let mut records = Vec::with_capacity(items.len());
        for item in items {
            records.extend(exported(OPERATION, self.place(table), item)?);
        }
        Ok((records, next.map(ExportPosition)))
    }
}
