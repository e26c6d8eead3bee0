//! One page of a list by country, region or catalog: merges the entries of the areas in the order of the list,
//! and reads the offerings that they name.
//!
//! # What a page costs
//! An entry is only a key, so half a read unit reads about 27 of them; an offering costs half a unit for every
//! 4 KB. Offerings are read only if they belong on the page: the entry after the last one
//! shows whether there is a next page. A filter by one area, or by several of one kind, reads only matching entries.
//! Filters of several kinds (a country and a catalog) are intersected: each side skips to the current key of the
//! other (a leapfrog join), and no offering is read for an entry that only one side has.
//!
//! # When a page ends
//! As every page does (see `listing`): when it is full, when one more offering would exceed the size of a
//! reply, when the list has ended, when the budget is spent, or before it would read more than 200 empty ranges.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    future::Future,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Area, AreaFilter, Bound, Budget, KeyRange, ListPosition, Listing, OfferingFilter, OfferingId,
    OfferingKey, Plan, StoredOffering, listing::MAX_EMPTY_RANGES,
};
use crate::{account::AccountId, json::PAGE_BYTES};

/// The entries that half a read unit has, with keys of usual length.
const ENTRIES_PER_READ: u32 = 27;

/// The maximum number of entries in one read.
const MAX_ENTRIES: u32 = 1_000;

/// How many offerings are read before their size is known: fewer than fit on a page, however large they are.
const FIRST_OFFERINGS: usize = 10;

/// How much the number of offerings read at once may grow, in case the next ones are larger.
const GROWTH: usize = 4;

/// How many ranges are read concurrently.
const CONCURRENT_RANGES: usize = 16;

/// The maximum number of offerings in one request.
const OFFERINGS_PER_READ: usize = 100;

/// Access pattern: the entries of an area, and the offerings that they name.
pub trait OfferingAreas: Sync {
    /// An error of the database.
    type Error: Send;

    /// At most `limit` entries of a key range in an area, in order.
    fn entries(
        &self,
        account: &AccountId,
        area: &Area,
        range: KeyRange<'_>,
        from: Bound<'_>,
        limit: u32,
    ) -> impl Future<Output = Result<EntryPage, Self::Error>> + Send;

    /// The offerings with these ids, at most a hundred, and the read units that they cost.
    fn offerings(
        &self,
        account: &AccountId,
        ids: &[OfferingId],
    ) -> impl Future<Output = Result<(HashMap<OfferingId, StoredOffering>, f64), Self::Error>> + Send;
}

/// Entries of one range.
#[derive(Clone, Debug, Default)]
pub struct EntryPage {
    /// Their keys.
    pub keys: Vec<OfferingKey>,
    /// Whether the range has ended.
    pub is_last: bool,
    /// Read units consumed.
    pub read_units: f64,
}

/// The entries of one area in one key range, read a page at a time.
struct Entries<'a> {
    area: &'a Area,
    keys: VecDeque<OfferingKey>,
    /// The last key that was read; the next read begins after it.
    last: Option<OfferingKey>,
    has_ended: bool,
    was_read: bool,
}

/// What reading a page has cost so far.
#[derive(Debug, Default)]
struct Spent {
    reads: u32,
    read_units: f64,
    empty_ranges: u32,
}

/// Reads one page of at most `limit` offerings, starting at `start`.
///
/// # Errors
/// The first error of a read; the page is then discarded.
pub async fn list_by_area<S: OfferingAreas>(
    store: &S,
    account: &AccountId,
    plan: &Plan,
    by_area: &AreaFilter<'_>,
    start: ListPosition,
    limit: u32,
    budget: Budget,
) -> Result<Listing, S::Error> {
    let AreaFilter { filter, sets } = by_area;
    // If the first set has no entries in a key range, the others are not read.
    let ranges = u32::try_from(sets.first().map_or(0, Vec::len)).unwrap_or(u32::MAX);
    let mut page = Page {
        store,
        account,
        filter,
        limit,
        budget,
        offerings: Vec::new(),
        bytes: 0,
        last_batch: None,
        advanced: false,
        spent: Spent::default(),
    };
    let mut number = start.range;
    let mut after = start.after;
    while let Some(range) = plan.range(number) {
        // No filter has more areas than that, so the first range of a page is always read, and a list ends.
        let would_be_empty = page.spent.empty_ranges.saturating_add(ranges);
        if would_be_empty > MAX_EMPTY_RANGES || page.is_over() {
            return Ok(page.finish(Some(ListPosition { range: number, after: None })));
        }
        let mut matches = Matches::new(sets, range, after.take());
        if let Some(last) = page.fill(&mut matches).await? {
            return Ok(page.finish(Some(ListPosition { range: number, after: last })));
        }
        number += 1;
        page.advanced = true;
    }
    Ok(page.finish(None))
}

