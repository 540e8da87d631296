//! Prompt embeddings of a text encoder that is trained together with the transformer.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::text_encoder::{PREFIX_TOKENS, TextEncoder, TextEncoderInput};

/// Computes `[batch, text tokens, context]` with zeros after the tokens, in the transformer's
/// dtype. Padding stands on the right and attention is causal, so real rows do not see it.
pub(super) fn encode<B: Backend>(
    encoder: &TextEncoder<B>,
    input_ids: Tensor<B, 2, burn::tensor::Int>,
    real: Tensor<B, 3>,
) -> Tensor<B, 3> {
    let [_, tokens] = input_ids.dims();
    let hidden_states = encoder.forward(TextEncoderInput {
        input_ids,
        attention_mask: None,
    });
    let dtype = hidden_states.dtype();
    hidden_states.narrow(1, PREFIX_TOKENS, tokens - PREFIX_TOKENS) * real.cast(dtype)
}
