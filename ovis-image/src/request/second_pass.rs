//! Second pass at a larger size: the first pass's images are upscaled, and denoised again from a
//! part of the noise. A1111's web UI calls this "hires fix".

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::error::{OvisImageError, Result};

/// Second pass over a request's images, at a multiple of their size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SecondPass {
    /// Factor from the size of the first pass to that of the result.
    pub scale: f64,
    /// Fraction of the denoising schedule to run: 0 returns the upscaled image, 1 ignores it.
    pub strength: f64,
    /// Number of steps of the whole schedule, of which the last `steps * strength` run; `None` for
    /// the first pass's number and custom sigmas.
    pub steps: Option<usize>,
    /// Method of upscaling between the passes.
    pub upscale: UpscaleMethod,
}

/// Method of upscaling between two passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UpscaleMethod {
    /// Interpolates the latents bilinearly. Fast, but the result is blurred, so that strengths
    /// below 0.5 leave it soft.
    #[default]
    Latent,
    /// Decodes the latents, scales the image with a Lanczos filter and encodes it again.
    Image,
}

/// Scales that are possible. The upper end is far beyond any use, and keeps sizes representable.
const SCALES: RangeInclusive<f64> = 1.0..=16.0;

impl SecondPass {
    /// Creates a second pass at `scale` times the size, with a strength of 0.6 and as many steps as
    /// the first pass, over upscaled latents.
    pub fn new(scale: f64) -> Self {
        Self {
            scale,
            strength: 0.6,
            steps: None,
            upscale: UpscaleMethod::default(),
        }
    }

    /// Sets the fraction of the denoising schedule to run.
    pub fn with_strength(mut self, strength: f64) -> Self {
        self.strength = strength;
        self
    }

    /// Sets the number of steps of the whole schedule, of which the last `steps * strength` run.
    /// They replace the first pass's custom sigmas.
    pub fn with_steps(mut self, steps: usize) -> Self {
        self.steps = Some(steps);
        self
    }

    /// Sets the method of upscaling.
    pub fn with_upscale(mut self, upscale: UpscaleMethod) -> Self {
        self.upscale = upscale;
        self
    }

    /// Calculates the size of the result from the size of the first pass, with each side rounded to
    /// a multiple (see
    /// [`size_multiple`](crate::OvisImagePipeline::size_multiple)).
    pub fn size_of(&self, (width, height): (usize, usize), multiple: usize) -> (usize, usize) {
        let side = |side: usize| {
            let multiples = (side as f64 * self.scale / multiple as f64).round() as usize;
            multiples.max(1).saturating_mul(multiple)
        };
        (side(width), side(height))
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) with
    /// the name of the first invalid setting.
    pub(crate) fn validate(&self) -> Result<()> {
        let Self {
            scale,
            strength,
            steps,
            ..
        } = self;
        if !SCALES.contains(scale) {
            return Err(OvisImageError::argument(
                "second_pass.scale",
                format!(
                    "{scale} is not between {} and {}",
                    SCALES.start(),
                    SCALES.end()
                ),
            ));
        }
        if *steps == Some(0) {
            return Err(OvisImageError::argument(
                "second_pass.steps",
                "0 is not a number of steps: it must be at least 1",
            ));
        }
        if !(0.0..=1.0).contains(strength) {
            return Err(OvisImageError::argument(
                "second_pass.strength",
                format!("{strength} is not between 0 and 1"),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_rounded_to_multiples() {
        let pass = SecondPass::new(1.5);
        assert_eq!(pass.size_of((1024, 512), 16), (1536, 768));
        assert_eq!(pass.size_of((80, 16), 16), (128, 32));
        assert_eq!(SecondPass::new(1.0).size_of((64, 48), 16), (64, 48));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let pass = SecondPass::new(2.0);
        pass.validate().unwrap();
        for bad in [
            SecondPass::new(0.5),
            SecondPass::new(17.0),
            SecondPass::new(f64::NAN),
            SecondPass::new(f64::INFINITY),
            pass.with_steps(0),
            pass.with_strength(-0.1),
            pass.with_strength(1.1),
            pass.with_strength(f64::NAN),
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }
}
