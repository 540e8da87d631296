//! Folder of a run: its lock, checkpoints, log, samples and models.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::tensor::backend::Backend;
use ovis_image::training::TrainingState;
use serde_json::Value;

use super::error::TrainError;
use crate::shared::output_file::{remove_unfinished, write_whole};
use crate::shared::terminal::{say, shown};

const SETTINGS: &str = "settings.json";
const LOCK: &str = "lock";
const CHECKPOINTS: &str = "checkpoints";
const SAMPLES: &str = "samples";
/// Number of most recent checkpoints that are kept.
const LAST: usize = 2;

/// Folder of a run, locked while this value exists. The system frees the lock when a process ends.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Creates and locks the folder.
    ///
    /// # Errors
    /// Returns [`TrainError::Locked`] if another process trains in it, or the system's error.
    pub fn open(path: &Path) -> Result<Self> {
        let create = |folder: &Path| {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create the folder {}", shown(folder)))
        };
        create(&path.join(CHECKPOINTS))?;
        create(&path.join(SAMPLES))?;
        let lock_path = path.join(LOCK);
        let lock = File::create(&lock_path)
            .with_context(|| format!("cannot create {}", shown(&lock_path)))?;
        match lock.try_lock() {
            Ok(()) => {
                for folder in [path.to_owned(), path.join(SAMPLES)] {
                    remove_unfinished(&folder)?;
                }
                Ok(Self {
                    path: path.to_owned(),
                    _lock: lock,
                })
            }
            Err(TryLockError::WouldBlock) => Err(TrainError::Locked {
                folder: path.to_owned(),
            }
            .into()),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", shown(&lock_path)))
            }
        }
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the log.
    pub fn log(&self) -> PathBuf {
        self.path.join("log.jsonl")
    }

    /// Returns the path of the sample images of a step.
    pub fn samples(&self, step: u64) -> PathBuf {
        self.path.join(SAMPLES).join(format!("step-{step:08}.png"))
    }

    /// Returns the path of a model that the run writes.
    pub fn model(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Returns whether a folder contains a run.
    pub fn has_run(folder: &Path) -> bool {
        folder.join(SETTINGS).exists()
    }

    /// Returns the settings that the run was started with.
    ///
    /// # Errors
    /// Returns an error if they exist but cannot be read.
    pub fn settings(&self) -> Result<Option<Value>> {
        let path = self.path.join(SETTINGS);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read(&path).with_context(|| format!("cannot read {}", shown(&path)))?;
        let settings = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not a file of settings", shown(&path)))?;
        Ok(Some(settings))
    }

    /// Writes the settings.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn write_settings(&self, settings: &Value) -> Result<()> {
        let text = serde_json::to_string_pretty(settings)? + "\n";
        write_whole(&self.path.join(SETTINGS), text.as_bytes())
    }

    /// Lists the checkpoints by step, the last one first.
    fn checkpoints(&self) -> Result<Vec<(u64, PathBuf)>> {
        let folder = self.path.join(CHECKPOINTS);
        let mut found = Vec::new();
        let entries = fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("cannot read {}", shown(&folder)))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let step = name.strip_prefix("step-");
            let step = step.and_then(|name| name.strip_suffix(".safetensors"));
            if let Some(step) = step.and_then(|step| step.parse().ok()) {
                found.push((step, path));
            }
        }
        found.sort();
        found.reverse();
        Ok(found)
    }

    /// Reads the most recent readable checkpoint.
    ///
    /// # Errors
    /// Returns an error if there are checkpoints and none can be read.
    pub fn last_state<B: Backend>(
        &self,
        device: &B::Device,
    ) -> Result<Option<(TrainingState<B>, PathBuf)>> {
        let mut failed = None;
        for (_, path) in self.checkpoints()? {
            match TrainingState::load(&path, device) {
                Ok((state, _)) => return Ok(Some((state, path))),
                Err(error) => {
                    say(&format!(
                        "warning: {error}: the checkpoint before it is tried"
                    ));
                    failed.get_or_insert(error);
                }
            }
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(None),
        }
    }

    /// Writes a checkpoint, and removes old ones: all but the last two and those whose step is a
    /// multiple of `keep_every`, unless that is 0.
    ///
    /// # Errors
    /// Returns the error of writing; earlier checkpoints remain.
    pub fn save<B: Backend>(
        &self,
        state: &TrainingState<B>,
        settings: &Value,
        keep_every: u64,
    ) -> Result<PathBuf> {
        let name = format!("step-{:08}.safetensors", state.steps());
        let path = self.path.join(CHECKPOINTS).join(name);
        state.save(&path, settings)?;
        for (step, old) in self.checkpoints().unwrap_or_default().split_off_last() {
            if keep_every == 0 || step % keep_every != 0 {
                // It takes space and does no harm.
                let _ = fs::remove_file(old);
            }
        }
        Ok(path)
    }
}

trait SplitOffLast {
    fn split_off_last(self) -> Self;
}

impl SplitOffLast for Vec<(u64, PathBuf)> {
    /// Returns the older checkpoints, without the most recent ones.
    fn split_off_last(mut self) -> Self {
        let kept = LAST.min(self.len());
        self.split_off(kept)
    }
}

/// Returns the number of free bytes on the disk of a folder, if the system reports it.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let status = nix::sys::statvfs::statvfs(folder).ok()?;
        #[allow(
            clippy::useless_conversion,
            clippy::unnecessary_cast,
            reason = "the types differ from system to system"
        )]
        let bytes = (status.blocks_available() as u64).checked_mul(status.fragment_size() as u64);
        bytes
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_do_not_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = RunFolder::open(folder.path()).unwrap();
        let error = RunFolder::open(folder.path()).unwrap_err();
        assert!(matches!(
            error.downcast_ref(),
            Some(TrainError::Locked { .. })
        ));
        drop(first);
        RunFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn checkpoints_are_listed_from_the_last_and_other_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::open(folder.path()).unwrap();
        for name in [
            "step-00000002.safetensors",
            "step-00000010.safetensors",
            "step-3.part",
            "x",
        ] {
            fs::write(folder.path().join("checkpoints").join(name), "").unwrap();
        }
        let steps: Vec<u64> = run
            .checkpoints()
            .unwrap()
            .into_iter()
            .map(|(step, _)| step)
            .collect();
        assert_eq!(steps, [10, 2]);
        assert!(free_bytes(folder.path()).is_none_or(|bytes| bytes > 0));
    }

    #[test]
    fn settings_come_back_and_may_be_absent() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::open(folder.path()).unwrap();
        assert!(run.settings().unwrap().is_none());
        run.write_settings(&serde_json::json!({"seed": 1})).unwrap();
        assert_eq!(run.settings().unwrap().unwrap()["seed"], 1);
    }
}
