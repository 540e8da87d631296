use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use safetensors::tensor::{Dtype, View};
use safetensors::{SafeTensorError, serialize_to_file};

use super::tensor::OutgoingTensor;
use super::{OnWritten, OutgoingFile};
use crate::checkpoint::open::CONFIG_METADATA;
use crate::error::{OvisImageError, Result};
use crate::tensor_file::Encoding;

/// Writes a file; `on_written` receives the number of bytes of each tensor and may cancel.
pub(super) fn write(
    path: &Path,
    OutgoingFile {
        tensors, config, ..
    }: &OutgoingFile<'_>,
    on_written: &mut OnWritten<'_>,
) -> Result<()> {
    let run = RefCell::new(Run {
        failure: None,
        on_written,
    });
    let views = tensors
        .iter()
        .map(|tensor| (&tensor.name, LazyView { tensor, run: &run }));
    // transformers rejects files without this entry.
    let metadata = HashMap::from([
        ("format".to_owned(), "pt".to_owned()),
        (CONFIG_METADATA.to_owned(), config.clone()),
    ]);
    let io = |error| OvisImageError::io(path, error);
    // The crate creates files that only the owner can read; this one gets the usual permissions.
    let permissions = File::create(path)
        .and_then(|file| file.metadata())
        .map_err(io)?
        .permissions();
    let result = serialize_to_file(views, Some(metadata), path);
    if let Some(failure) = run.into_inner().failure {
        return Err(failure);
    }
    result.map_err(|error| match error {
        SafeTensorError::IoError(error) => io(error),
        other => {
            OvisImageError::invalid_file_because(path, "safetensors", "it cannot be written", other)
        }
    })?;
    let written = File::open(path).and_then(|file| file.sync_all());
    written
        .and_then(|()| std::fs::set_permissions(path, permissions))
        .map_err(io)
}

struct Run<'a, 'b> {
    /// First error, or the cancellation: a view cannot report it.
    failure: Option<OvisImageError>,
    on_written: &'a mut OnWritten<'b>,
}

/// Reads a tensor only when it is written, so that one at a time is in memory.
struct LazyView<'a, 'run, 'b> {
    tensor: &'a OutgoingTensor<'a>,
    run: &'a RefCell<Run<'run, 'b>>,
}

impl View for LazyView<'_, '_, '_> {
    fn dtype(&self) -> Dtype {
        match self.tensor.encoding {
            Encoding::F16 => Dtype::F16,
            Encoding::BF16 => Dtype::BF16,
            _ => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut run = self.run.borrow_mut();
        if run.failure.is_none() {
            let written = |bytes| (run.on_written)(self.data_len() as u64).map(|()| bytes);
            match self.tensor.read().and_then(written) {
                Ok(bytes) => return Cow::Owned(bytes),
                Err(error) => run.failure = Some(error),
            }
        }
        // After a failure the file is discarded.
        Cow::Borrowed(&[])
    }

    fn data_len(&self) -> usize {
        self.tensor.bytes()
    }
}
