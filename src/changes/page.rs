//! One page of changes.
//!
//! The logs are read one after the other, the one first whose turn it is. A log's chunks are read in small
//! numbers, since a page pays for whole chunks: at first one or two, then as many as the page still needs, by what
//! chunks had so far.

use std::fmt::Write as _;

use jiff::SignedDuration;
use serde_json::json;

use super::{
    Change, Chunk, ChunkPage, Identity, JournalStore, Kinds, LATE, Log, LogId, Losses, Positions,
    ReadPosition, View,
};
use crate::{
    account::AccountId,
    json::{PAGE_BYTES, bytes_in_reply},
    offerings::Budget,
    text::rfc3339_millis,
};

/// A change, and its position.
#[derive(Clone, Debug)]
pub struct PositionedChange {
    pub position: String,
    pub change: Change,
}

impl PositionedChange {
    /// The published object of the change.
    #[must_use]
    pub fn json(&self) -> String {
        let Change { identity: Identity { kind, id, id_field }, changed_at, source, .. } =
            &self.change;
        let record = self.change.record();
        let quoted = |text: &str| json!(text).to_string();
        let mut json = format!(
            "{{\"position\":\"{}\",\"kind\":\"{kind}\",\"id\":{}",
            self.position,
            quoted(id)
        );
        if let Some(field) = id_field {
            let _ = write!(json, ",\"idField\":\"{field}\"");
        }
        let op = if record.is_some() { "upsert" } else { "delete" };
        let changed_at = rfc3339_millis(*changed_at);
        let _ = write!(json, ",\"op\":\"{op}\",\"changedAt\":\"{changed_at}\"");
        if let Some(source) = source {
            let _ = write!(json, ",\"source\":{}", quoted(source));
        }
        if let Some(record) = record {
            let _ = write!(json, ",\"record\":{record}");
        }
        json.push('}');
        json
    }
}

#[derive(Clone, Debug)]
pub struct Page {
    pub changes: Vec<PositionedChange>,
    /// Where the next page begins.
    pub next: Positions,
    /// Whether nothing more was recorded when the page was read.
    pub up_to_date: bool,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum PageError<E> {
    /// What comes after the positions is no longer kept, or was lost.
    #[error("the position is no longer kept")]
    Gone,
    #[error("the log failed")]
    Log(#[source] E),
}

impl<E> From<E> for PageError<E> {
    fn from(error: E) -> Self {
        Self::Log(error)
    }
}

/// The ends of an account's logs: where a reader begins that knows the state of this moment. It knows what is found to be
/// lost during the next hours, too: that was written before.
///
/// # Errors
/// When a log cannot be read.
pub async fn ends<L: JournalStore>(
    log: &L,
    account: &AccountId,
    positions: Positions,
) -> Result<Positions, L::Error> {
    let mut ends =
        positions.ignoring_losses_until(Losses::of_all(log.now() + LATE - MARGIN_OF_CLOCKS));
    for one in Log::ALL {
        let id = LogId { account: account.clone(), log: *one };
        let newest = log.newest(&id).await?;
        ends = ends.with(*one, ReadPosition::End(newest.as_ref().map_or(0, Chunk::end)));
    }
    Ok(ends)
}

/// How much clocks may differ, with plenty to spare.
const MARGIN_OF_CLOCKS: SignedDuration = SignedDuration::from_hours(1);

/// What ended the reading of a log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    OfLog,
    OfPage,
}

/// Reads a page of at most `limit` changes of the positions' kinds, as a caller with this view is told them. `losses` may
/// be known from a while ago: a reader is then told later that it must start over.
///
/// # Errors
/// [`PageError::Gone`] if changes after the positions are no longer kept; otherwise when a log cannot be read.
pub async fn page<L: JournalStore>(
    log: &L,
    account: &AccountId,
    positions: Positions,
    losses: Losses,
    view: View<'_>,
    limit: usize,
    budget: Budget,
) -> Result<Page, PageError<L::Error>> {
    if positions.is_too_old(log.now()) || positions.are_lost(&losses) {
        return Err(PageError::Gone);
    }
    let mut reader = Reader {
        log,
        losses,
        view,
        limit,
        budget,
        reads: 0,
        read_units: 0.0,
        bytes: 0,
        changes: Vec::new(),
    };
    let now = log.now();
    let mut next = positions;
    let mut up_to_date = true;
    let first = usize::from(next.turn);
    for step in 0..Log::ALL.len() {
        let turn = (first + step) % Log::ALL.len();
        let Some(one) = Log::ALL.get(turn).copied().filter(|one| next.kinds.any_in(*one)) else {
            continue;
        };
        let id = LogId { account: account.clone(), log: one };
        let reads = reader.reads;
        let (position, end) = reader.read(&id, &next).await?;
        next = next.with(one, position);
        let is_read = reader.reads > reads;
        if is_read {
            next = next.reached(one, now);
        }
        if end == End::OfPage {
            up_to_date = false;
            // A log that the page had no room for comes first on the next one.
            let first = if is_read { (turn + 1) % Log::ALL.len() } else { turn };
            next.turn = u8::try_from(first).unwrap_or_default();
            break;
        }
    }
    Ok(Page { changes: reader.changes, next, up_to_date })
}

struct Reader<'a, L> {
    log: &'a L,
    losses: Losses,
    view: View<'a>,
    limit: usize,
    budget: Budget,
    reads: u32,
    read_units: f64,
    bytes: usize,
    changes: Vec<PositionedChange>,
}

