//! Tests of `train lora`: replayed runs against torch and PEFT, resuming, refusals, and where the
//! adapter goes.

use std::fs;
use std::path::Path;
use std::process::Output;

use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

use super::processes::kill_at;
use super::training::{command, equals_torch, golden, lines, train, weights, weights_equal};
use super::{DEVICE, stderr, succeeds};

/// Recorded adapters: rank 4 on all modules; two ranks, two alphas and rank-stabilized scaling on
/// those of the attention.
const CASES: [(&str, &str); 2] = [
    ("all", "lora/all/pytorch_lora_weights.safetensors"),
    ("attention", "lora/attention/adapter_model.safetensors"),
];

/// Arguments of a recorded run.
fn replay(output: &str, more: &[&str]) -> Vec<String> {
    let (model, file) = (golden("base/model"), golden("training/replay.safetensors"));
    let arguments = format!(
        "lora --learning-rate 1e-3 --weight-decay 0.01 --adam-betas 0.9,0.95 --adam-eps 1e-8 \
         --max-grad-norm 1.0 --lr-schedule constant --warmup-steps 0 --dtype f32 \
         --device {DEVICE} --steps 20 --output {output}"
    );
    let paths = [
        "--model",
        model.to_str().unwrap(),
        "--replay",
        file.to_str().unwrap(),
    ];
    let arguments = arguments.split_whitespace().chain(paths);
    arguments
        .chain(more.iter().copied())
        .map(str::to_owned)
        .collect()
}

fn replayed(folder: &TempDir, output: &str, more: &[&str]) -> Output {
    let arguments = replay(output, more);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    train(folder, &arguments)
}

/// Matrices of an adapter, by PEFT's names without prefix.
fn adapter(path: &Path) -> Vec<(String, Vec<f32>)> {
    let matrices = weights(path).into_iter();
    matrices
        .map(|(name, values)| {
            let name = name.strip_prefix("transformer.").unwrap_or(&name);
            (name.to_owned(), values)
        })
        .collect()
}

fn metadata(path: &Path) -> std::collections::HashMap<String, String> {
    let bytes = fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    header.metadata().clone().unwrap()
}

