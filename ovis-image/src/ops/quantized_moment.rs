use burn::tensor::backend::Backend;
use burn::tensor::{DType, ElementConversion, Int, Tensor};

use super::DynamicMap;

/// Number of values that share a scale.
pub const MOMENT_BLOCK: usize = 256;
/// Number of 8-bit codes in an integer of 32 bits.
pub const CODES_PER_WORD: usize = 4;
/// Smallest scale that is divided by, so that a block of zeros stays one.
pub(crate) const SMALLEST_SCALE: f32 = f32::MIN_POSITIVE;

/// Moment of an optimizer in 8 bits (arXiv 2110.02861).
///
/// Each block of [`MOMENT_BLOCK`] values has a scale, its largest magnitude. A value is its scale
/// times the number of a [`DynamicMap`] that its code stands for.
#[derive(Debug, Clone)]
pub struct QuantizedMoment<B: Backend> {
    /// Codes of all blocks, four in each i32, the first in its lowest bits:
    /// `[blocks * MOMENT_BLOCK / 4]`. Not all backends have integers of 8 bits.
    pub codes: Tensor<B, 1, Int>,
    /// Scales, `[blocks]`, f32.
    pub scales: Tensor<B, 1>,
}

impl<B: Backend> QuantizedMoment<B> {
    /// Creates the moment of `length` zeros.
    pub fn zeros(length: usize, device: &B::Device) -> Self {
        let blocks = length.div_ceil(MOMENT_BLOCK);
        let words = blocks * MOMENT_BLOCK / CODES_PER_WORD;
        Self {
            codes: Tensor::zeros([words], (device, DType::I32)),
            scales: Tensor::zeros([blocks], (device, DType::F32)),
        }
    }

    /// Quantizes f32 values, `[length]`.
    pub fn new(values: Tensor<B, 1>, map: DynamicMap) -> Self {
        let [length] = values.dims();
        let blocks = length.div_ceil(MOMENT_BLOCK);
        let missing = blocks * MOMENT_BLOCK - length;
        let values = if missing == 0 {
            values
        } else {
            let zeros = Tensor::zeros([missing], (&values.device(), DType::F32));
            Tensor::cat(vec![values, zeros], 0)
        };
        let values = values.reshape([blocks, MOMENT_BLOCK]);
        let scales = values.clone().abs().max_dim(1);
        let values = values / scales.clone().clamp_min(SMALLEST_SCALE);
        let codes = nearest(values.reshape([blocks * MOMENT_BLOCK]), map);
        Self {
            codes: packed(codes),
            scales: scales.reshape([blocks]),
        }
    }

    /// Computes the first `length` values, in f32.
    pub fn values(self, length: usize, map: DynamicMap) -> Tensor<B, 1> {
        let [blocks] = self.scales.dims();
        let numbers = table(map.numbers(), &self.scales.device());
        let values = numbers.select(0, unpacked(self.codes));
        let values = values.reshape([blocks, MOMENT_BLOCK]) * self.scales.reshape([blocks, 1]);
        let values = values.reshape([blocks * MOMENT_BLOCK]);
        values.narrow(0, 0, length)
    }
}

fn table<B: Backend>(values: &[f32], device: &B::Device) -> Tensor<B, 1> {
    Tensor::from_data(values, (device, DType::F32))
}

/// Finds the codes of the nearest numbers, by eight halvings of the map.
fn nearest<B: Backend>(values: Tensor<B, 1>, map: DynamicMap) -> Tensor<B, 1, Int> {
    let device = values.device();
    let bounds = table::<B>(map.bounds(), &device);
    let mut codes = Tensor::<B, 1, Int>::zeros(values.dims(), (&device, DType::I32));
    for step in (0..8).rev().map(|bit| 1 << bit) {
        let higher = codes.clone() + step;
        let bound = bounds.clone().select(0, higher.clone() - 1);
        let above = values.clone().greater(bound);
        codes = codes.mask_where(above, higher);
    }
    codes
}

fn packed<B: Backend>(codes: Tensor<B, 1, Int>) -> Tensor<B, 1, Int> {
    let [count] = codes.dims();
    let words = count / CODES_PER_WORD;
    let codes = codes.reshape([words, CODES_PER_WORD]);
    let of = |index: usize| codes.clone().narrow(1, index, 1).reshape([words]);
    let shifted = |codes: Tensor<B, 1, Int>, index: usize| {
        codes.bitwise_left_shift_scalar((8 * index as i32).elem())
    };
    // The last code has the sign of the integer: ndarray shifts in 64 bits and then refuses what
    // does not fit 32.
    let last = of(3);
    let negative = last.clone().greater_equal_elem(128);
    let last = last.clone().mask_where(negative, last - 256);
    let first = of(0).bitwise_or(shifted(of(1), 1));
    let second = shifted(of(2), 2).bitwise_or(shifted(last, 3));
    first.bitwise_or(second)
}

fn unpacked<B: Backend>(words: Tensor<B, 1, Int>) -> Tensor<B, 1, Int> {
    let [count] = words.dims();
    let words = words.reshape([count, 1]);
    let at = |index: usize| {
        let codes = words.clone();
        let codes = codes.bitwise_right_shift_scalar((8 * index as i32).elem());
        codes.bitwise_and_scalar(255i32.elem())
    };
    let codes = Tensor::cat((0..CODES_PER_WORD).map(at).collect(), 1);
    codes.reshape([count * CODES_PER_WORD])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestBackend, random, tensor, values};

    #[test]
    fn a_value_is_stored_as_the_nearest_number_of_its_block() {
        for (map, sign) in [(DynamicMap::Signed, true), (DynamicMap::Unsigned, false)] {
            let given = random::<TestBackend, 1>(3, [700]);
            let given = if sign { given } else { given.abs() };
            let moment = QuantizedMoment::new(given.clone(), map);
            let stored = values(moment.values(700, map));
            let given = values(given);
            for (block, stored) in given.chunks(MOMENT_BLOCK).zip(stored.chunks(MOMENT_BLOCK)) {
                let scale = block
                    .iter()
                    .fold(0.0f32, |scale, value| scale.max(value.abs()));
                for (value, stored) in block.iter().zip(stored) {
                    let error = |number: &f32| (number * scale - value).abs();
                    let least = map.numbers().iter().map(error).fold(f32::MAX, f32::min);
                    // The quotient by the scale is rounded once, and its product again.
                    let rounding = 2.0 * f32::EPSILON * scale;
                    assert!(
                        (stored - value).abs() <= least + rounding,
                        "{value}: {stored}"
                    );
                }
            }
        }
    }

    #[test]
    fn numbers_of_the_map_and_zeros_are_stored_exactly() {
        for map in [DynamicMap::Signed, DynamicMap::Unsigned] {
            let numbers = map.numbers().to_vec();
            let given = tensor::<TestBackend, 1>([256], numbers.clone());
            let moment = QuantizedMoment::new(given, map);
            assert_eq!(values(moment.values(256, map)), numbers);
            let nothing = tensor::<TestBackend, 1>([300], vec![0.0; 300]);
            let moment = QuantizedMoment::new(nothing, map);
            assert_eq!(values(moment.values(300, map)), vec![0.0; 300]);
            let nothing = QuantizedMoment::<TestBackend>::zeros(300, &Default::default());
            assert!(
                values(nothing.values(300, map))
                    .iter()
                    .all(|value| *value == 0.0)
            );
        }
    }
}
