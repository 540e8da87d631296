use std::fmt;
use std::str::FromStr;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::{
    AdaptiveProjected, ClassifierFree, Guidance, GuidanceInterval, Interval, Passes, Predictions,
    SkipLayerGuidance, SkipLayers, ZeroStar,
};
use crate::error::{OvisImageError, Result};
use crate::sampling::StepPosition;

/// Selects a guidance method by name.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum GuidanceMethod {
    /// Selects [`ClassifierFree`], the model's usual method.
    #[default]
    ClassifierFree,
    /// Selects [`ZeroStar`].
    ZeroStar {
        /// Number of initial steps that leave the latents unchanged.
        zero_init_steps: usize,
    },
    /// Selects [`AdaptiveProjected`].
    AdaptiveProjected {
        /// Weight of the difference's component along the prompt's prediction.
        eta: f32,
        /// Weight of earlier differences; 0 turns momentum off.
        momentum: f32,
        /// Largest norm of the difference; 0 sets no limit.
        norm_threshold: f32,
    },
}

/// Guidance settings of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GuidanceSettings {
    /// Guidance scale; at 1 and below there is no guidance.
    #[serde(rename = "guidance_scale")]
    pub scale: f32,
    /// Guidance method.
    #[serde(default, rename = "guidance_method")]
    pub method: GuidanceMethod,
    /// Steps in which the guidance applies.
    #[serde(default = "all_steps", rename = "guidance_interval")]
    pub interval: GuidanceInterval,
    /// Skip-layer guidance; off by default.
    #[serde(default)]
    pub skip_layers: Option<SkipLayerGuidance>,
}

fn all_steps() -> GuidanceInterval {
    GuidanceInterval::ALL
}

impl GuidanceSettings {
    /// Creates settings for classifier-free guidance at all steps.
    pub fn new(scale: f32) -> Self {
        Self {
            scale,
            method: GuidanceMethod::default(),
            interval: GuidanceInterval::ALL,
            skip_layers: None,
        }
    }

    /// Returns true if any step uses the negative prompt.
    pub fn uses_negative_prompt(&self) -> bool {
        self.scale > 1.0
    }

    /// Creates the guidance for one run.
    pub fn build<B: Backend>(&self) -> Box<dyn Guidance<B>> {
        let base: Box<dyn Guidance<B>> = match self.method {
            _ if !self.uses_negative_prompt() => Box::new(ClassifierFree::new(self.scale)),
            GuidanceMethod::ClassifierFree => Box::new(ClassifierFree::new(self.scale)),
            GuidanceMethod::ZeroStar { zero_init_steps } => {
                Box::new(ZeroStar::new(self.scale, zero_init_steps))
            }
            GuidanceMethod::AdaptiveProjected {
                eta,
                momentum,
                norm_threshold,
            } => {
                let momentum = (momentum != 0.0).then_some(momentum);
                let guidance = AdaptiveProjected::new(self.scale, eta, momentum, norm_threshold);
                Box::new(guidance)
            }
        };
        let within: Box<dyn Guidance<B>> = if self.interval == GuidanceInterval::ALL {
            base
        } else {
            Box::new(Interval::new(base, self.interval))
        };
        match &self.skip_layers {
            None => within,
            Some(settings) => Box::new(SkipLayers::new(within, settings.clone())),
        }
    }

    /// Checks the settings against the numbers of blocks of the model.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) with
    /// the name of the invalid setting.
    pub(crate) fn validate(&self, double_blocks: usize, single_blocks: usize) -> Result<()> {
        let refuse = |argument, reason: String| Err(OvisImageError::argument(argument, reason));
        if !self.scale.is_finite() {
            return refuse("guidance_scale", format!("{} is not a number", self.scale));
        }
        self.interval.validate("guidance_interval")?;
        self.method.validate()?;
        let Some(skip) = &self.skip_layers else {
            return Ok(());
        };
        if !skip.scale.is_finite() {
            return refuse("skip_layers", format!("{} is not a number", skip.scale));
        }
        skip.interval.validate("skip_layers")?;
        for (kind, blocks, count) in [
            ("double", &skip.double_blocks, double_blocks),
            ("single", &skip.single_blocks, single_blocks),
        ] {
            if let Some(block) = blocks.iter().find(|block| **block >= count) {
                return refuse(
                    "skip_layers",
                    format!(
                        "the model does not have {kind} block {block}; its {kind} blocks are 0 to {}",
                        count.saturating_sub(1)
                    ),
                );
            }
        }
        if skip.double_blocks.is_empty() && skip.single_blocks.is_empty() {
            return refuse(
                "skip_layers",
                "no block is listed; list at least one double or single block".into(),
            );
        }
        Ok(())
    }
}

