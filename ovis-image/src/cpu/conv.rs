//! Convolutions of images in NCHW.

use super::element::Element;
use super::gemm::{Bias, product};
use super::instruction_set::InstructionSet;
use super::panel::Matrix;
use super::winograd::{Shape, convolve};

/// Applies a convolution with 3x3 weights `[outputs, channels, 3, 3]`, stride 1 and a border of
/// zeros; the number of outputs is the length of `bias`.
///
/// # Panics
/// Panics if lengths disagree.
pub(crate) fn conv3x3<T: Element>(
    set: InstructionSet,
    input: &[T],
    [batch, channels, height, width]: [usize; 4],
    weight: &[T],
    bias: &[T],
    output: &mut [T],
) {
    let shape = Shape {
        batch,
        channels,
        outputs: bias.len(),
        height,
        width,
    };
    convolve(set, shape, input, weight, bias, output);
}

/// Applies a convolution with 1x1 weights `[outputs, channels]`, as a matrix product for each
/// image.
///
/// # Panics
/// Panics if lengths disagree.
pub(crate) fn conv1x1<T: Element>(
    set: InstructionSet,
    input: &[T],
    [batch, channels, height, width]: [usize; 4],
    weight: &[T],
    bias: &[T],
    output: &mut [T],
) {
    let (outputs, area) = (bias.len(), height * width);
    assert!(
        input.len() == batch * channels * area
            && weight.len() == outputs * channels
            && output.len() == batch * outputs * area,
        "lengths of a convolution"
    );
    if output.is_empty() {
        return;
    }
    let weight = Matrix::contiguous(weight, [outputs, channels]);
    for (image, output) in output.chunks_exact_mut(outputs * area).enumerate() {
        let size = channels * area;
        let pixels = &input[image * size..(image + 1) * size];
        let pixels = Matrix::new(pixels, [area, channels], [1, area]);
        product(set, &weight, &pixels, Bias::Rows(bias), output);
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    /// Shapes to test, as `[batch, channels, outputs, height, width]`.
    const SHAPES: [[usize; 5]; 9] = [
        [1, 1, 1, 1, 1],
        [2, 3, 16, 5, 7],
        [1, 16, 3, 1, 9],
        [1, 5, 29, 9, 1],
        // One panel and a part of the next, and a run of tiles that continues in the next panel.
        [1, 3, 15, 4, 131],
        [2, 17, 13, 23, 22],
        // More channels than a block holds, and more than a task takes.
        [1, 130, 15, 6, 6],
        // Several blocks of panels.
        [1, 2, 2, 97, 93],
        [1, 1, 43, 8, 8],
    ];

    /// Draws approximately normal values, each the sum of four uniform ones.
    fn values(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        let mut uniform = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as f32 / 4_294_967_296.0 - 0.5
        };
        (0..count)
            .map(|_| (0..4).map(|_| uniform()).sum())
            .collect()
    }

    /// Computes a convolution with a `side` x `side` kernel directly, in f64.
    fn direct<T: Element>(
        input: &[T],
        [batch, channels, height, width]: [usize; 4],
        weight: &[T],
        bias: &[T],
        side: usize,
    ) -> Vec<f64> {
        let border = side / 2;
        let at = |values: &[T], index: usize| f64::from(values[index].to_f32());
        let mut output = Vec::new();
        for image in 0..batch {
            for out in 0..bias.len() {
                for y in 0..height {
                    for x in 0..width {
                        let mut sum = at(bias, out);
                        for channel in 0..channels {
                            for (dy, dx) in (0..side * side).map(|i| (i / side, i % side)) {
                                let (y, x) = (y + dy, x + dx);
                                if y < border || x < border {
                                    continue;
                                }
                                let (y, x) = (y - border, x - border);
                                if y >= height || x >= width {
                                    continue;
                                }
                                let plane = image * channels + channel;
                                let tap = ((out * channels + channel) * side + dy) * side + dx;
                                sum +=
                                    at(input, (plane * height + y) * width + x) * at(weight, tap);
                            }
                        }
                        output.push(sum);
                    }
                }
            }
        }
        output
    }

    type Convolution<T> = fn(InstructionSet, &[T], [usize; 4], &[T], &[T], &mut [T]);

    fn check<T: Element>(convolution: Convolution<T>, side: usize, allowed: f64) {
        for [batch, channels, outputs, height, width] in SHAPES {
            let make = |count, seed| -> Vec<T> {
                values(count, seed).into_iter().map(T::from_f32).collect()
            };
            let shape = [batch, channels, height, width];
            let input = make(shape.iter().product(), 1);
            let weight = make(outputs * channels * side * side, 2);
            let bias = make(outputs, 3);
            let expected = direct(&input, shape, &weight, &bias, side);
            for set in InstructionSet::available() {
                // Outputs start as NaN, so that a missing write is noticed.
                let mut output = vec![T::from_f32(f32::NAN); expected.len()];
                convolution(set, &input, shape, &weight, &bias, &mut output);
                let (mut error, mut size) = (0.0, 0.0);
                for (out, expected) in output.iter().zip(&expected) {
                    error += (f64::from(out.to_f32()) - expected).powi(2);
                    size += expected.powi(2);
                }
                let error = (error / size).sqrt();
                assert!(
                    error <= allowed,
                    "{set:?} {shape:?} to {outputs}: {error:e}"
                );
            }
        }
    }

    #[test]
    fn conv3x3_is_the_direct_one() {
        check::<f32>(conv3x3, 3, 2e-6);
        check::<bf16>(conv3x3, 3, 3e-3);
    }

    #[test]
    fn conv1x1_is_the_direct_one() {
        check::<f32>(conv1x1, 1, 1e-6);
        check::<bf16>(conv1x1, 1, 3e-3);
    }

    #[test]
    fn many_channels_stay_exact() {
        let shape = [1, 512, 9, 10];
        let input = values(shape.iter().product(), 4);
        let weight = values(6 * 512 * 9, 5);
        let bias = values(6, 6);
        let mut output = vec![f32::NAN; 6 * 90];
        conv3x3(
            InstructionSet::detect(),
            &input,
            shape,
            &weight,
            &bias,
            &mut output,
        );
        let expected = direct(&input, shape, &weight, &bias, 3);
        let sum = |terms: &dyn Fn(usize) -> f64| (0..540).map(|i| terms(i).powi(2)).sum::<f64>();
        let error = sum(&|i| f64::from(output[i]) - expected[i]) / sum(&|i| expected[i]);
        assert!(error.sqrt() <= 2e-6, "{:e}", error.sqrt());
    }

    #[test]
    fn no_channels_leave_the_bias() {
        let mut output = [0.0f32; 8];
        conv3x3(
            InstructionSet::detect(),
            &[],
            [1, 0, 2, 2],
            &[],
            &[1.0, 2.0],
            &mut output,
        );
        assert_eq!(output, [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]);
    }
}