#[test]
fn a_replayed_run_of_adapters_equals_peft() {
    let folder = TempDir::new().unwrap();
    let text = fs::read(golden("training/lora/expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&text).unwrap();
    for (name, start) in CASES {
        let start = golden(start);
        let init = ["--init-lora", start.to_str().unwrap()];
        succeeds(&replayed(&folder, name, &init));
        equals_torch(&lines(&folder, name, "loss"), &expected[name]);
        let last = golden(&format!("training/lora/{name}_last_weights.safetensors"));
        let found = adapter(&folder.path().join(name).join("lora.safetensors"));
        weights_equal(&found, &adapter(&last));
    }
}

#[test]
fn a_killed_run_of_adapters_goes_on_to_the_bit() {
    let folder = TempDir::new().unwrap();
    let new = ["--rank", "2", "--ema-decay", "0.9"];
    succeeds(&replayed(&folder, "whole", &new));
    let more = [&new[..], &["--checkpoint-every", "10"]].concat();
    let arguments = replay("killed", &more);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let file = "killed/checkpoints/step-00000010.safetensors";
    kill_at(command(&folder, &arguments), &folder.path().join(file));
    let output = replayed(&folder, "killed", &[&more[..], &["--resume"]].concat());
    succeeds(&output);
    let message = stderr(&output);
    assert!(message.contains("resumed after step 10"), "{message}");
    for name in ["lora.safetensors", "lora-ema.safetensors"] {
        let read = |run: &str| weights(&folder.path().join(run).join(name));
        assert!(read("whole") == read("killed"), "{name} differs");
    }
    let steps = |run: &str| -> Vec<String> {
        let lines = lines(&folder, run, "loss");
        let texts = lines
            .iter()
            .map(|line| format!("{} {}", line["loss"], line["grad_norm"]));
        texts.collect()
    };
    assert_eq!(steps("whole"), steps("killed"));
}

#[test]
fn wrong_settings_of_adapters_are_refused_before_the_work() {
    let folder = TempDir::new().unwrap();
    let fails = |more: &[&str], code: i32, texts: &[&str]| {
        let output = replayed(&folder, "run", more);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{message}");
        for text in texts {
            assert!(message.contains(text), "`{text}` is not in: {message}");
        }
        assert!(lines(&folder, "run", "loss").is_empty());
    };
    fails(&["--rank", "0"], 2, &["--rank must be at least 1"]);
    fails(&["--alpha", "nan"], 2, &["--alpha", "NaN"]);
    fails(&["--target-modules", "none"], 1, &["`none`"]);
    fails(&["--target-modules", ""], 1, &["``"]);
    let start = golden("lora/all/pytorch_lora_weights.safetensors");
    let start = start.to_str().unwrap();
    fails(
        &["--init-lora", start, "--rank", "2"],
        2,
        &["--rank", "--init-lora"],
    );
    fails(
        &["--init-lora", "missing.safetensors"],
        1,
        &["missing.safetensors"],
    );
    let fused = golden("lora/fused.safetensors");
    fails(
        &["--init-lora", fused.to_str().unwrap()],
        1,
        &["fused.safetensors"],
    );
    fails(&["--train-text-encoder"], 2, &["--train-text-encoder"]);
    fails(&["--stage", "autoencoder"], 2, &["--stage flow"]);
    // The embedded model has other sizes.
    let tiny = super::checkpoints::tiny();
    let other = train(
        &folder,
        &[
            "lora",
            "--model",
            tiny.to_str().unwrap(),
            "--init-lora",
            start,
            "--output",
            "other",
            "--device",
            DEVICE,
        ],
    );
    let message = stderr(&other);
    assert_eq!(other.status.code(), Some(1), "{message}");
    assert!(message.contains("another model"), "{message}");
}

#[test]
fn an_output_that_ends_in_safetensors_is_the_adapter() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let short = ["--steps", "2", "--rank", "2", "--ema-decay", "0.9"];
    let run = |more: &[&str]| replayed(&folder, "style.safetensors", &[&short[..], more].concat());
    fs::write(at("style.safetensors"), "of somebody").unwrap();
    for more in [&[][..], &["--resume"]] {
        let output = run(more);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains("style.safetensors exists"), "{message}");
        assert!(!at("style.run").exists());
    }
    assert_eq!(fs::read(at("style.safetensors")).unwrap(), b"of somebody");
    fs::remove_file(at("style.safetensors")).unwrap();

    let output = run(&["--trigger", "ovsstyle"]);
    succeeds(&output);
    let message = stderr(&output);
    assert!(message.contains("style.safetensors"), "{message}");
    assert!(at("style.run/settings.json").exists() && at("style-ema.safetensors").exists());
    let mut names = super::names(&folder);
    names.retain(|name| name.starts_with('.'));
    assert!(names.is_empty(), "left behind: {names:?}");
    let metadata = metadata(&at("style.safetensors"));
    assert_eq!(metadata["modelspec.trigger_phrase"], "ovsstyle");
    assert_eq!(metadata["ovis-image.data_sha256"].len(), 64);
    let settings: Value = serde_json::from_str(&metadata["ovis-image.settings"]).unwrap();
    assert_eq!(settings["lora"]["rank"], 2);
    let peft: Value = serde_json::from_str(&metadata["lora_adapter_metadata"]).unwrap();
    assert_eq!(peft["transformer.r"], 2);

    let again = run(&[]);
    let message = stderr(&again);
    assert!(message.contains("style.run contains a run"), "{message}");
}

/// Settings of a run of a few steps over small images.
const SMALL: &str = "
sizes = ['32x32']
steps = 4
batch-size = 2
learning-rate = 1e-2
ema-decay = 0.9
validate-every = 2
validation-images = 2
validation-characters = [3, 3]
validation-lines = [1, 1]
sample-every = 4
samples = 2
sample-steps = 2

[[curriculum]]
characters = [1, 3]
lines = [1, 1]
fonts = ['DejaVu Sans Bold']

[lora]
target-modules = ['attn.*', 'single_transformer_blocks.*']
rank = 2

[[lora.overrides]]
modules = 'to_q'
rank = 4
alpha = 2.0
";

fn small_arguments<'a>(model: &'a str, output: &'a str) -> [&'a str; 8] {
    [
        "--config",
        "small.toml",
        "--model",
        model,
        "--device",
        DEVICE,
        "--output",
        output,
    ]
}

