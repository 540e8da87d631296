//! Fuzzing of LoRA files, alone and with PEFT's configuration beside them.

use std::path::Path;
use std::sync::OnceLock;

use burn_flex::{Flex, FlexDevice};
use ovis_image::config::TransformerConfig;
use ovis_image::error::LoraError;
use ovis_image::lora::attach_lora;
use ovis_image::transformer::OvisImageTransformer;
use ovis_image::{LoraFile, OvisImageError, Result, WeightDtype};
use ovis_image_tests::golden::golden_folder;

use crate::choices::Choices;
use crate::fuzz;
use crate::harness::{Scratch, is_typed, watched};

const FILE: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";

/// Modules of the `base` model with their inputs and outputs, in both namings, and one of another
/// model.
const MODULES: [(&str, usize, usize); 7] = [
    ("transformer_blocks.0.attn.to_q", 32, 32),
    ("single_transformer_blocks.1.proj_mlp", 32, 256),
    ("norm_out.linear", 32, 64),
    ("x_embedder", 16, 32),
    ("double_blocks.0.img_attn.qkv", 32, 96),
    ("final_layer.linear", 32, 16),
    ("text_encoder.layers.0", 8, 8),
];
const PREFIXES: [&str; 6] = [
    "transformer.",
    "",
    "base_model.model.",
    "diffusion_model.",
    "lora_unet_",
    "lycoris_",
];
const ENDINGS: [(&str, &str); 4] = [
    (".lora_A.weight", ".lora_B.weight"),
    (".lora_down.weight", ".lora_up.weight"),
    (".lora.down.weight", ".lora.up.weight"),
    (".lora_A.default.weight", ".lora_B.default.weight"),
];
/// Names of other tensors in LoRA files.
const STRANGERS: [&str; 12] = [
    "proj_out.weight",
    "x.lokr_w1",
    "x.hada_w1_a",
    "x.dora_scale",
    "x.lora_mid.weight",
    ".lora_A.weight",
    ".alpha",
    "",
    "x.lora_A..weight",
    ".lora_A.",
    "transformer.transformer.x_embedder.lora_A.weight",
    "x.diff_b",
];
const CONFIG_VALUES: [&str; 16] = [
    "-4",
    "0",
    "1e300",
    "1e999",
    "-1e308",
    "null",
    "true",
    "\"8\"",
    "[]",
    "{}",
    "{\"a\":1}",
    "{\".*q\":1}",
    "{\"\":1e300,\"attn.to_q\":2}",
    "{\"^$\":null}",
    "5e-324",
    "18446744073709551616",
];

