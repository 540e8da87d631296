//! Crop position of a photograph: around the boxes of the manifest, or else around what smartcrop
//! finds (edges, saturation, skin).

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::imageops::FilterType;
use image::{DynamicImage, RgbImage};
use serde_json::Value;

use crate::dataset::manifest::Row;
use crate::shared::aspect_buckets::Size;

/// Longer side of the image that is searched, in pixels.
const SEARCHED_SIDE: u32 = 192;

/// Point in an image, with coordinates from 0 to 1.
pub(super) type Point = (f64, f64);

/// Center of an image.
pub(super) const CENTER: Point = (0.5, 0.5);

/// Returns the center of the boxes of a row. Its field `boxes` is a list of left, top, width and
/// height in pixels.
pub(super) fn of_boxes(row: &Row, image: Size) -> Option<Point> {
    let boxes = row.other.get("boxes")?.as_array()?;
    let mut union: Option<[f64; 4]> = None;
    for value in boxes {
        let sides: Vec<f64> = value.as_array()?.iter().filter_map(Value::as_f64).collect();
        let [left, top, width, height] = sides.try_into().ok()?;
        let edges = [left, top, left + width, top + height];
        union = Some(union.map_or(edges, |old: [f64; 4]| {
            [
                old[0].min(edges[0]),
                old[1].min(edges[1]),
                old[2].max(edges[2]),
                old[3].max(edges[3]),
            ]
        }));
    }
    let [left, top, right, bottom] = union?;
    let middle = |start: f64, end: f64, length: u32| {
        ((start + end) / 2.0 / f64::from(length)).clamp(0.0, 1.0)
    };
    Some((middle(left, right, image.0), middle(top, bottom, image.1)))
}

/// Finds the center of the salient part of an image that is cropped to the shape of a bucket.
pub(super) fn of_pixels(image: &DynamicImage, bucket: Size) -> Point {
    let small = image
        .resize(SEARCHED_SIDE, SEARCHED_SIDE, FilterType::Triangle)
        .to_rgb8();
    // The library asserts about rounded sizes.
    catch_unwind(AssertUnwindSafe(|| search(&small, bucket)))
        .ok()
        .flatten()
        .unwrap_or(CENTER)
}

fn search(image: &RgbImage, bucket: Size) -> Option<Point> {
    let (width, height) = (NonZeroU32::new(bucket.0)?, NonZeroU32::new(bucket.1)?);
    let crop = smartcrop::find_best_crop(image, width, height).ok()?.crop;
    let middle = |start: u32, length: u32, side: u32| {
        ((f64::from(start) + f64::from(length) / 2.0) / f64::from(side)).clamp(0.0, 1.0)
    };
    Some((
        middle(crop.x, crop.width, image.width()),
        middle(crop.y, crop.height, image.height()),
    ))
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_middle_of_all_boxes_is_kept() {
        let mut row = Row::default();
        assert_eq!(of_boxes(&row, (100, 200)), None);
        let boxes = json!([[10, 20, 20, 20], [50, 60, 20, 20.0]]);
        row.other.insert("boxes".to_owned(), boxes);
        assert_eq!(of_boxes(&row, (100, 200)), Some((0.4, 0.25)));
        // Boxes that are not usable are as good as none.
        for wrong in [json!([[1, 2, 3]]), json!(["a"]), json!([]), json!(7)] {
            row.other.insert("boxes".to_owned(), wrong);
            assert_eq!(of_boxes(&row, (100, 200)), None);
        }
    }

    #[test]
    fn the_part_that_stands_out_is_kept() {
        // A flat image with a pattern at one end.
        let image = RgbImage::from_fn(400, 100, |x, y| {
            let is_pattern = x > 310 && x < 390 && (x / 8 + y / 8).is_multiple_of(2);
            Rgb(if is_pattern { [220, 60, 40] } else { [128; 3] })
        });
        let (x, _) = of_pixels(&image.into(), (100, 100));
        assert!(x > 0.7, "{x}");
        assert_eq!(of_pixels(&DynamicImage::new_rgb8(1, 1), (0, 0)), CENTER);
    }
}
