//! Positions in the logs, and how a cursor holds them.

use jiff::Timestamp;

use super::{KEPT, Losses};
use crate::{
    account::AccountId,
    cursor::{Context, Cursors, InvalidCursor, PositionTooLong},
    imports::Kind,
    text::spelled_enum,
};

spelled_enum! {
    /// Which of the logs of an account: there is one for each table that holds records.
    pub enum Log {
        Offerings = "offerings",
        Promotions = "promotions",
        PartnerOfferings = "partner-offerings",
        Networks = "networks",
        Products = "products",
    }
}

impl Log {
    /// The log of a kind.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Offering => Self::Offerings,
            Kind::Promotion => Self::Promotions,
            Kind::PartnerOffering => Self::PartnerOfferings,
            Kind::Network | Kind::Bundle | Kind::ExchangeRate => Self::Networks,
            Kind::Product => Self::Products,
        }
    }

    /// A position as `GET /catalog/v1/changes` shows it (`o17`): the same for every key, whatever its view.
    #[must_use]
    pub fn name_of(self, position: u64) -> String {
        let letter = match self {
            Self::Offerings => 'o',
            Self::Promotions => 'p',
            Self::PartnerOfferings => 'a',
            Self::Networks => 'n',
            Self::Products => 's',
        };
        format!("{letter}{position}")
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    pub const ALL: Self = Self((1 << Kind::ALL.len()) - 1);

    /// A set of these kinds.
    #[must_use]
    pub fn of(kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self(kinds.into_iter().fold(0, |set, kind| set | Self::bit(kind)))
    }

    fn bit(kind: Kind) -> u8 {
        1 << kind as u8
    }

    #[must_use]
    pub fn contains(self, kind: Kind) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    /// Whether all kinds of another set are in it.
    #[must_use]
    pub fn contains_all(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether any of them is in this log.
    pub(super) fn any_in(self, log: Log) -> bool {
        Kind::ALL.iter().any(|kind| self.contains(*kind) && Log::of(*kind) == log)
    }
}

/// How far a reader has read a log. The numbers are positions of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadPosition {
    /// Nothing was read: the oldest change that is kept comes next. It is at this position or after it.
    Oldest(u64),
    /// Everything was read that was there: the next change that is written has this position or a higher one.
    End(u64),
    /// The first `read` changes were read of the chunk whose first change has the position `first`.
    Within { first: u64, read: u32 },
}

impl ReadPosition {
    /// The next position to read.
    pub(super) fn next(self) -> u64 {
        match self {
            Self::Oldest(next) | Self::End(next) => next,
            Self::Within { first, read } => first.saturating_add(read.into()),
        }
    }
}

/// How far all logs were read: what a cursor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions {
    /// When each log was last read, in hours since 1970. Whole hours, so that a reader without anything new gets the same
    /// cursor, and so the same answer, for an hour.
    hours: [u32; Log::ALL.len()],
    /// The kinds that were read. Changes of others may have been passed over.
    pub kinds: Kinds,
    /// The fingerprint of the reader's view.
    pub view: [u8; 8],
    /// For each log, a time: losses that were found until then do not concern the reader; after one that is found
    /// later, the reader must start over.
    losses: Losses,
    /// The log that is read first, so that none waits for another.
    pub(super) turn: u8,
    pub(super) logs: [ReadPosition; Log::ALL.len()],
}

const VERSION: u8 = 3;

fn hour(time: Timestamp) -> u32 {
    u32::try_from(time.as_second() / 3_600).unwrap_or_default()
}

impl Positions {
    /// The beginning: the oldest changes that are kept.
    #[must_use]
    pub fn oldest(now: Timestamp, kinds: Kinds, view: [u8; 8]) -> Self {
        let hours = [hour(now); Log::ALL.len()];
        let logs = [ReadPosition::Oldest(0); Log::ALL.len()];
        Self { hours, kinds, view, losses: Losses::default(), turn: 0, logs }
    }

    /// These positions; losses found up to these times do not concern their reader.
    #[must_use]
    pub fn ignoring_losses_until(self, losses: Losses) -> Self {
        Self { losses, ..self }
    }

    /// Whether changes that the reader was to be told are lost, in any log that has its kinds.
    pub(super) fn are_lost(&self, losses: &Losses) -> bool {
        let logs = Log::ALL.iter().filter(|log| self.kinds.any_in(**log));
        logs.copied().any(|log| losses.found_at_millis(log) > self.losses.found_at_millis(log))
    }

    /// These positions, of fewer kinds.
    #[must_use]
    pub fn only(self, kinds: Kinds) -> Self {
        Self { kinds, ..self }
    }

