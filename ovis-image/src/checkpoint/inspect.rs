use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::open::Checkpoint;
use crate::error::OvisImageError;
use crate::tensor_file::TensorSource;
use crate::weights::NameTable;

/// Contents of one part's files, from their headers.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PartInspection {
    /// `text encoder`, `transformer` or `VAE`.
    pub part: &'static str,
    /// The file, or the folder of shards.
    pub path: PathBuf,
    /// Weights files with their sizes in bytes.
    pub files: Vec<(PathBuf, u64)>,
    /// Number of tensors, including those that the model does not read.
    pub tensors: usize,
    /// Number of tensors that are not read, for example the vision parts of Ovis2.5.
    pub ignored_tensors: usize,
    /// Number of elements in the tensors that are read.
    pub parameters: u64,
    /// Encodings of those tensors, the largest share first.
    pub encodings: Vec<EncodingShare>,
}

/// Tensors of one encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EncodingShare {
    /// Name of the encoding, for example `BF16` or `Q4_K`.
    pub encoding: String,
    /// Number of tensors.
    pub tensors: usize,
    /// Number of their elements.
    pub parameters: u64,
    /// Size in the file in bytes; 0 for an encoding that cannot be read.
    pub bytes: u64,
}

impl Checkpoint {
    /// Lists the contents of the files: text encoder, transformer, VAE. Only headers are read.
    pub fn inspect(&self) -> [PartInspection; 3] {
        [
            inspect(
                "text encoder",
                &self.text_encoder.source,
                &self.text_encoder.table,
            ),
            inspect(
                "transformer",
                &self.transformer.source,
                &self.transformer.table,
            ),
            inspect("VAE", &self.vae.source, &self.vae.table),
        ]
    }

    /// Finds everything that would keep the models from loading: missing, unexpected and wrongly
    /// shaped tensors, types that cannot be read, invalid scales. Of the tensors' data, only scales
    /// are read.
    pub fn problems(&self) -> Vec<OvisImageError> {
        [
            self.text_encoder.stored_parameters().err(),
            self.transformer.stored_parameters().err(),
            self.vae.stored_parameters().err(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn inspect(part: &'static str, source: &TensorSource, table: &NameTable) -> PartInspection {
    let mut shares = BTreeMap::<String, EncodingShare>::new();
    let (mut tensors, mut ignored_tensors) = (0, 0);
    for name in source.names() {
        tensors += 1;
        if table.normalize(name).is_none() {
            ignored_tensors += 1;
            continue;
        }
        let Some((file, entry)) = source.entry(name) else {
            continue;
        };
        let encoding = entry.encoding.to_string();
        let share = shares
            .entry(encoding.clone())
            .or_insert_with(|| EncodingShare {
                encoding,
                tensors: 0,
                parameters: 0,
                bytes: 0,
            });
        share.tensors += 1;
        // Damaged shapes may overflow, which must not make the report fail.
        let elements = entry
            .shape
            .iter()
            .fold(1u64, |count, size| count.saturating_mul(*size as u64));
        share.parameters = share.parameters.saturating_add(elements);
        share.bytes += file.data(entry).len() as u64;
    }
    let mut encodings: Vec<EncodingShare> = shares.into_values().collect();
    encodings.sort_by_key(|share| std::cmp::Reverse(share.bytes));
    PartInspection {
        part,
        path: source.path().to_owned(),
        files: source.files().collect(),
        tensors,
        ignored_tensors,
        parameters: encodings
            .iter()
            .fold(0, |sum: u64, share| sum.saturating_add(share.parameters)),
        encodings,
    }
}
