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
//! | File | |
//! |---|---|
//! | `item` | the items of the table |
//! | `upsert` | one row merged with one update |
//! | `rewrite` | a change of keys, in a transaction |
//! | `delete` | what imports read of products, and their removal |
//!
//! # The order of writes, field by field
//! `last` is the order of the newest write; `@price` and so on the order of a field; `at` the order of every
//! field without one of its own and, after a delete, the order of the delete. A row newer than `last` is
//! newer than everything stored: this is the only condition of the usual update. A late row is decided with
//! the item that the failed condition returned. It sets the fields that no newer write has set, on the
//! condition that the `revision` is still the same. An item with neither `id` nor
//! `linkedTo` is a tombstone.

mod delete;
mod item;
mod rewrite;
#[cfg(test)]
mod tests;
mod upsert;

pub(super) use self::item::parse_range_key;
use self::item::{Attributes, Found, item_key, range_key};
use super::{
    Store, StoreError,
    item::{Item, text},
};
use crate::{
    account::AccountId,
    cause::chain,
    order::Order,
    products::{Category, Page, Product, ProductId, ProductKey, RowError, Sku, StoredProduct},
};

const NEWEST: &str = "newest";
const BY_CATEGORY: &str = "byCategory";

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
        if error.is_condition_failed() { Self::Conflict } else { Self::Row(error.into()) }
    }
}

impl From<StoreError> for RowError {
    fn from(error: StoreError) -> Self {
        // The request has already been retried as long as allowed.
        if error.is_unavailable() {
            Self::Unavailable
        } else {
            Self::Failed { cause: chain(&error) }
        }
    }
}

/// How often a row is written again because other writers changed the keys of its product.
const CONFLICTS: u32 = 8;

impl Store {
    /// The product with a sku, read consistently: every acknowledged write is seen.
    pub async fn product_by_sku(
        &self,
        account: &AccountId,
        sku: &Sku,
    ) -> Result<Option<Product>, StoreError> {
        const OPERATION: &str = "get product";
        let key = item_key(account, &range_key(&ProductKey::Sku(sku.clone())));
        let item = self.get(OPERATION, &self.tables.products, key, true).await?;
        // A tombstone has no id.
        let item = item.filter(|item| item.contains_key("id"));
        item.map(|item| Attributes { operation: OPERATION, item: &item }.product()).transpose()
    }

    /// Products older than `before`, newest first, at most `limit` of them and at most 1 MB: all products, or
    /// those of one category.
    pub async fn newest_products(
        &self,
        account: &AccountId,
        category: Option<&Category>,
        before: Option<ProductId>,
        limit: Option<u32>,
    ) -> Result<Page, StoreError> {
        const OPERATION: &str = "list products";
        let own = category.map(|category| (":category", text(category.as_str())));
        let older = before.map(|before| (":before", text(before.to_string())));
        let condition = format!(
            "account = :account{}{}",
            own.as_ref().map_or("", |_| " AND category = :category"),
            older.as_ref().map_or("", |_| " AND id < :before"),
        );
        let mut query = self.query_of(account, &self.tables.products, condition);
        for (name, value) in own.into_iter().chain(older) {
            query = query.expression_attribute_values(name, value);
        }
        let query = query
            .index_name(if category.is_some() { BY_CATEGORY } else { NEWEST })
            .scan_index_forward(false)
            .set_limit(limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)));
        let reply = self.query(OPERATION, query).await?;
        let more = reply.last_evaluated_key.is_some();
        let items = reply.items.unwrap_or_default();
        let products = items.iter().map(|item| Attributes { operation: OPERATION, item }.product());
        Ok(Page { products: products.collect::<Result<_, _>>()?, more })
    }
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
