//! What must be stored and found of products, an access pattern a trait.

use std::{collections::HashMap, future::Future};

use jiff::Timestamp;

use super::{Applied, Category, ExternalId, Match, Product, ProductId, ProductRow, RowError, Sku};
use crate::{
    account::AccountId,
    cost::{Costs, Read, ReadCost},
};

/// A product with what an import remembers of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredProduct {
    /// The product.
    pub product: Product,
    /// When its source last changed it, where a record said so.
    pub source_updated_at: Option<Timestamp>,
}

/// Access pattern: one row merged into what is stored.
pub trait ProductWrites: Sync {
    /// Merges a row at once, or creates its product with this id: what other writers do meanwhile is
    /// kept. What may succeed later is tried again within bounds.
    fn apply(
        &self,
        account: &AccountId,
        row: &ProductRow,
        new_id: ProductId,
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

/// Access pattern of imports: what is stored, and its removal.
pub trait ProductDelete: Sync {
    /// What can go wrong below; it ends the import.
    type Error: Send;

    /// The products that rows find by these keys, and the read units consumed.
    fn stored_products(
        &self,
        account: &AccountId,
        wanted: &[Match],
    ) -> impl Future<Output = Result<(HashMap<Match, StoredProduct>, f64), Self::Error>> + Send;

    /// Removes a product, if the record is not older than it; `false` when there was none.
    fn delete_product(
        &self,
        account: &AccountId,
        product: &Match,
        source_updated_at: Option<Timestamp>,
        costs: &mut Costs,
    ) -> impl Future<Output = Result<bool, RowError>> + Send;

    /// Under which key a product of each of these identities is stored, where there is one. What was
    /// written within the last moments may be missing.
    fn keys_of_ids(
        &self,
        account: &AccountId,
        ids: &[ProductId],
    ) -> impl Future<Output = Result<(HashMap<ProductId, Match>, f64), Self::Error>> + Send;
}
