//! Tests of products and of the widest convolution on every instruction set of this CPU.

use half::bf16;

use super::element::Element;
use super::gemm::{Bias, product};
use super::instruction_set::InstructionSet;
use super::panel::Matrix;
use super::winograd::{Shape, convolve};

/// Draws values between -1 and 1 that repeat after 2^32 steps.
fn random<T: Element>(length: usize, seed: u32) -> Vec<T> {
    let mut state = seed.wrapping_mul(2_654_435_761);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        T::from_f32(state as f32 / (1u32 << 31) as f32 - 1.0)
    };
    (0..length).map(|_| next()).collect()
}

fn relative_error<T: Element>(actual: &[T], expected: &[f64]) -> f64 {
    let (mut difference, mut norm) = (0.0, 0.0);
    for (a, b) in actual.iter().zip(expected) {
        difference += (f64::from(a.to_f32()) - b).powi(2);
        norm += b * b;
    }
    (difference / norm).sqrt()
}

fn check_product<T: Element>([m, n, k]: [usize; 3], limit: f64) {
    let (left, right) = (random::<T>(m * k, 1), random::<T>(n * k, 2));
    let bias = random::<T>(n, 3);
    let value = |values: &[T], index: usize| f64::from(values[index].to_f32());
    let expected: Vec<f64> = (0..m * n)
        .map(|index| {
            let (row, column) = (index / n, index % n);
            let terms = (0..k).map(|i| value(&left, row * k + i) * value(&right, column * k + i));
            terms.sum::<f64>() + value(&bias, column)
        })
        .collect();
    for set in InstructionSet::available() {
        let mut output = vec![T::from_f32(0.0); m * n];
        let (left, right) = (
            Matrix::contiguous(&left, [m, k]),
            Matrix::contiguous(&right, [n, k]),
        );
        product(set, &left, &right, Bias::Columns(&bias), &mut output);
        let error = relative_error(&output, &expected);
        assert!(error < limit, "{m}x{n}x{k} on {set:?}: {error:e}");
    }
}

#[test]
fn products_on_every_instruction_set() {
    for sizes in [[1, 1, 1], [15, 33, 17], [14, 64, 32], [31, 70, 131]] {
        check_product::<f32>(sizes, 1e-6);
        // The result is rounded to bf16, which adds half a unit of 2^-8.
        check_product::<bf16>(sizes, 3e-3);
    }
}

fn check_convolution<T: Element>([inputs, outputs, height, width]: [usize; 4], limit: f64) {
    let input = random::<T>(inputs * height * width, 4);
    let weight = random::<T>(outputs * inputs * 9, 5);
    let bias = random::<T>(outputs, 6);
    let mut expected = Vec::new();
    for o in 0..outputs {
        for y in 0..height {
            for x in 0..width {
                let mut sum = f64::from(bias[o].to_f32());
                for i in 0..inputs {
                    for (dy, dx) in (0..9).map(|tap| (tap / 3, tap % 3)) {
                        // These coordinates count the border of zeros.
                        let (y, x) = (y + dy, x + dx);
                        if (1..=height).contains(&y) && (1..=width).contains(&x) {
                            let pixel = input[(i * height + y - 1) * width + x - 1].to_f32();
                            let tap = weight[((o * inputs + i) * 3 + dy) * 3 + dx].to_f32();
                            sum += f64::from(pixel) * f64::from(tap);
                        }
                    }
                }
                expected.push(sum);
            }
        }
    }
    let shape = Shape {
        batch: 1,
        channels: inputs,
        outputs,
        height,
        width,
    };
    for set in InstructionSet::available() {
        let mut output = vec![T::from_f32(0.0); expected.len()];
        convolve(set, shape, &input, &weight, &bias, &mut output);
        let error = relative_error(&output, &expected);
        assert!(
            error < limit,
            "{inputs} to {outputs}, {height}x{width} on {set:?}: {error:e}"
        );
    }
}

/// Checks the accuracy stated in `winograd.rs` at the decoder's widest layer.
#[test]
fn a_wide_convolution_is_exact_to_a_few_units() {
    check_convolution::<f32>([512, 14, 12, 12], 1.5e-6);
}
