use std::path::PathBuf;

/// Why a LoRA cannot be applied. A file that cannot be read at all is a
/// [`CheckpointError`](super::CheckpointError).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoraError {
    /// A file contains adapters that are not low-rank additions.
    #[error(
        "{} contains {method} (`{tensor}`), which is not supported: only LoRA is; merge it into the weights \
         with the program that made it, or export it as LoRA", path.display()
    )]
    UnsupportedAdapter {
        /// The file.
        path: PathBuf,
        /// The tensor that tells.
        tensor: String,
        /// The method's name.
        method: &'static str,
    },

    /// None of a LoRA's modules exists in the model.
    #[error(
        "none of the {modules} modules of {} belongs to this model (the first is `{example}`): the \
         adapter was made for another model", path.display()
    )]
    NotApplied {
        /// The file.
        path: PathBuf,
        /// Number of modules in the file.
        modules: usize,
        /// One of them.
        example: String,
    },

    /// A LoRA's tensor does not fit the layer that its name means.
    #[error(
        "`{tensor}` in {} has shape {actual:?}, but this model needs {expected:?}: the adapter was made \
         for another model", path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Shape that the model needs.
        expected: Vec<usize>,
        /// Shape stored in the file.
        actual: Vec<usize>,
    },
}
