//! Errors that are found before a run starts, or that end it.

use std::path::PathBuf;

use bytesize::ByteSize;
use ovis_image::error::Printable;

/// Error of a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// Another process trains in the folder.
    #[error("another process trains in {}: wait for it, end it, or choose another --output", shown(.folder))]
    Locked {
        /// Folder of the run.
        folder: PathBuf,
    },
    /// The folder contains a run, and resuming was not requested.
    #[error("{} contains a run: add --resume to continue it, or choose another --output", shown(.folder))]
    ExistingRun {
        /// Folder of the run.
        folder: PathBuf,
    },
    /// The output is an adapter that no run beside it has written.
    #[error("{} exists, and no run is beside it: choose another --output", shown(.path))]
    ExistingAdapter {
        /// File.
        path: PathBuf,
    },
    /// The run was started with other settings.
    #[error("the run was started with other settings:\n{}\nResume with those settings, or add --accept-changes", Printable(.differences))]
    Changed {
        /// Settings that differ, one per line.
        differences: String,
    },
    /// A checkpoint belongs to another model.
    #[error("the checkpoint {} does not fit the model: name the model that the run was started with", shown(.path))]
    AnotherRun {
        /// Checkpoint.
        path: PathBuf,
        /// Difference between the checkpoint and the model.
        source: ovis_image::error::StateError,
    },
    /// The disk has too little space for the files of the run.
    #[error("the run writes about {}, and the disk of {} has {} left: free some, keep fewer checkpoints (--keep-every), or choose another --output", ByteSize(*.needed), shown(.folder), ByteSize(*.free))]
    DiskTooSmall {
        /// Folder of the run.
        folder: PathBuf,
        /// Bytes that the run writes.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A batch would have no images.
    #[error(
        "a bucket is empty: name at least one size (--sizes), and at least one image a batch (--batch-size)"
    )]
    EmptyBucket,
    /// Images of this size cannot be encoded.
    #[error(
        "a bucket has images of {width}x{height}, but both sides must be multiples of {multiple}: name sizes (--sizes), or run `dataset buckets` over the manifest"
    )]
    Size {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Number that both sides must be a multiple of.
        multiple: usize,
    },
    /// A caption has more tokens than the model reads.
    #[error("a caption does not fit {rows} text rows, {over} tokens are too many: raise --max-sequence-length. The caption: {}", Printable(.caption))]
    LongCaption {
        /// Text rows after the prefix.
        rows: usize,
        /// Number of tokens that do not fit.
        over: usize,
        /// Caption.
        caption: String,
    },
    /// The file of batches cannot be used.
    #[error("{} cannot be replayed: {}", shown(.path), Printable(.problem))]
    Replay {
        /// File of batches.
        path: PathBuf,
        /// Description of the problem.
        problem: String,
    },
    /// The thread that draws images ended.
    #[error("the thread that prepares batches ended early")]
    DataEnded,
}

fn shown(path: &std::path::Path) -> String {
    crate::shared::terminal::shown(path)
}
