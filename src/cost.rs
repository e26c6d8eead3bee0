//! The capacity that reads and writes consumed.

/// The cost of the reads of one request.
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

/// A value, and the read units that reading it consumed.
#[derive(Clone, Debug)]
pub struct Read<T> {
    /// The value.
    pub value: T,
    /// The read units consumed.
    pub read_units: f64,
}

/// The cost of the writes of one request.
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

/// The cost of reads and writes together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Costs {
    /// The cost of reads.
    pub reads: ReadCost,
    /// The cost of writes.
    pub writes: WriteCost,
}

impl Costs {
    /// Adds another cost.
    pub fn extend(&mut self, other: Self) {
        self.reads.queries += other.reads.queries;
        self.reads.read_units += other.reads.read_units;
        self.writes.requests += other.writes.requests;
        self.writes.write_units += other.writes.write_units;
    }
}
