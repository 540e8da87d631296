//! Text encoding from prompt to embeddings: the template, the tokenizer, and the Qwen3 language
//! model of Ovis2.5-2B (arXiv 2505.09388), run without its output head.

mod attention;
mod block;
mod feed_forward;
mod model;
mod parameters;
mod prompt;
#[cfg(test)]
mod tests;
mod tokenizer;

pub use attention::TextAttention;
pub use block::TextBlock;
pub use feed_forward::TextFeedForward;
pub use model::{TextEncoder, TextEncoderInput};
pub use prompt::{MAX_PROMPT_TOKENS, PREFIX_TOKENS, SYSTEM_PROMPT, render_prompt};
pub use tokenizer::{PromptTokenizer, TokenizedPrompt};
