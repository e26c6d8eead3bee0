//! The table `Products`: a product is stored under its first key; items under its other keys link to it.
//!
//! | `productKey` | |
//! |---|---|
//! | `SKU#<sku>` | a product with a sku |
//! | `EXT#<external id>` | a product with only an external id; or, with `linkedTo`, a link: the key of the product that has this external id besides its sku |
//! | `ID#<id>` | a product with neither; or, with `linkedTo`, a link: the key of the product that an import gave this id |
//!
//! So the table's primary key makes each key unique, and an upsert needs no lookup: one `UpdateItem` merges a
//! row or creates its product. Only if a product's keys change (a first external id, another one, a sku that
//! is added or removed) are its items read and rewritten, in one transaction on the condition that nothing
//! has changed in between (`revision`).
//!
//! # The order of writes, field by field
//! `last` is the order of the newest write; `@price` and so on the order of a field; `at` the order of every
//! field without one of its own and, after a delete, the order of the delete. A row newer than `last` is
//! newer than everything stored: this is the only condition of the usual update. A late row is decided with
//! the item that the failed condition returned. It sets the fields that no newer write has set, on the
//! condition that the `revision` is still the same. An item with neither `id` nor
//! `linkedTo` is a tombstone.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, Put, ReturnValue, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem,
};
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;

use super::{
    CAPACITY, Store, StoreError,
    batch::{CONCURRENT_BATCHES, Wanted},
    error::failed_condition,
    item::{EXPIRES_AT, Item, ORDER, expiry, order_of, order_value, text},
    ranges::Keys,
    units,
};
use crate::{
    account::AccountId,
    cost::{Costs, Read, ReadCost},
    money::Amount,
    order::Order,
    products::{
        Applied, Category, Change, ExternalId, FIELDS, Field, FieldOrders, OrderedRow, Page,
        Product, ProductDelete, ProductId, ProductKey, ProductLists, ProductLookup, ProductRemoval,
        ProductRow, ProductWrites, Removed, RowError, Scalar, Sku, StoredProduct,
    },
    retry::{Patience, jittered},
    text::rfc3339_millis,
};

const NEWEST: &str = "newest";
const BY_CATEGORY: &str = "byCategory";

/// The range key of a product's key.
fn range_key(product: &ProductKey) -> String {
    match product {
        ProductKey::Sku(sku) => format!("SKU#{}", sku.as_str()),
        ProductKey::ExternalId(id) => format!("EXT#{}", id.as_str()),
        ProductKey::Id(id) => format!("ID#{id}"),
    }
}

/// The range key under which a product is stored.
fn key_of(product: &Product) -> String {
    range_key(&product.key())
}

fn item_key(account: &AccountId, key: &str) -> Item {
    Item::from([
        ("account".to_owned(), text(account.as_str())),
        ("productKey".to_owned(), text(key)),
    ])
}

fn number<T: ToString + ?Sized>(value: &T) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// The attribute that contains the order of a product's newest write.
const LAST: &str = "last";

/// The order of an item's newest write. A tombstone has `last` only if that is newer than `at`.
fn newest_order(item: &Item) -> Option<Order> {
    order_of(item, LAST).max(order_of(item, ORDER))
}

/// The attribute that contains a field's own order.
fn field_order(field: &str) -> String {
    format!("@{field}")
}

/// What is stored under a key.
#[derive(Clone, Debug)]
enum Found {
    /// A product, and how often it was written.
    Product { stored: Box<StoredProduct>, revision: u64 },
    /// A link: the key of the product that has this external id or id.
    Link(String),
    /// A tombstone: the orders of a deleted product.
    Deleted { orders: FieldOrders, revision: u64 },
}

impl Found {
    fn read(operation: &'static str, item: &Item) -> Result<Self, StoreError> {
        if let Some(AttributeValue::S(key)) = item.get("linkedTo") {
            return Ok(Self::Link(key.clone()));
        }
        let attributes = Attributes { operation, item };
        let revision = attributes.whole("revision")?.unwrap_or_default();
        let orders = attributes.orders();
        if !item.contains_key("id") {
            return Ok(Self::Deleted { orders, revision });
        }
        let stored = Box::new(StoredProduct { product: attributes.product()?, orders });
        Ok(Self::Product { stored, revision })
    }

    fn orders(&self) -> FieldOrders {
        match self {
            Self::Product { stored, .. } => stored.orders.clone(),
            Self::Deleted { orders, .. } => orders.clone(),
            Self::Link(_) => FieldOrders::default(),
        }
    }

    fn leads_to(&self, key: &str) -> bool {
        matches!(self, Self::Link(target) if target == key)
    }

    fn revision(&self) -> u64 {
        match self {
            Self::Product { revision, .. } | Self::Deleted { revision, .. } => *revision,
            Self::Link(_) => 0,
        }
    }
}

/// The attributes of a stored product. They are read one by one, so that numbers keep their digits.
struct Attributes<'a> {
    operation: &'static str,
    item: &'a Item,
}

