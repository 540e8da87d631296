//! Tests of two passes, and of the time that a long run is said to take.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{DEVICE, cannot, generate, read_png, refuses, small, stderr, succeeds};

#[test]
fn the_result_has_the_larger_size_and_both_passes_are_made_again() {
    let folder = TempDir::new().unwrap();
    for (flags, upscaler) in [
        (&["--num-images", "2", "--seed", "4"][..], "Latent"),
        (
            &[
                "--hires-upscale",
                "image",
                "--hires-steps",
                "4",
                "--vae-tile",
                "64",
            ],
            "Lanczos",
        ),
    ] {
        let base = [
            "--hires",
            "1.5",
            "--hires-strength",
            "0.5",
            "--json",
            "--output",
            "large.png",
        ];
        let output = small(&folder, &[&base[..], flags].concat());
        let summary: Value = serde_json::from_str(&succeeds(&output)).unwrap();
        let settings = &summary["settings"];
        assert_eq!(settings["width"], 64);
        assert_eq!(settings["second_pass_run"]["width"], 96);
        let encoding = summary["seconds"]["image_encoding"].as_f64().unwrap();
        assert_eq!(encoding > 0.001, upscaler == "Lanczos", "{encoding}");
        let name = summary["files"].as_array().unwrap().last().unwrap();
        let name = name.as_str().unwrap();

        let (pixels, texts) = read_png(&folder.path().join(name));
        assert_eq!(pixels.len(), 3 * 96 * 96);
        let steps = if upscaler == "Latent" { 1 } else { 2 };
        for field in [
            "Size: 64x64",
            "Hires upscale: 1.5",
            &format!("Hires steps: {steps}"),
            &format!("Hires upscaler: {upscaler}"),
            "Denoising strength: 0.5",
        ] {
            assert!(
                texts["parameters"].contains(field),
                "{}",
                texts["parameters"]
            );
        }
        let again = [
            "--from-image",
            name,
            "--output",
            "again.png",
            "--device",
            DEVICE,
        ];
        succeeds(&generate(&folder, &again));
        assert!(
            read_png(&folder.path().join("again.png")).0 == pixels,
            "{flags:?}"
        );
    }
}

#[test]
fn a_second_pass_is_added_to_an_image_and_changed() {
    let folder = TempDir::new().unwrap();
    succeeds(&small(&folder, &["--seed", "6"]));
    let base = ["--device", DEVICE, "--json"];
    let run = |from: &str, to: &str, more: &[&str]| -> Value {
        let names = ["--from-image", from, "--output", to];
        let output = generate(&folder, &[&base[..], &names, more].concat());
        serde_json::from_str(&succeeds(&output)).unwrap()
    };
    let added = run("image.png", "large.png", &["--hires", "2"]);
    assert_eq!(added["settings"]["second_pass"]["scale"], 2.0);
    assert_eq!(added["settings"]["second_pass"]["strength"], 0.6);
    let changed = run("large.png", "other.png", &["--hires-strength", "0.3"]);
    assert_eq!(changed["settings"]["second_pass"]["scale"], 2.0);
    assert_eq!(changed["settings"]["second_pass"]["strength"], 0.3);
    let pixels = |name: &str| read_png(&folder.path().join(name)).0;
    assert!(pixels("large.png") != pixels("other.png"));
}

#[test]
fn second_passes_that_are_not_possible_are_refused_by_name() {
    refuses(&["--hires", "0.5"], &["invalid --hires", "0.5"]);
    refuses(&["--hires", "1000"], &["invalid --hires"]);
    refuses(
        &["--hires", "2", "--hires-strength", "1.5"],
        &["invalid --hires-strength"],
    );
    refuses(
        &["--hires-strength", "0.5"],
        &["--hires-strength needs --hires"],
    );
    cannot(
        &["--hires", "2", "--max-memory", "1MB"],
        &["MiB are needed"],
    );
    let folder = TempDir::new().unwrap();
    image::RgbImage::new(64, 64)
        .save(folder.path().join("start.png"))
        .unwrap();
    let output = small(&folder, &["--init-image", "start.png", "--hires", "2"]);
    assert!(!output.status.success());
    assert!(
        stderr(&output).contains("source image"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_long_run_says_after_a_step_how_long_it_takes_and_a_short_one_does_not() {
    let folder = TempDir::new().unwrap();
    let output = small(&folder, &[]);
    succeeds(&output);
    assert!(!stderr(&output).contains("quicker"));

    // Hours: stopped when it has said so.
    let mut child = Command::new(env!("CARGO_BIN_EXE_generate"))
        .current_dir(&folder)
        .args(["--prompt", "a cat", "--device", DEVICE])
        .args(["--width", "512", "--height", "512", "--steps", "10000"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let said = lines
        .map(Result::unwrap)
        .find(|line| line.contains("left on this CPU"));
    child.kill().unwrap();
    child.wait().unwrap();
    let said = said.expect("the run says how long it takes");
    for hint in [
        "quicker: fewer --steps",
        "--step-cache",
        "--guidance-scale 1",
        "GPU",
    ] {
        assert!(said.contains(hint), "{said}");
    }
}
