//! Random numbers of a seed.

use std::ops::Range;

/// `SplitMix64` (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014): small,
/// and the same on every machine and in every version of a library.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Any number.
    pub(crate) fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of a range, which must not be empty. (Some are more likely than others by far less than
    /// a test could notice.)
    pub(crate) fn range(&mut self, range: Range<u64>) -> u64 {
        let Range { start, end } = range;
        assert!(start < end, "an empty range has no number");
        start + self.number() % (end - start)
    }

    /// Whether something happens that happens so many times of a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.range(0..100) < percent
    }

    /// One of several, of which there must be one.
    pub(crate) fn pick<'a, T>(&mut self, several: &'a [T]) -> &'a T {
        let count = u64::try_from(several.len()).expect("64 bits");
        &several[usize::try_from(self.range(0..count)).expect("an index")]
    }

    /// A generator of its own for a part of the simulation: what others draw changes nothing there.
    pub(crate) fn fork(&mut self) -> Self {
        Self::new(self.number())
    }
}