    #[must_use]
    pub fn at(&self, log: Log) -> ReadPosition {
        self.logs[log as usize]
    }

    /// These positions with another one in one log.
    #[must_use]
    pub fn with(mut self, log: Log, position: ReadPosition) -> Self {
        self.logs[log as usize] = position;
        self
    }

    /// These positions, with now as the time at which this log was read. The times of the other logs stay, so
    /// [`Positions::is_too_old`] still notices if their changes may have expired unread.
    pub(super) fn reached(mut self, log: Log, now: Timestamp) -> Self {
        self.hours[log as usize] = hour(now);
        self
    }

    /// Whether what comes after them may be gone, in any log that has their kinds.
    #[must_use]
    pub fn is_too_old(&self, now: Timestamp) -> bool {
        let read = Log::ALL.iter().zip(self.hours).filter(|(log, _)| self.kinds.any_in(**log));
        read.map(|(_, read)| read)
            .min()
            .is_some_and(|oldest| i64::from(hour(now)) - i64::from(oldest) >= KEPT.as_hours())
    }

    /// The cursor of an account's reader that is at these positions.
    ///
    /// # Errors
    /// [`PositionTooLong`], which does not happen: encoded positions always fit a cursor.
    pub fn seal(&self, cursors: &Cursors, account: &AccountId) -> Result<String, PositionTooLong> {
        cursors.seal(context(account), &self.encode())
    }

    /// The positions in a cursor.
    ///
    /// # Errors
    /// [`InvalidCursor`], whatever the reason.
    pub fn open(
        cursors: &Cursors,
        account: &AccountId,
        cursor: &str,
    ) -> Result<Self, InvalidCursor> {
        let bytes = cursors.open(context(account), cursor)?;
        Self::decode(&bytes).ok_or(InvalidCursor)
    }

    /// The bytes for a cursor.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, self.turn, self.kinds.0];
        bytes.extend_from_slice(&self.view);
        for (log, (position, hour)) in Log::ALL.iter().zip(self.logs.iter().zip(self.hours)) {
            bytes.extend_from_slice(&self.losses.found_at_millis(*log).to_be_bytes());
            bytes.extend_from_slice(&hour.to_be_bytes());
            let (kind, at, read) = match position {
                ReadPosition::Oldest(from) => (0, from, None),
                ReadPosition::End(next) => (1, next, None),
                ReadPosition::Within { first, read } => (2, first, Some(read)),
            };
            bytes.push(kind);
            bytes.extend_from_slice(&at.to_be_bytes());
            bytes.extend(read.into_iter().flat_map(|read| read.to_be_bytes()));
        }
        bytes
    }

    /// Reads the bytes of a cursor.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let [version, turn, kinds] = take(&mut rest)?;
        if version != VERSION || usize::from(turn) >= Log::ALL.len() || kinds & !Kinds::ALL.0 != 0 {
            return None;
        }
        let view = take(&mut rest)?;
        let mut logs = [ReadPosition::Oldest(0); Log::ALL.len()];
        let mut hours = [0; Log::ALL.len()];
        let mut losses = Losses::default();
        for (log, (position, hour)) in Log::ALL.iter().zip(logs.iter_mut().zip(&mut hours)) {
            losses = losses.with(*log, i64::from_be_bytes(take(&mut rest)?));
            *hour = u32::from_be_bytes(take(&mut rest)?);
            *position = match take(&mut rest)? {
                [0] => ReadPosition::Oldest(u64::from_be_bytes(take(&mut rest)?)),
                [1] => ReadPosition::End(u64::from_be_bytes(take(&mut rest)?)),
                [2] => ReadPosition::Within {
                    first: u64::from_be_bytes(take(&mut rest)?),
                    read: u32::from_be_bytes(take(&mut rest)?),
                },
                _ => return None,
            };
        }
        rest.is_empty().then_some(Self { hours, kinds: Kinds(kinds), view, losses, turn, logs })
    }
}

