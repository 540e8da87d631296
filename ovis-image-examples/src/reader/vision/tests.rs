//! Comparison with values that OpenCV and Clipper returned.

use serde::Deserialize;

use super::contours::find_contours;
use super::hull::convex_hull;
use super::offset::grow;
use super::polygon::Map;
use super::rectangle::RotatedRectangle;
use super::resize::resize;
use crate::reader::golden::{Pixels, cases, points};

#[test]
fn images_are_scaled_as_by_opencv() {
    #[derive(Deserialize)]
    struct Case {
        image: Pixels,
        size: [u32; 2],
        result: Pixels,
    }
    for case in cases::<Case>("resize") {
        let [width, height] = case.size;
        let scaled = resize(&case.image.image(), width, height);
        assert_eq!(scaled, case.result.image(), "{:?}", case.size);
    }
}

#[test]
fn borders_are_followed_as_by_opencv() {
    #[derive(Deserialize)]
    struct Case {
        mask: Vec<String>,
        contours: Vec<Vec<[i32; 2]>>,
    }
    for case in cases::<Case>("contours") {
        let width = case.mask[0].len();
        let mask: Vec<bool> = case.mask.concat().chars().map(|c| c == '1').collect();
        let expected: Vec<_> = case.contours.iter().map(|c| points(c)).collect();
        assert_eq!(find_contours(&mask, width), expected, "{:#?}", case.mask);
    }
    assert!(find_contours(&[], 0).is_empty());
}

#[test]
fn rectangles_of_least_area_equal_those_of_opencv_to_the_bit() {
    #[derive(Deserialize)]
    struct Case {
        points: Vec<[i32; 2]>,
        hull: Vec<[i32; 2]>,
        center: [f32; 2],
        size: [f32; 2],
        angle: f32,
        corners: [[f32; 2]; 4],
    }
    for case in cases::<Case>("rectangles") {
        let around = points(&case.points);
        assert_eq!(convex_hull(&around), points(&case.hull), "{around:?}");
        let rectangle = RotatedRectangle::around(&around);
        let expected = RotatedRectangle {
            center: case.center,
            size: case.size,
            angle: case.angle,
        };
        assert_eq!(rectangle, expected, "{around:?}");
        assert_eq!(rectangle.corners(), case.corners, "{around:?}");
    }
    assert_eq!(RotatedRectangle::around(&[]).size, [0.0; 2]);
}

#[test]
fn polygons_grow_as_by_clipper() {
    #[derive(Deserialize)]
    struct Case {
        polygon: Vec<[i32; 2]>,
        distance: f64,
        hull: Vec<[i32; 2]>,
    }
    for case in cases::<Case>("offsets") {
        let grown = grow(&points(&case.polygon), case.distance);
        assert_eq!(
            convex_hull(&grown),
            points(&case.hull),
            "{:?}",
            case.polygon
        );
    }
    assert!(grow(&points(&[[1, 1], [5, 5]]), 3.0).is_empty());
}

#[test]
fn polygons_are_filled_as_by_opencv() {
    #[derive(Deserialize)]
    struct Case {
        polygon: Vec<[i32; 2]>,
        mask: Vec<String>,
    }
    for case in cases::<Case>("polygons") {
        let (width, height) = (case.mask[0].len(), case.mask.len());
        // The mean of a map with a single 1 tells whether its pixel is in the mask.
        let filled = (0..width * height).map(|pixel| {
            let mut values = vec![0.0; width * height];
            values[pixel] = 1.0;
            let map = Map {
                values: &values,
                width,
                height,
            };
            let mean = map.mean(&points(&case.polygon), [0, 0], [width, height]);
            if mean > 0.0 { '1' } else { '0' }
        });
        let filled: String = filled.collect();
        assert_eq!(filled, case.mask.concat(), "{:?}", case.polygon);
    }
}
