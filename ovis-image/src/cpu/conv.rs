//! Convolutions of images in NCHW.

use rayon::prelude::*;

use super::columns::ConvolutionShape;
use super::element::Element;
use super::gemm::{Bias, product};
use super::instruction_set::InstructionSet;
use super::output::unwritten;
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

/// Applies a convolution of any stride and padding, as a product with columns for each image.
///
/// # Panics
/// Panics if lengths disagree.
pub(crate) fn conv_by_columns<T: Element>(
    set: InstructionSet,
    input: &[T],
    weight: &[T],
    bias: &[T],
    shape: ConvolutionShape,
    output: &mut [T],
) {
    let [height, width] = shape.output_size();
    let (outputs, lines, pixels) = (shape.outputs, shape.lines(), height * width);
    let image_size = shape.channels * shape.height * shape.width;
    assert!(
        bias.len() == outputs
            && weight.len() == outputs * lines
            && input.len() == shape.batch * image_size
            && output.len() == shape.batch * outputs * pixels,
        "lengths of a convolution"
    );
    if output.is_empty() {
        return;
    }
    let weight = Matrix::contiguous(weight, [outputs, lines]);
    output
        .par_chunks_exact_mut(outputs * pixels)
        .zip(input.par_chunks_exact(image_size))
        .for_each(|(output, image)| {
            let mut columns = vec![T::from_f32(0.0); lines * pixels];
            for (line, copy) in columns.chunks_exact_mut(pixels).enumerate() {
                shape.copy_line(image, line, 0, copy);
            }
            let columns = Matrix::new(&columns, [pixels, lines], [1, pixels]);
            product(set, &weight, &columns, Bias::Rows(bias), unwritten(output));
        });
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
        product(set, &weight, &pixels, Bias::Rows(bias), unwritten(output));
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::cpu::testing::{random, relative_error};

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

    /// Checks a convolution on every instruction set, with shapes as in [`SHAPES`].
    fn check<T: Element>(
        convolution: Convolution<T>,
        side: usize,
        shapes: &[[usize; 5]],
        allowed: f64,
    ) {
        for [batch, channels, outputs, height, width] in shapes.iter().copied() {
            let shape = [batch, channels, height, width];
            let input = random::<T>(shape.iter().product(), 1);
            let weight = random::<T>(outputs * channels * side * side, 2);
            let bias = random::<T>(outputs, 3);
            let expected = direct(&input, shape, &weight, &bias, side);
            for set in InstructionSet::available() {
                // Outputs start as NaN, so that a missing write is noticed.
                let mut output = vec![T::from_f32(f32::NAN); expected.len()];
                convolution(set, &input, shape, &weight, &bias, &mut output);
                let error = relative_error(&output, &expected);
                assert!(
                    error <= allowed,
                    "{set:?} {shape:?} to {outputs}: {error:e}"
                );
            }
        }
    }

    #[test]
    fn conv3x3_is_the_direct_one() {
        check::<f32>(conv3x3, 3, &SHAPES, 2e-6);
        check::<bf16>(conv3x3, 3, &SHAPES, 3e-3);
    }

    #[test]
    fn conv1x1_is_the_direct_one() {
        check::<f32>(conv1x1, 1, &SHAPES, 1e-6);
        check::<bf16>(conv1x1, 1, &SHAPES, 3e-3);
    }

    /// Checks the accuracy stated in `winograd` at the widest layers of the decoder.
    #[test]
    fn many_channels_stay_exact() {
        check::<f32>(
            conv3x3,
            3,
            &[[1, 512, 6, 9, 10], [1, 512, 14, 12, 12]],
            1.5e-6,
        );
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
