use std::fmt;
use std::path::PathBuf;

use super::{Printable, WrongShape};

/// Report of every tensor that does not fit the model. Its text has a line for each, with names
/// that are [`Printable`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WeightsReport {
    /// File or folder that the weights were read from.
    pub source: PathBuf,
    /// Part of the model, for example `transformer`.
    pub part: &'static str,
    /// Tensors that the model needs and the file does not contain, by their names in the file.
    pub missing: Vec<String>,
    /// Tensors that the file contains and the model does not use.
    pub unexpected: Vec<String>,
    /// Tensors whose shapes do not fit.
    pub wrong_shape: Vec<WrongShape>,
}

impl WeightsReport {
    /// Whether every tensor fits the model.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.wrong_shape.is_empty()
    }
}

impl fmt::Display for WeightsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the weights in {} do not fit the {}: {} missing, {} unexpected, {} of the wrong shape",
            Printable(&self.source.to_string_lossy()),
            self.part,
            self.missing.len(),
            self.unexpected.len(),
            self.wrong_shape.len()
        )?;
        for name in &self.missing {
            write!(f, "\n  missing     {}", Printable(name))?;
        }
        for name in &self.unexpected {
            write!(f, "\n  unexpected  {}", Printable(name))?;
        }
        for wrong in &self.wrong_shape {
            write!(
                f,
                "\n  wrong shape {}: expected {:?}, found {:?}",
                Printable(&wrong.tensor),
                wrong.expected,
                wrong.actual
            )?;
        }
        Ok(())
    }
}
