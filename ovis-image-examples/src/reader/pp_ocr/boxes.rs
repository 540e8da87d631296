//! Boxes around marked text: differentiable binarization (Liao et al. 2019) as in RapidOCR.

use super::Corners;
use crate::reader::vision::Point;
use crate::reader::vision::contours::find_contours;
use crate::reader::vision::offset::grow;
use crate::reader::vision::polygon::Map;
use crate::reader::vision::rectangle::RotatedRectangle;

/// A pixel above it is text.
const TEXT: f32 = 0.3;
/// Least mean of the map in a box.
const LEAST_MEAN: f64 = 0.5;
/// Greatest number of regions that are looked at.
const MOST_REGIONS: usize = 1000;
/// Area to grow a box by, divided by its perimeter and multiplied with this, is the distance.
const GROWTH: f64 = 1.6;
/// Least side of a box before it is grown.
const LEAST_SIDE: f32 = 3.0;
/// Least side of a box after it was grown.
const LEAST_GROWN_SIDE: f32 = 5.0;
/// Boxes with a side of this length or less, in whole pixels, are dropped.
const FLAT: f32 = 3.0;

/// Returns the boxes around the text of a map in pixels of an image of this size.
pub(super) fn boxes(map: Map<'_>, size: [u32; 2]) -> Vec<Corners> {
    let contours = find_contours(&mask(map), map.width);
    contours
        .iter()
        .take(MOST_REGIONS)
        .filter_map(|contour| grown_box(map, contour))
        .map(|corners| to_image(corners, [map.width, map.height], size))
        .filter_map(|corners| checked(corners, size))
        .collect()
}

/// Returns where text is. The regions are wider by a pixel at the right and the bottom.
fn mask(map: Map<'_>) -> Vec<bool> {
    let width = map.width;
    let mut mask = vec![false; map.values.len()];
    for (index, _) in map
        .values
        .iter()
        .enumerate()
        .filter(|(_, value)| **value > TEXT)
    {
        let right = index % width + 1 < width;
        for (offset, inside) in [(0, true), (1, right), (width, true), (width + 1, right)] {
            if let Some(pixel) = mask.get_mut(index + offset)
                && inside
            {
                *pixel = true;
            }
        }
    }
    mask
}

fn grown_box(map: Map<'_>, contour: &[Point]) -> Option<Corners> {
    let rectangle = RotatedRectangle::around(contour);
    if shorter_side(&rectangle) < LEAST_SIDE {
        return None;
    }
    let corners = clockwise(rectangle.corners());
    if mean(map, corners) < LEAST_MEAN {
        return None;
    }
    let grown = grow(&corners.map(truncated), growth(corners));
    let rectangle = RotatedRectangle::around(&grown);
    (shorter_side(&rectangle) >= LEAST_GROWN_SIDE).then(|| clockwise(rectangle.corners()))
}

fn shorter_side(rectangle: &RotatedRectangle) -> f32 {
    rectangle.size[0].min(rectangle.size[1])
}

fn truncated([x, y]: [f32; 2]) -> Point {
    Point {
        x: x as i32,
        y: y as i32,
    }
}

/// Returns the corners from the top left one: of the two at the left, the upper one.
fn clockwise(mut corners: Corners) -> Corners {
    corners.sort_by(|first, second| first[0].total_cmp(&second[0]));
    let [first, second, third, fourth] = corners;
    let (top_left, bottom_left) = if second[1] > first[1] {
        (first, second)
    } else {
        (second, first)
    };
    let (top_right, bottom_right) = if fourth[1] > third[1] {
        (third, fourth)
    } else {
        (fourth, third)
    };
    [top_left, top_right, bottom_right, bottom_left]
}

/// Returns the mean of the map in a box.
fn mean(map: Map<'_>, corners: Corners) -> f64 {
    let last = [map.width as i32 - 1, map.height as i32 - 1];
    let of_axis = |axis: usize| {
        let values = corners.map(|corner| corner[axis]);
        let least = values.into_iter().fold(f32::INFINITY, f32::min);
        let most = values.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let whole = |value: f32| (value as i32).clamp(0, last[axis]);
        (whole(least.floor()), whole(most.ceil()))
    };
    let ((left, right), (top, bottom)) = (of_axis(0), of_axis(1));
    let polygon = corners.map(|[x, y]| truncated([x - left as f32, y - top as f32]));
    map.mean(
        &polygon,
        [left as usize, top as usize],
        [(right - left + 1) as usize, (bottom - top + 1) as usize],
    )
}

/// Returns the distance that a box grows by.
fn growth(corners: Corners) -> f64 {
    let corners = corners.map(|corner| corner.map(f64::from));
    let (mut area, mut perimeter) = (0.0, 0.0);
    for ([x, y], [next_x, next_y]) in corners.iter().zip(corners.iter().cycle().skip(1)) {
        area += x * next_y - next_x * y;
        perimeter += ((next_x - x).powi(2) + (next_y - y).powi(2)).sqrt();
    }
    (area / 2.0).abs() * GROWTH / perimeter
}

/// Returns corners in whole pixels of the image.
fn to_image(corners: Corners, map: [usize; 2], size: [u32; 2]) -> Corners {
    corners.map(|corner| {
        [0, 1].map(|axis| {
            let side = size[axis] as f32;
            let scaled = corner[axis] / map[axis] as f32 * side;
            scaled.round_ties_even().clamp(0.0, side)
        })
    })
}

/// Orders the corners and moves them into the image, or drops a box that is too flat.
fn checked(mut corners: Corners, size: [u32; 2]) -> Option<Corners> {
    corners.sort_by(|first, second| first[0].total_cmp(&second[0]));
    let [mut left, mut right] = [[corners[0], corners[1]], [corners[2], corners[3]]];
    for pair in [&mut left, &mut right] {
        pair.sort_by(|first, second| first[1].total_cmp(&second[1]));
    }
    let corners = [left[0], right[0], right[1], left[1]]
        .map(|corner| [0, 1].map(|axis| corner[axis].clamp(0.0, size[axis] as f32 - 1.0)));
    let [width, height] =
        [corners[1], corners[3]].map(|other| super::crops::distance(corners[0], other).trunc());
    (width > FLAT && height > FLAT).then_some(corners)
}
