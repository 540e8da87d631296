//! How much memory the process took at most.

/// The peak of the resident set in bytes, where the system tells it. Memory of a GPU is not in it.
#[cfg(unix)]
pub fn peak_memory_bytes() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};

    // Apple counts in bytes, the others in KiB.
    let unit = if cfg!(target_vendor = "apple") {
        1
    } else {
        1024
    };
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    u64::try_from(usage.max_rss())
        .ok()
        .map(|peak| peak.saturating_mul(unit))
}

/// The peak of the resident set in bytes, where the system tells it. Memory of a GPU is not in it.
#[cfg(not(unix))]
pub fn peak_memory_bytes() -> Option<u64> {
    None
}
