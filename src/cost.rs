//! What reading and writing cost.

/// What the reads of one request cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReadCost {
    /// Requests to the database.
    pub queries: u32,
    /// Read units consumed.
    pub read_units: f64,
}

impl ReadCost {
    /// Adds one request.
    pub fn add(&mut self, read_units: f64) {
        self.queries += 1;
        self.read_units += read_units;
    }
}

/// A value and the read units it cost.
#[derive(Clone, Debug)]
pub struct Read<T> {
    /// What was read.
    pub value: T,
    /// What it cost.
    pub read_units: f64,
}

/// What the writes of one request cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WriteCost {
    /// Write requests to the database.
    pub requests: u32,
    /// Write units consumed, index entries included.
    pub write_units: f64,
}

impl WriteCost {
    /// Adds one request.
    pub fn add(&mut self, write_units: f64) {
        self.requests += 1;
        self.write_units += write_units;
    }
}

/// What reads and writes cost together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Costs {
    /// Of reads.
    pub reads: ReadCost,
    /// Of writes.
    pub writes: WriteCost,
}

impl Costs {
    /// Adds what something else cost.
    pub fn extend(&mut self, other: Self) {
        self.reads.queries += other.reads.queries;
        self.reads.read_units += other.reads.read_units;
        self.writes.requests += other.writes.requests;
        self.writes.write_units += other.writes.write_units;
    }
}
