//! Safetensors files: the tensors of a run, and initial noise.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use ovis_image::error::{CheckpointError, OvisImageError};
use ovis_image::tensor_file::TensorSource;
use ovis_image::text_encoder::TokenizedPrompt;
use ovis_image::{GenerationOutput, WeightDtype};
use safetensors::tensor::{Dtype, TensorView};

use crate::shared::input_file;
use crate::shared::output_file::write_whole;

/// Name of the tensor that is read as initial noise.
const LATENTS: &str = "latents";

/// Name of the initial noise in a dump. It is read if there is no tensor `latents`.
const LATENTS_OF_DUMP: &str = "latents_in";

/// Number of tensors that are named if it is not among them.
const MOST_NAMES: usize = 16;

/// Reads the initial noise of a safetensors file as f32, if it has at most `most` elements: the
/// tensor `latents`, or `latents_in` of a dump. The rest of the file is not read.
///
/// # Errors
/// Returns [`CheckpointError::NotFound`], [`CheckpointError::InvalidFile`] (also for a file without
/// that tensor, or with a larger one) or [`CheckpointError::UnknownDtype`].
pub fn read_latents(path: &Path, most: usize) -> ovis_image::Result<TensorData> {
    let invalid = |reason: String| {
        OvisImageError::from(CheckpointError::InvalidFile {
            path: path.to_owned(),
            format: "safetensors",
            reason,
            source: None,
        })
    };
    if let Err(error) = input_file::check(path)
        && error.kind() == ErrorKind::InvalidInput
    {
        return Err(invalid(error.to_string()));
    }
    let file = TensorSource::open(path)?;
    let found = [LATENTS, LATENTS_OF_DUMP]
        .into_iter()
        .find_map(|name| Some((name, file.shape(name)?)));
    let Some((name, shape)) = found else {
        let names: Vec<&str> = file.names().take(MOST_NAMES).collect();
        return Err(invalid(format!(
            "it contains neither the tensor `{LATENTS}` nor `{LATENTS_OF_DUMP}`, only {names:?}"
        )));
    };
    let elements = shape.iter().copied().fold(1, usize::saturating_mul);
    if elements > most {
        return Err(invalid(format!(
            "`{name}` has shape {shape:?}, which is more than the images have pixels: it must be \
             [images, channels, height / 8, width / 8]"
        )));
    }
    file.read(name, WeightDtype::F32)
}

/// Writes the tensors between the prompt and the image: `input_ids` and `attention_mask`
/// `[P, 28 + N]` i64; `prompt_embeds` and, with guidance, `negative_prompt_embeds` `[P, N, C]`;
/// `sigmas` `[steps + 1]`; `latents_in` and `latents_out` `[B, C, h, w]`; `image` `[B, 3, H, W]` in
/// 0..1, all f32.
///
/// # Errors
/// Returns the errors of the device and of the file system.
pub fn write<B: Backend>(path: &Path, output: &GenerationOutput<B>) -> Result<()> {
    let prompts = &output.encoded_prompts;
    let mut tensors = vec![
        ids("input_ids", &prompts.tokens, TokenizedPrompt::padded_ids),
        ids(
            "attention_mask",
            &prompts.tokens,
            TokenizedPrompt::attention_mask,
        ),
        floats("prompt_embeds", &prompts.embeds)?,
        floats("latents_in", &output.initial_latents)?,
        floats("latents_out", &output.latents)?,
        floats("image", &output.image_tensor)?,
    ];
    if let Some(negative) = &output.encoded_negative_prompts {
        tensors.push(floats("negative_prompt_embeds", &negative.embeds)?);
    }
    let sigmas = &output.settings.sigmas;
    tensors.push(HostTensor {
        name: "sigmas",
        dtype: Dtype::F32,
        shape: vec![sigmas.len()],
        bytes: little_endian(sigmas, |value| value.to_le_bytes()),
    });

    let views = tensors
        .iter()
        .map(|tensor| {
            let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)?;
            Ok((tensor.name, view))
        })
        .collect::<Result<Vec<_>>>()?;
    write_whole(path, &safetensors::serialize(views, None)?)
}

/// A tensor in the form in which it is written.
struct HostTensor {
    name: &'static str,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Collects one row of ids per prompt.
fn ids(
    name: &'static str,
    prompts: &[TokenizedPrompt],
    row: impl Fn(&TokenizedPrompt) -> Vec<i64>,
) -> HostTensor {
    let values: Vec<i64> = prompts.iter().flat_map(row).collect();
    let tokens = prompts.first().map_or(0, TokenizedPrompt::sequence_length);
    HostTensor {
        name,
        dtype: Dtype::I64,
        shape: vec![prompts.len(), tokens],
        bytes: little_endian(&values, |value| value.to_le_bytes()),
    }
}

fn floats<B: Backend, const D: usize>(
    name: &'static str,
    tensor: &Tensor<B, D>,
) -> Result<HostTensor> {
    let values = tensor
        .clone()
        .try_into_data()
        .ok()
        .and_then(|data| data.convert::<f32>().into_vec::<f32>().ok())
        .with_context(|| format!("cannot read `{name}` back from the device"))?;
    Ok(HostTensor {
        name,
        dtype: Dtype::F32,
        shape: tensor.dims().to_vec(),
        bytes: little_endian(&values, |value| value.to_le_bytes()),
    })
}

fn little_endian<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| bytes(*value)).collect()
}
