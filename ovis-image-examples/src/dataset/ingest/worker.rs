//! Turns a candidate into a row with its measures. This part runs in parallel.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::decode::{Decoding, format};
use super::measure::{Measures, measure};
use super::reason::{Dropped, Reason};
use super::source::{Candidate, Place};
use crate::dataset::manifest::{Row, relative, write_whole};
use crate::shared::input_file;

/// Maximum size of an image file, in bytes.
pub(super) const MOST_FILE_BYTES: u64 = 256 << 20;

/// Line of a part.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    /// Row as read from the input, with the place of its image.
    pub row: Row,
    /// Measures of the image, if it could be decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measures: Option<Measures>,
    /// Reason why the row cannot be used, whatever the filters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<Dropped>,
}

/// State shared by all threads.
#[derive(Debug)]
pub(super) struct Worker {
    /// Limits of decoding.
    pub decoding: Decoding,
    /// Folder of the manifest, absolute and without links.
    pub output: PathBuf,
}

/// Target of an image extracted from an archive: a folder below the manifest's, and a number in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    /// Name of the input.
    pub stem: &'a str,
    /// Number of the candidate in the input.
    pub number: u64,
}

impl Worker {
    /// Measures a candidate. An image of an archive is written to a file.
    ///
    /// # Errors
    /// Returns an error only if that file cannot be written.
    pub(super) fn measure(&self, candidate: Candidate, target: Target<'_>) -> Result<Measured> {
        let Candidate {
            mut row,
            image,
            dropped,
        } = candidate;
        if let Place::File(path) = &image {
            self.refer(&mut row, path);
        }
        let result = match dropped {
            Some(dropped) => Err(dropped),
            None => self.read_and_measure(&image),
        };
        match result {
            Ok((measures, bytes)) => {
                if !matches!(image, Place::File(_)) {
                    self.extract(&mut row, &bytes, target)?;
                }
                Ok(Measured {
                    row,
                    measures: Some(measures),
                    dropped: None,
                })
            }
            Err(dropped) => Ok(Measured {
                row,
                measures: None,
                dropped: Some(dropped),
            }),
        }
    }

    /// Makes the path of an image relative to the manifest. A file that does not exist keeps the
    /// name that the input gave it.
    fn refer(&self, row: &mut Row, path: &Path) {
        let folder = path
            .parent()
            .and_then(|folder| fs::canonicalize(folder).ok());
        let (Some(folder), Some(name)) = (folder, path.file_name()) else {
            return;
        };
        if let Some(way) = relative(&self.output, &folder.join(name)) {
            row.image = way.into();
        }
    }

    fn read_and_measure(&self, image: &Place) -> Result<(Measures, Vec<u8>), Dropped> {
        let (bytes, name) = read(image)?;
        let extension = Path::new(&name).extension();
        let extension = extension.and_then(|extension| extension.to_str());
        let (pixels, _share) = self.decoding.decode(&bytes, extension)?;
        Ok((measure(&pixels), bytes))
    }

    fn extract(&self, row: &mut Row, bytes: &[u8], target: Target<'_>) -> Result<()> {
        // It was decoded, so it has a format.
        let format = format(bytes, None).map_err(|dropped| anyhow::anyhow!(dropped.detail))?;
        let ending = format.extensions_str().first().copied().unwrap_or("png");
        let name = format!("images/{}/{:08}.{ending}", target.stem, target.number);
        let path = self.output.join(&name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create the folder {}", folder.display()))?;
        }
        write_whole(&path, bytes)?;
        row.image = name.into();
        Ok(())
    }
}

/// Reads the bytes of an image, and the name under which they are known.
fn read(image: &Place) -> Result<(Vec<u8>, String), Dropped> {
    let unreadable = |error: std::io::Error| Dropped::new(Reason::Unreadable, error.to_string());
    match image {
        Place::Missing => Err(Dropped::new(Reason::Unreadable, "there is no image")),
        Place::Bytes { bytes, name } => Ok((bytes.clone(), name.clone())),
        Place::File(path) => {
            input_file::check(path).map_err(unreadable)?;
            let length = fs::metadata(path).map_err(unreadable)?.len();
            bounded(length)?;
            let bytes = input_file::read(path, MOST_FILE_BYTES).map_err(unreadable)?;
            Ok((bytes, path.to_string_lossy().into_owned()))
        }
        Place::Span {
            archive,
            offset,
            length,
            name,
        } => {
            bounded(*length)?;
            let mut bytes = Vec::new();
            let mut file = File::open(archive).map_err(unreadable)?;
            file.seek(SeekFrom::Start(*offset)).map_err(unreadable)?;
            // As the file is, not as the header says: it may lie.
            file.take(*length)
                .read_to_end(&mut bytes)
                .map_err(unreadable)?;
            if (bytes.len() as u64) < *length {
                return Err(Dropped::new(
                    Reason::Truncated,
                    "the archive ends before it",
                ));
            }
            Ok((bytes, name.clone()))
        }
    }
}

fn bounded(length: u64) -> Result<(), Dropped> {
    if length <= MOST_FILE_BYTES {
        return Ok(());
    }
    let detail = format!("it has {length} bytes, more than {MOST_FILE_BYTES}");
    Err(Dropped::new(Reason::FileTooLarge, detail))
}
