//! Tests of `--lora`, and of converting and merging, on the model that the committed adapters were
//! made for.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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

fn convert(folder: &TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_convert"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap()
}

/// Returns the largest difference of two images.
fn largest(a: &[u8], b: &[u8]) -> u8 {
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn converted_and_merged_loras_act_as_the_original() {
    let folder = TempDir::new().unwrap();
    let (model, lora) = (golden("base/model"), golden("lora/all"));
    let image = |model: &str, more: &[&str]| {
        let base = ["--dtype", "f32", "--model", model];
        succeeds(&small(&folder, &[&base[..], more].concat()));
        read_png(&folder.path().join("image.png")).0
    };
    let expected = image(&model, &["--lora", &lora]);
    for format in ["kohya", "comfyui", "peft"] {
        let output = format!("{format}.safetensors");
        let arguments = ["--lora", &lora, "--format", format, "--model", &model];
        let printed = succeeds(&convert(
            &folder,
            &[&arguments[..], &["-o", &output]].concat(),
        ));
        assert!(printed.contains("46 modules"), "{printed}");
        assert!(largest(&expected, &image(&model, &["--lora", &output])) <= 1);
        // From there to PEFT's keys.
        let back = format!("{format}-back.safetensors");
        let arguments = ["--lora", &output, "--format", "peft", &model, "-o", &back];
        succeeds(&convert(&folder, &arguments));
        assert!(largest(&expected, &image(&model, &["--lora", &back])) <= 1);
    }
    let half = format!("{lora}:0.5");
    for layout in ["diffusers", "comfyui"] {
        let twice = ["--lora", &half, "--lora", &half, "--dtype", "f32"];
        let arguments = [&model, "--to", layout, "-o", layout];
        succeeds(&convert(&folder, &[&arguments[..], &twice].concat()));
        assert!(largest(&expected, &image(layout, &[])) <= 1, "{layout}");
    }
}

#[test]
fn the_difference_of_two_checkpoints_is_extracted_as_a_lora() {
    let folder = TempDir::new().unwrap();
    let (model, lora) = (golden("base/model"), golden("lora/all"));
    let image = |model: &str, more: &[&str]| {
        let base = ["--dtype", "f32", "--model", model];
        succeeds(&small(&folder, &[&base[..], more].concat()));
        read_png(&folder.path().join("image.png")).0
    };
    let f32 = ["--to", "diffusers", "--dtype", "f32", "-o"];
    let base = [&[model.as_str()][..], &f32, &["base"]].concat();
    succeeds(&convert(&folder, &base));
    let tuned = [&[model.as_str()][..], &f32, &["tuned", "--lora", &lora]].concat();
    succeeds(&convert(&folder, &tuned));
    let expected = image("tuned", &[]);
    assert!(largest(&expected, &image("base", &[])) > 2);
    for format in ["peft", "kohya"] {
        let output = format!("{format}.safetensors");
        let arguments = ["tuned", "--extract-lora", "base", "--format", format];
        let printed = succeeds(&convert(
            &folder,
            &[&arguments[..], &["-o", &output]].concat(),
        ));
        assert!(printed.contains("46 modules, 100.00 %"), "{printed}");
        assert!(largest(&expected, &image("base", &["--lora", &output])) <= 1);
    }
    let less = [
        "tuned",
        "--extract-lora",
        "base",
        "--rank",
        "1",
        "-o",
        "1.safetensors",
    ];
    let printed = succeeds(&convert(&folder, &less));
    assert!(!printed.contains("100.00 %"), "{printed}");

    let refuses = |arguments: &[&str], code: i32, text: &str| {
        let output = convert(&folder, &[arguments, &["-o", "new.safetensors"]].concat());
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(text), "{message}");
        assert!(!folder.path().join("new.safetensors").exists());
    };
    refuses(&["base", "--extract-lora", "base"], 2, "no matrix");
    refuses(&["--extract-lora", "base"], 2, "of this size");
    refuses(
        &["tuned", "--extract-lora", "base", "--rank", "0"],
        2,
        "--rank",
    );
    refuses(
        &["tuned", "--extract-lora", "no-such-folder"],
        1,
        "no-such-folder",
    );
    refuses(&["tuned", "--to", "diffusers", "--rank", "4"], 2, "--rank");
}

#[test]
fn loras_that_cannot_be_converted_are_refused() {
    let folder = TempDir::new().unwrap();
    let lora = golden("lora/all");
    let refuses = |arguments: &[&str], code: i32, text: &str| {
        let output = convert(&folder, arguments);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(text), "{message}");
    };
    let to = ["-o", "new.safetensors"];
    let format = |more: &[&str]| -> Vec<String> {
        let arguments = [&["--format", "kohya"][..], more, &to].concat();
        arguments.into_iter().map(str::to_owned).collect()
    };
    let refuses_format = |more: &[&str], code: i32, text: &str| {
        let arguments = format(more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        refuses(&arguments, code, text);
    };
    refuses_format(&[], 2, "--lora");
    refuses_format(&["--lora", &lora, "--lora", &lora], 2, "one --lora");
    refuses_format(&["--lora", &format!("{lora}:0.5")], 2, "scale");
    refuses_format(&["--lora", &lora, "--to", "diffusers"], 2, "--to");
    // Without --model, it has to be an adapter of the release.
    refuses_format(&["--lora", &lora], 1, "another model");
    refuses(&["--lora", &lora, "-o", "new"], 2, "--to");
    let odd = [
        "--lora",
        &lora,
        "--format",
        "lycoris",
        "-o",
        "new.safetensors",
    ];
    refuses(&odd, 2, "lycoris");
    let folder_name = ["--lora", &lora, "--format", "kohya", "-o", "new"];
    refuses(&folder_name, 2, ".safetensors");
    // The embedded model has other sizes.
    refuses(
        &["--to", "diffusers", "--lora", &lora, "-o", "new"],
        1,
        "another model",
    );
    assert!(super::names(&folder).is_empty());
    std::fs::write(folder.path().join("new.safetensors"), "kept").unwrap();
    refuses_format(&["--lora", &lora], 2, "exists");
}
