//! Tests of the `generate` command as a user sees it: its output and its error messages.

// The tests need a backend that every machine has.
#![cfg(any(feature = "flex", feature = "ndarray"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assumption of a test is a failed test"
)]

mod benchmark_images;
mod checkpoints;
mod conventions;
mod dataset;
mod evaluation;
mod generating;
mod hires;
// `train` is built with flex only.
#[cfg(feature = "flex")]
mod lora_training;
mod loras;
// Peaks are of flex, and of the resident set as Linux counts it.
#[cfg(all(feature = "flex", target_os = "linux"))]
mod memory;
mod processes;
mod reading;
#[cfg(feature = "flex")]
mod release_plans;
mod sign_reader;
mod signs;
#[cfg(feature = "flex")]
mod style;
// `train` is built with flex only.
#[cfg(feature = "flex")]
mod training;
#[cfg(feature = "flex")]
mod training_data;
mod trust;
mod wildcards;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use tempfile::TempDir;

/// A CPU backend of this build.
const DEVICE: &str = if cfg!(feature = "flex") {
    "flex"
} else {
    "ndarray"
};

fn generate(folder: &TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_generate"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("the command starts")
}

/// Generates a small image, unless the arguments say otherwise.
fn small(folder: &TempDir, arguments: &[&str]) -> Output {
    let defaults = [
        ("--prompt", "a cat"),
        ("--width", "64"),
        ("--height", "64"),
        ("--steps", "2"),
        ("--device", DEVICE),
    ];
    let mut all = arguments.to_vec();
    for (flag, value) in defaults {
        if !arguments.contains(&flag) {
            all.extend([flag, value]);
        }
    }
    generate(folder, &all)
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Checks a failure: its exit code, nothing on stdout, every text in the message, no files written.
#[track_caller]
fn fails(folder: &TempDir, output: &Output, code: i32, texts: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(output.stdout.is_empty(), "stdout is not empty");
    assert!(message.contains("error: "), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    for text in texts {
        assert!(message.contains(text), "`{text}` is not in: {message}");
    }
    assert!(names(folder).is_empty(), "left behind: {:?}", names(folder));
}

/// Runs `generate` on a small image and checks that it refuses an argument: exit code 2.
#[track_caller]
fn refuses(arguments: &[&str], texts: &[&str]) {
    let folder = TempDir::new().unwrap();
    let output = small(&folder, arguments);
    fails(&folder, &output, 2, texts);
}

/// Runs `generate` on a small image and checks that its work fails, for example because of what a
/// file contains: exit code 1.
#[track_caller]
fn cannot(arguments: &[&str], texts: &[&str]) {
    let folder = TempDir::new().unwrap();
    let output = small(&folder, arguments);
    fails(&folder, &output, 1, texts);
}

fn names(folder: &TempDir) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Pixels and texts of a PNG.
fn read_png(path: &Path) -> (Vec<u8>, HashMap<String, String>) {
    let file = std::io::BufReader::new(fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let info = reader.info();
    assert_eq!(info.color_type, png::ColorType::Rgb);
    assert_eq!(pixels.len(), 3 * info.width as usize * info.height as usize);
    let plain = info.uncompressed_latin1_text.iter();
    let plain = plain.map(|chunk| (chunk.keyword.clone(), chunk.text.clone()));
    let utf8 = info.utf8_text.iter();
    let utf8 = utf8.map(|chunk| (chunk.keyword.clone(), chunk.get_text().unwrap()));
    let texts = plain.chain(utf8).collect();
    (pixels, texts)
}

fn write_latents(path: &Path, name: &str, shape: &[usize], value: f32) {
    let count: usize = shape.iter().product();
    let bytes: Vec<u8> = (0..count).flat_map(|_| value.to_le_bytes()).collect();
    let tensor = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).unwrap();
    fs::write(
        path,
        safetensors::serialize([(name, tensor)], None).unwrap(),
    )
    .unwrap();
}

#[test]
fn the_first_command_makes_an_image_and_says_what_the_model_draws() {
    let folder = TempDir::new().unwrap();
    let output = small(&folder, &[]);
    assert!(succeeds(&output).contains("image.png"));
    let message = stderr(&output);
    assert!(message.contains("draws only signs"), "{message}");
    assert_eq!(names(&folder), ["image.png"]);
    let (pixels, _) = read_png(&folder.path().join("image.png"));
    assert_eq!(pixels.len(), 3 * 64 * 64);
}

#[test]
fn an_image_carries_its_settings_in_any_script() {
    let folder = TempDir::new().unwrap();
    let arguments = [
        ["--prompt", "一只猫"],
        ["--negative-prompt", "blurry"],
        ["--seed", "7"],
        ["--schedule", "comfyui"],
        ["--height", "32"],
    ];
    succeeds(&small(&folder, &arguments.concat()));
    let (_, texts) = read_png(&folder.path().join("image.png"));
    let parameters = &texts["parameters"];
    assert!(
        parameters.starts_with("一只猫\nNegative prompt: blurry\nSteps: 2, Sampler: Euler, "),
        "{parameters}"
    );
    for field in [
        "Seed: 7",
        "Size: 64x32",
        "CFG scale: 3",
        "Schedule type: \"shift:3\"",
    ] {
        assert!(parameters.contains(field), "{parameters}");
    }
    let settings: Value = serde_json::from_str(&texts["ovis-image"]).unwrap();
    assert_eq!(settings["prompts"][0], "一只猫");
    assert_eq!(settings["seeds"][0], 7);
}

#[test]
fn json_is_one_object_with_settings_seconds_memory_and_files() {
    let folder = TempDir::new().unwrap();
    let output = small(&folder, &["--json"]);
    let summary: Value = serde_json::from_str(&succeeds(&output)).unwrap();
    assert_eq!(summary["settings"]["num_inference_steps"], 2);
    assert_eq!(summary["settings"]["width"], 64);
    assert_eq!(summary["settings"]["dtype"], "f32");
    assert_eq!(
        summary["settings"]["sigmas"].as_array().map(Vec::len),
        Some(3)
    );
    for phase in ["load", "text_encoding", "denoising", "vae_decoding"] {
        let seconds = summary["seconds"][phase].as_f64().unwrap();
        let total = summary["seconds"]["total"].as_f64().unwrap();
        assert!(
            0.0 < seconds && seconds < total,
            "{phase}: {seconds} of {total}"
        );
    }
    assert!(summary["peak_memory_bytes"].as_u64().unwrap() > 1 << 20);
    assert_eq!(summary["files"], serde_json::json!(["image.png"]));
    assert!(summary["device"].as_str().unwrap().contains(DEVICE));
    assert!(summary["model"].as_str().unwrap().contains("embedded"));
}

#[test]
fn several_images_are_numbered_and_each_says_its_place() {
    let folder = TempDir::new().unwrap();
    let output = small(&folder, &["--num-images", "2", "--output", "cat.png"]);
    assert!(succeeds(&output).contains("cat-0.png, cat-1.png"));
    assert_eq!(names(&folder), ["cat-0.png", "cat-1.png"]);
    let (first, _) = read_png(&folder.path().join("cat-0.png"));
    let (second, texts) = read_png(&folder.path().join("cat-1.png"));
    assert_ne!(first, second);
    assert!(texts["parameters"].contains("Batch pos: 1"));
}

#[test]
fn the_dumped_noise_fed_back_makes_the_same_image() {
    let folder = TempDir::new().unwrap();
    let dump = folder.path().join("run.safetensors");
    succeeds(&small(
        &folder,
        &["--seed", "3", "--height", "32", "--dump", "run.safetensors"],
    ));
    let bytes = fs::read(&dump).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let shape = |name: &str| tensors.tensor(name).unwrap().shape().to_vec();
    let context = shape("prompt_embeds")[2];
    let channels = shape("latents_in")[1];
    let expected = [
        ("input_ids", Dtype::I64, vec![1, 92]),
        ("attention_mask", Dtype::I64, vec![1, 92]),
        ("prompt_embeds", Dtype::F32, vec![1, 64, context]),
        ("negative_prompt_embeds", Dtype::F32, vec![1, 64, context]),
        ("sigmas", Dtype::F32, vec![3]),
        ("latents_in", Dtype::F32, vec![1, channels, 4, 8]),
        ("latents_out", Dtype::F32, vec![1, channels, 4, 8]),
        ("image", Dtype::F32, vec![1, 3, 32, 64]),
    ];
    assert_eq!(tensors.len(), expected.len());
    for (name, dtype, shape) in expected {
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!(
            (tensor.dtype(), tensor.shape()),
            (dtype, &shape[..]),
            "{name}"
        );
    }

    let noise = tensors.tensor("latents_in").unwrap();
    let noise = safetensors::serialize([("latents", noise)], None).unwrap();
    fs::write(folder.path().join("noise.safetensors"), noise).unwrap();
    succeeds(&small(
        &folder,
        &[
            "--height",
            "32",
            "--latents",
            "noise.safetensors",
            "--output",
            "again.png",
        ],
    ));
    let (first, _) = read_png(&folder.path().join("image.png"));
    let (again, texts) = read_png(&folder.path().join("again.png"));
    assert_eq!(first, again);
    assert!(!texts["parameters"].contains("Seed"));
}

#[test]
fn without_guidance_there_is_no_negative_tensor() {
    let folder = TempDir::new().unwrap();
    succeeds(&small(
        &folder,
        &["--guidance-scale", "1", "--dump", "run.safetensors"],
    ));
    let bytes = fs::read(folder.path().join("run.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert!(tensors.tensor("negative_prompt_embeds").is_err());
}

#[test]
fn a_prompt_that_is_too_long_is_reported_with_what_was_cut() {
    let folder = TempDir::new().unwrap();
    let prompt = "cat ".repeat(600);
    let output = small(&folder, &["--prompt", &prompt, "--json"]);
    let summary: Value = serde_json::from_str(&succeeds(&output)).unwrap();
    let cut = &summary["settings"]["prompt_reports"][0]["truncated_tokens"];
    assert!(cut.as_u64().unwrap() > 0);
    let message = stderr(&output);
    assert!(message.contains("too long"), "{message}");
    assert!(message.contains(&cut.to_string()), "{message}");
}

#[test]
fn the_model_may_be_a_folder_or_its_parts() {
    let folder = TempDir::new().unwrap();
    let nano = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/nano");
    let part = |name: &str| nano.join(name).to_str().unwrap().to_owned();
    let run = |output: &str, model: &[(&str, String)]| {
        let mut arguments = vec!["--dtype", "f32", "--output", output];
        // The defaults of the embedded model.
        arguments.extend(["--guidance-scale", "3", "--max-sequence-length", "64"]);
        for (flag, path) in model {
            arguments.extend([*flag, path]);
        }
        succeeds(&small(&folder, &arguments));
        read_png(&folder.path().join(output)).0
    };
    let embedded = run("embedded.png", &[]);
    let parts = [
        ("--transformer", part("transformer")),
        ("--vae", part("vae")),
        ("--text-encoder", part("text_encoder")),
        ("--tokenizer", part("tokenizer/tokenizer.json")),
    ];
    assert!(embedded == run("folder.png", &[("--model", part(""))]));
    assert!(embedded == run("parts.png", &parts));
    let mixed = [("--model", part("")), parts[1].clone()];
    assert_eq!(embedded, run("mixed.png", &mixed));
}

#[test]
fn parts_of_a_model_must_be_complete() {
    refuses(
        &["--vae", "vae", "--tokenizer", "tokenizer"],
        &["--transformer, --text-encoder", "--model"],
    );
}

#[test]
fn bad_output_names_are_refused_before_the_model_is_looked_for() {
    // The model is missing too: the first error shows the order of the checks.
    let model = ["--model", "no-such-model"];
    let cases = [
        (["--output", "no-such-folder/image.png"], "no-such-folder"),
        (
            ["--dump", "no-such-folder/run.safetensors"],
            "no-such-folder",
        ),
        (["--output", "image.gif"], "does not end in .png"),
        (["--output", "."], "is a folder"),
        (["--dump", "run.bin"], "does not end in .safetensors"),
    ];
    for (arguments, text) in cases {
        refuses(&[arguments, model].concat(), &[text]);
    }
}

#[test]
fn devices_and_dtypes_are_refused_by_name() {
    refuses(&["--device", "gpu"], &["`gpu`", "cuda[:N]"]);
    refuses(&["--dtype", "f64"], &["`f64`", "f32, f16, bf16"]);
    if cfg!(not(feature = "cuda")) {
        cannot(&["--device", "cuda"], &["cuda:0", "feature `cuda`"]);
    }
}

#[test]
fn arguments_out_of_range_are_refused_by_name() {
    refuses(&["--steps", "0"], &["--steps"]);
    refuses(&["--steps", "-1"], &["-1"]);
    refuses(&["--num-images", "0"], &["--num-images"]);
    refuses(
        &["--width", "70"],
        &["--width", "70x64", "multiples of 16", "64x64"],
    );
    refuses(&["--height", "0"], &["64x0"]);
    refuses(
        &["--width", "1600000", "--height", "1600000"],
        &["1600000x1600000"],
    );
    refuses(&["--guidance-scale", "NaN"], &["--guidance-scale", "NaN"]);
    refuses(&["--schedule", "karras"], &["`karras`", "comfyui"]);
    refuses(&["--schedule", "shift:0"], &["shift = 0"]);
}

#[test]
fn a_missing_or_unknown_model_folder_is_named() {
    cannot(
        &["--model", "no-such-model"],
        &["no-such-model", "not found"],
    );
    let empty = TempDir::new().unwrap();
    let path = empty.path().to_str().unwrap();
    cannot(&["--model", path], &[path, "known layout"]);
}

#[test]
fn bad_latents_are_refused_by_name() {
    let inputs = TempDir::new().unwrap();
    let path = |name: &str| inputs.path().join(name).to_str().unwrap().to_owned();

    let wrong_shape = path("wrong-shape.safetensors");
    write_latents(wrong_shape.as_ref(), "latents", &[1, 16, 9, 8], 0.0);
    refuses(
        &["--latents", &wrong_shape],
        &["`latents`", "[1, 16, 9, 8]"],
    );

    let other_name = path("other-name.safetensors");
    write_latents(other_name.as_ref(), "noise", &[1, 16, 8, 8], 0.0);
    cannot(&["--latents", &other_name], &["`latents`", "noise"]);

    let nan = path("nan.safetensors");
    write_latents(nan.as_ref(), "latents", &[1, 16, 8, 8], f32::NAN);
    refuses(&["--latents", &nan], &["latents", "NaN"]);

    let text = path("text.safetensors");
    fs::write(&text, "not tensors").unwrap();
    cannot(&["--latents", &text], &[&text, "safetensors"]);

    cannot(&["--latents", &path("missing")], &["missing", "not found"]);
    refuses(
        &["--latents", &wrong_shape, "--seed", "1"],
        &["--latents", "--seed"],
    );
}

#[test]
fn less_memory_gives_an_image_too() {
    let folder = tempfile::tempdir().unwrap();
    let plain = {
        succeeds(&small(&folder, &[]));
        fs::read(folder.path().join("image.png")).unwrap()
    };
    let pixels = |bytes: &[u8]| image::load_from_memory(bytes).unwrap().into_rgb8();
    // A single pass for both sides of guidance may round differently; quantized weights differ.
    for (flags, allowed) in [
        (&["--stream-blocks", "3", "--low-memory"][..], 0..=1),
        (&["--vae-tile", "64"], 0..=0),
        (&["--quantize", "q8_0", "--protect-double-blocks"], 0..=8),
        (&["--quantize", "q4_0"], 2..=255),
    ] {
        succeeds(&small(&folder, flags));
        let image = fs::read(folder.path().join("image.png")).unwrap();
        let (a, b) = (pixels(&plain), pixels(&image));
        let largest = a
            .as_raw()
            .iter()
            .zip(b.as_raw())
            .map(|(a, b)| a.abs_diff(*b))
            .max();
        assert!(
            allowed.contains(&largest.unwrap()),
            "{flags:?}: {largest:?}"
        );
    }
}

#[test]
fn formats_and_tiles_that_do_not_exist_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (flags, reason) in [
        (&["--quantize", "q3_k"][..], "q8_0"),
        (&["--protect-double-blocks"], "--quantize"),
        (&["--vae-tile", "10"], "--vae-tile"),
    ] {
        let output = small(&folder, flags);
        assert!(!output.status.success());
        assert!(stderr(&output).contains(reason), "{}", stderr(&output));
    }
}
