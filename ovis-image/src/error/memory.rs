/// Why a request does not fit into memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The activations of a request need more memory than there is.
    #[error(
        "{width}x{height} with {images} image(s) needs about {needed_mib} MiB for activations, but \
         {available_mib} MiB are available: make fewer images at once or smaller ones, or \
         decode in tiles"
    )]
    TooLargeForMemory {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// Number of images made at once.
        images: usize,
        /// Estimated peak of the activations, in MiB.
        needed_mib: u64,
        /// The limit that was compared with, in MiB.
        available_mib: u64,
    },

    /// No combination of offloading, streaming and tiling fits the checkpoint and the request into a
    /// limit.
    #[error(
        "the memory limit of {limit_mib} MiB is too low: about {needed_mib} MiB are needed even with \
         everything offloaded. {hint}"
    )]
    MemoryLimit {
        /// The limit, in MiB.
        limit_mib: u64,
        /// Memory needed with everything offloaded, in MiB.
        needed_mib: u64,
        /// What would help, as a sentence without its full stop.
        hint: String,
    },
}
