//! Records as an export writes them: what is stored, and what would be stored, for dry runs that show differences.

use std::collections::{BTreeMap, HashMap};

use super::{
    Store, StoreError,
    batch::KeyToRead,
    documents::own_attributes,
    export::NetworkWithBundles,
    item::{OfferingItem, write},
    records::{bundle, exported, product},
};
use crate::{
    account::AccountId,
    imports::{Content, DocumentKey, ExportedRecords, Kind, Version},
    networks::{Bundle, NetworkId, NetworkState},
    order::Order,
    products::StoredProduct,
};

const OPERATION: &str = "read stored documents";

impl ExportedRecords for Store {
    type Error = StoreError;

    async fn stored_documents(
        &self,
        account: &AccountId,
        keys: &[DocumentKey],
    ) -> Result<HashMap<DocumentKey, String>, StoreError> {
        let mut by_kind: BTreeMap<Kind, Vec<KeyToRead>> = BTreeMap::new();
        for key in keys {
            let place = self.place(key.kind());
            // One by one: a range would read what does not differ, too.
            by_kind.entry(key.kind()).or_default().push(KeyToRead {
                table: place.table.to_owned(),
                key: place.item_key(account, key),
                projection: None,
            });
        }
        let mut documents = HashMap::with_capacity(keys.len());
        for (kind, wanted) in by_kind {
            for item in self.read_items(OPERATION, wanted).await? {
                let key = self.place(kind).document_key_of(OPERATION, &item)?;
                let record = exported(OPERATION, self.place(kind), item)?;
                documents.extend(record.map(|record| (key, record.json)));
            }
        }
        Ok(documents)
    }

    fn document(
        &self,
        account: &AccountId,
        key: &DocumentKey,
        order: Order,
        (content, version): (Content, Version),
    ) -> Result<Option<String>, StoreError> {
        let own = match content {
            Content::Offering(offering) => {
                let row = offering.into_stored(version.created_at, order.time());
                write(OPERATION, OfferingItem::new(account, row))?
            }
            content => own_attributes(&content),
        };
        let item = self.item_of((account, key), order, Some((own, version)));
        let record = exported(OPERATION, self.place(key.kind()), item)?;
        Ok(record.map(|record| record.json))
    }

    fn network(state: &NetworkState) -> Option<String> {
        let bundles = state.bundles.values();
        let visible = bundles.clone().filter_map(|stored| {
            stored.bundle.as_ref().map(|bundle| (bundle.document(), stored.order))
        });
        let visible: Vec<_> = visible.collect();
        let Some(network) = &state.network else {
            let bundles: Vec<String> = visible.into_iter().map(|(document, _)| document).collect();
            let bundles = bundles.join(",");
            return (!bundles.is_empty())
                .then(|| format!("{{\"kind\":\"network\",\"fixed_bundles\":[{bundles}]}}"));
        };
        let whole = NetworkWithBundles {
            network: network.clone(),
            own: state.order,
            newest: bundles
                .map(|stored| stored.order)
                .max()
                .flatten()
                .max(state.order)
                .max(state.set_order),
            bundles: visible,
        };
        Some(whole.record())
    }

    fn bundle(network: NetworkId, published: &Bundle, order: Option<Order>) -> String {
        bundle(network, &published.document(), order)
    }

    fn product(stored: &StoredProduct) -> String {
        product(&stored.product)
    }
}
