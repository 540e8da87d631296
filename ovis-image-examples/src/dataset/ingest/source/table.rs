//! Tables whose rows name image files: JSON lines (a manifest, too), CSV and TSV.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use super::{Candidate, Place, record};
use crate::dataset::ingest::reason::{Dropped, Reason};
use crate::dataset::manifest::JsonLines;
use crate::shared::input_file;
use crate::shared::usage::UsageError;

/// Folder in which a table's images are looked up, and stem for the ids of unusable rows.
#[derive(Debug)]
struct Names {
    folder: PathBuf,
    stem: String,
}

impl Names {
    fn of(path: &Path) -> Self {
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        Self {
            folder: folder.unwrap_or(Path::new(".")).to_owned(),
            stem: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        }
    }

    fn candidate(&self, line: u64, record: Result<Map<String, Value>, Dropped>) -> Candidate {
        let made = record.and_then(record::to_row).and_then(|mut row| {
            let image = row.image.to_string_lossy().into_owned();
            if image.is_empty() {
                return Err(Dropped::new(Reason::InvalidRow, "it names no image"));
            }
            if image.contains("://") {
                let detail = "it is an address: download it and name the file";
                return Err(Dropped::new(Reason::Unreadable, detail));
            }
            if row.id.is_empty() {
                row.id = image;
            }
            let image = Place::File(self.folder.join(&row.image));
            Ok(Candidate {
                row,
                image,
                dropped: None,
            })
        });
        made.unwrap_or_else(|mut dropped| {
            dropped.detail = format!("line {line}: {}", dropped.detail);
            Candidate::refused(format!("{}:{line}", self.stem), dropped)
        })
    }
}

/// File of JSON lines.
#[derive(Debug)]
pub(super) struct JsonTable {
    names: Names,
    lines: JsonLines,
}

impl JsonTable {
    /// Opens a file.
    ///
    /// # Errors
    /// Returns the system's error.
    pub(super) fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            names: Names::of(path),
            lines: JsonLines::open(path)?,
        })
    }
}

impl Iterator for JsonTable {
    type Item = Result<Candidate>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = match self.lines.next()? {
            Ok(line) => line,
            Err(error) => return Some(Err(error.into())),
        };
        let record = line
            .bytes
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
        let record = record.map_err(|error| Dropped::new(Reason::InvalidRow, error));
        Some(Ok(self.names.candidate(line.number, record)))
    }
}

/// File of separated values, with the column names in the first line.
pub(super) struct CsvTable {
    names: Names,
    columns: Vec<String>,
    records: csv::ByteRecordsIntoIter<File>,
}

impl CsvTable {
    /// Opens a file and reads the names of its columns.
    ///
    /// # Errors
    /// Returns an error if the file has no column names.
    pub(super) fn open(path: &Path, delimiter: u8) -> Result<Self> {
        let file =
            input_file::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .from_reader(file);
        let columns = reader
            .headers()
            .with_context(|| format!("cannot read the first line of {}", path.display()))?;
        let columns: Vec<String> = columns.iter().map(|name| name.trim().to_owned()).collect();
        ensure!(
            columns.iter().any(|name| !name.is_empty()),
            UsageError::new(format!("{} has no names of columns", path.display()))
        );
        Ok(Self {
            names: Names::of(path),
            columns,
            records: reader.into_byte_records(),
        })
    }
}

impl Iterator for CsvTable {
    type Item = Result<Candidate>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.records.next()?;
        let line = self.records.reader().position().line().saturating_sub(1);
        let record = match record {
            Err(error) if error.is_io_error() => return Some(Err(error.into())),
            Err(error) => Err(Dropped::new(Reason::InvalidRow, error.to_string())),
            Ok(record) => fields(&self.columns, &record),
        };
        Some(Ok(self.names.candidate(line, record)))
    }
}

fn fields(columns: &[String], record: &csv::ByteRecord) -> Result<Map<String, Value>, Dropped> {
    let mut fields = Map::new();
    for (name, bytes) in columns.iter().zip(record) {
        let Ok(text) = std::str::from_utf8(bytes) else {
            let detail = format!("the column `{name}` is not UTF-8");
            return Err(Dropped::new(Reason::InvalidRow, detail));
        };
        if text.is_empty() {
            continue;
        }
        // Sizes are numbers in a manifest, and are measured anyway.
        if !matches!(name.as_str(), "width" | "height" | "texts" | "scores") {
            fields.insert(name.clone(), text.into());
        }
    }
    Ok(fields)
}