impl Attributes<'_> {
    fn wrong(&self, name: &str) -> StoreError {
        StoreError::unreadable(self.operation, format!("attribute {name}"))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.item.get(name)?.as_s().ok().map(String::as_str)
    }

    fn parsed<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let parsed = |text| parse(text).ok_or_else(|| self.wrong(name));
        self.text(name).map(parsed).transpose()
    }

    fn number(&self, name: &str) -> Result<Option<Amount>, StoreError> {
        let Some(AttributeValue::N(digits)) = self.item.get(name) else { return Ok(None) };
        Amount::parse(digits).map(Some).map_err(|_| self.wrong(name))
    }

    fn whole(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let whole = |number: Amount| number.whole().and_then(|whole| u64::try_from(whole).ok());
        let parsed = |number| whole(number).ok_or_else(|| self.wrong(name));
        self.number(name)?.map(parsed).transpose()
    }

    fn scalar(&self, name: &str) -> Result<Option<Scalar<'_>>, StoreError> {
        Ok(match self.item.get(name) {
            None => None,
            Some(AttributeValue::S(text)) => Some(Scalar::Text(text)),
            Some(AttributeValue::Bool(value)) => Some(Scalar::Boolean(*value)),
            Some(_) => Some(Scalar::Number(self.required(name, self.number(name)?)?)),
        })
    }

    fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, StoreError> {
        value.ok_or_else(|| self.wrong(name))
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        self.parsed(name, |text| text.parse().ok())
    }

    fn product(&self) -> Result<Product, StoreError> {
        let id = self.required("id", self.parsed("id", ProductId::parse)?)?;
        let created_at = self.required("createdAt", self.time("createdAt")?)?;
        let updated_at = self.required("updatedAt", self.time("updatedAt")?)?;
        let values = FIELDS.iter().map(|field| self.scalar(field.name));
        let values: Vec<_> = values.collect::<Result<_, _>>()?;
        Product::from_values(id, (created_at, updated_at), values.into_iter())
            .map_err(|name| self.wrong(name))
    }

    fn orders(&self) -> FieldOrders {
        let own = FIELDS.iter().filter_map(|Field { name, .. }| {
            Some((*name, order_of(self.item, &field_order(name))?))
        });
        FieldOrders {
            last: newest_order(self.item),
            floor: order_of(self.item, ORDER),
            own: own.collect(),
        }
    }
}

/// The item of a product, under its key.
fn product_item(account: &AccountId, stored: &StoredProduct, revision: u64) -> Item {
    let orders = &stored.orders;
    let product = &stored.product;
    let mut item = item_key(account, &key_of(product));
    let mut set = |name: &str, value: Option<AttributeValue>| {
        if let Some(value) = value {
            item.insert(name.to_owned(), value);
        }
    };
    set("id", Some(text(product.id.to_string())));
    for (name, value) in product.values() {
        set(name, value.map(attribute));
    }
    set("createdAt", Some(text(rfc3339_millis(product.created_at))));
    set("updatedAt", Some(text(rfc3339_millis(product.updated_at))));
    set(LAST, orders.last.map(order_value));
    set(ORDER, orders.floor.map(order_value));
    for (field, order) in &orders.own {
        set(&field_order(field), Some(order_value(*order)));
    }
    set("revision", Some(number(&revision)));
    item
}

fn attribute(value: Scalar<'_>) -> AttributeValue {
    match value {
        Scalar::Text(value) => text(value),
        Scalar::Number(value) => number(&value),
        Scalar::Boolean(value) => AttributeValue::Bool(value),
    }
}

/// The update expression of a row, with its names and values.
#[derive(Default)]
struct Expression {
    sets: Vec<String>,
    removes: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    /// Sets the fields of a row, with their orders. A row with all fields has one order for all of them.
    fn of(row: &ProductRow, order: Order) -> Self {
        let mut expression = Self::default();
        let has_all = row.changes().all(|(_, change)| change != Change::Keep);
        expression.values.insert(":order".to_owned(), order_value(order));
        for (field, change) in row.changes() {
            match change {
                Change::Keep => continue,
                Change::Clear => expression.remove(field),
                Change::Set(value) => expression.set(field, attribute(value)),
            }
            let (own, name) = (field_order(field), format!("#at_{field}"));
            if has_all {
                expression.removes.push(name.clone());
            } else {
                expression.sets.push(format!("{name} = :order"));
            }
            expression.names.insert(name, own);
        }
        if has_all {
            expression.set_order(ORDER);
        }
        expression.values.insert(":one".to_owned(), number(&1));
        expression.remove(EXPIRES_AT);
        expression.name(ORDER);
        expression
    }

    /// Sets the fields that a product gets when the update creates it.
    fn created(&mut self, row: &ProductRow, created_at: Timestamp) {
        self.set_if_new("createdAt", text(rfc3339_millis(created_at)));
        for ((name, change), field) in row.changes().zip(FIELDS) {
            if let (Change::Keep, Some(default)) = (change, field.default) {
                self.set_if_new(name, attribute(default));
            }
        }
    }

    /// Makes this write the newest one.
    fn newest_order(&mut self, order: Order) {
        self.set_order(LAST);
        self.set("updatedAt", text(rfc3339_millis(order.time())));
    }

    fn set_order(&mut self, name: &str) {
        self.sets.push(format!("#{name} = :order"));
        self.name(name);
    }

    fn name(&mut self, name: &str) {
        self.names.insert(format!("#{name}"), name.to_owned());
    }

    fn set(&mut self, name: &str, value: AttributeValue) {
        self.sets.push(format!("#{name} = :{name}"));
        self.name(name);
        self.values.insert(format!(":{name}"), value);
    }

    fn set_if_new(&mut self, name: &str, value: AttributeValue) {
        self.sets.push(format!("#{name} = if_not_exists(#{name}, :{name})"));
        self.name(name);
        self.values.insert(format!(":{name}"), value);
    }

    fn remove(&mut self, name: &str) {
        self.removes.push(format!("#{name}"));
        self.name(name);
    }

    fn text(&self) -> String {
        let mut text = format!("SET {} ADD revision :one", self.sets.join(", "));
        if !self.removes.is_empty() {
            text.push_str(" REMOVE ");
            text.push_str(&self.removes.join(", "));
        }
        text
    }
}

/// The condition that nothing stored is newer than a write of this order. It also holds if the write is
/// repeated.
const IS_NEWEST: &str = "(attribute_not_exists(#last) OR #last <= :order) AND (attribute_not_exists(#at) OR #at <= :order)";

/// The result of a conditional update.
enum Updated {
    Done(Applied),
    /// The condition did not hold; with the stored item.
    Otherwise(Option<Item>),
}

/// Why a row is not written yet.
enum Obstacle {
    /// It can never be written.
    Row(RowError),
    /// There was a concurrent writer: another attempt may succeed.
    Conflict,
    /// Something newer than a row that always takes effect is stored: the row must be written right after it.
    Newer(Order),
}

impl From<RowError> for Obstacle {
    fn from(error: RowError) -> Self {
        Self::Row(error)
    }
}

