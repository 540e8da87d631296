use std::collections::BTreeMap;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor};

use super::OptimizerConfig;
use crate::ops::{CODES_PER_WORD, MOMENT_BLOCK, QuantizedMoment};

/// Number of values from which moments are in 8 bits, as in bitsandbytes.
const LEAST_8BIT: usize = 4096;

/// Form of the state of one parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Full,
    Quantized,
    Factored,
    Squares,
}

impl Kind {
    /// Returns the form that an optimizer gives the state of a parameter.
    pub(super) fn of(config: &OptimizerConfig, shape: &[usize]) -> Self {
        match config {
            OptimizerConfig::AdamW(_) => Self::Full,
            OptimizerConfig::AdamW8bit(_) if elements(shape) < LEAST_8BIT => Self::Full,
            OptimizerConfig::AdamW8bit(_) => Self::Quantized,
            OptimizerConfig::Adafactor(_) if shape.len() > 1 => Self::Factored,
            OptimizerConfig::Adafactor(_) => Self::Squares,
        }
    }

    /// Computes the size of the state in bytes.
    pub(super) fn bytes(self, shape: &[usize]) -> u64 {
        let count = elements(shape);
        let bytes = match self {
            Self::Full => 8 * count,
            Self::Quantized => 2 * count.div_ceil(MOMENT_BLOCK) * (MOMENT_BLOCK + 4),
            Self::Factored => {
                let [matrices, rows, columns] = matrices(shape);
                4 * matrices * (rows + columns)
            }
            Self::Squares => 4 * count,
        };
        bytes as u64
    }
}

impl OptimizerConfig {
    /// Computes the size of the state that the optimizer keeps for a parameter of this shape, in
    /// bytes.
    pub fn state_bytes(&self, shape: &[usize]) -> u64 {
        Kind::of(self, shape).bytes(shape)
    }
}

