//! One row merged into what is stored, with one `UpdateItem` if the keys are as expected.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::types::ReturnValue;
use jiff::Timestamp;

use super::{
    CONFLICTS, Obstacle,
    item::{Attributes, Found, LAST, attribute, field_order, item_key, newest_order, range_key},
};
use crate::{
    account::AccountId,
    order::Order,
    products::{
        Applied, ExternalId, FIELDS, FieldUpdate, OrderedRow, ProductId, ProductKey, ProductRow,
        ProductWrites, RowError, Sku, WhenOlder,
    },
    retry::{Patience, jittered},
    store::{
        Store, StoreError,
        batch::KeyToRead,
        expression::Expression,
        item::{EXPIRES_AT, Item, ORDER, WRITER, number, order_value, text, writer_value},
    },
    text::rfc3339_millis,
};

impl Expression {
    /// Sets the fields of a row, with their orders. A row with all fields has one order for all of them.
    fn of(row: &ProductRow, order: Order) -> Self {
        let mut expression = Self::default();
        let has_all = row.changes().all(|(_, change)| change != FieldUpdate::Keep);
        expression.value("order", order_value(order));
        for (field, change) in row.changes() {
            match change {
                FieldUpdate::Keep => continue,
                FieldUpdate::Clear => expression.remove(field),
                FieldUpdate::Set(value) => expression.set(field, attribute(value)),
            }
            let own = field_order(field);
            if has_all { expression.remove(&own) } else { expression.set_to(&own, ":order") }
        }
        if has_all {
            expression.set_to(ORDER, ":order");
        }
        expression.add("revision", number(1));
        expression.remove(EXPIRES_AT);
        expression.name(ORDER);
        expression
    }

    /// Sets the fields that a product gets when the update creates it.
    fn created(&mut self, row: &ProductRow, created_at: Timestamp) {
        self.set_if_new("createdAt", text(rfc3339_millis(created_at)));
        for ((name, change), field) in row.changes().zip(FIELDS) {
            if let (FieldUpdate::Keep, Some(default)) = (change, field.default) {
                self.set_if_new(name, attribute(default));
            }
        }
    }

    /// Makes this write the newest one.
    fn newest_order(&mut self, order: Order) {
        self.set_to(LAST, ":order");
        self.set("updatedAt", text(rfc3339_millis(order.time())));
    }
}

/// The condition that nothing stored is newer than a write of this order. It also holds if the write is
/// repeated.
const IS_NEWEST: &str = "(attribute_not_exists(#last) OR #last <= :order) AND (attribute_not_exists(#at) OR #at <= :order)";

/// The result of a conditional update.
enum Updated {
    Done(Applied),
    /// The condition failed. Contains the stored item, if there is one.
    ConditionFailed(Option<Item>),
}

/// How often a row that always takes effect is written right after a newer write. Each repetition means that
/// another writer has succeeded, so all writers finish.
const MAX_OVERTAKEN: u32 = 32;

/// How much the longest wait before such a repetition grows each time; before the first there is none.
const OVERTAKEN_WAIT: Duration = Duration::from_millis(2);

/// A row, and how it is to be written.
#[derive(Clone, Copy)]
pub(super) struct Upsert<'a> {
    pub(super) account: &'a AccountId,
    pub(super) row: &'a ProductRow,
    pub(super) order: Order,
    pub(super) when_older: WhenOlder,
    pub(super) new_id: ProductId,
}

impl Upsert<'_> {
    /// Whether the row has an id besides a sku or an external id: the id must be unique, too.
    fn brings_id(&self) -> bool {
        self.row.id.is_some() && !matches!(self.row.key(), Some(ProductKey::Id(_)))
    }

    /// Whether the row is to be written right after the newest write. In a repeated request, a newer write normally came
    /// after the first attempt, which may have written the row before it: the row counts as written. If the newest
    /// write's time is ahead of the clock, it may have been stored before the first attempt; then the row is moved
    /// after it.
    pub(super) fn moves_after(&self, newest: Order, now: Timestamp) -> bool {
        match self.when_older {
            WhenOlder::MoveAfterNewest => true,
            WhenOlder::CountAsWritten => newest.time() > now,
            WhenOlder::KeepNewer => false,
        }
    }

    /// The result of a row whose every field has a newer write, in the product with this id.
    pub(super) fn nothing_remains(&self, id: ProductId) -> Result<Applied, RowError> {
        match self.when_older {
            WhenOlder::CountAsWritten => {
                Ok(Applied { id, created: id == self.new_id, order: self.order })
            }
            WhenOlder::MoveAfterNewest | WhenOlder::KeepNewer => Err(RowError::Stale),
        }
    }
}

