//! Plan of a run: its steps and its memory and disk use, computed before it starts.

use std::fmt;
use std::path::Path;

use bytesize::ByteSize;

use super::error::TrainError;
use super::folder::free_bytes;
use super::resolved::Resolved;
use super::settings::{RecomputeKind, StageKind};

/// Number of checkpoints that exist at once: the last two, and one that is being written.
const CHECKPOINTS: u64 = 3;

/// Plan of a run.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Effective settings.
    pub resolved: &'a Resolved,
    /// Number of trained parameters.
    pub trained: u64,
    /// Size of an export, in bytes.
    pub model_bytes: u64,
    /// Size of models in memory that are not exported, in bytes.
    pub frozen_bytes: u64,
}

impl Plan<'_> {
    /// Returns the bytes of a checkpoint: parameters, two moments, and the average.
    fn checkpoint_bytes(&self) -> u64 {
        let copies = 3 + u64::from(self.resolved.ema_decay > 0.0);
        self.trained.saturating_mul(4 * copies)
    }

    /// Returns the bytes that the run needs on the disk, without old checkpoints that are removed.
    pub fn disk_bytes(&self) -> u64 {
        let resolved = self.resolved;
        let kept = resolved.steps.checked_div(resolved.keep_every).unwrap_or(0);
        // The trained model, its average, the best one, and one that is being written.
        let models = 2 + u64::from(resolved.ema_decay > 0.0) + u64::from(resolved.patience > 0);
        let checkpoints = kept.saturating_add(CHECKPOINTS);
        checkpoints
            .saturating_mul(self.checkpoint_bytes())
            .saturating_add(self.model_bytes.saturating_mul(models))
    }

    /// Returns the bytes of parameters, gradients, moments and averages in memory.
    fn state_bytes(&self) -> u64 {
        let gradients = self.trained.saturating_mul(4);
        gradients
            .saturating_add(self.checkpoint_bytes())
            .saturating_add(self.model_bytes)
            .saturating_add(self.frozen_bytes)
    }

    /// Describes the memory that the run needs, and which settings would need less.
    pub fn memory(&self) -> String {
        let (resolved, state) = (self.resolved, ByteSize(self.state_bytes()));
        let mut text =
            format!("{state} for parameters and optimizer, and the activations of a batch");
        let lora = resolved.lora.clone().unwrap_or_default();
        let encodes = resolved.reads_images() && !resolved.reads_cache();
        let less = [
            (resolved.dtype == "f32", "--dtype bf16"),
            (
                resolved.recompute == RecomputeKind::None,
                "--recompute blocks",
            ),
            (lora.quantize.is_none(), "--quantize q8_0 or q4_0"),
            (lora.stream_blocks.is_none(), "--stream-blocks"),
            (
                encodes && !resolved.encodes_first(),
                "a cache (`dataset cache`) as --data",
            ),
            (resolved.batch_size > 1, "a smaller --batch-size"),
        ];
        let less = less
            .into_iter()
            .filter_map(|(helps, flag)| helps.then_some(flag));
        let less: Vec<&str> = less.collect();
        if self.frozen_bytes > 0 && !less.is_empty() {
            text = format!("{text}; less with {}", less.join(", "));
        }
        text
    }

    /// Checks that the disk has enough space.
    ///
    /// # Errors
    /// Returns [`TrainError::DiskTooSmall`].
    pub fn check_disk(&self, folder: &Path) -> Result<(), TrainError> {
        let needed = self.disk_bytes();
        match free_bytes(folder) {
            Some(free) if free < needed => Err(TrainError::DiskTooSmall {
                folder: folder.to_owned(),
                needed,
                free,
            }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resolved = self.resolved;
        let stage = match resolved.stage {
            StageKind::Autoencoder => "autoencoder",
            StageKind::Flow => "flow",
        };
        let batch = (resolved.batch_size as u64).saturating_mul(resolved.accumulation.into());
        writeln!(
            f,
            "stage       {stage}, {} trained parameters",
            self.trained
        )?;
        writeln!(f, "steps       {} of {batch} images", resolved.steps)?;
        let images = resolved.steps.saturating_mul(batch);
        let equal = 1.0 / resolved.sizes.len().max(1) as f64;
        for (index, size) in resolved.sizes.iter().enumerate() {
            let share = resolved.size_shares.get(index).unwrap_or(&equal);
            let share = (images as f64 * share) as u64;
            writeln!(f, "bucket      {size}, about {share} images")?;
        }
        let mut from = 0;
        for entry in &resolved.curriculum {
            let until = entry
                .until_images
                .map_or("the end".to_owned(), |n| n.to_string());
            let (characters, lines) = (entry.characters, entry.lines);
            writeln!(
                f,
                "curriculum  images {from} to {until}: characters {characters:?}, lines {lines:?}"
            )?;
            from = entry.until_images.unwrap_or(from);
        }
        writeln!(f, "memory      {}", self.memory())?;
        let (disk, one) = (
            ByteSize(self.disk_bytes()),
            ByteSize(self.checkpoint_bytes()),
        );
        write!(f, "disk        {disk}, {one} a checkpoint")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_counts_checkpoints_and_says_if_the_disk_is_too_small() {
        let resolved = Resolved {
            steps: 100,
            keep_every: 50,
            ema_decay: 0.9,
            ..Resolved::default()
        };
        let mut plan = Plan {
            resolved: &resolved,
            trained: 1000,
            model_bytes: 5000,
            frozen_bytes: 0,
        };
        assert_eq!(plan.disk_bytes(), 5 * 16_000 + 3 * 5000);
        let folder = tempfile::tempdir().unwrap();
        plan.check_disk(folder.path()).unwrap();
        plan.trained = 1 << 50;
        if cfg!(unix) {
            let error = plan.check_disk(folder.path()).unwrap_err();
            assert!(matches!(error, TrainError::DiskTooSmall { .. }));
        }
        assert!(plan.to_string().contains("100 of 16 images"));
        let resolved = Resolved {
            steps: u64::MAX,
            accumulation: u32::MAX,
            keep_every: 1,
            ..Resolved::default()
        };
        plan.resolved = &resolved;
        assert_eq!(plan.disk_bytes(), u64::MAX);
        assert!(plan.to_string().contains(&u64::MAX.to_string()));
    }
}