impl GuidanceMethod {
    /// Values that [`FromStr`] accepts.
    pub const NAMES: &str =
        "cfg, zero-star, zero-star:STEPS, apg, apg:ETA, apg:ETA:MOMENTUM, apg:ETA:MOMENTUM:NORM";

    /// Adaptive projected guidance with the authors' values for images, which diffusers' examples
    /// also use.
    pub const APG: Self = Self::AdaptiveProjected {
        eta: 0.0,
        momentum: -0.5,
        norm_threshold: 15.0,
    };

    fn validate(self) -> Result<()> {
        let Self::AdaptiveProjected {
            eta,
            momentum,
            norm_threshold,
        } = self
        else {
            return Ok(());
        };
        let usable = eta.is_finite()
            && momentum.abs() < 1.0
            && norm_threshold.is_finite()
            && norm_threshold >= 0.0;
        if usable {
            return Ok(());
        }
        Err(OvisImageError::argument(
            "guidance_method",
            format!(
                "eta = {eta}, momentum = {momentum}, norm_threshold = {norm_threshold}: the momentum must lie \
                 between -1 and 1, and the threshold cannot be negative"
            ),
        ))
    }
}

impl fmt::Display for GuidanceMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClassifierFree => f.write_str("cfg"),
            Self::ZeroStar { zero_init_steps } => write!(f, "zero-star:{zero_init_steps}"),
            Self::AdaptiveProjected {
                eta,
                momentum,
                norm_threshold,
            } => write!(f, "apg:{eta}:{momentum}:{norm_threshold}"),
        }
    }
}

impl FromStr for GuidanceMethod {
    type Err = OvisImageError;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            OvisImageError::argument(
                "guidance_method",
                format!("`{text}` is not one of {}", Self::NAMES),
            )
        };
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let mut number = |otherwise: f32| match parts.next() {
            None => Ok(otherwise),
            Some(digits) => digits.parse::<f32>().map_err(|_| unknown()),
        };
        let method = match name {
            "cfg" => Self::ClassifierFree,
            "zero-star" => {
                let steps = number(1.0)?;
                if steps < 0.0 || steps.fract() != 0.0 || steps > 10_000.0 {
                    return Err(unknown());
                }
                Self::ZeroStar {
                    zero_init_steps: steps as usize,
                }
            }
            "apg" => Self::AdaptiveProjected {
                eta: number(0.0)?,
                momentum: number(-0.5)?,
                norm_threshold: number(15.0)?,
            },
            _ => return Err(unknown()),
        };
        if parts.next().is_some() {
            return Err(unknown());
        }
        method.validate()?;
        Ok(method)
    }
}

impl From<GuidanceMethod> for String {
    fn from(method: GuidanceMethod) -> Self {
        method.to_string()
    }
}

impl TryFrom<String> for GuidanceMethod {
    type Error = OvisImageError;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// Implemented for boxes, so that guidance can wrap a boxed method.
impl<B: Backend, G: Guidance<B> + ?Sized> Guidance<B> for Box<G> {
    fn passes(&self, step: StepPosition) -> Passes {
        (**self).passes(step)
    }

    fn combine(&mut self, step: StepPosition, predictions: Predictions<B>) -> Tensor<B, 3> {
        (**self).combine(step, predictions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_reads_what_it_writes() {
        for method in [
            GuidanceMethod::ClassifierFree,
            GuidanceMethod::ZeroStar { zero_init_steps: 2 },
            GuidanceMethod::APG,
        ] {
            assert_eq!(
                method.to_string().parse::<GuidanceMethod>().unwrap(),
                method
            );
        }
        assert_eq!(
            "apg".parse::<GuidanceMethod>().unwrap(),
            GuidanceMethod::APG
        );
    }

    #[test]
    fn unknown_methods_are_refused() {
        for bad in [
            "",
            "cfg:1",
            "zero-star:0.5",
            "zero-star:-1",
            "apg:x",
            "apg:0:2",
            "apg:0:0:-1",
            "apg:0:0:0:0",
        ] {
            assert!(bad.parse::<GuidanceMethod>().is_err(), "{bad}");
        }
    }
}
