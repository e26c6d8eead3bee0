//! Many rows at once: rows of one product in their order, all others beside each other.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use futures_util::{StreamExt as _, stream};

use super::{ExternalId, ProductId, ProductRow, ProductWrites, Sku};
use crate::{
    account::AccountId,
    cost::{ReadCost, WriteCost},
};

/// Products written at once. Each has its own connection: more of them cost a small function more CPU
/// for TLS than they save it in waiting.
const CONCURRENCY: usize = 32;

/// What became of a row that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The product.
    pub id: ProductId,
    /// Whether the row made it.
    pub created: bool,
}

/// Why a row was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// It matches nothing, and what is new needs a name.
    #[error("name: Required")]
    NameRequired,
    /// Its external id is another product's.
    #[error("externalId: Already used by another product")]
    ExternalIdTaken,
    /// The database kept refusing it, or time was over.
    #[error("write: temporarily unavailable, retry this row")]
    Unavailable,
    /// A mistake of ours, told in the log alone.
    #[error("write: failed, the cause is logged")]
    Failed,
}

/// What became of a row.
pub type RowResult = Result<Applied, RowError>;

/// Merges rows, and tells what became of each, in their order. What is not written by `until` is
/// refused, never left open.
pub async fn upsert<W: ProductWrites>(
    writes: &W,
    account: &AccountId,
    rows: &[ProductRow],
    until: Instant,
    read_cost: &mut ReadCost,
    write_cost: &mut WriteCost,
) -> Vec<RowResult> {
    // Made in the order of the rows, so that newest first is the last row first.
    let ids: Vec<ProductId> =
        rows.iter().map(|row| row.id.unwrap_or_else(ProductId::generate)).collect();
    let until = until.into();
    let links = match linked(writes, account, rows, until, read_cost).await {
        Ok(links) => links,
        Err(error) => return vec![Err(error); rows.len()],
    };
    let groups = same_product(rows, &links);
    let ids = &ids;
    let outcomes = stream::iter(groups)
        .map(|group| async move {
            let mut cost = WriteCost::default();
            let mut outcomes = Vec::with_capacity(group.len());
            for place in group {
                let write = writes.apply(account, &rows[place], ids[place], &mut cost);
                let outcome = tokio::time::timeout_at(until, write).await;
                outcomes.push((place, outcome.unwrap_or(Err(RowError::Unavailable))));
            }
            (outcomes, cost)
        })
        .buffer_unordered(CONCURRENCY)
        .collect::<Vec<_>>()
        .await;
    let mut results = vec![Err(RowError::Unavailable); rows.len()];
    for (outcomes, cost) in outcomes {
        write_cost.requests += cost.requests;
        write_cost.write_units += cost.write_units;
        for (place, outcome) in outcomes {
            results[place] = outcome;
        }
    }
    results
}

/// The skus of external ids, where it matters: when some rows name products by sku and others by
/// external id alone, they may name the same one.
async fn linked<W: ProductWrites>(
    writes: &W,
    account: &AccountId,
    rows: &[ProductRow],
    until: tokio::time::Instant,
    cost: &mut ReadCost,
) -> Result<HashMap<ExternalId, Sku>, RowError> {
    let by_sku = rows.iter().any(|row| row.sku.value().is_some());
    let mut external_ids: Vec<ExternalId> = rows
        .iter()
        .filter(|row| row.sku.value().is_none())
        .filter_map(|row| row.external_id.value().cloned())
        .collect();
    if !by_sku || external_ids.is_empty() {
        return Ok(HashMap::new());
    }
    external_ids.sort();
    external_ids.dedup();
    let links = writes.linked_skus(account, &external_ids, cost);
    tokio::time::timeout_at(until, links).await.unwrap_or(Err(RowError::Unavailable))
}

/// The first of the rows that a row is known to be of one product with.
fn find(leader: &mut [usize], mut place: usize) -> usize {
    while leader[place] != place {
        leader[place] = leader[leader[place]];
        place = leader[place];
    }
    place
}

/// The places of rows, a group a product, each in order.
fn same_product(rows: &[ProductRow], links: &HashMap<ExternalId, Sku>) -> Vec<Vec<usize>> {
    // Rows are of one product when any key is the same, directly or by way of other rows.
    let mut leader: Vec<usize> = (0..rows.len()).collect();
    let mut skus: HashMap<&Sku, usize> = HashMap::new();
    let mut external_ids: HashMap<&ExternalId, usize> = HashMap::new();
    for (place, row) in rows.iter().enumerate() {
        let linked = row.external_id.value().and_then(|id| links.get(id));
        let others = [
            row.sku.value().map(|sku| *skus.entry(sku).or_insert(place)),
            linked.map(|sku| *skus.entry(sku).or_insert(place)),
            row.external_id.value().map(|id| *external_ids.entry(id).or_insert(place)),
        ];
        for other in others.into_iter().flatten() {
            let (a, b) = (find(&mut leader, place), find(&mut leader, other));
            leader[a.max(b)] = a.min(b);
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for place in 0..rows.len() {
        groups.entry(find(&mut leader, place)).or_default().push(place);
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::products::Change;

    fn row(sku: &str, external_id: &str) -> ProductRow {
        ProductRow {
            sku: Sku::parse(sku).map_or(Change::Keep, Change::Set),
            external_id: ExternalId::parse(external_id).map_or(Change::Keep, Change::Set),
            ..ProductRow::default()
        }
    }

    #[test]
    fn rows_of_one_product_are_one_group_in_their_order() {
        let rows = [
            row("a", ""),
            row("", "1"),
            row("b", "1"),
            row("", ""),
            row("a", ""),
            row("", "2"),
            row("c", ""),
            row("", ""),
            row("b", ""),
        ];
        let key = |text| ExternalId::parse(text).expect("id");
        let links = HashMap::from([(key("2"), Sku::parse("c").expect("sku"))]);
        let groups = same_product(&rows, &links);
        assert_eq!(groups, [vec![0, 4], vec![1, 2, 8], vec![3], vec![5, 6], vec![7]]);
    }
}
