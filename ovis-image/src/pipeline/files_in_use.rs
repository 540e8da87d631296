use std::sync::Arc;

use crate::error::Result;
use crate::tensor_file::TensorSource;

/// The files of each model that are read after loading: for weights that are computed with in place,
/// or read when used. `None` for a model that has all of its weights.
///
/// They are checked before each phase and between steps, because reading a parameter cannot fail.
#[derive(Debug, Clone)]
pub(super) struct FilesInUse {
    pub(super) text_encoder: Option<Arc<TensorSource>>,
    pub(super) transformer: Option<Arc<TensorSource>>,
    pub(super) vae: Option<Arc<TensorSource>>,
}

impl FilesInUse {
    /// Checks that no file was shortened or overwritten.
    pub(super) fn check(&self) -> Result<()> {
        self.check_text_encoder()?;
        self.check_transformer()?;
        self.check_vae()
    }

    pub(super) fn check_text_encoder(&self) -> Result<()> {
        check(&self.text_encoder)
    }

    pub(super) fn check_transformer(&self) -> Result<()> {
        check(&self.transformer)
    }

    pub(super) fn check_vae(&self) -> Result<()> {
        check(&self.vae)
    }
}

fn check(files: &Option<Arc<TensorSource>>) -> Result<()> {
    files
        .as_ref()
        .map_or(Ok(()), |files| files.check_unchanged())
}
