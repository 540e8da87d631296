use super::BoxError;

/// Error of selecting or using a device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The name of a device is unknown.
    #[error(
        "unknown device `{name}`: use auto, flex, ndarray, wgpu[:N], vulkan[:N], metal[:N], cuda[:N], rocm[:N], tch, tch:cuda[:N] or tch:mps"
    )]
    Unknown {
        /// Name given.
        name: String,
    },

    /// The backend of a device is not compiled in.
    #[error("device `{device}` is not compiled in: enable the cargo feature `{feature}`")]
    NotCompiled {
        /// Requested device.
        device: String,
        /// Cargo feature that adds the backend.
        feature: &'static str,
    },

    /// The device does not exist on this machine, or its driver does not work.
    #[error("device `{device}` is not available: {reason}")]
    Unavailable {
        /// Requested device.
        device: String,
        /// Result of probing the device.
        reason: String,
        /// Error of the driver, if it reported one.
        source: Option<BoxError>,
    },

    /// The machine has fewer devices of this kind than the index requires.
    #[error("device `{device}` does not exist: {count} found, numbered from 0")]
    NoSuchIndex {
        /// Requested device.
        device: String,
        /// Number of devices of this kind.
        count: usize,
    },

    /// The device cannot compute in the requested element type.
    #[error("device `{device}` does not support {dtype}: use {alternative}")]
    UnsupportedDtype {
        /// Name of the device.
        device: String,
        /// Requested element type.
        dtype: String,
        /// Element type that works instead.
        alternative: &'static str,
    },
}
