use nalgebra::{DMatrix, SymmetricEigen};

use super::matrix::Matrix;
use crate::sampling::NoiseGenerator;

/// Number of random directions beyond the rank.
const OVERSAMPLING: usize = 8;

/// Number of times that the directions are multiplied by the matrix and its transpose, which
/// separates large singular values from small ones.
const POWER_ITERATIONS: usize = 2;

/// Seed of the random directions.
const SEED: u64 = 0x6c6f_7261;

/// Product of two thin matrices that is near a matrix.
#[derive(Debug)]
pub(crate) struct LowRank {
    /// `[out, rank]`.
    pub(crate) up: Matrix,
    /// `[rank, in]`.
    pub(crate) down: Matrix,
    /// Sum of the squares of the product's elements.
    pub(crate) kept: f64,
}

/// Finds the nearest product of at most a rank by a randomized singular value decomposition (Halko
/// et al., arXiv 0909.4061). Both factors have the same share of each singular value.
///
/// It is exact, up to rounding, if the matrix has no more than `rank + 8` singular values.
pub(crate) fn low_rank(matrix: &Matrix, rank: usize) -> LowRank {
    let values = DMatrix::from_row_slice(matrix.rows, matrix.columns, &matrix.values);
    let least = matrix.rows.min(matrix.columns);
    let rank = rank.min(least);
    let directions = (rank + OVERSAMPLING).min(least);
    let noise = NoiseGenerator::from_seed(SEED).randn(matrix.columns * directions);
    let noise = DMatrix::from_vec(matrix.columns, directions, noise);
    let mut range = orthonormal(&values * noise);
    for _ in 0..POWER_ITERATIONS {
        let rows = orthonormal(values.tr_mul(&range));
        range = orthonormal(&values * rows);
    }
    let projected = range.tr_mul(&values);
    // The squares of the singular values, and the left singular vectors within the range.
    let wide: DMatrix<f64> = projected.map(f64::from);
    let eigen = SymmetricEigen::new(&wide * wide.transpose());
    let mut order: Vec<usize> = (0..directions).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    let largest = order.first().map_or(0.0, |index| eigen.eigenvalues[*index]);
    // Smaller ones are rounding of the product above.
    let least = largest.max(0.0) * f64::from(f32::EPSILON).powi(2);
    let chosen = order.into_iter().take(rank);
    let chosen: Vec<usize> = chosen
        .filter(|index| eigen.eigenvalues[*index] > least)
        .collect();
    let mut up = Matrix::zeros(matrix.rows, rank);
    let mut down = Matrix::zeros(rank, matrix.columns);
    let mut kept = 0.0;
    for (column, index) in chosen.into_iter().enumerate() {
        let square = eigen.eigenvalues[index];
        let vector = eigen.eigenvectors.column(index);
        kept += square;
        // Half of the singular value, which is the root of the square, goes to each factor.
        let half = square.sqrt().sqrt();
        let left = &range * vector.map(|value| (value * half) as f32);
        let right = projected.tr_mul(&vector.map(|value| (value / half) as f32));
        for (row, value) in left.iter().enumerate() {
            up.row_mut(row)[column] = *value;
        }
        down.row_mut(column).copy_from_slice(right.as_slice());
    }
    LowRank { up, down, kept }
}

/// Returns an orthonormal basis of the columns' span.
fn orthonormal(matrix: DMatrix<f32>) -> DMatrix<f32> {
    matrix.qr().q()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(rows: usize, columns: usize, seed: u64) -> Matrix {
        Matrix {
            rows,
            columns,
            values: NoiseGenerator::from_seed(seed).randn(rows * columns),
        }
    }

    fn product(up: &Matrix, down: &Matrix) -> Matrix {
        let mut product = Matrix::zeros(up.rows, down.columns);
        for row in 0..up.rows {
            for (index, factor) in up.row(row).iter().enumerate() {
                let line = down.row(index).iter();
                for (sum, value) in product.row_mut(row).iter_mut().zip(line) {
                    *sum += factor * value;
                }
            }
        }
        product
    }

    fn squares(matrix: &Matrix) -> f64 {
        matrix
            .values
            .iter()
            .map(|value| f64::from(*value).powi(2))
            .sum()
    }

    fn distance(a: &Matrix, b: &Matrix) -> f64 {
        let differences = a
            .values
            .iter()
            .zip(&b.values)
            .map(|(a, b)| f64::from(a - b).powi(2));
        differences.sum::<f64>().sqrt()
    }

    #[test]
    fn a_product_of_the_rank_is_found_again() {
        for (rows, columns) in [(40, 70), (70, 40)] {
            let matrix = product(&random(rows, 4, 1), &random(4, columns, 2));
            for rank in [4, 6] {
                let found = low_rank(&matrix, rank);
                let error = distance(&product(&found.up, &found.down), &matrix);
                assert!(error < 1e-5 * squares(&matrix).sqrt(), "{error}");
                assert!((found.kept / squares(&matrix) - 1.0).abs() < 1e-5);
            }
        }
    }

    /// The nearest product leaves the smallest singular values, of which no other leaves less.
    #[test]
    fn what_is_left_out_is_what_is_not_kept_and_falls_with_the_rank() {
        let matrix = random(30, 60, 3);
        let mut last = f64::INFINITY;
        for rank in [1, 2, 8, 29, 30, 64] {
            let found = low_rank(&matrix, rank);
            let error = distance(&product(&found.up, &found.down), &matrix).powi(2);
            let left = squares(&matrix) - found.kept;
            assert!(
                (error - left).abs() < 1e-4 * squares(&matrix),
                "{rank}: {error}, {left}"
            );
            assert!(error < last || rank > 30, "{rank}");
            last = error;
        }
        assert!(last < 1e-6 * squares(&matrix), "{last}");
    }

    #[test]
    fn both_factors_have_the_same_size_and_nothing_gives_nothing() {
        let found = low_rank(&random(20, 20, 4), 5);
        assert!((squares(&found.up) / squares(&found.down) - 1.0).abs() < 1e-4);
        let nothing = low_rank(&Matrix::zeros(6, 9), 3);
        assert_eq!((nothing.up.columns, nothing.down.rows), (3, 3));
        assert_eq!(nothing.kept, 0.0);
        assert!(nothing.up.values.iter().all(|value| *value == 0.0));
    }
}
