//! The second pass from the command line.

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use ovis_image::request::UpscaleMethod;
use ovis_image::{GenerationRequest, SecondPass};

use crate::shared::headings;
use crate::shared::usage::UsageError;

/// The arguments of the second pass.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = headings::SECOND_PASS)]
pub struct HiresArguments {
    /// Generate again at this multiple of the size, for example 2
    ///
    /// The image is generated at --width and --height, upscaled, and denoised again at the larger
    /// size. Sides are rounded to multiples of 16.
    #[arg(long, value_name = "SCALE")]
    pub hires: Option<f64>,
    /// Fraction of the schedule that the second pass runs [default: 0.6]
    ///
    /// 0 keeps the upscaled image, 1 ignores it.
    #[arg(long, value_name = "STRENGTH", hide_short_help = true)]
    pub hires_strength: Option<f64>,
    /// Steps of the second pass's schedule [default: --steps]
    ///
    /// The fraction --hires-strength of them runs.
    #[arg(long, value_name = "STEPS", hide_short_help = true)]
    pub hires_steps: Option<usize>,
    /// Upscale the latents or the decoded image between the passes
    #[arg(long, value_enum, value_name = "METHOD", hide_short_help = true)]
    pub hires_upscale: Option<Upscale>,
}

/// Method of upscaling between the passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Upscale {
    /// Interpolate the latents (the default)
    Latent,
    /// Decode, scale the image and encode it: slower, and the usual choice at low strengths
    Image,
}

impl HiresArguments {
    /// Fills in the arguments that were not given.
    pub fn filled_from(mut self, before: SecondPass) -> Self {
        self.hires = self.hires.or(Some(before.scale));
        self.hires_strength = self.hires_strength.or(Some(before.strength));
        self.hires_steps = self.hires_steps.or(before.steps);
        self.hires_upscale = self.hires_upscale.or(match before.upscale {
            UpscaleMethod::Image => Some(Upscale::Image),
            _ => Some(Upscale::Latent),
        });
        self
    }

    /// Applies the given arguments to a request, which may have a second pass already.
    ///
    /// # Errors
    /// Returns an error if an argument changes a second pass that the request does not have.
    pub fn apply(&self, request: GenerationRequest) -> Result<GenerationRequest> {
        let before = request.parameters().second_pass;
        let Some(mut second_pass) = before.or(self.hires.map(SecondPass::new)) else {
            let others = [
                ("--hires-strength", self.hires_strength.is_some()),
                ("--hires-steps", self.hires_steps.is_some()),
                ("--hires-upscale", self.hires_upscale.is_some()),
            ];
            for (name, is_given) in others {
                ensure!(!is_given, UsageError(format!("{name} needs --hires SCALE")));
            }
            return Ok(request);
        };
        if let Some(scale) = self.hires {
            second_pass.scale = scale;
        }
        if let Some(strength) = self.hires_strength {
            second_pass = second_pass.with_strength(strength);
        }
        if let Some(steps) = self.hires_steps {
            second_pass = second_pass.with_steps(steps);
        }
        if let Some(upscale) = self.hires_upscale {
            second_pass = second_pass.with_upscale(match upscale {
                Upscale::Latent => UpscaleMethod::Latent,
                Upscale::Image => UpscaleMethod::Image,
            });
        }
        Ok(request.with_second_pass(second_pass))
    }
}
