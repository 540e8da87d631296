//! Engine that draws text: images whose strings, boxes, fonts and colors are known exactly.
//!
//! [`SyntheticTypography`] is the source of samples. It draws the layouts of a [`Preset`] with the
//! fonts of [`Fonts`]. A sample is planned first (`scene`), with texts (`texts`) in fonts that have
//! their characters, shaped by cosmic-text (`shaping`). Then it is painted (`paint`) with coverage
//! masks (`canvas`), from which the boxes of the ink are taken.

mod canvas;
mod captions;
mod colors;
mod error;
mod fonts;
mod grid;
mod ground;
mod ground_truth;
mod paint;
mod preset;
mod random;
mod scene;
mod shaping;
mod source;
mod split;
mod texts;
mod words;

#[cfg(test)]
mod tests;

pub use captions::Captions;
pub use colors::nearest_color;
pub use error::TypographyError;
pub use fonts::{Face, Fonts};
pub use grid::{CELL_CLASSES, cell_class};
pub use ground::Backgrounds;
pub use ground_truth::{DrawnCharacter, DrawnField, DrawnLine, InkBox};
pub use preset::Preset;
pub use source::{SyntheticTypography, TypographySample};
pub use split::{Split, held_out_words};
