//! Encoding of prompts to the embeddings that the transformer reads.

use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use crate::checkpoint::{Checkpoint, Part, PendingTokenizer};
use crate::config::{TextEncoderConfig, WeightDtype};
use crate::error::{OvisImageError, Phase, Result};
use crate::images::check_finite;
use crate::parameters::ParameterRole;
use crate::request::{LoadOptions, PromptReport};
use crate::tensor_file::FilesInUse;
use crate::text_encoder::{
    PREFIX_TOKENS, PromptTokenizer, TextEncoder, TextEncoderInput, TokenizedPrompt,
};
use crate::weights::{LoadedModel, MappedRows, load_weights};

/// Prompt embeddings as the transformer reads them, with their token ids.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EncodedPrompts<B: Backend> {
    /// Embeddings, `[prompts, max_sequence_length, context]`, in the text encoder's dtype, with
    /// zeros after each prompt's tokens.
    pub embeds: Tensor<B, 3>,
    /// Token ids of each prompt; empty if the embeddings were given.
    pub tokens: Vec<TokenizedPrompt>,
}

impl<B: Backend> EncodedPrompts<B> {
    /// Token counts of each prompt.
    pub fn reports(&self) -> Vec<PromptReport> {
        let report = |prompt: &TokenizedPrompt| PromptReport {
            tokens: prompt.ids.len(),
            truncated_tokens: prompt.truncated,
        };
        self.tokens.iter().map(report).collect()
    }
}

/// Text encoder with its tokenizer.
#[derive(Debug, Clone)]
pub(crate) struct PromptEncoder<B: Backend> {
    tokenizer: PendingTokenizer,
    text_encoder: TextEncoder<B>,
    /// Rows of the embedding table in its file; `None` if the encoder did not come from the
    /// checkpoint.
    embedding_rows: Option<MappedRows>,
    /// Embeddings of the empty prompt, which is the default negative prompt: `[1,
    /// max_sequence_length, context]`, for the last length requested.
    empty_prompt: Arc<Mutex<Option<Tensor<B, 3>>>>,
    files_in_use: FilesInUse,
    device: B::Device,
}

