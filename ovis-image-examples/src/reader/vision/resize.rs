//! Bilinear scaling, as `cv2.resize` with `INTER_LINEAR` on 8 bits.

use image::RgbImage;

/// Weights are integers with 11 fractional bits.
const ONE: f32 = 2048.0;

/// The two pixels of the source that a pixel of the result lies between, with their weights.
#[derive(Debug, Clone, Copy)]
struct Blend {
    pixels: [usize; 2],
    weights: [i32; 2],
}

/// Scales an image.
pub(in crate::reader) fn resize(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    if image.dimensions() == (width, height) {
        return image.clone();
    }
    if image.width() == 2 * width && image.height() == 2 * height {
        return halve(image);
    }
    let columns = columns(image.width(), width);
    let rows = rows(image.height(), height);
    let mut result = RgbImage::new(width, height);
    let (mut upper, mut lower) = (Vec::new(), Vec::new());
    let mut cached = None;
    let length = 3 * width as usize;
    for (blend, output) in rows.iter().zip(result.chunks_exact_mut(length)) {
        if cached != Some(blend.pixels) {
            scale_row(image, blend.pixels[0], &columns, &mut upper);
            scale_row(image, blend.pixels[1], &columns, &mut lower);
            cached = Some(blend.pixels);
        }
        let [first, second] = blend.weights;
        for ((output, upper), lower) in output.iter_mut().zip(&upper).zip(&lower) {
            let sum = ((first * (upper >> 4)) >> 16) + ((second * (lower >> 4)) >> 16);
            *output = ((sum + 2) >> 2).clamp(0, 255) as u8;
        }
    }
    result
}

/// Scales by a half: OpenCV averages four pixels then.
fn halve(image: &RgbImage) -> RgbImage {
    RgbImage::from_fn(image.width() / 2, image.height() / 2, |x, y| {
        let at = |dx, dy| image.get_pixel(2 * x + dx, 2 * y + dy).0;
        let four = [at(0, 0), at(1, 0), at(0, 1), at(1, 1)];
        image::Rgb([0, 1, 2].map(|channel| {
            let sum: u32 = four.iter().map(|pixel| u32::from(pixel[channel])).sum();
            ((sum + 2) >> 2) as u8
        }))
    })
}

fn scale_row(image: &RgbImage, row: usize, columns: &[Blend], result: &mut Vec<i32>) {
    let length = 3 * image.width() as usize;
    let source = &image.as_raw()[row * length..][..length];
    result.clear();
    for Blend { pixels, weights } in columns {
        for channel in 0..3 {
            let [first, second] = pixels.map(|pixel| i32::from(source[3 * pixel + channel]));
            result.push(first * weights[0] + second * weights[1]);
        }
    }
}

/// Returns the position of a pixel of the result in the source, as a whole part and a fraction.
fn position(index: u32, source: u32, target: u32) -> (i64, f32) {
    let scale = 1.0 / (f64::from(target) / f64::from(source));
    let position = ((f64::from(index) + 0.5) * scale - 0.5) as f32;
    let whole = position.floor();
    (whole as i64, position - whole)
}

fn weights(fraction: f32) -> [i32; 2] {
    [1.0 - fraction, fraction].map(|weight| (weight * ONE).round_ties_even() as i32)
}

fn columns(source: u32, target: u32) -> Vec<Blend> {
    let last = i64::from(source) - 1;
    let column = |index| {
        let (whole, fraction) = position(index, source, target);
        let (pixel, fraction) = if whole < 0 {
            (0, 0.0)
        } else if whole >= last {
            (last, 0.0)
        } else {
            (whole, fraction)
        };
        Blend {
            pixels: [pixel as usize, (pixel + 1).min(last) as usize],
            weights: weights(fraction),
        }
    };
    (0..target).map(column).collect()
}

/// Rows outside the image are its edge, and keep their weights.
fn rows(source: u32, target: u32) -> Vec<Blend> {
    let last = i64::from(source) - 1;
    let row = |index| {
        let (whole, fraction) = position(index, source, target);
        Blend {
            pixels: [whole, whole + 1].map(|pixel| pixel.clamp(0, last) as usize),
            weights: weights(fraction),
        }
    };
    (0..target).map(row).collect()
}
