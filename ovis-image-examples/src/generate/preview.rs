//! Preview file, replaced after each step.

use std::path::{Path, PathBuf};

use anyhow::Result;
use burn::tensor::backend::Backend;
use image::imageops::{self, FilterType};
use ovis_image::images::PreviewDecoder;
use ovis_image::pipeline::DenoisingStep;

use crate::shared::output_file;

/// Writes previews to a file.
#[derive(Debug)]
pub struct PreviewFile {
    path: PathBuf,
    decoder: PreviewDecoder,
}

/// Pixels of the preview per latent, on each side: half the side of the image.
const ENLARGED: u32 = 4;

impl PreviewFile {
    /// Creates the writer. The file does not exist before the first step is done.
    pub fn new(path: &Path, decoder: PreviewDecoder) -> Self {
        Self {
            path: path.to_owned(),
            decoder,
        }
    }

    /// Writes what a step predicts, one file per image.
    ///
    /// # Errors
    /// Returns the errors of the device and of the file system.
    pub fn write<B: Backend>(&self, step: &DenoisingStep<B>) -> Result<()> {
        let images = step.preview(&self.decoder)?;
        for (index, image) in images.iter().enumerate() {
            let (width, height) = (ENLARGED * image.width(), ENLARGED * image.height());
            let enlarged = imageops::resize(image, width, height, FilterType::Triangle);
            let mut bytes = std::io::Cursor::new(Vec::new());
            enlarged.write_to(&mut bytes, image::ImageFormat::Png)?;
            let path = output_file::numbered(&self.path, index, images.len());
            output_file::write_passing(&path, bytes.get_ref())?;
        }
        Ok(())
    }
}
