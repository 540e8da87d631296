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
