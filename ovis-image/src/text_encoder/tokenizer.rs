use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokenizers::models::bpe::BPE;
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

use super::prompt::{MAX_PROMPT_TOKENS, PREFIX_TOKENS, render_prompt};
use crate::error::{CheckpointError, OvisImageError, Result};
use crate::tensor_file::{is_named, read_small};

/// Special tokens of the template; a tokenizer that splits one of them is the wrong one.
const TEMPLATE_TOKENS: [&str; 2] = ["<|im_start|>", "<|im_end|>"];
/// Largest file that is read, in bytes. The release's has 11 million.
const MAX_TOKENIZER_BYTES: u64 = 256 << 20;
const PAD_TOKEN: &str = "<|endoftext|>";

/// Tokenizer with its BPE types spelled out: `tokenizers` takes twice as long to load a file whose
/// kind of model it has to detect.
type Tokenizer = TokenizerImpl<
    BPE,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// Byte-level BPE tokenizer of the checkpoint, applied to the prompt template. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PromptTokenizer {
    tokenizer: Arc<Tokenizer>,
    pad_id: u32,
}

/// Prompt as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedPrompt {
    /// Real tokens, template included: at most [`sequence_length`](Self::sequence_length).
    pub ids: Vec<u32>,
    /// Number of tokens dropped at the end because they did not fit, the end of the template
    /// included.
    pub truncated: usize,
    max_sequence_length: usize,
    pad_id: u32,
}

impl PromptTokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// Returns [`CheckpointError::NotFound`] if the file does not exist,
    /// [`CheckpointError::Tokenizer`] if it cannot be parsed, and
    /// [`CheckpointError::MissingSpecialToken`] if it lacks a token of the template.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if !is_named(path) {
            return Err(OvisImageError::not_found(
                path,
                "prompts cannot be tokenized without the tokenizer's tokenizer.json",
            ));
        }
        let bytes = read_small(path, "tokenizer", MAX_TOKENIZER_BYTES)?;
        Self::from_bytes(&bytes, path.to_owned())
    }

    /// Reads a `tokenizer.json` from its bytes; errors refer to it as `path`.
    ///
    /// # Errors
    /// Returns the errors of [`from_file`](Self::from_file), except for a missing file.
    pub fn from_bytes(bytes: &[u8], path: PathBuf) -> Result<Self> {
        let mut tokenizer: Tokenizer = serde_json::from_slice(bytes)
            .map_err(|error| OvisImageError::tokenizer(&path, error))?;
        // The template decides about padding and truncation, whatever the file specifies.
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|error| OvisImageError::tokenizer(&path, error))?;

        let special = |token: &'static str| {
            let single = tokenizer
                .encode(token, false)
                .is_ok_and(|encoding| encoding.len() == 1);
            match tokenizer.token_to_id(token) {
                Some(id) if single => Ok(id),
                _ => Err(OvisImageError::Checkpoint(
                    CheckpointError::MissingSpecialToken {
                        path: path.clone(),
                        token,
                    },
                )),
            }
        };
        for token in TEMPLATE_TOKENS {
            special(token)?;
        }
        let pad_id = special(PAD_TOKEN)?;
        Ok(Self {
            tokenizer: Arc::new(tokenizer),
            pad_id,
        })
    }

    /// Renders the template and tokenizes it for [`MAX_PROMPT_TOKENS`] rows of text.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) if
    /// the tokenizer cannot encode the text.
    pub fn tokenize(&self, prompt: &str) -> Result<TokenizedPrompt> {
        self.tokenize_to(prompt, MAX_PROMPT_TOKENS)
    }

    /// Renders the template, tokenizes it and cuts it on the right to the template's
    /// [prefix](PREFIX_TOKENS) and `max_sequence_length` tokens after it.
    ///
    /// # Errors
    /// Returns the errors of [`tokenize`](Self::tokenize).
    pub fn tokenize_to(&self, prompt: &str, max_sequence_length: usize) -> Result<TokenizedPrompt> {
        let limit = PREFIX_TOKENS.saturating_add(max_sequence_length);
        let encoding = self
            .tokenizer
            .encode_fast(render_prompt(prompt), false)
            .map_err(|error| {
                OvisImageError::argument_because("prompt", "the tokenizer cannot encode it", error)
            })?;
        let mut ids = encoding.get_ids().to_vec();
        let truncated = ids.len().saturating_sub(limit);
        ids.truncate(limit);
        Ok(TokenizedPrompt {
            ids,
            truncated,
            max_sequence_length,
            pad_id: self.pad_id,
        })
    }

    /// Returns the size of the vocabulary, added tokens included: every id is below it.
    pub fn vocab_size(&self) -> usize {
        // The size follows from the largest id, because ids may have holes.
        self.tokenizer
            .get_vocab(true)
            .values()
            .max()
            .map_or(0, |id| *id as usize + 1)
    }
}

impl TokenizedPrompt {
    /// Returns the number of text rows that the transformer reads for this prompt.
    pub fn max_sequence_length(&self) -> usize {
        self.max_sequence_length
    }

    /// Returns the length of the padded sequence: the text rows and the template's prefix.
    pub fn sequence_length(&self) -> usize {
        PREFIX_TOKENS.saturating_add(self.max_sequence_length)
    }

    /// Returns the ids padded on the right, like the reference's `input_ids`.
    pub fn padded_ids(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = self.ids.iter().map(|id| i64::from(*id)).collect();
        ids.resize(self.sequence_length(), i64::from(self.pad_id));
        ids
    }

    /// Returns the mask with 1 for a real token and 0 for padding, like the reference's
    /// `attention_mask`.
    pub fn attention_mask(&self) -> Vec<i64> {
        (0..self.sequence_length())
            .map(|position| i64::from(position < self.ids.len()))
            .collect()
    }
}
