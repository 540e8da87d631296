use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{Modulation, ModulationParams, QkNorm};
use crate::config::TransformerConfig;
use crate::kernels;
use crate::layers::LinearLayer;
use crate::ops::{RotaryTable, clip_f16};

/// Single-stream block over the joint sequence, with attention and SwiGLU in parallel (arXiv
/// 2302.05442).
#[derive(Module, Debug)]
pub struct SingleStreamBlock<B: Backend> {
    /// Modulation of the block's single sub-layer.
    pub modulation: Modulation<B>,
    /// Fused input projection `hidden -> 3 * hidden + 2 * inner`, rows (query, key, value, up,
    /// gate).
    pub qkv_mlp: LinearLayer<B>,
    /// Norms of the query and key heads.
    pub qk_norm: QkNorm<B>,
    /// Output projection `hidden + inner -> hidden`, columns (attention, MLP).
    pub output: LinearLayer<B>,
    /// Set if the weights are loaded for each forward and released afterwards.
    pub(super) streamed: bool,
}

impl<B: Backend> SingleStreamBlock<B> {
    /// Creates a block with lazy random weights.
    pub fn new(config: &TransformerConfig, device: &B::Device) -> Self {
        let (hidden, inner) = (config.hidden_size(), config.mlp_hidden_size());
        Self {
            modulation: Modulation::new(hidden, 1, device),
            qkv_mlp: LinearLayer::new(hidden, 3 * hidden + 2 * inner, device),
            qk_norm: QkNorm::new(config, device),
            output: LinearLayer::new(hidden + inner, hidden, device),
            streamed: false,
        }
    }

    /// Adds the gated projection of attention and SwiGLU, which both read the modulated input.
    ///
    /// # Shapes
    /// - `hidden_states` and output: `[batch, text + image tokens, hidden]`
    /// - `conditioning`: `[batch, hidden]`
    pub fn forward(
        &self,
        hidden_states: Tensor<B, 3>,
        conditioning: Tensor<B, 2>,
        rope: &RotaryTable<B>,
    ) -> Tensor<B, 3> {
        self.forward_modulated(hidden_states, &self.modulation(conditioning), rope)
    }

    /// Computes the modulation of the block's single sub-layer.
    ///
    /// # Shapes
    /// - `conditioning`: `[batch, hidden]`
    pub fn modulation(&self, conditioning: Tensor<B, 2>) -> ModulationParams<B> {
        let [modulation] = self.modulation.forward(conditioning);
        modulation
    }

    /// Applies the block like [`forward`](Self::forward), with a modulation computed before.
    ///
    /// # Shapes
    /// Same as [`forward`](Self::forward).
    pub fn forward_modulated(
        &self,
        hidden_states: Tensor<B, 3>,
        modulation: &ModulationParams<B>,
        rope: &RotaryTable<B>,
    ) -> Tensor<B, 3> {
        let [_, _, hidden] = hidden_states.dims();
        let projected = self
            .qkv_mlp
            .forward(modulation.normalize(hidden_states.clone()));
        let inner = (projected.dims()[2] - 3 * hidden) / 2;
        let sizes = [hidden, hidden, hidden, inner, inner];
        let [query, key, value, up, gate] = kernels::split(projected, 2, sizes);
        let attended = self.qk_norm.heads([query, key, value], rope).attend();

        let update = self
            .output
            .forward(kernels::join(attended, kernels::swiglu(gate, up), 2));
        clip_f16(modulation.add_gated(hidden_states, update))
    }
}
