//! The arguments of image to image and inpainting.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use image::DynamicImage;
use ovis_image::SourceImage;
use ovis_image::images::{ImageFit, SourceSettings};

/// A picture to start from.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Image to image")]
pub struct SourceArguments {
    /// A picture to start from, in place of noise alone: PNG, JPEG or WebP
    #[arg(long, value_name = "FILE")]
    pub init_image: Option<PathBuf>,
    /// How much of it is made anew, 0 to 1 [default: 0.6]
    #[arg(long, requires = "init_image")]
    pub strength: Option<f64>,
    /// What is repainted: white in a picture of the same size; black keeps its pixels
    #[arg(long, value_name = "FILE", requires = "init_image")]
    pub mask: Option<PathBuf>,
    /// How far the mask's edge is softened, in pixels [default: 0]
    #[arg(long, value_name = "PIXELS", requires = "mask")]
    pub mask_blur: Option<f32>,
    /// How the picture is brought to --width and --height, where these are another shape
    #[arg(long, value_enum, requires = "init_image")]
    pub fit: Option<Fit>,
}

/// How a picture is brought to another size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fit {
    /// Scaled until it covers the size, and cut (the default)
    Crop,
    /// Scaled in each direction by itself
    Stretch,
}

impl SourceArguments {
    /// Reads the picture and its mask; `before` is how a picture that is made again was made.
    ///
    /// # Errors
    /// One that names the file.
    pub fn read(&self, before: Option<SourceSettings>) -> Result<Option<SourceImage>> {
        let Some(path) = &self.init_image else {
            return Ok(None);
        };
        let mut source = SourceImage::new(open(path)?.to_rgb8());
        if let Some(before) = before {
            source = source.with_strength(before.strength).with_fit(before.fit);
        }
        if let Some(strength) = self.strength {
            source = source.with_strength(strength);
        }
        if let Some(fit) = self.fit {
            source = source.with_fit(match fit {
                Fit::Crop => ImageFit::Crop,
                Fit::Stretch => ImageFit::Stretch,
            });
        }
        if let Some(mask) = &self.mask {
            let blur = self.mask_blur.or(before.map(|before| before.mask_blur));
            source = source
                .with_mask(open(mask)?.to_luma8())
                .with_mask_blur(blur.unwrap_or(0.0));
        }
        Ok(Some(source))
    }
}

fn open(path: &Path) -> Result<DynamicImage> {
    let reader = image::ImageReader::open(path).and_then(image::ImageReader::with_guessed_format);
    reader
        .map_err(anyhow::Error::from)
        .and_then(|reader| Ok(reader.decode()?))
        .with_context(|| format!("cannot read the picture {}", path.display()))
}
