use std::path::PathBuf;

/// Error of applying a LoRA to a model.
///
/// A file that cannot be read at all is a [`CheckpointError`](super::CheckpointError).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoraError {
    /// A file contains adapters of a method other than LoRA.
    #[error(
        "{} contains {method} (`{tensor}`), which is not supported: only LoRA is; merge it into the weights \
         with the program that made it, or export it as LoRA", path.display()
    )]
    UnsupportedAdapter {
        /// Path of the file.
        path: PathBuf,
        /// Tensor that identifies the method.
        tensor: String,
        /// Name of the method.
        method: &'static str,
    },

    /// None of a LoRA's modules exists in the model.
    #[error(
        "none of the {modules} modules of {} belongs to this model (the first is `{example}`): the \
         adapter was made for another model", path.display()
    )]
    NotApplied {
        /// Path of the file.
        path: PathBuf,
        /// Number of modules in the file.
        modules: usize,
        /// Name of the first module.
        example: String,
    },

    /// A LoRA tensor does not fit the layer that its name refers to.
    #[error(
        "`{tensor}` in {} has shape {actual:?}, but this model needs {expected:?}: the adapter was made \
         for another model", path.display()
    )]
    Shape {
        /// Path of the file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// Shape that the model needs.
        expected: Vec<usize>,
        /// Shape stored in the file.
        actual: Vec<usize>,
    },

    /// A module of an adapter cannot be trained in the model.
    #[error(
        "`{module}` in {} is not a module of this model that can be trained: the adapter was made for another \
         model, or for fused modules", path.display()
    )]
    NotTrainable {
        /// Path of the file.
        path: PathBuf,
        /// Module or tensor, as the file names it.
        module: String,
    },

    /// A module of an adapter to be converted is not one of the model.
    #[error(
        "the model has no module `{module}` of {}: the adapter was made for another model, or also for a text \
         encoder", path.display()
    )]
    UnknownModule {
        /// Path of the file.
        path: PathBuf,
        /// Module, as the file names it.
        module: String,
    },

    /// A pattern selects no module of the model.
    #[error(
        "no module of this model matches `{pattern}`: a pattern is a module's name or the end of one, such as \
         `to_q` or `attn.*`"
    )]
    PatternMatchesNothing {
        /// Pattern.
        pattern: String,
    },

    /// An adapter of rank 0 adds nothing.
    #[error("the rank of `{module}` is 0, but it must be at least 1")]
    ZeroRank {
        /// Name of the module.
        module: String,
    },

    /// An alpha is not a finite number.
    #[error("the alpha of `{module}` is {alpha}, but it must be a finite number")]
    InvalidAlpha {
        /// Name of the module.
        module: String,
        /// Given value.
        alpha: f64,
    },

    /// A written adapter differs from the trained one when it is read back.
    #[error("{} was written, but differs from the adapter when it is read back: {problem}", path.display())]
    ExportDiffers {
        /// Path of the file.
        path: PathBuf,
        /// First difference.
        problem: String,
    },
}
