//! Texts in PNG files: written with an image, and read without its pixels.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Result;
use image::RgbImage;

use crate::shared::input_file;

/// Keyword of the text in which other programs look for settings.
pub const PARAMETERS_KEYWORD: &str = "parameters";

/// Keyword of the text that holds a record as JSON.
pub const SETTINGS_KEYWORD: &str = "ovis-image";

/// Encodes an image as PNG, with texts by keyword.
///
/// # Errors
/// Returns the encoder's error.
pub fn encode(image: &RgbImage, texts: &[(&str, String)]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    for (keyword, text) in texts {
        // As Pillow does: more programs read the plain chunk, which holds Latin-1 only.
        if text.chars().all(|c| u32::from(c) < 0x100) {
            encoder.add_text_chunk((*keyword).to_owned(), text.clone())?;
        } else {
            encoder.add_itxt_chunk((*keyword).to_owned(), text.clone())?;
        }
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(image.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

/// The reason why the texts of a file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PngTextError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file does not begin with the signature of PNG.
    #[error("{} is not a PNG file: give the file as the program wrote it", path.display())]
    NotPng {
        /// The file.
        path: PathBuf,
    },
    /// The file begins as a PNG and breaks off or is malformed.
    #[error("{} is damaged or incomplete: fetch the file again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: png::DecodingError,
    },
    /// A compressed text cannot be expanded, or would be too long.
    #[error("the text `{keyword}` of {} is damaged or longer than {MOST_TEXT} bytes", path.display())]
    DamagedText {
        /// The file.
        path: PathBuf,
        /// The text.
        keyword: String,
        /// The cause.
        source: png::DecodingError,
    },
    /// A text is longer than any settings are.
    #[error("the text `{keyword}` of {} is longer than {MOST_TEXT} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The text.
        keyword: String,
    },
}

/// Length of the longest text that is read, in bytes after decompression.
pub const MOST_TEXT: usize = 1 << 20;

