//! Images with captions in text files beside them, in folders as kohya's scripts read them.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use super::input_file;

/// Extensions of image files, of formats that cannot be read, too.
pub const IMAGES: [&str; 15] = [
    "png", "jpg", "jpeg", "jfif", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "heif",
    "jxl", "ico", "tga",
];

/// Extensions of caption files. The first one that exists is used.
const CAPTIONS: [&str; 2] = ["txt", "caption"];

/// Error in a caption file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptionError {
    /// The file cannot be read.
    #[error("its caption: {0}")]
    Unreadable(#[from] io::Error),
    /// The file is too long.
    #[error("its caption has more than {most} bytes")]
    TooLong {
        /// Maximum size in bytes.
        most: u64,
    },
    /// The file is not a text.
    #[error("its caption is not UTF-8")]
    NotUtf8,
}

/// Returns true if a file has the extension of an image.
pub fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| IMAGES.contains(&extension.to_lowercase().as_str()))
}

/// Returns the repeats and the class of an image in a folder `N_class`, from its path in the folder
/// of all images.
pub fn repeats(name: &Path) -> (Option<u32>, Option<String>) {
    let mut components = name.components();
    let first = components
        .next()
        .map(|first| first.as_os_str().to_string_lossy());
    let (Some(first), Some(_)) = (first, components.next()) else {
        return (None, None);
    };
    let Some((repeats, class)) = first.split_once('_') else {
        return (None, None);
    };
    match repeats.parse::<u32>() {
        Ok(repeats) if repeats > 0 => (Some(repeats), Some(class.trim().to_owned())),
        _ => (None, None),
    }
}

/// Reads the caption beside an image. Returns `None` if the image has no caption file.
///
/// # Errors
/// Returns an error if the file cannot be read, has more than `most` bytes or is not UTF-8.
pub fn caption(image: &Path, most: u64) -> Result<Option<String>, CaptionError> {
    for ending in CAPTIONS {
        let mut bytes = Vec::new();
        let read = input_file::open(&image.with_extension(ending))
            .and_then(|file: File| file.take(most.saturating_add(1)).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
            Ok(_) if bytes.len() as u64 > most => return Err(CaptionError::TooLong { most }),
            Ok(_) => {}
        }
        let text = String::from_utf8(bytes).map_err(|_| CaptionError::NotUtf8)?;
        let text = text.trim_start_matches('\u{feff}').trim();
        return Ok(Some(text.to_owned()));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_with_a_number_are_repeated() {
        let found = |name: &str| repeats(Path::new(name));
        assert_eq!(
            found("10_sks dog/a.png"),
            (Some(10), Some("sks dog".to_owned()))
        );
        for name in [
            "10_dog.png",
            "dog/10_a.png",
            "0_dog/a.png",
            "x_dog/a.png",
            "-1_a/b.png",
        ] {
            assert_eq!(found(name), (None, None), "{name}");
        }
    }
}
