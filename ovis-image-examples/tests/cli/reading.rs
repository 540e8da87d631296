//! Tests of `evaluate read`. Reading needs models that are not committed: their folder is named by
//! `OVIS_PP_OCR_MODELS`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{stderr, succeeds};

fn read(folder: &TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_evaluate"))
        .current_dir(folder)
        .arg("read")
        .args(arguments)
        .output()
        .unwrap()
}

fn signs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/reader")
}

#[test]
fn wrong_arguments_of_read_are_named() {
    let folder = TempDir::new().unwrap();
    fs::create_dir_all(folder.path().join("empty")).unwrap();
    let sign = signs().join("sign-2.png");
    let sign = sign.to_str().unwrap();
    for (arguments, code, message) in [
        (&["none", "--models", "."][..], 1, "cannot read none"),
        (
            &["empty", "--models", "."],
            1,
            "no image (png, jpg, jpeg, webp) in empty",
        ),
        (&[sign, "--models", "none"], 1, "folder of models none"),
        (
            &[sign, "--models", "empty"],
            1,
            "empty has no detection model",
        ),
        (
            &[sign, "--models", ".", "-o", "a.txt"],
            2,
            "does not end in .jsonl",
        ),
        (&[sign, "--models", ".", "--resume"], 2, "--output"),
        (&[sign], 2, "--models"),
    ] {
        let output = read(&folder, arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
}

#[test]
fn images_of_a_folder_are_read_and_unreadable_ones_are_counted() {
    let Ok(models) = std::env::var("OVIS_PP_OCR_MODELS") else {
        // Standard error, past the capture of the test harness.
        let _ = writeln!(std::io::stderr(), "skipped: no OVIS_PP_OCR_MODELS");
        return;
    };
    let folder = TempDir::new().unwrap();
    let images = folder.path().join("images/CVTG/2");
    fs::create_dir_all(&images).unwrap();
    fs::copy(signs().join("sign-4.png"), images.join("1.png")).unwrap();
    fs::copy(signs().join("sign-2.png"), images.join("0.png")).unwrap();
    fs::write(images.join("2.png"), "not an image").unwrap();
    let arguments = ["images", "--models", &models, "-o", "readings.jsonl"];
    let output = read(&folder, &arguments);
    succeeds(&output);
    let said = stderr(&output);
    assert!(
        said.contains("1 of 3 images could not be read") && said.contains("2.png"),
        "{said}"
    );
    let lines = || -> Vec<Value> {
        let text = fs::read_to_string(folder.path().join("readings.jsonl")).unwrap();
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap()
    };
    let first = lines();
    let expected = json!({"image": "images/CVTG/2/0.png", "words": ["C8H9C", "HE"]});
    assert_eq!(first[0], expected);
    assert_eq!(first[1]["words"], json!(["SPICE", "VVIF"]));
    assert!(first[2]["error"].is_string() && first.len() == 3);

    // What was read is kept, and what could not be read is tried again.
    fs::copy(signs().join("sign-6.png"), images.join("0.png")).unwrap();
    fs::copy(signs().join("sign-6.png"), images.join("2.png")).unwrap();
    succeeds(&read(&folder, &[&arguments[..], &["--resume"]].concat()));
    let second = lines();
    assert_eq!(second[..2], first[..2]);
    assert_eq!(second[2]["words"], json!(["SOUP", "KO"]));
}
