//! `manifest.jsonl`: the list of images that the steps of `dataset` hand to one another.

mod row;

pub use row::{Bounds, Character, Line, Row, Text};
