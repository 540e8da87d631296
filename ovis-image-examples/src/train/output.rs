//! Place of a run's files: a folder, or the file of an adapter and a folder beside it.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::error::TrainError;
use super::folder::RunFolder;
use super::resolved::Resolved;

/// Ending of the name of an adapter's file.
const ADAPTER: &str = "safetensors";
/// Ending of the name of the folder beside it.
const FOLDER: &str = "run";

impl Resolved {
    /// Returns the file of the adapter, if the output names one.
    pub fn adapter(&self) -> Option<&Path> {
        let ending = self.output.extension();
        let named = ending.is_some_and(|ending| ending.eq_ignore_ascii_case(ADAPTER));
        (self.lora.is_some() && named).then_some(&self.output)
    }

    /// Returns the folder of the run.
    pub fn folder(&self) -> PathBuf {
        match self.adapter() {
            Some(adapter) => adapter.with_extension(FOLDER),
            None => self.output.clone(),
        }
    }

    /// Checks that the adapter is not of another run.
    pub(super) fn check_adapter(&self) -> Result<()> {
        match self.adapter() {
            Some(path) if path.exists() && !RunFolder::has_run(&self.folder()) => {
                bail!(TrainError::ExistingAdapter {
                    path: path.to_owned()
                })
            }
            _ => Ok(()),
        }
    }
}

/// Returns the paths of a run's adapter and of its moving average.
pub(super) fn adapters(resolved: &Resolved, folder: &RunFolder) -> [PathBuf; 2] {
    let path = match resolved.adapter() {
        Some(adapter) => adapter.to_owned(),
        None => folder.model("lora.safetensors"),
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let averaged = path.with_file_name(format!("{stem}-ema.{ADAPTER}"));
    [path, averaged]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::LoraSettings;

    fn resolved(output: &Path, lora: bool) -> Resolved {
        Resolved {
            output: output.to_owned(),
            lora: lora.then(LoraSettings::default),
            ..Resolved::default()
        }
    }

    #[test]
    fn an_output_that_ends_in_safetensors_is_the_adapter() {
        let of = |output: &str| resolved(output.as_ref(), true);
        assert_eq!(of("a/style.safetensors").folder(), Path::new("a/style.run"));
        assert_eq!(of("a/style").folder(), Path::new("a/style"));
        assert_eq!(of("a/style").adapter(), None);
        let other = resolved("a.safetensors".as_ref(), false);
        assert_eq!(other.folder(), Path::new("a.safetensors"));
    }

    #[test]
    fn exports_are_in_the_folder_or_where_the_output_is() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::open(&folder.path().join("style.run")).unwrap();
        let beside = folder.path().join("style.safetensors");
        let [adapter, averaged] = adapters(&resolved(&beside, true), &run);
        assert_eq!(adapter, beside);
        assert_eq!(averaged, folder.path().join("style-ema.safetensors"));
        let [adapter, averaged] = adapters(&resolved(run.path(), true), &run);
        assert_eq!(adapter, run.model("lora.safetensors"));
        assert_eq!(averaged, run.model("lora-ema.safetensors"));
    }

    #[test]
    fn an_adapter_without_its_run_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("style.safetensors");
        let resolved = resolved(&path, true);
        resolved.check_adapter().unwrap();
        std::fs::write(&path, "").unwrap();
        let error = resolved.check_adapter().unwrap_err().to_string();
        assert!(error.contains("style.safetensors"), "{error}");
        let run = RunFolder::open(&resolved.folder()).unwrap();
        run.write_settings(&serde_json::Value::Null).unwrap();
        resolved.check_adapter().unwrap();
    }
}
