//! One page of a list: reads the key ranges of the query in sequence.
//!
//! # What a page costs
//! A read requests one item more than the page still needs. That item shows whether there is a next page
//! without another round trip, and costs less than another read. If it does not (because the key range ended with the
//! page, or a filter admitted just enough), one more round of small reads is made, which may show it. If it is still
//! unknown after that, the page gets a next position, even if nothing follows it.
//!
//! If a key range ends before the page is full, the next ones are opened several at a time (2, 4, then 8), so
//! that empty key ranges do not cost a round trip each. All but the first of those opened together are read only
//! for as many items as are estimated to fit into half a read unit (4 KB), which a query is charged anyway. What they
//! return is kept, so opening a key range too early usually costs half a unit and nothing else.
//!
//! # When a page ends
//! A page ends when it is full, when one more item would exceed the size of a reply, when all key ranges have
//! ended, when the budget is spent, or after 200 empty key ranges. Unless the key ranges have ended, it has a next
//! position. If one more item is known to follow, that is right after the page's last item. Otherwise it is after the
//! last item examined in the first key range that has not ended, or, if none of the opened ones has more, at the start of
//! the next key range: the next page does not examine those items again.

use std::{collections::VecDeque, future::Future, time::Instant};

use futures_util::future::try_join_all;

use super::{KeyRange, ListPosition, OfferingFilter, OfferingKey, Plan, StoredOffering};
use crate::{account::AccountId, json::PAGE_BYTES};

/// The maximum number of items that one read examines; DynamoDB itself ends a read at 1 MB.
const MAX_READ_ITEMS: u32 = 5_000;

/// The minimum number of items that a filtered read examines: a round trip costs more than they do.
const MIN_FILTERED_ITEMS: f64 = 25.0;

/// The maximum number of key ranges opened together.
const MAX_WINDOW: u32 = 8;

/// The maximum number of empty key ranges per page: they cost 100 read units and 28 round trips. The widest
/// query has 1,200 key ranges (2 customer types, 100 categories, 3 types in 2 statuses; all 4 types are one
/// range).
pub(super) const MAX_EMPTY_RANGES: u32 = 200;

/// The bytes that one read unit pays for in an eventually consistent read.
const BYTES_PER_UNIT: f64 = 8_192.0;

/// The assumed size of an offering until the first one has been read.
const TYPICAL_ITEM_BYTES: f64 = 1_500.0;

/// Access pattern: one page of a key range of an index.
pub trait OfferingRanges: Sync {
    type Error: Send;

    /// Reads `range` of `account` after the key `after`, examines at most `limit` items, and returns those
    /// that `filter` admits, in the order of their keys.
    fn read(
        &self,
        account: &AccountId,
        range: KeyRange<'_>,
        filter: &OfferingFilter,
        after: Option<&OfferingKey>,
        limit: u32,
    ) -> impl Future<Output = Result<RangeRead, Self::Error>> + Send;
}

/// One read of a key range of an index.
#[derive(Clone, Debug, Default)]
pub struct RangeRead {
    /// The admitted offerings.
    pub offerings: Vec<StoredOffering>,
    /// Where to continue; `None` if the key range has ended.
    pub resume: Option<OfferingKey>,
    /// The number of items examined, admitted or not.
    pub examined: u32,
    pub read_units: f64,
}

/// The limits of what one page may consume.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// The read units after which no further read begins.
    pub read_units: f64,
    /// The time after which no further read begins.
    pub until: Instant,
}

impl Budget {
    /// The read units after which a page ends, as the API's description promises: about 8 MB of items.
    pub const READ_UNITS: f64 = 1_000.0;

    /// Whether no further read may begin, after this many.
    pub(crate) fn is_spent(self, reads: u32, read_units: f64) -> bool {
        // Even a query without results is charged half a unit.
        let units = read_units.max(f64::from(reads) * 0.5);
        reads > 0 && (units >= self.read_units || Instant::now() >= self.until)
    }
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The offerings, at most as many as requested.
    pub offerings: Vec<StoredOffering>,
    /// Where the next page begins; `None` if this is the last one.
    pub next: Option<ListPosition>,
}

/// A key range that was opened and is not exhausted.
struct OpenRange {
    number: u32,
    offerings: VecDeque<StoredOffering>,
    resume: Option<OfferingKey>,
}

