//! Embeddings of a request's prompts and negative prompts, encoded from text or given by the
//! caller.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};

use super::check::CheckedRequest;
use super::pretrained::OvisImagePipeline;
use crate::error::Result;
use crate::loaded_models::EncodedPrompts;
use crate::request::{GenerationRequest, checked_data};

/// Embeddings of a request's prompts and, with guidance, of its negative prompts.
#[derive(Debug)]
pub(super) struct RequestEmbeddings<B: Backend> {
    pub(super) prompts: EncodedPrompts<B>,
    pub(super) negative_prompts: Option<EncodedPrompts<B>>,
}

impl<B: Backend> OvisImagePipeline<B> {
    pub(super) fn embeddings(
        &self,
        request: &GenerationRequest,
        checked: &CheckedRequest,
    ) -> Result<RequestEmbeddings<B>> {
        // Given embeddings are checked before a prompt is encoded.
        let given = |argument, embeds: Option<&TensorData>| {
            embeds
                .map(|embeds| self.given_embeds(argument, embeds, checked))
                .transpose()
        };
        let given_prompts = given("prompt_embeds", request.prompt_embeds())?;
        let given_negative = match request.negative_prompt_embeds() {
            Some(embeds) if checked.guided => given("negative_prompt_embeds", Some(embeds))?,
            _ => None,
        };
        let parameters = request.parameters();
        let encode = |given: Option<EncodedPrompts<B>>, prompts: &[String]| match given {
            Some(given) => Ok(given),
            None => self
                .prompt_encoder()
                .encode(prompts, parameters.max_sequence_length),
        };
        let prompts = encode(given_prompts, &parameters.prompts)?;
        let negative_prompts = if checked.guided {
            Some(encode(given_negative, &parameters.negative_prompts)?)
        } else {
            None
        };
        Ok(RequestEmbeddings {
            prompts,
            negative_prompts,
        })
    }

    /// Checks embeddings given by the caller against the transformer, and moves them to the device.
    fn given_embeds(
        &self,
        argument: &'static str,
        data: &TensorData,
        checked: &CheckedRequest,
    ) -> Result<EncodedPrompts<B>> {
        // A single negative prompt applies to all prompts.
        let batch = match data.shape.first() {
            Some(1) if argument == "negative_prompt_embeds" => 1,
            _ => checked.prompts,
        };
        let [rows, context] = checked.text_shape;
        let data = checked_data(
            argument,
            "prompts, text tokens, context",
            data,
            &[batch, rows, context],
        )?;
        let embeds = Tensor::<B, 3>::from_data(data, (self.device(), DType::F32));
        Ok(EncodedPrompts {
            embeds: embeds.cast(self.dtype().to_burn()),
            tokens: Vec::new(),
        })
    }
}