/// The page in progress.
struct Page<'a, S> {
    store: &'a S,
    account: &'a AccountId,
    filter: &'a OfferingFilter,
    limit: u32,
    budget: Budget,
    offerings: Vec<StoredOffering>,
    bytes: usize,
    /// How many offerings were read last, and the largest of all that were read, as bytes of a reply.
    last_batch: Option<(usize, usize)>,
    /// Whether the next page will begin after this one.
    advanced: bool,
    spent: Spent,
}

impl<S: OfferingAreas> Page<'_, S> {
    fn room(&self) -> usize {
        (self.limit as usize).saturating_sub(self.offerings.len())
    }

    fn is_over(&self) -> bool {
        self.budget.is_spent(self.spent.reads, self.spent.read_units)
    }

    /// Adds the matches of a key range. Returns the key after which the next page begins, if this one has to end;
    /// `None`: the key range has ended.
    async fn fill(
        &mut self,
        matches: &mut Matches<'_>,
    ) -> Result<Option<Option<OfferingKey>>, S::Error> {
        let mut passed = matches.after.clone();
        loop {
            // One more than fits tells whether there is a next page.
            let wanted = self.room().min(self.next_batch()) + 1;
            let mut keys: Vec<OfferingKey> = Vec::new();
            while keys.len() < wanted {
                match matches.next(self).await? {
                    Next::Key(key) => keys.push(key),
                    Next::BudgetSpent(at) if keys.is_empty() => return Ok(Some(at.or(passed))),
                    Next::End | Next::BudgetSpent(_) => break,
                }
            }
            if keys.is_empty() {
                return Ok(None);
            }
            if self.room() == 0 {
                return Ok(Some(passed));
            }
            if keys.len() == wanted {
                matches.put_back = keys.pop();
            }
            // A leftover entry can list an offering twice.
            let ids: BTreeSet<OfferingId> = keys.iter().map(|key| key.id.clone()).collect();
            let ids: Vec<OfferingId> = ids.into_iter().collect();
            let (mut offerings, read_units) = self.store.offerings(self.account, &ids).await?;
            self.spent.reads += 1;
            self.spent.read_units += read_units;
            let mut largest = self.last_batch.map_or(0, |(_, largest)| largest);
            for key in keys {
                let is_match =
                    |offering: &StoredOffering| matches.admits(offering, &key, self.filter);
                if offerings.get(&key.id).is_some_and(is_match)
                    && let Some(offering) = offerings.remove(&key.id)
                {
                    let bytes = offering.document.escaped_len() + 1;
                    largest = largest.max(bytes);
                    if !self.offerings.is_empty() && self.bytes + bytes > PAGE_BYTES {
                        return Ok(Some(passed));
                    }
                    self.bytes += bytes;
                    self.offerings.push(offering);
                }
                passed = Some(key);
            }
            self.last_batch = Some((ids.len(), largest));
            if self.is_over() && matches.may_have_more() {
                return Ok(Some(passed));
            }
        }
    }

    /// How many offerings to read next: as many as will fit, judging by the largest that was read.
    fn next_batch(&self) -> usize {
        let Some((count, largest)) = self.last_batch else { return FIRST_OFFERINGS };
        let left = PAGE_BYTES.saturating_sub(self.bytes);
        let fitting = left.checked_div(largest).unwrap_or(OFFERINGS_PER_READ);
        fitting.min(count.saturating_mul(GROWTH)).clamp(1, OFFERINGS_PER_READ)
    }

    fn finish(self, next: Option<ListPosition>) -> Listing {
        Listing { offerings: self.offerings, next }
    }
}

/// The next key that matches.
enum Next {
    /// The next matching key.
    Key(OfferingKey),
    /// The key range has no more.
    End,
    /// The budget is spent; everything up to this key was examined.
    BudgetSpent(Option<OfferingKey>),
}

/// The keys of one key range that are in at least one area of each set, in order.
struct Matches<'a> {
    range: KeyRange<'a>,
    sets: Vec<Vec<Entries<'a>>>,
    /// All matches up to this key have been returned.
    after: Option<OfferingKey>,
    /// A key that was read ahead and returned.
    put_back: Option<OfferingKey>,
}

