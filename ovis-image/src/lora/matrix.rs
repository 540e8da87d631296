use burn::tensor::TensorData;

/// Matrix on the host, in rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) values: Vec<f32>,
}

impl Matrix {
    pub(crate) fn zeros(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            values: vec![0.0; rows * columns],
        }
    }

    /// Converts data with two axes.
    pub(crate) fn from_data(data: TensorData) -> Self {
        let shape: Vec<usize> = data.shape.to_vec();
        Self {
            rows: shape[0],
            columns: shape[1],
            values: data.iter::<f32>().collect(),
        }
    }

    /// Returns whether two matrices are the same to the bit.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let bits = |matrix: &Self| -> Vec<u32> {
            let values = matrix.values.iter();
            values.map(|value| value.to_bits()).collect()
        };
        (self.rows, self.columns) == (other.rows, other.columns) && bits(self) == bits(other)
    }

    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }

    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.columns..(row + 1) * self.columns]
    }

    /// Returns the rows of the given numbers.
    pub(super) fn select_rows(&self, rows: &[usize]) -> Self {
        let values = rows.iter().flat_map(|row| self.row(*row)).copied();
        Self {
            rows: rows.len(),
            columns: self.columns,
            values: values.collect(),
        }
    }

    /// Returns the columns of the given numbers.
    pub(super) fn select_columns(&self, columns: &[usize]) -> Self {
        let rows = (0..self.rows).map(|row| self.row(row));
        let values = rows.flat_map(|row| columns.iter().map(|column| row[*column]));
        Self {
            rows: self.rows,
            columns: columns.len(),
            values: values.collect(),
        }
    }
}
