//! Documents: batch reads by key, and conditional writes that keep whatever is newer.

use std::collections::{BTreeMap, HashMap};

use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};

use super::{
    CONCURRENT_WRITES, Store, StoreError,
    areas::{PLACE_ATTRIBUTES, placed_or_none},
    item::{
        EXPIRES_AT, Item, ORDER, VERSION_ATTRIBUTES, expiry, order_of, order_value, text,
        version_attributes, version_of,
    },
    kinds::range_key,
    ranges::Keys,
};
use crate::{
    account::AccountId,
    imports::{
        Before, ChangeSet, Content, DocumentKey, DocumentStore, Kind, Stored, Version, Write,
    },
    order::Order,
    outcome::WriteError,
};

impl DocumentStore for Store {
    type Error = StoreError;

    async fn stored(
        &self,
        account: &AccountId,
        keys: &[DocumentKey],
    ) -> Result<HashMap<DocumentKey, Stored>, StoreError> {
        const OPERATION: &str = "read stored versions";
        let mut by_kind: BTreeMap<Kind, Vec<String>> = BTreeMap::new();
        for key in keys {
            by_kind.entry(key.kind()).or_default().push(range_key(key));
        }
        let reads = by_kind.into_iter().map(|(kind, names)| async move {
            let place = self.place(kind);
            let (table, range_key) = (place.table, place.range_key);
            let mut projection = format!("{range_key}, #{ORDER}, {VERSION_ATTRIBUTES}");
            if kind == Kind::Offering {
                // Items are charged whole: what entries are made of costs nothing more.
                projection = format!("{projection}, {PLACE_ATTRIBUTES}");
            }
            let projection = Some(projection);
            let wanted = Keys { table, account, range_key, names, projection };
            let items = self.read_keys(OPERATION, wanted).await?;
            Ok::<_, StoreError>((place, items))
        });
        let mut stored = HashMap::with_capacity(keys.len());
        for (place, items) in futures_util::future::try_join_all(reads).await? {
            for item in items {
                let key = place.document_key_of(OPERATION, &item)?;
                let order = order_of(&item, ORDER);
                let offering = match &key {
                    DocumentKey::Offering(_) => placed_or_none(OPERATION, &item),
                    _ => None,
                };
                let before = Before { order, offering };
                stored.insert(key, Stored { order, version: version_of(&item), before });
            }
        }
        Ok(stored)
    }

    async fn write(
        &self,
        account: &AccountId,
        changes: ChangeSet,
    ) -> Result<Vec<(DocumentKey, WriteError)>, StoreError> {
        let has_offerings = changes.iter().any(|(key, _)| key.kind() == Kind::Offering);
        if has_offerings {
            self.mark_if_empty(account).await?;
        }
        let writes = changes.into_iter().map(|(key, write)| async move {
            let failure = self.write_document(account, &key, write).await?;
            Ok::<_, StoreError>(failure.map(|why| (key, why)))
        });
        // Collected first, so that all futures have the same type, whatever they borrow.
        let writes: Vec<_> = writes.collect();
        // Each offering writes its entries concurrently: fewer at once are complete sooner, and what is complete
        // need not be repeated if the group runs out of time.
        let at_once = if has_offerings { CONCURRENT_OFFERINGS } else { CONCURRENT_WRITES };
        let outcomes = stream::iter(writes).buffer_unordered(at_once);
        outcomes.try_filter_map(future::ok).try_collect().await
    }
}

const OPERATION: &str = "write document";

/// The maximum number of offerings that are written concurrently, each with its entries.
const CONCURRENT_OFFERINGS: usize = 16;

/// The attributes of a document besides those that all kinds have. Offerings have other ones.
pub(super) fn own_attributes(content: &Content) -> Item {
    Item::from([("document".to_owned(), text(content.hashed_content()))])
}

impl Store {
    /// The item that a write puts: a version, given its own attributes, or a tombstone.
    pub(super) fn item_of(
        &self,
        (account, key): (&AccountId, &DocumentKey),
        order: Order,
        version: Option<(Item, Version)>,
    ) -> Item {
        let mut item = self.place(key.kind()).item_key(account, key);
        match version {
            Some((own, version)) => item.extend(own.into_iter().chain(version_attributes(version))),
            None => item.extend([(EXPIRES_AT.to_owned(), expiry(self.clock))]),
        }
        item.insert(ORDER.to_owned(), order_value(order));
        self.note_writer(&mut item);
        item
    }

    /// Writes an item unless a newer one is stored.
    async fn write_document(
        &self,
        account: &AccountId,
        key: &DocumentKey,
        change: Write,
    ) -> Result<Option<WriteError>, StoreError> {
        if let DocumentKey::Offering(_) = key {
            return self.write_offering(account, key, change).await;
        }
        let Write { order, version, .. } = change;
        let version = version.map(|(content, version)| (own_attributes(&content), version));
        let item = self.item_of((account, key), order, version);
        match self.put_unless_newer(OPERATION, self.place(key.kind()).table, item, order).await {
            Ok(is_stored) => Ok((!is_stored).then_some(WriteError::Stale)),
            Err(error) => error.write_error().map(Some).ok_or(error),
        }
    }
}
