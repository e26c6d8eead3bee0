//! The `Products` table: a product under its first key, and links from external ids.
//!
//! | `productKey` | |
//! |---|---|
//! | `SKU#<sku>` | a product with a sku |
//! | `EXT#<external id>` | a product with an external id alone; or, with `linkedTo`, the key of the product that has this external id beside its sku |
//! | `ID#<id>` | a product with neither |
//!
//! So a sku or an external id exists once by the table's own key, and an upsert needs no look-up: one
//! `UpdateItem` merges or creates. Only when a product's keys change (a first external id, another
//! one, a sku that comes or goes) are its items read and rewritten, in one transaction on the
//! condition that nothing changed meanwhile (`revision`).

use std::collections::{BTreeMap, HashMap, HashSet};

use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, Put, ReturnValue, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem,
};
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;

use super::{
    CAPACITY, Store, StoreError,
    batch::{CONCURRENT_BATCHES, MAX_FRUITLESS, Wanted, back_off},
    error::failed_condition,
    item::{Item, text},
    pace::Turn,
    ranges::Keys,
    units,
};
use crate::{
    account::AccountId,
    cost::{Costs, Read, ReadCost},
    money::{Amount, Currency},
    products::{
        Applied, Billing, Category, Change, ExternalId, Match, Page, Product, ProductDelete,
        ProductId, ProductLists, ProductLookup, ProductRow, ProductType, ProductWrites, RowError,
        Sku, StoredProduct,
    },
    text::rfc3339_millis,
};

const NEWEST: &str = "newest";
const BY_CATEGORY: &str = "byCategory";

/// The range key of a match.
fn product_key(product: &Match) -> String {
    match product {
        Match::Sku(sku) => format!("SKU#{}", sku.as_str()),
        Match::ExternalId(id) => format!("EXT#{}", id.as_str()),
        Match::Id(id) => format!("ID#{id}"),
    }
}

/// What a product is stored under.
fn match_of(product: &Product) -> Match {
    let sku = product.sku.clone().map(Match::Sku);
    let external_id = || product.external_id.clone().map(Match::ExternalId);
    sku.or_else(external_id).unwrap_or(Match::Id(product.id))
}

/// The range key a product is stored under.
fn key_of(product: &Product) -> String {
    product_key(&match_of(product))
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

/// What is found under a key.
#[derive(Clone, Debug)]
enum Found {
    /// A product, and how often it was written.
    Product { stored: Box<StoredProduct>, revision: u64 },
    /// The key of the product that has this external id.
    Link(String),
}

impl Found {
    fn read(operation: &'static str, item: &Item) -> Result<Self, StoreError> {
        if let Some(AttributeValue::S(key)) = item.get("linkedTo") {
            return Ok(Self::Link(key.clone()));
        }
        let attributes = Attributes { operation, item };
        let revision = attributes.whole("revision")?.unwrap_or_default();
        let stored = Box::new(attributes.stored()?);
        Ok(Self::Product { stored, revision })
    }
}

/// The attributes of a stored product, read one by one: numbers keep their digits.
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

    fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(ToOwned::to_owned)
    }

    fn parsed<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let parsed = |text| parse(text).ok_or_else(|| self.wrong(name));
        self.text(name).map(parsed).transpose()
    }

    fn number<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let Some(AttributeValue::N(digits)) = self.item.get(name) else { return Ok(None) };
        parse(digits).map(Some).ok_or_else(|| self.wrong(name))
    }

    fn amount(&self, name: &str) -> Result<Option<Amount>, StoreError> {
        self.number(name, |digits| Amount::parse(digits).ok())
    }

    fn whole(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.number(name, |digits| u64::try_from(Amount::parse(digits).ok()?.whole()?).ok())
    }

    fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, StoreError> {
        value.ok_or_else(|| self.wrong(name))
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        self.parsed(name, |text| text.parse().ok())
    }

    fn product(&self) -> Result<Product, StoreError> {
        let active = self.item.get("active").and_then(|active| active.as_bool().ok());
        Ok(Product {
            id: self.required("id", self.parsed("id", ProductId::parse)?)?,
            name: self.required("name", self.owned("name"))?,
            product_type: self.required("type", self.parsed("type", ProductType::parse)?)?,
            sku: self.parsed("sku", Sku::parse)?,
            external_id: self.parsed("externalId", ExternalId::parse)?,
            category: self.parsed("category", Category::parse)?,
            price: self.required("price", self.amount("price")?)?,
            cost: self.amount("cost")?,
            currency: self.required(
                "currency",
                self.parsed("currency", |code| Currency::parse(code).ok())?,
            )?,
            unit: self.owned("unit"),
            billing_period: self.parsed("billingPeriod", Billing::parse)?,
            term_months: self.whole("termMonths")?,
            stock_qty: self.whole("stockQty")?,
            reorder_level: self.whole("reorderLevel")?,
            description: self.owned("description"),
            features: self.owned("features"),
            active: self.required("active", active.copied())?,
            created_at: self.required("createdAt", self.time("createdAt")?)?,
            updated_at: self.required("updatedAt", self.time("updatedAt")?)?,
        })
    }

    fn stored(&self) -> Result<StoredProduct, StoreError> {
        Ok(StoredProduct {
            product: self.product()?,
            source_updated_at: self.time("sourceUpdatedAt")?,
        })
    }
}

