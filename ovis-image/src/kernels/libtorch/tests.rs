//! Every operation against the portable one, in f32.

use burn::tensor::{Bool, Tensor, TensorData};
use burn_tch::LibTorch;

use super::*;
use crate::testing::random;

/// Largest difference that the order of additions in f32 explains, for rows of up to 512 elements
/// of about one.
const TOLERANCE: f32 = 1e-5;

fn close<const D: usize>(ours: Tensor<LibTorch, D>, plain: Tensor<LibTorch, D>) {
    assert_eq!(ours.dims(), plain.dims());
    let largest = (ours - plain).abs().max().into_scalar();
    assert!(largest < TOLERANCE, "{largest}");
}

fn tensor<const D: usize>(seed: u64, dims: [usize; D]) -> Tensor<LibTorch, D> {
    random::<LibTorch, D>(seed, dims)
}

#[test]
fn linear_layers_with_and_without_bias() {
    let (input, weight) = (tensor(1, [3, 8]), tensor(2, [5, 8]));
    for bias in [None, Some(tensor(3, [5]))] {
        let plain = ops::linear(input.clone(), weight.clone(), bias.clone());
        close(linear_layer(input.clone(), weight.clone(), bias), plain);
    }
}

#[test]
fn attention_with_shared_keys_and_both_masks() {
    let query = tensor(1, [2, 4, 6, 8]);
    let (key, value) = (tensor(2, [2, 2, 6, 8]), tensor(3, [2, 2, 6, 8]));
    for mask in [AttentionMask::Full, AttentionMask::Causal] {
        let operands = [query.clone(), key.clone(), value.clone()];
        let [q, k, v] = operands.clone();
        let ours = multi_head_attention(q, k, v, mask.clone());
        let [q, k, v] = operands;
        close(ours, ops::attention(q, k, v, mask));
    }
}

#[test]
fn hidden_keys_have_no_weight() {
    let operands = || [1, 2, 3].map(|seed| tensor(seed, [2, 2, 4, 8]));
    let hidden = [false, true, false, true];
    let hidden = TensorData::new(hidden.to_vec(), [1, 1, 1, 4]);
    let hidden = Tensor::<LibTorch, 4, Bool>::from_data(hidden, &Default::default());
    let [query, key, value] = operands();
    let mask = AttentionMask::Hidden(hidden.expand([2, 1, 4, 4]));
    let masked = multi_head_attention(query, key, value, mask);

    let [query, key, value] = operands();
    let seen = |keys: Tensor<LibTorch, 4>| {
        let halves = [keys.clone().narrow(2, 0, 1), keys.narrow(2, 2, 1)];
        Tensor::cat(halves.to_vec(), 2)
    };
    let plain = multi_head_attention(query, seen(key), seen(value), AttentionMask::Full);
    close(masked, plain);
}

#[test]
fn latents_share_no_memory_with_their_tokens() {
    let tokens = tensor(1, [1, 1, 8]);
    let before = tokens.clone().into_data();
    let latents = unpack_latents(tokens.clone(), [1, 1]);
    let _ = pack_latents(latents.clone()) * 2.0;
    let _ = latents * 2.0;
    assert_eq!(tokens.into_data(), before);
}

#[test]
fn rotations_of_both_kinds() {
    // Made anew for each: burn-tch writes into what the portable operation is given, see
    // docs/upstream.md.
    let operands = || (tensor(1, [2, 3, 16]), tensor(2, [8]));
    let positions = [[0.0], [1.0], [2.0]];
    let rope = RotaryTable::from_positions(&positions, &[8], 100.0, &Default::default());
    for pairs in [Pairs::Adjacent, Pairs::Halves] {
        let (input, weight) = operands();
        let plain = ops::norm_and_rotate(input, weight, 1e-6, &rope, pairs);
        let (input, weight) = operands();
        close(
            norm_and_rotate(input, weight, 1e-6, rope.clone(), pairs),
            plain,
        );
    }
}

#[test]
fn norms() {
    let input = tensor(1, [2, 3, 8]);
    let weight = tensor(2, [8]);
    let plain = ops::rms_norm(input.clone(), weight.clone(), 1e-6);
    close(rms_norm(input.clone(), weight, 1e-6), plain);

    let (shift, scale) = (tensor(3, [2, 1, 8]), tensor(4, [1, 1, 8]));
    let plain = ops::modulated_norm(input.clone(), shift.clone(), scale.clone(), 1e-6);
    close(modulated_norm(input, shift, scale, 1e-6), plain);
}

#[test]
fn group_norms_with_and_without_activation() {
    let input = tensor(1, [2, 8, 3, 5]);
    let (weight, bias) = (tensor(2, [8]), tensor(3, [8]));
    for activation in [Activation::Identity, Activation::Silu] {
        let (input, weight, bias) = (input.clone(), weight.clone(), bias.clone());
        let operands = (input.clone(), weight.clone(), bias.clone());
        let plain = ops::group_norm(operands.0, operands.1, operands.2, 4, 1e-6, activation);
        close(group_norm(input, weight, bias, 4, 1e-6, activation), plain);
    }
}

#[test]
fn gates() {
    let [residual, update]: [Tensor<LibTorch, 3>; 2] = [1, 2].map(|seed| tensor(seed, [2, 3, 8]));
    let gate = tensor(3, [1, 1, 8]);
    let plain = ops::add_gated(residual.clone(), gate.clone(), update.clone());
    close(add_gated(residual.clone(), gate, update.clone()), plain);

    let plain = ops::swiglu(residual.clone(), update.clone());
    close(swiglu(residual, update), plain);
}

#[test]
fn convolutions_and_doubling() {
    let input = tensor(1, [2, 4, 6, 8]);
    let (weight, bias) = (tensor(2, [5, 4, 3, 3]), tensor(3, [5]));
    let operands = || (input.clone(), weight.clone(), bias.clone());
    let (i, w, b) = operands();
    close(
        convolution(i.clone(), w.clone(), b.clone(), 1, 1),
        ops::conv2d(i, w, b, 1, 1),
    );
    let (i, w, b) = operands();
    let plain = ops::halving_convolution(i.clone(), w.clone(), b.clone());
    close(halving_convolution(i, w, b), plain);
    close(double_size(input.clone()), ops::double_size(input.clone()));
}

#[test]
fn operands_stay_as_they_were() {
    let input = tensor(1, [2, 3, 8]);
    let before = input.clone().into_data();
    let output = swiglu(input.clone(), input.clone()) + 1.0;
    let output = add_gated(output, input.clone().narrow(1, 0, 1), input.clone()) * 2.0;
    let _ = group_norm(
        output.unsqueeze(),
        tensor(2, [2]),
        tensor(3, [2]),
        1,
        1e-6,
        Activation::Silu,
    );
    assert_eq!(input.into_data(), before);
}

/// If this fails, the fault is mended: see docs/upstream.md.
#[test]
fn burn_tch_writes_through_swapped_axes() {
    let matrix = Tensor::<LibTorch, 2>::ones([2, 2], &Default::default());
    let _ = matrix.clone().transpose() * 3.0;
    assert_eq!(matrix.max().into_scalar(), 3.0);
}
