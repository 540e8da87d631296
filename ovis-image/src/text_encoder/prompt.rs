/// Text before every prompt, including the trailing space (diffusers:
/// `OvisImagePipeline.system_prompt`).
pub const SYSTEM_PROMPT: &str = "Describe the image by detailing the color, quantity, text, shape, \
    size, texture, spatial relationships of the objects and background: ";

/// Number of tokens that the template puts before the prompt; their embeddings are dropped.
pub const PREFIX_TOKENS: usize = 28;

/// Number of text rows that the transformer was trained with: the prompt, the end of the template,
/// and zeros. Requests may ask for fewer.
pub const MAX_PROMPT_TOKENS: usize = 256;

/// Renders the text to tokenize: Qwen3's chat template for one user message with thinking disabled.
pub fn render_prompt(prompt: &str) -> String {
    format!(
        "<|im_start|>user\n{SYSTEM_PROMPT}{prompt}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_prompt_is_one_line_with_a_trailing_space() {
        assert!(SYSTEM_PROMPT.ends_with("background: "));
        assert!(!SYSTEM_PROMPT.contains('\n') && !SYSTEM_PROMPT.contains("  "));
    }

    #[test]
    fn the_prompt_stands_between_the_system_text_and_the_end_of_turn() {
        let text = render_prompt("a cat");
        assert!(text.starts_with("<|im_start|>user\nDescribe the image"));
        assert!(
            text.ends_with(": a cat<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
        );
    }
}
