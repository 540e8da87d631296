//! Tests of `train`: a replayed run against torch and diffusers, resuming, and refusals.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

use super::processes::kill_at;
use super::{DEVICE, stderr, succeeds};

pub(super) fn golden(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    tests.join(name)
}

pub(super) fn command(folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
    command.current_dir(folder).args(arguments);
    command
}

pub(super) fn train(folder: &TempDir, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

/// Arguments of the recorded run.
fn replay(run: &str, more: &[&str]) -> Vec<String> {
    let (model, file) = (golden("base/model"), golden("training/replay.safetensors"));
    let arguments = format!(
        "--learning-rate 1e-3 --weight-decay 0.01 --adam-betas 0.9,0.95 --adam-eps 1e-8 \
         --max-grad-norm 1.0 --lr-schedule constant --warmup-steps 0 --dtype f32 \
         --device {DEVICE} --steps 20 --output {run}"
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

fn replayed(folder: &TempDir, run: &str, more: &[&str]) -> Output {
    let arguments = replay(run, more);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    train(folder, &arguments)
}

/// Lines of a log with a key.
pub(super) fn lines(folder: &TempDir, run: &str, key: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.path().join(run).join("log.jsonl")).unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line.get(key).is_some()).collect()
}

pub(super) fn weights(path: &Path) -> Vec<(String, Vec<f32>)> {
    let bytes = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut weights: Vec<(String, Vec<f32>)> = tensors
        .iter()
        .map(|(name, view)| {
            let values = view.data().chunks_exact(4);
            let values = values.map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            (name.to_owned(), values.collect())
        })
        .collect();
    weights.sort_by(|a, b| a.0.cmp(&b.0));
    weights
}

fn trained(folder: &TempDir, run: &str) -> Vec<(String, Vec<f32>)> {
    let model = folder.path().join(run).join("model/transformer");
    weights(&model.join("diffusion_pytorch_model.safetensors"))
}

/// Tensors by name, as bits.
type Bits = Vec<(String, Vec<u32>)>;

/// What must not depend on when a run was interrupted: losses, norms and weights, to the bit.
fn numbers(folder: &TempDir, run: &str) -> (Vec<[String; 2]>, Bits) {
    let steps = lines(folder, run, "loss");
    let steps = steps
        .iter()
        .map(|line| ["loss", "grad_norm"].map(|key| line[key].to_string()));
    let bits = trained(folder, run)
        .into_iter()
        .map(|(name, values)| (name, values.into_iter().map(f32::to_bits).collect()));
    (steps.collect(), bits.collect())
}

#[test]
fn a_replayed_run_equals_torch() {
    let folder = TempDir::new().unwrap();
    succeeds(&replayed(&folder, "run", &[]));
    let text = fs::read(golden("training/expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&text).unwrap();
    equals_torch(&lines(&folder, "run", "loss"), &expected["steps"]);
    let expected = weights(&golden("training/last_weights.safetensors"));
    weights_equal(&trained(&folder, "run"), &expected);
}

/// Compares the lines of twenty steps with recorded ones.
pub(super) fn equals_torch(steps: &[Value], expected: &Value) {
    assert_eq!(steps.len(), 20);
    for (found, expected) in steps.iter().zip(expected.as_array().unwrap()) {
        assert_eq!(found["step"], expected["step"]);
        assert_eq!(found["learning_rate"], 1e-3);
        for key in ["loss", "grad_norm"] {
            let (found, expected) = (
                found[key].as_f64().unwrap(),
                expected[key].as_f64().unwrap(),
            );
            let error = (found - expected).abs() / expected;
            assert!(error < 1e-5, "{key}: {found}, not {expected}");
        }
    }
}

/// Compares weights by name with recorded ones.
pub(super) fn weights_equal(found: &[(String, Vec<f32>)], expected: &[(String, Vec<f32>)]) {
    let norm = |values: &[f32]| {
        values
            .iter()
            .map(|v| f64::from(*v).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    // Small parameters, such as biases that started at zero, are measured against the others.
    let floor = expected
        .iter()
        .map(|(_, values)| norm(values))
        .fold(0.0, f64::max)
        / 100.0;
    assert_eq!(found.len(), expected.len());
    for ((name, found), (wanted, expected)) in found.iter().zip(expected) {
        assert_eq!(name, wanted);
        let difference: Vec<f32> = found.iter().zip(expected).map(|(a, b)| a - b).collect();
        let error = norm(&difference) / norm(expected).max(floor);
        assert!(error < 1e-4, "{name}: {error:e}");
    }
}

#[test]
fn a_killed_run_goes_on_to_the_bit() {
    let folder = TempDir::new().unwrap();
    succeeds(&replayed(&folder, "whole", &[]));
    let more = ["--checkpoint-every", "10"];
    let arguments = replay("killed", &more);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let file = "killed/checkpoints/step-00000010.safetensors";
    kill_at(command(&folder, &arguments), &folder.path().join(file));
    let output = replayed(&folder, "killed", &["--checkpoint-every", "10", "--resume"]);
    succeeds(&output);
    assert!(
        stderr(&output).contains("resumed after step 10"),
        "{}",
        stderr(&output)
    );
    let (whole, resumed) = (numbers(&folder, "whole"), numbers(&folder, "killed"));
    assert_eq!(whole.0, resumed.0);
    assert!(whole.1 == resumed.1, "the weights differ");
}

/// Settings with which a run in bf16 needs the least memory.
const SMALLEST: [&str; 6] = [
    "--optimizer",
    "adamw8bit",
    "--master-weights",
    "false",
    "--fused-update",
    "--ema-decay=0.9",
];

/// Arguments of the recorded run in bf16 with these settings, without clipping.
fn smallest(run: &str, more: &[&str]) -> Vec<String> {
    let arguments = replay(run, &[&SMALLEST[..], more].concat()).into_iter();
    let arguments = arguments.map(|argument| match argument.as_str() {
        "f32" => "bf16".to_owned(),
        "1.0" => "0".to_owned(),
        _ => argument,
    });
    arguments.collect()
}

#[test]
fn a_killed_run_with_the_least_memory_goes_on_to_the_bit() {
    let folder = TempDir::new().unwrap();
    let run = |name: &str, more: &[&str]| {
        let arguments = smallest(name, more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        command(&folder, &arguments)
    };
    succeeds(&run("whole", &[]).output().unwrap());
    let file = "killed/checkpoints/step-00000010.safetensors";
    let every = ["--checkpoint-every", "10"];
    kill_at(run("killed", &every), &folder.path().join(file));
    let mut resumed = run("killed", &[&every[..], &["--resume"]].concat());
    succeeds(&resumed.output().unwrap());
    assert!(numbers(&folder, "whole") == numbers(&folder, "killed"));
    let arguments = smallest("killed", &["--resume", "--accept-changes"]);
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let at = arguments.iter().position(|text| *text == "adamw8bit");
    arguments[at.unwrap()] = "adafactor";
    arguments.retain(|text| !text.starts_with("--adam") && !["0.9,0.95", "1e-8"].contains(text));
    let output = train(&folder, &arguments);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("another optimizer"), "{message}");
}

#[test]
fn a_plan_counts_the_memory_of_each_way_to_update() {
    let folder = TempDir::new().unwrap();
    let memory = |more: &[&str]| {
        let output = replayed(&folder, "run", &[more, &["--dry-run"]].concat());
        let plan = succeeds(&output);
        let line = plan.lines().find(|line| line.starts_with("memory"));
        line.unwrap().to_owned()
    };
    let plain = memory(&[]);
    assert!(
        plain.contains("weights") && plain.contains("optimizer"),
        "{plain}"
    );
    assert!(
        !plain.contains("f32 copies") && plain.contains("less with"),
        "{plain}"
    );
    let of_optimizer = |line: &str| {
        let (_, after) = line.split_once("optimizer ").unwrap();
        after.split([',', ')']).next().unwrap().to_owned()
    };
    let smaller = memory(&["--optimizer", "adamw8bit"]);
    assert_ne!(of_optimizer(&plain), of_optimizer(&smaller));
    let arguments = smallest("run", &["--dry-run"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let plan = succeeds(&train(&folder, &arguments));
    assert!(
        !plan.contains("f32 copies") && !plan.contains("less with"),
        "{plan}"
    );
    assert!(!folder.path().join("run").exists());
}

#[test]
fn updates_that_exclude_one_another_are_refused_by_both_flags() {
    let folder = TempDir::new().unwrap();
    let fails = |more: &[&str], flags: [&str; 2]| {
        let output = replayed(&folder, "run", more);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{message}");
        for flag in flags {
            assert!(message.contains(flag), "`{flag}` is not in: {message}");
        }
    };
    // The recorded run clips gradients.
    fails(&["--fused-update"], ["--fused-update", "--max-grad-norm"]);
    let without_clipping = [
        "--fused-update",
        "--max-grad-norm",
        "0",
        "--recompute",
        "none",
    ];
    fails(&without_clipping, ["--fused-update", "--recompute none"]);
    fails(
        &["--master-weights", "false"],
        ["--master-weights", "--dtype bf16"],
    );
    fails(&["--scale-parameter"], ["--scale-parameter", "--optimizer"]);
    fails(
        &["--optimizer", "adafactor"],
        ["--adam-betas", "--optimizer"],
    );
    fails(&["--optimizer", "sgd"], ["--optimizer", "adafactor"]);
}

#[test]
fn a_run_is_not_overwritten_or_changed_by_mistake() {
    let folder = TempDir::new().unwrap();
    let fails = |more: &[&str], code: i32, texts: &[&str]| {
        let output = replayed(&folder, "run", more);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{message}");
        for text in texts {
            assert!(message.contains(text), "`{text}` is not in: {message}");
        }
    };
    fails(&["--learning-rate", "nan"], 2, &["--learning-rate"]);
    fails(&["--steps", "21"], 1, &["step_020.latents"]);
    fails(&["--steps", "2"], 0, &["finished after step 2"]);
    fails(&[], 1, &["contains a run", "--resume"]);
    let changed = ["--resume", "--weight-decay", "0"];
    fails(
        &changed,
        1,
        &[
            "weight-decay: 0.01 before, 0.0 now",
            "steps: 2 before, 20 now",
        ],
    );
    fails(
        &["--resume", "--accept-changes", "--steps", "3"],
        0,
        &["steps: 2 before, 3 now"],
    );
    fails(&["--config", "none.toml"], 1, &["none.toml"]);
    fs::write(folder.path().join("a.toml"), "learning-pace = 1").unwrap();
    fails(&["--config", "a.toml"], 2, &["a.toml", "learning-pace"]);
    let lock = fs::File::open(folder.path().join("run/lock")).unwrap();
    lock.lock().unwrap();
    fails(&["--resume"], 1, &["another process trains"]);
}

/// Settings of runs of a few steps over small images.
const SMALL: &str = "
sizes = ['32x32']
steps = 4
batch-size = 2
learning-rate = 1e-3
ema-decay = 0.9
validate-every = 2
validation-images = 2
validation-characters = [3, 3]
validation-lines = [1, 1]
sample-every = 4
samples = 2
sample-steps = 2
checkpoint-every = 2
latent-images = 4
preset = 'signs'

[[curriculum]]
until-images = 4
characters = [1, 1]
lines = [1, 1]
fonts = ['DejaVu Sans Bold']

[[curriculum]]
characters = [1, 3]
lines = [1, 1]
fonts = ['DejaVu Sans Bold']
";

#[test]
fn the_auxiliary_term_is_trained_beside_models_in_bf16() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("small.toml"), SMALL).unwrap();
    let tiny = super::checkpoints::tiny();
    for recompute in ["none", "blocks"] {
        let arguments = [
            ["--config", "small.toml"],
            ["--model", tiny.to_str().unwrap()],
            ["--output", recompute],
            ["--recompute", recompute],
            ["--device", DEVICE],
            ["--dtype", "bf16"],
            ["--auxiliary-weight", "0.5"],
            ["--train-text-encoder", "true"],
            ["--steps", "2"],
            ["--validate-every", "0"],
            ["--sample-every", "0"],
        ];
        succeeds(&train(&folder, &arguments.concat()));
        let characters = lines(&folder, recompute, "characters");
        assert_eq!(characters.len(), 2);
        for line in characters {
            assert!(line["characters"].as_f64().unwrap() > 0.0, "{line}");
        }
    }
}

#[test]
fn a_small_model_is_trained_from_nothing() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("small.toml"), SMALL).unwrap();
    let nano = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/nano");
    let small = |run: &str, more: &[&str]| {
        let configs = ["--from-configs", nano.to_str().unwrap()];
        let common = [
            "--config",
            "small.toml",
            "--device",
            DEVICE,
            "--output",
            run,
        ];
        train(&folder, &[&common[..], &configs, more].concat())
    };
    let plan = succeeds(&small("vae", &["--stage", "autoencoder", "--dry-run"]));
    assert!(
        plan.contains("4 of 2 images") && plan.contains("disk"),
        "{plan}"
    );
    assert!(!folder.path().join("vae").exists());
    succeeds(&small("vae", &["--stage", "autoencoder"]));
    let vae = folder.path().join("vae/model/vae/config.json");
    let config: Value = serde_json::from_slice(&fs::read(vae).unwrap()).unwrap();
    assert!(config["scaling_factor"].as_f64() != Some(1.0), "{config}");

    let flow = [
        "--vae",
        "vae/model",
        "--train-text-encoder",
        "--max-sequence-length",
        "64",
        "--auxiliary-weight",
        "0.5",
    ];
    succeeds(&small("flow", &flow));
    for run in ["vae", "flow"] {
        let at = |name: &str| folder.path().join(run).join(name);
        assert_eq!(lines(&folder, run, "loss").len(), 4);
        assert_eq!(lines(&folder, run, "validation").len(), 2);
        for name in [
            "samples/step-00000004.png",
            "log.svg",
            "model-ema/model_index.json",
        ] {
            assert!(at(name).exists(), "{run}: {name}");
        }
        assert_eq!(fs::read_dir(at("checkpoints")).unwrap().count(), 2);
    }
    for line in lines(&folder, "flow", "validation") {
        assert!(line["prompt_gain"].as_f64().is_some(), "{line}");
    }
    assert!(lines(&folder, "flow", "characters").len() == 4);

    // Stopped after half of the steps, and resumed from its checkpoint.
    let changed = [&flow[..], &["--steps", "2"]].concat();
    succeeds(&small("half", &changed));
    let resumed = [&flow[..], &["--resume", "--accept-changes"]].concat();
    succeeds(&small("half", &resumed));
    assert!(numbers(&folder, "flow") == numbers(&folder, "half"));

    let short = [&flow[..], &["--max-sequence-length", "8"]].concat();
    let message = stderr(&small("short", &short));
    assert!(message.contains("--max-sequence-length"), "{message}");
    let odd = [&flow[..], &["--sizes", "40x40"]].concat();
    let message = stderr(&small("odd", &odd));
    assert!(message.contains("multiples of 16"), "{message}");
}
