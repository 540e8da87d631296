use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::silu;
use burn::tensor::backend::Backend;

use crate::layers::LinearLayer;

/// Timestep embedder, which maps a sinusoid to the conditioning vector: Linear, SiLU, Linear.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct TimestepEmbedder<B: Backend> {
    /// Layer from the sinusoid to the hidden width.
    pub input: LinearLayer<B>,
    /// Layer that keeps the hidden width.
    pub output: LinearLayer<B>,
}

impl<B: Backend> TimestepEmbedder<B> {
    /// Creates an embedder with lazy random weights.
    pub fn new(channels: usize, hidden: usize, device: &B::Device) -> Self {
        Self {
            input: LinearLayer::new(channels, hidden, device),
            output: LinearLayer::new(hidden, hidden, device),
        }
    }

    /// Projects a sinusoid to the conditioning vector.
    ///
    /// # Shapes
    /// - `sinusoid`: `[batch, channels]`
    /// - output, the conditioning: `[batch, hidden]`
    pub fn forward(&self, sinusoid: Tensor<B, 2>) -> Tensor<B, 2> {
        self.output.forward(silu(self.input.forward(sinusoid)))
    }
}
