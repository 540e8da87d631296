//! Lanczos resampling of gray images in the fixed-point arithmetic of Pillow (`Resample.c`), so
//! that perceptual hashes equal those of Python's `imagehash`.

use std::f64::consts::PI;

/// Fraction bits of a weight: 32, less 8 for the pixel and 2 for sums that overshoot.
const PRECISION: u32 = 32 - 8 - 2;

/// Radius of the filter, in pixels of the smaller image.
const REACH: f64 = 3.0;

/// Gray image, row by row.
#[derive(Clone, Debug)]
pub(super) struct Gray {
    /// Number of pixels in a row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// Pixel values.
    pub pixels: Vec<u8>,
}

/// Resizes an image in two passes, rounded to 8 bits in between.
///
/// The order of the passes is that of Pillow 13: columns first if the height shrinks by more than
/// twice as many pixels as the width.
pub(super) fn resize(image: &Gray, width: usize, height: usize) -> Gray {
    let shrinks_by = |from: usize, to: usize| from as i64 - to as i64;
    let lost_rows = shrinks_by(image.height, height);
    if lost_rows > 0 && lost_rows > 2 * shrinks_by(image.width, width) {
        resize_rows(&resize_columns(image, height), width)
    } else {
        resize_columns(&resize_rows(image, width), height)
    }
}

/// Resizes each row to a width.
fn resize_rows(image: &Gray, width: usize) -> Gray {
    if width == image.width {
        return image.clone();
    }
    let weights = Weights::new(image.width, width);
    let rows = image.pixels.chunks_exact(image.width);
    let pixels = rows.flat_map(|row| weights.apply(row)).collect();
    Gray {
        width,
        height: image.height,
        pixels,
    }
}

/// Resizes each column to a height.
fn resize_columns(image: &Gray, height: usize) -> Gray {
    let width = image.width;
    if height == image.height {
        return image.clone();
    }
    let weights = Weights::new(image.height, height);
    let mut pixels = vec![0; width * height];
    for x in 0..width {
        let column: Vec<u8> = image
            .pixels
            .iter()
            .skip(x)
            .step_by(width)
            .copied()
            .collect();
        for (y, value) in weights.apply(&column).enumerate() {
            pixels[y * width + x] = value;
        }
    }
    Gray {
        width,
        height,
        pixels,
    }
}

/// Weights of the source's pixels in each pixel of the result.
struct Weights(Vec<(usize, Vec<i32>)>);

impl Weights {
    fn new(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let reach = REACH * stretch;
        let of = |index: usize| {
            let center = (index as f64 + 0.5) * scale;
            // As C's conversion to an integer does, these cut fractions off.
            let first = (center - reach + 0.5).max(0.0) as usize;
            let end = ((center + reach + 0.5) as usize).min(from);
            let place = |x: usize| (x as f64 - center + 0.5) * (1.0 / stretch);
            let weights: Vec<f64> = (first..end).map(|x| lanczos(place(x))).collect();
            let sum: f64 = weights.iter().sum();
            let fixed = weights.iter().map(|weight| to_fixed(weight / sum));
            (first, fixed.collect())
        };
        Self((0..to).map(of).collect())
    }

    fn apply<'a>(&'a self, line: &'a [u8]) -> impl Iterator<Item = u8> + 'a {
        self.0.iter().map(move |(first, weights)| {
            let pixels = line[*first..].iter().zip(weights);
            let sum: i32 = pixels
                .map(|(pixel, weight)| i32::from(*pixel) * weight)
                .sum();
            ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8
        })
    }
}

fn to_fixed(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION);
    (scaled + if weight < 0.0 { -0.5 } else { 0.5 }) as i32
}

fn lanczos(x: f64) -> f64 {
    if (-REACH..REACH).contains(&x) {
        sinc(x) * sinc(x / REACH)
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * PI;
    x.sin() / x
}