impl From<StoreError> for Obstacle {
    fn from(error: StoreError) -> Self {
        if error.is_condition_failed() {
            return Self::Conflict;
        }
        // The request has already been retried as long as allowed.
        Self::Row(if error.is_unavailable() {
            RowError::Unavailable
        } else {
            RowError::Failed { cause: error.to_string() }
        })
    }
}

impl Obstacle {
    /// The error for a caller that does not retry.
    fn into_row_error(self) -> RowError {
        match self {
            Self::Row(error) => error,
            Self::Conflict | Self::Newer(_) => RowError::Unavailable,
        }
    }
}

/// How often a row is written again because other writers changed the keys of its product.
const CONFLICTS: u32 = 8;

/// How often a row that always takes effect is written right after a newer write. Each repetition means that
/// another writer has succeeded, so all writers finish.
const MOST_OVERTAKEN: u32 = 32;

/// How much the longest wait before such a repetition grows each time; before the first there is none.
const OVERTAKEN_WAIT: Duration = Duration::from_millis(2);

/// A row, and how it is to be written.
#[derive(Clone, Copy)]
struct Upsert<'a> {
    account: &'a AccountId,
    row: &'a ProductRow,
    order: Order,
    always_counts: bool,
    new_id: ProductId,
}

impl Upsert<'_> {
    /// Whether the record brings an id besides another key: the id must be unique, too.
    fn brings_id(&self) -> bool {
        self.row.id.is_some() && !matches!(self.row.key(), Some(ProductKey::Id(_)))
    }
}

