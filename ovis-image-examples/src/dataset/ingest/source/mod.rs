//! Inputs: each kind iterates over its candidates in an order that depends on the input alone.

mod folder;
#[cfg(feature = "parquet")]
mod parquet;
mod record;
mod table;
mod tar;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::reason::Dropped;
use crate::dataset::manifest::Row;
use crate::shared::usage::UsageError;

/// Image with its captions, as the input has it.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Known fields. The image's file is filled in later.
    pub row: Row,
    /// Place of the image.
    pub image: Place,
    /// Reason why the image cannot be used, if that is known already.
    pub dropped: Option<Dropped>,
}

/// Place of an image.
#[derive(Debug)]
pub(super) enum Place {
    /// No place: the image is missing.
    Missing,
    /// A file.
    File(PathBuf),
    /// Bytes of an archive.
    Span {
        /// The archive.
        archive: PathBuf,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
        /// Name of the member.
        name: String,
    },
    /// Bytes that a table contains.
    #[cfg_attr(
        not(feature = "parquet"),
        allow(dead_code, reason = "only Parquet tables contain images")
    )]
    Bytes {
        /// The bytes.
        bytes: Vec<u8>,
        /// Name of the image in the table, if it has one.
        name: String,
    },
}

/// Options of an input.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// Maximum size of a caption, in bytes.
    pub most_caption_bytes: u64,
    /// Folder of the output, which may lie in an input folder and is not a part of it.
    pub output: PathBuf,
}

/// Iterator over candidates.
pub(super) type Candidates = Box<dyn Iterator<Item = Result<Candidate>>>;

/// Opens an input by its kind: a folder, or a file by its extension.
///
/// # Errors
/// Returns an error if it cannot be read, or if its kind is unknown.
pub(super) fn open(path: &Path, options: &Options) -> Result<Candidates> {
    let metadata = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if metadata.is_dir() {
        return Ok(Box::new(folder::Folder::open(path, options.clone())?));
    }
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension.map(str::to_lowercase).as_deref() {
        Some("jsonl" | "ndjson") => Ok(Box::new(table::JsonTable::open(path)?)),
        Some("csv") => Ok(Box::new(table::CsvTable::open(path, b',')?)),
        Some("tsv") => Ok(Box::new(table::CsvTable::open(path, b'\t')?)),
        Some("tar") => Ok(Box::new(tar::Tar::open(path, options)?)),
        #[cfg(feature = "parquet")]
        Some("parquet") => Ok(Box::new(parquet::Table::open(path)?)),
        #[cfg(not(feature = "parquet"))]
        Some("parquet") => bail!(UsageError::new(format!(
            "{} is a Parquet file: build with --features parquet",
            path.display()
        ))),
        _ => bail!(UsageError::new(format!(
            "{} is neither a folder nor a file that ends in .jsonl, .csv, .tsv, .tar or .parquet",
            path.display()
        ))),
    }
}

/// Returns the length and the modification time of a file, which show whether it was changed.
fn stamp(path: &Path) -> Option<(u64, u128)> {
    let metadata = fs::metadata(path).ok()?;
    let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((metadata.len(), changed.as_nanos()))
}

impl Candidate {
    /// Creates a candidate that cannot be used.
    fn refused(id: String, dropped: Dropped) -> Self {
        Self {
            row: Row {
                image: id.clone().into(),
                id,
                ..Row::default()
            },
            image: Place::Missing,
            dropped: Some(dropped),
        }
    }

    /// Returns everything that the measures of this candidate depend on.
    pub(super) fn made_of(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct MadeOf<'a> {
            row: &'a Row,
            dropped: &'a Option<Dropped>,
            place: (String, u64, u64, Option<(u64, u128)>),
        }
        let place = match &self.image {
            Place::Missing => (String::new(), 0, 0, None),
            Place::File(path) => (path.to_string_lossy().into_owned(), 0, 0, stamp(path)),
            Place::Span {
                archive,
                offset,
                length,
                name,
            } => (name.clone(), *offset, *length, stamp(archive)),
            Place::Bytes { bytes, name } => {
                use sha2::{Digest, Sha256};
                let hash: String = Sha256::digest(bytes)
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                (format!("{name}\n{hash}"), 0, bytes.len() as u64, None)
            }
        };
        let made_of = MadeOf {
            row: &self.row,
            dropped: &self.dropped,
            place,
        };
        // A row always has a JSON form: names that have none were refused.
        serde_json::to_vec(&made_of).unwrap_or_default()
    }

    /// Returns the number of bytes that the candidate itself holds.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.image {
            Place::Bytes { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }
}
