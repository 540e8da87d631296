//! Errors of drawing typography images.

use std::path::PathBuf;

use ovis_image::error::Printable;

/// Error of drawing text.
#[derive(Debug, thiserror::Error)]
pub enum TypographyError {
    /// A file or folder cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A folder contains no font.
    #[error("{} contains no font (.ttf, .otf, .ttc or .otc)", .0.display())]
    NoFonts(PathBuf),
    /// No font has a character that must be drawn.
    #[error("no font of {fonts} has the character {character:?} (U+{:04X}): add a font that has it", u32::from(*.character))]
    NoGlyph {
        /// Origin of the fonts.
        fonts: String,
        /// The character.
        character: char,
    },
    /// No font has the requested name.
    #[error("no font is called `{}`: the fonts of {fonts} are {known}", Printable(.name))]
    UnknownFont {
        /// The name.
        name: String,
        /// Origin of the fonts.
        fonts: String,
        /// Names of the fonts.
        known: String,
    },
    /// The name is not that of a preset.
    #[error("no preset is called `{}`: name one of {known}, or a .toml file", Printable(.name))]
    UnknownPreset {
        /// The name.
        name: String,
        /// Names of the presets.
        known: String,
    },
    /// A preset is invalid.
    #[error("preset {name}: {reason}")]
    Preset {
        /// Name or file of the preset.
        name: String,
        /// Description of the problem.
        reason: String,
    },
    /// No text was found that fits.
    #[error(
        "preset {preset}: no text fits the field `{field}` at {width}x{height}. Choose a larger image or shorter texts."
    )]
    NoRoom {
        /// Name of the preset.
        preset: String,
        /// Name of the field.
        field: String,
        /// Width of the image.
        width: u32,
        /// Height of the image.
        height: u32,
    },
    /// The split leaves no text to draw.
    #[error(
        "preset {preset}: field `{field}` has no text for this split. Held-out texts have {least} characters or more."
    )]
    NoText {
        /// Name of the preset.
        preset: String,
        /// Name of the field.
        field: String,
        /// Length of the shortest held-out text.
        least: usize,
    },
    /// A size or range is out of bounds.
    #[error("{0}")]
    Argument(String),
    /// A folder contains no photograph.
    #[error("{} contains no image (.png, .jpg, .jpeg or .webp)", .0.display())]
    NoBackgrounds(PathBuf),
    /// A photograph cannot be decoded.
    #[error("cannot decode {}", .path.display())]
    Background {
        /// The file.
        path: PathBuf,
        /// Error of the decoder.
        source: image::ImageError,
    },
}
