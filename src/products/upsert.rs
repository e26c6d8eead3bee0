//! Bulk upserts: rows of one product are written in sequence, different products concurrently.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use super::{
    ExternalId, OrderedRow, ProductId, ProductKey, ProductRow, ProductWrites, Sku, WhenOlder,
};
use crate::{
    account::AccountId,
    idempotency::RequestIdentity,
    order::{Order, Origin},
    text::{Fault, FieldError},
};

/// The number of products written concurrently. Each has its own connection: more connections would cost a
/// small function more CPU time for TLS than they save in waiting.
const CONCURRENCY: usize = 32;

/// How long the lookup of links may take; the rest of the time is for the rows.
const LINKS_TIME: Duration = Duration::from_secs(5);

/// The result of a row that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    pub id: ProductId,
    pub created: bool,
    pub order: Order,
}

/// Why a row was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.field_error())]
pub enum RowError {
    /// It matches no product, and a new product needs a name.
    NameRequired,
    /// Its external id is in use by another product.
    ExternalIdInUse {
        /// How to find that product.
        by: ProductKey,
    },
    /// The database rejected it again and again, or did not answer before the deadline.
    Unavailable,
    /// The record of an import is older than what is stored.
    Stale,
    /// An internal error. The cause is only for the log.
    Failed {
        /// The cause.
        cause: String,
    },
}

impl RowError {
    /// What the sender is told.
    #[must_use]
    pub fn field_error(&self) -> FieldError {
        let (field, message, fault) = match self {
            Self::NameRequired => ("name", "Required", Fault::Missing),
            Self::ExternalIdInUse { .. } => {
                ("externalId", "Already used by another product", Fault::Invalid)
            }
            Self::Unavailable => {
                ("write", "temporarily unavailable, retry this row", Fault::Invalid)
            }
            Self::Stale => ("updatedAt", "older than what is stored", Fault::Invalid),
            Self::Failed { .. } => ("write", "failed, the cause is logged", Fault::Invalid),
        };
        FieldError::new(field, message).with_fault(fault)
    }
}

pub type RowResult = Result<Applied, RowError>;

/// The rows of a client's request. They take effect in their order, at the time the request first arrived.
#[must_use]
pub fn arrived<'a>(rows: &'a [ProductRow], request: &RequestIdentity) -> Vec<OrderedRow<'a>> {
    let RequestIdentity { arrived_at, name, is_repeated } = request;
    let origin = Origin::new(*arrived_at, name);
    let when_older =
        if *is_repeated { WhenOlder::CountAsWritten } else { WhenOlder::MoveAfterNewest };
    // Ids sort by the place of the row. So the last row comes first in a list, newest first.
    let ordered = (1..).zip(rows).map(|(line, row)| OrderedRow {
        row,
        order: origin.order(line),
        when_older,
        new_id: ProductId::of_record(*arrived_at, name, line),
    });
    ordered.collect()
}

/// Merges rows, and returns the result of each, in their order. Rows that are not written by `until` are
/// rejected, so every row has a definite result.
pub async fn upsert<W: ProductWrites>(
    writes: &W,
    account: &AccountId,
    rows: &[OrderedRow<'_>],
    until: Instant,
) -> Vec<RowResult> {
    let named = rows.iter().filter_map(|row| row.row.key()).collect();
    let run = Run { writes, account, rows, named, until };
    let mut results = vec![Err(RowError::Unavailable); rows.len()];
    // Without its link, a row with only an external id could belong to any product: it is not attempted.
    let (links, unknown) = match run.links().await {
        Ok(links) => (links, false),
        Err(_) => (HashMap::new(), true),
    };
    let mut waiting = same_product(rows, &links);
    if unknown {
        waiting.retain(|group| group.iter().all(|place| rows[*place].row.sku.value().is_some()));
    }
    // One row may give up an external id that another one needs. So rows rejected because their external id
    // is in use are retried after all others, as long as any such row makes progress.
    let mut on_id_in_use = OnIdInUse::Wait;
    while !waiting.is_empty() {
        let mut done = 0;
        let mut left = Vec::new();
        let mut outcomes = stream::iter(waiting)
            .map(|group| run.in_order(group, on_id_in_use))
            .buffer_unordered(CONCURRENCY);
        while let Some((settled, rest)) = outcomes.next().await {
            done += settled.len();
            for (place, result) in settled {
                results[place] = result;
            }
            if !rest.is_empty() {
                left.push(rest);
            }
        }
        drop(outcomes);
        if done == 0 {
            on_id_in_use = OnIdInUse::Reject;
        }
        left.sort_unstable();
        waiting = left;
    }
    results
}

/// What to do with a row whose external id is in use by a product that other rows of the request name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnIdInUse {
    /// Retry it, and the rows after it, later.
    Wait,
    /// Reject it.
    Reject,
}

