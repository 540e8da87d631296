use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokenizers::models::bpe::BPE;
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

use super::prompt::{MAX_PROMPT_TOKENS, PREFIX_TOKENS, render_prompt};
use crate::error::{CheckpointError, OvisImageError, Result};

/// The tokens that the template is made of: a tokenizer that splits one of them is the wrong one.
const TEMPLATE_TOKENS: [&str; 2] = ["<|im_start|>", "<|im_end|>"];
const PAD_TOKEN: &str = "<|endoftext|>";

/// Typed as the BPE that it is: finding out a model's kind takes `tokenizers` twice as long.
type Tokenizer = TokenizerImpl<
    BPE,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// The checkpoint's byte-level BPE, applied to the prompt template. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PromptTokenizer {
    tokenizer: Arc<Tokenizer>,
    pad_id: u32,
}

/// A prompt as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedPrompt {
    /// The real tokens, template included: at most [`sequence_length`](Self::sequence_length).
    pub ids: Vec<u32>,
    /// Tokens at the end that did not fit and were dropped, the template's end included.
    pub truncated: usize,
    max_sequence_length: usize,
    pad_id: u32,
}

impl PromptTokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`CheckpointError::NotFound`], [`CheckpointError::Tokenizer`] when it cannot be parsed, and
    /// [`CheckpointError::MissingSpecialToken`] when it lacks a token of the template.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match std::fs::read(path) {
            Ok(bytes) => Self::from_bytes(&bytes, path.to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(OvisImageError::not_found(
                    path,
                    "the tokenizer's tokenizer.json is needed to read prompts",
                ))
            }
            Err(error) => Err(OvisImageError::io(path, error)),
        }
    }

    /// Reads the bytes of a `tokenizer.json`; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn from_bytes(bytes: &[u8], path: PathBuf) -> Result<Self> {
        let mut tokenizer: Tokenizer = serde_json::from_slice(bytes)
            .map_err(|error| OvisImageError::tokenizer(&path, error))?;
        // Whatever the file says of padding and truncation, the template decides here.
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
    /// [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) when
    /// the tokenizer refuses the text.
    pub fn tokenize(&self, prompt: &str) -> Result<TokenizedPrompt> {
        self.tokenize_to(prompt, MAX_PROMPT_TOKENS)
    }

    /// Renders the template and tokenizes it, cut on the right to the template's
    /// [prefix](PREFIX_TOKENS) and `max_sequence_length` tokens after it.
    ///
    /// # Errors
    /// As [`tokenize`](Self::tokenize).
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

    /// Size of the vocabulary, added tokens included: ids are below it.
    pub fn vocab_size(&self) -> usize {
        // The largest id decides: ids may have holes.
        self.tokenizer
            .get_vocab(true)
            .values()
            .max()
            .map_or(0, |id| *id as usize + 1)
    }
}

impl TokenizedPrompt {
    /// Number of rows of text that the transformer reads of the prompt.
    pub fn max_sequence_length(&self) -> usize {
        self.max_sequence_length
    }

    /// Length of the padded sequence: the rows of text and the template's prefix.
    pub fn sequence_length(&self) -> usize {
        PREFIX_TOKENS.saturating_add(self.max_sequence_length)
    }

    /// The ids padded on the right, as the reference's `input_ids`.
    pub fn padded_ids(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = self.ids.iter().map(|id| i64::from(*id)).collect();
        ids.resize(self.sequence_length(), i64::from(self.pad_id));
        ids
    }

    /// 1 for a real token, 0 for padding, as the reference's `attention_mask`.
    pub fn attention_mask(&self) -> Vec<i64> {
        (0..self.sequence_length())
            .map(|position| i64::from(position < self.ids.len()))
            .collect()
    }
}
