//! Source images and masks, previews, upscaled latents, and conversion between tensors and pixels.

mod conversion;
mod download;
mod least_squares;
mod preview;
mod source_image;
mod upscale;

pub use preview::PreviewDecoder;
pub use source_image::{ImageFit, SourceImage, SourceSettings};

pub(crate) use conversion::{from_rgb, to_rgb};
pub(crate) use download::{check_finite, download};
pub(crate) use preview::PreviewFit;
pub(crate) use source_image::{mask_of_latents, restore_kept_pixels, steps_left_out};
pub(crate) use upscale::{upscale_image, upscale_latents};
