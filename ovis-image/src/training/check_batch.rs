//! Checks of a batch against the models, so that no shape or number of it reaches a panic.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use super::{CharacterHead, ImageBatch, ImageModels, PromptBatch};
use crate::error::{OvisImageError, Result};
use crate::text_encoder::{PREFIX_TOKENS, TextEncoder};

/// Checks that the shapes of a batch agree with one another and with the models, and that its ids
/// and characters are ones that the models know. Reads integers back to the host.
pub(super) fn check_batch<B: Backend>(
    batch: &ImageBatch<B>,
    models: &ImageModels<B>,
) -> Result<()> {
    let [_, channels] = models.transformer.image_embedder.weight.dims();
    let [_, context] = models.transformer.text_embedder.weight.dims();
    check_images(batch, channels)?;
    check_timesteps(batch)?;
    check_image_weights(batch)?;
    check_prompts(&batch.prompts, batch.latents.dims()[0], context, models)?;
    match (&batch.characters, &models.auxiliary) {
        (Some(characters), Some(head)) => check_characters(characters, head, batch.latents.dims()),
        _ => Ok(()),
    }
}

fn check_images<B: Backend>(batch: &ImageBatch<B>, channels: usize) -> Result<()> {
    let dims @ [images, tokens, found] = batch.latents.dims();
    if images == 0 || tokens == 0 || found != channels {
        return Err(OvisImageError::argument(
            "batch.latents",
            format!("their shape is {dims:?}: images and tokens of {channels} channels are needed"),
        ));
    }
    let noise = batch.noise.dims();
    if noise != dims {
        return Err(OvisImageError::argument(
            "batch.noise",
            format!("its shape is {noise:?}, that of the latents {dims:?}"),
        ));
    }
    let [rows, columns] = batch.grid;
    if rows.checked_mul(columns) != Some(tokens) {
        return Err(OvisImageError::argument(
            "batch.grid",
            format!("{rows} x {columns} patches, but {tokens} tokens"),
        ));
    }
    let weights = batch.token_weights.as_ref().map(Tensor::dims);
    match weights {
        Some(weights) if weights != [images, tokens, 1] => Err(OvisImageError::argument(
            "batch.token_weights",
            format!("their shape is {weights:?}, not [{images}, {tokens}, 1]"),
        )),
        _ => Ok(()),
    }
}

fn check_image_weights<B: Backend>(batch: &ImageBatch<B>) -> Result<()> {
    let (count, [images, ..]) = (batch.image_weights.len(), batch.latents.dims());
    if count != 0 && count != images {
        return Err(OvisImageError::argument(
            "batch.image_weights",
            format!("{count} of them for {images} images"),
        ));
    }
    let mut weights = batch.image_weights.iter();
    match weights.find(|weight| !(weight.is_finite() && **weight >= 0.0)) {
        Some(bad) => Err(OvisImageError::argument(
            "batch.image_weights",
            format!("{bad} is negative or not a number"),
        )),
        None => Ok(()),
    }
}

fn check_timesteps<B: Backend>(batch: &ImageBatch<B>) -> Result<()> {
    let (count, [images, ..]) = (batch.timesteps.len(), batch.latents.dims());
    if count != images {
        return Err(OvisImageError::argument(
            "batch.timesteps",
            format!("{count} of them for {images} images"),
        ));
    }
    match batch.timesteps.iter().find(|t| !(0.0..=1.0).contains(*t)) {
        Some(bad) => Err(OvisImageError::argument(
            "batch.timesteps",
            format!("{bad} is not between 0 and 1"),
        )),
        None => Ok(()),
    }
}

fn check_prompts<B: Backend>(
    prompts: &PromptBatch<B>,
    images: usize,
    context: usize,
    models: &ImageModels<B>,
) -> Result<()> {
    match prompts {
        PromptBatch::Encoded(embeds) => {
            let dims @ [count, tokens, width] = embeds.dims();
            if count == images && tokens > 0 && width == context {
                return Ok(());
            }
            Err(OvisImageError::argument(
                "batch.prompts",
                format!("embeddings of {dims:?}, not [{images}, text tokens, {context}]"),
            ))
        }
        PromptBatch::Tokens { input_ids, real } => match &models.text_encoder {
            Some(encoder) => check_tokens(input_ids, real.dims(), images, context, encoder),
            None => Err(OvisImageError::argument(
                "batch.prompts",
                "token ids need a text encoder that is trained: pass their embeddings, or a text encoder",
            )),
        },
    }
}

fn check_tokens<B: Backend>(
    input_ids: &Tensor<B, 2, Int>,
    real: [usize; 3],
    images: usize,
    context: usize,
    encoder: &TextEncoder<B>,
) -> Result<()> {
    let ids @ [count, length] = input_ids.dims();
    let text_tokens = length.saturating_sub(PREFIX_TOKENS);
    if count != images || text_tokens == 0 || real != [images, text_tokens, 1] {
        return Err(OvisImageError::argument(
            "batch.prompts",
            format!(
                "ids of {ids:?} and a mask of {real:?} for {images} images: the mask lacks the template's prefix alone"
            ),
        ));
    }
    let [vocabulary, hidden] = encoder.embedding.dims();
    if hidden != context {
        return Err(OvisImageError::argument(
            "batch.prompts",
            format!("the text encoder's width is {hidden}, but the transformer reads {context}"),
        ));
    }
    match outside(input_ids.clone(), vocabulary) {
        Some(id) => Err(OvisImageError::argument(
            "batch.prompts",
            format!("{id} is not one of the {vocabulary} token ids"),
        )),
        None => Ok(()),
    }
}

fn check_characters<B: Backend>(
    characters: &Tensor<B, 2, Int>,
    head: &CharacterHead<B>,
    [images, tokens, _]: [usize; 3],
) -> Result<()> {
    let (dims, cells, classes) = (characters.dims(), head.cells(), head.classes());
    if dims != [images, tokens * cells] {
        return Err(OvisImageError::argument(
            "batch.characters",
            format!("their shape is {dims:?}, not [{images}, {tokens} tokens * {cells} cells]"),
        ));
    }
    match outside(characters.clone(), classes) {
        Some(character) => Err(OvisImageError::argument(
            "batch.characters",
            format!("{character} is not one of the head's {classes} classes"),
        )),
        None => Ok(()),
    }
}

/// Returns the first value that is not within `0..count`.
fn outside<B: Backend>(values: Tensor<B, 2, Int>, count: usize) -> Option<i64> {
    let within = |value: &i64| usize::try_from(*value).is_ok_and(|value| value < count);
    let data = values.into_data();
    data.iter::<i64>().find(|value| !within(value))
}
