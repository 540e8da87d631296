//! Tests of the programs that inspect and convert checkpoints, on checkpoints from elsewhere.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

#[cfg(feature = "flex")]
use safetensors::tensor::{SafeTensors, TensorView};
#[cfg(feature = "flex")]
use serde_json::Value;
use tempfile::TempDir;

use super::{cannot, fails, read_png, refuses, small, stderr, succeeds};

pub(super) fn tiny() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny")
}

pub(super) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Writes a cache in the layout of the Hub's programs.
#[cfg(feature = "hub")]
fn cache() -> TempDir {
    let cache = TempDir::new().unwrap();
    let repository = cache.path().join("models--owner--tiny");
    copy_folder(&tiny(), &repository.join("snapshots/0123abcd"));
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), "0123abcd").unwrap();
    cache
}

#[cfg(feature = "hub")]
#[test]
fn a_model_of_the_hub_comes_from_the_cache_without_a_network() {
    let (cache, folder) = (cache(), TempDir::new().unwrap());
    let cache = cache.path().to_str().unwrap();
    let hub = |more: &[&str]| {
        let mut arguments = vec!["--hub-cache", cache, "--dtype", "f32"];
        arguments.extend(more);
        succeeds(&small(&folder, &arguments));
        read_png(&folder.path().join("image.png")).0
    };
    let offline = hub(&["--model", "owner/tiny", "--offline"]);
    assert!(offline == hub(&["--model", tiny().to_str().unwrap()]));
    // Nothing listens at that port.
    let nowhere = ["--hub-endpoint", "http://127.0.0.1:9"];
    assert!(offline == hub(&[&["--model", "hf:owner/tiny@main"], &nowhere[..]].concat()));
    let tokenizer = "hf:owner/tiny/tokenizer/tokenizer.json";
    let mixed = [
        "--model",
        "owner/tiny",
        "--offline",
        "--tokenizer",
        tokenizer,
    ];
    assert!(offline == hub(&mixed));
}

#[cfg(feature = "hub")]
#[test]
fn what_the_hub_cannot_give_is_named() {
    let empty = TempDir::new().unwrap();
    let cache = empty.path().to_str().unwrap();
    let model = ["--model", "owner/name@v1", "--hub-cache", cache];
    cannot(
        &[&model[..], &["--offline"]].concat(),
        &["owner/name", "v1", "not in the cache"],
    );
    cannot(
        &[&model[..], &["--hub-endpoint", "http://127.0.0.1:9"]].concat(),
        &["owner/name", "cannot be reached", "folder of a checkpoint"],
    );
    refuses(
        &["--vae", "hf:owner/name", "--offline"],
        &["hf:owner/name", "hf:owner/name/FILE"],
    );
}

#[test]
fn a_missing_model_is_told_what_it_can_be() {
    for model in ["Ovis-Image-7B", "./no/such/folder"] {
        cannot(&["--model", model], &[model, "not found", "owner/name"]);
    }
}

#[cfg(feature = "hub")]
#[test]
fn what_needs_no_model_is_checked_before_a_download() {
    let model = [
        "--model",
        "owner/name",
        "--hub-endpoint",
        "http://127.0.0.1:9",
    ];
    for (flag, value) in [
        ("--device", "cuda:99"),
        ("--init-image", "missing.png"),
        ("--lora", "missing.safetensors"),
    ] {
        let folder = TempDir::new().unwrap();
        let output = small(&folder, &[&model[..], &[flag, value]].concat());
        fails(&folder, &output, 1, &[value]);
        assert!(
            !stderr(&output).contains("owner/name"),
            "{flag}: {}",
            stderr(&output)
        );
    }
}

#[cfg(feature = "flex")]
fn convert(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_convert"))
        .args(arguments)
        .output()
        .expect("the command starts")
}

