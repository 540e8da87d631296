//! Prompt files of the benchmarks, as they are published.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::error::EvaluateError;
use crate::shared::input_file;

/// Greatest length of a prompt file, in bytes.
const MOST_BYTES: u64 = 64 << 20;

/// Reads a prompt file.
fn read(path: &Path) -> Result<Vec<u8>, EvaluateError> {
    input_file::read(path, MOST_BYTES).map_err(|source| EvaluateError::Read {
        path: path.to_owned(),
        source,
    })
}

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
        return Err(EvaluateError::Prompts {
            path: folder.to_owned(),
            benchmark: CVTG,
            reason: "CVTG/2.json to CVTG-Style/5.json are needed".to_owned(),
        });
    }
    Ok(prompts)
}

fn cvtg_file(path: &Path) -> Result<CvtgFile, EvaluateError> {
    serde_json::from_slice(&read(path)?).map_err(|error| EvaluateError::Prompts {
        path: path.to_owned(),
        benchmark: CVTG,
        reason: error.to_string(),
    })
}

/// Prompt of LongText-Bench.
#[derive(Debug, Deserialize)]
pub struct LongTextPrompt {
    /// Number that the image is named by.
    pub prompt_id: u64,
    /// Texts that the image should show.
    pub text: Vec<String>,
}

/// Name of LongText-Bench in messages.
const LONGTEXT: &str = "LongText-Bench";

/// Reads the prompts of LongText-Bench: a file, or the file of this name in a folder.
///
/// # Errors
/// Returns [`EvaluateError`] if the file is not one of the benchmark.
pub fn longtext(path: &Path, name: &str) -> Result<Vec<LongTextPrompt>, EvaluateError> {
    let path = if path.is_dir() {
        path.join(name)
    } else {
        path.to_owned()
    };
    let of_another = |reason| EvaluateError::Prompts {
        path: path.clone(),
        benchmark: LONGTEXT,
        reason,
    };
    let mut prompts = Vec::new();
    for (index, line) in read(&path)?.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let prompt = serde_json::from_slice(line);
        prompts.push(prompt.map_err(|error| of_another(format!("line {}: {error}", index + 1)))?);
    }
    if prompts.is_empty() {
        return Err(of_another("it is empty".to_owned()));
    }
    Ok(prompts)
}