impl ProductWrites for Store {
    async fn apply(
        &self,
        account: &AccountId,
        row: OrderedRow<'_>,
        costs: &mut Costs,
    ) -> Result<Applied, RowError> {
        let OrderedRow { row, mut order, always_counts, new_id } = row;
        let (mut conflicts, mut overtaken) = (0, 0);
        loop {
            let upsert = Upsert { account, row, order, always_counts, new_id };
            match self.upsert_product(upsert, costs).await {
                Ok(applied) => return Ok(applied),
                Err(Obstacle::Row(error)) => return Err(error),
                Err(Obstacle::Newer(last)) if overtaken < MOST_OVERTAKEN => {
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
        cost: &mut ReadCost,
    ) -> Result<HashMap<ExternalId, Sku>, RowError> {
        const OPERATION: &str = "read links of external ids";
        let wanted = ids.iter().map(|id| Wanted {
            table: self.tables.products.clone(),
            key: item_key(account, &range_key(&ProductKey::ExternalId(id.clone()))),
            projection: Some("productKey, linkedTo".to_owned()),
        });
        let (items, read_units) = self
            // Consistently, because a link written a moment ago decides which rows belong to one product.
            .read_items(OPERATION, wanted.collect())
            .await
            .map_err(|error| Obstacle::from(error).into_row_error())?;
        cost.add(read_units);
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
    /// Merges a row with one update if the keys are as expected, and otherwise with a transaction.
    async fn upsert_product(
        &self,
        upsert: Upsert<'_>,
        costs: &mut Costs,
    ) -> Result<Applied, Obstacle> {
        let row = upsert.row;
        let found = row.key();
        let key = range_key(found.as_ref().unwrap_or(&ProductKey::Id(upsert.new_id)));
        let keys_as_they_should_be = match (&found, &row.external_id) {
            (Some(ProductKey::Sku(_)), Change::Set(_)) => Some("#externalId = :externalId"),
            (Some(ProductKey::Sku(_)), Change::Clear) => Some("attribute_not_exists(externalId)"),
            (Some(ProductKey::ExternalId(_) | ProductKey::Id(_)), _) => {
                Some("attribute_not_exists(linkedTo)")
            }
            _ => None,
        };
        let there = match self.update(upsert, &key, keys_as_they_should_be, costs).await? {
            Updated::Done(applied) => return Ok(applied),
            Updated::Otherwise(item) => item,
        };
        let link = there.as_ref().and_then(|item| item.get("linkedTo")?.as_s().ok());
        match (&found, link) {
            (Some(ProductKey::ExternalId(_)), Some(target)) if row.sku != Change::Clear => {
                let still = Some("#externalId = :externalId");
                match self.update(upsert, target, still, costs).await? {
                    Updated::Done(applied) => Ok(applied),
                    // The link changed in between.
                    Updated::Otherwise(_) => Err(Obstacle::Conflict),
                }
            }
            (Some(ProductKey::ExternalId(_) | ProductKey::Id(_)), Some(_))
            | (Some(ProductKey::Sku(_)), _)
                if keys_as_they_should_be.is_some() =>
            {
                self.rewrite(upsert, &key, there, costs).await
            }
            // A record that brings an id creates its product together with the item of the id.
            _ if upsert.brings_id() && row.name.is_some() => {
                self.rewrite(upsert, &key, there, costs).await
            }
            // The only condition that remains is that the product exists.
            _ => Err(RowError::NameRequired.into()),
        }
    }

    async fn update(
        &self,
        upsert: Upsert<'_>,
        key: &str,
        condition: Option<&str>,
        costs: &mut Costs,
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
        if key.starts_with("SKU#") && row.sku == Change::Keep {
            // The product was found by a link: only the condition uses the name of the external id.
            expression.name("externalId");
        }
        let there = match self.send_update(upsert, key, expression, conditions, costs).await? {
            Updated::Otherwise(Some(there)) => there,
            done => return Ok(done),
        };
        if let Some(applied) = applied_before(upsert, &there)? {
            return Ok(Updated::Done(applied));
        }
        match newest_order(&there).filter(|last| *last > order) {
            Some(last) if upsert.always_counts => Err(Obstacle::Newer(last)),
            Some(_) => self.update_late(upsert, key, there, costs).await,
            None => Ok(Updated::Otherwise(Some(there))),
        }
    }

    /// Sets those fields of a late row that no newer write has set. `last` and `updatedAt` do not change.
    async fn update_late(
        &self,
        upsert: Upsert<'_>,
        key: &str,
        there: Item,
        costs: &mut Costs,
    ) -> Result<Updated, Obstacle> {
        const OPERATION: &str = "upsert product late";
        let found = Found::read(OPERATION, &there)?;
        let (orders, revision) = match &found {
            // The keys are checked first.
            Found::Link(_) => return Ok(Updated::Otherwise(Some(there))),
            found => (found.orders(), found.revision()),
        };
        let late = orders.late(upsert.row, upsert.order);
        // The key by which the product was found changes nothing.
        let found_by = match key.split_once('#') {
            Some(("SKU", _)) => "sku",
            Some(("EXT", _)) => "externalId",
            _ => "",
        };
        let says_nothing = late.fields().iter().all(|field| *field == found_by);
        let creates = match &found {
            Found::Product { stored, .. } => {
                if says_nothing {
                    return Err(RowError::Stale.into());
                }
                let product = &stored.product;
                let other_sku = match &late.sku {
                    Change::Keep => false,
                    Change::Clear => product.sku.is_some(),
                    Change::Set(sku) => product.sku.as_ref() != Some(sku),
                };
                let other_external_id = match &late.external_id {
                    Change::Keep => false,
                    Change::Clear => product.external_id.is_some(),
                    Change::Set(id) => product.external_id.as_ref() != Some(id),
                };
                if other_sku || other_external_id {
                    return Ok(Updated::Otherwise(Some(there)));
                }
                false
            }
            Found::Deleted { .. } if late.name.is_none() => {
                // The row is older than the delete, or it creates nothing.
                let error = if upsert.row.name.is_some() || orders.floor > Some(upsert.order) {
                    RowError::Stale
                } else {
                    RowError::NameRequired
                };
                return Err(error.into());
            }
            // A second key needs a transaction.
            Found::Deleted { .. }
                if upsert.brings_id()
                    || late.external_id.value().is_some() && found_by == "sku" =>
            {
                return Ok(Updated::Otherwise(Some(there)));
            }
            Found::Deleted { .. } => true,
            Found::Link(_) => false,
        };
        let mut expression = Expression::of(&late, upsert.order);
        if !expression.sets.iter().any(|set| set.starts_with("#at =")) {
            // Only the condition of the usual update uses this name.
            expression.names.remove("#at");
        }
        expression.set_if_new("id", text(upsert.new_id.to_string()));
        if creates {
            expression.created(&late, upsert.row.created_at.unwrap_or(upsert.order.time()));
            expression.set("updatedAt", text(rfc3339_millis(upsert.order.time())));
        }
        let seen = if there.contains_key("revision") {
            expression.values.insert(":seen".to_owned(), number(&revision));
            "revision = :seen"
        } else {
            "attribute_not_exists(revision)"
        };
        match self.send_update(upsert, key, expression, vec![seen], costs).await? {
            Updated::Done(applied) => Ok(Updated::Done(applied)),
            Updated::Otherwise(_) => Err(Obstacle::Conflict),
        }
    }

    async fn send_update(
        &self,
        upsert: Upsert<'_>,
        key: &str,
        expression: Expression,
        conditions: Vec<&str>,
        costs: &mut Costs,
    ) -> Result<Updated, Obstacle> {
        const OPERATION: &str = "upsert product";
        let update = expression.text();
        let request = self
            .client
            .update_item()
            .table_name(&self.tables.products)
            .set_key(Some(item_key(upsert.account, key)))
            .update_expression(update)
            .condition_expression(conditions.join(" AND "))
            .set_expression_attribute_names(Some(expression.names))
            .set_expression_attribute_values(Some(expression.values))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(CAPACITY);
        let outcome = self.attempt(OPERATION, Some(&self.writes), || request.clone().send()).await;
        let reply = match outcome {
            Ok(reply) => reply,
            Err(error) => {
                let there = failed_condition(OPERATION, error)?;
                // A failed condition consumes as much as the write would have, one unit per KB; but the error
                // does not say how much that is.
                costs.writes.add(1.0);
                return Ok(Updated::Otherwise(there));
            }
        };
        costs.writes.add(units(reply.consumed_capacity()));
        let item = reply.attributes.unwrap_or_default();
        let attributes = Attributes { operation: OPERATION, item: &item };
        let id = attributes.required("id", attributes.parsed("id", ProductId::parse)?)?;
        // An attempt that succeeded, and whose answer was lost, may have created the product before this one.
        // Only an id that an import brings may belong to an older product.
        let first = upsert.row.id.is_none() || attributes.whole("revision")? == Some(1);
        let created = id == upsert.new_id && first;
        Ok(Updated::Done(Applied { id, created, order: upsert.order }))
    }

    /// What is stored under a key, read consistently.
    async fn find(
        &self,
        account: &AccountId,
        key: &str,
    ) -> Result<(Option<Found>, f64), StoreError> {
        const OPERATION: &str = "read product";
        let request = self
            .client
            .get_item()
            .table_name(&self.tables.products)
            .set_key(Some(item_key(account, key)))
            .consistent_read(true)
            .return_consumed_capacity(CAPACITY);
        let reply = self.get(OPERATION, request).await?;
        let read_units = units(reply.consumed_capacity());
        let found = reply.item.map(|item| Found::read(OPERATION, &item)).transpose()?;
        Ok((found, read_units))
    }

    /// Adds what is stored under these keys, and under the keys that links lead to.
    async fn see(
        &self,
        account: &AccountId,
        keys: impl IntoIterator<Item = String>,
        seen: &mut Seen,
        costs: &mut Costs,
    ) -> Result<(), StoreError> {
        let mut wanted: BTreeSet<String> = keys.into_iter().collect();
        loop {
            wanted.extend(seen.values().filter_map(|found| match found {
                Some(Found::Link(target)) => Some(target.clone()),
                _ => None,
            }));
            wanted.retain(|key| !seen.contains_key(key));
            if wanted.is_empty() {
                return Ok(());
            }
            let found = futures_util::future::try_join_all(
                wanted.iter().map(|key| self.find(account, key)),
            );
            for (key, (found, read_units)) in wanted.iter().zip(found.await?) {
                costs.reads.add(read_units);
                seen.insert(key.clone(), found);
            }
        }
    }

    /// Merges a row that changes the keys of its product, or creates a product with several keys. `there` is
    /// what was found under the row's first key.
    async fn rewrite(
        &self,
        upsert: Upsert<'_>,
        key: &str,
        there: Option<Item>,
        costs: &mut Costs,
    ) -> Result<Applied, Obstacle> {
        let Upsert { account, row, order, .. } = upsert;
        let there = there.map(|item| Found::read(REWRITE, &item)).transpose()?;
        let mut seen = Seen::from([(key.to_owned(), there)]);
        let keys = RowKeys::of(row);
        self.see(account, keys.all(), &mut seen, costs).await?;
        let matched = keys.matched(row, order, &seen)?;
        if let Some(StoredProduct { product, .. }) = matched.as_ref().map(|at| &*at.stored) {
            // If an import gave the product its id, the item of the id is a link to it.
            let id_key = range_key(&ProductKey::Id(product.id));
            self.see(account, [id_key], &mut seen, costs).await?;
        }

        let deleted = |key: &str| match seen.get(key) {
            Some(Some(found @ Found::Deleted { .. })) => Some(found.orders()),
            _ => None,
        };
        let before = if let Some(at) = &matched {
            at.stored.orders.clone()
        } else {
            // A delete by any of its keys counts.
            let mut before = FieldOrders::default();
            for orders in keys.all().filter_map(|key| deleted(&key)) {
                before.floor = before.floor.max(orders.floor);
                before.last = before.last.max(orders.last);
            }
            before
        };
        if let Some(last) = before.last.filter(|_| upsert.always_counts && !before.admits(order)) {
            return Err(Obstacle::Newer(last));
        }
        let late = before.late(row, order);
        let mut orders = before.clone();
        orders.note(&late, order);
        let product = if let Some(at) = &matched {
            let mut product = at.stored.product.clone();
            product.merge(&late);
            if product == at.stored.product && !before.admits(order) {
                return Err(RowError::Stale.into());
            }
            if before.admits(order) {
                product.updated_at = order.time();
            }
            product
        } else if row.name.is_some() && late.name.is_none() {
            return Err(RowError::Stale.into());
        } else {
            let id = keys.free_id(row, &seen).unwrap_or(upsert.new_id);
            Product::created(&late, id, order.time()).ok_or(RowError::NameRequired)?
        };
        let after = StoredProduct { product, orders };

        let mut writes = Rewrite::new(self, account, &seen);
        let new_key = key_of(&after.product);
        let revision =
            |key: &str| seen.get(key).and_then(Option::as_ref).map_or(0, Found::revision);
        let mut next = revision(&new_key) + 1;
        let links = links_of(&after.product, row.id, &seen);
        if let Some(at) = &matched {
            next = next.max(at.revision + 1);
            let old_links = links_of(&at.stored.product, None, &seen);
            for link in old_links.iter().filter(|link| !links.contains(link) && **link != new_key) {
                writes.unlink(link, &at.key)?;
            }
            if at.key != new_key && !links.contains(&at.key) {
                writes.delete(&at.key)?;
            }
        }
        writes.put(&new_key, product_item(account, &after, next))?;
        for link in links {
            let mut item = item_key(account, &link);
            item.insert("linkedTo".to_owned(), text(new_key.as_str()));
            writes.put(&link, item)?;
        }
        writes.commit(REWRITE, costs).await?;
        Ok(Applied { id: after.product.id, created: matched.is_none(), order })
    }
}

/// Whether an earlier attempt of this row succeeded, its answer was lost, and others have written since.
fn applied_before(upsert: Upsert<'_>, there: &Item) -> Result<Option<Applied>, StoreError> {
    let Found::Product { stored, .. } = Found::read("upsert product", there)? else {
        return Ok(None);
    };
    let (orders, order) = (&stored.orders, upsert.order);
    let fields = upsert.row.fields();
    let is_stored = fields.iter().any(|field| orders.own.get(field) == Some(&order))
        || orders.floor == Some(order) && fields.len() == FIELDS.len();
    let id = stored.product.id;
    let created = id == upsert.new_id;
    Ok((is_stored && orders.last > Some(order)).then_some(Applied { id, created, order }))
}

/// What was found under each key.
type Seen = BTreeMap<String, Option<Found>>;

/// A product, and the key under which it was found.
struct At {
    key: String,
    stored: Box<StoredProduct>,
    revision: u64,
}

fn product_at(seen: &Seen, key: &str) -> Option<At> {
    match seen.get(key) {
        Some(Some(Found::Product { stored, revision })) => {
            Some(At { key: key.to_owned(), stored: stored.clone(), revision: *revision })
        }
        _ => None,
    }
}

/// The keys of the links to a product: of its external id, if it has a sku, too; and of its id, if an import
/// brings it or has brought it.
fn links_of(product: &Product, brought: Option<ProductId>, seen: &Seen) -> Vec<String> {
    let key = key_of(product);
    let external_id = product.external_id.clone().filter(|_| product.sku.is_some());
    let external_id = external_id.map(|id| range_key(&ProductKey::ExternalId(id)));
    let id_key = range_key(&ProductKey::Id(product.id));
    let known = matches!(seen.get(&id_key), Some(Some(Found::Link(_) | Found::Product { .. })));
    let id = (brought == Some(product.id) || known).then_some(id_key);
    external_id.into_iter().chain(id).filter(|link| *link != key).collect()
}

/// The keys of a row.
struct RowKeys {
    sku: Option<String>,
    external_id: Option<String>,
    id: Option<String>,
}

impl RowKeys {
    fn of(row: &ProductRow) -> Self {
        Self {
            sku: row.sku.value().map(|sku| range_key(&ProductKey::Sku(sku.clone()))),
            external_id: row
                .external_id
                .value()
                .map(|id| range_key(&ProductKey::ExternalId(id.clone()))),
            id: row.id.map(|id| range_key(&ProductKey::Id(id))),
        }
    }

    fn all(&self) -> impl Iterator<Item = String> + use<> {
        let Self { sku, external_id, id } = self;
        sku.clone().into_iter().chain(external_id.clone()).chain(id.clone())
    }

    /// The product that a row is about.
    fn matched(&self, row: &ProductRow, order: Order, seen: &Seen) -> Result<Option<At>, Obstacle> {
        let by_sku = self.sku.as_deref().and_then(|key| product_at(seen, key));
        // If a newer write has set the external id, the row's own does not count.
        let wants_external_id = by_sku.as_ref().is_none_or(|at| {
            at.stored.orders.late(row, order).external_id.value().is_some()
                || at.stored.orders.admits(order)
        });
        let external_id = row.external_id.value().filter(|_| wants_external_id);
        let slot = self.external_id.as_ref().filter(|_| external_id.is_some());
        let slot = slot.and_then(|key| Some((key, seen.get(key)?.as_ref()?)));
        let owner = match slot {
            Some((key, Found::Product { .. })) => product_at(seen, key),
            Some((_, Found::Link(target))) => {
                // The product that a link leads to must have the external id. Otherwise the product moved
                // between the two reads. To treat the link as one that leads nowhere could create the
                // external id a second time, in case the product has moved back in between.
                let owner = product_at(seen, target)
                    .filter(|at| at.stored.product.external_id.as_ref() == external_id);
                Some(owner.ok_or(Obstacle::Conflict)?)
            }
            _ => None,
        };
        let taken = |at: At| Err(RowError::ExternalIdTaken { by: at.stored.product.key() }.into());
        let matched = match (&self.sku, by_sku, owner) {
            (Some(_), Some(by_sku), Some(owner)) if owner.key != by_sku.key => return taken(owner),
            (Some(_), Some(by_sku), _) => Some(by_sku),
            // A product without a sku gets the row's.
            (Some(_), None, Some(owner)) if owner.stored.product.sku.is_some() => {
                return taken(owner);
            }
            (_, _, owner) => owner,
        };
        Ok(matched.or_else(|| self.by_id(row, seen)))
    }

    /// The product with a row's id, if the row has no other key, or the product has none.
    fn by_id(&self, row: &ProductRow, seen: &Seen) -> Option<At> {
        let key = self.id.as_ref()?;
        match seen.get(key)?.as_ref()? {
            Found::Product { .. } => product_at(seen, key),
            Found::Link(target) if self.sku.is_none() && self.external_id.is_none() => {
                product_at(seen, target).filter(|at| Some(at.stored.product.id) == row.id)
            }
            Found::Link(_) | Found::Deleted { .. } => None,
        }
    }

    /// The id that a row brings, if no product has it.
    fn free_id(&self, row: &ProductRow, seen: &Seen) -> Option<ProductId> {
        let id = row.id?;
        let is_taken = match seen.get(self.id.as_ref()?).and_then(Option::as_ref) {
            Some(Found::Product { .. }) => true,
            Some(Found::Link(target)) => {
                product_at(seen, target).is_some_and(|at| at.stored.product.id == id)
            }
            Some(Found::Deleted { .. }) | None => false,
        };
        (!is_taken).then_some(id)
    }
}

/// The writes of a transaction, one per key, each on the condition that its key is unchanged since it was
/// read.
struct Rewrite<'a> {
    store: &'a Store,
    account: &'a AccountId,
    seen: &'a Seen,
    items: BTreeMap<String, TransactWriteItem>,
}

const REWRITE: &str = "rewrite product";

/// A condition and its values.
struct Guard {
    condition: &'static str,
    values: Vec<(&'static str, AttributeValue)>,
}

impl Guard {
    fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        let values = self.values.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        (!self.values.is_empty()).then(|| values.collect())
    }
}

impl<'a> Rewrite<'a> {
    fn new(store: &'a Store, account: &'a AccountId, seen: &'a Seen) -> Self {
        Self { store, account, seen, items: BTreeMap::new() }
    }

    async fn commit(self, operation: &'static str, costs: &mut Costs) -> Result<(), Obstacle> {
        let items = self.items.into_values().collect();
        costs.writes.add(self.store.transact(operation, items).await?);
        Ok(())
    }

    /// The condition that a key is unchanged since it was read.
    fn guard(&self, key: &str) -> Guard {
        match self.seen.get(key) {
            Some(Some(Found::Product { stored, revision })) => {
                // Another product may have got the same key in between.
                let id = text(stored.product.id.to_string());
                let values = vec![(":seen", number(revision)), (":id", id)];
                Guard { condition: "revision = :seen AND id = :id", values }
            }
            Some(Some(Found::Link(target))) => {
                let values = vec![(":seen", text(target.as_str()))];
                Guard { condition: "linkedTo = :seen", values }
            }
            Some(Some(Found::Deleted { revision, .. })) => Guard {
                condition: "revision = :seen AND attribute_not_exists(id)",
                values: vec![(":seen", number(revision))],
            },
            Some(None) | None => {
                Guard { condition: "attribute_not_exists(productKey)", values: Vec::new() }
            }
        }
    }

    fn put(&mut self, key: &str, item: Item) -> Result<(), StoreError> {
        let guard = self.guard(key);
        let put = Put::builder()
            .table_name(&self.store.tables.products)
            .set_item(Some(item))
            .condition_expression(guard.condition)
            .set_expression_attribute_values(guard.values())
            .build()
            .map_err(|error| StoreError::unbuildable(REWRITE, error))?;
        self.items.insert(key.to_owned(), TransactWriteItem::builder().put(put).build());
        Ok(())
    }

    fn delete(&mut self, key: &str) -> Result<(), StoreError> {
        self.delete_on(key, &self.guard(key))
    }

    /// Removes a link, which may not have been read, if it leads to this product.
    fn unlink(&mut self, key: &str, target: &str) -> Result<(), StoreError> {
        let guard = Guard {
            condition: "attribute_not_exists(productKey) OR linkedTo = :target",
            values: vec![(":target", text(target))],
        };
        self.delete_on(key, &guard)
    }

    fn delete_on(&mut self, key: &str, guard: &Guard) -> Result<(), StoreError> {
        let delete = Delete::builder()
            .table_name(&self.store.tables.products)
            .set_key(Some(item_key(self.account, key)))
            .condition_expression(guard.condition)
            .set_expression_attribute_values(guard.values())
            .build()
            .map_err(|error| StoreError::unbuildable(REWRITE, error))?;
        self.items.insert(key.to_owned(), TransactWriteItem::builder().delete(delete).build());
        Ok(())
    }

    /// Replaces a product by a tombstone.
    fn remember(
        &mut self,
        key: &str,
        order: Order,
        last: Option<Order>,
        revision: u64,
    ) -> Result<(), StoreError> {
        let mut item = item_key(self.account, key);
        item.insert(ORDER.to_owned(), order_value(order));
        item.extend(
            last.filter(|last| *last > order).map(|last| (LAST.to_owned(), order_value(last))),
        );
        item.insert("revision".to_owned(), number(&revision));
        item.insert(EXPIRES_AT.to_owned(), expiry(self.store.clock()));
        self.put(key, item)
    }
}

impl ProductLookup for Store {
    type Error = StoreError;

    async fn by_sku(
        &self,
        account: &AccountId,
        sku: &Sku,
    ) -> Result<Read<Option<Product>>, StoreError> {
        const OPERATION: &str = "get product";
        let request = self
            .client
            .get_item()
            .table_name(&self.tables.products)
            .set_key(Some(item_key(account, &range_key(&ProductKey::Sku(sku.clone())))))
            .consistent_read(true)
            .return_consumed_capacity(CAPACITY);
        let reply = self.get(OPERATION, request).await?;
        let read_units = units(reply.consumed_capacity());
        // A tombstone has no id.
        let item = reply.item.as_ref().filter(|item| item.contains_key("id"));
        let product = item.map(|item| Attributes { operation: OPERATION, item }.product());
        Ok(Read { value: product.transpose()?, read_units })
    }
}

impl ProductLists for Store {
    type Error = StoreError;

    async fn newest(
        &self,
        account: &AccountId,
        category: Option<&Category>,
        before: Option<ProductId>,
        limit: Option<u32>,
    ) -> Result<Page, StoreError> {
        const OPERATION: &str = "list products";
        let mut condition = "account = :account".to_owned();
        let mut query = self
            .client
            .query()
            .table_name(&self.tables.products)
            .index_name(if category.is_some() { BY_CATEGORY } else { NEWEST })
            .expression_attribute_values(":account", text(account.as_str()));
        if let Some(category) = category {
            condition.push_str(" AND category = :category");
            query = query.expression_attribute_values(":category", text(category.as_str()));
        }
        if let Some(before) = before {
            condition.push_str(" AND id < :before");
            query = query.expression_attribute_values(":before", text(before.to_string()));
        }
        let query = query
            .key_condition_expression(condition)
            .scan_index_forward(false)
            .set_limit(limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)))
            .return_consumed_capacity(CAPACITY);
        let reply = self.send(OPERATION, || query.clone().send()).await?;
        let read_units = units(reply.consumed_capacity());
        let more = reply.last_evaluated_key.is_some();
        let items = reply.items.unwrap_or_default();
        let products = items.iter().map(|item| Attributes { operation: OPERATION, item }.product());
        Ok(Page { products: products.collect::<Result<_, _>>()?, more, read_units })
    }
}

impl ProductDelete for Store {
    type Error = StoreError;