impl<L: JournalStore> Reader<'_, L> {
    /// Reads a log on from its position; returns the position reached.
    async fn read(
        &mut self,
        id: &LogId,
        positions: &Positions,
    ) -> Result<(ReadPosition, End), PageError<L::Error>> {
        let mut position = positions.at(id.log);
        let (mut from, mut count) = match position {
            ReadPosition::Within { first, .. } => (first, 1),
            // The second one shows whether there are more.
            ReadPosition::End(next) => (next.max(1), 2),
            ReadPosition::Oldest(from) => (from.max(1), 2),
        };
        let mut must_begin_at = match position {
            ReadPosition::Within { first, .. } => Some(first),
            ReadPosition::End(_) | ReadPosition::Oldest(_) => None,
        };
        let (mut chunks_read, mut changes_read) = (0_u64, 0_u64);
        while !self.is_over() {
            let ChunkPage { chunks, is_last, read_units } =
                self.log.chunks(id, from, count).await?;
            self.reads += 1;
            self.read_units += read_units;
            let begins_at = chunks.first().map(|chunk| chunk.first);
            if must_begin_at.take().is_some_and(|first| begins_at != Some(first)) {
                return Err(PageError::Gone);
            }
            for chunk in &chunks {
                let is_read = self.open(id, chunk, &mut position, positions.kinds)?;
                if !is_read {
                    return Ok((position, End::OfPage));
                }
                chunks_read += 1;
                changes_read += chunk.count;
                from = chunk.first + 1;
            }
            if is_last {
                return Ok((ReadPosition::End(position.next()), End::OfLog));
            }
            let left = u64::try_from(self.limit - self.changes.len()).unwrap_or_default();
            let typical = (changes_read / chunks_read.max(1)).max(1);
            count = u32::try_from(left.div_ceil(typical)).unwrap_or(u32::MAX).clamp(1, count * 2);
        }
        Ok((position, End::OfPage))
    }

    /// Adds the changes of a chunk after the position, and moves it on. `false`: the page has no room for all of
    /// them.
    fn open(
        &mut self,
        LogId { log, .. }: &LogId,
        chunk: &Chunk,
        position: &mut ReadPosition,
        kinds: Kinds,
    ) -> Result<bool, PageError<L::Error>> {
        let begins = matches!(position, ReadPosition::Oldest(_));
        let now = self.log.now();
        let is_whole = chunk.recorded_at.as_millisecond() >= self.losses.found_at_millis(*log);
        if begins && !(chunk.is_kept(now) && is_whole) {
            // The next page does not pass it over again.
            *position = ReadPosition::Oldest(chunk.end());
            return Ok(true);
        }
        if !begins && !chunk.is_kept_for_readers(now) {
            return Err(PageError::Gone);
        }
        let read = match *position {
            ReadPosition::Within { first, read } if first == chunk.first => read,
            _ => 0,
        };
        let changes = chunk.changes().map_err(L::Error::from)?;
        for (place, change) in
            (0_u32..).zip(changes).skip(usize::try_from(read).unwrap_or_default())
        {
            if !kinds.contains(change.identity.kind) {
                continue;
            }
            let Some(change) = change.seen_with(self.view) else { continue };
            let bytes = bytes_of(&change);
            let is_full = self.changes.len() >= self.limit
                || !self.changes.is_empty() && self.bytes + bytes > PAGE_BYTES;
            if is_full {
                *position = ReadPosition::Within { first: chunk.first, read: place };
                return Ok(false);
            }
            self.bytes += bytes;
            let position = log.name_of(chunk.first + u64::from(place));
            self.changes.push(PositionedChange { position, change });
        }
        let all = u32::try_from(chunk.count).unwrap_or(u32::MAX);
        *position = ReadPosition::Within { first: chunk.first, read: all };
        Ok(true)
    }

    /// Whether no further read may begin.
    fn is_over(&self) -> bool {
        self.changes.len() >= self.limit || self.budget.is_spent(self.reads, self.read_units)
    }
}

/// The most that a change takes in a reply besides its record, its id and its source: names, position, times.
const OVERHEAD: usize = 350;

/// The most bytes that a change takes in a reply.
fn bytes_of(change: &Change) -> usize {
    let quoted = |text: &str| bytes_in_reply(&json!(text).to_string());
    let source = change.source.as_deref().map_or(0, quoted);
    let record = bytes_in_reply(change.record().unwrap_or_default());
    OVERHEAD + quoted(&change.identity.id) + source + record
}

#[cfg(test)]
mod tests;
