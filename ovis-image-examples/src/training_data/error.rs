//! Errors in data that are found before the work starts, unless a file changes later.

use std::path::{Path, PathBuf};

use ovis_image::error::Printable;

/// Error in the data of a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// Images of rows do not exist or are not files.
    #[error("{count} of the images that {} names cannot be opened, {} first: is the manifest still in its folder? `dataset ingest` leaves missing images out", shown(.manifest), shown(.image))]
    MissingImages {
        /// Manifest.
        manifest: PathBuf,
        /// First of the images.
        image: PathBuf,
        /// Number of the images.
        count: u64,
    },
    /// A row cannot be trained on.
    #[error("the row of {} in {} cannot be used: {}", Printable(.image), shown(.manifest), Printable(.reason))]
    Row {
        /// Manifest.
        manifest: PathBuf,
        /// Image of the row.
        image: String,
        /// Description of the problem.
        reason: String,
    },
    /// A folder has no images.
    #[error("{} contains no images", shown(.folder))]
    NoImages {
        /// Folder.
        folder: PathBuf,
    },
    /// Images have no captions.
    #[error("{count} {} no caption, {} first: write the caption of an image into a text file beside it, of the same name and with the extension txt, or name a word that stands for all of them with --trigger", if *.count == 1 { "image has" } else { "images have" }, shown(.image))]
    NoCaption {
        /// First of the images.
        image: PathBuf,
        /// Number of the images.
        count: u64,
    },
    /// Regularization images have no captions.
    #[error("{count} regularization {} no caption, {} first: write the caption of an image into a text file beside it, of the same name and with the extension txt, or name the folder N_class", if *.count == 1 { "image has" } else { "images have" }, shown(.image))]
    NoPriorCaption {
        /// First of the images.
        image: PathBuf,
        /// Number of the images.
        count: u64,
    },
    /// An image would be too long if it were as wide as its bucket.
    #[error("{} has {width}x{height} pixels and is too thin for every bucket: crop it", shown(.image))]
    TooThin {
        /// File.
        image: PathBuf,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// A mask has another shape than its image.
    #[error("the mask {} has {}x{} pixels, and {} has {}x{}: they need the same shape", shown(.mask), .found[0], .found[1], shown(.image), .size[0], .size[1])]
    MaskShape {
        /// File of the mask.
        mask: PathBuf,
        /// Width and height of the mask in pixels.
        found: [u32; 2],
        /// File of the image.
        image: PathBuf,
        /// Width and height of the image in pixels.
        size: [u32; 2],
    },
    /// An image has no mask.
    #[error("the mask {} is missing: each image needs one", shown(.mask))]
    NoMask {
        /// File of the mask.
        mask: PathBuf,
    },
    /// There are no rows.
    #[error("{} has no rows to train on", shown(.manifest))]
    NoRows {
        /// Manifest.
        manifest: PathBuf,
    },
    /// A bucket that was named has no images.
    #[error(
        "the bucket {width}x{height} is empty: no image has a shape that is nearer to it than to another one. Leave it out of --sizes"
    )]
    EmptyBucket {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// A file of a cache cannot be used.
    #[error("{} cannot be used as a cache: {}. Run `dataset cache` again", shown(.path), Printable(.reason))]
    Cache {
        /// File, or the folder.
        path: PathBuf,
        /// Description of the problem.
        reason: String,
    },
    /// A cache was made with other models.
    #[error("the cache {} was made with another {part}: run `dataset cache` with this model, or name the model that it was made with", shown(.cache))]
    AnotherModel {
        /// Folder of the cache.
        cache: PathBuf,
        /// Model that differs.
        part: &'static str,
    },
    /// No row has a weight.
    #[error("all images have the weight 0: there is nothing to train on")]
    NoWeight,
    /// No image can be held out.
    #[error(
        "no image can be held out for validation, because each is the only one of its size: add images, or train without (--validation-share 0)"
    )]
    NothingHeldOut,
}

fn shown(path: &Path) -> String {
    crate::shared::terminal::shown(path)
}
