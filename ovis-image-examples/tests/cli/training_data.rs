//! Tests of `train --data`: manifests of `dataset`, resuming, and data that is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::processes::kill_at;
use super::{DEVICE, stderr, succeeds};

fn program(name: &str, folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(match name {
        "train" => env!("CARGO_BIN_EXE_train"),
        _ => env!("CARGO_BIN_EXE_dataset"),
    });
    command.current_dir(folder).args(arguments);
    command
}

fn dataset(folder: &TempDir, arguments: &str) -> Output {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    program("dataset", folder, &arguments).output().unwrap()
}

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/base/model")
}

/// Arguments of a short run.
fn arguments(run: &str, more: &str) -> Vec<String> {
    let common = format!(
        "--device {DEVICE} --output {run} --steps 4 --batch-size 2 --learning-rate 1e-3 \
         --validate-every 2 --checkpoint-every 2 --sample-every 4 --samples 1 --sample-steps 1 \
         --prompt-dropout 0.3 --validation-share 0.2 {more}"
    );
    let common = common.split_whitespace().map(str::to_owned);
    let model = ["--model".to_owned(), model().to_str().unwrap().to_owned()];
    model.into_iter().chain(common).collect()
}

fn train(folder: &TempDir, run: &str, more: &str) -> Output {
    let arguments = arguments(run, more);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    program("train", folder, &arguments).output().unwrap()
}

/// Draws eight signs of two sizes into `data`.
fn draw(folder: &TempDir) {
    let mut lines = String::new();
    for (name, count, height) in [("square", 5, 64), ("wide", 3, 32)] {
        let set = format!(
            "synthesize --preset signs --count {count} -W 64 -H {height} --characters 1-2 \
             --lines 1 --seed {height} --output data/{name}"
        );
        succeeds(&dataset(folder, &set));
        let manifest = folder.path().join("data").join(name).join("manifest.jsonl");
        for line in fs::read_to_string(manifest).unwrap().lines() {
            let mut row: Value = serde_json::from_str(line).unwrap();
            row["image"] = json!(format!("{name}/{}", row["image"].as_str().unwrap()));
            row["id"] = json!(format!("{name} {}", row["id"]));
            lines += &format!("{row}\n");
        }
    }
    fs::write(folder.path().join("data/manifest.jsonl"), lines).unwrap();
}

fn lines(folder: &TempDir, run: &str, key: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.path().join(run).join("log.jsonl")).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &Value| line.get(key).is_some())
        .collect()
}

/// Losses, norms and validations as they were written, and the trained weights.
fn numbers(folder: &TempDir, run: &str, model: &str) -> (Vec<String>, Vec<u8>) {
    let of = |key: &str, keys: &[&str]| -> Vec<String> {
        let lines = lines(folder, run, key);
        let values = lines
            .iter()
            .flat_map(|line| keys.iter().map(|key| line[*key].to_string()));
        values.collect()
    };
    let mut values = of("loss", &["step", "loss", "grad_norm"]);
    values.extend(of("validation", &["step", "validation"]));
    let part = folder.path().join(run).join("model").join(model);
    let file = fs::read(part.join("diffusion_pytorch_model.safetensors")).unwrap();
    // Without the metadata, which contain the settings.
    let mut tensors = SafeTensors::deserialize(&file).unwrap().tensors();
    tensors.sort_by(|first, second| first.0.cmp(&second.0));
    let weights = tensors.iter().flat_map(|(_, tensor)| tensor.data());
    (values, weights.copied().collect())
}

