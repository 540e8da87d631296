//! Sampling from the command line.

use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::Args;
use ovis_image::sampling::guidance::SkipLayerGuidance;
use ovis_image::{GenerationRequest, GuidanceMethod, Schedule, SigmaSpacing, StepCacheKind};

use super::headings;
use super::record::names::{self, NamedSampler};

/// The arguments for sampler, noise levels, guidance and step cache. Those not given leave the
/// request as it is.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = headings::SAMPLING)]
pub struct SamplingArguments {
    /// Guidance scale [default: 5]
    ///
    /// Higher follows the prompt more closely. 1 and below turn guidance off, which halves the time
    /// of a step. The default is 3 for the embedded model.
    #[arg(
        long,
        visible_alias = "cfg-scale",
        value_name = "SCALE",
        allow_negative_numbers = true
    )]
    pub guidance_scale: Option<f32>,
    /// Sampler [default: euler]
    ///
    /// Samplers: euler, heun, dpmpp-2m, unipc, lcm, euler-ancestral, euler-ancestral:ETA. Names of
    /// AUTOMATIC1111's web UI and of ComfyUI are understood, too: `DPM++ 2M Karras`, `euler_a`.
    #[arg(long, value_name = "NAME", value_parser = names::parse_sampler)]
    pub sampler: Option<NamedSampler>,
    /// Spacing of the noise levels [default: linear]
    ///
    /// Spacings: linear, karras, exponential, beta, simple.
    #[arg(long, value_name = "NAME", value_parser = names::parse_spacing)]
    pub sigmas: Option<SigmaSpacing>,
    /// Timestep shift [default: checkpoint]
    ///
    /// Schedules: checkpoint, dynamic, unshifted, shift:N, mu:N, comfyui, stable-diffusion.cpp.
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub schedule: Option<Schedule>,
    /// Guidance method [default: cfg]
    ///
    /// Methods: cfg, zero-star or zero-star:STEPS, apg or apg:ETA:MOMENTUM:NORM.
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub guidance: Option<GuidanceMethod>,
    /// Apply guidance in a part of the steps only, for example 0.1..0.8
    ///
    /// The other steps take half as long.
    #[arg(long, value_name = "START..STOP", hide_short_help = true)]
    pub guidance_interval: Option<Interval>,
    /// Guide away from the prediction without these blocks, for example double:3,single:12
    #[arg(long, value_name = "BLOCKS", hide_short_help = true)]
    pub skip_layers: Option<Blocks>,
    /// Scale of --skip-layers [default: 2.8]
    #[arg(
        long,
        value_name = "SCALE",
        requires = "skip_layers",
        hide_short_help = true
    )]
    pub skip_layers_scale: Option<f32>,
    /// Part of the steps in which --skip-layers applies [default: 0.01..0.2]
    #[arg(
        long,
        value_name = "START..STOP",
        requires = "skip_layers",
        hide_short_help = true
    )]
    pub skip_layers_interval: Option<Interval>,
    /// Skip most of the transformer in some steps
    ///
    /// A step cache reuses or extrapolates earlier results where little changes. Caches:
    /// first-block:THRESHOLD, tea:THRESHOLD, taylor:INTERVAL or taylor:INTERVAL:ORDER:WARMUP.
    #[arg(long, value_name = "NAME")]
    pub step_cache: Option<StepCacheKind>,
}

/// A part of the steps, written as `START..STOP`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval(pub f64, pub f64);

/// Transformer blocks by kind and index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blocks {
    /// Indices of double blocks.
    pub double: Vec<usize>,
    /// Indices of single blocks.
    pub single: Vec<usize>,
}

impl SamplingArguments {
    /// Applies the given arguments to a request.
    pub fn apply(&self, mut request: GenerationRequest) -> GenerationRequest {
        if let Some(sampler) = self.sampler {
            request = sampler.apply(request);
        }
        if let Some(schedule) = self.schedule {
            request = request.with_schedule(schedule);
        }
        if let Some(spacing) = self.sigmas {
            request = request.with_sigma_spacing(spacing);
        }
        if let Some(scale) = self.guidance_scale {
            request = request.with_guidance_scale(scale);
        }
        if let Some(method) = self.guidance {
            request = request.with_guidance_method(method);
        }
        if let Some(Interval(start, stop)) = self.guidance_interval {
            request = request.with_guidance_interval(start, stop);
        }
        if let Some(Blocks { double, single }) = self.skip_layers.clone() {
            let mut skip_layers = SkipLayerGuidance::new(double, single);
            if let Some(scale) = self.skip_layers_scale {
                skip_layers = skip_layers.with_scale(scale);
            }
            if let Some(Interval(start, stop)) = self.skip_layers_interval {
                skip_layers = skip_layers.with_interval(start, stop);
            }
            request = request.with_skip_layers(skip_layers);
        }
        if let Some(cache) = self.step_cache {
            request = request.with_step_cache(cache);
        }
        request
    }
}

impl FromStr for Interval {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let bounds = text.split_once("..").and_then(|(start, stop)| {
            Some(Self(start.trim().parse().ok()?, stop.trim().parse().ok()?))
        });
        bounds.with_context(|| format!("`{text}` is not START..STOP"))
    }
}

impl FromStr for Blocks {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut blocks = Self::default();
        for name in text.split(',') {
            let (kind, index) = name.trim().split_once(':').unwrap_or_default();
            let list = match kind {
                "double" => &mut blocks.double,
                "single" => &mut blocks.single,
                _ => bail!("`{name}` is neither double:N nor single:N"),
            };
            let index = index.parse();
            list.push(index.with_context(|| format!("`{name}` does not name a block"))?);
        }
        Ok(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_and_blocks_are_read() {
        assert_eq!("0.1..0.8".parse::<Interval>().unwrap(), Interval(0.1, 0.8));
        let blocks = "double:1,single:12, single:3".parse::<Blocks>().unwrap();
        assert_eq!((blocks.double, blocks.single), (vec![1], vec![12, 3]));
        for bad in ["", "0.1", "a..b", ".."] {
            assert!(bad.parse::<Interval>().is_err(), "{bad}");
        }
        for bad in ["", "1", "double:", "triple:1", "single:-1", "double:1,"] {
            assert!(bad.parse::<Blocks>().is_err(), "{bad}");
        }
    }
}