    async fn stored_products(
        &self,
        account: &AccountId,
        wanted: &[ProductKey],
    ) -> Result<(HashMap<ProductKey, StoredProduct>, f64), StoreError> {
        const OPERATION: &str = "read stored products";
        let (found, mut read_units) =
            self.found(OPERATION, account, wanted.iter().map(range_key).collect()).await?;
        let linked: HashSet<String> = found
            .values()
            .filter_map(|found| match found {
                Found::Link(target) => Some(target.clone()),
                Found::Product { .. } | Found::Deleted { .. } => None,
            })
            .filter(|target| !found.contains_key(target))
            .collect();
        let (targets, more_units) =
            self.found(OPERATION, account, linked.into_iter().collect()).await?;
        read_units += more_units;
        let product = |key: &str| match found.get(key).or_else(|| targets.get(key))? {
            Found::Product { stored, .. } => Some((**stored).clone()),
            Found::Link(_) | Found::Deleted { .. } => None,
        };
        let mut products = HashMap::with_capacity(found.len());
        for wanted in wanted {
            let key = range_key(wanted);
            let stored = match (found.get(&key), wanted) {
                (Some(Found::Link(target)), ProductKey::ExternalId(id)) => {
                    product(target).filter(|stored| stored.product.external_id.as_ref() == Some(id))
                }
                (Some(Found::Link(target)), ProductKey::Id(id)) => {
                    product(target).filter(|stored| stored.product.id == *id)
                }
                (Some(Found::Product { .. }), _) => product(&key),
                _ => None,
            };
            if let Some(stored) = stored {
                products.insert(wanted.clone(), stored);
            }
        }
        Ok((products, read_units))
    }

