use burn::tensor::backend::Backend;
use burn::tensor::module;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, DType, Tensor};

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

/// Heads wider than this have no fused kernel: the VAE's single head is 512 wide.
const WIDEST_FUSED_HEAD: usize = 256;
/// Scores of one slice of queries, in bytes: the largest buffer that every WebGPU adapter binds.
const SCORES_LIMIT: usize = 128 << 20;
/// Slices are multiples of this, which the tiles of matrix products divide.
const QUERY_TILE: usize = 128;

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
    let [_, heads, _, head_dim] = query.dims();
    let (key, value) = (repeat_heads(key, heads), repeat_heads(value, heads));
    // cubek's fused kernels hold queries, keys and values in f16, so what is not f16 would lose
    // digits and turn infinite above 65504; and they read a mask as if every head had its own.
    let fused = query.dtype() == DType::F16
        && head_dim <= WIDEST_FUSED_HEAD
        && !matches!(mask, AttentionMask::Hidden(_));
    if fused {
        // They also read strided tensors wrongly, see docs/upstream.md.
        let [query, key, value] = [query, key, value].map(contiguous);
        // A scale, even the default one, would rule them out.
        return attend(query, key, value, mask, None);
    }
    attend_in_slices(query, key, value, mask, SCORES_LIMIT)
}

/// Attends with scores that exist as tensors, for as many queries at once as `scores_limit` bytes
/// allow. Queries do not see each other, so slices of them are exact.
fn attend_in_slices<B: Backend>(
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
    mask: AttentionMask<B>,
    scores_limit: usize,
) -> Tensor<B, 4> {
    let [batch, heads, queries, head_dim] = query.dims();
    let (query, scale) = scaled_in_part(query, 1.0 / (head_dim as f64).sqrt());
    let scale = Some(scale);
    let scores_of_a_query = batch * heads * key.dims()[2] * query.dtype().size();
    let tiles = scores_limit / (scores_of_a_query * QUERY_TILE).max(1);
    let most = tiles.max(1) * QUERY_TILE;
    if queries <= most || !matches!(mask, AttentionMask::Full) {
        return attend(query, key, value, mask, scale);
    }
    // Of about one size, so that one tuned kernel serves them all.
    let slice = queries
        .div_ceil(queries.div_ceil(most))
        .next_multiple_of(QUERY_TILE);
    let slices = query
        .split(slice, 2)
        .into_iter()
        .map(|query| {
            let (key, value) = (key.clone(), value.clone());
            attend(query, key, value, AttentionMask::Full, scale)
        })
        .collect();
    Tensor::cat(slices, 2)
}

/// Queries times a part of the scale, and the rest of it. Burn scales scores after the product: in
/// f16 those beyond 65504 would be infinite by then, and a row of nothing but negative ones would
/// become zeros. A power of two leaves all digits as they are.
fn scaled_in_part<B: Backend>(query: Tensor<B, 4>, scale: f64) -> (Tensor<B, 4>, f64) {
    if query.dtype() != DType::F16 {
        return (query, scale);
    }
    let power = scale.log2().floor().exp2();
    (query * power, scale / power)
}

/// The same tensor in row-major order, copied only if it is not. A flat tensor has one layout.
fn contiguous<B: Backend>(tensor: Tensor<B, 4>) -> Tensor<B, 4> {
    let dims = tensor.dims();
    tensor
        .reshape([dims.iter().product::<usize>()])
        .reshape(dims)
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
    scale: Option<f64>,
) -> Tensor<B, 4> {
    let mut options = AttentionModuleOptions {
        scale,
        ..Default::default()
    };
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

    /// Scores of -80,000 and -79,200 before the scale, which f16 does not hold.
    #[cfg(feature = "flex")]
    #[test]
    fn scores_beyond_f16_keep_their_order() {
        use burn::tensor::TensorData;
        use burn_flex::{Flex, FlexDevice};

        const WIDTH: usize = 512;
        let rows = |rows: &[f32]| {
            let values: Vec<f32> = rows.iter().flat_map(|row| [*row; WIDTH]).collect();
            let data = TensorData::new(values, [1, 1, rows.len(), WIDTH]);
            Tensor::<Flex, 4>::from_data(data, (&FlexDevice, DType::F16))
        };
        let (query, key, value) = (rows(&[12.5]), rows(&[-12.5, -12.375]), rows(&[1.0, 2.0]));
        let output = attention(query, key, value, AttentionMask::Full);
        let output: Vec<f32> = output.into_data().iter::<f32>().collect();
        assert_eq!(output, [2.0; WIDTH]);
    }

    #[test]
    fn slices_of_queries_give_what_all_queries_at_once_give() {
        let queries = 2 * QUERY_TILE + 3;
        let query: TestTensor<4> = random(1, [1, 2, queries, 4]);
        let [key, value]: [TestTensor<4>; 2] = [2, 3].map(|seed| random(seed, [1, 2, 5, 4]));
        let attend = |limit| {
            let (query, key, value) = (query.clone(), key.clone(), value.clone());
            attend_in_slices(query, key, value, AttentionMask::Full, limit)
        };
        assert_close(attend(1), attend(SCORES_LIMIT), 1e-6);
    }
}
