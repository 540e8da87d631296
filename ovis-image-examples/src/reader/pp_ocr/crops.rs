//! Cuts text boxes out of an image.

use image::RgbImage;
use image::imageops::rotate270;

use super::Corners;
use crate::reader::vision::warp;

/// Text of this height divided by its width is vertical.
const VERTICAL: f64 = 1.5;

/// Cuts out a box. A tall one is turned to the left by a quarter.
pub(super) fn cut_out(image: &RgbImage, corners: Corners) -> RgbImage {
    let [top_left, top_right, bottom_right, bottom_left] = corners;
    let longer = |first: f32, second: f32| first.max(second) as u32;
    let width = longer(
        distance(top_left, top_right),
        distance(bottom_right, bottom_left),
    );
    let height = longer(
        distance(top_left, bottom_left),
        distance(top_right, bottom_right),
    );
    let crop = warp::cut_out(image, corners, width, height);
    if f64::from(height) / f64::from(width) >= VERTICAL {
        rotate270(&crop)
    } else {
        crop
    }
}

/// Returns the distance of two points.
pub(super) fn distance(first: [f32; 2], second: [f32; 2]) -> f32 {
    let [x, y] = [0, 1].map(|axis| first[axis] - second[axis]);
    (x * x + y * y).sqrt()
}
