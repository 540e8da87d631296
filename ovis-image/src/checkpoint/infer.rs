//! Detection of a file's naming, and of the sizes of checkpoints without a configuration.

use crate::config::{MAX_DEPTH, TextEncoderConfig, TransformerConfig, VaeConfig};
use crate::error::{CheckpointError, OvisImageError, Result};
use crate::tensor_file::TensorSource;
use crate::weights::{NameTable, TextEncoderNaming, TransformerNaming, VaeNaming};

/// Normalized keys of a source and their shapes, seen through a table.
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

    /// Returns the size of one axis of a tensor.
    fn axis(&self, key: &str, axis: usize) -> Result<usize> {
        self.keys
            .iter()
            .find(|(name, _)| name == key)
            .and_then(|(_, shape)| shape.get(axis).copied())
            .ok_or_else(|| {
                OvisImageError::Checkpoint(CheckpointError::UnknownNaming {
                    path: self.source.path().to_owned(),
                    part: self.part,
                    reason: format!("its sizes cannot be inferred without axis {axis} of `{key}`"),
                })
            })
    }

    /// Counts the consecutive indices that follow a prefix, up to the limit of a configuration,
    /// because each is looked up among all keys.
    fn count(&self, prefix: &str) -> usize {
        (0..=MAX_DEPTH)
            .take_while(|index| {
                let start = format!("{prefix}{index}.");
                self.keys.iter().any(|(name, _)| name.starts_with(&start))
            })
            .count()
    }
}

/// Detects the naming of a transformer file.
pub(super) fn transformer_naming(source: &TensorSource) -> Result<TransformerNaming> {
    const PART: &str = "transformer";
    let holds = |naming, key| Shapes::new(source, PART, NameTable::transformer(naming)).has(key);
    if holds(TransformerNaming::Diffusers, "x_embedder.weight") {
        Ok(TransformerNaming::Diffusers)
    } else if holds(TransformerNaming::Authors, "img_in.weight") {
        Ok(TransformerNaming::Authors)
    } else if holds(TransformerNaming::Burn, "image_embedder.weight") {
        Ok(TransformerNaming::Burn)
    } else {
        Err(CheckpointError::UnknownNaming {
            path: source.path().to_owned(),
            part: PART,
            reason: "none of `x_embedder.weight` (diffusers), `img_in.weight` (the authors, ComfyUI) and \
                     `image_embedder.weight` (burn-store) is there"
                .into(),
        }
        .into())
    }
}

/// Detects the naming of a VAE file.
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
    } else if holds(VaeNaming::Burn, "decoder.mid.resnet1.conv1.weight") {
        Ok(VaeNaming::Burn)
    } else {
        Err(CheckpointError::UnknownNaming {
            path: source.path().to_owned(),
            part: PART,
            reason: "none of `decoder.mid_block.resnets.0.conv1.weight` (diffusers), \
                     `decoder.mid.block_1.conv1.weight` (BFL) and \
                     `decoder.mid.resnet1.conv1.weight` (burn-store) is there"
                .into(),
        }
        .into())
    }
}

/// Detects the naming of a text encoder file: transformers' unless it is Burn's. Missing tensors
/// are reported later.
pub(super) fn text_encoder_naming(source: &TensorSource) -> TextEncoderNaming {
    match source.shape("embedding") {
        Some(_) => TextEncoderNaming::Burn,
        None => TextEncoderNaming::Transformers,
    }
}

/// Infers the sizes of a transformer from its tensors.
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
        TransformerNaming::Burn => [
            "image_embedder.weight",
            "text_embedder.weight",
            "double_blocks.",
            "single_blocks.",
            "qk_norm.query.weight",
        ],
    };
    let (num_layers, num_single_layers) = (shapes.count(double), shapes.count(single));
    let query_norm = match (naming, num_single_layers) {
        (TransformerNaming::Authors, 0) => format!("{double}0.img_attn.{query_norm}"),
        (TransformerNaming::Burn, 0) => format!("{double}0.image_attention.{query_norm}"),
        (_, 0) => format!("{double}0.{query_norm}"),
        _ => format!("{single}0.{query_norm}"),
    };
    let attention_head_dim = shapes.axis(&query_norm, 0)?.max(1);
    let release = TransformerConfig::ovis_image_7b();
    if attention_head_dim != release.attention_head_dim {
        return Err(OvisImageError::config(
            "transformer",
            format!(
                "the head width is {attention_head_dim}, and without a config.json the RoPE axes are known only for {}",
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

/// Infers the sizes of a VAE from its tensors; the scale and shift are FLUX's.
pub(super) fn vae_config(source: &TensorSource, naming: VaeNaming) -> Result<VaeConfig> {
    let shapes = Shapes::new(source, "VAE", NameTable::vae(naming, 0));
    let (levels, block) = match naming {
        VaeNaming::Diffusers | VaeNaming::Burn => ("encoder.down_blocks.", "resnets."),
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

/// Infers the sizes of a text encoder from its tensors; theta and epsilon are Qwen3's.
pub(super) fn text_encoder_config(
    source: &TensorSource,
    naming: TextEncoderNaming,
) -> Result<TextEncoderConfig> {
    let shapes = Shapes::new(source, "text encoder", NameTable::text_encoder(naming));
    let (embedding, blocks) = match naming {
        TextEncoderNaming::Transformers => ("embed_tokens.weight", "layers."),
        TextEncoderNaming::Burn => ("embedding", "blocks."),
    };
    let [query_norm, query, key, up] = match naming {
        TextEncoderNaming::Transformers => [
            "self_attn.q_norm",
            "self_attn.q_proj",
            "self_attn.k_proj",
            "mlp.up_proj",
        ],
        TextEncoderNaming::Burn => [
            "attention.query_norm",
            "attention.query",
            "attention.key",
            "feed_forward.up",
        ],
    };
    let rows = |module: &str| shapes.axis(&format!("{blocks}0.{module}.weight"), 0);
    let head_dim = rows(query_norm)?.max(1);
    Ok(TextEncoderConfig {
        vocab_size: shapes.axis(embedding, 0)?,
        hidden_size: shapes.axis(embedding, 1)?,
        intermediate_size: rows(up)?,
        num_hidden_layers: shapes.count(blocks),
        num_attention_heads: rows(query)? / head_dim,
        num_key_value_heads: rows(key)? / head_dim,
        head_dim,
        rope_theta: TextEncoderConfig::QWEN3_ROPE_THETA,
        rms_norm_eps: TextEncoderConfig::QWEN3_RMS_NORM_EPS,
    })
}
