//! Forward and backward pass of the transformer, with one graph or block by block.

mod blocks;
mod whole;

pub(super) use blocks::{Parts, walk};

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use serde::{Deserialize, Serialize};

use super::module_update::Trained;
use super::{CharacterHead, ParameterMap, ParameterUpdate};
use crate::transformer::OvisImageTransformer;

/// Values kept from the forward pass for the backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Recomputation {
    /// Keeps everything that the gradients need: fastest, and memory grows with depth.
    #[default]
    None,
    /// Keeps the input of each block and computes the block again in the backward pass, so that
    /// only one block's graph exists at a time. Needs a third more arithmetic.
    Blocks,
}

/// Inputs of a pass, in the model's dtype.
pub(super) struct PassInput<B: Backend> {
    /// Noisy packed latents, `[batch, tokens, channels]`.
    pub(super) latents: Tensor<B, 3>,
    /// Prompt embeddings, `[batch, text tokens, context]`.
    pub(super) prompt_embeds: Tensor<B, 3>,
    pub(super) timesteps: Vec<f32>,
    pub(super) grid: [usize; 2],
}

/// Losses that a pass differentiates. `prediction` is the velocity in f32, `image` the image stream
/// after the double blocks.
pub(super) trait PassLoss<A: AutodiffBackend> {
    /// Loss of the prediction, `[1]`.
    fn velocity(&mut self, prediction: Tensor<A, 3>) -> Tensor<A, 1>;

    /// Weighted loss of the image stream, `[1]`, with the head that is trained for it.
    fn auxiliary(&mut self, head: &CharacterHead<A>, image: Tensor<A, 3>) -> Option<Tensor<A, 1>>;
}

/// Trained parts of a pass.
pub(super) struct PassModels<'a, B: Backend> {
    pub(super) transformer: &'a OvisImageTransformer<B>,
    pub(super) auxiliary: Option<&'a CharacterHead<B>>,
    /// Parameters of the transformer that are trained.
    pub(super) trained: Trained,
}

/// Gradients computed by a pass.
pub(super) struct PassGradients<B: Backend> {
    /// Gradients by path, starting with `transformer` or `auxiliary`.
    pub(super) parameters: ParameterMap<B>,
    /// Gradient of the prompt embeddings, for the encoder behind them.
    pub(super) prompt_embeds: Tensor<B, 3>,
}

/// Receiver of gradients, one part of the models after another.
pub(super) trait GradientSink<B: Backend> {
    /// Takes the gradients of a part, by path in the models. Returns the part, which may have
    /// changed.
    fn part<M: Module<B>>(&mut self, path: &str, part: M, gradients: ParameterMap<B>) -> M;
}

/// Collects gradients.
impl<B: Backend> GradientSink<B> for ParameterMap<B> {
    fn part<M: Module<B>>(&mut self, _path: &str, part: M, gradients: Self) -> M {
        self.add_all(gradients);
        part
    }
}

/// Updates each part at once.
impl<B: Backend> GradientSink<B> for ParameterUpdate<'_, B> {
    fn part<M: Module<B>>(&mut self, path: &str, part: M, gradients: ParameterMap<B>) -> M {
        self.apply(path, part, gradients)
    }
}

/// Runs a pass and differentiates it.
pub(super) fn differentiate<A: AutodiffBackend>(
    models: &PassModels<'_, A::InnerBackend>,
    input: PassInput<A::InnerBackend>,
    recomputation: Recomputation,
    loss: &mut impl PassLoss<A>,
) -> PassGradients<A::InnerBackend> {
    match recomputation {
        Recomputation::None => whole::differentiate(models, input, loss),
        Recomputation::Blocks => blocks::differentiate(models, input, loss),
    }
}