#[test]
fn adapters_learn_from_drawn_images_and_act_in_generate() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("small.toml"), SMALL).unwrap();
    let tiny = super::checkpoints::tiny();
    let model = tiny.to_str().unwrap();
    let small = |output: &str, more: &[&str]| {
        train(
            &folder,
            &[&["lora"][..], &small_arguments(model, output), more].concat(),
        )
    };
    let plan = succeeds(&small("style", &["--dry-run"]));
    assert!(plan.contains("4 of 2 images"), "{plan}");
    assert!(!folder.path().join("style").exists());
    succeeds(&small("style", &[]));
    assert_eq!(lines(&folder, "style", "loss").len(), 4);
    assert_eq!(lines(&folder, "style", "validation").len(), 2);
    let at = |name: &str| folder.path().join("style").join(name);
    assert!(at("samples/step-00000004.png").exists() && at("log.svg").exists());

    let image = |more: &[&str]| {
        let base = ["--model", model, "--dtype", "f32"];
        succeeds(&super::small(&folder, &[&base[..], more].concat()));
        super::read_png(&folder.path().join("image.png")).0
    };
    let lora = at("lora.safetensors");
    let lora = lora.to_str().unwrap();
    assert!(image(&[]) != image(&["--lora", lora]));

    // Halfway, and on from there.
    succeeds(&small("half", &["--steps", "2"]));
    succeeds(&small("half", &["--resume", "--accept-changes"]));
    let read = |run: &str| weights(&folder.path().join(run).join("lora.safetensors"));
    assert!(read("style") == read("half"), "the adapters differ");

    // The table is of `train lora`.
    let output = train(&folder, &small_arguments(model, "plain"));
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("train lora"),
        "{}",
        stderr(&output)
    );
}

/// Writes images of one color with captions, of two shapes.
fn put_images(folder: &Path, images: &[(&str, [u32; 2], Option<&str>)]) {
    for (name, [width, height], caption) in images {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let image = image::RgbImage::from_pixel(*width, *height, image::Rgb([200, 40, 90]));
        image.save(&path).unwrap();
        if let Some(caption) = caption {
            fs::write(path.with_extension("txt"), caption).unwrap();
        }
    }
}

/// Photos of three shapes: with a caption, without one, and in a folder that counts four times.
const PHOTOS: [(&str, [u32; 2], Option<&str>); 3] = [
    ("photos/a.png", [40, 40], Some("red, flat, square")),
    ("photos/b.jpg", [80, 40], None),
    ("photos/4_wide/c.png", [90, 30], Some("wide, flat, red")),
];

const TRIGGER: [&str; 2] = ["--trigger", "ovsstyle"];

/// Makes a folder with photos.
fn with_photos() -> TempDir {
    let folder = TempDir::new().unwrap();
    put_images(folder.path(), &PHOTOS);
    folder
}

/// Trains adapters on the photos, for four steps unless the arguments name passes.
fn train_on_photos(folder: &TempDir, output: &str, more: &[&str]) -> Output {
    let tiny = super::checkpoints::tiny();
    let base = format!(
        "lora --images photos --resolution 32 --rank 2 --learning-rate 1e-2 --dtype f32 \
         --sample-every 0 --device {DEVICE} --output {output} --model"
    );
    let mut arguments: Vec<&str> = base.split_whitespace().collect();
    arguments.push(tiny.to_str().unwrap());
    if !more.contains(&"--epochs") {
        arguments.extend(["--steps", "4"]);
    }
    arguments.extend(more);
    train(folder, &arguments)
}

fn losses(folder: &TempDir, run: &str) -> Vec<f64> {
    let lines = lines(folder, run, "loss").into_iter();
    lines.map(|line| line["loss"].as_f64().unwrap()).collect()
}