/// The item of a product under its key.
fn product_item(account: &AccountId, stored: &StoredProduct, revision: u64) -> Item {
    let product = &stored.product;
    let mut item = item_key(account, &key_of(product));
    let mut set = |name: &str, value: Option<AttributeValue>| {
        if let Some(value) = value {
            item.insert(name.to_owned(), value);
        }
    };
    set("id", Some(text(product.id.to_string())));
    set("name", Some(text(product.name.as_str())));
    set("type", Some(text(product.product_type.as_str())));
    set("sku", product.sku.as_ref().map(|sku| text(sku.as_str())));
    set("externalId", product.external_id.as_ref().map(|id| text(id.as_str())));
    set("category", product.category.as_ref().map(|category| text(category.as_str())));
    set("price", Some(number(&product.price)));
    set("cost", product.cost.as_ref().map(number));
    set("currency", Some(text(product.currency.code())));
    set("unit", product.unit.as_deref().map(text));
    set("billingPeriod", product.billing_period.map(|period| text(period.as_str())));
    set("termMonths", product.term_months.as_ref().map(number));
    set("stockQty", product.stock_qty.as_ref().map(number));
    set("reorderLevel", product.reorder_level.as_ref().map(number));
    set("description", product.description.as_deref().map(text));
    set("features", product.features.as_deref().map(text));
    set("active", Some(AttributeValue::Bool(product.active)));
    set("createdAt", Some(text(rfc3339_millis(product.created_at))));
    set("updatedAt", Some(text(rfc3339_millis(product.updated_at))));
    set("sourceUpdatedAt", stored.source_updated_at.map(|time| text(rfc3339_millis(time))));
    set("revision", Some(number(&revision)));
    item
}

