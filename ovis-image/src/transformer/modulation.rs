use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::silu;
use burn::tensor::backend::Backend;

use crate::config::TransformerConfig;
use crate::kernels;
use crate::layers::LinearLayer;

/// Modulation by adaLN (arXiv 2212.09748): gives each sub-layer a shift, a scale and a gate
/// computed from the conditioning vector.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct Modulation<B: Backend> {
    /// Projection `hidden -> 3 * sub-layers * hidden`, with rows (shift, scale, gate) per
    /// sub-layer.
    pub linear: LinearLayer<B>,
}

/// Shift, scale and gate of one sub-layer, each `[batch, 1, hidden]`. A batch of one serves every
/// item of the hidden states.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ModulationParams<B: Backend> {
    /// Shift, added after scaling.
    pub shift: Tensor<B, 3>,
    /// Scale; the normalized input is multiplied by one plus this.
    pub scale: Tensor<B, 3>,
    /// Gate, which multiplies the sub-layer's update of the residual.
    pub gate: Tensor<B, 3>,
}

impl<B: Backend> Modulation<B> {
    /// Creates the modulation of `sub_layers` sub-layers with lazy random weights.
    pub fn new(hidden: usize, sub_layers: usize, device: &B::Device) -> Self {
        Self {
            linear: LinearLayer::new(hidden, 3 * sub_layers * hidden, device),
        }
    }

    /// Computes `linear(silu(conditioning))`, split into one entry per sub-layer.
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
    /// Computes `(1 + scale) * layer_norm(x) + shift` in f32 and returns the input's dtype.
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

    /// Computes `residual + gate * update`.
    ///
    /// # Shapes
    /// - `residual`, `update` and output: `[batch, tokens, hidden]`
    pub fn add_gated(&self, residual: Tensor<B, 3>, update: Tensor<B, 3>) -> Tensor<B, 3> {
        kernels::add_gated(residual, self.gate.clone(), update)
    }
}

impl<B: Backend> ModulationParams<B> {
    /// Selects the modulation of one batch item, `[1, 1, hidden]` each.
    pub fn item(&self, index: usize) -> Self {
        let item = |tensor: &Tensor<B, 3>| tensor.clone().narrow(0, index, 1);
        Self {
            shift: item(&self.shift),
            scale: item(&self.scale),
            gate: item(&self.gate),
        }
    }
}
