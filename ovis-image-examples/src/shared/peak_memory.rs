//! Peak memory of the process.

/// Returns the peak of the resident set in bytes, if the system reports it. GPU memory is not
/// included.
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

/// Returns the peak of the resident set in bytes, if the system reports it. GPU memory is not
/// included.
#[cfg(not(unix))]
pub fn peak_memory_bytes() -> Option<u64> {
    None
}
