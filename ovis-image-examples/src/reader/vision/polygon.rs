//! Means of a map over polygons, as `cv2.fillPoly` and `cv2.mean`.

use super::Point;

/// Coordinates between pixels have 16 fractional bits.
const FRACTION_BITS: u32 = 16;

/// Map of 32-bit numbers.
#[derive(Debug, Clone, Copy)]
pub(in crate::reader) struct Map<'m> {
    /// Rows, one after the other.
    pub(in crate::reader) values: &'m [f32],
    /// Number of columns.
    pub(in crate::reader) width: usize,
    /// Number of rows.
    pub(in crate::reader) height: usize,
}

impl Map<'_> {
    /// Returns the mean over a polygon and its border, both moved by `offset`, as far as they lie
    /// in a window of this size at `offset`.
    pub(in crate::reader) fn mean(
        &self,
        polygon: &[Point],
        offset: [usize; 2],
        [width, height]: [usize; 2],
    ) -> f64 {
        let mut mask = Mask {
            width,
            values: vec![false; width * height],
        };
        mask.fill(polygon);
        let (mut sum, mut count) = (0.0, 0_u32);
        for (row, mask) in mask.values.chunks_exact(width.max(1)).enumerate() {
            let start = (offset[1] + row) * self.width + offset[0];
            let values = &self.values[start..start + width];
            for (value, _) in values.iter().zip(mask).filter(|(_, set)| **set) {
                sum += f64::from(*value);
                count += 1;
            }
        }
        sum / f64::from(count.max(1))
    }
}

struct Mask {
    width: usize,
    values: Vec<bool>,
}

impl Mask {
    /// Sets the pixels from one column to another one, both included.
    fn set(&mut self, row: i64, columns: [i64; 2]) {
        let Ok(row) = usize::try_from(row) else {
            return;
        };
        let Some(row) = self.values.chunks_exact_mut(self.width).nth(row) else {
            return;
        };
        let end = (columns[1] + 1).clamp(0, row.len() as i64) as usize;
        let start = (columns[0].max(0) as usize).min(end);
        row[start..end].fill(true);
    }

    fn fill(&mut self, polygon: &[Point]) {
        let mut edges = Vec::new();
        for (point, next) in polygon.iter().zip(polygon.iter().cycle().skip(1)) {
            self.draw_line(*point, *next);
            if point.y != next.y {
                edges.push(Edge::new(*point, *next));
            }
        }
        let top = edges.iter().map(|edge| edge.top).min().unwrap_or(0);
        let bottom = edges.iter().map(|edge| edge.bottom).max().unwrap_or(0);
        for row in top..bottom {
            let crossing = edges.iter().filter_map(|edge| edge.column(row));
            let mut crossings: Vec<i64> = crossing.collect();
            crossings.sort_unstable();
            for pair in crossings.chunks_exact(2) {
                let start = (pair[0] + (1 << FRACTION_BITS) - 1) >> FRACTION_BITS;
                self.set(row, [start, pair[1] >> FRACTION_BITS]);
            }
        }
    }

    /// Draws a line of one pixel's width, from left to right. OpenCV starts a line from outside at
    /// the edge of the mask, which can move its pixels by one.
    fn draw_line(&mut self, first: Point, second: Point) {
        let (from, to) = if second.x < first.x {
            (second, first)
        } else {
            (first, second)
        };
        let width = i64::from(to.x) - i64::from(from.x);
        let height = (i64::from(to.y) - i64::from(from.y)).abs();
        let down = i64::from((to.y - from.y).signum());
        let (mut x, mut y) = (i64::from(from.x), i64::from(from.y));
        let (long, short) = (width.max(height), width.min(height));
        let mut error = long - 2 * short;
        for _ in 0..=long {
            self.set(y, [x, x]);
            let aside = error < 0;
            error += if aside { 2 * long } else { 0 } - 2 * short;
            if height > width {
                y += down;
                x += i64::from(aside);
            } else {
                x += 1;
                y += if aside { down } else { 0 };
            }
        }
    }
}

/// Edge of a polygon that is not horizontal.
struct Edge {
    top: i64,
    bottom: i64,
    /// Column at the top, with fraction.
    start: i64,
    /// Columns per row, with fraction.
    slope: i64,
}

impl Edge {
    fn new(first: Point, second: Point) -> Self {
        let (upper, lower) = if first.y < second.y {
            (first, second)
        } else {
            (second, first)
        };
        let column = |point: Point| i64::from(point.x) << FRACTION_BITS;
        Self {
            top: i64::from(upper.y),
            bottom: i64::from(lower.y),
            start: column(upper),
            slope: (column(second) - column(first)) / (i64::from(second.y) - i64::from(first.y)),
        }
    }

    /// Returns where the edge crosses a row, if it does.
    fn column(&self, row: i64) -> Option<i64> {
        let crosses = (self.top..self.bottom).contains(&row);
        crosses.then(|| self.start + (row - self.top) * self.slope)
    }
}
