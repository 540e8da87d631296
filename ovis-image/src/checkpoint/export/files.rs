//! What each layout calls its files and, beyond the name tables, its tensors.

use std::path::{Path, PathBuf};

use super::ExportOptions;
use super::tensor::OutgoingTensor;
use crate::checkpoint::layout::Layout;
use crate::weights::{NameTable, TransformerNaming, VaeNaming, comfyui_name};

/// Names of files and tensors of a layout.
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
        };
        Self {
            layout: options.layout,
            transformer_table: NameTable::transformer(transformer),
            vae_table: NameTable::vae(vae, vae_levels),
            text_encoder_table: NameTable::text_encoder(),
        }
    }

    pub(super) fn transformer<'a>(
        &self,
        tensor: OutgoingTensor<'a>,
        options: &ExportOptions,
    ) -> OutgoingTensor<'a> {
        let tensor = match self.layout {
            Layout::Diffusers | Layout::Authors => tensor,
            Layout::ComfyUi => tensor.rename(comfyui_name),
        };
        match options.is_gguf() {
            true => tensor.in_gguf(options),
            false => tensor.in_safetensors(options),
        }
    }

    pub(super) fn vae<'a>(
        &self,
        tensor: OutgoingTensor<'a>,
        options: &ExportOptions,
    ) -> OutgoingTensor<'a> {
        let tensor = match self.layout {
            Layout::Diffusers => tensor,
            // Black Forest Labs' attention is made of 1 x 1 convolutions.
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
            Layout::Diffusers => "",
            Layout::Authors => "llm.model.",
            Layout::ComfyUi => "model.",
        };
        let tensor = tensor.rename(|name| format!("{prefix}{name}"));
        tensor.in_safetensors(options)
    }

    pub(super) fn transformer_path(&self, options: &ExportOptions) -> PathBuf {
        match (self.layout, options.is_gguf(), options.quantization) {
            (Layout::Diffusers, ..) => "transformer/diffusion_pytorch_model.safetensors".into(),
            (Layout::Authors, ..) => "ovis_image.safetensors".into(),
            (Layout::ComfyUi, false, _) => "diffusion_models/ovis_image.safetensors".into(),
            (Layout::ComfyUi, true, None) => "diffusion_models/ovis_image.gguf".into(),
            (Layout::ComfyUi, true, Some(quantization)) => {
                let format = quantization.encoding();
                format!("diffusion_models/ovis_image-{format}.gguf").into()
            }
        }
    }

    pub(super) fn vae_path(&self) -> PathBuf {
        match self.layout {
            Layout::Diffusers => "vae/diffusion_pytorch_model.safetensors".into(),
            Layout::Authors => "ae.safetensors".into(),
            Layout::ComfyUi => "vae/ae.safetensors".into(),
        }
    }

    pub(super) fn text_encoder_path(&self) -> PathBuf {
        match self.layout {
            Layout::Diffusers => "text_encoder/model.safetensors".into(),
            Layout::Authors => "Ovis2.5-2B/model.safetensors".into(),
            Layout::ComfyUi => "text_encoders/ovis_2.5.safetensors".into(),
        }
    }

    pub(super) fn tokenizer_folder(&self) -> &'static Path {
        Path::new(match self.layout {
            Layout::Diffusers | Layout::ComfyUi => "tokenizer",
            Layout::Authors => "Ovis2.5-2B",
        })
    }
}
