//! Changes of a product's keys: its items are read, and rewritten in one transaction on the condition that
//! nothing has changed in between.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem};

use super::{
    Obstacle,
    item::{Found, LAST, item_key, own_key, product_item, range_key},
    upsert::Upsert,
};
use crate::{
    account::AccountId,
    order::Order,
    products::{
        Applied, FieldOrders, Product, ProductId, ProductKey, ProductRow, RowError, StoredProduct,
    },
    store::{
        Store, StoreError,
        item::{EXPIRES_AT, Item, ORDER, expiry, number, order_value, text},
    },
};

impl Store {
    /// What is stored under a key, read consistently.
    async fn find(&self, account: &AccountId, key: &str) -> Result<Option<Found>, StoreError> {
        const OPERATION: &str = "read product";
        let key = item_key(account, key);
        let item = self.get(OPERATION, &self.tables.products, key, true).await?;
        item.map(|item| Found::read(OPERATION, &item)).transpose()
    }

    /// Adds what is stored under these keys, and under the keys that links lead to.
    pub(super) async fn read_keys_into(
        &self,
        account: &AccountId,
        keys: impl IntoIterator<Item = String>,
        seen: &mut Seen,
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
            for (key, found) in wanted.iter().zip(found.await?) {
                seen.insert(key.clone(), found);
            }
        }
    }

    /// Merges a row that changes the keys of its product, or creates a product with several keys. `there` is
    /// what was found under the row's first key.
    pub(super) async fn rewrite(
        &self,
        upsert: Upsert<'_>,
        key: &str,
        there: Option<Item>,
    ) -> Result<Applied, Obstacle> {
        let Upsert { account, row, order, .. } = upsert;
        let there = there.map(|item| Found::read(REWRITE, &item)).transpose()?;
        let mut seen = Seen::from([(key.to_owned(), there)]);
        let keys = RowKeys::of(row);
        self.read_keys_into(account, keys.all(), &mut seen).await?;
        let matched = keys.matched(row, order, &seen)?;
        if let Some(StoredProduct { product, .. }) = matched.as_ref().map(|at| &*at.stored) {
            // If an import gave the product its id, the item of the id is a link to it.
            let id_key = range_key(&ProductKey::Id(product.id));
            self.read_keys_into(account, [id_key], &mut seen).await?;
        }

        let before = match &matched {
            Some(at) => at.stored.orders.clone(),
            None => keys.deleted(&seen),
        };
        if let Some(last) = before.last.filter(|_| !before.admits(order))
            && upsert.moves_after(last, self.clock.now())
        {
            return Err(Obstacle::Newer(last));
        }
        let late = before.late(row, order);
        let mut orders = before.clone();
        orders.note(&late, order);
        let product = if let Some(at) = &matched {
            let mut product = at.stored.product.clone();
            product.merge(&late);
            if product == at.stored.product && !before.admits(order) {
                return Ok(upsert.nothing_remains(product.id)?);
            }
            if before.admits(order) {
                product.updated_at = order.time();
            }
            product
        } else if row.name.is_some() && late.name.is_none() {
            return Ok(upsert.nothing_remains(upsert.new_id)?);
        } else {
            let id = keys.free_id(row, &seen).unwrap_or(upsert.new_id);
            Product::created(&late, id, order.time()).ok_or(RowError::NameRequired)?
        };
        let after = StoredProduct { product, orders };

        let mut writes = Rewrite::new(self, account, &seen);
        let new_key = own_key(&after.product);
        let revision =
            |key: &str| seen.get(key).and_then(Option::as_ref).map_or(0, Found::revision);
        let mut next = revision(&new_key) + 1;
        let links = links_of(&after.product, row.id, &seen);
        if let Some(at) = &matched {
            next = next.max(at.revision + 1);
            // The keys that the product keeps are put below instead.
            for link in links_of(&at.stored.product, None, &seen) {
                writes.unlink(&link, &at.key)?;
            }
            writes.delete(&at.key)?;
        }
        writes.put(&new_key, product_item(account, &after, next))?;
        for link in links {
            let mut item = item_key(account, &link);
            item.insert("linkedTo".to_owned(), text(new_key.as_str()));
            writes.put(&link, item)?;
        }
        writes.commit(REWRITE).await?;
        let id = after.product.id;
        // An earlier attempt of the same row may have created it; but an id that an import brings may belong to an
        // older product.
        let is_own = |last: Order| last.is_of_same_write(order);
        let created = matched.is_none()
            || id == upsert.new_id && (row.id.is_none() || before.last.is_some_and(is_own));
        Ok(Applied { id, created, order })
    }
}

/// What was found under each key.
pub(super) type Seen = BTreeMap<String, Option<Found>>;

/// A product, and the key under which it was found.
pub(super) struct FoundProduct {
    pub(super) key: String,
    pub(super) stored: Box<StoredProduct>,
    pub(super) revision: u64,
}

pub(super) fn product_at(seen: &Seen, key: &str) -> Option<FoundProduct> {
    match seen.get(key) {
        Some(Some(Found::Product { stored, revision })) => {
            Some(FoundProduct { key: key.to_owned(), stored: stored.clone(), revision: *revision })
        }
        _ => None,
    }
}

/// The keys of the links to a product: of its external id, if it has a sku, too; and of its id, if an import
/// brings it or has brought it.
fn links_of(product: &Product, brought: Option<ProductId>, seen: &Seen) -> Vec<String> {
    let key = own_key(product);
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

    /// The orders of the deletes by any of its keys.
    fn deleted(&self, seen: &Seen) -> FieldOrders {
        let mut deleted = FieldOrders::default();
        for key in self.all() {
            if let Some(Some(found @ Found::Deleted { .. })) = seen.get(&key) {
                let orders = found.orders();
                deleted.floor = deleted.floor.max(orders.floor);
                deleted.last = deleted.last.max(orders.last);
            }
        }
        deleted
    }

    /// The product that a row is about.
    fn matched(
        &self,
        row: &ProductRow,
        order: Order,
        seen: &Seen,
    ) -> Result<Option<FoundProduct>, Obstacle> {
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
        let taken = |at: FoundProduct| {
            Err(RowError::ExternalIdInUse { by: at.stored.product.key() }.into())
        };
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
    fn by_id(&self, row: &ProductRow, seen: &Seen) -> Option<FoundProduct> {
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
pub(super) struct Rewrite<'a> {
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
    pub(super) fn new(store: &'a Store, account: &'a AccountId, seen: &'a Seen) -> Self {
        Self { store, account, seen, items: BTreeMap::new() }
    }

    pub(super) async fn commit(self, operation: &'static str) -> Result<(), Obstacle> {
        let items = self.items.into_values().collect();
        Ok(self.store.transact(operation, items).await?)
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

    pub(super) fn put(&mut self, key: &str, mut item: Item) -> Result<(), StoreError> {
        self.store.note_writer(&mut item);
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
    pub(super) fn put_tombstone(
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
        item.insert("revision".to_owned(), number(revision));
        item.insert(EXPIRES_AT.to_owned(), expiry(self.store.clock()));
        self.put(key, item)
    }
}
