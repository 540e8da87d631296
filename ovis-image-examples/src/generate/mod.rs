//! `generate`: prompt to PNG.
//!
//! [`arguments`] makes a request; the binary (`src/bin/generate/`) generates and saves it. The
//! other modules are one feature each.

pub mod arguments;
pub mod dump;
pub mod grid;
pub mod memory;
pub mod preview;
pub mod profile;
pub mod source_image;
pub mod summary;
pub mod trust;

pub use arguments::Arguments;
