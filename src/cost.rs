//! The capacity that requests to the database consume.

use std::sync::{Arc, Mutex};

use crate::lock::lock;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Read requests.
    pub reads: u32,
    pub read_units: f64,
    /// Write requests.
    pub writes: u32,
    /// Write units, index entries included.
    pub write_units: f64,
}

/// Adds up what one HTTP request or one job consumes. Clones add to the same sum.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<Cost>>);

impl Meter {
    #[must_use]
    pub fn cost(&self) -> Cost {
        *lock(&self.0)
    }

    pub fn add_read(&self, units: f64) {
        self.add(|cost| {
            cost.reads += 1;
            cost.read_units += units;
        });
    }

    pub fn add_write(&self, units: f64) {
        self.add(|cost| {
            cost.writes += 1;
            cost.write_units += units;
        });
    }

    fn add(&self, change: impl FnOnce(&mut Cost)) {
        change(&mut lock(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_meter_add_to_one_sum() {
        let meter = Meter::default();
        meter.add_read(0.5);
        meter.clone().add_read(2.0);
        meter.add_write(3.0);
        meter.clone().add_write(1.0);
        meter.add_write(1.0);
        assert_eq!(meter.cost(), Cost { reads: 2, read_units: 2.5, writes: 3, write_units: 5.0 });
    }
}