/// What cursors of changes are bound to: account and endpoint. The fingerprint is empty, since kinds and view are in
/// the cursor itself.
fn context(account: &AccountId) -> Context<'_> {
    Context { account, endpoint: "changes", fingerprint: b"" }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use crate::fuzz::fuzz;

    #[test]
    fn any_position_is_the_same_bytes_again_and_any_other_bytes_are_refused() {
        let now = Timestamp::UNIX_EPOCH;
        let oldest = Positions::oldest(now, Kinds::ALL, [7; 8]);
        let within = oldest.clone().with(Log::Networks, ReadPosition::Within { first: 5, read: 9 });
        let end = within.clone().with(Log::Products, ReadPosition::End(u64::MAX));
        let seeds = [oldest, within, end].map(|positions| positions.encode()).to_vec();
        fuzz("positions", seeds, &[], |input| {
            let Some(positions) = Positions::decode(input) else { return };
            assert_eq!(positions.encode(), input);
            let _ = (positions.is_too_old(now), positions.is_too_old(Timestamp::MAX));
            for log in Log::ALL {
                let _ = positions.at(*log).next();
            }
            let account = AccountId::parse("ACME").expect("account");
            let cursors = Cursors::new(&"secret".repeat(6), None).expect("a secret");
            let cursor = positions.seal(&cursors, &account).expect("positions fit a cursor");
            assert_eq!(Positions::open(&cursors, &account, &cursor), Ok(positions));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_has_all_positions_and_nothing_else_is_one() {
        let positions = Positions::oldest(Timestamp::MAX, Kinds::of([Kind::Product]), [7; 8])
            .ignoring_losses_until(Losses::default().with(Log::Promotions, -5))
            .with(Log::Products, ReadPosition::Oldest(3))
            .with(Log::Promotions, ReadPosition::End(u64::MAX))
            .with(Log::Networks, ReadPosition::Within { first: 5, read: 9 });
        let last = u8::try_from(Log::ALL.len() - 1).expect("few");
        for positions in [Positions { turn: last, ..positions.clone() }, positions.only(Kinds::ALL)]
        {
            let bytes = positions.encode();
            assert_eq!(Positions::decode(&bytes).as_ref(), Some(&positions));
            for end in 0..bytes.len() {
                assert_eq!(Positions::decode(&bytes[..end]), None, "{end} bytes");
            }
            assert_eq!(Positions::decode(&[&bytes[..], &[0]].concat()), None);
            let with = |place: usize, byte: u8| {
                let mut bytes = bytes.clone();
                bytes[place] = byte;
                Positions::decode(&bytes)
            };
            assert_eq!((with(0, VERSION - 1), with(0, VERSION + 1)), (None, None), "the version");
            assert_eq!(with(1, last + 1), None, "the turn");
            assert_eq!(with(2, 128), None, "the kinds");
            // Before the first position there are the view, a loss and the hour.
            let position = 3 + 8 + 8 + 4;
            assert_eq!(bytes[position], 0);
            assert_eq!(with(position, 3), None, "what was read");
        }
    }

    #[test]
    fn a_set_of_kinds_has_each_once() {
        use Kind::{Bundle, Network, Product};
        let two = Kinds::of([Product, Bundle, Product]);
        assert_eq!(two, Kinds::of([Bundle, Product]));
        for kind in Kind::ALL {
            assert_eq!(two.contains(*kind), [Product, Bundle].contains(kind), "{kind}");
            assert!(Kinds::ALL.contains(*kind));
        }
        for (other, has_all) in
            [(&[][..], true), (&[Product], true), (&[Product, Network], false), (&[Network], false)]
        {
            assert_eq!(two.contains_all(Kinds::of(other.iter().copied())), has_all, "{other:?}");
        }
        assert!(two.contains_all(two) && Kinds::ALL.contains_all(two));
        let logs: Vec<Log> = Log::ALL.iter().copied().filter(|log| two.any_in(*log)).collect();
        assert_eq!(logs, [Log::Networks, Log::Products]);
    }

    #[test]
    fn a_position_is_named_by_a_letter_of_its_log() {
        let names: Vec<String> = Log::ALL.iter().map(|log| log.name_of(17)).collect();
        assert_eq!(names, ["o17", "p17", "a17", "n17", "s17"]);
    }

    #[test]
    fn a_position_at_the_end_of_all_numbers_has_a_next_one() {
        assert_eq!(ReadPosition::Within { first: 5, read: 9 }.next(), 14);
        assert_eq!(ReadPosition::Within { first: u64::MAX, read: 9 }.next(), u64::MAX);
    }

    #[test]
    fn positions_are_too_old_as_soon_as_what_comes_after_them_may_be_gone() {
        let now = Timestamp::from_second(1_767_225_600).expect("a time");
        let positions = Positions::oldest(now, Kinds::of([Kind::Product]), [0; 8]);
        let later = |hours| now + jiff::SignedDuration::from_hours(hours);
        assert!(!positions.is_too_old(later(KEPT.as_hours() - 1)));
        assert!(positions.is_too_old(later(KEPT.as_hours())));
        // Only logs that have its kinds count.
        let reached = positions.reached(Log::Products, later(KEPT.as_hours()));
        assert!(!reached.is_too_old(later(KEPT.as_hours())));
    }
}