fn texts<T>(change: &Change<T>, show: impl Fn(&T) -> &str) -> Change<AttributeValue> {
    change.map(|value| text(show(value)))
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
    fn of(row: &ProductRow, new_id: ProductId, now: Timestamp) -> Self {
        let mut expression = Self::default();
        expression.set("name", row.name.as_deref().map(text));
        // What is new gets the published defaults.
        let defaults = row.name.is_some();
        let or_default = |value: Option<AttributeValue>, default: AttributeValue| match value {
            Some(value) => Some((value, false)),
            None => defaults.then_some((default, true)),
        };
        for (name, value) in [
            ("type", or_default(row.product_type.map(|kind| text(kind.as_str())), text("PRODUCT"))),
            ("price", or_default(row.price.as_ref().map(number), number(&0))),
            ("currency", or_default(row.currency.map(|c| text(c.code())), text("USD"))),
            (
                "active",
                or_default(row.active.map(AttributeValue::Bool), AttributeValue::Bool(true)),
            ),
        ] {
            match value {
                Some((value, true)) => expression.set_if_new(name, value),
                Some((value, false)) => expression.set(name, Some(value)),
                None => {}
            }
        }
        expression.set("sku", row.sku.value().map(|sku| text(sku.as_str())));
        expression.set("externalId", row.external_id.value().map(|id| text(id.as_str())));
        for (name, change) in [
            ("category", texts(&row.category, Category::as_str)),
            ("cost", row.cost.map(number)),
            ("unit", texts(&row.unit, String::as_str)),
            ("billingPeriod", row.billing_period.map(|period| text(period.as_str()))),
            ("termMonths", row.term_months.map(number)),
            ("stockQty", row.stock_qty.map(number)),
            ("reorderLevel", row.reorder_level.map(number)),
            ("description", texts(&row.description, String::as_str)),
            ("features", texts(&row.features, String::as_str)),
        ] {
            match change {
                Change::Keep => {}
                Change::Clear => expression.remove(name),
                Change::Set(value) => expression.set(name, Some(value)),
            }
        }
        let created_at = row.created_at.unwrap_or(now);
        expression.set_if_new("id", text(new_id.to_string()));
        expression.set_if_new("createdAt", text(rfc3339_millis(created_at)));
        expression.set("updatedAt", Some(text(rfc3339_millis(now))));
        let source = row.source_updated_at.map(|time| text(rfc3339_millis(time)));
        expression.set("sourceUpdatedAt", source);
        expression.values.insert(":one".to_owned(), number(&1));
        expression
    }

    fn name(&mut self, name: &str) {
        self.names.insert(format!("#{name}"), name.to_owned());
    }

    fn set(&mut self, name: &str, value: Option<AttributeValue>) {
        if let Some(value) = value {
            self.sets.push(format!("#{name} = :{name}"));
            self.name(name);
            self.values.insert(format!(":{name}"), value);
        }
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

/// What a conditional update came to.
enum Updated {
    Done(Applied),
    /// The condition did not hold; what is there instead.
    Otherwise(Option<Item>),
}

/// Why a row is not written yet.
enum Obstacle {
    /// It never will be.
    Row(RowError),
    /// Another writer was faster, or the database is in trouble: worth another attempt.
    Passing {
        /// It was asked for more than it gives at once.
        throttled: bool,
    },
}

impl Obstacle {
    /// Another writer was faster.
    const FASTER: Self = Self::Passing { throttled: false };
}

impl From<StoreError> for Obstacle {
    fn from(error: StoreError) -> Self {
        if error.is_unavailable() || error.is_condition_failed() {
            return Self::Passing { throttled: error.is_throttled() };
        }
        Self::Row(RowError::Failed { cause: error.to_string() })
    }
}

/// What an attempt settled; `None`: another one may.
fn settled<R>(turn: Turn<'_>, outcome: Result<R, Obstacle>) -> Option<Result<R, RowError>> {
    match outcome {
        Ok(done) => {
            turn.end(true);
            Some(Ok(done))
        }
        Err(Obstacle::Row(error)) => Some(Err(error)),
        Err(Obstacle::Passing { throttled }) => {
            turn.end(!throttled);
            None
        }
    }
}

impl ProductWrites for Store {
    async fn apply(
        &self,
        account: &AccountId,
        row: &ProductRow,
        new_id: ProductId,
        costs: &mut Costs,
    ) -> Result<Applied, RowError> {
        for number in 0..MAX_FRUITLESS {
            let turn = self.next_attempt(number).await;
            let outcome = self.attempt(account, row, new_id, costs).await;
            if let Some(settled) = settled(turn, outcome) {
                return settled;
            }
        }
        Err(RowError::Unavailable)
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
            key: item_key(account, &product_key(&Match::ExternalId(id.clone()))),
            projection: Some("productKey, linkedTo".to_owned()),
        });
        let (items, read_units) = self
            // Consistently: a link made a moment ago decides which rows are of one product.
            .read_items(OPERATION, wanted.collect(), true)
            .await
            .map_err(|error| match Obstacle::from(error) {
                Obstacle::Row(error) => error,
                Obstacle::Passing { .. } => RowError::Unavailable,
            })?;
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
    /// Waits as long as before an attempt of this number, and for a place among the writes.
    async fn next_attempt(&self, number: u32) -> Turn<'_> {
        back_off(number).await;
        self.writes.turn().await
    }

    /// Merges a row by one update where its keys are as they should be, and else by a transaction.
    async fn attempt(
        &self,
        account: &AccountId,
        row: &ProductRow,
        new_id: ProductId,
        costs: &mut Costs,
    ) -> Result<Applied, Obstacle> {
        let found = row.matches();
        let key = product_key(found.as_ref().unwrap_or(&Match::Id(new_id)));
        let condition = match (&found, &row.external_id) {
            (Some(Match::Sku(_)), Change::Set(_)) => Some("#externalId = :externalId"),
            (Some(Match::Sku(_)), Change::Clear) => Some("attribute_not_exists(externalId)"),
            (Some(Match::ExternalId(_)), _) => Some("attribute_not_exists(linkedTo)"),
            _ => None,
        };
        let there = match self.update(account, row, new_id, &key, condition, costs).await? {
            Updated::Done(applied) => return Ok(applied),
            Updated::Otherwise(item) => item,
        };
        let link = there.as_ref().and_then(|item| item.get("linkedTo")?.as_s().ok());
        match (&found, link) {
            (Some(Match::ExternalId(_)), Some(target)) if row.sku != Change::Clear => {
                let still = Some("#externalId = :externalId");
                match self.update(account, row, new_id, target, still, costs).await? {
                    Updated::Done(applied) => Ok(applied),
                    // The link changed meanwhile.
                    Updated::Otherwise(_) => Err(Obstacle::FASTER),
                }
            }
            (Some(Match::ExternalId(_)), Some(_)) | (Some(Match::Sku(_)), _)
                if condition.is_some() =>
            {
                self.rewrite(account, row, new_id, costs).await
            }
            // The only condition left: it is there.
            _ => Err(Obstacle::Row(RowError::NameRequired)),
        }
    }

    async fn update(
        &self,
        account: &AccountId,
        row: &ProductRow,
        new_id: ProductId,
        key: &str,
        condition: Option<&str>,
        costs: &mut Costs,
    ) -> Result<Updated, Obstacle> {
        const OPERATION: &str = "upsert product";
        let exists = row.name.is_none().then_some("attribute_exists(id)");
        let young = row.source_updated_at.map(
            |_| "(attribute_not_exists(sourceUpdatedAt) OR sourceUpdatedAt <= :sourceUpdatedAt)",
        );
        let conditions: Vec<&str> = condition.into_iter().chain(exists).chain(young).collect();
        let condition = (!conditions.is_empty()).then(|| conditions.join(" AND "));
        let mut expression = Expression::of(row, new_id, Timestamp::now());
        let text = expression.text();
        if key.starts_with("SKU#") && row.sku == Change::Keep {
            // By way of a link: the condition alone names the external id.
            expression.name("externalId");
        }
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.products)
            .set_key(Some(item_key(account, key)))
            .update_expression(text)
            .set_condition_expression(condition)
            .set_expression_attribute_names(Some(expression.names))
            .set_expression_attribute_values(Some(expression.values))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(CAPACITY)
            .send()
            .await;
        let reply = match outcome {
            Ok(reply) => reply,
            Err(error) => {
                let there = failed_condition(OPERATION, error)?;
                // A condition that fails is charged as the write would have been, one unit a KB;
                // how much that was is not told.
                costs.writes.add(1.0);
                let known = there.as_ref().map(|item| Attributes { operation: OPERATION, item });
                let known = known.map(|there| there.time("sourceUpdatedAt")).transpose()?.flatten();
                if is_stale(known, row.source_updated_at) {
                    return Err(Obstacle::Row(RowError::Stale));
                }
                return Ok(Updated::Otherwise(there));
            }
        };
        costs.writes.add(units(reply.consumed_capacity()));
        let item = reply.attributes.unwrap_or_default();
        let attributes = Attributes { operation: OPERATION, item: &item };
        let id = attributes.required("id", attributes.parsed("id", ProductId::parse)?)?;
        // An attempt whose success was not seen, and that was sent again, did create its product all
        // the same; only an id that an import brings may have been there before.
        let first = row.id.is_none() || attributes.whole("revision")? == Some(1);
        Ok(Updated::Done(Applied { id, created: id == new_id && first }))
    }

    /// What is under a key, read consistently.
    async fn find(
        &self,
        account: &AccountId,
        key: &str,
    ) -> Result<(Option<Found>, f64), StoreError> {
        const OPERATION: &str = "read product";
        let reply = self
            .client
            .get_item()
            .table_name(&self.tables.products)
            .set_key(Some(item_key(account, key)))
            .consistent_read(true)
            .return_consumed_capacity(CAPACITY)
            .send()
            .await
            .map_err(|error| StoreError::from_sdk(OPERATION, &error))?;
        let read_units = units(reply.consumed_capacity());
        let found = reply.item.map(|item| Found::read(OPERATION, &item)).transpose()?;
        Ok((found, read_units))
    }

    /// What is under these keys, and under those that links among them lead to.
    async fn seen(
        &self,
        account: &AccountId,
        keys: impl Iterator<Item = String>,
        costs: &mut Costs,
    ) -> Result<HashMap<String, Option<Found>>, StoreError> {
        let mut seen: HashMap<String, Option<Found>> = HashMap::new();
        let mut wanted: Vec<String> = keys.collect();
        while !wanted.is_empty() {
            let found = futures_util::future::try_join_all(
                wanted.iter().map(|key| self.find(account, key)),
            );
            for (key, (found, read_units)) in wanted.iter().zip(found.await?) {
                costs.reads.add(read_units);
                seen.insert(key.clone(), found);
            }
            let targets = seen.values().filter_map(|found| match found {
                Some(Found::Link(target)) if !seen.contains_key(target) => Some(target.clone()),
                _ => None,
            });
            wanted = targets.collect();
        }
        Ok(seen)
    }

    /// Merges a row that changes the keys of its product.
    async fn rewrite(
        &self,
        account: &AccountId,
        row: &ProductRow,
        new_id: ProductId,
        costs: &mut Costs,
    ) -> Result<Applied, Obstacle> {
        const OPERATION: &str = "rewrite product";
        let sku_key = row.sku.value().map(|sku| product_key(&Match::Sku(sku.clone())));
        let external_id = row.external_id.value();
        let ext_key = external_id.map(|id| product_key(&Match::ExternalId(id.clone())));
        let keys = sku_key.iter().chain(&ext_key).cloned();
        let seen = self.seen(account, keys, costs).await?;
        let slot = ext_key.as_ref().and_then(|key| seen[key].clone());
        let product_at = |key: &str| match seen.get(key) {
            Some(Some(Found::Product { stored, revision })) => {
                Some((key.to_owned(), stored.clone(), *revision))
            }
            _ => None,
        };
        // A link's product must have the external id.
        let owner = match (&slot, &ext_key) {
            (Some(Found::Product { .. }), Some(key)) => product_at(key),
            (Some(Found::Link(target)), _) => product_at(target)
                .filter(|(_, owner, _)| owner.product.external_id.as_ref() == external_id),
            _ => None,
        };
        if matches!(slot, Some(Found::Link(_))) && owner.is_none() {
            // The product moved between the two reads. To take the link for one that leads nowhere
            // would make its external id twice, should the product have moved back meanwhile.
            return Err(Obstacle::FASTER);
        }
        let by_sku = sku_key.as_deref().and_then(product_at);
        let matched = match (&sku_key, by_sku) {
            (Some(_), Some(by_sku)) => {
                if owner.is_some_and(|(key, ..)| key != by_sku.0) {
                    return Err(Obstacle::Row(RowError::ExternalIdTaken));
                }
                Some(by_sku)
            }
            // A product that has no sku yet gets this one.
            (Some(_), None) => match owner {
                Some((_, owner, _)) if owner.product.sku.is_some() => {
                    return Err(Obstacle::Row(RowError::ExternalIdTaken));
                }
                owner => owner,
            },
            (None, _) => owner,
        };
        let now = Timestamp::now();
        if let Some((_, before, _)) = &matched
            && is_stale(before.source_updated_at, row.source_updated_at)
        {
            return Err(Obstacle::Row(RowError::Stale));
        }
        let (mut after, revision) = if let Some((_, before, revision)) = &matched {
            let mut after = before.clone();
            after.product.merge(row);
            (after, revision + 1)
        } else {
            let product =
                Product::created(row, new_id, now).ok_or(Obstacle::Row(RowError::NameRequired))?;
            (Box::new(StoredProduct { product, source_updated_at: None }), 1)
        };
        after.product.updated_at = now;
        after.source_updated_at = row.source_updated_at.or(after.source_updated_at);

        let mut writes = Rewrite { store: self, account, seen: &seen, items: BTreeMap::new() };
        let new_key = key_of(&after.product);
        let link_of = |product: &Product| {
            let id = product.external_id.clone().filter(|_| product.sku.is_some())?;
            Some(product_key(&Match::ExternalId(id)))
        };
        let new_link = link_of(&after.product);
        if let Some((old_key, before, _)) = &matched {
            if *old_key != new_key {
                writes.delete(old_key)?;
            }
            let old_link = link_of(&before.product).filter(|link| Some(link) != new_link.as_ref());
            if let Some(old_link) = old_link.filter(|link| *link != new_key) {
                writes.unlink(&old_link, old_key)?;
            }
        }
        writes.put(&new_key, product_item(account, &after, revision))?;
        if let Some(link) = new_link {
            let mut item = item_key(account, &link);
            item.insert("linkedTo".to_owned(), text(new_key.as_str()));
            writes.put(&link, item)?;
        }
        let items = writes.items.into_values().collect();
        let write_units = self.transact(OPERATION, items).await?;
        costs.writes.add(write_units);
        Ok(Applied { id: after.product.id, created: matched.is_none() })
    }
}

