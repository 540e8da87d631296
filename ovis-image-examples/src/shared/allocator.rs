//! Settings of the allocator.

/// Makes the allocator keep memory that is freed, for programs that free and allocate gigabytes
/// again and again: each new page costs a fault. To be called before any other thread exists. Does
/// nothing on other systems than Linux with glibc.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: sets parameters of the allocator, and no other thread allocates yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}
