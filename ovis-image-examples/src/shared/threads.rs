//! Number of threads that compute on the CPU.

use anyhow::{Context, Result};
use ovis_image::device::OpenDevice;

use super::program::say;

/// Largest number that is not taken for a mistake.
pub const MOST_THREADS: i64 = 1024;

/// Warns that `--threads`, if it was given, does not reach all work on a device. ndarray computes
/// matrix products in threads of the crate matrixmultiply, which has its own setting.
pub fn warn(is_given: bool, device: &OpenDevice) {
    if is_given && device.to_string().starts_with("ndarray") {
        say(
            "warning: --threads does not limit the matrix products of ndarray: set the environment \
             variable MATMUL_NUM_THREADS, too",
        );
    }
}

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
