//! Folder of images with captions in text files beside them. Folders named `N_name` at the top
//! level are repeated N times, as in kohya's scripts.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Candidate, Options, Place};
use crate::dataset::ingest::captions;
use crate::dataset::ingest::reason::{Dropped, Reason};
use crate::dataset::manifest::Row;
use crate::shared::input_file;

/// Extensions of image files. Unsupported formats become rows with a reason.
pub(super) const IMAGES: [&str; 15] = [
    "png", "jpg", "jpeg", "jfif", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "heif",
    "jxl", "ico", "tga",
];

/// Extensions of caption files. The first one that exists is used.
const CAPTIONS: [&str; 2] = ["txt", "caption"];

/// Walks a folder, in the order of names.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    options: Options,
    /// Paths still to be visited, the next one last.
    stack: Vec<PathBuf>,
}

impl Folder {
    /// Opens a folder.
    ///
    /// # Errors
    /// Returns the system's error.
    pub(super) fn open(root: &Path, options: Options) -> Result<Self> {
        let mut folder = Self {
            root: root.to_owned(),
            options,
            stack: Vec::new(),
        };
        folder.enter(root)?;
        Ok(folder)
    }

    fn enter(&mut self, folder: &Path) -> Result<()> {
        let read = || -> std::io::Result<Vec<PathBuf>> {
            fs::read_dir(folder)?
                .map(|entry| Ok(entry?.path()))
                .collect()
        };
        let mut entries =
            read().with_context(|| format!("cannot read the folder {}", folder.display()))?;
        entries.sort_unstable_by(|a, b| b.cmp(a));
        self.stack.append(&mut entries);
        Ok(())
    }

    fn candidate(&self, path: PathBuf) -> Candidate {
        let name = path.strip_prefix(&self.root).unwrap_or(&path);
        let id = name.to_string_lossy().replace('\\', "/");
        if name.to_str().is_none() {
            return Candidate::refused(id, Dropped::new(Reason::UnsafeName, "it is not UTF-8"));
        }
        let mut row = Row {
            image: id.clone().into(),
            id,
            ..Row::default()
        };
        let (repeats, class) = repeats(name);
        if let Some(repeats) = repeats {
            row.other.insert("repeats".to_owned(), repeats.into());
        }
        let caption = caption(&path, self.options.most_caption_bytes);
        let dropped = match caption {
            Ok(caption) => {
                if let Some(caption) = caption.or(class) {
                    captions::assign(&mut row, caption);
                }
                None
            }
            Err(dropped) => Some(dropped),
        };
        Candidate {
            row,
            image: Place::File(path),
            dropped,
        }
    }

    fn visit(&mut self, path: PathBuf) -> Result<Option<Candidate>> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_image =
            extension.is_some_and(|extension| IMAGES.contains(&extension.to_lowercase().as_str()));
        let is_link = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink());
        if !is_image && path.is_dir() {
            if !is_link {
                self.enter(&path)?;
                return Ok(None);
            }
            let id = path.strip_prefix(&self.root).unwrap_or(&path);
            let detail = "a link to a folder is not followed";
            return Ok(Some(Candidate::refused(
                id.to_string_lossy().into_owned(),
                Dropped::new(Reason::Unreadable, detail),
            )));
        }
        Ok(is_image.then(|| self.candidate(path)))
    }
}

impl Iterator for Folder {
    type Item = Result<Candidate>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(path) = self.stack.pop() {
            if let Some(candidate) = self.visit(path).transpose() {
                return Some(candidate);
            }
        }
        None
    }
}

/// Returns the repeats and the class of an image in a folder `N_name`.
fn repeats(name: &Path) -> (Option<u32>, Option<String>) {
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
fn caption(image: &Path, most: u64) -> Result<Option<String>, Dropped> {
    for ending in CAPTIONS {
        let mut bytes = Vec::new();
        let path = image.with_extension(ending);
        let read = input_file::open(&path)
            .and_then(|file: File| file.take(most + 1).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                let detail = format!("its caption: {error}");
                return Err(Dropped::new(Reason::CaptionInvalid, detail));
            }
            Ok(_) if bytes.len() as u64 > most => {
                let detail = format!("it has more than {most} bytes");
                return Err(Dropped::new(Reason::CaptionTooLong, detail));
            }
            Ok(_) => {}
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| Dropped::new(Reason::CaptionInvalid, "it is not UTF-8"))?;
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
