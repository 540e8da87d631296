//! Safetensors files: the tensors of a run, and initial noise.

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use half::{bf16, f16};
use ovis_image::GenerationOutput;
use ovis_image::error::{BoxError, CheckpointError};
use ovis_image::text_encoder::TokenizedPrompt;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::shared::output_file::write_whole;

/// Name of the tensor that is read as initial noise.
const LATENTS: &str = "latents";

/// Name of the initial noise in a dump, which is read if there is no tensor `latents`.
const LATENTS_OF_DUMP: &str = "latents_in";

/// Reads the initial noise of a safetensors file as f32: the tensor `latents`, or `latents_in` of a
/// dump.
///
/// # Errors
/// Returns [`CheckpointError::NotFound`], [`CheckpointError::InvalidFile`] (also for a file without
/// that tensor) or [`CheckpointError::UnknownDtype`].
pub fn read_latents(path: &Path) -> Result<TensorData, CheckpointError> {
    let invalid = |reason: String, source: Option<BoxError>| CheckpointError::InvalidFile {
        path: path.to_owned(),
        format: "safetensors",
        reason,
        source,
    };
    let bytes = std::fs::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => CheckpointError::NotFound {
            path: path.to_owned(),
            hint: format!("a safetensors file with the tensor `{LATENTS}` was expected here"),
        },
        _ => CheckpointError::Io {
            path: path.to_owned(),
            source,
        },
    })?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|error| invalid("it cannot be parsed".to_owned(), Some(error.into())))?;
    let tensor = file
        .tensor(LATENTS)
        .or_else(|_| file.tensor(LATENTS_OF_DUMP));
    let tensor = tensor.map_err(|_| {
        let names = file.names();
        let reason = format!(
            "it contains neither the tensor `{LATENTS}` nor `{LATENTS_OF_DUMP}`, only {names:?}"
        );
        invalid(reason, None)
    })?;

    let data = tensor.data();
    let values: Vec<f32> = match tensor.dtype() {
        Dtype::F32 => elements(data, f32::from_le_bytes),
        Dtype::F16 => elements(data, |bytes| f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => elements(data, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        other => {
            return Err(CheckpointError::UnknownDtype {
                path: path.to_owned(),
                tensor: LATENTS.to_owned(),
                dtype: format!("{other:?}"),
            });
        }
    };
    Ok(TensorData::new(values, tensor.shape()))
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

fn elements<T, const N: usize>(bytes: &[u8], element: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|chunk| element(*chunk)).collect()
}
