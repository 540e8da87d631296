//! Images as columns: a convolution is a product with copies of its input, shifted for each tap of the
//! kernel (im2col). Used where Winograd's scheme does not apply.

use super::element::Element;

/// Sizes of a convolution with a square kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConvolutionShape {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) outputs: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    /// Zeros before the input's first row and column, and after its last ones.
    pub(crate) padding: [usize; 2],
}

impl ConvolutionShape {
    /// Returns height and width of the output.
    pub(crate) fn output_size(&self) -> [usize; 2] {
        [self.height, self.width].map(|size| {
            let padded = size + self.padding[0] + self.padding[1];
            padded
                .checked_sub(self.kernel)
                .map_or(0, |free| free / self.stride + 1)
        })
    }

    /// Number of pixels of an input plane.
    pub(super) fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Number of lines of columns: one for each channel and tap.
    pub(super) fn lines(&self) -> usize {
        self.channels * self.kernel * self.kernel
    }

    /// Returns the channel of a line, and the position of its tap.
    fn tap(&self, line: usize) -> (usize, [usize; 2]) {
        let taps = self.kernel * self.kernel;
        let tap = line % taps;
        (line / taps, [tap / self.kernel, tap % self.kernel])
    }

    /// Computes the first output along an axis whose tap is inside the input, and the number of such
    /// outputs.
    fn inside(&self, tap: usize, size: usize, outputs: usize) -> [usize; 2] {
        let before = self.padding[0];
        let first = before
            .saturating_sub(tap)
            .div_ceil(self.stride)
            .min(outputs);
        // The last output whose tap is inside: output * stride + tap - before < size.
        let end = (size + before).saturating_sub(tap).div_ceil(self.stride);
        [first, end.min(outputs).saturating_sub(first)]
    }

    /// Copies what one line sees at the output's rows from `first` on; outside there are zeros.
    pub(super) fn copy_line<T: Element>(
        &self,
        image: &[T],
        line: usize,
        first: usize,
        copy: &mut [T],
    ) {
        let (channel, [down, right]) = self.tap(line);
        let plane = &image[channel * self.pixels()..][..self.pixels()];
        let [_, width] = self.output_size();
        let [start, count] = self.inside(right, self.width, width);
        copy.fill(T::from_f32(0.0));
        for (row, copy) in copy.chunks_exact_mut(width).enumerate() {
            let from = ((first + row) * self.stride + down).checked_sub(self.padding[0]);
            let Some(from) = from.filter(|from| *from < self.height) else {
                continue;
            };
            let column = start * self.stride + right - self.padding[0];
            let from = &plane[from * self.width + column..];
            let copy = &mut copy[start..start + count];
            if self.stride == 1 {
                copy.copy_from_slice(&from[..count]);
            } else {
                for (copy, value) in copy.iter_mut().zip(from.iter().step_by(self.stride)) {
                    *copy = *value;
                }
            }
        }
    }

    /// Adds a line of columns to the plane that it was copied from.
    #[cfg(feature = "autodiff")]
    pub(super) fn add_line(&self, line: usize, first: usize, values: &[f32], image: &mut [f32]) {
        let (channel, [down, right]) = self.tap(line);
        let pixels = self.pixels();
        let plane = &mut image[channel * pixels..][..pixels];
        let [_, width] = self.output_size();
        let [start, count] = self.inside(right, self.width, width);
        for (row, values) in values.chunks_exact(width).enumerate() {
            let to = ((first + row) * self.stride + down).checked_sub(self.padding[0]);
            let Some(to) = to.filter(|to| *to < self.height) else {
                continue;
            };
            let column = start * self.stride + right - self.padding[0];
            let to = &mut plane[to * self.width + column..];
            let values = &values[start..start + count];
            for (to, value) in to.iter_mut().step_by(self.stride).zip(values) {
                *to += value;
            }
        }
    }
}