/// Reads one page of at most `limit` offerings, starting at `start`.
///
/// # Errors
/// The first error of a read; the page is then discarded.
pub async fn list<S: OfferingRanges>(
    ranges: &S,
    account: &AccountId,
    plan: &Plan,
    filter: &OfferingFilter,
    start: ListPosition,
    limit: u32,
    budget: Budget,
) -> Result<Listing, S::Error> {
    let mut page = Page { offerings: Vec::new(), bytes: 0, limit, last: None };
    let mut learned = Learned::default();
    let mut open: VecDeque<OpenRange> = VecDeque::new();
    let mut next_range = start.range;
    let mut first_after = start.after;
    let mut window = 1;
    let mut empty_ranges = 0;
    let mut looked_ahead = false;

    loop {
        while let Some(range) = open.front_mut() {
            while let Some(offering) = range.offerings.pop_front() {
                if let Err(next) = page.take(range.number, offering) {
                    return Ok(page.finish(Some(next)));
                }
            }
            if range.resume.is_some() {
                break;
            }
            open.pop_front();
        }

        let at_end = open.is_empty() && next_range >= plan.len();
        let enough = page.room() == 0 && std::mem::replace(&mut looked_ahead, true);
        if at_end
            || enough
            || empty_ranges >= MAX_EMPTY_RANGES
            || budget.is_spent(learned.reads, learned.read_units)
        {
            let next = match open.pop_front() {
                Some(range) => Some(ListPosition { range: range.number, after: range.resume }),
                None if at_end => None,
                None => Some(ListPosition { range: next_range, after: first_after }),
            };
            return Ok(page.finish(next));
        }

        let wanted = page.room() + 1;
        if let Some(range) = open.front_mut() {
            let Some(definition) = plan.range(range.number) else { break };
            let after = range.resume.take();
            let limit = learned.full_read(wanted, filter);
            let read = ranges.read(account, definition, filter, after.as_ref(), limit).await?;
            learned.record(&read);
            range.offerings = read.offerings.into();
            range.resume = read.resume;
        } else {
            // Even if all of them are empty, the page has at most `MAX_EMPTY_RANGES`.
            let count = window.min(MAX_EMPTY_RANGES - empty_ranges);
            let numbers: Vec<u32> =
                (next_range..plan.len().min(next_range.saturating_add(count))).collect();
            next_range += u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            window = (window * 2).min(MAX_WINDOW);
            let after = first_after.take();
            let reads = numbers.iter().enumerate().filter_map(|(index, number)| {
                let (after, limit) = match index {
                    0 => (after.as_ref(), learned.full_read(wanted, filter)),
                    _ => (None, learned.peek(wanted)),
                };
                Some(ranges.read(account, plan.range(*number)?, filter, after, limit))
            });
            for (number, read) in numbers.iter().zip(try_join_all(reads).await?) {
                learned.record(&read);
                empty_ranges += u32::from(read.examined == 0 && read.resume.is_none());
                let (offerings, resume) = (read.offerings.into(), read.resume);
                open.push_back(OpenRange { number: *number, offerings, resume });
            }
        }
    }
    Ok(page.finish(None))
}

/// The page in progress.
struct Page {
    offerings: Vec<StoredOffering>,
    bytes: usize,
    limit: u32,
    last: Option<ListPosition>,
}

impl Page {
    fn room(&self) -> u32 {
        self.limit.saturating_sub(u32::try_from(self.offerings.len()).unwrap_or(u32::MAX))
    }

    /// Adds an offering; if it does not fit, returns the position where the next page begins.
    fn take(&mut self, range: u32, offering: StoredOffering) -> Result<(), ListPosition> {
        let bytes = offering.document.escaped_len() + 1;
        if let Some(last) = &self.last
            && (self.room() == 0 || self.bytes + bytes > PAGE_BYTES)
        {
            return Err(last.clone());
        }
        self.bytes += bytes;
        self.last = Some(ListPosition { range, after: Some(OfferingKey::of(&offering)) });
        self.offerings.push(offering);
        Ok(())
    }

    fn finish(self, next: Option<ListPosition>) -> Listing {
        Listing { offerings: self.offerings, next }
    }
}

/// What the reads of this page have shown, to estimate the next read.
#[derive(Default)]
struct Learned {
    reads: u32,
    read_units: f64,
    examined: u32,
    admitted: u32,
}

impl Learned {
    fn record(&mut self, read: &RangeRead) {
        self.reads += 1;
        self.read_units += read.read_units;
        self.examined = self.examined.saturating_add(read.examined);
        self.admitted =
            self.admitted.saturating_add(u32::try_from(read.offerings.len()).unwrap_or(u32::MAX));
    }

    /// How many items to examine so that about `wanted` are admitted.
    fn full_read(&self, wanted: u32, filter: &OfferingFilter) -> u32 {
        if filter.is_open() {
            return wanted.min(MAX_READ_ITEMS);
        }
        let share = match (self.examined, self.admitted) {
            // Nothing is known yet: assume that every second item is admitted.
            (0, _) => 0.5,
            (examined, admitted) => f64::from(admitted.max(1)) / f64::from(examined) / 1.25,
        };
        // To find out whether a full page has a next one, the minimum is enough.
        let items = if wanted == 1 { 0.0 } else { f64::from(wanted) / share };
        clamp_items(items.max(MIN_FILTERED_ITEMS))
    }

    /// How many items fit into the half unit that any query costs.
    fn peek(&self, wanted: u32) -> u32 {
        let item_bytes = match self.examined {
            0 => TYPICAL_ITEM_BYTES,
            examined => self.read_units * BYTES_PER_UNIT / f64::from(examined),
        };
        clamp_items(BYTES_PER_UNIT / 2.0 / item_bytes.max(1.0)).min(wanted)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to a small positive range first"
)]
fn clamp_items(items: f64) -> u32 {
    items.clamp(1.0, f64::from(MAX_READ_ITEMS)) as u32
}

#[cfg(test)]
pub(super) mod tests;
