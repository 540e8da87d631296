//! Ridge regression with three outputs, which fits the preview's linear map. A linear-algebra crate
//! (nalgebra: 9 seconds to compile) would be too much for one solve of 17 unknowns.

/// Normal equations of a least-squares problem, accumulated row by row.
pub(super) struct NormalEquations {
    unknowns: usize,
    /// Matrix `inputs^T inputs`, row by row.
    square: Vec<f64>,
    /// Matrix `inputs^T outputs`.
    right: Vec<[f64; 3]>,
}

impl NormalEquations {
    pub(super) fn new(unknowns: usize) -> Self {
        Self {
            unknowns,
            square: vec![0.0; unknowns * unknowns],
            right: vec![[0.0; 3]; unknowns],
        }
    }

    /// Adds one row of inputs, one for each unknown, and its outputs.
    pub(super) fn add(&mut self, input: &[f64], output: [f64; 3]) {
        for (row, value) in input.iter().enumerate() {
            for (column, other) in input.iter().enumerate() {
                self.square[row * self.unknowns + column] += value * other;
            }
            for (sum, output) in self.right[row].iter_mut().zip(output) {
                *sum += value * output;
            }
        }
    }

    /// Solves for the weights of each unknown by Cholesky decomposition; `None` if the rows were
    /// not finite. `ridge` is relative to the mean of the diagonal.
    pub(super) fn solve(self, ridge: f64) -> Option<Vec<[f64; 3]>> {
        let n = self.unknowns;
        let mean = (0..n).map(|i| self.square[i * n + i]).sum::<f64>() / n as f64;
        let mut lower = self.square;
        for row in 0..n {
            lower[row * n + row] += ridge * mean;
            for column in 0..=row {
                let dot: f64 = (0..column)
                    .map(|k| lower[row * n + k] * lower[column * n + k])
                    .sum();
                let rest = lower[row * n + column] - dot;
                lower[row * n + column] = if row != column {
                    rest / lower[column * n + column]
                } else if rest > 0.0 {
                    rest.sqrt()
                } else {
                    return None;
                };
            }
        }
        let mut solution = self.right;
        // Forward substitution with the lower triangle, then back substitution with its transpose.
        for row in 0..n {
            for before in 0..row {
                subtract(&mut solution, row, before, lower[row * n + before]);
            }
            solution[row] = solution[row].map(|value| value / lower[row * n + row]);
        }
        for row in (0..n).rev() {
            for after in row + 1..n {
                subtract(&mut solution, row, after, lower[after * n + row]);
            }
            solution[row] = solution[row].map(|value| value / lower[row * n + row]);
        }
        Some(solution)
    }
}

/// Subtracts `factor` times another row.
fn subtract(rows: &mut [[f64; 3]], row: usize, other: usize, factor: f64) {
    let other = rows[other];
    for (value, other) in rows[row].iter_mut().zip(other) {
        *value -= factor * other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of four inputs, the last of which is the constant 1.
    fn inputs() -> impl Iterator<Item = [f64; 4]> {
        (0..500usize).map(|row| {
            std::array::from_fn(|column| match column {
                3 => 1.0,
                _ => ((row * (column + 3) * 7919) % 101) as f64 / 50.0 - 1.0,
            })
        })
    }

    #[test]
    fn a_linear_map_is_found() {
        let known = [
            [0.3, 1.0, 0.0],
            [-0.2, 0.5, 2.0],
            [0.7, 0.0, -1.0],
            [0.1, 0.2, 0.3],
        ];
        let mut equations = NormalEquations::new(4);
        for input in inputs() {
            let output = |i: usize| (0..4).map(|k| known[k][i] * input[k]).sum();
            equations.add(&input, std::array::from_fn(output));
        }
        let found = equations.solve(1e-12).unwrap();
        for (found, known) in found.iter().flatten().zip(known.iter().flatten()) {
            assert!((found - known).abs() < 1e-9, "{found} is not {known}");
        }
    }

    #[test]
    fn rows_that_are_not_finite_have_no_solution() {
        let mut equations = NormalEquations::new(2);
        equations.add(&[f64::NAN, 1.0], [0.0; 3]);
        assert_eq!(equations.solve(1e-3), None);
    }
}
