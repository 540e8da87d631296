//! Tests of the library on the flex backend: layouts, sampling, requests and every error.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod burn_store;
mod changed_files;
mod checkpoint_errors;
mod differentiable;
mod export;
mod following_a_run;
mod gguf;
mod goldens;
mod guidance;
mod hub;
mod hub_server;
mod image_to_image;
mod layouts;
mod lora;
mod lora_training;
mod memory_plan;
mod official_judges;
mod official_scores;
mod optimizers;
mod parts;
mod request_errors;
mod requests;
mod residency;
mod samplers;
mod sampling;
mod second_pass;
mod sources_of_errors;
mod step_cache;
mod support;
mod tiling;
mod training;
mod training_batches;
mod training_memory;
