use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::silu;
use burn::tensor::backend::Backend;

use crate::config::TransformerConfig;
use crate::kernels;
use crate::layers::LinearLayer;

/// Final layer: the last modulated norm and the projection to latent patches.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct FinalLayer<B: Backend> {
    /// Projection to the modulation, `hidden -> 2 * hidden`, rows (shift, scale).
    pub modulation: LinearLayer<B>,
    /// Projection to patches, `hidden -> channels of a token`.
    pub output: LinearLayer<B>,
}

/// Shift and scale of the last norm, each `[batch, 1, hidden]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FinalModulation<B: Backend> {
    /// Shift, added after scaling.
    pub shift: Tensor<B, 3>,
    /// Scale; the normalized input is multiplied by one plus this.
    pub scale: Tensor<B, 3>,
}

impl<B: Backend> FinalModulation<B> {
    /// Selects the modulation of one batch item.
    pub fn item(&self, index: usize) -> Self {
        Self {
            shift: self.shift.clone().narrow(0, index, 1),
            scale: self.scale.clone().narrow(0, index, 1),
        }
    }
}

impl<B: Backend> FinalLayer<B> {
    /// Creates a final layer with lazy random weights.
    pub fn new(hidden: usize, channels: usize, device: &B::Device) -> Self {
        Self {
            modulation: LinearLayer::new(hidden, 2 * hidden, device),
            output: LinearLayer::new(hidden, channels, device),
        }
    }

    /// Projects the modulated image tokens to latent patches.
    ///
    /// # Shapes
    /// - `hidden_states`: `[batch, image tokens, hidden]`
    /// - `conditioning`: `[batch, hidden]`
    /// - output: `[batch, image tokens, channels]`
    pub fn forward(&self, hidden_states: Tensor<B, 3>, conditioning: Tensor<B, 2>) -> Tensor<B, 3> {
        self.forward_modulated(hidden_states, &self.modulation(conditioning))
    }

    /// Computes the norm's shift and scale.
    ///
    /// # Shapes
    /// - `conditioning`: `[batch, hidden]`
    pub fn modulation(&self, conditioning: Tensor<B, 2>) -> FinalModulation<B> {
        let [_, hidden] = conditioning.dims();
        let params = self
            .modulation
            .forward(silu(conditioning))
            .unsqueeze_dim::<3>(1);
        FinalModulation {
            shift: params.clone().narrow(2, 0, hidden),
            scale: params.narrow(2, hidden, hidden),
        }
    }

    /// Applies the layer like [`forward`](Self::forward), with a modulation computed before.
    ///
    /// # Shapes
    /// Same as [`forward`](Self::forward).
    pub fn forward_modulated(
        &self,
        hidden_states: Tensor<B, 3>,
        modulation: &FinalModulation<B>,
    ) -> Tensor<B, 3> {
        self.output.forward(kernels::modulated_norm(
            hidden_states,
            modulation.shift.clone(),
            modulation.scale.clone(),
            TransformerConfig::NORM_EPS,
        ))
    }
}
