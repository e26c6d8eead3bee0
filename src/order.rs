//! The total order of writes: decides which of two writes to one record is newer.
//!
//! An order consists of a time, a hash of the source's name, the source's sequencer and the line. It is
//! stored with what was written, as bytes that sort the same way, so that a condition expression can keep the
//! newer write (DynamoDB compares binary values byte by byte, as unsigned numbers). Anything stored without
//! an order is older than everything that has one.

use std::fmt;

use jiff::Timestamp;

use crate::text::sha256_prefix;

const TIME: usize = 6;
const SOURCE: usize = 8;
const SEQUENCER: usize = 9;
const LINE: usize = 4;

/// The position of one write in the total order of all writes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order([u8; Order::BYTES]);

impl Order {
    /// The length of an order in bytes: 6 for milliseconds since 1970, 8 for the hash of the source's name, 9
    /// for the sequencer, 4 for the line.
    pub const BYTES: usize = TIME + SOURCE + SEQUENCER + LINE;

    /// An order that is older than all others.
    pub const OLDEST: Self = Self([0; Self::BYTES]);

    /// Reads a stored order; `None` if the length is wrong.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The time of the write, to the millisecond.
    #[must_use]
    pub fn time(self) -> Timestamp {
        let mut bytes = [0; 8];
        bytes[8 - TIME..].copy_from_slice(&self.0[..TIME]);
        let millis = i64::from_be_bytes(bytes);
        // Six bytes can hold times after the year 9999, which is the last year of a timestamp.
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
    }

    /// This write, moved to one millisecond after another one. Used when an acknowledged row must take
    /// effect.
    #[must_use]
    pub fn right_after(self, other: Self) -> Self {
        let mut bytes = self.0;
        let later = Timestamp::from_millisecond(other.time().as_millisecond() + 1);
        bytes[..TIME].copy_from_slice(&time_bytes(later.unwrap_or(Timestamp::MAX)));
        Self(bytes)
    }

    /// Whether both are the order of one write, which may have been moved in between.
    #[must_use]
    pub fn is_of_same_write(self, other: Self) -> bool {
        self.0[TIME..] == other.0[TIME..]
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.time())?;
        self.0[TIME..].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The part of an order that all writes of one source share. With a line it gives an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    time: Timestamp,
    source: [u8; SOURCE],
    sequencer: [u8; SEQUENCER],
}

impl Origin {
    /// The origin of a source with this name and time.
    #[must_use]
    pub fn new(time: Timestamp, name: &str) -> Self {
        Self { time, source: sha256_prefix(name), sequencer: [0; SEQUENCER] }
    }

    /// Adds a sequencer of S3: hexadecimal, "right pad the shorter string with zeros" (S3 user guide, "Event
    /// message structure").
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

    /// Uses a time as the sequencer: for sources that have none, and may come again under the same name.
    #[must_use]
    pub fn sequenced_by_time(mut self) -> Self {
        self.sequencer = [0; SEQUENCER];
        self.sequencer[1..=TIME].copy_from_slice(&time_bytes(self.time));
        self
    }

    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The order of a line that has the source's own time.
    #[must_use]
    pub fn order(&self, line: u64) -> Order {
        self.dated(self.time, line)
    }

    /// The order of a line that has its own time.
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

/// Milliseconds since 1970 as six bytes; earlier times count as 1970.
fn time_bytes(time: Timestamp) -> [u8; TIME] {
    let millis = u64::try_from(time.as_millisecond()).unwrap_or_default();
    let mut bytes = [0; TIME];
    bytes.copy_from_slice(&millis.to_be_bytes()[8 - TIME..]);
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
        assert!(after.is_of_same_write(order));
        assert!(!after.is_of_same_write(Origin::new(after.time(), "x").order(7)));
        assert_eq!(
            Origin::new(at("1960-01-01T00:00:00Z"), "x").order(1).time(),
            Timestamp::UNIX_EPOCH
        );
    }

    #[test]
    fn an_order_is_shown_as_its_time_its_source_its_sequencer_and_its_line() {
        let origin = Origin::new(at("2026-11-24T12:34:56.789Z"), "x");
        let shown = |origin: Origin, line| format!("{:?}", origin.order(line));
        let source = "2026-11-24T12:34:56.789Z/2d711642b726b044";
        assert_eq!(shown(origin, 7), format!("{source}{}00000007", "00".repeat(9)));
        let sequencer = "0055AED6DCD90281E5";
        let full = format!("{source}{}ffffffff", sequencer.to_lowercase());
        assert_eq!(shown(origin.with_sequencer(sequencer), u64::MAX), full);
        assert_eq!(shown(origin.with_sequencer(&format!("{sequencer}77")), u64::MAX), full);
        let timed = format!("{source}0001a20d8d58950000000000ff");
        assert_eq!(shown(origin.sequenced_by_time(), 255), timed);
        let after_all = Order([u8::MAX; Order::BYTES]);
        assert_eq!(after_all.time(), Timestamp::MAX, "six bytes go beyond the year 9999");
    }
}
