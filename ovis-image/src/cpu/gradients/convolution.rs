//! Gradients of weight and bias of a convolution that keeps height and width. The weight's is a
//! product of the output's gradient with shifted copies of the input, some rows of an image at a
//! time.

use rayon::prelude::*;

use crate::cpu::gemm::{Bias, product};
use crate::cpu::instruction_set::InstructionSet;
use crate::cpu::output::unwritten;
use crate::cpu::panel::Matrix;

/// Bytes of shifted copies that exist at a time.
const COPIES: usize = 8 << 20;

/// Computes the gradient of the weight, `[outputs][channels][kernel][kernel]`, from that of the
/// output, `[batch][outputs][pixels]`, and the input, `[batch][channels][pixels]`.
pub(crate) fn convolution_weight(
    set: InstructionSet,
    [gradient, input]: [&[f32]; 2],
    [batch, channels, height, width]: [usize; 4],
    outputs: usize,
    kernel: usize,
) -> Vec<f32> {
    let pixels = height * width;
    let lines = channels * kernel * kernel;
    let mut total = vec![0.0; outputs * lines];
    if total.is_empty() || pixels == 0 {
        return total;
    }
    let rows = (COPIES / (lines * width * 4)).clamp(1, height);
    let mut copies = vec![0.0; lines * rows * width];
    let mut part = vec![0.0; total.len()];
    for image in 0..batch {
        let input = &input[image * channels * pixels..][..channels * pixels];
        let gradient = &gradient[image * outputs * pixels..][..outputs * pixels];
        for first in (0..height).step_by(rows) {
            let rows = rows.min(height - first);
            let taken = rows * width;
            let copies = &mut copies[..lines * taken];
            copies
                .par_chunks_exact_mut(taken)
                .enumerate()
                .for_each(|(line, copy)| {
                    let (channel, tap) = (line / (kernel * kernel), line % (kernel * kernel));
                    let shift =
                        [tap / kernel, tap % kernel].map(|at| at as isize - kernel as isize / 2);
                    let plane = &input[channel * pixels..][..pixels];
                    shift_rows(plane, [height, width], first, shift, copy);
                });
            let left = Matrix::new(&gradient[first * width..], [outputs, taken], [pixels, 1]);
            let right = Matrix::contiguous(copies, [lines, taken]);
            product(set, &left, &right, Bias::None, unwritten(&mut part));
            for (total, part) in total.iter_mut().zip(&part) {
                *total += part;
            }
        }
    }
    total
}

/// Copies rows of a plane from `first` on, as a tap of the kernel sees them; outside there are
/// zeros.
fn shift_rows(
    plane: &[f32],
    [height, width]: [usize; 2],
    first: usize,
    [down, right]: [isize; 2],
    copy: &mut [f32],
) {
    for (row, copy) in copy.chunks_exact_mut(width).enumerate() {
        let from = (first + row).checked_add_signed(down);
        let Some(from) = from.filter(|from| *from < height) else {
            copy.fill(0.0);
            continue;
        };
        let line = &plane[from * width..][..width];
        let (skip, start) = ((-right).max(0) as usize, right.max(0) as usize);
        let count = width.saturating_sub(skip.max(start));
        copy.fill(0.0);
        copy[skip.min(width)..][..count].copy_from_slice(&line[start.min(width)..][..count]);
    }
}

/// Computes the gradient of the bias from that of the output, `[batch][outputs][pixels]`.
pub(crate) fn convolution_bias(gradient: &[f32], [batch, outputs, pixels]: [usize; 3]) -> Vec<f32> {
    (0..outputs)
        .into_par_iter()
        .map(|output| {
            let planes = (0..batch).map(|image| {
                let plane = &gradient[(image * outputs + output) * pixels..][..pixels];
                plane.iter().map(|value| f64::from(*value)).sum::<f64>()
            });
            planes.sum::<f64>() as f32
        })
        .collect()
}
