//! Fitting a checkpoint and a request into a device's memory before anything is loaded.

use super::estimate::Parameters;
use super::{DeviceMemory, MemoryEstimate};
use crate::checkpoint::Checkpoint;
use crate::config::WeightDtype;
use crate::error::{MemoryError, Result};
use crate::request::{GenerationRequest, LoadOptions};
use crate::vae::VaeTiling;
use crate::weights::Residency;

/// Options and a request that fit into a limit.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MemoryPlan {
    /// Options that load the checkpoint.
    pub options: LoadOptions,
    /// Request to generate.
    pub request: GenerationRequest,
    /// Memory that both take.
    pub estimate: MemoryEstimate,
}

/// Sides of tiles to decode in, largest first.
const TILES: [usize; 2] = [512, 256];

impl MemoryPlan {
    /// Changes options and request as little as needed until their estimate is within `limit` bytes:
    /// offloads the text encoder, then the modulation's weights, then as many of the transformer's
    /// blocks as necessary, and decodes images in tiles.
    ///
    /// # Errors
    /// Returns [`MemoryError::MemoryLimit`] if all of that is not enough, with a setting that would be,
    /// and [`CheckpointError::Weights`](crate::error::CheckpointError::Weights) if the checkpoint's
    /// tensors do not make up the models.
    pub fn fit(
        checkpoint: &Checkpoint,
        options: LoadOptions,
        request: GenerationRequest,
        limit: u64,
        memory: DeviceMemory,
    ) -> Result<Self> {
        let search = Search {
            parameters: Parameters::of(checkpoint)?,
            checkpoint,
            limit,
            memory,
        };
        let plan = search.squeeze(options, request);
        if plan.estimate.peak <= limit {
            return Ok(plan);
        }
        Err(MemoryError::MemoryLimit {
            limit_mib: limit >> 20,
            needed_mib: plan.estimate.peak.div_ceil(1 << 20),
            hint: search.hint(&plan),
        }
        .into())
    }

    /// Takes the next step down; false when there is none left.
    fn save(&mut self, checkpoint: &Checkpoint, limit: u64) -> bool {
        let config = &checkpoint.transformer.config;
        let blocks = config.num_layers + config.num_single_layers;
        let multiple = 2 * checkpoint.vae.config.scale_factor();
        let second = self.request.second_pass_alone(multiple);
        let (width, height) = second.as_ref().unwrap_or(&self.request).size();
        let tile = self
            .request
            .parameters()
            .vae_tiling
            .map_or(usize::MAX, |tiling| tiling.tile);
        let smaller = TILES
            .into_iter()
            .find(|side| *side < tile && *side < width.max(height));
        let decoding_alone =
            self.estimate.denoising <= limit && self.estimate.text_encoding <= limit;
        let options = &mut self.options;
        // What leaves the image as it is comes first, unless it costs time at each step.
        if options.text_encoder_residency == Residency::Device {
            options.text_encoder_residency = Residency::File;
        } else if options.modulation_residency == Residency::Device {
            options.modulation_residency = Residency::File;
        } else if let Some(side) = smaller.filter(|_| decoding_alone) {
            self.request = self.request.clone().with_vae_tiling(VaeTiling::new(side));
        } else if options.streamed_blocks < blocks && self.estimate.streamed_blocks < blocks {
            options.streamed_blocks += 1;
        } else if let Some(side) = smaller {
            self.request = self.request.clone().with_vae_tiling(VaeTiling::new(side));
        } else {
            return false;
        }
        true
    }

    /// Describes the changed settings.
    fn difference(&self, dtype: WeightDtype, images: usize, size: (usize, usize)) -> String {
        let mut changes = Vec::new();
        if dtype != self.options.dtype {
            changes.push(format!("{dtype} weights"));
        }
        if images != self.request.parameters().images_per_prompt {
            changes.push("one image at a time".to_owned());
        }
        let (width, height) = size;
        if size != self.request.size() {
            changes.push(format!("{width}x{height} pixels"));
        }
        format!("It fits with {}", changes.join(", "))
    }
}

/// A search for a plan.
struct Search<'a> {
    parameters: Parameters,
    checkpoint: &'a Checkpoint,
    limit: u64,
    memory: DeviceMemory,
}

impl Search<'_> {
    fn estimate(&self, options: &LoadOptions, request: &GenerationRequest) -> MemoryEstimate {
        self.parameters
            .estimate(self.checkpoint, options, request, self.memory)
    }

    /// Saves as much as the limit requires, or all that can be.
    fn squeeze(&self, options: LoadOptions, request: GenerationRequest) -> MemoryPlan {
        let mut plan = MemoryPlan {
            estimate: self.estimate(&options, &request),
            options,
            request,
        };
        while plan.estimate.peak > self.limit && plan.save(self.checkpoint, self.limit) {
            plan.estimate = self.estimate(&plan.options, &plan.request);
        }
        plan
    }

    /// The setting that would still help, found by trying: another dtype, fewer images, smaller
    /// ones, then all of them.
    fn hint(&self, plan: &MemoryPlan) -> String {
        let peak_with = |dtype: WeightDtype, images: usize, (width, height): (usize, usize)| {
            let options = plan.options.with_dtype(dtype);
            let request = plan.request.clone().with_images_per_prompt(images);
            self.squeeze(options, request.with_size(width, height))
                .estimate
                .peak
        };
        let (width, height) = plan.request.size();
        let images = plan.request.parameters().images_per_prompt;
        let dtype = plan.options.dtype;
        let half = match dtype {
            WeightDtype::F32 => WeightDtype::BF16,
            other => other,
        };
        let multiple = 2 * self.checkpoint.vae.config.scale_factor();
        let part =
            |side: usize, eighths: usize| (side * eighths / 8 / multiple * multiple).max(multiple);
        let sizes = (1..8)
            .rev()
            .map(|eighths| (part(width, eighths), part(height, eighths)));
        let candidates = [(half, images, (width, height)), (half, 1, (width, height))];
        let smaller = sizes.map(|size| (half, 1, size));
        let mut least = plan.estimate.peak;
        for (dtype, images, size) in candidates.into_iter().chain(smaller) {
            let peak = peak_with(dtype, images, size);
            least = least.min(peak);
            if peak <= self.limit {
                return plan.difference(dtype, images, size);
            }
        }
        format!(
            "No setting makes this fit: one image of {}x{} would still need {} MiB",
            part(width, 1),
            part(height, 1),
            least.div_ceil(1 << 20)
        )
    }
}
