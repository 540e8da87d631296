use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::kernels;
use crate::layers::LinearLayer;

/// SwiGLU feed-forward layer with biases: `down(silu(gate(x)) * up(x))` (arXiv 2002.05202; authors:
/// `YakMLP`).
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct FeedForward<B: Backend> {
    /// Projection to the inner width, passed through SiLU.
    pub gate: LinearLayer<B>,
    /// Projection to the inner width, multiplied with the gate.
    pub up: LinearLayer<B>,
    /// Projection back to the residual width.
    pub down: LinearLayer<B>,
}

impl<B: Backend> FeedForward<B> {
    /// Creates a feed-forward layer with lazy random weights.
    pub fn new(hidden: usize, inner: usize, device: &B::Device) -> Self {
        Self {
            gate: LinearLayer::new(hidden, inner, device),
            up: LinearLayer::new(hidden, inner, device),
            down: LinearLayer::new(inner, hidden, device),
        }
    }

    /// Applies `down(silu(gate(x)) * up(x))`.
    ///
    /// # Shapes
    /// - `hidden_states` and output: `[batch, tokens, hidden]`
    pub fn forward(&self, hidden_states: Tensor<B, 3>) -> Tensor<B, 3> {
        let gate = self.gate.forward(hidden_states.clone());
        let up = self.up.forward(hidden_states);
        self.down.forward(kernels::swiglu(gate, up))
    }
}
