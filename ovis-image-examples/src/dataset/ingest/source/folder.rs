//! Folder of images with captions in text files beside them. Folders named `N_name` at the top
//! level are repeated N times, as in kohya's scripts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Candidate, Options, Place};
use crate::dataset::ingest::captions;
use crate::dataset::ingest::reason::{Dropped, Reason};
use crate::dataset::manifest::Row;
use crate::shared::captioned_images::{CaptionError, caption, is_image, repeats};

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
            Err(error) => {
                let reason = match error {
                    CaptionError::TooLong { .. } => Reason::CaptionTooLong,
                    _ => Reason::CaptionInvalid,
                };
                Some(Dropped::new(reason, error.to_string()))
            }
        };
        Candidate {
            row,
            image: Place::File(path),
            dropped,
        }
    }

    fn visit(&mut self, path: PathBuf) -> Result<Option<Candidate>> {
        if path == self.options.output {
            return Ok(None);
        }
        let is_image = is_image(&path);
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
