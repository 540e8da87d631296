//! First line of the list of a cache: what its encodings were made with.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::keys::ModelHashes;

/// List of a cache: a line that describes it, then a line for each row of the manifest.
pub const FILE_NAME: &str = "cache.jsonl";

/// First line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Version of the format.
    pub ovis_image_cache: u32,
    /// Models that encoded the rows.
    #[serde(flatten)]
    pub models: ModelHashes,
    /// Precision of the text encoder.
    pub dtype: String,
    /// Key of the embeddings of the empty prompt, for prompts that are dropped.
    pub empty_prompt: String,
    /// Number of rows.
    pub rows: u64,
}

/// Returns true if a path is the folder of a cache or its list.
pub fn is_cache(path: &Path) -> bool {
    path.join(FILE_NAME).exists() || path.file_name().is_some_and(|name| name == FILE_NAME)
}