impl ProductWrites for Store {
    async fn apply(&self, account: &AccountId, row: OrderedRow<'_>) -> Result<Applied, RowError> {
        let OrderedRow { row, mut order, when_older, new_id } = row;
        let (mut conflicts, mut overtaken) = (0, 0);
        loop {
            let upsert = Upsert { account, row, order, when_older, new_id };
            match self.upsert_product(upsert).await {
                Ok(applied) => return Ok(applied),
                Err(Obstacle::Row(error)) => return Err(error),
                Err(Obstacle::Newer(last)) if overtaken < MAX_OVERTAKEN => {
                    order = order.right_after(last);
                    tokio::time::sleep(jittered(OVERTAKEN_WAIT * overtaken)).await;
                    overtaken += 1;
                }
                Err(Obstacle::Newer(_)) => return Err(RowError::Unavailable),
                Err(Obstacle::Conflict) => {
                    conflicts += 1;
                    if !Patience::Attempts(CONFLICTS).wait(conflicts).await {
                        return Err(RowError::Unavailable);
                    }
                }
            }
        }
    }

    async fn linked_skus(
        &self,
        account: &AccountId,
        ids: &[ExternalId],
    ) -> Result<HashMap<ExternalId, Sku>, RowError> {
        let wanted = ids.iter().map(|id| KeyToRead {
            table: self.tables.products.clone(),
            key: item_key(account, &range_key(&ProductKey::ExternalId(id.clone()))),
            projection: Some("productKey, linkedTo".to_owned()),
        });
        let items = self
            // Consistently, because a link written a moment ago decides which rows belong to one product.
            .read_items("read links of external ids", wanted.collect())
            .await?;
        let attribute = |item: &Item, name: &str, prefix: &str| {
            Some(item.get(name)?.as_s().ok()?.strip_prefix(prefix)?.to_owned())
        };
        let links = items.iter().filter_map(|item| {
            let id = ExternalId::parse(&attribute(item, "productKey", "EXT#")?)?;
            Some((id, Sku::parse(&attribute(item, "linkedTo", "SKU#")?)?))
        });
        Ok(links.collect())
    }
}

impl Store {
    /// Merges a row with one update if the keys are as expected, with a second one if its external id is a link, and
    /// otherwise with a transaction.
    async fn upsert_product(&self, upsert: Upsert<'_>) -> Result<Applied, Obstacle> {
        let row = upsert.row;
        let found = row.key();
        let key = range_key(found.as_ref().unwrap_or(&ProductKey::Id(upsert.new_id)));
        let key_condition = match (&found, &row.external_id) {
            (Some(ProductKey::Sku(_)), FieldUpdate::Set(_)) => Some("#externalId = :externalId"),
            (Some(ProductKey::Sku(_)), FieldUpdate::Clear) => {
                Some("attribute_not_exists(externalId)")
            }
            (Some(ProductKey::ExternalId(_) | ProductKey::Id(_)), _) => {
                Some("attribute_not_exists(linkedTo)")
            }
            _ => None,
        };
        let there = match self.update_product(upsert, &key, key_condition).await? {
            Updated::Done(applied) => return Ok(applied),
            Updated::ConditionFailed(item) => item,
        };
        let link = there.as_ref().and_then(|item| item.get("linkedTo")?.as_s().ok());
        match (&found, link) {
            (Some(ProductKey::ExternalId(_)), Some(target)) if row.sku != FieldUpdate::Clear => {
                let link_condition = Some("#externalId = :externalId");
                match self.update_product(upsert, target, link_condition).await? {
                    Updated::Done(applied) => Ok(applied),
                    // The link changed in between.
                    Updated::ConditionFailed(_) => Err(Obstacle::Conflict),
                }
            }
            (Some(ProductKey::ExternalId(_) | ProductKey::Id(_)), Some(_))
            | (Some(ProductKey::Sku(_)), _)
                if key_condition.is_some() =>
            {
                self.rewrite(upsert, &key, there).await
            }
            // A row that has an id creates its product together with the link of the id.
            _ if upsert.brings_id() && row.name.is_some() => {
                self.rewrite(upsert, &key, there).await
            }
            // The only condition that remains is that the product exists.
            _ => Err(RowError::NameRequired.into()),
        }
    }

    async fn update_product(
        &self,
        upsert: Upsert<'_>,
        key: &str,
        condition: Option<&str>,
    ) -> Result<Updated, Obstacle> {
        let Upsert { row, order, new_id, .. } = upsert;
        let must_exist = row.name.is_none() || upsert.brings_id();
        let exists = must_exist.then_some("attribute_exists(id)");
        let conditions: Vec<&str> =
            condition.into_iter().chain(exists).chain([IS_NEWEST]).collect();
        let mut expression = Expression::of(row, order);
        expression.set_if_new("id", text(new_id.to_string()));
        if row.name.is_some() {
            expression.created(row, row.created_at.unwrap_or(order.time()));
        }
        expression.newest_order(order);
        let there = match self.send_update(upsert, key, expression, conditions).await? {
            Updated::ConditionFailed(Some(there)) => there,
            done => return Ok(done),
        };
        if let Some(applied) = applied_before(upsert, &there)? {
            return Ok(Updated::Done(applied));
        }
        match newest_order(&there).filter(|last| *last > order) {
            Some(last) if upsert.moves_after(last, self.clock.now()) => Err(Obstacle::Newer(last)),
            Some(_) => self.update_late(upsert, key, there).await,
            None => Ok(Updated::ConditionFailed(Some(there))),
        }
    }

