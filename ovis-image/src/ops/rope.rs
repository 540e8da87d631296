//! Rotary position embedding (arXiv 2104.09864). Tables are computed once per size on the host in
//! f64 and applied in f32.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};

use super::norm::rms_norm_f32;

/// Table of the cosines and sines of every position, half a head wide.
#[derive(Debug, Clone)]
pub struct RotaryTable<B: Backend> {
    /// Cosines, `[tokens, head_dim / 2]`, f32.
    pub cos: Tensor<B, 2>,
    /// Sines, `[tokens, head_dim / 2]`, f32.
    pub sin: Tensor<B, 2>,
}

/// Pairing of a head's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    /// Pairs of neighbors, the MMDiT's convention (diffusers: `apply_rotary_emb`).
    Adjacent,
    /// Pairs of the first half of a head with the second, Qwen3's convention (transformers:
    /// `rotate_half`).
    Halves,
}

impl<B: Backend> RotaryTable<B> {
    /// Computes the table of positions with several axes, whose frequencies are concatenated:
    /// `angle = position * theta^(-2i / axis_dim)` for each axis.
    ///
    /// # Panics
    /// Panics if the size of an axis is odd;
    /// [`TransformerConfig::validate`](crate::config::TransformerConfig::validate) refuses such
    /// configurations.
    pub fn from_positions<const AXES: usize>(
        positions: &[[f64; AXES]],
        axes_dim: &[usize; AXES],
        theta: f64,
        device: &B::Device,
    ) -> Self {
        let half = axes_dim.iter().sum::<usize>() / 2;
        let frequencies: Vec<(usize, f64)> = axes_dim
            .iter()
            .enumerate()
            .flat_map(|(axis, dim)| {
                (0..dim / 2).map(move |i| (axis, theta.powf(-((2 * i) as f64) / *dim as f64)))
            })
            .collect();
        let angles: Vec<f64> = positions
            .iter()
            .flat_map(|position| frequencies.iter().map(|(axis, f)| position[*axis] * f))
            .collect();
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|angle| f(*angle) as f32).collect();
            Tensor::from_data(
                TensorData::new(values, [positions.len(), half]),
                (device, DType::F32),
            )
        };
        Self {
            cos: table(f64::cos),
            sin: table(f64::sin),
        }
    }

    /// Returns the rows of `tokens` tokens, starting at `first`.
    ///
    /// # Panics
    /// Panics if the table has fewer rows.
    pub fn tokens(&self, first: usize, tokens: usize) -> Self {
        Self {
            cos: self.cos.clone().narrow(0, first, tokens),
            sin: self.sin.clone().narrow(0, first, tokens),
        }
    }

    /// Rotates pairs of neighbors: `(x0, x1) -> (x0 cos - x1 sin, x0 sin + x1 cos)`, the MMDiT's
    /// convention (diffusers: `apply_rotary_emb`).
    ///
    /// # Shapes
    /// - `input` and output: `[batch, heads, tokens, head_dim]`, f32
    pub fn rotate_pairs(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let [batch, heads, tokens, head_dim] = input.dims();
        let pairs = input.reshape([batch, heads, tokens, head_dim / 2, 2]);
        let even = pairs.clone().narrow(4, 0, 1);
        let odd = pairs.narrow(4, 1, 1);
        let cos = self.cos.clone().reshape([1, 1, tokens, head_dim / 2, 1]);
        let sin = self.sin.clone().reshape([1, 1, tokens, head_dim / 2, 1]);
        Tensor::cat(
            vec![
                even.clone() * cos.clone() - odd.clone() * sin.clone(),
                even * sin + odd * cos,
            ],
            4,
        )
        .reshape([batch, heads, tokens, head_dim])
    }

    /// Rotates the first half of a head against the second, Qwen3's convention (transformers:
    /// `rotate_half`).
    ///
    /// # Shapes
    /// - `input` and output: `[batch, heads, tokens, head_dim]`, f32
    pub fn rotate_halves(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let half = input.dims()[3] / 2;
        let first = input.clone().narrow(3, 0, half);
        let second = input.narrow(3, half, half);
        let cos = self.cos.clone().unsqueeze::<4>();
        let sin = self.sin.clone().unsqueeze::<4>();
        Tensor::cat(
            vec![
                first.clone() * cos.clone() - second.clone() * sin.clone(),
                second * cos + first * sin,
            ],
            3,
        )
    }
}

/// Splits `[batch, tokens, heads * head_dim]` into `[batch, heads, tokens, head_dim]`.
pub fn split_heads<B: Backend>(projected: Tensor<B, 3>, head_dim: usize) -> Tensor<B, 4> {
    let [batch, tokens, width] = projected.dims();
    projected
        .reshape([batch, tokens, width / head_dim, head_dim])
        .swap_dims(1, 2)
}

