//! Errors by kind: [`OvisImageError`] wraps one enum for each. Every error names the file, tensor or
//! argument at fault and, where there is one, the way out. A message does not repeat its cause: that
//! is what [`source`](std::error::Error::source) returns.

mod checkpoint;
mod device;
#[cfg(feature = "hub")]
mod hub;
mod lora;
mod memory;
mod phase;
mod request;
mod runtime;
mod weights_report;
mod wrong_shape;

pub use checkpoint::CheckpointError;
pub use device::DeviceError;
#[cfg(feature = "hub")]
pub use hub::{HubError, HubFailure};
pub use lora::LoraError;
pub use memory::MemoryError;
pub use phase::Phase;
pub use request::RequestError;
pub use runtime::RuntimeError;
pub use weights_report::WeightsReport;
pub use wrong_shape::WrongShape;

/// A `Result` whose error is [`OvisImageError`].
pub type Result<T, E = OvisImageError> = std::result::Result<T, E>;

/// An error of a library below this one, kept as the cause of one of ours.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Everything that can go wrong between a path on disk and an image.
///
/// ```
/// use ovis_image::error::{CheckpointError, OvisImageError};
///
/// let error = ovis_image::Checkpoint::open("/no/such/folder").unwrap_err();
/// assert!(matches!(error, OvisImageError::Checkpoint(CheckpointError::NotFound { .. })));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OvisImageError {
    /// Reading or writing a checkpoint failed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),

    /// A LoRA cannot be applied.
    #[error(transparent)]
    Lora(#[from] LoraError),

    /// A request or another argument of the caller is refused.
    #[error(transparent)]
    Request(#[from] RequestError),

    /// A device cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),

    /// The memory does not suffice.
    #[error(transparent)]
    Memory(#[from] MemoryError),

    /// A file could not be downloaded from the Hugging Face Hub.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] HubError),

    /// Generation started and did not finish.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}
