//! Configurations of the models in a checkpoint, as serde structs without tensors.
//!
//! Each struct reads the JSON that diffusers or transformers writes, and its `validate` names the
//! first relation that does not hold. The `ovis_image_7b` presets are the configurations of the 7B
//! release. Fields may be added to the structs, so other programs start from a preset or from JSON,
//! and set fields:
//!
//! ```
//! use ovis_image::config::TransformerConfig;
//!
//! let mut config = TransformerConfig::ovis_image_7b();
//! config.num_layers = 2;
//! config.validate()?;
//! # Ok::<(), ovis_image::OvisImageError>(())
//! ```

mod dtype;
mod scheduler;
mod text_encoder;
mod transformer;
mod vae;

pub use dtype::WeightDtype;
pub use scheduler::SchedulerConfig;
pub use text_encoder::TextEncoderConfig;
pub use transformer::TransformerConfig;
pub use vae::VaeConfig;

/// Upper bound on every size read from a file. Larger ones are corrupt or hostile, and their
/// products could overflow.
pub(crate) const MAX_DIMENSION: usize = 1 << 24;

/// Upper bound on the number of blocks, because models are built, empty, before they are compared
/// with their weights.
pub(crate) const MAX_DEPTH: usize = 1024;

/// Fails if a number of blocks exceeds [`MAX_DEPTH`].
pub(crate) fn check_depth(
    part: &'static str,
    name: &str,
    depth: usize,
) -> crate::error::Result<()> {
    if depth > MAX_DEPTH {
        return Err(crate::OvisImageError::config(
            part,
            format!("{name} = {depth} is more than {MAX_DEPTH}"),
        ));
    }
    Ok(())
}

/// Fails if a size is zero or exceeds [`MAX_DIMENSION`].
pub(crate) fn check_sizes(part: &'static str, sizes: &[(&str, usize)]) -> crate::error::Result<()> {
    for (name, size) in sizes {
        if *size == 0 || *size > MAX_DIMENSION {
            return Err(crate::OvisImageError::config(
                part,
                format!("{name} = {size} is not between 1 and {MAX_DIMENSION}"),
            ));
        }
    }
    Ok(())
}
