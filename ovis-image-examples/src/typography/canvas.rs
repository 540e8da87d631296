//! Paint on pixels: coverage masks of outlines, blended in the image's own color space.

use image::{Rgb, RgbImage};
use zeno::{Command, Mask, Placement, Style, Transform};

use super::ground_truth::InkBox;

/// Coverage of pixels by an outline, 0 to 255.
pub(super) struct Stencil {
    coverage: Vec<u8>,
    placement: Placement,
}

/// Color of each pixel of a stencil.
#[derive(Clone, Copy, Debug)]
pub(super) enum Paint {
    Flat([u8; 3]),
    Gradient(Gradient),
}

/// Gradient between two colors along a line through the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gradient {
    pub(super) from: [u8; 3],
    pub(super) to: [u8; 3],
    /// Point of the first color.
    pub(super) start: [f32; 2],
    /// Vector from the point of the first color to that of the second.
    pub(super) way: [f32; 2],
}

impl Gradient {
    fn at(&self, x: u32, y: u32) -> [u8; 3] {
        let [dx, dy] = self.way;
        let length = (dx * dx + dy * dy).max(1e-6);
        let place = (x as f32 - self.start[0]) * dx + (y as f32 - self.start[1]) * dy;
        let share = (place / length).clamp(0.0, 1.0);
        std::array::from_fn(|channel| {
            let (from, to) = (f32::from(self.from[channel]), f32::from(self.to[channel]));
            (from + (to - from) * share).round() as u8
        })
    }
}

impl Paint {
    fn at(&self, x: u32, y: u32) -> [u8; 3] {
        match self {
            Self::Flat(color) => *color,
            Self::Gradient(gradient) => gradient.at(x, y),
        }
    }
}

impl Stencil {
    pub(super) fn of(path: &[Command], style: impl Into<Style<'static>>, place: Transform) -> Self {
        let mut mask = Mask::new(path);
        mask.style(style).transform(Some(place));
        let (coverage, placement) = mask.render();
        Self {
            coverage,
            placement,
        }
    }

    /// Moves the stencil by whole pixels.
    pub(super) fn moved(mut self, x: i32, y: i32) -> Self {
        self.placement.left += x;
        self.placement.top += y;
        self
    }

    /// Blurs the stencil by a box of `2 radius + 1` pixels, twice.
    pub(super) fn blurred(self, radius: usize) -> Self {
        if radius == 0 {
            return self;
        }
        let margin = 2 * radius;
        let [old_width, old_height] = [
            self.placement.width as usize,
            self.placement.height as usize,
        ];
        let [width, height] = [old_width + 2 * margin, old_height + 2 * margin];
        let mut coverage = vec![0; width * height];
        for row in 0..old_height {
            let start = (row + margin) * width + margin;
            let old = &self.coverage[row * old_width..][..old_width];
            coverage[start..start + old_width].copy_from_slice(old);
        }
        for _ in 0..2 {
            coverage = blur_rows(&coverage, width, radius);
            coverage = transposed(&coverage, width);
            coverage = blur_rows(&coverage, height, radius);
            coverage = transposed(&coverage, height);
        }
        let mut placement = self.placement;
        placement.left -= margin as i32;
        placement.top -= margin as i32;
        placement.width = width as u32;
        placement.height = height as u32;
        Self {
            coverage,
            placement,
        }
    }
}

fn blur_rows(values: &[u8], width: usize, radius: usize) -> Vec<u8> {
    let size = 2 * radius as u32 + 1;
    let mut blurred = Vec::with_capacity(values.len());
    for row in values.chunks_exact(width) {
        for x in 0..width {
            let window = &row[x.saturating_sub(radius)..(x + radius + 1).min(width)];
            let sum: u32 = window.iter().map(|value| u32::from(*value)).sum();
            blurred.push((sum / size) as u8);
        }
    }
    blurred
}

fn transposed(values: &[u8], width: usize) -> Vec<u8> {
    let height = values.len() / width.max(1);
    let mut turned = Vec::with_capacity(values.len());
    for x in 0..width {
        turned.extend((0..height).map(|y| values[y * width + x]));
    }
    turned
}

/// Paints a stencil. Returns the box of the pixels of the image that it covers.
pub(super) fn blend(
    image: &mut RgbImage,
    stencil: &Stencil,
    paint: &Paint,
    opacity: f32,
) -> Option<InkBox> {
    let Stencil {
        coverage,
        placement,
    } = stencil;
    let (width, height) = image.dimensions();
    let strength = (opacity * 256.0) as u32;
    let mut ink: Option<InkBox> = None;
    for (row, line) in coverage
        .chunks_exact(placement.width.max(1) as usize)
        .enumerate()
    {
        let Ok(y) = u32::try_from(placement.top + row as i32) else {
            continue;
        };
        if y >= height {
            break;
        }
        for (column, covered) in line.iter().enumerate() {
            let Ok(x) = u32::try_from(placement.left + column as i32) else {
                continue;
            };
            if *covered == 0 || x >= width {
                continue;
            }
            let pixel = InkBox {
                left: x,
                top: y,
                right: x + 1,
                bottom: y + 1,
            };
            ink = Some(ink.map_or(pixel, |ink| ink.union(pixel)));
            let alpha = u32::from(*covered) * strength / 256;
            mix(image.get_pixel_mut(x, y), paint.at(x, y), alpha);
        }
    }
    ink
}

fn mix(pixel: &mut Rgb<u8>, color: [u8; 3], alpha: u32) {
    for (old, new) in pixel.0.iter_mut().zip(color) {
        let mixed = u32::from(*old) * (255 - alpha) + u32::from(new) * alpha;
        *old = ((mixed + 127) / 255) as u8;
    }
}

/// Fills the whole image.
pub(super) fn filled(width: u32, height: u32, paint: &Paint) -> RgbImage {
    let mut bytes = Vec::with_capacity(3 * width as usize * height as usize);
    match paint {
        Paint::Flat(color) => {
            bytes = color.repeat(width as usize * height as usize);
        }
        Paint::Gradient(gradient) => {
            for y in 0..height {
                for x in 0..width {
                    bytes.extend(gradient.at(x, y));
                }
            }
        }
    }
    // The buffer has three bytes for each pixel, so the other branch is never taken.
    RgbImage::from_raw(width, height, bytes).unwrap_or_else(|| RgbImage::new(width, height))
}
