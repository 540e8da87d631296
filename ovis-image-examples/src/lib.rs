//! The programs around `ovis-image`.
//!
//! # Where things are
//!
//! Each program is a folder here with a function `run`, and a file in `src/bin/` that parses its
//! arguments and calls it. The folders are modules of this library, so that code that is generic over
//! the backend is compiled once per backend, and not once more for every program. What a second
//! program needs moves to [`shared`]. Programs import [`shared`] and `ovis-image`, never one another.
//!
//! | program | what it does | feature |
//! |---|---|---|
//! | [`generate`](mod@generate) | prompt to PNG | – |
//! | `inspect` | contents, problems and memory requirements of a checkpoint | – |
//! | [`convert`] | a checkpoint in another layout | – |
//! | `train` | trains a model, exactly resumable | `train` |
//! | `dataset` | images and captions for training | `dataset` |
//! | `evaluate` | reads the text in images, and scores the benchmarks of the report | `evaluate` |
//!
//! Four short examples use little more than the public interface of `ovis-image`, and are a file in
//! `src/bin/` each: `load_and_generate`, `several_backends`, `plot_schedule` (feature `plot`) and
//! `burn_store` (feature `burn-store`).
//!
//! Below the programs lies the engine that draws text, `typography` (feature `typography`): `dataset`
//! writes what it draws, and training draws from it without files. `reader` (feature `reader`) reads
//! text in images for `evaluate`. `manifest` is the list of images that the steps of `dataset` pass on
//! and that training reads, as `training_data`.
//!
//! # Adding a program
//!
//! `serve` will be a folder `src/serve/`, a file `src/bin/serve.rs`, and a cargo feature `NAME` that is off by default and lists the dependencies
//! that only this program has:
//!
//! ```toml
//! [features]
//! serve = ["dep:axum"]
//!
//! [[bin]]
//! name = "serve"
//! required-features = ["serve"]
//! test = false
//! ```
//!
//! The module is `#[cfg(feature = "serve")]`. So one program's dependencies are never built for
//! another, and the first command of the README costs what `generate` costs. `generate`, `inspect`
//! and `convert` have no features, because they need nearly the same crates; `plot` and
//! `burn-store` show the rule. Tests build all programs: add the feature to the dev-dependency of
//! this package on itself.
//!
//! All of them share the arguments for model, Hub, device, sampling and LoRAs ([`shared::model`],
//! [`shared::hub`], [`shared::device`], [`shared::sampling`], [`shared::lora`]), the records in
//! images ([`shared::record`]), output files, progress and errors.

pub mod convert;
#[cfg(feature = "dataset")]
pub mod dataset;
#[cfg(feature = "evaluate")]
pub mod evaluate;
pub mod generate;
pub mod inspect;
#[cfg(any(feature = "dataset", feature = "evaluate", feature = "train"))]
pub mod manifest;
#[cfg(feature = "reader")]
pub mod reader;
pub mod shared;
#[cfg(feature = "train")]
pub mod train;
#[cfg(feature = "train")]
pub mod training_data;
#[cfg(feature = "typography")]
pub mod typography;
