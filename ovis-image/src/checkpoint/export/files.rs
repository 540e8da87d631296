//! Each layout's file names and, beyond the name tables, its tensor names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::rows::assemble;
use super::tensor::OutgoingTensor;
use super::{ExportOptions, OutgoingFile, configs, merge};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::file_names::{TEXT_ENCODER_WEIGHTS, authors, burnpack, comfyui, diffusers};
use crate::checkpoint::layout::Layout;
use crate::checkpoint::part::{Part, PartConfig};
use crate::error::Result;
use crate::lora::LayerUpdate;
use crate::weights::{NameTable, TextEncoderNaming, TransformerNaming, VaeNaming, comfyui_name};

/// Names of the files and tensors of a layout.
pub(super) struct ExportFiles {
    options: ExportOptions,
    transformer_table: NameTable,
    vae_table: NameTable,
    text_encoder_table: NameTable,
}

impl ExportFiles {
    pub(super) fn new(options: &ExportOptions, vae_levels: usize) -> Self {
        let (transformer, vae) = match options.layout {
            Layout::Diffusers => (TransformerNaming::Diffusers, VaeNaming::Diffusers),
            Layout::Authors | Layout::ComfyUi => (TransformerNaming::Authors, VaeNaming::Bfl),
            Layout::Burnpack => (TransformerNaming::Burn, VaeNaming::Burn),
        };
        let text_encoder = match options.layout {
            Layout::Burnpack => TextEncoderNaming::Burn,
            _ => TextEncoderNaming::Transformers,
        };
        Self {
            options: *options,
            transformer_table: NameTable::transformer(transformer),
            vae_table: NameTable::vae(vae, vae_levels),
            text_encoder_table: NameTable::text_encoder(text_encoder),
        }
    }

    /// Lists the tensors of all parts and their configurations, by the file that they go to.
    /// `updates` are merged into the transformer.
    pub(super) fn outgoing_files<'a>(
        &self,
        checkpoint: &'a Checkpoint,
        updates: &[Arc<LayerUpdate>],
    ) -> Result<[OutgoingFile<'a>; 3]> {
        let Checkpoint {
            transformer,
            vae,
            text_encoder,
            ..
        } = checkpoint;
        let mut updates = merge::of_tensors(updates, &self.transformer_table);
        let transformer_tensors = outgoing_tensors(transformer, &self.transformer_table)?;
        let transformer_tensors = transformer_tensors.map(|tensor| {
            let updates = updates.remove(&tensor.name).unwrap_or_default();
            self.transformer(tensor.merging(updates))
        });
        let vae_tensors = outgoing_tensors(vae, &self.vae_table)?;
        let text_tensors = outgoing_tensors(text_encoder, &self.text_encoder_table)?;
        Ok([
            OutgoingFile {
                name: self.transformer_path(),
                tensors: transformer_tensors.collect(),
                config: configs::carried(&transformer.config)?,
            },
            OutgoingFile {
                name: self.vae_path(),
                tensors: vae_tensors.map(|tensor| self.vae(tensor)).collect(),
                config: configs::carried(&vae.config)?,
            },
            OutgoingFile {
                name: self.text_encoder_path(),
                tensors: text_tensors
                    .map(|tensor| self.text_encoder(tensor))
                    .collect(),
                config: configs::carried(&text_encoder.config)?,
            },
        ])
    }

    fn transformer<'a>(&self, tensor: OutgoingTensor<'a>) -> OutgoingTensor<'a> {
        let options = &self.options;
        let tensor = match self.options.layout {
            Layout::Diffusers | Layout::Authors | Layout::Burnpack => tensor,
            Layout::ComfyUi => tensor.rename(comfyui_name),
        };
        if options.is_gguf() {
            tensor.in_gguf(options)
        } else {
            tensor.in_safetensors(options)
        }
    }

    fn vae<'a>(&self, tensor: OutgoingTensor<'a>) -> OutgoingTensor<'a> {
        let tensor = match self.options.layout {
            Layout::Diffusers | Layout::Burnpack => tensor,
            // The VAE's only matrices are those of its attention, which is made of 1 x 1
            // convolutions in Black Forest Labs' naming.
            Layout::Authors | Layout::ComfyUi => tensor.matrix_as_convolution(),
        };
        tensor.in_safetensors(&self.options)
    }

    fn text_encoder<'a>(&self, tensor: OutgoingTensor<'a>) -> OutgoingTensor<'a> {
        let prefix = match self.options.layout {
            Layout::Diffusers | Layout::Burnpack => "",
            Layout::Authors => "llm.model.",
            Layout::ComfyUi => "model.",
        };
        let tensor = tensor.rename(|name| format!("{prefix}{name}"));
        tensor.in_safetensors(&self.options)
    }

    fn transformer_path(&self) -> PathBuf {
        let options = &self.options;
        match self.options.layout {
            Layout::Diffusers => path([diffusers::TRANSFORMER, diffusers::WEIGHTS]),
            Layout::Authors => authors::TRANSFORMER.into(),
            Layout::ComfyUi => {
                let stem = comfyui::TRANSFORMER_STEM;
                let name = match (options.is_gguf(), options.quantization) {
                    (false, _) => format!("{stem}.safetensors"),
                    (true, None) => format!("{stem}.gguf"),
                    (true, Some(quantization)) => {
                        format!("{stem}-{}.gguf", quantization.encoding())
                    }
                };
                path([comfyui::TRANSFORMER_FOLDER, &name])
            }
            Layout::Burnpack => burnpack::TRANSFORMER.into(),
        }
    }

    fn vae_path(&self) -> PathBuf {
        match self.options.layout {
            Layout::Diffusers => path([diffusers::VAE, diffusers::WEIGHTS]),
            Layout::Authors => authors::VAE.into(),
            Layout::ComfyUi => {
                let name = format!("{}.safetensors", comfyui::VAE_STEM);
                path([comfyui::VAE_FOLDER, &name])
            }
            Layout::Burnpack => burnpack::VAE.into(),
        }
    }

    fn text_encoder_path(&self) -> PathBuf {
        match self.options.layout {
            Layout::Diffusers => path([diffusers::TEXT_ENCODER, TEXT_ENCODER_WEIGHTS]),
            Layout::Authors => path([authors::TEXT_ENCODER, TEXT_ENCODER_WEIGHTS]),
            Layout::ComfyUi => {
                let name = format!("{}.safetensors", comfyui::TEXT_ENCODER_STEM);
                path([comfyui::TEXT_ENCODER_FOLDER, &name])
            }
            Layout::Burnpack => burnpack::TEXT_ENCODER.into(),
        }
    }

    pub(super) fn tokenizer_folder(&self) -> &'static Path {
        Path::new(match self.options.layout {
            Layout::Diffusers => diffusers::TOKENIZER,
            Layout::Authors => authors::TEXT_ENCODER,
            Layout::ComfyUi => comfyui::TOKENIZER,
            Layout::Burnpack => burnpack::TOKENIZER,
        })
    }
}

fn path<const N: usize>(names: [&str; N]) -> PathBuf {
    names.iter().collect()
}

/// Lists the tensors of a part in another naming.
pub(super) fn outgoing_tensors<'a, C: PartConfig>(
    part: &'a Part<C>,
    target: &NameTable,
) -> Result<impl Iterator<Item = OutgoingTensor<'a>>> {
    let tensors = assemble(part, target)?;
    Ok(tensors
        .into_iter()
        .map(|tensor| OutgoingTensor::new(&part.source, tensor)))
}
