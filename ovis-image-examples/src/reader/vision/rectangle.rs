//! Rectangles of least area around points, as `cv2.minAreaRect` and `cv2.boxPoints`.

use super::Point;
use super::hull::convex_hull;

/// Rectangle in any direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::reader) struct RotatedRectangle {
    /// Center as `[x, y]`.
    pub(in crate::reader) center: [f32; 2],
    /// Width and height.
    pub(in crate::reader) size: [f32; 2],
    /// Angle of the width in degrees, from -90 to below 0.
    pub(in crate::reader) angle: f32,
}

type Vector = [f32; 2];

impl RotatedRectangle {
    /// Returns the rectangle of least area around points.
    pub(in crate::reader) fn around(points: &[Point]) -> Self {
        let hull: Vec<Vector> = convex_hull(points)
            .into_iter()
            .map(|point| [point.x as f32, point.y as f32])
            .collect();
        match hull[..] {
            [] => Self::new([0.0; 2], [0.0; 2], [0.0; 2]),
            [point] => Self::new(point, [0.0; 2], [0.0; 2]),
            [first, second] => {
                let center = [0, 1].map(|axis| (first[axis] + second[axis]) * 0.5);
                Self::new(center, minus(second, first), [0.0; 2])
            }
            _ => {
                let [corner, width, height] = Calipers::new(&hull).least_area();
                let center = [0, 1].map(|axis| corner[axis] + (width[axis] + height[axis]) * 0.5);
                Self::new(center, width, height)
            }
        }
    }

    fn new(center: Vector, width: Vector, height: Vector) -> Self {
        let [x, y] = width.map(f64::from);
        let mut angle = y.atan2(x) * 180.0 / std::f64::consts::PI;
        let mut size = [length(width), length(height)];
        while angle >= 0.0 {
            angle -= 90.0;
            size.reverse();
        }
        while angle < -90.0 {
            angle += 90.0;
            size.reverse();
        }
        Self {
            center,
            size,
            angle: angle as f32,
        }
    }

    /// Returns the corners.
    pub(in crate::reader) fn corners(&self) -> [Vector; 4] {
        let angle = f64::from(self.angle) * std::f64::consts::PI / 180.0;
        let cosine = angle.cos() as f32 * 0.5;
        let sine = angle.sin() as f32 * 0.5;
        let [x, y] = self.center;
        let [width, height] = self.size;
        [
            [
                x - sine * height - cosine * width,
                y + cosine * height - sine * width,
            ],
            [
                x + sine * height - cosine * width,
                y - cosine * height - sine * width,
            ],
            [
                x + sine * height + cosine * width,
                y - cosine * height + sine * width,
            ],
            [
                x - sine * height + cosine * width,
                y + cosine * height + sine * width,
            ],
        ]
    }
}

fn minus(first: Vector, second: Vector) -> Vector {
    [first[0] - second[0], first[1] - second[1]]
}

fn length(vector: Vector) -> f32 {
    let [x, y] = vector.map(f64::from);
    (x * x + y * y).sqrt() as f32
}

/// Four lines around a hull that turn with it. In each position, one of them lies on an edge.
struct Calipers<'h> {
    hull: &'h [Vector],
    edges: Vec<Vector>,
    /// 1 divided by the length of each edge.
    inverse_lengths: Vec<f32>,
    /// Vertices that the bottom, right, top and left line touch, where y points up.
    touched: [usize; 4],
    /// Direction of the bottom line.
    base: Vector,
}

impl<'h> Calipers<'h> {
    fn new(hull: &'h [Vector]) -> Self {
        let following = hull.iter().cycle().skip(1);
        let edges: Vec<Vector> = hull
            .iter()
            .zip(following)
            .map(|(point, next)| minus(*next, *point))
            .collect();
        let inverse_lengths = edges.iter().map(|[x, y]| {
            let [x, y] = [f64::from(*x), f64::from(*y)];
            (1.0 / (x * x + y * y).sqrt()) as f32
        });
        let mut touched = [0; 4];
        for (index, [x, y]) in hull.iter().enumerate() {
            let [bottom, right, top, left] = touched.map(|vertex| hull[vertex]);
            let beyond = [*y < bottom[1], *x > right[0], *y > top[1], *x < left[0]];
            for (touched, beyond) in touched.iter_mut().zip(beyond) {
                if beyond {
                    *touched = index;
                }
            }
        }
        Self {
            hull,
            inverse_lengths: inverse_lengths.collect(),
            edges,
            touched,
            // The hull's edges turn in the direction in which angles grow.
            base: [1.0, 0.0],
        }
    }

    /// Turns the lines until the next edge, and moves the vertex of its line.
    fn turn(&mut self) {
        let turned = |line: usize| {
            let [x, y] = self.edges[self.touched[line]];
            match line {
                0 => [x, y],
                1 => [y, -x],
                2 => [-x, -y],
                _ => [-y, x],
            }
        };
        let mut next = 0;
        for line in 1..4 {
            let ([x, y], [next_x, next_y]) = (turned(line), turned(next));
            if y * next_x + -x * next_y < 0.0 {
                next = line;
            }
        }
        let vertex = self.touched[next];
        let [x, y] = self.edges[vertex].map(|part| part * self.inverse_lengths[vertex]);
        self.base = match next {
            0 => [x, y],
            1 => [y, -x],
            2 => [-x, -y],
            _ => [-y, x],
        };
        self.touched[next] = (vertex + 1) % self.hull.len();
    }

    /// Returns a corner of the rectangle of least area, and its two sides from there.
    fn least_area(mut self) -> [Vector; 3] {
        let mut least = f32::MAX;
        let mut best = [[0.0; 2]; 3];
        for _ in 0..self.hull.len() {
            self.turn();
            let [bottom, right, top, left] = self.touched.map(|vertex| self.hull[vertex]);
            let [a, b] = self.base;
            let [x, y] = minus(right, left);
            let width = x * a + y * b;
            let [x, y] = minus(top, bottom);
            let height = -x * b + y * a;
            let area = width * height;
            if area <= least {
                least = area;
                best = [
                    crossing(self.base, left, bottom),
                    [a * width, b * width],
                    [-b * height, a * height],
                ];
            }
        }
        best
    }
}

/// Returns the corner between the line through `left` and the one through `bottom`.
fn crossing([a, b]: Vector, left: Vector, bottom: Vector) -> Vector {
    let first = a * left[0] + left[1] * b;
    let second = -b * bottom[0] + bottom[1] * a;
    let inverse = 1.0 / (a * a - -b * b);
    [
        (first * a - second * b) * inverse,
        (a * second - -b * first) * inverse,
    ]
}
