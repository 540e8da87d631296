use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::silu;
use burn::tensor::backend::Backend;

use super::modulation::modulated_norm;
use crate::layers::LinearLayer;

/// The last modulated norm and the projection to latent patches.
#[derive(Module, Debug)]
pub struct FinalLayer<B: Backend> {
    /// `hidden -> 2 * hidden`, rows (shift, scale).
    pub modulation: LinearLayer<B>,
    /// `hidden -> channels of a token`.
    pub output: LinearLayer<B>,
}

impl<B: Backend> FinalLayer<B> {
    /// A final layer with lazy random weights.
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
        let [_, hidden] = conditioning.dims();
        let params = self
            .modulation
            .forward(silu(conditioning))
            .unsqueeze_dim::<3>(1);
        let shift = params.clone().narrow(2, 0, hidden);
        let scale = params.narrow(2, hidden, hidden);
        self.output
            .forward(modulated_norm(hidden_states, shift, scale))
    }
}
