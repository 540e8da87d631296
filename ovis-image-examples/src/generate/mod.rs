//! `generate`: prompt to PNG.
//!
//! [`arguments`] are read, [`requested`] makes a request of them, and [`run()`] generates and saves
//! it. The other modules are one feature each.

pub mod arguments;
pub mod captions;
pub mod dump;
pub mod from_image;
pub mod grid;
pub mod grid_values;
pub mod hires;
mod links;
pub mod memory;
pub mod output_names;
pub mod preview;
pub mod profile;
pub mod prompt_file;
pub mod prompts;
pub mod requested;
mod run;
pub mod source_image;
pub mod summary;
pub mod time_estimate;
pub mod trust;
pub mod warnings;

pub use arguments::Arguments;
pub use run::run;
