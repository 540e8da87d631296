//! Number of threads that compute on the CPU.

use anyhow::{Context, Result};
use ovis_image::device::OpenDevice;

use super::program::say;

/// Largest number that is not taken for a mistake.
pub const MOST_THREADS: i64 = 1024;

/// Warns that `--threads`, if it was given, does not reach all work on a device.
pub fn warn(is_given: bool, device: &OpenDevice) {
    if let (true, Some([work, variable])) = (is_given, unlimited(&device.to_string())) {
        say(&format!(
            "warning: --threads does not limit {work}: set the environment variable {variable}, too"
        ));
    }
}

/// Returns the work of a device that has threads of its own, and the variable that limits them:
/// ndarray's products are those of the crate matrixmultiply, and LibTorch uses OpenMP.
fn unlimited(device: &str) -> Option<[&'static str; 2]> {
    match device {
        "LibTorch (CPU)" => Some(["LibTorch", "OMP_NUM_THREADS"]),
        _ if device.starts_with("ndarray") => {
            Some(["the matrix products of ndarray", "MATMUL_NUM_THREADS"])
        }
        _ => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_other_libraries_are_named_with_their_variable() {
        let variable = |device| unlimited(device).map(|[_, variable]| variable);
        assert_eq!(variable("ndarray (CPU)"), Some("MATMUL_NUM_THREADS"));
        assert_eq!(variable("LibTorch (CPU)"), Some("OMP_NUM_THREADS"));
        assert_eq!(variable("flex (CPU)"), None);
    }
}
