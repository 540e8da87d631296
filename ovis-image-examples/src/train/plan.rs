//! Plan of a run: its steps and its memory and disk use, computed before it starts.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use bytesize::ByteSize;
use ovis_image::training::OptimizerConfig;

use super::error::TrainError;
use super::folder::free_bytes;
use super::resolved::Resolved;
use super::settings::{OptimizerKind, RecomputeKind, StageKind};

/// Number of checkpoints that exist at once: the last two, and one that is being written.
const CHECKPOINTS: u64 = 3;

/// Sizes of what is trained.
#[derive(Debug, Clone, Copy)]
pub struct TrainedSizes {
    /// Number of parameters.
    pub parameters: u64,
    /// Size of the optimizer's state in bytes.
    pub optimizer_bytes: u64,
    /// Number of parameters of the largest part that is updated at once in a backward pass.
    pub largest_part: u64,
}

impl TrainedSizes {
    /// Adds up the sizes of parameters of these shapes, by path.
    pub fn of(optimizer: &OptimizerConfig, shapes: &BTreeMap<String, Vec<usize>>) -> Self {
        let mut parts = BTreeMap::<&str, u64>::new();
        for (path, shape) in shapes {
            let count = shape.iter().product::<usize>() as u64;
            *parts.entry(part(path)).or_default() += count;
        }
        let state = shapes.values().map(|shape| optimizer.state_bytes(shape));
        Self {
            parameters: parts.values().sum(),
            optimizer_bytes: state.sum(),
            largest_part: parts.values().copied().max().unwrap_or_default(),
        }
    }
}

/// Returns the part of the models that a parameter belongs to: a block, or what is left of a model.
fn part(path: &str) -> &str {
    let mut dots = path.match_indices('.').map(|(at, _)| at);
    let end = if path.contains("_blocks.") {
        dots.nth(2)
    } else {
        dots.next()
    };
    &path[..end.unwrap_or(path.len())]
}

/// Plan of a run.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Effective settings.
    pub resolved: &'a Resolved,
    /// Sizes of what is trained.
    pub trained: TrainedSizes,
    /// Size of an export, in bytes.
    pub model_bytes: u64,
    /// Size of models in memory that are not exported, in bytes.
    pub frozen_bytes: u64,
}

