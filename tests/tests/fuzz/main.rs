//! Fuzzing with hostile files: whatever their bytes are, a reader returns their contents or a typed
//! error. It never panics or hangs, and takes no more memory than the file's size accounts for.
//!
//! Each target builds files from a string of bytes, so that the same test runs a few thousand files
//! of fixed seeds under `cargo test`, and a search led by coverage under `tests/corpus/search`; see
//! the README there.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod burnpack;
mod checkpoint;
mod choices;
mod corpus;
mod gguf;
mod harness;
mod large;
mod lora;
mod safetensors;
mod shards;
