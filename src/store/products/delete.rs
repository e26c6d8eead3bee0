//! What imports read of products, and their removal.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};

use super::{
    CONFLICTS, NEWEST, Obstacle,
    item::{Attributes, Found, product_item, range_key},
    rewrite::{FoundProduct, Rewrite, Seen, product_at},
};
use crate::{
    account::AccountId,
    outcome::Outcome,
    products::{
        ProductDelete, ProductId, ProductKey, ProductRemoval, Remainder, RowError, StoredProduct,
    },
    retry::Patience,
    store::{
        Store, StoreError,
        batch::CONCURRENT_BATCHES,
        item::{text, text_of},
        ranges::Keys,
    },
};

impl ProductDelete for Store {
    type Error = StoreError;

    async fn stored_products(
        &self,
        account: &AccountId,
        wanted: &[ProductKey],
    ) -> Result<HashMap<ProductKey, StoredProduct>, StoreError> {
        const OPERATION: &str = "read stored products";
        let found = self.found(OPERATION, account, wanted.iter().map(range_key).collect()).await?;
        let linked: HashSet<String> = found
            .values()
            .filter_map(|found| match found {
                Found::Link(target) => Some(target.clone()),
                Found::Product { .. } | Found::Deleted { .. } => None,
            })
            .filter(|target| !found.contains_key(target))
            .collect();
        let targets = self.found(OPERATION, account, linked.into_iter().collect()).await?;
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
        Ok(products)
    }

    async fn delete_product(
        &self,
        account: &AccountId,
        product: &ProductKey,
        removal: ProductRemoval,
    ) -> Result<Outcome, RowError> {
        let mut conflicts = 0;
        loop {
            match self.remove_product(account, product, removal).await {
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
    ) -> Result<HashMap<ProductId, ProductKey>, StoreError> {
        const OPERATION: &str = "find products by id";
        let replies = stream::iter(ids.iter().copied())
            .map(|id| async move {
                let condition = "account = :account AND id = :id";
                let query = self
                    .query_of(account, &self.tables.products, condition)
                    .index_name(NEWEST)
                    .expression_attribute_values(":id", text(id.to_string()));
                let reply = self.query(OPERATION, query).await?;
                let item = reply.items.unwrap_or_default().into_iter().next();
                let product =
                    item.map(|item| Attributes { operation: OPERATION, item: &item }.product());
                Ok::<_, StoreError>(product.transpose()?.map(|product| (id, product.key())))
            })
            .buffer_unordered(CONCURRENT_BATCHES);
        replies.try_filter_map(future::ok).try_collect().await
    }
}

impl Store {
    async fn found(
        &self,
        operation: &'static str,
        account: &AccountId,
        keys: Vec<String>,
    ) -> Result<HashMap<String, Found>, StoreError> {
        let (table, range_key) = (self.tables.products.as_str(), "productKey");
        let wanted = Keys { table, account, range_key, names: keys, projection: None };
        let items = self.read_keys(operation, wanted).await?;
        let mut found = HashMap::with_capacity(items.len());
        for item in &items {
            let key = text_of(item, range_key);
            let key = key.ok_or_else(|| StoreError::unreadable(operation, "no productKey"))?;
            found.insert(key.to_owned(), Found::read(operation, item)?);
        }
        Ok(found)
    }

    /// Removes what is older than the removal from the product that a key leads to.
    async fn remove_product(
        &self,
        account: &AccountId,
        product: &ProductKey,
        removal: ProductRemoval,
    ) -> Result<Outcome, Obstacle> {
        let order = removal.order;
        let named = range_key(product);
        let mut seen = Seen::new();
        self.read_keys_into(account, [named.clone()], &mut seen).await?;
        let linked = match &seen[&named] {
            Some(Found::Link(target)) => Some(target.clone()),
            _ => None,
        };
        let key = linked.clone().unwrap_or_else(|| named.clone());
        let Some(FoundProduct { stored, revision, .. }) = product_at(&seen, &key) else {
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
                writes.put_tombstone(&key, order, orders.last, revision)?;
                writes.commit(REMOVE).await?;
            }
            return Ok(Outcome::Unchanged);
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
        match stored.after(removal) {
            Remainder::All => return Err(RowError::Stale.into()),
            Remainder::Some(after) => {
                let mut writes = Rewrite::new(self, account, &seen);
                writes.put(&key, product_item(account, &after, revision + 1))?;
                writes.commit(REMOVE).await?;
                return Ok(stored.outcome_of(&after));
            }
            Remainder::Nothing => {}
        }
        let external_id = stored_product.external_id.clone().map(ProductKey::ExternalId);
        let other_keys = external_id.into_iter().chain([ProductKey::Id(stored_product.id)]);
        let other_keys: Vec<String> = other_keys.map(|key| range_key(&key)).collect();
        self.read_keys_into(account, other_keys.clone(), &mut seen).await?;
        let mut writes = Rewrite::new(self, account, &seen);
        writes.put_tombstone(&key, order, orders.last, revision + 1)?;
        // An older row may use any key of the product, and bring the id with which it was created.
        for other in other_keys.iter().filter(|other| **other != key) {
            match &seen[other] {
                Some(found @ Found::Deleted { orders, .. }) if orders.floor < Some(order) => {
                    writes.put_tombstone(other, order, orders.last, found.revision() + 1)?;
                }
                Some(found) if !found.leads_to(&key) => {}
                _ => writes.put_tombstone(other, order, None, 1)?,
            }
        }
        writes.commit(REMOVE).await?;
        Ok(Outcome::Deleted)
    }
}

const REMOVE: &str = "delete product";
