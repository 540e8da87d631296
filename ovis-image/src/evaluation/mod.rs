//! Metrics of the benchmarks in the report (arXiv 2511.22982, section 4), as pure functions: no
//! tensors, no files, no models. What an image reads or shows comes from outside.
//!
//! [`Mode::Official`] gives the numbers of the benchmarks' own scripts, their faults included.
//! [`Mode::Strict`] mends the faults, each of which is named where it is mended.

mod bootstrap;
mod boxes;
pub mod clip_score;
mod close_match;
pub mod cvtg;
pub mod dpg;
mod edit_distance;
pub mod geneval;
pub mod longtext;
pub mod oneig;
mod python_text;
pub mod signs;

pub use bootstrap::{Interval, bootstrap_interval};
pub use boxes::{Relation, relations};

use edit_distance::edit_distance;

/// Rules of a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Rules of the benchmark's own script, its faults included.
    #[default]
    Official,
    /// Rules with the faults mended.
    Strict,
}
