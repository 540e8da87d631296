use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::pretrained::OvisImagePipeline;
use crate::error::{OvisImageError, Phase, RequestError, Result};
use crate::text_encoder::{MAX_PROMPT_TOKENS, PREFIX_TOKENS, TextEncoderInput, TokenizedPrompt};

/// Prompts as the transformer reads them.
#[derive(Debug, Clone)]
pub struct EncodedPrompts<B: Backend> {
    /// `[prompts, 256, context]`, zeros after each prompt's tokens, in the text encoder's dtype.
    pub embeds: Tensor<B, 3>,
    /// The token ids; empty when the embeddings were given.
    pub tokens: Vec<TokenizedPrompt>,
}

/// What the tokenizer made of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptReport {
    /// Tokens that were used, the template's included.
    pub tokens: usize,
    /// Tokens that did not fit and were dropped.
    pub truncated_tokens: usize,
}

impl<B: Backend> EncodedPrompts<B> {
    /// One report per prompt.
    pub fn reports(&self) -> Vec<PromptReport> {
        let report = |prompt: &TokenizedPrompt| PromptReport {
            tokens: prompt.ids.len(),
            truncated_tokens: prompt.truncated,
        };
        self.tokens.iter().map(report).collect()
    }
}

impl<B: Backend> OvisImagePipeline<B> {
    /// Encodes prompts for [`GenerationRequest::with_prompt_embeds`] or for inspection.
    ///
    /// Each prompt runs alone on its real tokens: attention is causal and padding stands on the
    /// right, so the result is that of the padded batch with its pad rows set to zero.
    ///
    /// # Errors
    /// [`RequestError::InvalidArgument`] for no prompts, the errors of
    /// [`tokenizer`](Self::tokenizer),
    /// [`CheckpointError::FileChanged`](crate::error::CheckpointError::FileChanged),
    /// [`RuntimeError::NonFinite`](crate::error::RuntimeError::NonFinite).
    ///
    /// [`GenerationRequest::with_prompt_embeds`]: super::GenerationRequest::with_prompt_embeds
    pub fn encode_prompts<S: AsRef<str>>(&self, prompts: &[S]) -> Result<EncodedPrompts<B>> {
        if prompts.is_empty() {
            return Err(OvisImageError::argument("prompts", "none were given"));
        }
        self.files.check_text_encoder()?;
        let tokenizer = self.tokenizer()?;
        let mut embeds = Vec::with_capacity(prompts.len());
        let mut tokens = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let tokenized = tokenizer.tokenize(prompt.as_ref())?;
            if tokenized.truncated > 0 {
                tracing::warn!(
                    truncated = tokenized.truncated,
                    limit = MAX_PROMPT_TOKENS,
                    "the prompt is too long: its end is cut"
                );
            }
            embeds.push(match prompt.as_ref() {
                "" => self.encode_empty(&tokenized)?,
                _ => self.encode_tokens(&tokenized)?,
            });
            tokens.push(tokenized);
        }
        let embeds = Tensor::cat(embeds, 0);
        self.check_finite(embeds.clone(), Phase::TextEncoding)?;
        Ok(EncodedPrompts { embeds, tokens })
    }

    /// `[1, 256, context]` of the empty prompt, kept from its first use on.
    fn encode_empty(&self, prompt: &TokenizedPrompt) -> Result<Tensor<B, 3>> {
        if let Some(embeds) = self.empty_prompt.get() {
            return Ok(embeds.clone());
        }
        let embeds = self.encode_tokens(prompt)?;
        Ok(self.empty_prompt.get_or_init(|| embeds).clone())
    }

    /// `[1, 256, context]` of one prompt.
    fn encode_tokens(&self, prompt: &TokenizedPrompt) -> Result<Tensor<B, 3>> {
        let table = self.text_encoder.embedding.lazy_shape();
        let (vocab, hidden) = (table[0], table[1]);
        if let Some(id) = prompt.ids.iter().find(|id| **id as usize >= vocab) {
            return Err(OvisImageError::config(
                "text encoder",
                format!(
                    "vocab_size = {vocab}, but the tokenizer made the id {id}: they do not belong together"
                ),
            ));
        }
        let hidden_states = self.hidden_states(&prompt.ids);

        let count = prompt.ids.len();
        let kept = count.saturating_sub(PREFIX_TOKENS);
        let zeros =
            |rows: usize| Tensor::zeros([1, rows, hidden], (&self.device, hidden_states.dtype()));
        let parts = match kept {
            0 => vec![zeros(MAX_PROMPT_TOKENS)],
            MAX_PROMPT_TOKENS => vec![hidden_states.narrow(1, PREFIX_TOKENS, kept)],
            _ => vec![
                hidden_states.clone().narrow(1, PREFIX_TOKENS, kept),
                zeros(MAX_PROMPT_TOKENS - kept),
            ],
        };
        Ok(Tensor::cat(parts, 1))
    }

    /// The encoder's output for a prompt's tokens, `[1, tokens, hidden]`.
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

    /// Takes embeddings given by a caller, checked against the transformer.
    pub(super) fn given_embeds(
        &self,
        argument: &'static str,
        data: &TensorData,
        prompts: usize,
    ) -> Result<EncodedPrompts<B>> {
        let context = self.requirements.transformer.joint_attention_dim;
        // One negative serves all prompts.
        let batch = match data.shape.first() {
            Some(1) if argument == "negative_prompt_embeds" => 1,
            _ => prompts,
        };
        let expected = [batch, MAX_PROMPT_TOKENS, context];
        let embeds = self
            .given_tensor::<3>(argument, "prompts, text tokens, context", data, expected)?
            .cast(self.dtype.to_burn());
        Ok(EncodedPrompts {
            embeds,
            tokens: Vec::new(),
        })
    }

    /// A caller's tensor as f32 on the device, its shape and values checked.
    pub(super) fn given_tensor<const D: usize>(
        &self,
        argument: &'static str,
        meaning: &'static str,
        data: &TensorData,
        expected: [usize; D],
    ) -> Result<Tensor<B, D>> {
        let data = checked_data(argument, meaning, data, &expected)?;
        Ok(Tensor::from_data(data, (&self.device, DType::F32)))
    }
}

/// A caller's tensor as f32 on the host, its shape and values checked.
pub(super) fn checked_data(
    argument: &'static str,
    meaning: &'static str,
    data: &TensorData,
    expected: &[usize],
) -> Result<TensorData> {
    if data.shape[..] != *expected {
        return Err(RequestError::ShapeMismatch {
            argument,
            meaning,
            expected: expected.to_vec(),
            actual: data.shape.to_vec(),
        }
        .into());
    }
    if !data.dtype.is_float() {
        return Err(OvisImageError::argument(
            argument,
            format!("its dtype {:?} is not a float", data.dtype),
        ));
    }
    let data = data.clone().convert::<f32>();
    let finite = data
        .as_slice::<f32>()
        .is_ok_and(|values| values.iter().all(|value| value.is_finite()));
    if !finite {
        return Err(OvisImageError::argument(
            argument,
            "it contains NaN or infinity",
        ));
    }
    Ok(data)
}
