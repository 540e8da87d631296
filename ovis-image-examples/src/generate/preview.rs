//! A picture of what is coming, written again after each step.

use std::path::{Path, PathBuf};

use anyhow::Result;
use burn::tensor::backend::Backend;
use image::imageops::{self, FilterType};
use ovis_image::images::PreviewDecoder;
use ovis_image::pipeline::DenoisingStep;

use crate::shared::output_file;

/// Where previews go.
#[derive(Debug)]
pub struct PreviewFile {
    path: PathBuf,
    decoder: PreviewDecoder,
}

/// Pixels for each of the latents', a side: a quarter of the picture's size in all.
const ENLARGED: u32 = 4;

impl PreviewFile {
    /// A file that does not exist until the first step is done.
    pub fn new(path: &Path, decoder: PreviewDecoder) -> Self {
        Self {
            path: path.to_owned(),
            decoder,
        }
    }

    /// Writes what a step predicts, one file for each image.
    ///
    /// # Errors
    /// Those of the device and of the file system.
    pub fn write<B: Backend>(&self, step: &DenoisingStep<B>) -> Result<()> {
        let pictures = step.preview(&self.decoder)?;
        for (index, picture) in pictures.iter().enumerate() {
            let (width, height) = (ENLARGED * picture.width(), ENLARGED * picture.height());
            let picture = imageops::resize(picture, width, height, FilterType::Triangle);
            let mut bytes = std::io::Cursor::new(Vec::new());
            picture.write_to(&mut bytes, image::ImageFormat::Png)?;
            let path = output_file::numbered(&self.path, index, pictures.len());
            output_file::write_passing(&path, bytes.get_ref())?;
        }
        Ok(())
    }
}
