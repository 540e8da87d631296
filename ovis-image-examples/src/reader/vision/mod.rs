//! Operations of OpenCV, Shapely and Clipper as RapidOCR uses them, with the same numbers.
//!
//! Text boxes are truncated to whole pixels between two steps, so a difference in the last bit moves
//! a box by a pixel and may change a letter. Each file says which function it follows; tests compare
//! with recorded values.

pub(super) mod contours;
pub(super) mod hull;
pub(super) mod offset;
pub(super) mod polygon;
pub(super) mod rectangle;
pub(super) mod resize;
#[cfg(test)]
mod tests;
pub(super) mod warp;

/// Point in whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Point {
    /// Column.
    pub(super) x: i32,
    /// Row.
    pub(super) y: i32,
}