fn elements(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Divides a shape into matrices over its last two axes: their number, rows and columns.
pub(super) fn matrices(shape: &[usize]) -> [usize; 3] {
    match shape {
        [others @ .., rows, columns] => [others.iter().product(), *rows, *columns],
        _ => [1, 1, elements(shape)],
    }
}

/// State of one parameter.
#[derive(Debug, Clone)]
pub(crate) enum Moments<B: Backend> {
    /// Means of gradients and of their squares, in f32.
    Full {
        first: Tensor<B, 1>,
        second: Tensor<B, 1>,
    },
    /// Means of gradients and of their squares, in 8 bits.
    Quantized {
        first: QuantizedMoment<B>,
        second: QuantizedMoment<B>,
    },
    /// Means of squared gradients over the columns of each row, and over the rows of each column.
    Factored {
        rows: Tensor<B, 1>,
        columns: Tensor<B, 1>,
    },
    /// Means of squared gradients.
    Squares(Tensor<B, 1>),
}

/// Tensor of a state.
#[derive(Debug, Clone)]
pub(crate) enum MomentValues<B: Backend> {
    /// Values in f32.
    Floats(Tensor<B, 1>),
    /// Codes of 8 bits, four in each integer.
    Codes(Tensor<B, 1, Int>),
}

impl<B: Backend> Moments<B> {
    /// Creates the state before the first step.
    pub(super) fn zeros(config: &OptimizerConfig, shape: &[usize], device: &B::Device) -> Self {
        let count = elements(shape);
        let zeros = |count: usize| Tensor::zeros([count], (device, DType::F32));
        match Kind::of(config, shape) {
            Kind::Full => Self::Full {
                first: zeros(count),
                second: zeros(count),
            },
            Kind::Quantized => Self::Quantized {
                first: QuantizedMoment::zeros(count, device),
                second: QuantizedMoment::zeros(count, device),
            },
            Kind::Factored => {
                let [matrices, rows, columns] = matrices(shape);
                Self::Factored {
                    rows: zeros(matrices * rows),
                    columns: zeros(matrices * columns),
                }
            }
            Kind::Squares => Self::Squares(zeros(count)),
        }
    }

    /// Returns the tensors by name, for a file.
    pub(in crate::training) fn parts(&self) -> Vec<(&'static str, MomentValues<B>)> {
        let floats = |tensor: &Tensor<B, 1>| MomentValues::Floats(tensor.clone());
        let codes = |moment: &QuantizedMoment<B>| MomentValues::Codes(moment.codes.clone());
        match self {
            Self::Full { first, second } => vec![
                ("first_moments", floats(first)),
                ("second_moments", floats(second)),
            ],
            Self::Quantized { first, second } => vec![
                ("first_codes", codes(first)),
                ("first_scales", floats(&first.scales)),
                ("second_codes", codes(second)),
                ("second_scales", floats(&second.scales)),
            ],
            Self::Factored { rows, columns } => {
                vec![
                    ("row_squares", floats(rows)),
                    ("column_squares", floats(columns)),
                ]
            }
            Self::Squares(squares) => vec![("squares", floats(squares))],
        }
    }

    /// Makes the state from tensors by name. Returns `None` if they are of no form.
    pub(in crate::training) fn from_parts(
        mut parts: BTreeMap<String, MomentValues<B>>,
    ) -> Option<Self> {
        let names: Vec<String> = parts.keys().cloned().collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut floats = |name: &str| match parts.remove(name) {
            Some(MomentValues::Floats(values)) => Some(values),
            _ => None,
        };
        Some(match names[..] {
            ["first_moments", "second_moments"] => Self::Full {
                first: floats("first_moments")?,
                second: floats("second_moments")?,
            },
            ["column_squares", "row_squares"] => Self::Factored {
                rows: floats("row_squares")?,
                columns: floats("column_squares")?,
            },
            ["squares"] => Self::Squares(floats("squares")?),
            [
                "first_codes",
                "first_scales",
                "second_codes",
                "second_scales",
            ] => {
                let scales = [floats("first_scales")?, floats("second_scales")?];
                let mut codes = |name: &str| match parts.remove(name) {
                    Some(MomentValues::Codes(codes)) => Some(codes),
                    _ => None,
                };
                let codes = [codes("first_codes")?, codes("second_codes")?];
                let moments = scales.into_iter().zip(codes);
                let mut moments = moments.map(|(scales, codes)| QuantizedMoment { codes, scales });
                Self::Quantized {
                    first: moments.next()?,
                    second: moments.next()?,
                }
            }
            _ => return None,
        })
    }

    /// Returns true if an optimizer keeps a state of this form and size for a parameter.
    pub(in crate::training) fn fits(&self, config: &OptimizerConfig, shape: &[usize]) -> bool {
        self.kind() == Kind::of(config, shape) && self.has_shape(shape)
    }

    /// Returns true if the state belongs to a parameter of this shape.
    pub(in crate::training) fn has_shape(&self, shape: &[usize]) -> bool {
        let count = elements(shape);
        let length = |tensor: &Tensor<B, 1>| tensor.dims()[0];
        let quantized = |moment: &QuantizedMoment<B>| {
            let blocks = count.div_ceil(MOMENT_BLOCK);
            moment.scales.dims() == [blocks]
                && moment.codes.dims() == [blocks * MOMENT_BLOCK / CODES_PER_WORD]
        };
        match self {
            Self::Full { first, second } => length(first) == count && length(second) == count,
            Self::Quantized { first, second } => quantized(first) && quantized(second),
            Self::Factored { rows, columns } => {
                let [matrices, all_rows, all_columns] = matrices(shape);
                length(rows) == matrices * all_rows && length(columns) == matrices * all_columns
            }
            Self::Squares(squares) => length(squares) == count,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Full { .. } => Kind::Full,
            Self::Quantized { .. } => Kind::Quantized,
            Self::Factored { .. } => Kind::Factored,
            Self::Squares(_) => Kind::Squares,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBackend;
    use crate::training::{AdafactorConfig, AdamWConfig};

    #[test]
    fn the_size_is_that_of_the_tensors() {
        let configs = [
            OptimizerConfig::AdamW(AdamWConfig::default()),
            OptimizerConfig::AdamW8bit(AdamWConfig::default()),
            OptimizerConfig::Adafactor(AdafactorConfig::default()),
        ];
        for shape in [&[9][..], &[5000], &[70, 60], &[2, 3, 50, 20]] {
            for config in &configs {
                let moments = Moments::<TestBackend>::zeros(config, shape, &Default::default());
                assert!(moments.fits(config, shape) && !moments.has_shape(&[7, 7]));
                let bytes = moments.parts().into_iter().map(|(_, part)| match part {
                    MomentValues::Floats(values) => 4 * values.dims()[0],
                    MomentValues::Codes(codes) => 4 * codes.dims()[0],
                });
                let kind = Kind::of(config, shape);
                assert_eq!(bytes.sum::<usize>() as u64, kind.bytes(shape), "{kind:?}");
                let parts = moments.parts().into_iter();
                let parts = parts.map(|(name, part)| (name.to_owned(), part)).collect();
                assert_eq!(Moments::from_parts(parts).unwrap().kind(), kind);
            }
        }
        assert_eq!(Kind::Quantized.bytes(&[3072, 3072]), 2 * 36_864 * 260);
        assert_eq!(Kind::Factored.bytes(&[3072, 1024]), 4 * 4096);
    }
}
