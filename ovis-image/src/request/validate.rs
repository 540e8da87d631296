//! Checks of a request that do not depend on the model.

use std::ops::RangeInclusive;

use super::GenerationRequest;
use crate::error::{OvisImageError, Result};
use crate::sampling::guidance::GuidanceInterval;
use crate::text_encoder::MAX_PROMPT_TOKENS;

/// Maximum number of images per request. More are taken for a mistake.
const MAX_IMAGES: usize = 4096;

/// Aspect ratios that the model was trained on (arXiv 2511.22982). Text is garbled beyond them and
/// above `MOST_PIXELS`.
const ASPECT_RATIOS: RangeInclusive<f64> = 0.25..=4.0;
const MOST_PIXELS: usize = 1_500_000;

impl GenerationRequest {
    /// Checks the arguments that do not depend on a model.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) with
    /// the name of the first invalid argument.
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
        self.validate_second_pass()?;
        self.validate_negative_prompts()
    }

    /// Warns about sizes that are possible but give poor images.
    pub(crate) fn warn_of_untrained_sizes(&self) {
        let (width, height) = self.size();
        let aspect_ratio = width as f64 / height as f64;
        if !ASPECT_RATIOS.contains(&aspect_ratio) {
            tracing::warn!(
                aspect_ratio,
                "the model was trained on aspect ratios from 1:4 to 4:1: text may come out garbled"
            );
        }
        if width * height > MOST_PIXELS {
            tracing::warn!(
                width,
                height,
                "the image has more than 1.5 megapixels: text may come out garbled"
            );
        }
    }

    /// Warns about guidance whose interval contains none of the steps that run. It is not widened:
    /// the settings of a result are those that were asked for.
    pub(crate) fn warn_of_idle_guidance(&self, steps: usize) {
        if steps == 0 {
            return;
        }
        let guidance = &self.parameters().guidance;
        if let Some(skip_layers) = &guidance.skip_layers
            && skip_layers.scale != 0.0
            && !skip_layers.acts_in(steps)
        {
            let GuidanceInterval { start, stop } = skip_layers.interval;
            tracing::warn!(
                "skip-layer guidance has no effect: none of the {steps} steps lies inside its interval, \
                 {start} to {stop}; widen the interval or use more steps"
            );
        }
        let GuidanceInterval { start, stop } = guidance.interval;
        if guidance.uses_negative_prompt() && !guidance.interval.contains_any(steps) {
            tracing::warn!(
                "guidance has no effect: none of the {steps} steps lies inside its interval, {start} to \
                 {stop}; widen the interval or use more steps"
            );
        }
    }

    /// Checks the number of images and of seeds.
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
                    "{prompts} prompts with {} images each: a request must have 1 to {MAX_IMAGES} images",
                    parameters.images_per_prompt
                ),
            ));
        }
        let seeds = parameters.seeds.len();
        let is_shared = parameters.is_seed_shared && seeds > 0;
        if !is_shared && seeds != images && self.latents().is_none() {
            return Err(OvisImageError::argument(
                "seed_per_image",
                format!("{seeds} seeds for {images} images: give one for each image"),
            ));
        }
        Ok(())
    }

    /// Checks the second pass. Its noise is drawn from seeds, and it starts from the first pass.
    fn validate_second_pass(&self) -> Result<()> {
        let Some(second_pass) = self.parameters().second_pass else {
            return Ok(());
        };
        second_pass.validate()?;
        let other = match (self.source_image(), self.latents()) {
            (Some(_), _) => "a source image",
            (None, Some(_)) => "given latents",
            (None, None) => return Ok(()),
        };
        Err(OvisImageError::argument(
            "second_pass",
            format!("a second pass cannot be combined with {other}: leave out one of the two"),
        ))
    }

    fn validate_negative_prompts(&self) -> Result<()> {
        let parameters = self.parameters();
        let (prompts, negatives) = (self.num_prompts(), parameters.negative_prompts.len());
        let guided = parameters.guidance.uses_negative_prompt();
        let needed = guided && self.negative_prompt_embeds().is_none();
        if needed && negatives != 1 && negatives != prompts {
            return Err(OvisImageError::argument(
                "negative_prompts",
                format!(
                    "{negatives} negative prompts for {prompts} prompts: give one, or one for each"
                ),
            ));
        }
        Ok(())
    }
}

/// Checks the number of text rows that the transformer should read.
pub(crate) fn validate_sequence_length(tokens: usize) -> Result<()> {
    if (1..=MAX_PROMPT_TOKENS).contains(&tokens) {
        return Ok(());
    }
    Err(OvisImageError::argument(
        "max_sequence_length",
        format!("{tokens} is not between 1 and {MAX_PROMPT_TOKENS}"),
    ))
}
