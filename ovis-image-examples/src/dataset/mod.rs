//! `dataset`: images and captions for training. Drawn, filtered, bucketed and cached.

pub mod manifest;
