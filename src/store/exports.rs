//! The table `Exports`: export jobs, and the records that they read.

use std::fmt::Display;

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder, types::AttributeValue,
};
use jiff::Timestamp;

use super::{
    Store, StoreError,
    expression::Expression,
    item::{EXPIRES_AT, Item, key_of, number, number_of, read, text, text_of, time_of, write},
    jobs::FREE,
    records::exported,
};
use crate::{
    account::AccountId,
    changes::{ExportedRecord, Kinds},
    exports::{
        ExportClaim, ExportId, ExportJob, ExportLease, ExportProgress, ExportStatus,
        GIVEN_UP_AFTER, GzipState,
    },
    imports::Kind,
};

/// The position in a table after which an export continues.
#[derive(Clone, Debug, Default)]
pub struct ExportPosition(Item);

fn key(account: &AccountId, export: &ExportId) -> Item {
    key_of(account, "exportId", text(export.as_str()))
}

fn texts<T: Display>(values: impl IntoIterator<Item = T>) -> AttributeValue {
    AttributeValue::L(values.into_iter().map(|value| text(value.to_string())).collect())
}

/// Parses the item of an export.
fn export(operation: &'static str, item: &Item) -> Result<ExportJob<ExportPosition>, StoreError> {
    let wrong = |name: &str| StoreError::unreadable(operation, format!("attribute {name}"));
    let string = |name| text_of(item, name).map(ToOwned::to_owned);
    let count = |name| number_of(item, name).unwrap_or(0_u64);
    let time = |name| time_of(item, name);
    let list = |name: &str| -> Option<Vec<&String>> {
        let values = item.get(name).and_then(|value| value.as_l().ok())?;
        values.iter().map(|value| value.as_s().ok()).collect()
    };
    let kinds: Option<Vec<Kind>> =
        list("kinds").and_then(|kinds| kinds.iter().map(|kind| Kind::parse(kind)).collect());
    let id = text_of(item, "exportId").and_then(ExportId::parse);
    let status = text_of(item, "status").and_then(ExportStatus::parse);
    let expires_at = number_of(item, EXPIRES_AT).and_then(|at| Timestamp::from_second(at).ok());
    Ok(ExportJob {
        id: id.ok_or_else(|| wrong("exportId"))?,
        status: status.ok_or_else(|| wrong("status"))?,
        kinds: Kinds::of(kinds.ok_or_else(|| wrong("kinds"))?),
        // A restriction that cannot be read must not count as none.
        view: read(operation, item.clone())?,
        changes_cursor: string("changesCursor").unwrap_or_default(),
        progress: ExportProgress {
            table: number_of(item, "tablesRead").unwrap_or(0),
            position: item
                .get("position")
                .and_then(|position| position.as_m().ok())
                .map(|position| ExportPosition(position.clone())),
            records: count("records"),
            gzip: GzipState {
                crc: number_of(item, "crc").unwrap_or(0),
                length: count("plainBytes"),
            },
            rest: string("rest"),
            upload: string("upload"),
            parts: list("parts").unwrap_or_default().into_iter().cloned().collect(),
            bytes: count("bytes"),
        },
        created_at: time("createdAt").ok_or_else(|| wrong("createdAt"))?,
        started_at: time("startedAt"),
        updated_at: time("updatedAt").ok_or_else(|| wrong("updatedAt"))?,
        expires_at: expires_at.ok_or_else(|| wrong(EXPIRES_AT))?,
    })
}

