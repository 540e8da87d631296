//! Parts of images that a perspective transform makes rectangular, as `cv2.getPerspectiveTransform`
//! and `cv2.warpPerspective` with `INTER_CUBIC` and `BORDER_REPLICATE`.

use image::{Rgb, RgbImage};

type Matrix = [[f64; 3]; 3];

/// Cuts out the quadrilateral of these corners, from the top left one to the right, as an image of
/// this size.
pub(in crate::reader) fn cut_out(
    image: &RgbImage,
    corners: [[f32; 2]; 4],
    width: u32,
    height: u32,
) -> RgbImage {
    let (right, bottom) = (width as f32, height as f32);
    let target = [[0.0, 0.0], [right, 0.0], [right, bottom], [0.0, bottom]];
    let matrix = inverse(&transform(corners, target));
    RgbImage::from_fn(width, height, |x, y| {
        let [x, y, scale] =
            matrix.map(|row| row[0] * f64::from(x) + row[1] * f64::from(y) + row[2]);
        let position = if scale == 0.0 {
            [0.0; 2]
        } else {
            [(x / scale) as f32, (y / scale) as f32]
        };
        cubic(image, position)
    })
}

/// Returns the color at a position between pixels.
fn cubic(image: &RgbImage, position: [f32; 2]) -> Rgb<u8> {
    let whole = position.map(f32::floor);
    let [columns, rows] = [0, 1].map(|axis| weights(position[axis] - whole[axis]));
    // The transform of a flat quadrilateral leads anywhere.
    let [left, top] = whole.map(|whole| whole.clamp(-1e6, 1e6) as i64 - 1);
    let inside = |position: i64, size: u32| position.clamp(0, i64::from(size) - 1) as u32;
    let mut sums = [0.0_f32; 3];
    for (y, weight) in (top..).zip(rows) {
        let mut row = [0.0_f32; 3];
        for (x, weight) in (left..).zip(columns) {
            let pixel = image.get_pixel(inside(x, image.width()), inside(y, image.height()));
            for (sum, value) in row.iter_mut().zip(pixel.0) {
                *sum += f32::from(value) * weight;
            }
        }
        for (sum, row) in sums.iter_mut().zip(row) {
            *sum += row * weight;
        }
    }
    Rgb(sums.map(|sum| sum.round_ties_even() as u8))
}

/// Returns the weights of four pixels for a position between the second and the third one.
fn weights(x: f32) -> [f32; 4] {
    const A: f32 = -0.75;
    let rest = 1.0 - x;
    let first = ((A * (x + 1.0) - 5.0 * A) * (x + 1.0) + 8.0 * A) * (x + 1.0) - 4.0 * A;
    let second = ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let third = ((A + 2.0) * rest - (A + 3.0)) * rest * rest + 1.0;
    [first, second, third, 1.0 - first - second - third]
}

/// Returns the transform that moves four points to four others.
fn transform(from: [[f32; 2]; 4], to: [[f32; 2]; 4]) -> Matrix {
    let mut equations = [[0.0; 9]; 8];
    for (index, ([x, y], [u, v])) in from.into_iter().zip(to).enumerate() {
        let row = |start: usize, target: f32| {
            let mut row = [0.0; 9];
            row[start] = f64::from(x);
            row[start + 1] = f64::from(y);
            row[start + 2] = 1.0;
            row[6] = f64::from(-x * target);
            row[7] = f64::from(-y * target);
            row[8] = f64::from(target);
            row
        };
        equations[index] = row(0, u);
        equations[index + 4] = row(3, v);
    }
    let [a, b, c, d, e, f, g, h] = solve(equations);
    [[a, b, c], [d, e, f], [g, h, 1.0]]
}

/// Solves eight equations, each with its right side in the last place, by elimination.
fn solve(mut rows: [[f64; 9]; 8]) -> [f64; 8] {
    for column in 0..8 {
        let largest = |row: &usize| rows[*row][column].abs();
        let pivot = (column..8).max_by(|a, b| largest(a).total_cmp(&largest(b)));
        rows.swap(column, pivot.unwrap_or(column));
        let upper = rows[column];
        for row in &mut rows[column + 1..] {
            let factor = row[column] / upper[column];
            for (value, upper) in row.iter_mut().zip(upper) {
                *value -= factor * upper;
            }
        }
    }
    let mut solution = [0.0; 8];
    for row in (0..8).rev() {
        let known: f64 = (row + 1..8)
            .map(|column| rows[row][column] * solution[column])
            .sum();
        solution[row] = (rows[row][8] - known) / rows[row][row];
    }
    solution
}

fn inverse([[a, b, c], [d, e, f], [g, h, i]]: &Matrix) -> Matrix {
    let determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
    [
        [e * i - f * h, c * h - b * i, b * f - c * e],
        [f * g - d * i, a * i - c * g, c * d - a * f],
        [d * h - e * g, b * g - a * h, a * e - b * d],
    ]
    .map(|row| row.map(|value| value / determinant))
}
