//! What can be said against a request without knowing the model.

use std::ops::RangeInclusive;

use super::GenerationRequest;
use crate::error::{OvisImageError, Result};
use crate::text_encoder::MAX_PROMPT_TOKENS;

/// More images than this in one request are a mistake.
const MAX_IMAGES: usize = 4096;

/// Beyond these the model was not trained (arXiv 2511.22982), and text garbles.
const ASPECT_RATIOS: RangeInclusive<f64> = 0.25..=4.0;
const MOST_PIXELS: usize = 1_500_000;

impl GenerationRequest {
    /// # Errors
    /// [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) with the argument that is not usable.
    pub(crate) fn validate(&self) -> Result<()> {
        self.validate_batch()?;
        validate_sequence_length(self.parameters().max_sequence_length)?;
        self.parameters().sampler.validate()?;
        if let Some(cache) = self.parameters().step_cache {
            cache.validate()?;
        }
        if let Some(source) = self.source_image() {
            source.validate()?;
        }
        self.validate_negative_prompts()
    }

    /// Warns of a size that images can be made in, but not good ones.
    pub(crate) fn warn_of_untrained_sizes(&self) {
        let (width, height) = self.size();
        let aspect_ratio = width as f64 / height as f64;
        if !ASPECT_RATIOS.contains(&aspect_ratio) {
            tracing::warn!(
                aspect_ratio,
                "the model was trained on sides of 1 to 4 at most"
            );
        }
        if width * height > MOST_PIXELS {
            tracing::warn!(
                width,
                height,
                "this is more than the 1.5 megapixels up to which text comes out well"
            );
        }
    }

    /// Checks how many images there are, and whether there are seeds for them.
    fn validate_batch(&self) -> Result<()> {
        let (prompts, images) = (self.num_prompts(), self.num_images());
        let parameters = self.parameters();
        if images == 0 || images > MAX_IMAGES {
            let argument = if prompts == 0 {
                "prompts"
            } else {
                "images_per_prompt"
            };
            return Err(OvisImageError::argument(
                argument,
                format!(
                    "{prompts} prompts with {} images each: 1 to {MAX_IMAGES} images can be made",
                    parameters.images_per_prompt
                ),
            ));
        }
        let seeds = parameters.seeds.len();
        let is_shared = parameters.is_seed_shared && seeds > 0;
        if !is_shared && seeds != images && self.latents().is_none() {
            return Err(OvisImageError::argument(
                "seed_per_image",
                format!("{seeds} seeds for {images} images"),
            ));
        }
        Ok(())
    }

    fn validate_negative_prompts(&self) -> Result<()> {
        let parameters = self.parameters();
        let (prompts, negatives) = (self.num_prompts(), parameters.negative_prompts.len());
        let guided = parameters.guidance.uses_negative_prompt();
        let needed = guided && self.negative_prompt_embeds().is_none();
        if needed && negatives != 1 && negatives != prompts {
            return Err(OvisImageError::argument(
                "negative_prompts",
                format!("{negatives} for {prompts} prompts: give one, or one for each"),
            ));
        }
        Ok(())
    }
}

/// Checks how many rows of text the transformer shall read.
pub(crate) fn validate_sequence_length(tokens: usize) -> Result<()> {
    if (1..=MAX_PROMPT_TOKENS).contains(&tokens) {
        return Ok(());
    }
    Err(OvisImageError::argument(
        "max_sequence_length",
        format!("{tokens} is not between 1 and {MAX_PROMPT_TOKENS}"),
    ))
}
