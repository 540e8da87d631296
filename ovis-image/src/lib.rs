//! Text-to-image generation with Ovis-Image (AIDC-AI, 7B; [arXiv
//! 2511.22982](https://arxiv.org/abs/2511.22982)) on [Burn](https://burn.dev). One codebase,
//! generic over Burn's `Backend` trait, runs on CUDA, wgpu and CPU.
//!
//! ```no_run
//! use burn_flex::{Flex, FlexDevice};
//! use ovis_image::{GenerationRequest, LoadOptions, OvisImagePipeline, WeightDtype};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = LoadOptions::new().with_dtype(WeightDtype::BF16);
//! // The folder of a checkpoint. The feature `hub` adds downloads from the Hugging Face Hub.
//! let folder = "Ovis-Image-7B";
//! let pipeline = OvisImagePipeline::<Flex>::from_pretrained(folder, options, &FlexDevice)?;
//!
//! let request = GenerationRequest::new("a poster that says HELLO")
//!     .with_size(512, 512)
//!     .with_seed(7);
//! let output = pipeline.generate(&request)?;
//! output.images[0].image.save("hello.png")?;
//! # Ok(())
//! # }
//! ```
//!
//! [`GenerationRequest`] has all settings of an image, and [`LoadOptions`] those of loading.
//! [`OvisImagePipeline::generate_with`] reports progress and can be canceled.
//!
//! # Modules
//! 1. [`pipeline`]: loading, the sampling loop, results. [`request`]: load options, requests and
//!    settings. [`images`]: source images, masks and previews. [`error`]: all errors.
//! 2. [`checkpoint`]: layouts of files, inspecting and converting them. `hub` (with the feature of
//!    that name): downloads. [`lora`]: adapters on the transformer. [`memory`]: estimates, and
//!    plans that fit a limit.
//! 3. [`sampling`]: sigmas, samplers, guidance, noise. [`step_cache`]: skipping parts of steps.
//! 4. [`transformer`], [`text_encoder`], [`vae`]: the models, which do not depend on one another.
//!    [`config`]: their configurations.
//! 5. [`weights`]: name tables, strict loading. [`tensor_file`]: safetensors and GGUF files.
//!    [`parameters`]: paths, shapes and roles of the models' parameters.
//! 6. [`layers`], [`kernels`], [`ops`]: the building blocks of the models.
//! 7. `training` (feature `train`): objectives, optimizer, exact resume. It is new, and will grow.
//! 8. [`evaluation`]: metrics of benchmarks, as pure functions.
//!
//! [`device`] chooses a backend at run time. Programs with a fixed backend do not need it.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadmeQuickStart;

pub mod checkpoint;
pub mod config;
#[cfg(feature = "flex")]
mod cpu;
pub mod device;
pub mod error;
pub mod evaluation;
#[cfg(feature = "hub")]
pub mod hub;
pub mod images;
pub mod kernels;
pub mod layers;
mod loaded_models;
pub mod lora;
pub mod memory;
pub mod ops;
pub mod parameters;
pub mod pipeline;
pub mod request;
pub mod sampling;
pub mod step_cache;
pub mod tensor_file;
#[cfg(test)]
mod testing;
pub mod text_encoder;
#[cfg(feature = "train")]
pub mod training;
pub mod transformer;
pub mod vae;
pub mod weights;

pub use checkpoint::{Checkpoint, CheckpointPaths, EmbeddedCheckpoint, Layout};
pub use config::WeightDtype;
pub use error::{OvisImageError, Phase, Result};
pub use images::SourceImage;
pub use lora::{ActiveLora, LoraFile, LoraFormat, LoraReport};
pub use pipeline::{GeneratedImage, GenerationOutput, OvisImagePipeline, Progress};
pub use request::{
    GenerationParameters, GenerationRequest, GenerationSettings, LoadOptions, SecondPass,
};
pub use sampling::{GuidanceMethod, SamplerKind, Schedule, SigmaSpacing};
pub use step_cache::StepCacheKind;
pub use tensor_file::Quantization;
pub use weights::Residency;