#[test]
fn a_manifest_is_trained_on_and_a_killed_run_goes_on_to_the_bit() {
    let folder = TempDir::new().unwrap();
    draw(&folder);
    let plan = succeeds(&train(&folder, "whole", "--data data --dry-run"));
    assert!(
        plan.contains("64x64, about") && plan.contains("64x32, about"),
        "{plan}"
    );
    succeeds(&train(&folder, "whole", "--data data --steps 6"));
    let (values, _) = numbers(&folder, "whole", "transformer");
    assert_eq!(values.len(), 6 * 3 + 3 * 2);
    assert!(
        folder
            .path()
            .join("whole/samples/step-00000006.png")
            .exists()
    );

    let more = "--data data/manifest.jsonl --steps 6";
    let file = "killed/checkpoints/step-00000002.safetensors";
    let arguments = arguments("killed", more);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    kill_at(
        program("train", &folder, &arguments),
        &folder.path().join(file),
    );
    succeeds(&train(
        &folder,
        "killed",
        &format!("{more} --resume --data-threads 2"),
    ));
    let [whole, killed] = ["whole", "killed"].map(|run| numbers(&folder, run, "transformer"));
    assert_eq!(whole.0, killed.0);
    assert!(whole.1 == killed.1, "the weights differ");

    // Other data is another run.
    let manifest = folder.path().join("data/manifest.jsonl");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(
        &manifest,
        text.lines().skip(1).collect::<Vec<_>>().join("\n"),
    )
    .unwrap();
    let output = train(&folder, "killed", "--data data --steps 7 --resume");
    assert!(stderr(&output).contains("data-hash"), "{}", stderr(&output));
}

#[test]
fn buckets_and_weights_are_used_in_both_stages() {
    let folder = TempDir::new().unwrap();
    draw(&folder);
    succeeds(&dataset(&folder, "buckets data --resolutions 64"));
    // One is padded: its shape is that of no bucket.
    let manifest = folder.path().join("data/manifest.jsonl");
    let text = fs::read_to_string(&manifest).unwrap();
    let mut rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    rows[0]["bucket"] = json!([80, 48]);
    rows[0]["resize"] = json!([48, 48]);
    rows[0]["pad"] = json!([16, 0, 16, 0]);
    let text: Vec<String> = rows.iter().map(ToString::to_string).collect();
    fs::write(&manifest, text.join("\n")).unwrap();
    succeeds(&dataset(&folder, "balance data --strength 1"));
    for (stage, part) in [("autoencoder", "vae"), ("flow", "transformer")] {
        let more =
            format!("--data data --stage {stage} --latent-images 4 --steps 8 --languages zh,en");
        succeeds(&train(&folder, stage, &more));
        assert_eq!(numbers(&folder, stage, part).0.len(), 8 * 3 + 4 * 2);
    }
}

#[test]
fn data_that_cannot_be_trained_on_is_refused_before_the_work() {
    let folder = TempDir::new().unwrap();
    draw(&folder);
    let manifest = folder.path().join("data/manifest.jsonl");
    let text = fs::read_to_string(&manifest).unwrap();
    let fails = |more: &str, code: i32, part: &str| {
        let output = train(&folder, "run", more);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(part), "`{part}` is not in: {message}");
        assert!(!folder.path().join("run/log.jsonl").exists());
    };
    fails("--data nowhere", 1, "nowhere");
    fails("--data data --preset plain", 2, "preset");
    fails(
        "--data data --sizes 64x64,64x32,32x128",
        1,
        "32x128 is empty",
    );
    fails("--data data --sizes 62x62", 1, "multiples of");
    fails(
        "--data data --max-sequence-length 8",
        1,
        "--max-sequence-length",
    );
    fs::write(
        &manifest,
        text.replacen("\"caption_en\":\"", "\"caption_en\":7,\"other\":\"", 1),
    )
    .unwrap();
    fails("--data data", 1, "line 1");
    fs::write(&manifest, text.replace("\"caption_en\":", "\"other\":")).unwrap();
    fails("--data data --languages en", 1, "no caption in en");
    fs::write(&manifest, &text).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let image = folder
        .path()
        .join("data")
        .join(first["image"].as_str().unwrap());
    fs::remove_file(&image).unwrap();
    fails("--data data", 1, first["image"].as_str().unwrap());
    // An image that is damaged is found when it is read.
    fs::write(&image, "no image").unwrap();
    let output = train(&folder, "damaged", "--data data --steps 9");
    assert!(stderr(&output).contains(first["image"].as_str().unwrap()));
}

