//! `generate`: prompt to PNG.
//!
//! [`arguments`] makes a request, [`run`](run()) generates and saves it. The other modules are one feature
//! each.

pub mod arguments;
pub mod dump;
pub mod grid;
pub mod memory;
pub mod preview;
pub mod profile;
mod run;
pub mod source_image;
pub mod summary;

pub use arguments::Arguments;
pub use run::run;
