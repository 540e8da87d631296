//! Polygons that are grown with round corners, as `PyclipperOffset` with `JT_ROUND`.

use super::Point;

/// Greatest distance in pixels between a round corner and its edges.
const ARC_TOLERANCE: f64 = 0.25;

/// Grows a convex polygon with whole corners by a distance. Returns the vertices in the order of
/// Clipper: to the right on the screen, and the rightmost of the topmost ones comes last.
pub(in crate::reader) fn grow(polygon: &[Point], distance: f64) -> Vec<Point> {
    let mut corners: Vec<Point> = polygon.to_vec();
    corners.dedup();
    while corners.len() > 1 && corners.first() == corners.last() {
        corners.pop();
    }
    if corners.len() < 3 || distance <= 0.0 {
        return Vec::new();
    }
    if area(&corners) < 0 {
        corners.reverse();
    }
    let grown = Growth::new(&corners, distance).all();
    start_below_top(grown)
}

/// Returns twice the area, negative if the region is at the left on the screen.
fn area(corners: &[Point]) -> i64 {
    let pairs = corners.iter().zip(corners.iter().cycle().skip(1));
    let parts = pairs.map(|(point, next)| {
        i64::from(point.x) * i64::from(next.y) - i64::from(next.x) * i64::from(point.y)
    });
    parts.sum()
}

fn start_below_top(mut points: Vec<Point>) -> Vec<Point> {
    let last = (0..points.len()).min_by_key(|at| (points[*at].y, -i64::from(points[*at].x)));
    if let Some(last) = last {
        let count = points.len();
        points.rotate_left((last + 1) % count);
    }
    points.dedup();
    points
}

struct Growth<'c> {
    corners: &'c [Point],
    /// Unit vector to the outside for the edge after each corner.
    normals: Vec<[f64; 2]>,
    distance: f64,
    /// Sine and cosine of a step around a corner.
    step: [f64; 2],
    steps_per_radian: f64,
    points: Vec<Point>,
}

impl<'c> Growth<'c> {
    fn new(corners: &'c [Point], distance: f64) -> Self {
        let pairs = corners.iter().zip(corners.iter().cycle().skip(1));
        let normals = pairs.map(|(point, next)| {
            let (x, y) = (f64::from(next.x - point.x), f64::from(next.y - point.y));
            let inverse = 1.0 / (x * x + y * y).sqrt();
            [y * inverse, -(x * inverse)]
        });
        let tolerance = ARC_TOLERANCE.min(distance * ARC_TOLERANCE);
        let pi = std::f64::consts::PI;
        let steps = (pi / (1.0 - tolerance / distance).acos()).min(distance * pi);
        Self {
            corners,
            normals: normals.collect(),
            distance,
            step: [(2.0 * pi / steps).sin(), (2.0 * pi / steps).cos()],
            steps_per_radian: steps / (2.0 * pi),
            points: Vec::new(),
        }
    }

    fn all(mut self) -> Vec<Point> {
        let mut before = self.corners.len() - 1;
        for corner in 0..self.corners.len() {
            if self.corner(corner, before) {
                before = corner;
            }
        }
        self.points
    }

    fn push(&mut self, corner: usize, [x, y]: [f64; 2]) {
        let Point { x: left, y: top } = self.corners[corner];
        self.points.push(Point {
            x: rounded(f64::from(left) + x * self.distance),
            y: rounded(f64::from(top) + y * self.distance),
        });
    }

    /// Adds the points of a corner. Returns whether the edge after it is used by the next corner.
    fn corner(&mut self, corner: usize, before: usize) -> bool {
        let (first, second) = (self.normals[before], self.normals[corner]);
        let sine = first[0] * second[1] - second[0] * first[1];
        let cosine = first[0] * second[0] + first[1] * second[1];
        let nearly_straight = (sine * self.distance).abs() < 1.0;
        if nearly_straight && cosine > 0.0 {
            self.push(corner, first);
            return false;
        }
        let sine = sine.clamp(-1.0, 1.0);
        if sine * self.distance < 0.0 {
            self.push(corner, first);
            self.points.push(self.corners[corner]);
        } else {
            let angle = sine.atan2(cosine).abs();
            let [mut x, mut y] = first;
            for _ in 0..rounded(self.steps_per_radian * angle).max(1) {
                self.push(corner, [x, y]);
                let [sine, cosine] = self.step;
                (x, y) = (x * cosine - sine * y, x * sine + y * cosine);
            }
        }
        self.push(corner, second);
        true
    }
}

/// Rounds halves away from zero.
fn rounded(value: f64) -> i32 {
    if value < 0.0 {
        (value - 0.5) as i32
    } else {
        (value + 0.5) as i32
    }
}