impl Store {
    /// Stores a new export; `false` if it is stored already: a request that is repeated changes nothing.
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
        item.extend(write(OPERATION, &job.view)?);
        let put = self
            .put_item(&self.tables.exports, item)
            .condition_expression("attribute_not_exists(exportId)");
        Ok(self.put(OPERATION, put).await?.is_ok())
    }

    /// Removes an export that no worker has begun.
    pub async fn withdraw_export(
        &self,
        account: &AccountId,
        id: &ExportId,
    ) -> Result<(), StoreError> {
        let delete = self
            .delete_item(&self.tables.exports, key(account, id))
            .condition_expression("#status = :waiting AND attribute_not_exists(startedAt)")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":waiting", text(ExportStatus::Waiting.as_str()));
        self.delete("withdraw export", delete).await.map(drop)
    }

    /// How many exports of an account have not ended, besides this one. Those that were given up count no more.
    pub async fn unfinished_exports(
        &self,
        account: &AccountId,
        besides: &ExportId,
    ) -> Result<usize, StoreError> {
        let alive = self.clock.now() - GIVEN_UP_AFTER;
        let query = self
            .query_of(account, &self.tables.exports, "account = :account")
            .filter_expression("#status IN (:waiting, :running) AND updatedAt >= :alive")
            .projection_expression("exportId")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":waiting", text(ExportStatus::Waiting.as_str()))
            .expression_attribute_values(":running", text(ExportStatus::Running.as_str()))
            .expression_attribute_values(":alive", number(alive.as_millisecond()));
        let unfinished = self.query_all("count exports", query).await?;
        let is_other = |item: &&Item| text_of(item, "exportId") != Some(besides.as_str());
        Ok(unfinished.iter().filter(is_other).count())
    }

    /// The state of an export that is still kept.
    pub async fn export_job(
        &self,
        account: &AccountId,
        id: &ExportId,
    ) -> Result<Option<ExportJob<ExportPosition>>, StoreError> {
        const OPERATION: &str = "get export";
        let item = self.get(OPERATION, &self.tables.exports, key(account, id), true).await?;
        let job = item.map(|item| export(OPERATION, &item)).transpose()?;
        // DynamoDB removes an item some time after it expires.
        Ok(job.filter(|job| job.expires_at > self.clock.now()))
    }

    fn update_export(&self, account: &AccountId, id: &ExportId) -> UpdateItemFluentBuilder {
        self.update_item(&self.tables.exports, key(account, id))
    }

    /// Claims an export.
    pub async fn claim_export(
        &self,
        lease: &ExportLease,
    ) -> Result<ExportClaim<ExportPosition>, StoreError> {
        const OPERATION: &str = "claim export";
        let mut expression = Expression::default();
        expression.set("status", text(ExportStatus::Running.as_str()));
        expression.set("holder", text(lease.holder.as_str()));
        expression.set("leaseUntil", self.lease_end(lease.term));
        expression.set("updatedAt", number(self.now_millis()));
        expression.set_to("startedAt", "if_not_exists(startedAt, :updatedAt)");
        expression.value("waiting", text(ExportStatus::Waiting.as_str()));
        let update = expression
            .update(self.update_export(&lease.account, &lease.export))
            .condition_expression(FREE);
        Ok(match self.update_or_stored(OPERATION, update).await? {
            Ok(item) => ExportClaim::Held(Box::new(export(OPERATION, &item)?)),
            Err(item) if item.get("status") == Some(&text(ExportStatus::Running.as_str())) => {
                ExportClaim::Busy(self.lease_left(&item))
            }
            Err(_) => ExportClaim::Ended,
        })
    }

    /// Stores how far an export is, and extends the lease. `false`: the lease was lost, and nothing was stored.
    pub async fn checkpoint_export(
        &self,
        lease: &ExportLease,
        status: ExportStatus,
        progress: &ExportProgress<ExportPosition>,
    ) -> Result<bool, StoreError> {
        let ExportProgress { table, position, records, gzip, rest, upload, parts, bytes } =
            progress;
        let mut expression = Expression::default();
        for (name, value) in [
            ("leaseUntil", self.lease_end(lease.term)),
            ("updatedAt", number(self.now_millis())),
            ("tablesRead", number(*table)),
            ("records", number(*records)),
            ("crc", number(gzip.crc)),
            ("plainBytes", number(gzip.length)),
            ("parts", texts(parts)),
            ("bytes", number(*bytes)),
        ] {
            expression.set(name, value);
        }
        let position = position.clone().map(|ExportPosition(position)| AttributeValue::M(position));
        expression.set_or_remove("position", position);
        expression.set_or_remove("rest", rest.as_ref().map(text));
        expression.set_or_remove("upload", upload.as_ref().map(text));
        let (holder, status) = (lease.holder.as_str(), status.as_str());
        let update = self.update_export(&lease.account, &lease.export);
        self.checkpointed("checkpoint export", update, expression, holder, status).await
    }

    /// A page of the records of a table, read consistently, each bundle as a record of its own; and where the next
    /// page begins.
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