impl<'a> Matches<'a> {
    fn new(areas: &'a [Vec<Area>], range: KeyRange<'a>, after: Option<OfferingKey>) -> Self {
        let entries = |area: &'a Area| Entries {
            area,
            keys: VecDeque::new(),
            last: after.clone(),
            has_ended: false,
            was_read: false,
        };
        let sets = areas.iter().map(|set| set.iter().map(entries).collect()).collect();
        Self { range, sets, after, put_back: None }
    }

    fn may_have_more(&self) -> bool {
        let has =
            |set: &Vec<Entries<'_>>| set.iter().any(|one| !one.keys.is_empty() || !one.has_ended);
        self.put_back.is_some() || self.sets.iter().all(has)
    }

    /// Whether an offering is what its entry says: an entry may outlive a change of its offering.
    fn admits(
        &self,
        offering: &StoredOffering,
        key: &OfferingKey,
        filter: &OfferingFilter,
    ) -> bool {
        (offering.status, offering.product_type) == (key.status, key.product_type)
            && offering.visibility.customer_type == self.range.customer_type
            && self.range.category.is_none_or(|wanted| offering.category.as_ref() == Some(wanted))
            && filter.admits(offering)
    }

    async fn next<S: OfferingAreas>(&mut self, page: &mut Page<'_, S>) -> Result<Next, S::Error> {
        if let Some(key) = self.put_back.take() {
            return Ok(Next::Key(key));
        }
        // No set has a match before this key.
        let mut candidate: Option<OfferingKey> = None;
        loop {
            let mut agreed = 0;
            for number in 0..self.sets.len() {
                if !self.may_have_more() {
                    return Ok(Next::End);
                }
                if page.advanced && page.is_over() {
                    return Ok(Next::BudgetSpent(self.after.clone()));
                }
                match self.head(number, candidate.as_ref(), page).await? {
                    None => return Ok(Next::End),
                    Some(head) if candidate.as_ref() == Some(&head) => agreed += 1,
                    Some(head) => {
                        agreed = 1;
                        candidate = Some(head);
                    }
                }
            }
            if agreed == self.sets.len() {
                break;
            }
        }
        let Some(key) = candidate else { return Ok(Next::End) };
        // The same offering can have an entry in several areas of a set.
        for entries in self.sets.iter_mut().flatten() {
            if entries.keys.front() == Some(&key) {
                entries.keys.pop_front();
            }
        }
        self.after = Some(key.clone());
        page.advanced = true;
        Ok(Next::Key(key))
    }

    /// The first key of a set that is not before `from`.
    async fn head<S: OfferingAreas>(
        &mut self,
        number: usize,
        from: Option<&OfferingKey>,
        page: &mut Page<'_, S>,
    ) -> Result<Option<OfferingKey>, S::Error> {
        let Some(set) = self.sets.get_mut(number) else { return Ok(None) };
        loop {
            // Keys that only this set contains are not matches.
            for entries in set.iter_mut() {
                while let (Some(key), Some(from)) = (entries.keys.front(), from)
                    && sorts_before(key, from)
                {
                    if self.after.as_ref().is_none_or(|after| sorts_before(after, key)) {
                        self.after = Some(key.clone());
                        page.advanced = true;
                    }
                    entries.keys.pop_front();
                }
            }
            let areas = u32::try_from(set.len()).unwrap_or(u32::MAX);
            let missing: Vec<&mut Entries<'_>> = set
                .iter_mut()
                .filter(|entries| entries.keys.is_empty() && !entries.has_ended)
                .collect();
            if missing.is_empty() {
                break;
            }
            // What a page needs, spread over the areas; half a unit is charged anyway.
            let wanted = u32::try_from(page.room().min(page.next_batch())).unwrap_or(u32::MAX) + 1;
            let limit = (wanted.div_ceil(areas) + 1).clamp(ENTRIES_PER_READ, MAX_ENTRIES);
            let (store, account, of) = (page.store, page.account, self.range);
            let reads = missing.iter().map(|entries| {
                let bound = match (from, &entries.last) {
                    // What was read before is behind it.
                    (Some(from), _) => Bound::At(from),
                    (None, Some(last)) => Bound::After(last),
                    (None, None) => Bound::Start,
                };
                store.entries(account, entries.area, of, bound, limit)
            });
            let reads: Vec<_> = reads.collect();
            let replies = stream::iter(reads).buffered(CONCURRENT_RANGES);
            let replies: Vec<EntryPage> = replies.try_collect().await?;
            for (entries, reply) in missing.into_iter().zip(replies) {
                page.spent.reads += 1;
                page.spent.read_units += reply.read_units;
                if !std::mem::replace(&mut entries.was_read, true) && reply.keys.is_empty() {
                    page.spent.empty_ranges += 1;
                }
                entries.has_ended = reply.is_last;
                if let Some(last) = reply.keys.last() {
                    entries.last = Some(last.clone());
                }
                entries.keys = reply.keys.into();
            }
        }
        let heads = set.iter().filter_map(|entries| entries.keys.front());
        Ok(heads.min_by(|one, other| sort_key(one).cmp(&sort_key(other))).cloned())
    }
}

/// The sort order of lists: by the stored strings.
fn sort_key(key: &OfferingKey) -> (&str, &str, &str) {
    (key.status.as_str(), key.product_type.as_str(), key.id.as_str())
}

fn sorts_before(one: &OfferingKey, other: &OfferingKey) -> bool {
    sort_key(one) < sort_key(other)
}

#[cfg(test)]
mod tests;
