//! Transform of the products to the pixels of the output.

// Loops over the rows and columns of a transform index several arrays at once.
#![allow(clippy::needless_range_loop)]

use pulp::{Simd as Vectors, WithSimd};

use super::transforms::transform_output;
use super::{LINE, POINTS, Run, SPAN, Shape, TILE};
use crate::cpu::element::Element;
use crate::cpu::shared::Shared;
use crate::cpu::tile::WIDTH;

/// Transforms products to outputs.
pub(super) struct WriteOutputs<'a, T> {
    /// Products, `[panel][point][row][lane]`.
    pub(super) products: &'a [f32],
    pub(super) shape: Shape,
    /// Runs of tiles of each panel.
    pub(super) runs: &'a [Vec<Run>],
    /// Index of the first output channel.
    pub(super) first: usize,
    pub(super) bias: &'a [T],
    pub(super) output: &'a Shared<'a, T>,
}

impl<T: Element> WithSimd for WriteOutputs<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let rows = self.bias.len();
        let panels = self.products.chunks_exact(POINTS * rows * WIDTH);
        for (products, runs) in panels.zip(self.runs) {
            for (row, bias) in self.bias.iter().enumerate() {
                let lines = tile_lines(simd, &products[row * WIDTH..], rows * WIDTH);
                self.write(&lines, runs, self.first + row, bias.to_f32());
            }
        }
    }
}

/// Computes the four lines of a panel's outputs for one channel, whose points are `stride` values
/// apart.
#[inline(always)]
fn tile_lines<S: Vectors>(simd: S, products: &[f32], stride: usize) -> [[f32; LINE]; TILE] {
    let mut values = [[0.0; WIDTH]; TILE * TILE];
    for lane in (0..WIDTH).step_by(S::F32_LANES) {
        let load = |point: usize| {
            let start = point * stride + lane;
            S::as_simd_f32s(&products[start..start + S::F32_LANES]).0[0]
        };
        let mut half = [[simd.splat_f32s(0.0); SPAN]; TILE];
        for j in 0..SPAN {
            let column = transform_output(simd, std::array::from_fn(|i| load(i * SPAN + j)));
            for i in 0..TILE {
                half[i][j] = column[i];
            }
        }
        for i in 0..TILE {
            let row = transform_output(simd, half[i]);
            for j in 0..TILE {
                let to = &mut values[i * TILE + j][lane..lane + S::F32_LANES];
                S::as_mut_simd_f32s(to).0[0] = row[j];
            }
        }
    }
    let mut lines = [[0.0; LINE]; TILE];
    for (line, values) in lines.iter_mut().zip(values.chunks_exact(TILE)) {
        for lane in 0..WIDTH {
            for j in 0..TILE {
                line[lane * TILE + j] = values[j][lane];
            }
        }
    }
    lines
}

impl<T: Element> WriteOutputs<'_, T> {
    /// Writes the part of a panel's lines that lies inside the image.
    #[inline(always)]
    fn write(&self, lines: &[[f32; LINE]; TILE], runs: &[Run], channel: usize, bias: f32) {
        let Shape { height, width, .. } = self.shape;
        for run in runs {
            let (y, x) = (run.row * TILE, run.column * TILE);
            let count = (run.length * TILE).min(width - x);
            for (line, y) in lines.iter().zip(y..height) {
                let start = (channel * height + y) * width + x;
                // SAFETY: tasks write disjoint channels or tiles.
                #[allow(unsafe_code)]
                let output = unsafe { self.output.part(start, count) };
                for (out, value) in output.iter_mut().zip(&line[run.lane * TILE..]) {
                    *out = T::from_f32(value + bias);
                }
            }
        }
    }
}
