//! Errors in how a program was called, apart from errors in its work: their exit code, and the
//! flags that they name.

use std::error::Error;

use ovis_image::OvisImageError;
use ovis_image::error::RequestError;

use super::typed;

/// Exit code for a call that cannot be understood, as clap and most programs have it.
pub const USAGE: u8 = 2;

/// Exit code for work that failed.
pub const FAILURE: u8 = 1;

/// An argument that a program refuses after parsing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

impl UsageError {
    /// Creates the error from its message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Arguments of the library and the flags that set them.
const FLAGS: [(&str, &str); 45] = [
    ("accumulation", "--accumulation"),
    ("base", "--extract-lora"),
    ("cache", "--hub-cache"),
    ("dtype", "--dtype"),
    ("ema_decay", "--ema-decay"),
    ("folder", "--output"),
    ("format", "--format"),
    ("guidance_interval", "--guidance-interval"),
    ("guidance_method", "--guidance"),
    ("guidance_scale", "--guidance-scale"),
    ("id", "--model"),
    ("images_per_prompt", "--num-images"),
    ("latents", "--latents"),
    ("layout", "--to"),
    ("learning_rate.peak", "--learning-rate"),
    ("mask", "--mask"),
    ("mask_blur", "--mask-blur"),
    ("max_grad_norm", "--max-grad-norm"),
    ("max_sequence_length", "--max-sequence-length"),
    ("name", "--lora"),
    ("negative_prompts", "--negative-prompt"),
    ("num_inference_steps", "--steps"),
    ("optimizer.betas", "--adam-betas"),
    ("optimizer.eps", "--adam-eps"),
    ("optimizer.weight_decay", "--weight-decay"),
    ("prompts", "--prompt"),
    ("quantization", "--quantize"),
    ("rank", "--rank"),
    ("revision", "--model"),
    ("sampler", "--sampler"),
    ("scale", "--lora"),
    ("schedule", "--schedule"),
    ("second_pass", "--hires"),
    ("second_pass.scale", "--hires"),
    ("second_pass.steps", "--hires-steps"),
    ("second_pass.strength", "--hires-strength"),
    ("seed_per_image", "--seeds"),
    ("sigma_spacing", "--sigmas"),
    ("skip_layers", "--skip-layers"),
    ("spike_factor", "--spike-factor"),
    ("step_cache", "--step-cache"),
    ("strength", "--strength"),
    ("timestep_distribution", "--timesteps"),
    ("total_steps", "--steps"),
    ("vae_tiling", "--vae-tile"),
];

/// Flags of the size of an image.
const SIDES: [&str; 2] = ["--width", "--height"];

/// Returns the exit code of a failed program: [`USAGE`] if an argument is to blame, or else
/// [`FAILURE`].
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let is_usage = |cause: &(dyn Error + 'static)| {
        cause.is::<UsageError>()
            || cause.is::<RequestError>()
            || matches!(cause.downcast_ref(), Some(OvisImageError::Request(_)))
    };
    if error.is::<UsageError>() || error.chain().any(is_usage) {
        USAGE
    } else {
        FAILURE
    }
}

/// Writes an error without its causes. An argument of the library is called by the flag that sets
/// it, as it was typed.
pub fn shown(error: &(dyn Error + 'static)) -> String {
    let Some(OvisImageError::Request(request)) = error.downcast_ref() else {
        return error.to_string();
    };
    match request {
        RequestError::InvalidArgument {
            argument, reason, ..
        } => match flag(argument) {
            Some(flag) => format!("invalid {flag}: {reason}"),
            None => error.to_string(),
        },
        RequestError::InvalidSize { .. } => format!("invalid {}: {error}", either(SIDES)),
        RequestError::ShapeMismatch { argument, .. } => match flag(argument) {
            Some(flag) => format!("invalid {flag}: {error}"),
            None => error.to_string(),
        },
        _ => error.to_string(),
    }
}

fn flag(argument: &str) -> Option<String> {
    let found = FLAGS.iter().find(|(name, _)| *name == argument);
    found.map(|(_, flag)| typed::name(flag))
}

/// Names the flags that were typed, of several that are to blame alike, or else all of them.
pub fn either<const N: usize>(flags: [&str; N]) -> String {
    let typed: Vec<String> = flags
        .iter()
        .filter(|flag| typed::is_typed(flag))
        .map(|flag| typed::name(flag))
        .collect();
    if typed.is_empty() {
        flags.join(" or ")
    } else {
        typed.join(" or ")
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, Result};
    use ovis_image::{SamplerKind, WeightDtype};

    use super::*;
    use crate::shared::error_chain::one_line;

    fn failed<T: std::fmt::Debug>(result: Result<T>) -> (u8, String) {
        let error = result.unwrap_err();
        (exit_code(&error), one_line(&error))
    }

    #[test]
    fn arguments_are_to_blame_below_any_context() {
        let own = || Err::<(), _>(UsageError::new("no").into());
        assert_eq!(failed(own()).0, USAGE);
        assert_eq!(failed(own().context("why")), (USAGE, "why: no".to_owned()));
        let work = Err::<(), _>(anyhow::anyhow!("broken"));
        assert_eq!(failed(work), (FAILURE, "broken".to_owned()));
        let work = Err::<(), _>(std::io::Error::other("gone").into());
        assert_eq!(failed(work).0, FAILURE);
    }

    #[test]
    fn arguments_of_the_library_are_called_by_their_flags() {
        let sampler = "x".parse::<SamplerKind>().context("cell 1");
        let (code, message) = failed(sampler);
        assert_eq!(code, USAGE);
        assert!(
            message.starts_with("cell 1: invalid --sampler: `x`"),
            "{message}"
        );
        let (_, message) = failed("x".parse::<WeightDtype>().map_err(Into::into));
        assert!(message.starts_with("invalid --dtype: `x`"), "{message}");
    }

    #[test]
    fn flags_are_sorted_and_listed_once() {
        assert!(FLAGS.is_sorted_by(|a, b| a.0 < b.0));
    }
}
