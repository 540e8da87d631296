//! Gradient of group normalization with an activation (`cpu/rows.rs`).

use rayon::prelude::*;

use super::sums::add_up;
use crate::cpu::element::Element;
use crate::cpu::instruction_set::InstructionSet;
use crate::cpu::rows::sum_of_parts;
use crate::cpu::vector::{exp, vectorized};
use crate::ops::Activation;

/// Computes the gradient of the input into `output`, and returns those of weight and bias,
/// `[2][channels]`.
pub(crate) fn group_norm<T: Element>(
    set: InstructionSet,
    [gradient, input]: [&[T]; 2],
    [groups, channels, pixels]: [usize; 3],
    [weight, bias]: [&[T]; 2],
    eps: f32,
    activation: Activation,
    output: &mut [T],
) -> Vec<f32> {
    let per_channel = channels / groups;
    let per_group = per_channel * pixels;
    if per_group == 0 || output.is_empty() {
        return vec![0.0; 2 * channels];
    }
    // Of each group of each image: [weight, bias] of its channels.
    let mut partial = vec![0.0f32; output.len() / pixels * 2];
    output
        .par_chunks_mut(per_group)
        .zip(
            input
                .par_chunks(per_group)
                .zip(gradient.par_chunks(per_group)),
        )
        .zip(partial.par_chunks_mut(2 * per_channel))
        .enumerate()
        .for_each(|(group, ((output, (input, gradient)), sums))| {
            let first = group % groups * per_channel;
            let (weight, bias) = (
                &weight[first..][..per_channel],
                &bias[first..][..per_channel],
            );
            vectorized(
                set,
                #[inline(always)]
                || {
                    let group = Group {
                        input,
                        gradient,
                        weight,
                        bias,
                        pixels,
                    };
                    group.run(eps, activation, output, sums);
                },
            );
        });
    // [images][groups][2][per_channel] to [images][2][channels], added over images.
    let total = add_up(&partial, 2 * channels);
    let groups = total.chunks_exact(2 * per_channel);
    let weights = groups.clone().flat_map(|group| &group[..per_channel]);
    weights
        .chain(groups.flat_map(|group| &group[per_channel..]))
        .copied()
        .collect()
}

/// A group of channels of one image.
struct Group<'a, T> {
    input: &'a [T],
    gradient: &'a [T],
    weight: &'a [T],
    bias: &'a [T],
    pixels: usize,
}

impl<T: Element> Group<'_, T> {
    #[inline(always)]
    fn run(&self, eps: f32, activation: Activation, output: &mut [T], sums: &mut [f32]) {
        let (pixels, count) = (self.pixels, self.input.len() as f32);
        let mean = sum_of_parts(self.input, pixels, |x| x) / count;
        let square = |x: f32| (x - mean) * (x - mean);
        let variance = sum_of_parts(self.input, pixels, square) / count;
        let factor = 1.0 / (variance + eps).sqrt();
        let (weights, biases) = sums.split_at_mut(self.weight.len());
        // Means of the normalized values' gradient g, and of g times them.
        let (mut mean_g, mut mean_gn) = (0.0f64, 0.0f64);
        let parts = self.input.chunks_exact(pixels);
        let parts = parts.zip(self.gradient.chunks_exact(pixels));
        for (channel, ((x, dy), out)) in parts.zip(output.chunks_exact_mut(pixels)).enumerate() {
            let (weight, bias) = (self.weight[channel].to_f32(), self.bias[channel].to_f32());
            let (mut total, mut product) = ([0.0f32; 16], [0.0f32; 16]);
            for start in (0..pixels).step_by(16) {
                for lane in 0..16.min(pixels - start) {
                    let i = start + lane;
                    let normalized = (x[i].to_f32() - mean) * factor;
                    let dy = dy[i].to_f32() * slope(normalized * weight + bias, activation);
                    total[lane] += dy;
                    product[lane] += dy * normalized;
                    out[i] = T::from_f32(dy * weight);
                }
            }
            let (total, product) = (total.iter().sum::<f32>(), product.iter().sum::<f32>());
            weights[channel] = product;
            biases[channel] = total;
            mean_g += f64::from(total * weight);
            mean_gn += f64::from(product * weight);
        }
        let (mean_g, mean_gn) = (mean_g as f32 / count, mean_gn as f32 / count);
        for (out, x) in output.iter_mut().zip(self.input) {
            let normalized = (x.to_f32() - mean) * factor;
            *out = T::from_f32(factor * (out.to_f32() - mean_g - normalized * mean_gn));
        }
    }
}

/// Returns the slope of the activation.
#[inline(always)]
fn slope(x: f32, activation: Activation) -> f32 {
    match activation {
        Activation::Identity => 1.0,
        Activation::Silu => {
            let sigmoid = 1.0 / (1.0 + exp(-x));
            sigmoid + x * sigmoid * (1.0 - sigmoid)
        }
    }
}
