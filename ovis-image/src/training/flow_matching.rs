use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::check_batch::check_batch;
use super::module_update::{Trained, lift};
use super::objective::update_at_once;
use super::transformer_pass::{Parts, PassInput, PassLoss, PassModels, differentiate, walk};
use super::{
    CharacterHead, ImageBatch, ImageModels, LossTerms, LossWeighting, Objective, Outcome,
    ParameterMap, ParameterUpdate, PromptBatch, Recomputation, text,
};
use crate::error::Result;
use crate::text_encoder::TextEncoder;
use crate::transformer::TransformerInput;

/// Settings of flow matching.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowMatchingConfig {
    /// Values of the forward pass that are kept for the backward pass.
    pub recomputation: Recomputation,
    /// Weight of each timestep.
    pub loss_weighting: LossWeighting,
    /// Weight of the auxiliary cross-entropy.
    pub auxiliary_weight: f64,
}

/// Flow matching (arXiv 2210.02747, the report's first two stages): with noise `e` and a timestep
/// `t`, `x_t = (1 - t) x + t e`, and the model learns the velocity `e - x` by mean squared error.
#[derive(Debug, Clone)]
pub struct FlowMatching {
    config: FlowMatchingConfig,
}

impl FlowMatching {
    /// Creates the objective.
    pub fn new(config: FlowMatchingConfig) -> Self {
        Self { config }
    }

    /// Changes the weight of the auxiliary term, for a term that fades.
    pub fn set_auxiliary_weight(&mut self, weight: f64) {
        self.config.auxiliary_weight = weight;
    }
}

impl<A: AutodiffBackend> Objective<A> for FlowMatching {
    type Models = ImageModels<A::InnerBackend>;
    type Batch = ImageBatch<A::InnerBackend>;

    fn gradients(
        &self,
        models: &Self::Models,
        batch: Self::Batch,
    ) -> Result<Outcome<A::InnerBackend>> {
        self.gradients_of::<A>(models, batch, Trained::All)
    }

    fn update_by_part(
        &self,
        models: Self::Models,
        batch: Self::Batch,
        update: &mut ParameterUpdate<'_, A::InnerBackend>,
    ) -> (Self::Models, Result<LossTerms>) {
        match self.config.recomputation {
            Recomputation::None => update_at_once::<A, _>(self, models, batch, update),
            Recomputation::Blocks => match self.prepare::<A>(&models, batch) {
                Ok(prepared) => {
                    let (models, terms) = self.update_blocks(models, prepared, update);
                    (models, Ok(terms))
                }
                Err(error) => (models, Err(error)),
            },
        }
    }

    fn loss(&self, models: &Self::Models, batch: Self::Batch) -> Result<LossTerms> {
        let Prepared {
            input,
            mut loss,
            prompts,
        } = self.prepare::<A>(models, batch)?;
        let embeds = match prompts {
            None => input.prompt_embeds,
            Some(TrainedPrompts {
                encoder,
                input_ids,
                real,
            }) => text::encode(&encoder, input_ids, real).cast(input.latents.dtype()),
        };
        let device = embeds.device();
        let rope = models
            .transformer
            .rope(embeds.dims()[1], input.grid, &device);
        let prediction = models.transformer.forward(
            TransformerInput {
                latents: input.latents,
                prompt_embeds: embeds,
                rope: &rope,
            },
            &input.timesteps,
        );
        let prediction = Tensor::<A, 3>::from_inner(prediction.cast(DType::F32));
        loss.velocity(prediction);
        Ok(loss.terms())
    }
}

/// A checked and noised batch.
struct Prepared<A: AutodiffBackend> {
    input: PassInput<A::InnerBackend>,
    loss: Losses<A>,
    /// Prompts whose encoder is trained; otherwise their embeddings are part of the input.
    prompts: Option<TrainedPrompts<A::InnerBackend>>,
}

struct TrainedPrompts<B: Backend> {
    encoder: TextEncoder<B>,
    input_ids: Tensor<B, 2, Int>,
    real: Tensor<B, 3>,
}