impl<B: Backend> PromptEncoder<B> {
    /// Reads a checkpoint's text encoder while another thread parses the tokenizer.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        in_place: bool,
        device: &B::Device,
    ) -> Result<Self> {
        let tokenizer = PendingTokenizer::start(checkpoint);
        let part = &checkpoint.text_encoder;
        let LoadedModel {
            model: mut text_encoder,
            files,
            ..
        } = load_weights(
            part.config.init(device),
            part.weights(options.dtype, in_place),
            |stored| options.text_encoder_placement(stored),
            device,
        )?;
        text_encoder.stream_absent_weights();
        Ok(Self {
            tokenizer,
            text_encoder,
            embedding_rows: token_embedding_rows(part, options.dtype),
            empty_prompt: Arc::default(),
            files_in_use: FilesInUse::new(files),
            device: device.clone(),
        })
    }

    /// Replaces the checkpoint's text encoder.
    pub(crate) fn with_text_encoder(self, text_encoder: TextEncoder<B>) -> Self {
        Self {
            text_encoder,
            embedding_rows: None,
            empty_prompt: Arc::default(),
            files_in_use: FilesInUse::default(),
            ..self
        }
    }

    /// Checks that no file in use was shortened or overwritten.
    pub(crate) fn check_files(&self) -> Result<()> {
        self.files_in_use.check()
    }

    pub(crate) fn text_encoder(&self) -> &TextEncoder<B> {
        &self.text_encoder
    }

    pub(crate) fn tokenizer(&self) -> Result<&PromptTokenizer> {
        self.tokenizer.get()
    }

    /// Encodes each prompt separately, without padding tokens.
    ///
    /// Attention is causal and padding is on the right, so the result equals that of the padded
    /// batch with its padding rows set to zero.
    pub(crate) fn encode<S: AsRef<str>>(
        &self,
        prompts: &[S],
        max_sequence_length: usize,
    ) -> Result<EncodedPrompts<B>> {
        if prompts.is_empty() {
            return Err(OvisImageError::argument(
                "prompts",
                "at least one prompt is needed",
            ));
        }
        self.check_files()?;
        let tokenizer = self.tokenizer()?;
        let mut embeds = Vec::with_capacity(prompts.len());
        let mut tokens = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let tokenized = tokenizer.tokenize_to(prompt.as_ref(), max_sequence_length)?;
            if tokenized.truncated > 0 {
                tracing::warn!(
                    truncated = tokenized.truncated,
                    limit = max_sequence_length,
                    "the prompt is too long; its end was cut off"
                );
            }
            embeds.push(match prompt.as_ref() {
                "" => self.encode_empty(&tokenized)?,
                _ => self.encode_tokens(&tokenized)?,
            });
            tokens.push(tokenized);
        }
        let embeds = Tensor::cat(embeds, 0);
        check_finite(&embeds, Phase::TextEncoding)?;
        Ok(EncodedPrompts { embeds, tokens })
    }

    /// Embeddings of the empty prompt, `[1, max_sequence_length, context]`, kept for the next
    /// request.
    fn encode_empty(&self, prompt: &TokenizedPrompt) -> Result<Tensor<B, 3>> {
        // A poisoned lock is safe to use: the value is replaced as a whole.
        let kept = || {
            let kept = self.empty_prompt.lock();
            kept.unwrap_or_else(PoisonError::into_inner)
        };
        let rows = prompt.max_sequence_length();
        if let Some(embeds) = kept().as_ref().filter(|embeds| embeds.dims()[1] == rows) {
            return Ok(embeds.clone());
        }
        let embeds = self.encode_tokens(prompt)?;
        *kept() = Some(embeds.clone());
        Ok(embeds)
    }

    /// Embeddings of one prompt, `[1, max_sequence_length, context]`.
    fn encode_tokens(&self, prompt: &TokenizedPrompt) -> Result<Tensor<B, 3>> {
        let table = self.text_encoder.embedding.lazy_shape();
        let (vocab, hidden) = (table[0], table[1]);
        if let Some(id) = prompt.ids.iter().find(|id| **id as usize >= vocab) {
            return Err(OvisImageError::config(
                "text encoder",
                format!(
                    "vocab_size = {vocab}, but the tokenizer produced the token id {id}: they belong to different models"
                ),
            ));
        }
        let hidden_states = self.hidden_states(&prompt.ids);
        let kept = prompt.ids.len().saturating_sub(PREFIX_TOKENS);
        let padding = prompt.max_sequence_length().saturating_sub(kept);
        let mut parts = Vec::with_capacity(2);
        if kept > 0 {
            parts.push(hidden_states.clone().narrow(1, PREFIX_TOKENS, kept));
        }
        if padding > 0 {
            let options = (&self.device, hidden_states.dtype());
            parts.push(Tensor::zeros([1, padding, hidden], options));
        }
        Ok(Tensor::cat(parts, 1))
    }

    /// Output of the encoder for a prompt's tokens, `[1, tokens, hidden]`.
    fn hidden_states(&self, ids: &[u32]) -> Tensor<B, 3> {
        let text_encoder = &self.text_encoder;
        let rows = self.embedding_rows.as_ref();
        match rows.and_then(|rows| rows.gather(ids)) {
            Some(rows) => {
                let dtype = rows.dtype;
                let embeds = Tensor::<B, 2>::from_data(rows, (&self.device, dtype));
                text_encoder.forward_embeds(embeds.unsqueeze(), None)
            }
            None => {
                let count = ids.len();
                let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
                let ids = TensorData::new(ids, [1, count]);
                text_encoder.forward(TextEncoderInput {
                    input_ids: Tensor::<B, 2, Int>::from_data(ids, &self.device),
                    attention_mask: None,
                })
            }
        }
    }
}

/// Rows of the token embedding table in its file.
fn token_embedding_rows(part: &Part<TextEncoderConfig>, dtype: WeightDtype) -> Option<MappedRows> {
    let parameters = part.config.parameters();
    let mut parameters = parameters.iter();
    let table = parameters.find(|other| other.role == ParameterRole::TokenEmbedding)?;
    MappedRows::new(&part.source, &part.table, &table.path, dtype.to_burn())
}