/// Splits projected tokens into heads, RMS-normalizes each head and rotates its pairs, in f32;
/// returns the input's dtype.
///
/// # Shapes
/// - `projected`: `[batch, tokens, heads * head_dim]`
/// - `weight`: `[head_dim]`
/// - output: `[batch, heads, tokens, head_dim]`
pub fn norm_and_rotate<B: Backend>(
    projected: Tensor<B, 3>,
    weight: Tensor<B, 1>,
    eps: f64,
    rope: &RotaryTable<B>,
    pairs: Pairs,
) -> Tensor<B, 4> {
    let dtype = projected.dtype();
    let [head_dim] = weight.dims();
    let normalized = rms_norm_f32(split_heads(projected, head_dim), weight, eps);
    match pairs {
        Pairs::Adjacent => rope.rotate_pairs(normalized),
        Pairs::Halves => rope.rotate_halves(normalized),
    }
    .cast(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        TestBackend, TestTensor, assert_close, largest_difference, random, tensor, values,
    };
    use proptest::prelude::*;

    const HEAD_DIM: usize = 8;
    const AXES: [usize; 2] = [2, 6];
    /// Small enough that angles stay below hundreds of radians, where f32 would lose precision.
    const THETA: f64 = 100.0;

    fn table(positions: &[[f64; 2]]) -> RotaryTable<TestBackend> {
        RotaryTable::from_positions(positions, &AXES, THETA, &Default::default())
    }

    fn rotate(input: TestTensor<4>, pairs: Pairs, positions: &[[f64; 2]]) -> TestTensor<4> {
        match pairs {
            Pairs::Adjacent => table(positions).rotate_pairs(input),
            Pairs::Halves => table(positions).rotate_halves(input),
        }
    }

    /// Computes dot products over the last axis.
    fn dot(a: TestTensor<4>, b: TestTensor<4>) -> Vec<f32> {
        values((a * b).sum_dim(3))
    }

    fn positions() -> impl Strategy<Value = [f64; 2]> {
        [0usize..64, 0usize..64].prop_map(|position| position.map(|axis| axis as f64))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn rotation_keeps_inner_products(at in positions(), halves in any::<bool>()) {
            let pairs = if halves { Pairs::Halves } else { Pairs::Adjacent };
            let [a, b]: [TestTensor<4>; 2] = [1, 2].map(|seed| random(seed, [1, 2, 1, HEAD_DIM]));
            let rotated = dot(rotate(a.clone(), pairs, &[at]), rotate(b.clone(), pairs, &[at]));
            prop_assert!(largest_difference(&rotated, &dot(a, b)) < 1e-5);
        }

        #[test]
        fn inner_products_depend_on_the_distance_alone(
            at in positions(), other in positions(), by in positions(), halves in any::<bool>(),
        ) {
            let pairs = if halves { Pairs::Halves } else { Pairs::Adjacent };
            let [query, key]: [TestTensor<4>; 2] =
                [1, 2].map(|seed| random(seed, [1, 2, 1, HEAD_DIM]));
            let product = |at, other| {
                dot(rotate(query.clone(), pairs, &[at]), rotate(key.clone(), pairs, &[other]))
            };
            let moved = |[row, column]: [f64; 2]| [row + by[0], column + by[1]];
            let difference = largest_difference(&product(at, other), &product(moved(at), moved(other)));
            prop_assert!(difference < 1e-4, "{}", difference);
        }
    }

    #[test]
    fn position_zero_is_not_rotated() {
        let input: TestTensor<4> = random(1, [1, 2, 3, HEAD_DIM]);
        for pairs in [Pairs::Adjacent, Pairs::Halves] {
            let rotated = rotate(input.clone(), pairs, &[[0.0; 2]; 3]);
            assert_close(rotated, input.clone(), 0.0);
        }
    }

    #[test]
    fn each_convention_turns_its_own_pairs() {
        // A quarter turn of the first frequency; the other frequencies do not rotate.
        let angle = std::f64::consts::FRAC_PI_2;
        let count = [1., 2., 3., 4., 5., 6., 7., 8.];
        let turned = |pairs| {
            let input = tensor([1, 1, 1, HEAD_DIM], count);
            let rotated = values(rotate(input, pairs, &[[angle, 0.0]]));
            let rounded = rotated.iter().map(|value| value.round());
            rounded.collect::<Vec<_>>()
        };
        assert_eq!(turned(Pairs::Adjacent), [-2., 1., 3., 4., 5., 6., 7., 8.]);
        assert_eq!(turned(Pairs::Halves), [-5., 2., 3., 4., 1., 6., 7., 8.]);
    }

    #[test]
    fn a_table_of_some_tokens_is_a_part_of_the_whole_one() {
        let positions: Vec<[f64; 2]> = (0..5).map(|i| [0.0, f64::from(i)]).collect();
        let part = table(&positions).tokens(2, 3);
        assert_close(part.cos, table(&positions[2..]).cos, 0.0);
        assert_close(part.sin, table(&positions[2..]).sin, 0.0);
    }

    #[test]
    fn heads_are_cut_from_neighboring_channels() {
        let projected: TestTensor<3> = random(1, [1, 2, 6]);
        let heads = split_heads(projected.clone(), 3);
        assert_eq!(heads.dims(), [1, 2, 2, 3]);
        let second = heads.narrow(1, 1, 1).reshape([1, 2, 3]);
        assert_close(second, projected.narrow(2, 3, 3), 0.0);
    }
}