    async fn delete_product(
        &self,
        account: &AccountId,
        product: &ProductKey,
        removal: ProductRemoval,
        costs: &mut Costs,
    ) -> Result<Removed, RowError> {
        let mut conflicts = 0;
        loop {
            match self.remove_product(account, product, removal, costs).await {
                Ok(removed) => return Ok(removed),
                Err(Obstacle::Row(error)) => return Err(error),
                Err(Obstacle::Conflict | Obstacle::Newer(_)) => {
                    conflicts += 1;
                    if !Patience::Attempts(CONFLICTS).wait(conflicts).await {
                        return Err(RowError::Unavailable);
                    }
                }
            }
        }
    }

    async fn keys_of_ids(
        &self,
        account: &AccountId,
        ids: &[ProductId],
    ) -> Result<(HashMap<ProductId, ProductKey>, f64), StoreError> {
        const OPERATION: &str = "find products by id";
        let mut replies = stream::iter(ids.iter().copied())
            .map(|id| async move {
                let query = self
                    .client
                    .query()
                    .table_name(&self.tables.products)
                    .index_name(NEWEST)
                    .key_condition_expression("account = :account AND id = :id")
                    .expression_attribute_values(":account", text(account.as_str()))
                    .expression_attribute_values(":id", text(id.to_string()))
                    .return_consumed_capacity(CAPACITY);
                let reply = self.send(OPERATION, || query.clone().send()).await?;
                let read_units = units(reply.consumed_capacity());
                let item = reply.items.unwrap_or_default().into_iter().next();
                let product =
                    item.map(|item| Attributes { operation: OPERATION, item: &item }.product());
                Ok::<_, StoreError>((id, product.transpose()?, read_units))
            })
            .buffer_unordered(CONCURRENT_BATCHES);
        let (mut keys, mut read_units) = (HashMap::new(), 0.0);
        while let Some(reply) = replies.next().await {
            let (id, product, units) = reply?;
            read_units += units;
            if let Some(product) = product {
                keys.insert(id, product.key());
            }
        }
        Ok((keys, read_units))
    }
}

impl Store {
    async fn found(
        &self,
        operation: &'static str,
        account: &AccountId,
        keys: Vec<String>,
    ) -> Result<(HashMap<String, Found>, f64), StoreError> {
        let (table, range_key) = (self.tables.products.as_str(), "productKey");
        let wanted = Keys { table, account, range_key, names: keys, projection: None };
        let (items, read_units) = self.read_keys(operation, wanted).await?;
        let mut found = HashMap::with_capacity(items.len());
        for item in &items {
            let key = item.get("productKey").and_then(|key| key.as_s().ok());
            let key = key.ok_or_else(|| StoreError::unreadable(operation, "no productKey"))?;
            found.insert(key.clone(), Found::read(operation, item)?);
        }
        Ok((found, read_units))
    }