impl<B: Backend> TrainedPrompts<B> {
    /// Embeds the prompts, and puts the embeddings into the input of a pass.
    fn encode<A: AutodiffBackend<InnerBackend = B>>(
        self,
        input: PassInput<B>,
    ) -> (EncodedPrompts<A>, PassInput<B>) {
        let encoder = lift::<A, TextEncoder<A>>(self.encoder);
        let ids = Tensor::<A, 2, Int>::from_inner(self.input_ids);
        let embeds = text::encode(&encoder, ids, Tensor::from_inner(self.real));
        let dtype = input.latents.dtype();
        let input = PassInput {
            prompt_embeds: embeds.clone().inner().cast(dtype),
            ..input
        };
        (EncodedPrompts { encoder, embeds }, input)
    }
}

/// Prompts that an encoder in training embedded, with their graph.
struct EncodedPrompts<A: AutodiffBackend> {
    encoder: TextEncoder<A>,
    embeds: Tensor<A, 3>,
}

impl<A: AutodiffBackend> EncodedPrompts<A> {
    /// Computes the gradients of the encoder from that of the embeddings.
    fn gradients(self, gradient: Tensor<A::InnerBackend, 3>) -> ParameterMap<A::InnerBackend> {
        let gradient = Tensor::from_inner(gradient.cast(DType::F32));
        let injected = self.embeds.cast(DType::F32) * gradient;
        let gradients = injected.sum().backward();
        ParameterMap::of_gradients::<A, _>(&self.encoder, &gradients, "text_encoder")
    }
}

impl FlowMatching {
    /// Computes the loss of a batch and the gradients of some parameters.
    pub(super) fn gradients_of<A: AutodiffBackend>(
        &self,
        models: &ImageModels<A::InnerBackend>,
        batch: ImageBatch<A::InnerBackend>,
        trained: Trained,
    ) -> Result<Outcome<A::InnerBackend>> {
        let Prepared {
            input,
            mut loss,
            prompts,
        } = self.prepare::<A>(models, batch)?;
        let pass = PassModels {
            transformer: &models.transformer,
            auxiliary: models.auxiliary.as_ref(),
            trained,
        };
        let recomputation = self.config.recomputation;
        let parameters = match prompts {
            None => differentiate::<A>(&pass, input, recomputation, &mut loss).parameters,
            Some(prompts) => {
                let (encoded, input) = prompts.encode::<A>(input);
                let mut pass = differentiate::<A>(&pass, input, recomputation, &mut loss);
                let found = encoded.gradients(pass.prompt_embeds);
                pass.parameters.add_all(found);
                pass.parameters
            }
        };
        Ok(Outcome {
            terms: loss.terms(),
            gradients: parameters,
        })
    }

    /// Walks back through the blocks, and updates each part of the models in its turn.
    fn update_blocks<A: AutodiffBackend>(
        &self,
        models: ImageModels<A::InnerBackend>,
        prepared: Prepared<A>,
        update: &mut ParameterUpdate<'_, A::InnerBackend>,
    ) -> (ImageModels<A::InnerBackend>, LossTerms) {
        let Prepared {
            input,
            mut loss,
            prompts,
        } = prepared;
        let parts = Parts {
            transformer: models.transformer,
            auxiliary: models.auxiliary,
            trained: Trained::All,
        };
        let mut text_encoder = models.text_encoder;
        let parts = match prompts {
            None => walk::<A>(parts, input, &mut loss, update).0,
            Some(prompts) => {
                let (encoded, input) = prompts.encode::<A>(input);
                let (parts, gradient) = walk::<A>(parts, input, &mut loss, update);
                let gradients = encoded.gradients(gradient);
                text_encoder =
                    text_encoder.map(|encoder| update.apply("text_encoder", encoder, gradients));
                parts
            }
        };
        let models = ImageModels {
            transformer: parts.transformer,
            text_encoder,
            auxiliary: parts.auxiliary,
        };
        (models, loss.terms())
    }

