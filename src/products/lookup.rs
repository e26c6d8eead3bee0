//! The access patterns of products, one trait each.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
};

use super::{
    Applied, ExternalId, FIELDS, Product, ProductId, ProductKey, ProductRow, RowError, Sku,
};
use crate::{account::AccountId, order::Order, outcome::Outcome};

/// The orders of a product's fields: they decide which of two writes of a field is newer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldOrders {
    /// The order of the newest write of any field.
    pub last: Option<Order>,
    /// The order of every field without one of its own; after a delete, the order of the delete.
    pub floor: Option<Order>,
    /// The orders of single fields, by their published names.
    pub own: BTreeMap<&'static str, Order>,
}

impl FieldOrders {
    /// The order of the newest write of a field.
    #[must_use]
    pub fn of(&self, field: &str) -> Option<Order> {
        self.own.get(field).copied().or(self.floor)
    }

    /// Whether a write of this order is newer than everything stored, or is the newest write itself.
    #[must_use]
    pub fn admits(&self, order: Order) -> bool {
        self.last <= Some(order)
    }

    /// The fields of a row that no newer write has set.
    #[must_use]
    pub fn late(&self, row: &ProductRow, order: Order) -> ProductRow {
        let mut late = row.clone();
        late.retain(|field| self.of(field) <= Some(order));
        late
    }

    /// Records that a write of this order set the fields of a row.
    pub fn note(&mut self, row: &ProductRow, order: Order) {
        let fields = row.fields();
        self.last = self.last.max(Some(order));
        if fields.len() == FIELDS.len() {
            *self = Self { last: self.last, floor: Some(order), own: BTreeMap::new() };
        } else {
            self.own.extend(fields.into_iter().map(|field| (field, order)));
        }
    }
}

/// A product with the orders of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredProduct {
    pub product: Product,
    pub orders: FieldOrders,
}

/// What becomes of a row that is older than what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenOlder {
    /// It is written right after the newest write. A client that was told that its row is stored must find it.
    MoveAfterNewest,
    /// Fields that are newer stay; a row of which nothing remains is stale. For records of imports.
    KeepNewer,
    /// Fields that are newer stay, and the row counts as written: an earlier attempt of its request may have
    /// written it before they were.
    CountAsWritten,
}

/// A row to write, and its order.
#[derive(Clone, Copy, Debug)]
pub struct OrderedRow<'a> {
    pub row: &'a ProductRow,
    pub order: Order,
    pub when_older: WhenOlder,
    /// The id of the product that it creates, unless the row brings an id that is free.
    pub new_id: ProductId,
}

/// Access pattern: one row merged into what is stored.
pub trait ProductWrites: Sync {
    /// Merges a row atomically, or creates its product: what concurrent writers change is kept. Temporary
    /// failures are retried within limits.
    fn apply(
        &self,
        account: &AccountId,
        row: OrderedRow<'_>,
    ) -> impl Future<Output = Result<Applied, RowError>> + Send;

    /// The skus of the products that these external ids link to.
    fn linked_skus(
        &self,
        account: &AccountId,
        ids: &[ExternalId],
    ) -> impl Future<Output = Result<HashMap<ExternalId, Sku>, RowError>> + Send;
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// The products, newest first.
    pub products: Vec<Product>,
    /// Whether there may be more products after these.
    pub more: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct ProductRemoval {
    pub order: Order,
    /// Whether the product stays if any field of it is newer than the removal.
    pub only_if_unchanged: bool,
}

/// What a removal leaves of a product.
#[derive(Clone, Debug)]
pub enum Remainder {
    /// All of it: the product is newer.
    All,
    /// The product without the fields that are older than the removal.
    Some(Box<StoredProduct>),
    Nothing,
}

impl StoredProduct {
    /// What a removal leaves of it.
    #[must_use]
    pub fn after(&self, removal: ProductRemoval) -> Remainder {
        let ProductRemoval { order, only_if_unchanged } = removal;
        if only_if_unchanged && !self.orders.admits(order) {
            return Remainder::All;
        }
        if self.orders.of("name") <= Some(order) {
            return Remainder::Nothing;
        }
        self.without_older_fields(order)
            .map_or(Remainder::All, |after| Remainder::Some(Box::new(after)))
    }

    /// Whether another state of it is another product to a reader.
    #[must_use]
    pub fn outcome_of(&self, after: &Self) -> Outcome {
        if after.product == self.product { Outcome::Unchanged } else { Outcome::Updated }
    }

    /// The product without the fields that are older than a delete. Its keys stay, because newer writes found it
    /// by them. `None` if no field is older.
    fn without_older_fields(&self, order: Order) -> Option<Self> {
        let is_older = |field: &str| {
            self.orders.of(field) < Some(order) && !matches!(field, "name" | "sku" | "externalId")
        };
        if !FIELDS.iter().any(|field| is_older(field.name)) {
            return None;
        }
        let mut cleared = ProductRow::reset();
        cleared.retain(is_older);
        let mut after = self.clone();
        after.product.merge(&cleared);
        after.orders.floor = after.orders.floor.max(Some(order));
        after.orders.own.retain(|_, own| *own > order);
        Some(after)
    }
}

/// Access pattern of imports: what is stored, and its removal.
pub trait ProductDelete: Sync {
    /// An error that ends the import.
    type Error: Send;

    /// The products that rows find by these keys, read consistently.
    fn stored_products(
        &self,
        account: &AccountId,
        wanted: &[ProductKey],
    ) -> impl Future<Output = Result<HashMap<ProductKey, StoredProduct>, Self::Error>> + Send;

    /// Removes the fields of a product that are older than the delete, and if the name is among them, the
    /// product: the outcome is `Updated` or `Deleted`. A delete leaves a tombstone, even if there was no
    /// product: the outcome is `Unchanged`.
    fn delete_product(
        &self,
        account: &AccountId,
        product: &ProductKey,
        delete: ProductRemoval,
    ) -> impl Future<Output = Result<Outcome, RowError>> + Send;

    /// The key under which the product with each of these ids is stored, if there is one. Products that were
    /// written in the last moments may be missing.
    fn keys_of_ids(
        &self,
        account: &AccountId,
        ids: &[ProductId],
    ) -> impl Future<Output = Result<HashMap<ProductId, ProductKey>, Self::Error>> + Send;
}

#[cfg(test)]
mod tests;
