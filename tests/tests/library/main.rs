//! The library on the flex backend: layouts, sampling, requests and every error.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod checkpoint_errors;
mod differentiable;
mod export;
mod gguf;
mod hub;
mod hub_server;
mod layouts;
mod lora;
mod memory_plan;
mod request_errors;
mod requests;
mod residency;
mod sampling;
mod support;
mod tiling;
