//! Training: objectives that turn a batch into a loss and gradients, an optimizer that turns
//! gradients into new parameters, and a state that is saved and resumed exactly.
//!
//! A model in training is an ordinary module on the backend without gradients. An
//! [`Objective`] lifts as much of it to `Autodiff` as it differentiates at a time: the whole model,
//! or one block after the other ([`Recomputation`]), so that memory does not grow with depth and
//! blocks may stay in files. Everything that outlives a step (gradients, moments, averages) is
//! keyed by the parameter's path.
//!
//! 1. [`ImageBatch`], [`Objective`], [`FlowMatching`], [`Autoencoding`]: the learning objectives.
//! 2. [`OptimizerConfig`], [`LearningRate`]: the updates of parameters.
//! 3. [`Trainer`]: the loop, one micro-step at a time; [`TrainingState`]: the contents of a saved
//!    run.

mod autoencoding;
mod auxiliary;
mod batch;
mod check_batch;
mod export;
mod flow_matching;
mod image_models;
mod initialize;
mod lora;
mod module_update;
mod objective;
mod optimizer;
mod parameter_map;
mod state;
mod stored_tensor;
mod text;
mod timesteps;
mod trainer;
mod transformer_pass;

pub use autoencoding::{Autoencoding, AutoencodingConfig, PixelBatch, PixelError};
pub use auxiliary::{CharacterHead, CharacterHeadConfig};
pub use batch::{ImageBatch, PromptBatch};
pub use export::TrainedParts;
pub use flow_matching::{FlowMatching, FlowMatchingConfig};
pub use image_models::ImageModels;
pub use initialize::initialize;
pub use lora::{LoraAdapters, LoraConfig, LoraFlowMatching, LoraModule, LoraOverride};
pub use module_update::{MasterWeights, ParameterUpdate};
pub use objective::{LossTerms, Objective, Outcome};
pub use optimizer::{
    AdafactorConfig, AdamWConfig, LearningRate, LearningRateSchedule, OptimizerConfig,
};
pub use parameter_map::{ParameterMap, parameter_shapes};
pub use state::TrainingState;
pub use timesteps::{LossWeighting, TimestepDistribution};
pub use trainer::{StepReport, Trainer, TrainerConfig, UpdateTime};
pub use transformer_pass::Recomputation;
