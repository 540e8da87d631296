//! Diagram of the buckets: each is drawn in its shape, darker the more images it has.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::shared::aspect_buckets::Size;

/// Longer side of the largest rectangle.
const SIDE: f64 = 110.0;

/// Rectangles in a row.
const COLUMNS: usize = 8;

/// Distance from one rectangle to the next.
const CELL: f64 = 130.0;

/// Number of images in each bucket.
pub(super) type Counts = BTreeMap<Size, u64>;

/// Draws the buckets as SVG.
pub(super) fn svg(counts: &Counts) -> String {
    let most = counts.values().copied().max().unwrap_or(1) as f64;
    let longest = counts
        .keys()
        .map(|size| size.0.max(size.1))
        .max()
        .unwrap_or(1);
    let rows = counts.len().div_ceil(COLUMNS).max(1);
    let (width, height) = (COLUMNS as f64 * CELL, rows as f64 * (CELL + 30.0));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\" text-anchor=\"middle\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, ((bucket_width, bucket_height), count)) in counts.iter().enumerate() {
        let middle = ((index % COLUMNS) as f64 + 0.5) * CELL;
        let top = (index / COLUMNS) as f64 * (CELL + 30.0);
        let scaled = |side: u32| f64::from(side) / f64::from(longest) * SIDE;
        let (w, h) = (scaled(*bucket_width), scaled(*bucket_height));
        let opacity = 0.15 + 0.85 * (*count as f64 / most).sqrt();
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" fill=\"#1f5fa8\" \
             fill-opacity=\"{opacity:.2}\" stroke=\"#1f5fa8\"/>\n\
             <text x=\"{middle:.1}\" y=\"{:.1}\">{bucket_width}x{bucket_height}</text>\n\
             <text x=\"{middle:.1}\" y=\"{:.1}\">{count}</text>",
            middle - w / 2.0,
            top + 5.0 + (SIDE - h) / 2.0,
            top + SIDE + 20.0,
            top + SIDE + 34.0,
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Lists the buckets as text.
pub(super) fn table(counts: &Counts) -> String {
    let mut text = String::new();
    for ((width, height), count) in counts {
        let aspect = f64::from(*width) / f64::from(*height);
        let _ = writeln!(text, "{width:>5} x {height:<5} {aspect:>5.2}  {count}");
    }
    text
}