    fn prepare<A: AutodiffBackend>(
        &self,
        models: &ImageModels<A::InnerBackend>,
        batch: ImageBatch<A::InnerBackend>,
    ) -> Result<Prepared<A>> {
        check_batch(&batch, models)?;
        let weight = models.transformer.image_embedder.weight.val();
        let dtype = weight.dtype();
        let device = weight.device();
        let count = batch.timesteps.len();
        let per_image = |values: Vec<f32>| {
            Tensor::<A::InnerBackend, 3>::from_data(
                TensorData::new(values, [count, 1, 1]),
                (&device, DType::F32),
            )
        };
        let timesteps = per_image(batch.timesteps.clone());
        let uniform = self.config.loss_weighting == LossWeighting::None
            && batch.image_weights.iter().all(|weight| *weight == 1.0);
        let image_weights = batch.image_weights.iter().copied();
        let weights: Vec<f32> = batch
            .timesteps
            .iter()
            .zip(image_weights.chain(std::iter::repeat(1.0)))
            .map(|(t, weight)| self.config.loss_weighting.of(*t) * weight)
            .collect();
        let target = batch.noise.clone() - batch.latents.clone();
        let latents = batch.latents + target.clone() * timesteps;
        let (embeds, prompts) = match batch.prompts {
            PromptBatch::Encoded(embeds) => (embeds.cast(dtype), None),
            PromptBatch::Tokens { input_ids, real } => {
                let [_, tokens, _] = real.dims();
                let nothing = Tensor::zeros([count, tokens, 1], (&device, dtype));
                let encoder = models.text_encoder.clone();
                let prompts = encoder.map(|encoder| TrainedPrompts {
                    encoder,
                    input_ids,
                    real,
                });
                (nothing, prompts)
            }
        };
        let input = PassInput {
            latents: latents.cast(dtype),
            prompt_embeds: embeds,
            timesteps: batch.timesteps,
            grid: batch.grid,
        };
        let loss = Losses {
            target: Tensor::from_inner(target),
            image_weights: (!uniform).then(|| Tensor::from_inner(per_image(weights))),
            token_weights: batch.token_weights.map(Tensor::from_inner),
            characters: batch.characters.map(Tensor::from_inner),
            auxiliary_weight: self.config.auxiliary_weight,
            velocity: None,
            auxiliary: None,
        };
        Ok(Prepared {
            input,
            loss,
            prompts,
        })
    }
}

/// Losses of a pass, kept until their values are read.
struct Losses<A: AutodiffBackend> {
    target: Tensor<A, 3>,
    image_weights: Option<Tensor<A, 3>>,
    token_weights: Option<Tensor<A, 3>>,
    characters: Option<Tensor<A, 2, Int>>,
    auxiliary_weight: f64,
    velocity: Option<Tensor<A::InnerBackend, 1>>,
    auxiliary: Option<Tensor<A::InnerBackend, 1>>,
}

impl<A: AutodiffBackend> PassLoss<A> for Losses<A> {
    fn velocity(&mut self, prediction: Tensor<A, 3>) -> Tensor<A, 1> {
        let difference = prediction - self.target.clone();
        let mut squares = difference.clone() * difference;
        if let Some(weights) = &self.image_weights {
            squares = squares * weights.clone();
        }
        let loss = match &self.token_weights {
            Some(weights) => {
                let channels = squares.dims()[2] as f32;
                let total = weights.clone().sum() * channels;
                (squares * weights.clone()).sum() / total.clamp_min(1e-12)
            }
            None => squares.mean(),
        };
        self.velocity = Some(loss.clone().inner());
        loss
    }

    fn auxiliary(&mut self, head: &CharacterHead<A>, image: Tensor<A, 3>) -> Option<Tensor<A, 1>> {
        let characters = self.characters.clone()?;
        if self.auxiliary_weight == 0.0 {
            return None;
        }
        let loss = head.loss(image, characters);
        self.auxiliary = Some(loss.clone().inner());
        Some(loss * self.auxiliary_weight)
    }
}

impl<A: AutodiffBackend> Losses<A> {
    /// Reads the values, which waits for the device.
    fn terms(self) -> LossTerms {
        let read = |tensor: Tensor<A::InnerBackend, 1>| tensor.into_data().iter::<f64>().next();
        let velocity = self.velocity.and_then(read);
        let auxiliary = self.auxiliary.and_then(read);
        let mut terms = LossTerms::default();
        if let Some(velocity) = velocity {
            terms.0.insert(LossTerms::LOSS, velocity);
        }
        if let Some(auxiliary) = auxiliary {
            terms.0.insert("characters", auxiliary);
        }
        terms
    }
}
