//! Images and captions to train on, as the rows of a manifest name them: read, fitted to their
//! buckets, and checked before the work starts. A [`cache`] has their encodings instead.

pub mod cache;
mod caption;
mod error;
mod frame;
mod read;
mod row;

pub use caption::CaptionLanguage;
pub use error::DataError;
pub use frame::Frame;
pub use read::{Reading, read_manifest, upright};
pub use row::{DataRow, Encodings};
