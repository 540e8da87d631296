//! Questions to a vision-language model behind HTTP, in OpenAI's chat format (vLLM, SGLang,
//! llama.cpp, Ollama): retried, and with limits of rate, time and size.

mod arguments;
mod client;
pub mod data_url;
#[cfg(test)]
pub mod test_server;
mod workers;

pub use arguments::ServerArguments;
pub use client::{Client, Failure, Settings};
pub use workers::{Failures, for_each};
