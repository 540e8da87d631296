use super::BoxError;

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The name of a device is not one of those known.
    #[error(
        "unknown device `{name}`: use auto, flex, ndarray, wgpu[:N], vulkan[:N], metal[:N], cuda[:N] or rocm[:N]"
    )]
    Unknown {
        /// The name given.
        name: String,
    },

    /// The backend of a device was left out at compile time.
    #[error("device `{device}` is not compiled in: enable the cargo feature `{feature}`")]
    NotCompiled {
        /// The device asked for.
        device: String,
        /// The cargo feature that adds it.
        feature: &'static str,
    },

    /// The device does not exist on this machine, or its driver does not work.
    #[error("device `{device}` is not available: {reason}")]
    Unavailable {
        /// The device asked for.
        device: String,
        /// What the probe found.
        reason: String,
        /// The driver's error, where it gave one.
        source: Option<BoxError>,
    },

    /// The device cannot compute in the element type asked for.
    #[error("device `{device}` does not support {dtype}: use {alternative}")]
    UnsupportedDtype {
        /// The device.
        device: String,
        /// The element type asked for.
        dtype: String,
        /// An element type that would work.
        alternative: &'static str,
    },
}
