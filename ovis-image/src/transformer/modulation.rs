use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::silu;
use burn::tensor::backend::Backend;

use crate::config::TransformerConfig;
use crate::kernels;
use crate::layers::LinearLayer;

/// adaLN (arXiv 2212.09748): the conditioning gives each sub-layer a shift, a scale and a gate.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct Modulation<B: Backend> {
    /// `hidden -> 3 * sub-layers * hidden`, rows (shift, scale, gate) per sub-layer.
    pub linear: LinearLayer<B>,
}

/// Shift, scale and gate of one sub-layer, each `[batch, 1, hidden]`; with a batch of one they serve
/// every item of the hidden states.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ModulationParams<B: Backend> {
    /// Added after scaling.
    pub shift: Tensor<B, 3>,
    /// The normalized input is multiplied by one plus this.
    pub scale: Tensor<B, 3>,
    /// Multiplies what the sub-layer adds to the residual.
    pub gate: Tensor<B, 3>,
}

impl<B: Backend> Modulation<B> {
    /// Modulation of `sub_layers` sub-layers, with lazy random weights.
    pub fn new(hidden: usize, sub_layers: usize, device: &B::Device) -> Self {
        Self {
            linear: LinearLayer::new(hidden, 3 * sub_layers * hidden, device),
        }
    }

    /// `linear(silu(conditioning))`, one entry per sub-layer.
    ///
    /// # Shapes
    /// - `conditioning`: `[batch, hidden]`
    pub fn forward<const SUB_LAYERS: usize>(
        &self,
        conditioning: Tensor<B, 2>,
    ) -> [ModulationParams<B>; SUB_LAYERS] {
        let [_, hidden] = conditioning.dims();
        let params = self
            .linear
            .forward(silu(conditioning))
            .unsqueeze_dim::<3>(1);
        std::array::from_fn(|layer| {
            let part = |index: usize| {
                params
                    .clone()
                    .narrow(2, (3 * layer + index) * hidden, hidden)
            };
            ModulationParams {
                shift: part(0),
                scale: part(1),
                gate: part(2),
            }
        })
    }
}

impl<B: Backend> ModulationParams<B> {
    /// `(1 + scale) * layer_norm(x) + shift`, computed in f32, in the input's dtype.
    ///
    /// # Shapes
    /// - `hidden_states` and output: `[batch, tokens, hidden]`
    pub fn normalize(&self, hidden_states: Tensor<B, 3>) -> Tensor<B, 3> {
        kernels::modulated_norm(
            hidden_states,
            self.shift.clone(),
            self.scale.clone(),
            TransformerConfig::NORM_EPS,
        )
    }

    /// `residual + gate * update`.
    ///
    /// # Shapes
    /// - `residual`, `update` and output: `[batch, tokens, hidden]`
    pub fn add_gated(&self, residual: Tensor<B, 3>, update: Tensor<B, 3>) -> Tensor<B, 3> {
        kernels::add_gated(residual, self.gate.clone(), update)
    }
}

impl<B: Backend> ModulationParams<B> {
    /// Those of one batch item, `[1, 1, hidden]` each.
    pub fn item(&self, index: usize) -> Self {
        let item = |tensor: &Tensor<B, 3>| tensor.clone().narrow(0, index, 1);
        Self {
            shift: item(&self.shift),
            scale: item(&self.scale),
            gate: item(&self.gate),
        }
    }
}
