//! The total order of writes: which of two writes to one record is the newer one.
//!
//! Every write has a place in one order: time, then a hash of the source's name, then the source's
//! sequencer, then the line. An order is stored with what it wrote, as bytes that compare as it does,
//! so that a condition of the database can keep a newer write (`DynamoDB` compares binary values byte
//! by byte, as unsigned numbers). Something stored without an order is older than anything.

use std::fmt;

use jiff::Timestamp;

use crate::text::sha256_prefix;

const TIME: usize = 6;
const SOURCE: usize = 8;
const SEQUENCER: usize = 9;
const LINE: usize = 4;

/// The place of one write in the order of all writes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order([u8; Order::BYTES]);

impl Order {
    /// How many bytes an order takes: 6 of milliseconds since 1970, 8 of the hash of the source's name, 9
    /// of the sequencer, 4 of the line.
    pub const BYTES: usize = TIME + SOURCE + SEQUENCER + LINE;

    /// The order of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The time of the write, to the millisecond.
    #[must_use]
    pub fn time(self) -> Timestamp {
        let millis =
            self.0[..TIME].iter().fold(0_i64, |millis, byte| millis << 8 | i64::from(*byte));
        // Six bytes reach beyond the year 9999, where timestamps end.
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
    }

    /// This write one millisecond after another one: where a row that was acknowledged must count.
    #[must_use]
    pub fn right_after(self, other: Self) -> Self {
        let mut bytes = self.0;
        let later = Timestamp::from_millisecond(other.time().as_millisecond() + 1);
        bytes[..TIME].copy_from_slice(&time_bytes(later.unwrap_or(Timestamp::MAX)));
        Self(bytes)
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.time())?;
        self.0[TIME..].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where the writes of one source stand in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    time: Timestamp,
    source: [u8; SOURCE],
    sequencer: [u8; SEQUENCER],
}

impl Origin {
    /// The writes of a source of this name, at this time.
    #[must_use]
    pub fn new(time: Timestamp, name: &str) -> Self {
        Self { time, source: sha256_prefix(name), sequencer: [0; SEQUENCER] }
    }

    /// The same with a sequencer of S3: hexadecimal, "right pad the shorter string with zeros" (S3 user
    /// guide, "Event message structure").
    #[must_use]
    pub fn with_sequencer(mut self, sequencer: &str) -> Self {
        self.sequencer = [0; SEQUENCER];
        for (at, digit) in sequencer.chars().take(2 * SEQUENCER).enumerate() {
            let value =
                digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or_default();
            self.sequencer[at / 2] |= if at % 2 == 0 { value << 4 } else { value };
        }
        self
    }

    /// The same with a time in the place of the sequencer: for sources that have none and may come
    /// again under the same name.
    #[must_use]
    pub fn sequenced_by_time(mut self) -> Self {
        self.sequencer = [0; SEQUENCER];
        self.sequencer[1..=TIME].copy_from_slice(&time_bytes(self.time));
        self
    }

    /// The source's time.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The order of a line, at the source's own time.
    #[must_use]
    pub fn order(&self, line: u64) -> Order {
        self.dated(self.time, line)
    }

    /// The order of a line that has a time of its own.
    #[must_use]
    pub fn dated(&self, time: Timestamp, line: u64) -> Order {
        let mut bytes = [0; Order::BYTES];
        let (head, line_bytes) = bytes.split_at_mut(Order::BYTES - LINE);
        head[..TIME].copy_from_slice(&time_bytes(time));
        head[TIME..TIME + SOURCE].copy_from_slice(&self.source);
        head[TIME + SOURCE..].copy_from_slice(&self.sequencer);
        line_bytes.copy_from_slice(&u32::try_from(line).unwrap_or(u32::MAX).to_be_bytes());
        Order(bytes)
    }
}

/// Milliseconds since 1970 as six bytes; what is before 1970 counts as 1970.
fn time_bytes(time: Timestamp) -> [u8; TIME] {
    let millis = u64::try_from(time.as_millisecond()).unwrap_or_default();
    let mut bytes = [0; TIME];
    bytes.copy_from_slice(&millis.to_be_bytes()[2..]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect(text)
    }

    #[test]
    fn orders_compare_by_time_then_source_then_sequencer_then_line() {
        let early = at("2026-01-01T00:00:00.001Z");
        let late = at("2026-01-01T00:00:00.002Z");
        let one = Origin::new(early, "s3://b/one");
        let other = Origin::new(early, "s3://b/other");
        assert!(one.order(9) < one.dated(late, 1), "time first");
        assert_ne!(one.order(1) < other.order(1), other.order(1) < one.order(1), "then the source");
        let (first, second) = (one.with_sequencer("00AF"), one.with_sequencer("00b"));
        assert!(first.order(9) < second.order(1), "then the sequencer, padded on the right");
        assert!(one.order(1) < one.order(2), "then the line");
        assert!(None < Some(one.order(0)), "without an order is older than anything");
    }

    #[test]
    fn an_order_is_its_bytes_and_tells_its_time() {
        let time = at("2026-11-24T12:34:56.789Z");
        let order = Origin::new(time, "x").with_sequencer("0055AED6DCD90281E5").order(7);
        assert_eq!(Order::from_bytes(order.as_bytes()), Some(order));
        assert_eq!(Order::from_bytes(b"short"), None);
        assert_eq!(order.time(), time);
        let after = order.right_after(order);
        assert!(after > order);
        assert_eq!(after.time(), at("2026-11-24T12:34:56.790Z"));
        assert_eq!(
            Origin::new(at("1960-01-01T00:00:00Z"), "x").order(1).time(),
            Timestamp::UNIX_EPOCH
        );
    }
}
