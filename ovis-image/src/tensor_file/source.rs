//! The tensors of one part of a checkpoint, from one file or from shards with their index.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use burn::tensor::TensorData;

use super::convert::HostBuffer;
use super::encoding::Encoding;
use super::header::TensorEntry;
use super::small_file::{MAX_CONFIG_BYTES, read_small};
use super::weights_file::{WEIGHT_FILE_ENDINGS, WeightsFile};
use crate::config::WeightDtype;
use crate::error::{OvisImageError, Result};

/// Maps names to tensors in one or more memory-mapped files.
#[derive(Debug)]
pub struct TensorSource {
    path: PathBuf,
    files: Vec<WeightsFile>,
    /// Index of the file that contains each tensor, by name.
    index: BTreeMap<String, usize>,
}

/// Names under which a folder's weights are found without an index.
const STANDARD_NAMES: [&str; 2] = ["diffusion_pytorch_model.safetensors", "model.safetensors"];
const INDEX_SUFFIX: &str = ".safetensors.index.json";

#[derive(serde::Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl TensorSource {
    /// Opens a safetensors, GGUF or burnpack file, or a folder with one file or with shards and an
    /// index.
    ///
    /// # Errors
    /// Returns [`CheckpointError::NotFound`](crate::error::CheckpointError::NotFound) or
    /// [`CheckpointError::InvalidFile`](crate::error::CheckpointError::InvalidFile) with the file's
    /// name, also if an index points outside its folder or to tensors that its shards do not
    /// contain.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return Self::from_files(path, vec![WeightsFile::open(path)?]);
        }
        let names = names_in_folder(path)?;
        if let Some(index) = names.iter().find(|name| name.ends_with(INDEX_SUFFIX)) {
            return Self::open_shards(path, &path.join(index));
        }
        let weights: Vec<&String> = names.iter().filter(|name| is_weights_file(name)).collect();
        let standard = STANDARD_NAMES
            .iter()
            .find(|name| names.iter().any(|other| other == *name));
        match (standard, &weights[..]) {
            (Some(name), _) => Self::open_file_of(path, name),
            (None, [only]) => Self::open_file_of(path, only),
            (None, []) => Err(OvisImageError::not_found(
                path.join(STANDARD_NAMES[0]),
                format!(
                    "the folder contains neither a weights file (*{}) nor an index (*{INDEX_SUFFIX})",
                    WEIGHT_FILE_ENDINGS.join(", *")
                ),
            )),
            (None, several) => Err(OvisImageError::invalid_file(
                path,
                "checkpoint",
                format!("several weight files and no index: {several:?}; give the path of one"),
            )),
        }
    }

    /// Opens a file that is embedded in the program; errors refer to it by `name`.
    ///
    /// # Errors
    /// Returns [`CheckpointError::InvalidFile`](crate::error::CheckpointError::InvalidFile) if the
    /// bytes are not a safetensors file.
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::from_files(
            Path::new(name),
            vec![WeightsFile::from_static(name, bytes)?],
        )
    }

    /// Checks that the files still have the length and the modification time that they had when
    /// they were opened. Weights that are read later, or computed with in place, are read from
    /// these files, so call this before such work. A file that was replaced or deleted counts as
    /// unchanged: the opened file lives on.
    ///
    /// Some changes are not detected: those made after the check, those that keep length and time,
    /// and those within the resolution of the file system's clock.
    ///
    /// # Errors
    /// Returns [`CheckpointError::FileChanged`](crate::error::CheckpointError::FileChanged) with
    /// the file's name if a file changed, or
    /// [`CheckpointError::Io`](crate::error::CheckpointError::Io).
    pub fn check_unchanged(&self) -> Result<()> {
        self.files.iter().try_for_each(WeightsFile::check_unchanged)
    }

    /// Returns the path by which errors refer to this source.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the source's files with their sizes in bytes.
    pub(crate) fn files(&self) -> impl Iterator<Item = (PathBuf, u64)> {
        self.files
            .iter()
            .map(|file| (file.path().to_owned(), file.length()))
    }

    /// Returns a text of the files' metadata by its name.
    pub(crate) fn metadata(&self, name: &str) -> Option<&str> {
        self.files.iter().find_map(|file| file.metadata(name))
    }

    /// Lists the files' metadata texts by name.
    pub(crate) fn all_metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().flat_map(|file| file.all_metadata())
    }

    /// Returns the names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }

    /// Returns a tensor's shape.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entry(name).map(|(_, entry)| &entry.shape[..])
    }

    /// Returns the storage format of a tensor's elements.
    pub fn encoding(&self, name: &str) -> Option<&Encoding> {
        self.entry(name).map(|(_, entry)| &entry.encoding)
    }

    /// Reads a tensor's elements as `dtype`, in its shape; elements in blocks are dequantized.
    ///
    /// # Errors
    /// Returns [`CheckpointError::InvalidFile`](crate::error::CheckpointError::InvalidFile) if
    /// there is no such tensor,
    /// [`CheckpointError::UnknownDtype`](crate::error::CheckpointError::UnknownDtype) if it cannot
    /// be read as floats, or
    /// [`CheckpointError::FileChanged`](crate::error::CheckpointError::FileChanged).
    pub fn read(&self, name: &str, dtype: WeightDtype) -> Result<TensorData> {
        let Some((file, entry)) = self.entry(name) else {
            return Err(OvisImageError::invalid_file(
                self.path.clone(),
                "checkpoint",
                format!("it has no tensor `{name}`"),
            ));
        };
        if !entry.encoding.is_readable() {
            return Err(OvisImageError::unknown_dtype(
                file.path().to_owned(),
                name,
                entry.encoding.to_string(),
            ));
        }
        file.check_unchanged()?;
        let mut buffer = HostBuffer::new(dtype.to_burn(), entry.shape.iter().product());
        buffer.extend(file.data(entry), &entry.encoding);
        Ok(buffer.into_data(entry.shape.clone()))
    }

    pub(crate) fn entry(&self, name: &str) -> Option<(&WeightsFile, &TensorEntry)> {
        let file = &self.files[*self.index.get(name)?];
        file.tensors().get(name).map(|entry| (file, entry))
    }

    fn open_file_of(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        Self::from_files(&path, vec![WeightsFile::open(&path)?])
    }

    fn open_shards(folder: &Path, index_path: &Path) -> Result<Self> {
        let invalid =
            |reason: String| OvisImageError::invalid_file(index_path, "shard index", reason);
        let text = read_small(index_path, "shard index", MAX_CONFIG_BYTES)?;
        let index: ShardIndex = serde_json::from_slice(&text).map_err(|error| {
            let reason = "it cannot be parsed";
            OvisImageError::invalid_file_because(index_path, "shard index", reason, error)
        })?;

        let mut shards: Vec<&String> = index.weight_map.values().collect();
        shards.sort();
        shards.dedup();
        if shards.is_empty() {
            return Err(invalid("its weight_map is empty".into()));
        }
        let mut files = Vec::with_capacity(shards.len());
        for shard in shards {
            let mut components = Path::new(shard).components();
            if !matches!(
                (components.next(), components.next()),
                (Some(Component::Normal(_)), None)
            ) {
                return Err(invalid(format!("it points outside its folder: `{shard}`")));
            }
            files.push(WeightsFile::open(&folder.join(shard))?);
        }
        let source = Self::from_files(folder, files)?;
        for (tensor, shard) in &index.weight_map {
            let held = source
                .entry(tensor)
                .is_some_and(|(file, _)| file.path().ends_with(shard));
            if !held {
                return Err(invalid(format!("tensor `{tensor}` is not in `{shard}`")));
            }
        }
        Ok(source)
    }

    fn from_files(path: &Path, files: Vec<WeightsFile>) -> Result<Self> {
        let mut index = BTreeMap::new();
        for (position, file) in files.iter().enumerate() {
            for name in file.tensors().keys() {
                if index.insert(name.clone(), position).is_some() {
                    return Err(OvisImageError::invalid_file(
                        path,
                        "checkpoint",
                        format!("tensor `{name}` is in two shards"),
                    ));
                }
            }
        }
        Ok(Self {
            path: path.to_owned(),
            files,
            index,
        })
    }
}

/// Returns whether a file name has the ending of a weights file.
pub(crate) fn is_weights_file(name: &str) -> bool {
    WEIGHT_FILE_ENDINGS
        .iter()
        .any(|ending| name.ends_with(ending))
}

/// Returns the names of a folder's files, sorted.
pub(crate) fn names_in_folder(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).map_err(|error| OvisImageError::io(folder, error))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| OvisImageError::io(folder, error))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