#[test]
fn adapters_learn_from_a_folder_of_images() {
    let folder = with_photos();
    let message = stderr(&train_on_photos(&folder, "none.safetensors", &[]));
    assert!(
        message.contains("b.jpg") && message.contains("--trigger"),
        "{message}"
    );
    let dry = [&TRIGGER[..], &["--dry-run"]].concat();
    let plan = succeeds(&train_on_photos(&folder, "none.safetensors", &dry));
    for line in ["32x32", "48x16", "memory", "--dtype bf16", "--quantize"] {
        assert!(plan.contains(line), "{line}: {plan}");
    }
    succeeds(&train_on_photos(&folder, "style.safetensors", &TRIGGER));
    assert_eq!(losses(&folder, "style.run").len(), 4);
    let metadata = metadata(&folder.path().join("style.safetensors"));
    assert_eq!(metadata["modelspec.trigger_phrase"], "ovsstyle");

    // Six images in a pass, of which one stands for four.
    let epochs = [&TRIGGER[..], &["--epochs", "2"]].concat();
    succeeds(&train_on_photos(&folder, "epochs", &epochs));
    assert_eq!(losses(&folder, "epochs").len(), 12);
}

#[test]
fn a_streamed_base_trains_alike_and_a_quantized_one_nearly() {
    let folder = with_photos();
    let run = |output: &str, more: &[&str]| {
        let more = [&TRIGGER[..], more].concat();
        succeeds(&train_on_photos(&folder, output, &more));
        losses(&folder, output)
    };
    let full = run("full", &[]);
    assert_eq!(run("streamed", &["--stream-blocks", "2"]), full);
    let quantized = run("quantized", &["--quantize", "q8_0"]);
    for (quantized, full) in quantized.iter().zip(full) {
        assert!((quantized / full - 1.0).abs() < 0.02, "{quantized} {full}");
    }
}

#[test]
fn masks_and_regularization_images_change_the_loss_and_repeat_exactly() {
    let folder = with_photos();
    let square = ("class/r.png", [40, 40], Some("a square"));
    put_images(folder.path(), &[square]);
    put_masks(folder.path());
    let unmasked = [
        &TRIGGER[..],
        &["--regularization-images", "class:2"],
        &["--prior-weight", "0.5"],
        &["--shuffle-tags", "--tag-dropout", "0.3"],
        &["--batch-size", "2", "--ema-decay", "0.5"],
    ]
    .concat();
    let masked = [&unmasked[..], &["--masks", "masks"]].concat();
    let run = |output: &str, more: &[&str]| {
        succeeds(&train_on_photos(&folder, output, more));
        losses(&folder, output)
    };
    let first = run("first", &masked);
    assert_eq!(run("second", &masked), first);
    assert_ne!(run("unmasked", &unmasked), first);
}

/// Writes masks of the photos' shapes, in which the left half counts.
fn put_masks(folder: &Path) {
    for (name, [width, height], _) in PHOTOS {
        let path = folder
            .join("masks")
            .join(name.trim_start_matches("photos/"));
        let path = path.with_extension("png");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mask = image::GrayImage::from_fn(width, height, |x, _| {
            image::Luma([if x < width / 2 { 255 } else { 0 }])
        });
        mask.save(path).unwrap();
    }
}

#[test]
fn a_run_ends_when_its_validations_stop_improving() {
    let folder = TempDir::new().unwrap();
    let photos = [
        ("photos/a.png", [32, 32], None),
        ("photos/b.png", [32, 32], None),
    ];
    put_images(folder.path(), &photos);
    let tiny = super::checkpoints::tiny();
    // Without a learning rate nothing improves, and the first validation is the best one.
    let arguments = format!(
        "lora --images photos --trigger ovsstyle --resolution 32 --rank 2 --learning-rate 1e-30 \
         --steps 50 --validation-share 0.5 --validate-every 2 --patience 3 --sample-every 0 \
         --device {DEVICE} --output style.safetensors --model"
    );
    let mut arguments: Vec<&str> = arguments.split_whitespace().collect();
    arguments.push(tiny.to_str().unwrap());
    let output = train(&folder, &arguments);
    succeeds(&output);
    let message = stderr(&output);
    assert!(message.contains("the run ends"), "{message}");
    assert_eq!(lines(&folder, "style.run", "loss").len(), 8);
    // Its steps are as small as its learning rate.
    let at = |name: &str| weights(&folder.path().join(name)).into_iter();
    for ((name, best), (_, last)) in at("style-best.safetensors").zip(at("style.safetensors")) {
        let close = best.iter().zip(last).all(|(a, b)| (a - b).abs() < 1e-20);
        assert!(close, "{name}");
    }
}
