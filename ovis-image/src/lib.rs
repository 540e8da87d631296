//! Ovis-Image (AIDC-AI, 7B; [arXiv 2511.22982](https://arxiv.org/abs/2511.22982)) over
//! [Burn](https://burn.dev): text to image on CUDA, wgpu and CPU from one codebase, generic over
//! Burn's `Backend` trait.
//!
//! ```no_run
//! use burn_flex::{Flex, FlexDevice};
//! use ovis_image::{GenerationRequest, LoadOptions, OvisImagePipeline, WeightDtype};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = LoadOptions::new().dtype(WeightDtype::BF16);
//! let pipeline = OvisImagePipeline::<Flex>::from_pretrained("Ovis-Image-7B", options, &FlexDevice)?;
//!
//! let request = GenerationRequest::new("a poster that says HELLO").size(512, 512).seed(7);
//! let output = pipeline.generate(&request)?;
//! output.images[0].image.save("hello.png")?;
//! # Ok(())
//! # }
//! ```
//!
//! # Reading order
//! 1. [`pipeline`]: loading, requests, the sampling loop, results.
//! 2. [`sampling`]: sigmas, samplers, guidance, noise. [`step_cache`]: steps cut short.
//! 3. [`transformer`], [`text_encoder`], [`vae`]: the models; strangers to one another.
//! 4. [`weights`]: layouts, name tables, strict loading. [`lora`]: adapters on the transformer.
//! 5. [`layers`], [`ops`]: what the models are made of. [`config`] and [`error`] are the ground.
//!
//! [`device`] chooses a backend at run time; programs that know theirs do without.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadmeQuickStart;

pub mod backend;
pub mod config;
#[cfg(feature = "flex")]
mod cpu;
pub mod device;
pub mod error;
#[cfg(feature = "hub")]
pub mod hub;
pub mod layers;
pub mod lora;
pub mod ops;
pub mod pipeline;
pub mod sampling;
pub mod step_cache;
pub mod text_encoder;
pub mod transformer;
pub mod vae;
pub mod weights;

pub use backend::OvisOps;
pub use error::{OvisImageError, Phase, Result, WeightsReport};
pub use lora::{LoraFile, LoraReport};
pub use pipeline::{
    GeneratedImage, GenerationOutput, GenerationRequest, LoadOptions, OvisImagePipeline, Progress,
    Seeds, SourceImage, WeightDtype,
};
pub use sampling::{GuidanceMethod, SamplerKind, Schedule, SigmaSpacing};
pub use step_cache::StepCacheKind;
pub use weights::{
    Checkpoint, CheckpointPaths, EmbeddedCheckpoint, Layout, Quantisation, Residency,
};