    /// Removes what is older than the removal from the product that a key leads to.
    async fn remove_product(
        &self,
        account: &AccountId,
        product: &ProductKey,
        removal: ProductRemoval,
        costs: &mut Costs,
    ) -> Result<Removed, Obstacle> {
        let ProductRemoval { order, only_untouched } = removal;
        let named = range_key(product);
        let mut seen = Seen::new();
        self.see(account, [named.clone()], &mut seen, costs).await?;
        let linked = match &seen[&named] {
            Some(Found::Link(target)) => Some(target.clone()),
            _ => None,
        };
        let key = linked.clone().unwrap_or_else(|| named.clone());
        let Some(At { stored, revision, .. }) = product_at(&seen, &key) else {
            if linked.is_some() {
                return Err(Obstacle::Conflict);
            }
            let known = seen[&key].as_ref();
            let orders = known.map(Found::orders).unwrap_or_default();
            if orders.floor > Some(order) {
                return Err(RowError::Stale.into());
            }
            if orders.floor < Some(order) {
                let revision = known.map_or(0, Found::revision) + 1;
                let mut writes = Rewrite::new(self, account, &seen);
                writes.remember(&key, order, orders.last, revision)?;
                writes.commit(REMOVE, costs).await?;
            }
            return Ok(Removed::Nothing);
        };
        let StoredProduct { product: stored_product, orders } = &*stored;
        let still_leads = match product {
            ProductKey::ExternalId(id) => stored_product.external_id.as_ref() == Some(id),
            ProductKey::Id(id) => stored_product.id == *id,
            ProductKey::Sku(_) => true,
        };
        if !still_leads {
            // The link changed between the two reads.
            return Err(Obstacle::Conflict);
        }
        if only_untouched && !orders.admits(order) {
            return Err(RowError::Stale.into());
        }
        if orders.of("name") > Some(order) {
            let Some(after) = without_older_fields(&stored, order) else {
                return Err(RowError::Stale.into());
            };
            let mut writes = Rewrite::new(self, account, &seen);
            writes.put(&key, product_item(account, &after, revision + 1))?;
            writes.commit(REMOVE, costs).await?;
            let changed = after.product != *stored_product;
            return Ok(if changed { Removed::Fields } else { Removed::Nothing });
        }
        let external_id = stored_product.external_id.clone().map(ProductKey::ExternalId);
        let other_keys = external_id.into_iter().chain([ProductKey::Id(stored_product.id)]);
        let other_keys: Vec<String> = other_keys.map(|key| range_key(&key)).collect();
        self.see(account, other_keys.clone(), &mut seen, costs).await?;
        let mut writes = Rewrite::new(self, account, &seen);
        writes.remember(&key, order, orders.last, revision + 1)?;
        // An older row may use any key of the product, and bring the id with which it was created.
        for other in other_keys.iter().filter(|other| **other != key) {
            match &seen[other] {
                Some(found @ Found::Deleted { orders, .. }) if orders.floor < Some(order) => {
                    writes.remember(other, order, orders.last, found.revision() + 1)?;
                }
                Some(found) if !found.leads_to(&key) => {}
                _ => writes.remember(other, order, None, 1)?,
            }
        }
        writes.commit(REMOVE, costs).await?;
        Ok(Removed::Product)
    }
}

const REMOVE: &str = "delete product";

/// A product without the fields that are older than a delete. Its keys stay, because newer writes found it by
/// them. `None` if no field is older.
fn without_older_fields(stored: &StoredProduct, order: Order) -> Option<StoredProduct> {
    let StoredProduct { product, orders } = stored;
    let is_older = |field: &str| {
        orders.of(field) < Some(order) && !matches!(field, "name" | "sku" | "externalId")
    };
    if !FIELDS.iter().any(|field| is_older(field.name)) {
        return None;
    }
    let mut cleared = ProductRow::reset();
    cleared.retain(is_older);
    let mut product = product.clone();
    product.merge(&cleared);
    let mut orders = orders.clone();
    orders.floor = orders.floor.max(Some(order));
    orders.own.retain(|_, own| *own > order);
    Some(StoredProduct { product, orders })
}

/// The product in an item; `None` for a link or a tombstone.
pub(super) fn product_of(
    operation: &'static str,
    item: &Item,
) -> Result<Option<StoredProduct>, StoreError> {
    Ok(match Found::read(operation, item)? {
        Found::Product { stored, .. } => Some(*stored),
        Found::Link(_) | Found::Deleted { .. } => None,
    })
}