struct Tensor {
    name: String,
    shape: Vec<u64>,
    dtype: (&'static str, u64),
    value: f32,
}

/// Builds a file of a few modules, in which any name, type, size or value may be wrong.
fn built(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut tensors = Vec::new();
    let prefix = choices.pick(&PREFIXES);
    let is_flat = prefix.ends_with('_');
    let first = choices.below(MODULES.len());
    for (module, input, output) in MODULES.iter().cycle().skip(first).take(choices.below(4)) {
        let module = if is_flat {
            module.replace('.', "_")
        } else {
            (*module).to_owned()
        };
        let (down, up) = choices.pick(&ENDINGS);
        let rank = 1 + choices.below(4) as u64;
        tensors.push(tensor(
            format!("{prefix}{module}{down}"),
            [rank, *input as u64],
            choices,
        ));
        tensors.push(tensor(
            format!("{prefix}{module}{up}"),
            [*output as u64, rank],
            choices,
        ));
        if choices.below(3) == 0 {
            tensors.push(tensor(format!("{prefix}{module}.alpha"), [], choices));
        }
        if choices.lie() {
            let one = choices.below(tensors.len());
            match choices.below(3) {
                0 => drop(tensors.remove(one)),
                1 => tensors[one].name = choices.pick(&STRANGERS).to_owned(),
                _ => tensors[one].shape.push(1),
            }
        }
    }
    let metadata = match choices.below(3) {
        0 => Some(config(choices)),
        _ => None,
    };
    let mut file = written(&tensors, metadata);
    let header = file.len().min(1 << 10);
    choices.damage(&mut file, header);
    file
}

fn tensor<const D: usize>(name: String, shape: [u64; D], choices: &mut Choices<'_>) -> Tensor {
    let mut dtype = choices.pick(&[("F32", 4), ("BF16", 2), ("F16", 2)]);
    if choices.lie() {
        dtype = choices.pick(&[("I64", 8), ("U8", 1), ("F8_E4M3", 1)]);
    }
    Tensor {
        name,
        // The data follows a wrong shape, so that only the shape is wrong.
        shape: shape.map(|size| choices.number(size).min(300)).to_vec(),
        dtype,
        value: choices.first_of(&[0.5, f32::NAN, f32::INFINITY, -0.0, f32::MAX, 1e-45]),
    }
}

fn written(tensors: &[Tensor], metadata: Option<String>) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for tensor in tensors {
        let start = data.len();
        for _ in 0..tensor.shape.iter().product() {
            let value = tensor.value;
            match tensor.dtype {
                ("F32", _) => data.extend(value.to_le_bytes()),
                ("BF16", _) => data.extend(half::bf16::from_f32(value).to_le_bytes()),
                ("F16", _) => data.extend(half::f16::from_f32(value).to_le_bytes()),
                (_, bytes) => data.extend(vec![0; bytes as usize]),
            }
        }
        let entry = serde_json::json!({
            "dtype": tensor.dtype.0,
            "shape": tensor.shape,
            "data_offsets": [start, data.len()],
        });
        if header.insert(tensor.name.clone(), entry).is_some() {
            // The tensor's bytes would leave a hole.
            data.truncate(start);
        }
    }
    if let Some(metadata) = metadata {
        header.insert(
            "__metadata__".into(),
            serde_json::json!({ "lora_adapter_metadata": metadata }),
        );
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

/// Builds PEFT's configuration, in which any value may be wrong.
fn config(choices: &mut Choices<'_>) -> String {
    let prefix = choices.pick(&["", "transformer."]);
    let mut value = |right: &str| {
        if choices.lie() {
            choices.pick(&CONFIG_VALUES).to_owned()
        } else {
            right.to_owned()
        }
    };
    let mut fields: Vec<String> = [
        ("lora_alpha", "8"),
        ("r", "4"),
        ("use_rslora", "true"),
        ("use_dora", "false"),
        ("alpha_pattern", "{\"attn.to_q\": 6.0, \"^x_embedder$\": 1}"),
        ("revision", "null"),
    ]
    .iter()
    .map(|(name, right)| format!("\"{prefix}{name}\": {}", value(right)))
    .collect();
    if choices.lie() {
        drop(fields.remove(choices.below(fields.len())));
    }
    format!("{{{}}}", fields.join(", "))
}

fn base_config() -> TransformerConfig {
    let json = golden_folder().join("base/model/transformer/config.json");
    serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap()
}

/// Opens a LoRA and attaches it to the `base` model.
pub(crate) fn open_and_attach(path: &Path, file_bytes: usize) -> Result<()> {
    static MODEL: OnceLock<OvisImageTransformer<Flex>> = OnceLock::new();
    // Memory of a model's table of names.
    const TARGETS: usize = 16 << 10;
    let model = MODEL.get_or_init(|| base_config().init(&FlexDevice));
    let mut model = model.clone();

    let lora = watched(file_bytes, || LoraFile::open(path))?;
    watched(file_bytes + TARGETS, || {
        attach_lora(&mut model, &lora, "x", 1.0, WeightDtype::F32, &FlexDevice)
    })?;
    for (layer, linear) in model.linear_layers_mut() {
        for adapter in &linear.adapters {
            assert!(adapter.scaling.is_finite(), "{layer}: {}", adapter.scaling);
        }
    }
    Ok(())
}

fn read(file: &[u8], config: Option<&[u8]>, is_sound: bool) {
    let scratch = Scratch::new();
    let path = scratch.write(FILE, file);
    let path = match config {
        Some(config) => scratch.write(CONFIG, config).parent().unwrap().to_owned(),
        None => path,
    };
    let bytes = file.len() + config.map_or(0, <[u8]>::len);
    if let Err(error) = open_and_attach(&path, bytes) {
        // A valid file may still belong to another model.
        let is_strange = matches!(&error, OvisImageError::Lora(LoraError::NotApplied { .. }));
        assert!(is_strange || !is_sound, "{error}");
        is_typed(&error, scratch.path());
    }
}

#[test]
fn built_files() {
    fuzz!(
        |bytes: &[u8]| {
            let mut choices = Choices::new(bytes);
            let file = built(&mut choices);
            let beside = (choices.below(2) == 0).then(|| {
                let mut config = config(&mut choices).into_bytes();
                let length = config.len();
                choices.damage(&mut config, length);
                config
            });
            read(&file, beside.as_deref(), !choices.lied);
        },
        seeds: 2000
    );
}

#[test]
fn any_bytes() {
    fuzz!(|bytes: &[u8]| read(bytes, None, false), seeds: 50);
}
