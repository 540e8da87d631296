//! OneIG-Bench.

use std::path::Path;

use serde::Deserialize;

use super::{file_in, of_another, read};
use crate::evaluate::error::EvaluateError;

const ONEIG: &str = "OneIG-Bench";

/// Categories of the benchmark and the folders of their images.
const CLASSES: [(&str, &str); 6] = [
    ("Anime_Stylization", "anime"),
    ("Portrait", "human"),
    ("General_Object", "object"),
    ("Text_Rendering", "text"),
    ("Knowledge_Reasoning", "reasoning"),
    ("Multilingualism", "multilingualism"),
];

/// Prompt of OneIG-Bench.
#[derive(Debug)]
pub struct OneIgPrompt {
    /// Folder of the category.
    pub class: &'static str,
    /// Name of the image in its folder.
    pub id: String,
    /// Text of the prompt.
    pub prompt: String,
    /// Length of the prompt: `short`, `middle` or `long`. Chinese prompts have none.
    pub length: Option<String>,
    /// Style of an anime image, or field of a reasoning image, if there is one.
    pub kind: Option<String>,
}

#[derive(Deserialize)]
struct Row {
    category: String,
    id: String,
    #[serde(alias = "prompt_en", alias = "prompt_cn")]
    prompt: String,
    prompt_length: Option<String>,
    class: Option<String>,
}

/// Reads the prompts of OneIG-Bench from `OneIG-Bench.csv` or `OneIG-Bench-ZH.csv`, or the English
/// ones from the folder with these files.
///
/// # Errors
/// Returns [`EvaluateError`] if the file is not one of the benchmark.
pub fn oneig(path: &Path) -> Result<Vec<OneIgPrompt>, EvaluateError> {
    let path = file_in(path, "OneIG-Bench.csv");
    let bytes = read(&path)?;
    // Programs of some systems mark UTF-8 with these bytes.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut prompts = Vec::new();
    for row in csv::Reader::from_reader(bytes).deserialize() {
        let row: Row = row.map_err(|error| of_another(&path, ONEIG, error.to_string()))?;
        let class = CLASSES
            .iter()
            .find(|(category, _)| *category == row.category);
        let Some((_, class)) = class else {
            let reason = format!("the category `{}` is not known", row.category);
            return Err(of_another(&path, ONEIG, reason));
        };
        if row.id.contains(['/', '\\']) || row.id.starts_with('.') {
            return Err(of_another(
                &path,
                ONEIG,
                format!("`{}` is not an id", row.id),
            ));
        }
        prompts.push(OneIgPrompt {
            class,
            id: row.id,
            prompt: row.prompt,
            length: row.prompt_length,
            kind: row.class,
        });
    }
    if prompts.is_empty() {
        return Err(of_another(&path, ONEIG, "it is empty"));
    }
    Ok(prompts)
}
