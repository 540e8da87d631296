//! Parquet tables that contain their images, as those of the Hugging Face Hub do: a column of
//! bytes, or a structure of `bytes` and `path`. Other columns are texts and numbers.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use parquet::file::reader::SerializedFileReader;
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row as Record};
use serde_json::{Map, Value};

use super::{Candidate, Place, record};
use crate::dataset::ingest::reason::{Dropped, Reason};
use crate::shared::input_file;

/// Columns that contain the image. The first one that exists is used.
const IMAGE: [&str; 8] = [
    "image",
    "img",
    "jpg",
    "jpeg",
    "png",
    "webp",
    "bytes",
    "image_bytes",
];

/// Parquet table.
pub(super) struct Table {
    path: PathBuf,
    stem: String,
    rows: Option<RowIter<'static>>,
    number: u64,
}

impl Table {
    /// Opens a table and reads its footer.
    ///
    /// # Errors
    /// Returns an error if it is not a Parquet file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let read = || -> Result<RowIter<'static>> {
            let file: File = input_file::open(path)?;
            let open = || {
                Ok(RowIter::from_file_into(Box::new(
                    SerializedFileReader::new(file)?,
                )))
            };
            // The library's readers assert about files that lie.
            catch_unwind(AssertUnwindSafe(open))
                .unwrap_or_else(|_| anyhow::bail!("its structure is damaged"))
        };
        let rows =
            read().with_context(|| format!("{} is not a usable Parquet file", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            stem: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            rows: Some(rows),
            number: 0,
        })
    }

    fn candidate(&self, record: Record) -> Candidate {
        let id = format!("{}/{:08}", self.stem, self.number);
        let mut image = None;
        let mut fields = Map::new();
        for (name, field) in record.into_columns() {
            if image.is_none() && IMAGE.contains(&name.as_str()) {
                image = bytes(&field);
                if image.is_some() {
                    continue;
                }
            }
            if let Some(value) = value(&field) {
                fields.insert(name, value);
            }
        }
        let Some((bytes, name)) = image else {
            let detail = "it has no column of bytes with an image";
            return Candidate::refused(id, Dropped::new(Reason::InvalidRow, detail));
        };
        // Names of files would be taken for images elsewhere.
        for name in ["file_name", "filename", "path", "image_path"] {
            fields.remove(name);
        }
        match record::to_row(fields) {
            Err(dropped) => Candidate::refused(id, dropped),
            Ok(mut row) => {
                if row.id.is_empty() {
                    row.id = id;
                }
                row.image = row.id.clone().into();
                Candidate {
                    row,
                    image: Place::Bytes { bytes, name },
                    dropped: None,
                }
            }
        }
    }
}

impl Iterator for Table {
    type Item = Result<Candidate>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.rows.as_mut()?;
        let next = catch_unwind(AssertUnwindSafe(|| rows.next()));
        let next = next.unwrap_or_else(|_| {
            Some(Err(parquet::errors::ParquetError::General(
                "its structure is damaged".to_owned(),
            )))
        });
        let candidate = match next? {
            Ok(record) => self.candidate(record),
            Err(error) => {
                self.rows = None;
                let path = self.path.display();
                let detail = format!("{path} cannot be read beyond this row: {error}");
                let id = format!("{}/{:08}", self.stem, self.number);
                Candidate::refused(id, Dropped::new(Reason::InvalidRow, detail))
            }
        };
        self.number += 1;
        Some(Ok(candidate))
    }
}

fn bytes(field: &Field) -> Option<(Vec<u8>, String)> {
    match field {
        Field::Bytes(bytes) => Some((bytes.data().to_vec(), String::new())),
        Field::Group(group) => {
            let mut found = None;
            let mut path = String::new();
            for (name, field) in group.get_column_iter() {
                match field {
                    Field::Bytes(bytes) if name == "bytes" => found = Some(bytes.data().to_vec()),
                    Field::Str(text) if name == "path" => path = text.clone(),
                    _ => {}
                }
            }
            found.map(|bytes| (bytes, path))
        }
        _ => None,
    }
}

fn value(field: &Field) -> Option<Value> {
    Some(match field {
        Field::Str(text) => text.as_str().into(),
        Field::Bool(value) => (*value).into(),
        Field::Byte(value) => (*value).into(),
        Field::Short(value) => (*value).into(),
        Field::Int(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::UByte(value) => (*value).into(),
        Field::UShort(value) => (*value).into(),
        Field::UInt(value) => (*value).into(),
        Field::ULong(value) => (*value).into(),
        Field::Float(value) => f64::from(*value).into(),
        Field::Double(value) => (*value).into(),
        Field::ListInternal(list) => list.elements().iter().filter_map(value).collect(),
        Field::Group(group) => {
            let fields = group.get_column_iter();
            let fields = fields.filter_map(|(name, field)| Some((name.clone(), value(field)?)));
            Value::Object(fields.collect())
        }
        _ => return None,
    })
}
