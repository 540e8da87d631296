//! Image to image and inpainting from the command line.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use ovis_image::SourceImage;
use ovis_image::images::{ImageFit, SourceSettings};

use crate::shared::{headings, input_image};

/// The arguments for the image to start from.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = headings::IMAGE_TO_IMAGE)]
pub struct SourceArguments {
    /// Image to start from: PNG, JPEG or WebP, turned by its EXIF orientation
    #[arg(long, value_name = "FILE")]
    pub init_image: Option<PathBuf>,
    /// Fraction of the schedule to run [default: 0.6]
    ///
    /// 0 returns the source image, 1 ignores it.
    #[arg(long, requires = "init_image")]
    pub strength: Option<f64>,
    /// Mask: white is repainted, black is kept
    ///
    /// The mask has the size of the image to start from.
    #[arg(long, value_name = "FILE", requires = "init_image")]
    pub mask: Option<PathBuf>,
    /// Radius in pixels by which the mask's edge is softened [default: 0]
    #[arg(long, value_name = "PIXELS", requires = "mask", hide_short_help = true)]
    pub mask_blur: Option<f32>,
    /// Method of fitting the image to --width and --height if the aspect ratio differs
    #[arg(long, value_enum, requires = "init_image", hide_short_help = true)]
    pub fit: Option<Fit>,
}

/// Method of fitting an image to another size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fit {
    /// Scale until it covers the size, then crop (the default)
    Crop,
    /// Scale each direction independently
    Stretch,
}

impl SourceArguments {
    /// Reads the image and its mask. `before` holds the settings of an image that is made again.
    ///
    /// # Errors
    /// Returns an error that names the file.
    pub fn read(&self, before: Option<SourceSettings>) -> Result<Option<ReadSource>> {
        let Some(path) = &self.init_image else {
            return Ok(None);
        };
        let image = input_image::read(path)?;
        let mut mask_sha256 = None;
        let mut source = SourceImage::new(image.image.into_rgb8());
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
            let mask = input_image::read(mask)?;
            mask_sha256 = Some(mask.sha256);
            source = source
                .with_mask(mask.image.into_luma8())
                .with_mask_blur(blur.unwrap_or(0.0));
        }
        Ok(Some(ReadSource {
            source,
            image_sha256: image.sha256,
            mask_sha256,
        }))
    }
}

/// A source image and the hashes of its files.
#[derive(Debug)]
pub struct ReadSource {
    /// The image with its mask and settings.
    pub source: SourceImage,
    /// SHA-256 of the image's file.
    pub image_sha256: String,
    /// SHA-256 of the mask's file.
    pub mask_sha256: Option<String>,
}