/// The upsert of one request.
struct Run<'a, W> {
    writes: &'a W,
    account: &'a AccountId,
    rows: &'a [OrderedRow<'a>],
    /// The keys by which the rows find their products.
    named: HashSet<ProductKey>,
    until: Instant,
}

impl<W: ProductWrites> Run<'_, W> {
    /// Writes rows in sequence; returns their results, and the rows that are left for later.
    async fn in_order(
        &self,
        places: Vec<usize>,
        on_id_in_use: OnIdInUse,
    ) -> (Vec<(usize, RowResult)>, Vec<usize>) {
        let mut done = Vec::with_capacity(places.len());
        for (at, &place) in places.iter().enumerate() {
            // A timeout only checks the time after its future was polled once, and a thousand first polls
            // take time.
            let result = if Instant::now() >= self.until {
                Err(RowError::Unavailable)
            } else {
                let write = self.writes.apply(self.account, self.rows[place]);
                let outcome = tokio::time::timeout_at(self.until, write).await;
                outcome.unwrap_or(Err(RowError::Unavailable))
            };
            if let (OnIdInUse::Wait, Err(RowError::ExternalIdInUse { by })) =
                (on_id_in_use, &result)
                && self.named.contains(by)
            {
                return (done, places[at..].to_vec());
            }
            done.push((place, result));
        }
        (done, Vec::new())
    }

    /// The skus of external ids, if they are needed: rows with a sku and rows with only an external id may
    /// belong to the same product.
    async fn links(&self) -> Result<HashMap<ExternalId, Sku>, RowError> {
        let rows = self.rows.iter().map(|row| row.row);
        let by_sku = rows.clone().any(|row| row.sku.value().is_some());
        let mut external_ids: Vec<ExternalId> = rows
            .filter(|row| row.sku.value().is_none())
            .filter_map(|row| row.external_id.value().cloned())
            .collect();
        if !by_sku || external_ids.is_empty() {
            return Ok(HashMap::new());
        }
        external_ids.sort();
        external_ids.dedup();
        let links = self.writes.linked_skus(self.account, &external_ids);
        let until = self.until.min(Instant::now() + LINKS_TIME);
        tokio::time::timeout_at(until, links).await.unwrap_or(Err(RowError::Unavailable))
    }
}

/// Union-find: the first of the rows that are known to belong to the same product as this one.
fn find(leader: &mut [usize], mut place: usize) -> usize {
    while leader[place] != place {
        leader[place] = leader[leader[place]];
        place = leader[place];
    }
    place
}

/// The positions of the rows, those of one product together and in order (union-find).
fn same_product(rows: &[OrderedRow<'_>], links: &HashMap<ExternalId, Sku>) -> Vec<Vec<usize>> {
    // Rows belong to one product if they share any key, directly or through other rows.
    let mut leader: Vec<usize> = (0..rows.len()).collect();
    let mut skus: HashMap<&Sku, usize> = HashMap::new();
    let mut external_ids: HashMap<&ExternalId, usize> = HashMap::new();
    let mut ids: HashMap<ProductId, usize> = HashMap::new();
    for (place, OrderedRow { row, .. }) in rows.iter().enumerate() {
        let linked = row.external_id.value().and_then(|id| links.get(id));
        let others = [
            row.sku.value().map(|sku| *skus.entry(sku).or_insert(place)),
            linked.map(|sku| *skus.entry(sku).or_insert(place)),
            row.external_id.value().map(|id| *external_ids.entry(id).or_insert(place)),
            row.id.map(|id| *ids.entry(id).or_insert(place)),
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
mod tests;
