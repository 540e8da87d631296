//! Gradients of a convolution, an image at a time on each thread: products with columns
//! (`cpu/columns.rs`).

use rayon::prelude::*;

use super::sums::add_up;
use crate::cpu::columns::ConvolutionShape;
use crate::cpu::gemm::{Bias, product};
use crate::cpu::instruction_set::InstructionSet;
use crate::cpu::output::unwritten;
use crate::cpu::panel::Matrix;

/// Bytes of columns that exist at a time on each thread.
const COLUMNS: usize = 4 << 20;

/// Number of rows of an output whose columns exist at a time.
fn rows_at_once(shape: &ConvolutionShape) -> usize {
    let [height, width] = shape.output_size();
    (COLUMNS / (shape.lines() * width * 4).max(1)).clamp(1, height.max(1))
}

/// Computes the gradient of the weight, `[outputs][channels][kernel][kernel]`, from that of the
/// output, `[batch][outputs][pixels]`, and the input, `[batch][channels][pixels]`.
pub(crate) fn convolution_weight(
    set: InstructionSet,
    [gradient, input]: [&[f32]; 2],
    shape: ConvolutionShape,
) -> Vec<f32> {
    let [height, width] = shape.output_size();
    let (outputs, lines) = (shape.outputs, shape.lines());
    let size = outputs * lines;
    if gradient.is_empty() || size == 0 {
        return vec![0.0; size];
    }
    let images = input
        .par_chunks_exact(shape.channels * shape.pixels())
        .zip(gradient.par_chunks_exact(outputs * height * width));
    let rows = rows_at_once(&shape);
    let of_images: Vec<f32> = images
        .flat_map_iter(|(image, gradient)| {
            let mut total = vec![0.0; size];
            let mut part = vec![0.0; size];
            let mut columns = vec![0.0; lines * rows * width];
            for first in (0..height).step_by(rows) {
                let taken = rows.min(height - first) * width;
                let columns = &mut columns[..lines * taken];
                for (line, copy) in columns.chunks_exact_mut(taken).enumerate() {
                    shape.copy_line(image, line, first, copy);
                }
                let strides = [height * width, 1];
                let left = Matrix::new(&gradient[first * width..], [outputs, taken], strides);
                let right = Matrix::contiguous(columns, [lines, taken]);
                product(set, &left, &right, Bias::None, unwritten(&mut part));
                for (total, part) in total.iter_mut().zip(&part) {
                    *total += part;
                }
            }
            total
        })
        .collect();
    add_up(&of_images, size)
}

/// Computes the gradient of the input, `[batch][channels][pixels]`, from that of the output and the
/// weight.
pub(crate) fn convolution_input(
    set: InstructionSet,
    [gradient, weight]: [&[f32]; 2],
    shape: ConvolutionShape,
) -> Vec<f32> {
    let [height, width] = shape.output_size();
    let (outputs, lines) = (shape.outputs, shape.lines());
    let mut input = vec![0.0; shape.batch * shape.channels * shape.pixels()];
    if gradient.is_empty() || input.is_empty() {
        return input;
    }
    let weight = Matrix::new(weight, [lines, outputs], [1, lines]);
    let rows = rows_at_once(&shape);
    input
        .par_chunks_exact_mut(shape.channels * shape.pixels())
        .zip(gradient.par_chunks_exact(outputs * height * width))
        .for_each(|(image, gradient)| {
            let mut columns = vec![0.0; lines * rows * width];
            for first in (0..height).step_by(rows) {
                let taken = rows.min(height - first) * width;
                let columns = &mut columns[..lines * taken];
                let strides = [1, height * width];
                let right = Matrix::new(&gradient[first * width..], [taken, outputs], strides);
                product(set, &weight, &right, Bias::None, unwritten(columns));
                for (line, values) in columns.chunks_exact(taken).enumerate() {
                    shape.add_line(line, first, values, image);
                }
            }
        });
    input
}

/// Computes the gradient of the bias from that of the output, `[batch][outputs][pixels]`.
pub(crate) fn convolution_bias(gradient: &[f32], [batch, outputs, pixels]: [usize; 3]) -> Vec<f32> {
    (0..outputs)
        .into_par_iter()
        .map(|output| {
            let planes = (0..batch).map(|image| {
                let plane = &gradient[(image * outputs + output) * pixels..][..pixels];
                let parts = plane.chunks(4096).map(|part| part.iter().sum::<f32>());
                parts.map(f64::from).sum::<f64>()
            });
            planes.sum::<f64>() as f32
        })
        .collect()
}
