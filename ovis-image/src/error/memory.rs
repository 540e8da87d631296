/// Error of a request or checkpoint that does not fit in memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The activations of a request need more memory than is available.
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
        /// Number of images generated at once.
        images: usize,
        /// Estimated peak of the activations, in MiB.
        needed_mib: u64,
        /// Available memory or memory limit, in MiB.
        available_mib: u64,
    },

    /// No combination of offloading, streaming and tiling makes the checkpoint and the request fit
    /// the memory limit.
    #[error(
        "the memory limit of {limit_mib} MiB is too low: about {needed_mib} MiB are needed even with \
         everything offloaded. {hint}"
    )]
    MemoryLimit {
        /// Memory limit, in MiB.
        limit_mib: u64,
        /// Memory needed with everything offloaded, in MiB.
        needed_mib: u64,
        /// Suggestion for making it fit, as a sentence without its full stop.
        hint: String,
    },
}