/// Is a record of this source time older than what is stored?
fn is_stale(stored: Option<Timestamp>, record: Option<Timestamp>) -> bool {
    stored.zip(record).is_some_and(|(stored, record)| stored > record)
}

/// The writes of a transaction, one a key: each on the condition that the key is as it was seen.
struct Rewrite<'a> {
    store: &'a Store,
    account: &'a AccountId,
    seen: &'a HashMap<String, Option<Found>>,
    items: BTreeMap<String, TransactWriteItem>,
}

const REWRITE: &str = "rewrite product";

impl Rewrite<'_> {
    /// The condition that a key is as it was seen, and its values.
    fn guard(&self, key: &str) -> (&'static str, HashMap<String, AttributeValue>) {
        let value = |value| HashMap::from([(":seen".to_owned(), value)]);
        match self.seen.get(key) {
            Some(Some(Found::Product { stored, revision })) => {
                // Another product may have come to the same key since.
                let id = (":id".to_owned(), text(stored.product.id.to_string()));
                let mut values = value(number(revision));
                values.extend([id]);
                ("revision = :seen AND id = :id", values)
            }
            Some(Some(Found::Link(target))) => ("linkedTo = :seen", value(text(target.as_str()))),
            Some(None) | None => ("attribute_not_exists(productKey)", HashMap::new()),
        }
    }

    fn put(&mut self, key: &str, item: Item) -> Result<(), StoreError> {
        let (condition, values) = self.guard(key);
        let put = Put::builder()
            .table_name(&self.store.tables.products)
            .set_item(Some(item))
            .condition_expression(condition)
            .set_expression_attribute_values((!values.is_empty()).then_some(values))
            .build()
            .map_err(|error| StoreError::unbuildable(REWRITE, error))?;
        self.items.insert(key.to_owned(), TransactWriteItem::builder().put(put).build());
        Ok(())
    }

    fn delete(&mut self, key: &str) -> Result<(), StoreError> {
        let (condition, values) = self.guard(key);
        self.delete_on(key, condition, values)
    }

    /// Removes a link that was not read, if it leads to this product.
    fn unlink(&mut self, key: &str, target: &str) -> Result<(), StoreError> {
        let values = HashMap::from([(":target".to_owned(), text(target))]);
        self.delete_on(key, "attribute_not_exists(productKey) OR linkedTo = :target", values)
    }

    fn delete_on(
        &mut self,
        key: &str,
        condition: &str,
        values: HashMap<String, AttributeValue>,
    ) -> Result<(), StoreError> {
        let delete = Delete::builder()
            .table_name(&self.store.tables.products)
            .set_key(Some(item_key(self.account, key)))
            .condition_expression(condition)
            .set_expression_attribute_values((!values.is_empty()).then_some(values))
            .build()
            .map_err(|error| StoreError::unbuildable(REWRITE, error))?;
        self.items.insert(key.to_owned(), TransactWriteItem::builder().delete(delete).build());
        Ok(())
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
        let reply = self
            .client
            .get_item()
            .table_name(&self.tables.products)
            .set_key(Some(item_key(account, &product_key(&Match::Sku(sku.clone())))))
            .consistent_read(true)
            .return_consumed_capacity(CAPACITY)
            .send()
            .await
            .map_err(|error| StoreError::from_sdk(OPERATION, &error))?;
        let read_units = units(reply.consumed_capacity());
        let item = reply.item.as_ref();
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
        let reply = query
            .key_condition_expression(condition)
            .scan_index_forward(false)
            .set_limit(limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)))
            .return_consumed_capacity(CAPACITY)
            .send()
            .await
            .map_err(|error| StoreError::from_sdk(OPERATION, &error))?;
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
        wanted: &[Match],
    ) -> Result<(HashMap<Match, StoredProduct>, f64), StoreError> {
        const OPERATION: &str = "read stored products";
        let (found, mut read_units) =
            self.found(OPERATION, account, wanted.iter().map(product_key).collect()).await?;
        let linked: HashSet<String> = found
            .values()
            .filter_map(|found| match found {
                Found::Link(target) => Some(target.clone()),
                Found::Product { .. } => None,
            })
            .filter(|target| !found.contains_key(target))
            .collect();
        let (targets, more_units) =
            self.found(OPERATION, account, linked.into_iter().collect()).await?;
        read_units += more_units;
        let product = |key: &str| match found.get(key).or_else(|| targets.get(key))? {
            Found::Product { stored, .. } => Some((**stored).clone()),
            Found::Link(_) => None,
        };
        let mut products = HashMap::with_capacity(found.len());
        for wanted in wanted {
            let key = product_key(wanted);
            let stored = match (found.get(&key), wanted) {
                (Some(Found::Link(target)), Match::ExternalId(id)) => {
                    product(target).filter(|stored| stored.product.external_id.as_ref() == Some(id))
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
        product: &Match,
        source_updated_at: Option<Timestamp>,
        costs: &mut Costs,
    ) -> Result<bool, RowError> {
        for number in 0..MAX_FRUITLESS {
            let turn = self.next_attempt(number).await;
            let outcome = self.attempt_delete(account, product, source_updated_at, costs).await;
            if let Some(settled) = settled(turn, outcome) {
                return settled;
            }
        }
        Err(RowError::Unavailable)
    }

    async fn keys_of_ids(
        &self,
        account: &AccountId,
        ids: &[ProductId],
    ) -> Result<(HashMap<ProductId, Match>, f64), StoreError> {
        const OPERATION: &str = "find products by id";
        let mut replies = stream::iter(ids.iter().copied())
            .map(|id| async move {
                let reply = self
                    .client
                    .query()
                    .table_name(&self.tables.products)
                    .index_name(NEWEST)
                    .key_condition_expression("account = :account AND id = :id")
                    .expression_attribute_values(":account", text(account.as_str()))
                    .expression_attribute_values(":id", text(id.to_string()))
                    .return_consumed_capacity(CAPACITY)
                    .send()
                    .await
                    .map_err(|error| StoreError::from_sdk(OPERATION, &error))?;
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
                keys.insert(id, match_of(&product));
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

    async fn attempt_delete(
        &self,
        account: &AccountId,
        product: &Match,
        source_updated_at: Option<Timestamp>,
        costs: &mut Costs,
    ) -> Result<bool, Obstacle> {
        let named = product_key(product);
        let seen = self.seen(account, std::iter::once(named.clone()), costs).await?;
        let linked = match &seen[&named] {
            Some(Found::Link(target)) => Some(target.clone()),
            _ => None,
        };
        let key = linked.clone().unwrap_or_else(|| named.clone());
        let Some(Some(Found::Product { stored, .. })) = seen.get(&key) else {
            return if linked.is_some() { Err(Obstacle::FASTER) } else { Ok(false) };
        };
        let external_id = stored.product.external_id.clone();
        if let (Some(_), Match::ExternalId(id)) = (&linked, product)
            && external_id.as_ref() != Some(id)
        {
            // The link changed between the two reads.
            return Err(Obstacle::FASTER);
        }
        if is_stale(stored.source_updated_at, source_updated_at) {
            return Err(Obstacle::Row(RowError::Stale));
        }
        let mut writes = Rewrite { store: self, account, seen: &seen, items: BTreeMap::new() };
        writes.delete(&key)?;
        if let Some(id) = external_id.filter(|_| stored.product.sku.is_some()) {
            let link = product_key(&Match::ExternalId(id));
            if linked.is_some() {
                writes.delete(&link)?;
            } else {
                writes.unlink(&link, &key)?;
            }
        }
        let items = writes.items.into_values().collect();
        costs.writes.add(self.transact("delete product", items).await?);
        Ok(true)
    }
}

/// The product of an item; a link is none.
pub(super) fn product_of(
    operation: &'static str,
    item: &Item,
) -> Result<Option<StoredProduct>, StoreError> {
    Ok(match Found::read(operation, item)? {
        Found::Product { stored, .. } => Some(*stored),
        Found::Link(_) => None,
    })
}
