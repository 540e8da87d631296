//! Record of a run beside its images: the settings, and a line for each prompt.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::shared::usage::UsageError;
use crate::shared::{input_file, output_file};

const SETTINGS: &str = "settings.json";
const LOG: &str = "run.jsonl";

/// Greatest length of the settings, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// Line of the log.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Generated {
    /// First file of the prompt's images.
    pub image: PathBuf,
    /// Seeds of the images.
    pub seeds: Vec<u64>,
    /// Number of tokens of the prompt that did not fit and were cut.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub truncated_tokens: usize,
    /// Time per image in seconds, without loading.
    pub seconds_per_image: f64,
    /// Peak memory of the process so far, if the system reports it.
    pub peak_memory_bytes: Option<u64>,
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// Writes the settings of a run, or compares them with those of the images that are there already.
///
/// # Errors
/// Returns an error that names the settings that differ, or one of the file system.
pub fn check_settings(folder: &Path, settings: &Value) -> Result<()> {
    let path = folder.join(SETTINGS);
    if !path.exists() {
        return output_file::write_whole(&path, format!("{settings:#}\n").as_bytes());
    }
    let bytes = input_file::read(&path, MOST_BYTES)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let earlier: Value = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is not valid JSON", path.display()))?;
    let changed = differences(&earlier, settings);
    if !changed.is_empty() {
        bail!(UsageError(format!(
            "{} has images of other settings ({}): choose another folder",
            folder.display(),
            changed.join(", ")
        )));
    }
    Ok(())
}

fn differences(earlier: &Value, now: &Value) -> Vec<String> {
    let (Value::Object(earlier), Value::Object(now)) = (earlier, now) else {
        return vec!["the file".to_owned()];
    };
    let keys = earlier
        .keys()
        .chain(now.keys().filter(|key| !earlier.contains_key(*key)));
    keys.filter(|key| earlier.get(*key) != now.get(*key))
        .map(|key| {
            format!(
                "{key}: {} then, {} now",
                shown(earlier.get(key)),
                shown(now.get(key))
            )
        })
        .collect()
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

/// Appends a line to the log.
///
/// # Errors
/// Returns the file system's error.
pub fn append(folder: &Path, line: &Generated) -> Result<()> {
    let path = folder.join(LOG);
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(&bytes))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Creates the folder of a file.
///
/// # Errors
/// Returns the file system's error.
pub fn create_folder_of(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn other_settings_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let settings = json!({"steps": 20, "width": 128});
        check_settings(folder.path(), &settings).unwrap();
        check_settings(folder.path(), &settings).unwrap();
        let changed = json!({"steps": 8, "width": 128, "dtype": "bf16"});
        let error = check_settings(folder.path(), &changed)
            .unwrap_err()
            .to_string();
        for text in ["steps: 20 then, 8 now", "dtype: nothing then"] {
            assert!(error.contains(text), "{error}");
        }
        assert!(!error.contains("width"), "{error}");
    }
}
