//! `manifest.jsonl`: the list of images that the steps of `dataset` pass to one another.
//!
//! Files are read line by line and written beside their target, then renamed, so that memory stays
//! bounded and a killed run leaves only complete files.

mod error;
mod joined;
#[cfg(any(feature = "dataset", feature = "evaluate"))]
mod journal;
mod line;
mod place;
mod read;
mod row;
mod write;

pub use error::ManifestError;
pub use joined::{Joined, hash};
#[cfg(any(feature = "dataset", feature = "evaluate"))]
pub use journal::Journal;
pub use line::{JsonLine, JsonLines, MOST_LINE_BYTES};
pub use place::{FILE_NAME, file_in, image_path, relative};
pub use read::Rows;
pub use row::{Bounds, Character, Line, Row, Text};
pub use write::{LineWriter, write_whole};
