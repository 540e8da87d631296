use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor, TensorData};
use serde::Serialize;

use super::pretrained::OvisImagePipeline;
use crate::backend::OvisOps;
use crate::error::{OvisImageError, Phase, Result};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PromptReport {
    /// Tokens that were used, the template's included.
    pub tokens: usize,
    /// Tokens that did not fit and were dropped.
    pub truncated_tokens: usize,
}

impl<B: OvisOps> EncodedPrompts<B> {
    /// One report per prompt.
    pub fn reports(&self) -> Vec<PromptReport> {
        let report = |prompt: &TokenizedPrompt| PromptReport {
            tokens: prompt.ids.len(),
            truncated_tokens: prompt.truncated,
        };
        self.tokens.iter().map(report).collect()
    }
}

impl<B: OvisOps> OvisImagePipeline<B> {
    /// Encodes prompts for [`GenerationRequest::with_prompt_embeds`] or for inspection.
    ///
    /// Each prompt runs alone on its real tokens: attention is causal and padding stands on the
    /// right, so the result is that of the padded batch with its pad rows set to zero.
    ///
    /// # Errors
    /// [`OvisImageError::InvalidArgument`] for no prompts, [`OvisImageError::Tokenizer`] when the
    /// tokenizer and the encoder do not belong together, [`OvisImageError::NonFinite`].
    ///
    /// [`GenerationRequest::with_prompt_embeds`]: super::GenerationRequest::with_prompt_embeds
    pub fn encode_prompts<S: AsRef<str>>(&self, prompts: &[S]) -> Result<EncodedPrompts<B>> {
        if prompts.is_empty() {
            return Err(OvisImageError::argument("prompts", "none were given"));
        }
        let mut embeds = Vec::with_capacity(prompts.len());
        let mut tokens = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let tokenized = self.tokenizer.tokenize(prompt.as_ref())?;
            if tokenized.truncated > 0 {
                tracing::warn!(
                    truncated = tokenized.truncated,
                    limit = MAX_PROMPT_TOKENS,
                    "the prompt is too long: its end is cut"
                );
            }
            embeds.push(self.encode_tokens(&tokenized)?);
            tokens.push(tokenized);
        }
        let embeds = Tensor::cat(embeds, 0);
        self.check_finite(embeds.clone(), Phase::TextEncoding)?;
        Ok(EncodedPrompts { embeds, tokens })
    }

    /// `[1, 256, context]` of one prompt.
    fn encode_tokens(&self, prompt: &TokenizedPrompt) -> Result<Tensor<B, 3>> {
        let [vocab, hidden] = self.text_encoder.embedding.val().dims();
        if let Some(id) = prompt.ids.iter().find(|id| **id as usize >= vocab) {
            return Err(OvisImageError::config(
                "text encoder",
                format!(
                    "vocab_size = {vocab}, but the tokenizer made the id {id}: they do not belong together"
                ),
            ));
        }
        let count = prompt.ids.len();
        let ids: Vec<i32> = prompt.ids.iter().map(|id| *id as i32).collect();
        let input_ids =
            Tensor::<B, 2, Int>::from_data(TensorData::new(ids, [1, count]), &self.device);
        let hidden_states = self.text_encoder.forward(TextEncoderInput {
            input_ids,
            attention_mask: None,
        });

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
        return Err(OvisImageError::ShapeMismatch {
            argument,
            meaning,
            expected: expected.to_vec(),
            actual: data.shape.to_vec(),
        });
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