fn cache(folder: &TempDir, model: &Path, more: &str) -> Output {
    let model = model.to_str().unwrap();
    let arguments = format!("cache data --model {model} --output cache --device {DEVICE} {more}");
    dataset(folder, &arguments)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn a_cached_run_equals_one_that_encodes() {
    let folder = TempDir::new().unwrap();
    draw(&folder);
    let output = cache(&folder, &model(), "");
    succeeds(&output);
    // Eight images, two captions each, and the empty prompt.
    assert!(
        stderr(&output).contains("25 encodings are new"),
        "{}",
        stderr(&output)
    );
    for (run, data) in [("plain", "data"), ("cached", "cache")] {
        succeeds(&train(&folder, run, &format!("--data {data} --steps 6")));
    }
    for (key, value) in [("loss", "loss"), ("validation", "validation")] {
        let [plain, cached] = ["plain", "cached"].map(|run| lines(&folder, run, key));
        assert_eq!(plain.len(), cached.len());
        for (plain, cached) in plain.iter().zip(&cached) {
            let [plain, cached] = [plain, cached].map(|line| line[value].as_f64().unwrap());
            assert!(
                (plain - cached).abs() <= 1e-6 * plain,
                "{key}: {plain}, {cached}"
            );
        }
    }
    // Images are not needed anymore, and adapters train on a cache, too.
    fs::rename(folder.path().join("data"), folder.path().join("elsewhere")).unwrap();
    let mut lora = arguments("lora", "--data cache --rank 2");
    lora.insert(0, "lora".to_owned());
    let lora: Vec<&str> = lora.iter().map(String::as_str).collect();
    succeeds(&program("train", &folder, &lora).output().unwrap());
    assert_eq!(lines(&folder, "lora", "loss").len(), 4);
}

#[test]
fn a_stale_or_damaged_encoding_is_never_used() {
    let folder = TempDir::new().unwrap();
    draw(&folder);
    succeeds(&cache(&folder, &model(), ""));
    let shard = folder.path().join("cache/shard-000000.safetensors");
    let whole = fs::read(&shard).unwrap();
    let made = |more: &str, new: usize| {
        let message = stderr(&cache(&folder, &model(), more));
        let text = format!("; {new} encodings are new");
        assert!(message.contains(&text), "`{text}` is not in: {message}");
    };
    made("", 0);
    assert!(whole == fs::read(&shard).unwrap());
    // A run that was killed before its list was written.
    fs::remove_file(folder.path().join("cache/cache.jsonl")).unwrap();
    let fails = |more: &str, code: i32, part: &str| {
        let output = train(&folder, "run", &format!("--data cache {more}"));
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(part), "`{part}` is not in: {message}");
    };
    fails("", 1, "manifest.jsonl");
    made("", 0);
    fails("--sizes 64x64", 2, "--sizes");
    fails("--stage autoencoder", 2, "--stage");
    fails("--train-text-encoder", 2, "--train-text-encoder");
    fails("--max-sequence-length 8", 1, "--max-sequence-length");

    // Another caption, another image, another precision.
    let manifest = folder.path().join("data/manifest.jsonl");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(
        &manifest,
        text.replacen("\"caption_en\":\"", "\"caption_en\":\"New: ", 1),
    )
    .unwrap();
    made("", 1);
    let row: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let image = folder
        .path()
        .join("data")
        .join(row["image"].as_str().unwrap());
    image::RgbImage::new(64, 64).save(&image).unwrap();
    made("", 1);
    made("--dtype bf16", 17);

    let bytes = fs::read(&shard).unwrap_or(whole);
    fs::write(&shard, &bytes[..bytes.len() - 1]).unwrap();
    fails("", 1, "shard-000000.safetensors");
    let message = stderr(&cache(&folder, &model(), ""));
    assert!(message.contains("are made again"), "{message}");
    fails("--dry-run", 0, "");

    // Another VAE.
    let other = folder.path().join("other");
    copy(&model(), &other);
    let weights = other.join("vae/diffusion_pytorch_model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let output = train(&folder, "run", "--data cache --model other");
    assert!(
        stderr(&output).contains("another VAE"),
        "{}",
        stderr(&output)
    );
}
