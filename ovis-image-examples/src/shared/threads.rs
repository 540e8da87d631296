//! Number of threads that compute on the CPU.

use anyhow::{Context, Result};

/// Largest number that is not taken for a mistake.
pub const MOST_THREADS: i64 = 1024;

/// Sets the number of threads in rayon's pool, which computes on the CPU. Must be called before any
/// computation.
///
/// # Errors
/// Returns an error if the threads cannot be started, or if they were already.
pub fn limit(threads: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .with_context(|| format!("cannot compute with {threads} threads"))
}
