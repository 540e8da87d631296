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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestBackend, TestTensor, assert_close, random, values};

    const TOKENS: usize = 5;
    const SHAPE: [usize; 4] = [2, 2, TOKENS, 4];

    fn qkv() -> [TestTensor<4>; 3] {
        [1, 2, 3].map(|seed| random(seed, SHAPE))
    }

    /// The weights of the keys in each row of the output: what comes of unit vectors as values.
    fn weights(mask: AttentionMask<TestBackend>) -> Vec<f32> {
        let [query, key, _] = qkv();
        let units = TestTensor::<2>::eye(TOKENS, &Default::default());
        let units = units.reshape([1, 1, TOKENS, TOKENS]).repeat(&[2, 2, 1, 1]);
        values(attention(query, key, units, mask))
    }

    #[test]
    fn rows_are_convex_combinations_of_the_values() {
        for mask in [AttentionMask::Full, AttentionMask::Causal] {
            for row in weights(mask).chunks_exact(TOKENS) {
                assert!(row.iter().all(|weight| *weight >= 0.0), "{row:?}");
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{row:?}");
            }
        }
    }

    #[test]
    fn weights_are_the_softmax_of_scaled_products() {
        let [query, key, _] = qkv();
        let (query, key) = (values(query), values(key));
        let first = |list: &[f32], token: usize| list[4 * token..][..4].to_vec();
        let scores: Vec<f64> = (0..TOKENS)
            .map(|token| {
                let (query, key) = (first(&query, 0), first(&key, token));
                let products = query.iter().zip(&key).map(|(a, b)| f64::from(a * b));
                (products.sum::<f64>() / 2.0).exp()
            })
            .collect();
        let sum: f64 = scores.iter().sum();
        let row = &weights(AttentionMask::Full)[..TOKENS];
        for (weight, score) in row.iter().zip(&scores) {
            assert!((f64::from(*weight) - score / sum).abs() < 1e-6);
        }
    }

    #[test]
    fn a_causal_mask_does_not_look_ahead() {
        let [query, key, value] = qkv();
        let before = |tensor: &TestTensor<4>| tensor.clone().narrow(2, 0, 3);
        let whole = attention(
            query.clone(),
            key.clone(),
            value.clone(),
            AttentionMask::Causal,
        );
        let alone = attention(
            before(&query),
            before(&key),
            before(&value),
            AttentionMask::Causal,
        );
        assert_close(before(&whole), alone, 1e-6);
        for (index, row) in weights(AttentionMask::Causal)
            .chunks_exact(TOKENS)
            .enumerate()
        {
            assert!(
                row[index % TOKENS + 1..]
                    .iter()
                    .all(|weight| *weight == 0.0)
            );
        }
    }

    #[test]
    fn hidden_keys_have_no_weight() {
        let hidden = [false, true, false, false, true];
        let data = burn::tensor::TensorData::new(hidden.to_vec(), [1, 1, 1, TOKENS]);
        let mask = Tensor::<TestBackend, 4, Bool>::from_data(data, &Default::default());
        let mask = AttentionMask::Hidden(mask.expand([2, 1, TOKENS, TOKENS]));
        for row in weights(mask).chunks_exact(TOKENS) {
            for (weight, hidden) in row.iter().zip(hidden) {
                assert_eq!(*weight == 0.0, hidden);
            }
        }
    }

    #[test]
    fn neighboring_query_heads_share_a_key_head() {
        let [query, _, _] = qkv();
        let [key, value]: [TestTensor<4>; 2] = [8, 9].map(|seed| random(seed, [2, 1, TOKENS, 4]));
        let twice = |tensor: &TestTensor<4>| Tensor::cat(vec![tensor.clone(), tensor.clone()], 1);
        let grouped = attention(
            query.clone(),
            key.clone(),
            value.clone(),
            AttentionMask::Full,
        );
        let full = attention(query, twice(&key), twice(&value), AttentionMask::Full);
        assert_close(grouped, full, 0.0);
    }

    #[test]
    fn wide_heads_are_computed_in_slices_of_queries() {
        // More queries than a slice, and a head wider than a fused kernel takes.
        let (queries, width) = (QUERY_CHUNK + 3, WIDEST_FUSED_HEAD + 4);
        let query: TestTensor<4> = random(1, [1, 1, queries, width]);
        let [key, value]: [TestTensor<4>; 2] = [2, 3].map(|seed| random(seed, [1, 1, 2, width]));
        let sliced = attention(
            query.clone(),
            key.clone(),
            value.clone(),
            AttentionMask::Full,
        );
        let whole = attend(query, key, value, AttentionMask::Full);
        assert_close(sliced, whole, 1e-6);
    }
}
