//! Configurations that other programs expect beside the weights.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::folder::PartFolder;
use crate::checkpoint::file_names::{CONFIG_FILE, authors, burnpack, diffusers};
use crate::checkpoint::layout::Layout;
use crate::checkpoint::open::{Checkpoint, config_beside};
use crate::config::{SchedulerConfig, TextEncoderConfig, VaeConfig};
use crate::error::{OvisImageError, Result};

/// First release of diffusers that includes this model.
const DIFFUSERS_VERSION: &str = "0.36.0";

/// Writes the configurations of the layout.
pub(super) fn write(checkpoint: &Checkpoint, layout: Layout, folder: &PartFolder) -> Result<()> {
    let text_encoder = &checkpoint.text_encoder.config;
    let write = |path: &Path, value: &Value| folder.write(path, text(value).as_bytes());
    let of_folder = |folder: &str| Path::new(folder).join(CONFIG_FILE);
    match layout {
        Layout::ComfyUi => Ok(()),
        Layout::Authors => write(
            &of_folder(authors::TEXT_ENCODER),
            &json!({
                "architectures": ["Ovis2_5"],
                "model_type": "ovis2_5",
                "hidden_size": text_encoder.hidden_size,
                "llm_config": qwen3(text_encoder, "Qwen3ForCausalLM"),
            }),
        ),
        Layout::Diffusers => {
            write(Path::new(diffusers::INDEX), &model_index())?;
            write(
                &of_folder(diffusers::TRANSFORMER),
                &of_class(
                    "OvisImageTransformer2DModel",
                    &checkpoint.transformer.config,
                    json!({}),
                )?,
            )?;
            let vae = &checkpoint.vae.config;
            write(
                &of_folder(diffusers::VAE),
                &of_class("AutoencoderKL", vae, blocks(vae))?,
            )?;
            write(
                &Path::new(diffusers::SCHEDULER).join(diffusers::SCHEDULER_CONFIG),
                &of_class(SchedulerConfig::CLASS, &checkpoint.scheduler, json!({}))?,
            )?;
            write(
                &of_folder(diffusers::TEXT_ENCODER),
                &qwen3(text_encoder, "Qwen3Model"),
            )
        }
        Layout::Burnpack => {
            let write_beside = |weights: &str, config: Value| match config_beside(weights.as_ref())
            {
                Some(path) => write(&path, &config),
                None => Ok(()),
            };
            write_beside(
                burnpack::TRANSFORMER,
                json_of(&checkpoint.transformer.config)?,
            )?;
            write_beside(burnpack::VAE, json_of(&checkpoint.vae.config)?)?;
            write_beside(burnpack::TEXT_ENCODER, json_of(text_encoder)?)?;
            write(
                Path::new(burnpack::SCHEDULER_CONFIG),
                &json_of(&checkpoint.scheduler)?,
            )
        }
    }
}

fn json_of(config: &impl Serialize) -> Result<Value> {
    serde_json::to_value(config).map_err(unwritable)
}

/// Serializes a configuration for the metadata of a weights file.
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
        "scheduler": ["diffusers", SchedulerConfig::CLASS],
        "text_encoder": ["transformers", "Qwen3Model"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", "OvisImageTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    })
}

/// Serializes a configuration in diffusers' form: with its class, without fields that are not set.
fn of_class(class: &str, config: &impl Serialize, more: Value) -> Result<Value> {
    let config = json_of(config)?;
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

/// Returns the fields by which diffusers describes the VAE's levels.
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

/// Serializes a Qwen3 configuration. transformers 4 reads `rope_theta`, 5 reads `rope_parameters`.
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
