//! Plans of the example configurations for the 7B release, over files of its sizes that take no
//! space.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use ovis_image::config::{TextEncoderConfig, TransformerConfig, VaeConfig};
use ovis_image::parameters::Parameter;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::training::{golden, train};
use super::{DEVICE, succeeds};

/// Writes a part of a checkpoint: its configuration, and a file of bf16 zeros that are not stored.
fn write_part(folder: &Path, config: &impl Serialize, parameters: Vec<Parameter>) {
    fs::create_dir_all(folder).unwrap();
    let config = serde_json::to_vec(config).unwrap();
    fs::write(folder.join("config.json"), config).unwrap();
    let (mut header, mut end) = (Map::new(), 0);
    for parameter in parameters {
        let start = end;
        end += 2 * parameter.shape.iter().product::<usize>();
        let tensor = json!({
            "dtype": "BF16", "shape": parameter.shape, "data_offsets": [start, end],
        });
        header.insert(parameter.path, tensor);
    }
    let header = Value::Object(header).to_string().into_bytes();
    let mut file = File::create(folder.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(&header).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
}

fn release() -> TempDir {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let transformer = TransformerConfig::ovis_image_7b();
    write_part(&at("transformer"), &transformer, transformer.parameters());
    let encoder = TextEncoderConfig::ovis_image_7b();
    write_part(&at("text_encoder"), &encoder, encoder.parameters());
    let vae = VaeConfig::ovis_image_7b();
    write_part(&at("vae"), &vae, vae.parameters());
    let base = golden("base/model");
    for part in ["tokenizer", "scheduler"] {
        fs::create_dir(at(part)).unwrap();
        for file in fs::read_dir(base.join(part)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), at(part).join(file.file_name())).unwrap();
        }
    }
    fs::copy(base.join("model_index.json"), at("model_index.json")).unwrap();
    folder
}

#[test]
fn the_memory_in_a_configuration_is_that_of_its_plan() {
    let (release, folder) = (release(), TempDir::new().unwrap());
    let photos = folder.path().join("photos");
    fs::create_dir(&photos).unwrap();
    image::RgbImage::new(64, 64)
        .save(photos.join("a.png"))
        .unwrap();
    fs::write(photos.join("a.txt"), "a photo").unwrap();
    for name in ["lora-24gb", "qlora-12gb", "full-80gb"] {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        let path = configs.join(name).with_extension("toml");
        let mut arguments = vec![
            "--config",
            path.to_str().unwrap(),
            "--model",
            release.path().to_str().unwrap(),
            "--images",
            photos.to_str().unwrap(),
            "--output",
            "run",
            "--device",
            DEVICE,
            "--dry-run",
        ];
        if name.contains("lora") {
            arguments.insert(0, "lora");
        }
        let plan = succeeds(&train(&folder, &arguments));
        let memory = plan.lines().find_map(|line| line.strip_prefix("memory"));
        let memory = memory.unwrap().split(", and the activations").next();
        let stated = format!("\n#   {}\n", memory.unwrap().trim());
        let config = fs::read_to_string(&path).unwrap();
        assert!(config.contains(&stated), "{name} does not state{stated}");
    }
}
