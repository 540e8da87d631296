//! Each layout's file names and, beyond the name tables, its tensor names.

use std::path::{Path, PathBuf};

use super::ExportOptions;
use super::tensor::OutgoingTensor;
use crate::checkpoint::file_names::{TEXT_ENCODER_WEIGHTS, authors, burnpack, comfyui, diffusers};
use crate::checkpoint::layout::Layout;
use crate::weights::{NameTable, TextEncoderNaming, TransformerNaming, VaeNaming, comfyui_name};

/// Names of the files and tensors of a layout.
pub(super) struct ExportFiles {
    layout: Layout,
    pub(super) transformer_table: NameTable,
    pub(super) vae_table: NameTable,
    pub(super) text_encoder_table: NameTable,
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
            layout: options.layout,
            transformer_table: NameTable::transformer(transformer),
            vae_table: NameTable::vae(vae, vae_levels),
            text_encoder_table: NameTable::text_encoder(text_encoder),
        }
    }

    pub(super) fn transformer<'a>(
        &self,
        tensor: OutgoingTensor<'a>,
        options: &ExportOptions,
    ) -> OutgoingTensor<'a> {
        let tensor = match self.layout {
            Layout::Diffusers | Layout::Authors | Layout::Burnpack => tensor,
            Layout::ComfyUi => tensor.rename(comfyui_name),
        };
        if options.is_gguf() {
            tensor.in_gguf(options)
        } else {
            tensor.in_safetensors(options)
        }
    }

    pub(super) fn vae<'a>(
        &self,
        tensor: OutgoingTensor<'a>,
        options: &ExportOptions,
    ) -> OutgoingTensor<'a> {
        let tensor = match self.layout {
            Layout::Diffusers | Layout::Burnpack => tensor,
            // The attention in Black Forest Labs' naming is made of 1 x 1 convolutions.
            Layout::Authors | Layout::ComfyUi => {
                tensor.convolution_if(|parameter| parameter.contains(".mid.attention."))
            }
        };
        tensor.in_safetensors(options)
    }

    pub(super) fn text_encoder<'a>(
        &self,
        tensor: OutgoingTensor<'a>,
        options: &ExportOptions,
    ) -> OutgoingTensor<'a> {
        let prefix = match self.layout {
            Layout::Diffusers | Layout::Burnpack => "",
            Layout::Authors => "llm.model.",
            Layout::ComfyUi => "model.",
        };
        let tensor = tensor.rename(|name| format!("{prefix}{name}"));
        tensor.in_safetensors(options)
    }

    pub(super) fn transformer_path(&self, options: &ExportOptions) -> PathBuf {
        match self.layout {
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

    pub(super) fn vae_path(&self) -> PathBuf {
        match self.layout {
            Layout::Diffusers => path([diffusers::VAE, diffusers::WEIGHTS]),
            Layout::Authors => authors::VAE.into(),
            Layout::ComfyUi => {
                let name = format!("{}.safetensors", comfyui::VAE_STEM);
                path([comfyui::VAE_FOLDER, &name])
            }
            Layout::Burnpack => burnpack::VAE.into(),
        }
    }

    pub(super) fn text_encoder_path(&self) -> PathBuf {
        match self.layout {
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
        Path::new(match self.layout {
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
