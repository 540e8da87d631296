//! Errors of the library: [`OvisImageError`] wraps one enum for each kind.
//!
//! Every error names the file, tensor or argument at fault and, if possible, what to do. A message
//! does not repeat its cause, which [`source`](std::error::Error::source) returns.

mod checkpoint;
mod device;
#[cfg(feature = "hub")]
mod hub;
mod lora;
mod memory;
mod phase;
mod printable;
mod request;
mod runtime;
#[cfg(feature = "train")]
mod state;
mod weights_report;
mod wrong_shape;

pub use checkpoint::CheckpointError;
pub use device::DeviceError;
#[cfg(feature = "hub")]
pub use hub::{HubError, HubFailure};
pub use lora::LoraError;
pub use memory::MemoryError;
pub use phase::Phase;
pub use printable::Printable;
pub use request::RequestError;
pub use runtime::RuntimeError;
#[cfg(feature = "train")]
pub use state::StateError;
pub use weights_report::WeightsReport;
pub use wrong_shape::WrongShape;

/// Alias of the standard `Result` with [`OvisImageError`] as the error.
pub type Result<T, E = OvisImageError> = std::result::Result<T, E>;

/// Error of another library, kept as the cause of an error of this one.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Any error of the library, from opening a checkpoint to generating an image.
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

    /// A request or checkpoint does not fit in memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),

    /// A file could not be downloaded from the Hugging Face Hub.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] HubError),

    /// A generation or an export started but did not finish.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),

    /// The state of a training run cannot be saved or resumed.
    #[cfg(feature = "train")]
    #[error(transparent)]
    State(#[from] StateError),
}
