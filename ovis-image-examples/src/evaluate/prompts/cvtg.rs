//! CVTG-2K.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{of_another, read};
use crate::evaluate::error::EvaluateError;

/// Prompt of CVTG-2K.
#[derive(Debug)]
pub struct CvtgPrompt {
    /// `CVTG/2` to `CVTG-Style/5`.
    pub set: String,
    /// Number of regions.
    pub regions: &'static str,
    /// Name of the image in its folder.
    pub index: String,
    /// Text of the prompt.
    pub prompt: String,
}

/// Name of CVTG-2K in messages.
const CVTG: &str = "CVTG-2K";

#[derive(Deserialize)]
struct CvtgFile {
    data_list: Vec<CvtgItem>,
}

#[derive(Deserialize)]
struct CvtgItem {
    index: Value,
    prompt: String,
}

/// Reads the prompts of CVTG-2K that a folder has: `CVTG/2.json` to `CVTG-Style/5.json`, of which
/// some may be missing. Of prompts with the same index, the last one counts.
///
/// # Errors
/// Returns [`EvaluateError`] if a file is not one of the benchmark, or if there is none.
pub fn cvtg(folder: &Path) -> Result<Vec<CvtgPrompt>, EvaluateError> {
    let mut prompts: Vec<CvtgPrompt> = Vec::new();
    for name in ["CVTG", "CVTG-Style"] {
        for regions in ["2", "3", "4", "5"] {
            let path = folder.join(name).join(format!("{regions}.json"));
            if path.symlink_metadata().is_err() {
                continue;
            }
            let start = prompts.len();
            for item in cvtg_file(&path)?.data_list {
                let index = match &item.index {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                if index.contains(['/', '\\']) || index.starts_with('.') {
                    return Err(of_another(
                        &path,
                        CVTG,
                        format!("`{index}` is not an index"),
                    ));
                }
                let same = prompts[start..]
                    .iter_mut()
                    .find(|prompt| prompt.index == index);
                if let Some(earlier) = same {
                    earlier.prompt = item.prompt;
                    continue;
                }
                prompts.push(CvtgPrompt {
                    set: format!("{name}/{regions}"),
                    regions,
                    index,
                    prompt: item.prompt,
                });
            }
        }
    }
    if prompts.is_empty() {
        return Err(of_another(
            folder,
            CVTG,
            "CVTG/2.json to CVTG-Style/5.json are needed",
        ));
    }
    Ok(prompts)
}

fn cvtg_file(path: &Path) -> Result<CvtgFile, EvaluateError> {
    serde_json::from_slice(&read(path)?).map_err(|error| of_another(path, CVTG, error.to_string()))
}