impl Plan<'_> {
    /// Returns the bytes of all trained parameters in f32.
    fn in_f32(&self) -> u64 {
        self.trained.parameters.saturating_mul(4)
    }

    /// Returns the bytes of the moving average.
    fn average_bytes(&self) -> u64 {
        match self.resolved.ema_decay > 0.0 {
            true => self.in_f32(),
            false => 0,
        }
    }

    /// Returns true if weights are in bf16. Adapters and the VAE are trained in f32.
    fn in_bf16(&self) -> bool {
        let resolved = self.resolved;
        let casts = resolved.lora.is_none() && resolved.stage == StageKind::Flow;
        casts && resolved.dtype == "bf16"
    }

    /// Returns the bytes of a checkpoint: parameters, the optimizer's state, and the average.
    fn checkpoint_bytes(&self) -> u64 {
        let parameters = match self.in_bf16() && !self.resolved.master_weights {
            true => self.in_f32() / 2,
            false => self.in_f32(),
        };
        parameters
            .saturating_add(self.trained.optimizer_bytes)
            .saturating_add(self.average_bytes())
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

    /// Returns the parts of the memory that a run needs besides activations, in bytes.
    fn memory_parts(&self) -> [(&'static str, u64); 6] {
        let (in_f32, half) = (self.in_f32(), self.in_bf16());
        let copies = half && self.resolved.master_weights;
        let by_part =
            self.resolved.fused_update && self.resolved.recompute == RecomputeKind::Blocks;
        let gradients = if by_part {
            self.trained.largest_part.saturating_mul(4)
        } else {
            in_f32
        };
        [
            ("weights", if half { in_f32 / 2 } else { in_f32 }),
            ("f32 copies", if copies { in_f32 } else { 0 }),
            ("gradients", gradients),
            ("optimizer", self.trained.optimizer_bytes),
            ("average", self.average_bytes()),
            ("frozen models", self.frozen_bytes),
        ]
    }

    /// Describes the memory that the run needs, and which settings would need less.
    pub fn memory(&self) -> String {
        let parts = self.memory_parts();
        let sum = parts
            .iter()
            .fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
        let parts = parts.into_iter().filter(|(_, bytes)| *bytes > 0);
        let parts = parts.map(|(name, bytes)| format!("{name} {}", ByteSize(bytes)));
        let parts: Vec<String> = parts.collect();
        let mut text = format!(
            "{} ({}), and the activations of a batch",
            ByteSize(sum),
            parts.join(", ")
        );
        let less = self.smaller_settings();
        if !less.is_empty() {
            text = format!("{text}; less with {}", less.join(", "));
        }
        text
    }

    /// Returns the settings with which a run that starts from a checkpoint would need less memory.
    fn smaller_settings(&self) -> Vec<&'static str> {
        let resolved = self.resolved;
        if resolved.model.is_none() {
            return Vec::new();
        }
        let lora = resolved.lora.as_ref();
        let flow = resolved.stage == StageKind::Flow;
        let encodes = resolved.reads_images() && !resolved.reads_cache();
        let less = [
            (flow && resolved.dtype == "f32", "--dtype bf16"),
            (
                flow && resolved.recompute == RecomputeKind::None,
                "--recompute blocks",
            ),
            (
                lora.is_none() && resolved.optimizer == OptimizerKind::Adamw,
                "--optimizer adamw8bit or adafactor",
            ),
            (
                flow && lora.is_none() && !resolved.fused_update,
                "--fused-update",
            ),
            (
                self.in_bf16() && resolved.master_weights,
                "--master-weights false",
            ),
            (
                lora.is_some_and(|lora| lora.quantize.is_none()),
                "--quantize q8_0 or q4_0",
            ),
            (
                lora.is_some_and(|lora| lora.stream_blocks.is_none()),
                "--stream-blocks",
            ),
            (
                flow && encodes && !resolved.encodes_first(),
                "a cache (`dataset cache`) as --data",
            ),
            (
                resolved.replay.is_none() && resolved.batch_size > 1,
                "a smaller --batch-size",
            ),
        ];
        let less = less.into_iter();
        less.filter_map(|(helps, flag)| helps.then_some(flag))
            .collect()
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
            self.trained.parameters
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
    fn parts_are_blocks_and_the_rest_of_each_model() {
        let paths = [
            ("transformer.single_blocks.11.qkv_mlp.weight", 30),
            ("transformer.single_blocks.11.output.weight", 30),
            ("transformer.single_blocks.1.output.weight", 30),
            ("transformer.image_embedder.weight", 20),
            ("transformer.text_norm.weight", 1),
            ("text_encoder.layers.0.weight", 50),
        ];
        let shapes = paths.map(|(path, count)| (path.to_owned(), vec![count]));
        let sizes = TrainedSizes::of(&OptimizerConfig::default(), &shapes.into());
        assert_eq!((sizes.parameters, sizes.optimizer_bytes), (161, 8 * 161));
        assert_eq!(sizes.largest_part, 60);
    }

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
            trained: TrainedSizes {
                parameters: 1000,
                optimizer_bytes: 8000,
                largest_part: 300,
            },
            model_bytes: 5000,
            frozen_bytes: 0,
        };
        assert_eq!(plan.disk_bytes(), 5 * 16_000 + 3 * 5000);
        let parts = plan.memory_parts().map(|(_, bytes)| bytes);
        assert_eq!(parts, [4000, 0, 4000, 8000, 4000, 0]);
        let small = Resolved {
            dtype: "bf16".to_owned(),
            master_weights: false,
            fused_update: true,
            recompute: RecomputeKind::Blocks,
            ..Resolved::default()
        };
        plan.resolved = &small;
        let parts = plan.memory_parts().map(|(_, bytes)| bytes);
        assert_eq!(parts, [2000, 0, 1200, 8000, 0, 0]);
        assert_eq!(plan.checkpoint_bytes(), 10_000);
        plan.resolved = &resolved;
        let folder = tempfile::tempdir().unwrap();
        plan.check_disk(folder.path()).unwrap();
        plan.trained.parameters = 1 << 50;
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