#[cfg(feature = "flex")]
#[test]
fn a_converted_checkpoint_makes_the_same_image() {
    let folder = TempDir::new().unwrap();
    let mut last = tiny().to_str().unwrap().to_owned();
    let generated = |model: &str| {
        succeeds(&small(&folder, &["--dtype", "f32", "--model", model]));
        read_png(&folder.path().join("image.png")).0
    };
    let original = generated(&last);
    for (layout, ending) in [
        ("comfyui", ".safetensors"),
        ("burnpack", ".bpk"),
        ("authors", ".safetensors"),
        ("diffusers", ".safetensors"),
    ] {
        let target = folder.path().join(layout).to_str().unwrap().to_owned();
        let text = succeeds(&convert(&[
            "--model", &last, "--to", layout, "--output", &target,
        ]));
        assert!(text.contains(ending), "{text}");
        assert!(original == generated(&target), "{layout}");
        last = target;
    }
    let target = folder.path().join("q8").to_str().unwrap().to_owned();
    let q8 = ["--to", "comfyui", "--quantize", "q8_0", "--output", &target];
    let text = succeeds(&convert(&q8));
    assert!(text.contains("ovis_image-Q8_0.gguf"), "{text}");
    assert!(succeeds(&inspect(&["--model", &target])).contains("Q8_0"));
}

#[cfg(feature = "flex")]
#[test]
fn a_conversion_that_cannot_be_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("out").to_str().unwrap().to_owned();
    for (arguments, reason) in [
        (&["--to", "diffusers", "--gguf"][..], "ComfyUI"),
        (&["--to", "zip"], "diffusers"),
        (
            &["--to", "authors", "--model", "no-such-model"],
            "no-such-model",
        ),
    ] {
        let output = convert(&[arguments, &["--output", &target]].concat());
        assert!(!output.status.success());
        assert!(stderr(&output).contains(reason), "{}", stderr(&output));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[cfg(feature = "flex")]
pub(super) fn inspect(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_inspect"))
        .args(arguments)
        .output()
        .expect("the command starts")
}

#[cfg(feature = "flex")]
#[test]
fn inspect_tells_what_a_checkpoint_holds_and_takes() {
    let text = succeeds(&inspect(&[]));
    for part in [
        "text encoder",
        "transformer",
        "VAE",
        "BF16",
        "no problems",
        "q4_0",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let json: Value = serde_json::from_str(&succeeds(&inspect(&["--json"]))).unwrap();
    assert_eq!(json["parts"][1]["part"], "transformer");
    assert!(json["problems"].as_array().unwrap().is_empty());
    let peaks: Vec<u64> = json["memory"]
        .as_array()
        .unwrap()
        .iter()
        .map(|setting| setting["estimate"]["peak"].as_u64().unwrap())
        .collect();
    assert!(peaks[0] > peaks[1] && peaks[1] > peaks[2], "{peaks:?}");
}

#[cfg(feature = "flex")]
#[test]
fn inspect_lists_problems_and_fails() {
    let folder = TempDir::new().unwrap();
    let assets = tiny();
    let part = |name: &str| assets.join(name).display().to_string();
    let damaged = folder.path().join("model.safetensors");
    let original = assets.join("transformer/diffusion_pytorch_model.safetensors");
    let bytes = fs::read(original).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let kept: Vec<(String, TensorView<'_>)> = file
        .tensors()
        .into_iter()
        .filter(|(name, _)| name != "proj_out.bias")
        .collect();
    safetensors::serialize_to_file(kept, None, &damaged).unwrap();
    let config = assets.join("transformer/config.json");
    fs::copy(config, folder.path().join("config.json")).unwrap();
    let output = inspect(&[
        "--transformer",
        &folder.path().display().to_string(),
        "--vae",
        &part("vae"),
        "--text-encoder",
        &part("text_encoder"),
        "--tokenizer",
        &part("tokenizer"),
    ]);
    assert!(!output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("missing     proj_out.bias"), "{text}");
}
