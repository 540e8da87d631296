//! Which naming a file follows, and the sizes of checkpoints that carry no configuration.

use crate::config::{MAX_DEPTH, TextEncoderConfig, TransformerConfig, VaeConfig};
use crate::error::{CheckpointError, OvisImageError, Result};
use crate::tensor_file::TensorSource;
use crate::weights::{NameTable, TransformerNaming, VaeNaming};

/// A source seen through a table: normalized keys and their shapes.
struct Shapes<'a> {
    source: &'a TensorSource,
    part: &'static str,
    keys: Vec<(String, &'a [usize])>,
}

impl<'a> Shapes<'a> {
    fn new(source: &'a TensorSource, part: &'static str, table: NameTable) -> Self {
        let keys = source
            .names()
            .filter_map(|name| Some((table.normalize(name)?, source.shape(name)?)))
            .collect();
        Self { source, part, keys }
    }

    fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|(name, _)| name == key)
    }

    /// One axis of a tensor's shape.
    fn axis(&self, key: &str, axis: usize) -> Result<usize> {
        self.keys
            .iter()
            .find(|(name, _)| name == key)
            .and_then(|(_, shape)| shape.get(axis).copied())
            .ok_or_else(|| {
                OvisImageError::Checkpoint(CheckpointError::UnknownNaming {
                    path: self.source.path().to_owned(),
                    part: self.part,
                    reason: format!("its sizes cannot be told without axis {axis} of `{key}`"),
                })
            })
    }

    /// How many consecutive indices follow a prefix; no further than a configuration may go, as
    /// each is looked for among all keys.
    fn count(&self, prefix: &str) -> usize {
        (0..=MAX_DEPTH)
            .take_while(|index| {
                let start = format!("{prefix}{index}.");
                self.keys.iter().any(|(name, _)| name.starts_with(&start))
            })
            .count()
    }
}

/// The naming that a transformer file follows.
pub(super) fn transformer_naming(source: &TensorSource) -> Result<TransformerNaming> {
    const PART: &str = "transformer";
    let holds = |naming, key| Shapes::new(source, PART, NameTable::transformer(naming)).has(key);
    if holds(TransformerNaming::Diffusers, "x_embedder.weight") {
        Ok(TransformerNaming::Diffusers)
    } else if holds(TransformerNaming::Authors, "img_in.weight") {
        Ok(TransformerNaming::Authors)
    } else {
        Err(CheckpointError::UnknownNaming {
            path: source.path().to_owned(),
            part: PART,
            reason: "neither `x_embedder.weight` (diffusers) nor `img_in.weight` (the authors, ComfyUI) is there".into(),
        }.into())
    }
}

/// The naming that a VAE file follows.
pub(super) fn vae_naming(source: &TensorSource) -> Result<VaeNaming> {
    const PART: &str = "VAE";
    let holds = |naming, key| Shapes::new(source, PART, NameTable::vae(naming, 0)).has(key);
    if holds(
        VaeNaming::Diffusers,
        "decoder.mid_block.resnets.0.conv1.weight",
    ) {
        Ok(VaeNaming::Diffusers)
    } else if holds(VaeNaming::Bfl, "decoder.mid.block_1.conv1.weight") {
        Ok(VaeNaming::Bfl)
    } else {
        Err(CheckpointError::UnknownNaming {
            path: source.path().to_owned(),
            part: PART,
            reason: "neither `decoder.mid_block.resnets.0.conv1.weight` (diffusers) nor \
                     `decoder.mid.block_1.conv1.weight` (BFL) is there"
                .into(),
        }
        .into())
    }
}

/// Sizes of a transformer from its tensors.
pub(super) fn transformer_config(
    source: &TensorSource,
    naming: TransformerNaming,
) -> Result<TransformerConfig> {
    let shapes = Shapes::new(source, "transformer", NameTable::transformer(naming));
    let [embedder, context, double, single, query_norm] = match naming {
        TransformerNaming::Diffusers => [
            "x_embedder.weight",
            "context_embedder.weight",
            "transformer_blocks.",
            "single_transformer_blocks.",
            "attn.norm_q.weight",
        ],
        TransformerNaming::Authors => [
            "img_in.weight",
            "semantic_txt_in.weight",
            "double_blocks.",
            "single_blocks.",
            "norm.query_norm.weight",
        ],
    };
    let (num_layers, num_single_layers) = (shapes.count(double), shapes.count(single));
    let query_norm = match (naming, num_single_layers) {
        (TransformerNaming::Authors, 0) => format!("{double}0.img_attn.{query_norm}"),
        (_, 0) => format!("{double}0.{query_norm}"),
        _ => format!("{single}0.{query_norm}"),
    };
    let attention_head_dim = shapes.axis(&query_norm, 0)?.max(1);
    let release = TransformerConfig::ovis_image_7b();
    if attention_head_dim != release.attention_head_dim {
        return Err(OvisImageError::config(
            "transformer",
            format!(
                "the head width is {attention_head_dim}, and without a config.json the RoPE axes are known for {} only",
                release.attention_head_dim
            ),
        ));
    }
    let in_channels = shapes.axis(embedder, 1)?;
    Ok(TransformerConfig {
        patch_size: release.patch_size,
        in_channels,
        out_channels: Some(in_channels),
        num_layers,
        num_single_layers,
        attention_head_dim,
        num_attention_heads: shapes.axis(embedder, 0)? / attention_head_dim,
        joint_attention_dim: shapes.axis(context, 1)?,
        axes_dims_rope: release.axes_dims_rope,
    })
}

/// Sizes of a VAE from its tensors; the scale and shift are FLUX's.
pub(super) fn vae_config(source: &TensorSource, naming: VaeNaming) -> Result<VaeConfig> {
    let shapes = Shapes::new(source, "VAE", NameTable::vae(naming, 0));
    let (levels, block) = match naming {
        VaeNaming::Diffusers => ("encoder.down_blocks.", "resnets."),
        VaeNaming::Bfl => ("encoder.down.", "block."),
    };
    let block_out_channels = (0..shapes.count(levels))
        .map(|level| shapes.axis(&format!("{levels}{level}.{block}0.conv1.weight"), 0))
        .collect::<Result<Vec<_>>>()?;
    Ok(VaeConfig {
        latent_channels: shapes.axis("decoder.conv_in.weight", 1)?,
        block_out_channels,
        layers_per_block: shapes.count(&format!("{levels}0.{block}")),
        ..VaeConfig::ovis_image_7b()
    })
}

/// Sizes of a text encoder from its tensors; theta and epsilon are Qwen3's.
pub(super) fn text_encoder_config(source: &TensorSource) -> Result<TextEncoderConfig> {
    let shapes = Shapes::new(source, "text encoder", NameTable::text_encoder());
    let head_dim = shapes.axis("layers.0.self_attn.q_norm.weight", 0)?.max(1);
    Ok(TextEncoderConfig {
        vocab_size: shapes.axis("embed_tokens.weight", 0)?,
        hidden_size: shapes.axis("embed_tokens.weight", 1)?,
        intermediate_size: shapes.axis("layers.0.mlp.up_proj.weight", 0)?,
        num_hidden_layers: shapes.count("layers."),
        num_attention_heads: shapes.axis("layers.0.self_attn.q_proj.weight", 0)? / head_dim,
        num_key_value_heads: shapes.axis("layers.0.self_attn.k_proj.weight", 0)? / head_dim,
        head_dim,
        rope_theta: TextEncoderConfig::QWEN3_ROPE_THETA,
        rms_norm_eps: TextEncoderConfig::QWEN3_RMS_NORM_EPS,
    })
}
