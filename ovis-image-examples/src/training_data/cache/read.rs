//! Opens a cache for training.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use super::description::{Description, FILE_NAME};
use super::keys::{ModelHashes, VERSION};
use super::shards::{Shards, missing, wrong};
use crate::manifest::{JsonLines, ManifestError, Row};
use crate::training_data::read::data_row;
use crate::training_data::{CaptionLanguage, DataError, DataRow, Encodings, Reading};

/// Cache of encodings.
#[derive(Debug)]
pub struct Cache {
    /// Folder.
    pub folder: PathBuf,
    /// First line of the list.
    pub description: Description,
    shards: Shards,
}

impl Cache {
    /// Opens a cache, and checks that it has all encodings of its rows.
    ///
    /// # Errors
    /// Returns a [`DataError`] or an error of the list that names the line.
    pub fn open(argument: &Path, languages: &[CaptionLanguage]) -> Result<(Self, Vec<DataRow>)> {
        let folder = match argument.file_name() {
            Some(name) if name == FILE_NAME => match argument.parent() {
                Some(folder) if folder != Path::new("") => folder,
                _ => Path::new("."),
            },
            _ => argument,
        };
        let list = folder.join(FILE_NAME);
        let mut lines = JsonLines::open(&list)?;
        let description = match lines.next() {
            Some(line) => parsed(&list, line?, description)?,
            None => return Err(wrong(&list, "it is empty").into()),
        };
        let (shards, damaged) = Shards::open(folder)?;
        if let Some(error) = damaged.into_iter().next() {
            return Err(error.into());
        }
        let reading = Reading {
            sizes: &[],
            languages,
            needs_captions: true,
            needs_images: false,
        };
        let mut rows = Vec::new();
        for line in lines {
            let row: Row = parsed(&list, line?, |bytes| {
                serde_json::from_slice(bytes).map_err(|error| error.to_string())
            })?;
            rows.push(cached_row(&row, &list, &reading)?);
        }
        let cache = Self {
            folder: folder.to_owned(),
            description,
            shards,
        };
        if rows.len() as u64 != cache.description.rows || rows.is_empty() {
            return Err(wrong(&list, "rows are missing").into());
        }
        cache.check_keys(&rows)?;
        Ok((cache, rows))
    }

    fn check_keys(&self, rows: &[DataRow]) -> Result<(), DataError> {
        let keys = rows.iter().filter_map(|row| row.encodings.as_ref());
        let keys = keys.flat_map(|keys| keys.embeddings.iter().chain([&keys.latents]));
        let mut keys = keys.chain([&self.description.empty_prompt]);
        let gone = keys.find(|key| self.shards.get(key).is_none());
        gone.map_or(Ok(()), |key| Err(missing(&self.folder, key)))
    }

    /// Checks that the encodings were made by the models of a checkpoint.
    ///
    /// # Errors
    /// Returns [`DataError::AnotherModel`].
    pub fn check_models(&self, models: &ModelHashes) -> Result<(), DataError> {
        let made = &self.description.models;
        let part = match (
            made.vae == models.vae,
            made.text_encoder == models.text_encoder,
        ) {
            (true, true) => return Ok(()),
            (false, _) => "VAE",
            (true, false) => "text encoder or tokenizer",
        };
        Err(DataError::AnotherModel {
            cache: self.folder.clone(),
            part,
        })
    }

    /// Returns the key of the embeddings of the empty prompt.
    pub fn empty_prompt(&self) -> &str {
        &self.description.empty_prompt
    }

    /// Returns the error of a row whose encodings do not fit its bucket or those of other rows.
    pub fn wrong_shape(&self, row: &str) -> DataError {
        wrong(
            &self.folder,
            &format!(
                "the encodings of {row} have another shape than those of other images of its size"
            ),
        )
    }

    /// Returns the number of text rows of an encoding.
    pub fn text_rows(&self, key: &str) -> usize {
        let shape = self.shards.get(key).map(|stored| &stored.shape);
        shape
            .and_then(|shape| shape.first().copied())
            .unwrap_or_default()
    }

    /// Reads the values and the shape of an encoding.
    ///
    /// # Errors
    /// Returns [`DataError::Cache`] if it cannot be read.
    pub fn read(&self, key: &str) -> Result<(Vec<f32>, &[usize]), DataError> {
        self.shards.read(key, &self.folder)
    }
}

fn parsed<T>(
    list: &Path,
    line: crate::manifest::JsonLine,
    parse: impl Fn(&[u8]) -> Result<T, String>,
) -> Result<T, ManifestError> {
    let number = line.number;
    let parsed = line.bytes.and_then(|bytes| parse(&bytes));
    parsed.map_err(|reason| ManifestError::Line {
        path: list.to_owned(),
        line: number,
        reason,
    })
}

fn description(bytes: &[u8]) -> Result<Description, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    match value.get("ovis_image_cache").and_then(Value::as_u64) {
        None => return Err("it does not describe a cache".to_owned()),
        Some(version) if version != u64::from(VERSION) => {
            return Err(format!(
                "the cache has the format {version}, and this program reads {VERSION}: run `dataset cache` again"
            ));
        }
        Some(_) => {}
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn cached_row(row: &Row, list: &Path, reading: &Reading<'_>) -> Result<DataRow> {
    let mut data = data_row(row, PathBuf::new(), list, reading)?;
    let text = |value: Option<&Value>, name: &str| {
        let text = value.and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| DataError::Row {
            manifest: list.to_owned(),
            image: data.name.clone(),
            reason: format!("it has no `{name}`"),
        })
    };
    let of_language = |language: &CaptionLanguage| {
        let keys = row.other.get("embeddings");
        keys.and_then(|keys| keys.get(language.to_string()))
    };
    let captions = data.captions.iter();
    let encodings = Encodings {
        latents: text(row.other.get("latents"), "latents")?,
        embeddings: captions
            .map(|(language, _)| text(of_language(language), "embeddings"))
            .collect::<Result<_, _>>()?,
    };
    data.encodings = Some(encodings);
    Ok(data)
}
