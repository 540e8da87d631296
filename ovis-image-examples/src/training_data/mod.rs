//! Images and captions to train on, as the rows of a manifest name them: read, fitted to their
//! buckets, and checked before the work starts. A [`cache`] has their encodings instead.

pub mod cache;
mod caption;
mod error;
pub mod folders;
mod frame;
mod mask;
mod read;
mod row;

pub use caption::CaptionLanguage;
pub use error::DataError;
pub use frame::Frame;
pub use mask::{Mask, cell_means};
pub use read::{Reading, read_manifest, upright};
pub use row::{DataRow, Encodings};
