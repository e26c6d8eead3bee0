//! What must be stored and found of products, an access pattern a trait.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
};

use super::{
    Applied, Category, ExternalId, FIELDS, Match, Product, ProductId, ProductRow, RowError, Sku,
};
use crate::{
    account::AccountId,
    cost::{Costs, Read, ReadCost},
    order::Order,
};

/// The orders of a product's fields: which of two writes of a field is the newer one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldOrders {
    /// The newest write of any field.
    pub last: Option<Order>,
    /// The order of every field without one of its own; after a delete, the order of the delete.
    pub floor: Option<Order>,
    /// The orders of fields, by their published names.
    pub own: BTreeMap<&'static str, Order>,
}

impl FieldOrders {
    /// The order of the newest write of a field.
    #[must_use]
    pub fn of(&self, field: &str) -> Option<Order> {
        self.own.get(field).copied().or(self.floor)
    }

    /// Is a write of this order newer than all that is stored, or the newest itself?
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

    /// Notes that a write of this order set the fields of a row.
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
    /// The product.
    pub product: Product,
    /// The orders of its fields.
    pub orders: FieldOrders,
}

/// A row to write, with its place in the order.
#[derive(Clone, Copy, Debug)]
pub struct OrderedRow<'a> {
    /// The row.
    pub row: &'a ProductRow,
    /// Its place in the order.
    pub order: Order,
    /// Whether it counts whatever is stored: then it is written right after the newest write where its
    /// own order is earlier. A client that is told that its row is stored must find it.
    pub always_counts: bool,
    /// The id of the product it creates, unless the row brings one that is free.
    pub new_id: ProductId,
}

/// Access pattern: one row merged into what is stored.
pub trait ProductWrites: Sync {
    /// Merges a row at once, or creates its product: what other writers do meanwhile is kept. What may
    /// succeed later is tried again within bounds.
    fn apply(
        &self,
        account: &AccountId,
        row: OrderedRow<'_>,
        costs: &mut Costs,
    ) -> impl Future<Output = Result<Applied, RowError>> + Send;

    /// The products that these external ids are linked to, of those that have a sku.
    fn linked_skus(
        &self,
        account: &AccountId,
        ids: &[ExternalId],
        cost: &mut ReadCost,
    ) -> impl Future<Output = Result<HashMap<ExternalId, Sku>, RowError>> + Send;
}

/// Access pattern: one product by its sku.
pub trait ProductLookup: Sync {
    /// What can go wrong below.
    type Error: Send;

    /// The product, read consistently: what was acknowledged is seen.
    fn by_sku(
        &self,
        account: &AccountId,
        sku: &Sku,
    ) -> impl Future<Output = Result<Read<Option<Product>>, Self::Error>> + Send;
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// The products, newest first.
    pub products: Vec<Product>,
    /// Whether there may be more after them.
    pub more: bool,
    /// What it cost.
    pub read_units: f64,
}

/// Access pattern: products newest first, all or those of a category.
pub trait ProductLists: Sync {
    /// What can go wrong below.
    type Error: Send;

    /// Products older than `before`, at most `limit` of them and at most 1 MB.
    fn newest(
        &self,
        account: &AccountId,
        category: Option<&Category>,
        before: Option<ProductId>,
        limit: Option<u32>,
    ) -> impl Future<Output = Result<Page, Self::Error>> + Send;
}

/// How a product is to be removed.
#[derive(Clone, Copy, Debug)]
pub struct ProductRemoval {
    /// The place of the removal in the order.
    pub order: Order,
    /// Whether a product stays as soon as anything of it is newer than the removal.
    pub only_untouched: bool,
}

/// What a removal came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// The product is gone.
    Product,
    /// Fields of it are gone; its name is newer than the removal.
    Fields,
    /// There was no product. The removal is remembered.
    Nothing,
}

/// Access pattern of imports: what is stored, and its removal.
pub trait ProductDelete: Sync {
    /// What can go wrong below; it ends the import.
    type Error: Send;

    /// The products that rows find by these keys, read consistently, and the read units consumed.
    fn stored_products(
        &self,
        account: &AccountId,
        wanted: &[Match],
    ) -> impl Future<Output = Result<(HashMap<Match, StoredProduct>, f64), Self::Error>> + Send;

    /// Removes the fields of a product that are older than the delete, and with the name the product; the
    /// order of the delete is remembered, also where there is no product.
    fn delete_product(
        &self,
        account: &AccountId,
        product: &Match,
        delete: ProductRemoval,
        costs: &mut Costs,
    ) -> impl Future<Output = Result<Removed, RowError>> + Send;

    /// Under which key a product of each of these identities is stored, where there is one. What was
    /// written within the last moments may be missing.
    fn keys_of_ids(
        &self,
        account: &AccountId,
        ids: &[ProductId],
    ) -> impl Future<Output = Result<(HashMap<ProductId, Match>, f64), Self::Error>> + Send;
}
