//! Rates of the timed kernels, by name.

use std::time::Instant;

use serde_json::{Map, Value, json};

/// Collects the rates of kernels: operations for those that compute, bytes for those that mostly
/// read and write.
#[derive(Debug)]
pub(crate) struct Report {
    repeats: usize,
    /// Billions of operations per second.
    pub(crate) gflops: Map<String, Value>,
    /// Billions of bytes per second.
    pub(crate) gbytes: Map<String, Value>,
}

impl Report {
    /// Creates an empty report whose rates are medians of `repeats` runs.
    pub(crate) fn new(repeats: usize) -> Self {
        Self {
            repeats: repeats.max(1),
            gflops: Map::new(),
            gbytes: Map::new(),
        }
    }

    /// Times a kernel of `flops` operations.
    pub(crate) fn computes(&mut self, name: String, flops: u64, run: impl FnMut()) {
        let rate = flops as f64 / median(self.repeats, run) / 1e9;
        self.gflops.insert(name, json!(rate));
    }

    /// Like [`Self::computes`], with at most three runs, for what takes seconds.
    pub(crate) fn computes_long(&mut self, name: String, flops: u64, run: impl FnMut()) {
        let rate = flops as f64 / median(self.repeats.min(3), run) / 1e9;
        self.gflops.insert(name, json!(rate));
    }

    /// Times a kernel that has to read and write at least `bytes` bytes.
    pub(crate) fn moves(&mut self, name: String, bytes: usize, run: impl FnMut()) {
        let rate = bytes as f64 / median(self.repeats, run) / 1e9;
        self.gbytes.insert(name, json!(rate));
    }
}

/// Runs once to warm up, then `repeats` times, and returns the median of the seconds.
fn median(repeats: usize, mut run: impl FnMut()) -> f64 {
    run();
    let mut seconds: Vec<f64> = (0..repeats)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
