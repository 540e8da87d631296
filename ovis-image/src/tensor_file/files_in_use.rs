use std::sync::Arc;

use super::TensorSource;
use crate::error::Result;

/// Files of a model that are read after loading, for weights that are computed with in place or
/// read when used. Empty for a model that has all of its weights in memory.
///
/// The files are checked before each phase and between steps, because reading a parameter cannot
/// return an error.
#[derive(Debug, Clone, Default)]
pub(crate) struct FilesInUse(Option<Arc<TensorSource>>);

impl FilesInUse {
    pub(crate) fn new(files: Option<Arc<TensorSource>>) -> Self {
        Self(files)
    }

    /// Checks that no file was shortened or overwritten.
    pub(crate) fn check(&self) -> Result<()> {
        self.0
            .as_ref()
            .map_or(Ok(()), |files| files.check_unchanged())
    }
}
