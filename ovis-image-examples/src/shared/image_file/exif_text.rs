//! The text `parameters` in the EXIF data of JPEG and WebP files, where AUTOMATIC1111's web UI has
//! it: in the field UserComment.

use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;

use anyhow::Result;
use exif::experimental::Writer;
use exif::{Exif, Field, In, Reader, Tag, Value};

use crate::shared::input_file;

/// First bytes of a comment in UTF-16.
const UNICODE: &[u8; 8] = b"UNICODE\0";

/// First bytes of a comment in ASCII.
const ASCII: &[u8; 8] = b"ASCII\0\0\0";

/// Number of bytes that fit into the segment of a JPEG file, beside the segment's own.
const MOST_BYTES: usize = 65_500;

/// Size of the largest file that is searched for a text.
const LARGEST_FILE: u64 = 256 << 20;

/// Encodes EXIF data with the text. `None` if it does not fit.
///
/// # Errors
/// Returns the encoder's error.
pub fn encode(text: &str) -> Result<Option<Vec<u8>>> {
    let letters = text.encode_utf16().flat_map(u16::to_be_bytes);
    let field = Field {
        tag: Tag::UserComment,
        ifd_num: In::PRIMARY,
        value: Value::Undefined(UNICODE.iter().copied().chain(letters).collect(), 0),
    };
    let mut writer = Writer::new();
    writer.push_field(&field);
    let mut bytes = Cursor::new(Vec::new());
    writer.write(&mut bytes, false)?;
    let bytes = bytes.into_inner();
    Ok((bytes.len() <= MOST_BYTES).then_some(bytes))
}

/// Reads the text of a JPEG or WebP file. `None` if there is none, or the file is another.
pub fn read(path: &Path) -> Option<String> {
    let file = input_file::open(path).ok()?;
    let is_usual = file
        .metadata()
        .is_ok_and(|it| it.is_file() && it.len() <= LARGEST_FILE);
    if !is_usual {
        return None;
    }
    in_file(&mut BufReader::new(file))
}

/// Reads the text of a JPEG or WebP file that is in memory.
pub fn in_bytes(bytes: &[u8]) -> Option<String> {
    in_file(&mut Cursor::new(bytes))
}

fn in_file(file: &mut (impl BufRead + Seek)) -> Option<String> {
    let exif = Reader::new().read_from_container(file).ok()?;
    let text = comment(&exif)?;
    Some(text).filter(|text| !text.is_empty())
}

fn comment(exif: &Exif) -> Option<String> {
    let mut fields = exif.fields();
    let field = fields.find(|field| field.tag == Tag::UserComment)?;
    let Value::Undefined(bytes, _) = &field.value else {
        return None;
    };
    if let Some(letters) = bytes.strip_prefix(UNICODE) {
        let (letters, _) = letters.as_chunks::<2>();
        // Pillow and its users write big-endian letters, whatever the order of the file is.
        let letters: Vec<u16> = letters.iter().map(|two| u16::from_be_bytes(*two)).collect();
        return String::from_utf16(&letters).ok();
    }
    let letters = bytes.strip_prefix(ASCII)?;
    std::str::from_utf8(letters).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::shared::image_file::ImageFormat;
    use crate::shared::image_file::png_text::PARAMETERS_KEYWORD;

    #[test]
    fn a_text_is_read_as_it_was_written() {
        let image = image::RgbImage::new(2, 2);
        for text in ["a cat\nSteps: 2", "一只猫 🐈", "x"] {
            for format in [ImageFormat::Jpeg, ImageFormat::WebP] {
                let texts = [(PARAMETERS_KEYWORD, text.to_owned())];
                let bytes = format.encode(&image, &texts).unwrap();
                assert_eq!(in_bytes(&bytes).as_deref(), Some(text), "{format:?}");
            }
        }
        let plain = ImageFormat::WebP.encode(&image, &[]).unwrap();
        assert_eq!(in_bytes(&plain), None);
        assert_eq!(in_bytes(b"not an image"), None);
        assert_eq!(encode(&"x".repeat(MOST_BYTES / 2)).unwrap(), None);
    }

    proptest! {
        #[test]
        fn hostile_files_are_read_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in any::<prop::sample::Index>(),
            format in prop::sample::select(vec![ImageFormat::Jpeg, ImageFormat::WebP]),
        ) {
            let texts = [(PARAMETERS_KEYWORD, "a cat".to_owned())];
            let mut bytes = format.encode(&image::RgbImage::new(2, 2), &texts).unwrap();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            in_bytes(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            in_bytes(&bytes);
        }
    }
}
