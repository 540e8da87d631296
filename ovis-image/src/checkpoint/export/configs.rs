//! The configurations that other programs look for beside the weights.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::folder::PartFolder;
use crate::checkpoint::layout::Layout;
use crate::checkpoint::open::Checkpoint;
use crate::config::{TextEncoderConfig, VaeConfig};
use crate::error::{OvisImageError, Result};

/// The release of diffusers that first had this model.
const DIFFUSERS_VERSION: &str = "0.36.0";

/// Writes what the layout has.
pub(super) fn write(checkpoint: &Checkpoint, layout: Layout, folder: &PartFolder) -> Result<()> {
    let text_encoder = &checkpoint.text_encoder.config;
    let write = |name: &str, value: &Value| folder.write(name, text(value).as_bytes());
    match layout {
        Layout::ComfyUi => Ok(()),
        Layout::Authors => write(
            "Ovis2.5-2B/config.json",
            &json!({
                "architectures": ["Ovis2_5"],
                "model_type": "ovis2_5",
                "hidden_size": text_encoder.hidden_size,
                "llm_config": qwen3(text_encoder, "Qwen3ForCausalLM"),
            }),
        ),
        Layout::Diffusers => {
            write("model_index.json", &model_index())?;
            write(
                "transformer/config.json",
                &of_class(
                    "OvisImageTransformer2DModel",
                    &checkpoint.transformer.config,
                    json!({}),
                )?,
            )?;
            let vae = &checkpoint.vae.config;
            write(
                "vae/config.json",
                &of_class("AutoencoderKL", vae, blocks(vae))?,
            )?;
            write(
                "scheduler/scheduler_config.json",
                &of_class(
                    "FlowMatchEulerDiscreteScheduler",
                    &checkpoint.scheduler,
                    json!({}),
                )?,
            )?;
            write(
                "text_encoder/config.json",
                &qwen3(text_encoder, "Qwen3Model"),
            )
        }
    }
}

/// A configuration as a file of weights carries it.
pub(super) fn carried(config: &impl Serialize) -> Result<String> {
    serde_json::to_string(config).map_err(unwritable)
}

fn unwritable(error: serde_json::Error) -> OvisImageError {
    OvisImageError::config_because("checkpoint", "it cannot be written as JSON", error)
}

fn text(value: &Value) -> String {
    format!("{value:#}\n")
}

fn model_index() -> Value {
    json!({
        "_class_name": "OvisImagePipeline",
        "_diffusers_version": DIFFUSERS_VERSION,
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3Model"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", "OvisImageTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    })
}

/// A configuration as diffusers writes it: with its class, without what is not set.
fn of_class(class: &str, config: &impl Serialize, more: Value) -> Result<Value> {
    let config = serde_json::to_value(config).map_err(unwritable)?;
    let fields = |value: Value| match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let mut all = fields(config);
    all.retain(|_, value| !value.is_null());
    all.extend(fields(more));
    all.insert("_class_name".into(), class.into());
    all.insert("_diffusers_version".into(), DIFFUSERS_VERSION.into());
    Ok(Value::Object(all))
}

/// What diffusers must be told of the VAE's levels.
fn blocks(vae: &VaeConfig) -> Value {
    let levels = vae.block_out_channels.len();
    json!({
        "act_fn": "silu",
        "down_block_types": vec!["DownEncoderBlock2D"; levels],
        "up_block_types": vec!["UpDecoderBlock2D"; levels],
        "force_upcast": true,
        "sample_size": 1024,
    })
}

/// transformers 4 reads `rope_theta`, 5 reads `rope_parameters`.
fn qwen3(config: &TextEncoderConfig, class: &str) -> Value {
    json!({
        "architectures": [class],
        "attention_bias": false,
        "attention_dropout": 0.0,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": 40960,
        "model_type": "qwen3",
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "rope_parameters": { "rope_theta": config.rope_theta, "rope_type": "default" },
        "tie_word_embeddings": true,
        "use_cache": true,
        "use_sliding_window": false,
        "vocab_size": config.vocab_size,
    })
}