/// Limit for everything that the decoder keeps of a file.
const LIMITS: png::Limits = png::Limits { bytes: 64 << 20 };

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// Reads the texts of a PNG file by keyword, compressed ones too. Pixels are not decoded.
///
/// # Errors
/// Returns an error if the file cannot be read, is not a PNG or is damaged, or if a text is longer
/// than [`MOST_TEXT`].
pub fn read(path: &Path) -> Result<BTreeMap<String, String>, PngTextError> {
    let unread = |source| PngTextError::Read {
        path: path.to_owned(),
        source,
    };
    let damaged = |source| PngTextError::Damaged {
        path: path.to_owned(),
        source,
    };
    let mut file = BufReader::new(input_file::open(path).map_err(unread)?);
    if !file.fill_buf().map_err(unread)?.starts_with(&SIGNATURE) {
        return Err(PngTextError::NotPng {
            path: path.to_owned(),
        });
    }
    let decoder = png::Decoder::new_with_limits(file, LIMITS);
    let mut reader = decoder.read_info().map_err(damaged)?;
    // Texts may follow the pixels.
    reader.finish().map_err(damaged)?;

    let mut texts = BTreeMap::new();
    let mut add = |keyword: &str, text: Result<String, png::DecodingError>| {
        let (path, keyword) = (path.to_owned(), keyword.to_owned());
        match text {
            Err(source) => Err(PngTextError::DamagedText {
                path,
                keyword,
                source,
            }),
            Ok(text) if text.len() > MOST_TEXT => Err(PngTextError::TooLong { path, keyword }),
            Ok(text) => {
                texts.insert(keyword, text);
                Ok(())
            }
        }
    };
    let info = reader.info();
    for chunk in &info.uncompressed_latin1_text {
        add(&chunk.keyword, Ok(chunk.text.clone()))?;
    }
    // A few bytes may expand to gigabytes, so nothing is expanded beyond the limit.
    for chunk in &info.compressed_latin1_text {
        let mut chunk = chunk.clone();
        let expanded = chunk.decompress_text_with_limit(MOST_TEXT);
        add(&chunk.keyword, expanded.and_then(|()| chunk.get_text()))?;
    }
    for chunk in &info.utf8_text {
        let mut chunk = chunk.clone();
        let expanded = chunk.decompress_text_with_limit(MOST_TEXT);
        add(&chunk.keyword, expanded.and_then(|()| chunk.get_text()))?;
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::NamedTempFile;

    use super::*;

    fn file(bytes: &[u8]) -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(&file, bytes).unwrap();
        file
    }

    /// A PNG of one pixel that is encoded with what the caller adds.
    fn png_with(add: impl FnOnce(&mut png::Encoder<'_, &mut Vec<u8>>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
        add(&mut encoder);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[0]).unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn texts_are_read_as_they_were_written() {
        let texts = [("plain", "déjà vu,\n\"x\""), ("other", "一只猫")];
        let texts = texts.map(|(keyword, text)| (keyword, text.to_owned()));
        let image = file(&encode(&RgbImage::new(1, 1), &texts).unwrap());
        let found = read(image.path()).unwrap();
        assert_eq!(found.len(), 2);
        for (keyword, text) in texts {
            assert_eq!(found[keyword], text);
        }
    }

    #[test]
    fn plain_compressed_and_unicode_texts_are_read_before_and_after_the_pixels() {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
        let text = |name: &str| name.to_owned();
        encoder
            .add_text_chunk(text("plain"), text("déjà vu"))
            .unwrap();
        encoder
            .add_ztxt_chunk(text("compressed"), text("señor"))
            .unwrap();
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[0]).unwrap();
        let mut unicode = png::text_metadata::ITXtChunk::new("unicode", "一只猫");
        unicode.compressed = true;
        writer.write_text_chunk(&unicode).unwrap();
        writer.finish().unwrap();

        let texts = read(file(&bytes).path()).unwrap();
        let expected = [
            ("compressed", "señor"),
            ("plain", "déjà vu"),
            ("unicode", "一只猫"),
        ];
        let expected = expected.map(|(keyword, text)| (keyword.to_owned(), text.to_owned()));
        assert_eq!(texts, BTreeMap::from(expected));
    }

    #[test]
    fn texts_that_expand_beyond_the_limit_are_refused_by_name() {
        let keyword = || "long".to_owned();
        let long = |length: usize| " ".repeat(length);
        let fits = png_with(|png| png.add_ztxt_chunk(keyword(), long(MOST_TEXT)).unwrap());
        let texts = read(file(&fits).path()).unwrap();
        assert_eq!(texts["long"].len(), MOST_TEXT);

        let compressed = png_with(|png| png.add_ztxt_chunk(keyword(), long(100 << 20)).unwrap());
        assert!(compressed.len() < MOST_TEXT);
        let refused = read(file(&compressed).path());
        assert!(
            matches!(&refused, Err(PngTextError::DamagedText { keyword, .. }) if keyword == "long"),
            "{refused:?}"
        );
        let plain = png_with(|png| png.add_text_chunk(keyword(), long(MOST_TEXT + 1)).unwrap());
        let refused = read(file(&plain).path());
        assert!(
            matches!(refused, Err(PngTextError::TooLong { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn what_is_no_png_is_told_from_a_damaged_and_from_a_missing_one() {
        for bytes in [&b""[..], b"\x89PNG", b"\xff\xd8\xff\xe0 JFIF"] {
            let refused = read(file(bytes).path());
            assert!(
                matches!(refused, Err(PngTextError::NotPng { .. })),
                "{refused:?}"
            );
        }
        let whole = png_with(|_| ());
        for length in [8, 20, whole.len() - 13] {
            let refused = read(file(&whole[..length]).path());
            assert!(
                matches!(refused, Err(PngTextError::Damaged { .. })),
                "{refused:?}"
            );
        }
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path(), &folder.path().join("missing.png")] {
            let refused = read(path);
            assert!(
                matches!(refused, Err(PngTextError::Read { .. })),
                "{refused:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn hostile_text_chunks_are_read_or_refused(
            kind in prop::sample::select(vec![png::chunk::tEXt, png::chunk::zTXt, png::chunk::iTXt]),
            keyword in "[a-z]{0,3}",
            data in prop::collection::vec(prop_oneof![0..=1_u8, any::<u8>()], 0..40),
        ) {
            let mut bytes = Vec::new();
            let mut writer = png::Encoder::new(&mut bytes, 1, 1).write_header().unwrap();
            writer.write_chunk(kind, &[keyword.as_bytes(), b"\0", &data].concat()).unwrap();
            writer.write_image_data(&[0]).unwrap();
            writer.finish().unwrap();
            let _ = read(file(&bytes).path());
        }

        #[test]
        fn hostile_files_are_read_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = encode(&RgbImage::new(2, 2), &[("plain", "a cat".to_owned()), ("other", "猫".to_owned())]).unwrap();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = read(file(&bytes).path());
            bytes.truncate(cut.index(bytes.len()));
            let _ = read(file(&bytes).path());
        }
    }
}
