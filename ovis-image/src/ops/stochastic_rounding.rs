use burn::tensor::backend::Backend;
use burn::tensor::{DType, ElementConversion, FloatDType, Int, Tensor};

/// Odd factor of the rounds of [`random_bits`], below 2^15 so that products of 16 bits with it stay
/// below 2^31: not all backends wrap around.
const FACTOR: u32 = 31_161;

/// Keys of the four rounds, of 16 bits each.
fn keys(key: u64) -> [u32; 4] {
    [0, 16, 32, 48].map(|shift| (key >> shift) as u32 & 0xffff)
}

/// Returns 16 random bits that follow from a key and the index of an element alone: four rounds of
/// a Feistel network over the two halves of the index.
#[cfg_attr(not(all(feature = "flex", feature = "autodiff")), allow(dead_code))]
#[inline(always)]
pub(crate) fn random_bits(key: u64, index: u32) -> u32 {
    let (mut left, mut right) = (index >> 16, index & 0xffff);
    for key in keys(key) {
        let mixed = ((right ^ key) * FACTOR) >> 8 & 0xffff;
        (left, right) = (right, left ^ mixed);
    }
    right
}

/// Computes [`random_bits`] of the first `count` indices.
fn random<B: Backend>(key: u64, count: usize, device: &B::Device) -> Tensor<B, 1, Int> {
    let index = Tensor::<B, 1, Int>::arange(0..count as i64, (device, DType::I32));
    let scalar = |value: u32| (value as i32).elem::<B::IntElem>();
    let mut left = index.clone().bitwise_right_shift_scalar(scalar(16));
    let mut right = index.bitwise_and_scalar(scalar(0xffff));
    for key in keys(key) {
        let product = right.clone().bitwise_xor_scalar(scalar(key)) * scalar(FACTOR);
        let mixed = product.bitwise_right_shift_scalar(scalar(8));
        let mixed = mixed.bitwise_and_scalar(scalar(0xffff));
        (left, right) = (right, left.bitwise_xor(mixed));
    }
    right
}

/// Rounds f32 values to bf16 at random: up with the probability that makes the result right on
/// average, and exactly if a value is a bf16. The random numbers follow from the key and the index
/// of an element alone.
///
/// Values below the smallest normal number are rounded to the nearest.
///
/// # Panics
/// Panics if there are 2^31 values or more.
pub fn stochastic_round<B: Backend>(values: Tensor<B, 1>, key: u64) -> Tensor<B, 1> {
    let [count] = values.dims();
    assert!(i32::try_from(count).is_ok(), "{count} values");
    let rounded = |values: Tensor<B, 1>| values.cast(DType::BF16).cast(DType::F32);
    // More than half of the distance to the next bf16, and less than one and a half.
    let step = 0.625f32 / 128.0;
    let magnitude = values.clone().abs();
    let nearest = rounded(magnitude.clone());
    let is_above = nearest.clone().greater(magnitude.clone());
    let next = rounded(nearest.clone() * (1.0 + step));
    let last = rounded(nearest.clone() * (1.0 - step));
    let low = nearest.clone().mask_where(is_above.clone(), last);
    let high = next.mask_where(is_above, nearest);
    let fraction = (magnitude - low.clone()) / (high.clone() - low.clone());
    let random = random::<B>(key, count, &values.device());
    let random = (random.cast(FloatDType::F32) - 65_535.0) / -65_536.0;
    let magnitude = low.mask_where(random.lower(fraction), high);
    let negative = values.lower_elem(0.0);
    let result = magnitude.clone().mask_where(negative, -magnitude);
    result.cast(DType::BF16)
}
