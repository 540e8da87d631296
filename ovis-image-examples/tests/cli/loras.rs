//! Tests of `--lora` on the model that the committed adapters were made for.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::{cannot, read_png, small, stderr, succeeds};

fn golden(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let path: PathBuf = folder.join(name);
    path.to_str().unwrap().to_owned()
}

#[test]
fn loras_act_as_strongly_as_asked_and_are_reported() {
    let folder = TempDir::new().unwrap();
    let (model, lora) = (golden("base/model"), golden("lora/kohya.safetensors"));
    let generated = |more: &[&str]| {
        let base = ["--dtype", "f32", "--json", "--model", &model];
        let output = small(&folder, &[&base[..], more].concat());
        let summary: Value = serde_json::from_str(&succeeds(&output)).unwrap();
        (
            read_png(&folder.path().join("image.png")).0,
            summary,
            stderr(&output),
        )
    };
    let largest = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    let (plain, ..) = generated(&[]);
    let (full, summary, notes) = generated(&["--lora", &lora]);
    assert!(largest(&plain, &full) > 2);
    assert_eq!(summary["loras"][0]["applied"], 46);
    assert_eq!(summary["loras"][0]["modules"], 46);
    assert!(notes.contains("applied 46 of 46 modules"), "{notes}");
    assert!(plain == generated(&["--lora", &format!("{lora}:0")]).0);
    let halves = format!("{lora}:0.5");
    let second = format!("{}:0.5", golden("lora/all"));
    // The same adapter in two spellings, half of each; and merged: other sums, within a step of
    // 255.
    assert!(largest(&full, &generated(&["--lora", &halves, "--lora", &second]).0) <= 1);
    assert!(largest(&full, &generated(&["--lora", &lora, "--merge-loras"]).0) <= 1);
}

#[test]
fn loras_that_cannot_act_are_refused() {
    let lora = golden("lora/kohya.safetensors");
    // The embedded model has other sizes.
    cannot(&["--lora", &lora], &["kohya.safetensors"]);
    cannot(
        &["--lora", "missing.safetensors:0.5"],
        &["missing.safetensors", "not found"],
    );
    let folder = TempDir::new().unwrap();
    let output = small(&folder, &["--merge-loras"]);
    assert!(stderr(&output).contains("--lora"), "{}", stderr(&output));
}
