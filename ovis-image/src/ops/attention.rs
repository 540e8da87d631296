use burn::tensor::backend::Backend;
use burn::tensor::module;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, Tensor};

/// Which keys a query may see.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AttentionMask<B: Backend> {
    /// All of them.
    Full,
    /// Those at its own position and before.
    Causal,
    /// True where a key is hidden: `[batch, 1 or heads, queries, keys]`.
    Hidden(Tensor<B, 4, Bool>),
}

/// Heads wider than this have no fused kernel on the GPU, and the scores of all queries at once
/// would not fit: the VAE's single head is 512 wide over 16,384 pixels at 1024x1024.
const WIDEST_FUSED_HEAD: usize = 256;
/// Queries per slice for such heads.
const QUERY_CHUNK: usize = 1024;

/// `softmax(Q K^T / sqrt(head_dim)) V` (arXiv 1706.03762), with neighboring query heads sharing a
/// key head where there are fewer of those (arXiv 2305.13245).
///
/// # Shapes
/// - `query` and output: `[batch, heads, queries, head_dim]`
/// - `key`, `value`: `[batch, kv_heads, keys, head_dim]`
pub fn attention<B: Backend>(
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
    mask: AttentionMask<B>,
) -> Tensor<B, 4> {
    let [_, heads, queries, head_dim] = query.dims();
    let (key, value) = (repeat_heads(key, heads), repeat_heads(value, heads));
    if head_dim > WIDEST_FUSED_HEAD && queries > QUERY_CHUNK && matches!(mask, AttentionMask::Full)
    {
        // Queries do not see each other, so slices of them are exact.
        let slices = query
            .split(QUERY_CHUNK, 2)
            .into_iter()
            .map(|query| attend(query, key.clone(), value.clone(), AttentionMask::Full))
            .collect();
        return Tensor::cat(slices, 2);
    }
    attend(query, key, value, mask)
}

/// Gives each query head its key or value head: Burn's attention has no grouped form.
fn repeat_heads<B: Backend>(tensor: Tensor<B, 4>, heads: usize) -> Tensor<B, 4> {
    let [batch, kv_heads, tokens, head_dim] = tensor.dims();
    if kv_heads == heads {
        return tensor;
    }
    tensor
        .unsqueeze_dim::<5>(2)
        .repeat_dim(2, heads / kv_heads)
        .reshape([batch, heads, tokens, head_dim])
}

fn attend<B: Backend>(
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
    mask: AttentionMask<B>,
) -> Tensor<B, 4> {
    // The default scale is 1/sqrt(head_dim); giving it would force Burn's unfused path.
    let mut options = AttentionModuleOptions::default();
    let hidden = match mask {
        AttentionMask::Full => None,
        AttentionMask::Causal => {
            options.is_causal = true;
            None
        }
        AttentionMask::Hidden(hidden) => Some(hidden),
    };
    module::attention(query, key, value, hidden, None, options)
}