    /// Sets those fields of a late row that no newer write has set. `last` does not change; `updatedAt` is set only if this
    /// creates the product again after a delete.
    async fn update_late(
        &self,
        upsert: Upsert<'_>,
        key: &str,
        there: Item,
    ) -> Result<Updated, Obstacle> {
        let found = Found::read("upsert product late", &there)?;
        let (orders, revision) = match &found {
            // A link: the caller resolves it.
            Found::Link(_) => return Ok(Updated::ConditionFailed(Some(there))),
            found => (found.orders(), found.revision()),
        };
        let late = orders.late(upsert.row, upsert.order);
        // The lookup key itself does not count as a change.
        let found_by = match key.split_once('#') {
            Some(("SKU", _)) => "sku",
            Some(("EXT", _)) => "externalId",
            _ => "",
        };
        let has_no_changes = late.fields().iter().all(|field| *field == found_by);
        let creates = match &found {
            Found::Product { stored, .. } => {
                if has_no_changes {
                    return Ok(Updated::Done(upsert.nothing_remains(stored.product.id)?));
                }
                let product = &stored.product;
                if late.sku.changes(&product.sku) || late.external_id.changes(&product.external_id)
                {
                    return Ok(Updated::ConditionFailed(Some(there)));
                }
                false
            }
            Found::Deleted { .. } if late.name.is_none() => {
                // The row is older than the delete, or it creates nothing.
                if upsert.row.name.is_some() || orders.floor > Some(upsert.order) {
                    return Ok(Updated::Done(upsert.nothing_remains(upsert.new_id)?));
                }
                return Err(RowError::NameRequired.into());
            }
            // A second key needs a transaction.
            Found::Deleted { .. }
                if upsert.brings_id()
                    || late.external_id.value().is_some() && found_by == "sku" =>
            {
                return Ok(Updated::ConditionFailed(Some(there)));
            }
            Found::Deleted { .. } => true,
            Found::Link(_) => false,
        };
        let mut expression = Expression::of(&late, upsert.order);
        if !expression.sets.iter().any(|set| set.starts_with("#at =")) {
            // `#at` is otherwise unused, and DynamoDB rejects unused names.
            expression.names.remove("#at");
        }
        expression.set_if_new("id", text(upsert.new_id.to_string()));
        if creates {
            expression.created(&late, upsert.row.created_at.unwrap_or(upsert.order.time()));
            expression.set("updatedAt", text(rfc3339_millis(upsert.order.time())));
        }
        let seen = if there.contains_key("revision") {
            expression.value("seen", number(revision));
            "revision = :seen"
        } else {
            "attribute_not_exists(revision)"
        };
        match self.send_update(upsert, key, expression, vec![seen]).await? {
            Updated::Done(applied) => Ok(Updated::Done(applied)),
            Updated::ConditionFailed(_) => Err(Obstacle::Conflict),
        }
    }

    async fn send_update(
        &self,
        upsert: Upsert<'_>,
        key: &str,
        mut expression: Expression,
        conditions: Vec<&str>,
    ) -> Result<Updated, Obstacle> {
        const OPERATION: &str = "upsert product";
        match self.writer.as_deref() {
            Some(writer) => expression.set(WRITER, writer_value(writer)),
            None => expression.remove(WRITER),
        }
        let request = expression
            .update(self.update_item(&self.tables.products, item_key(upsert.account, key)))
            .condition_expression(conditions.join(" AND "))
            .return_values(ReturnValue::UpdatedNew);
        let item = match self.update(OPERATION, Some(&self.account_limits.writes), request).await? {
            Ok(item) => item,
            Err(there) => return Ok(Updated::ConditionFailed(there)),
        };
        let attributes = Attributes { operation: OPERATION, item: &item };
        let id = attributes.required("id", attributes.parsed("id", ProductId::parse)?)?;
        // If the stored id is the row's new one, this row created the product, perhaps in an earlier attempt whose answer
        // was lost. But an id from an import may be that of an older product: then only revision 1 shows that it was
        // created now.
        let first = upsert.row.id.is_none() || attributes.whole("revision")? == Some(1);
        let created = id == upsert.new_id && first;
        Ok(Updated::Done(Applied { id, created, order: upsert.order }))
    }
}

/// The result of an earlier attempt of this row that succeeded although its answer was lost, if others have written
/// since; `None`: there was none. That attempt may have stored the row with a later time, so orders are compared without
/// their times.
fn applied_before(upsert: Upsert<'_>, there: &Item) -> Result<Option<Applied>, StoreError> {
    let Found::Product { stored, .. } = Found::read("upsert product", there)? else {
        return Ok(None);
    };
    let (orders, order) = (&stored.orders, upsert.order);
    let fields = upsert.row.fields();
    let is_ours =
        |stored: Option<&Order>| stored.is_some_and(|stored| stored.is_of_same_write(order));
    let is_stored = fields.iter().any(|field| is_ours(orders.own.get(field)))
        || is_ours(orders.floor.as_ref()) && fields.len() == FIELDS.len();
    let id = stored.product.id;
    let created = id == upsert.new_id;
    Ok((is_stored && orders.last > Some(order)).then_some(Applied { id, created, order }))
}
