//! Tests of the flags of `generate`: each has an effect, and reports invalid values.

use std::fs;

use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

use super::{cannot, generate, names, read_png, refuses, small, stderr, succeeds};

fn pixels(folder: &TempDir, name: &str) -> Vec<u8> {
    read_png(&folder.path().join(name)).0
}

fn summary(folder: &TempDir, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--json"]].concat();
    serde_json::from_str(&succeeds(&small(folder, &arguments))).unwrap()
}

#[test]
fn sampling_flags_are_in_the_settings_and_change_the_image() {
    let folder = TempDir::new().unwrap();
    summary(&folder, &["--steps", "4"]);
    let plain = pixels(&folder, "image.png");
    for (flag, value, setting) in [
        ("--sampler", "heun", "sampler"),
        ("--sampler", "euler-ancestral:0.5", "sampler"),
        ("--sigmas", "karras", "sigma_spacing"),
        ("--guidance", "zero-star:2", "guidance_method"),
        ("--step-cache", "taylor:2:1:1", "step_cache"),
    ] {
        let summary = summary(&folder, &["--steps", "4", flag, value]);
        assert_eq!(summary["settings"][setting], value);
        assert!(pixels(&folder, "image.png") != plain, "{flag} {value}");
    }
    let cached = summary(&folder, &["--steps", "4", "--step-cache", "taylor:2:1:1"]);
    assert!(cached["step_cache"]["skipped"].as_u64().unwrap() > 0);
    let within = summary(
        &folder,
        &["--steps", "4", "--guidance-interval", "0.5..1", "--profile"],
    );
    assert_eq!(within["profile"]["forwards"], 6);
    let skipping = [
        "--skip-layers",
        "double:1,single:2",
        "--skip-layers-interval",
        "0..1",
    ];
    let skipping = summary(
        &folder,
        &[&["--steps", "4", "--profile"], &skipping[..]].concat(),
    );
    assert_eq!(skipping["profile"]["forwards"], 11);
}

#[test]
fn what_cannot_be_sampled_is_refused_before_the_model_is_loaded() {
    for (arguments, text) in [
        (["--guidance-interval", "0.9..0.1"], "--guidance-interval"),
        (["--skip-layers", "double:99"], "double block 99"),
        (["--guidance-scale", "NaN"], "--guidance-scale"),
    ] {
        refuses(&arguments, &[text]);
    }
    let folder = TempDir::new().unwrap();
    for arguments in [
        ["--sampler", "ddim"],
        ["--sigmas", "x"],
        ["--step-cache", "tea"],
        ["--guidance", "apg:x"],
        ["--grid", "size=1"],
    ] {
        let output = small(&folder, &arguments);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(names(&folder).is_empty());
    }
}

#[test]
fn an_image_can_be_made_again_from_itself() {
    let folder = TempDir::new().unwrap();
    let cases: [&[&str]; 5] = [
        &[
            "--seed",
            "5",
            "--sampler",
            "unipc",
            "--sigmas",
            "beta",
            "--guidance",
            "apg",
        ],
        &[
            "--dtype",
            "bf16",
            "--quantize",
            "q8_0",
            "--negative-prompt",
            "blurry",
        ],
        &["--num-images", "3", "--seed", "9"],
        &[
            "--num-images",
            "2",
            "--sampler",
            "lcm",
            "--guidance-interval",
            "0..0.6",
        ],
        &[
            "--prompt",
            "a dog",
            "--prompt",
            "a, \"cat\": 猫",
            "--seeds",
            "1,2,3,4",
        ],
    ];
    for arguments in cases {
        succeeds(&small(&folder, arguments));
        for name in names(&folder) {
            let again = [
                "--from-image",
                &name,
                "--output",
                "again.png",
                "--device",
                super::DEVICE,
            ];
            succeeds(&generate(&folder, &again));
            assert!(
                pixels(&folder, &name) == pixels(&folder, "again.png"),
                "{name} {arguments:?}"
            );
            fs::remove_file(folder.path().join("again.png")).unwrap();
            fs::remove_file(folder.path().join(name)).unwrap();
        }
    }
}

#[test]
fn an_image_of_given_noise_is_made_again_with_a_sampler_that_adds_noise() {
    let folder = TempDir::new().unwrap();
    let noise = folder.path().join("noise.safetensors");
    super::write_latents(&noise, "latents", &[2, 16, 8, 8], 0.5);
    let given = ["--latents", "noise.safetensors", "--num-images", "2"];
    for (sampler, adds_noise) in [("euler", false), ("lcm", true), ("euler-ancestral", true)] {
        succeeds(&small(
            &folder,
            &[&given[..], &["--sampler", sampler]].concat(),
        ));
        for name in ["image-0.png", "image-1.png"] {
            let (_, texts) = read_png(&folder.path().join(name));
            assert!(!texts["parameters"].contains("Seed: "), "{texts:?}");
            let again = ["--from-image", name, "--output", "again.png", "--json"];
            let again = [&again[..], &["--device", super::DEVICE]].concat();
            let again: Value = serde_json::from_str(&succeeds(&generate(&folder, &again))).unwrap();
            let seeds = &again["settings"]["seeds"];
            assert_eq!(seeds.as_array().unwrap().is_empty(), !adds_noise, "{seeds}");
            assert!(
                pixels(&folder, name) == pixels(&folder, "again.png"),
                "{name}, {sampler}"
            );
        }
    }
}

#[test]
fn arguments_change_what_an_image_says_and_files_without_a_record_are_refused() {
    let folder = TempDir::new().unwrap();
    succeeds(&small(&folder, &["--seed", "5", "--sampler", "heun"]));
    let again = [
        "--from-image",
        "image.png",
        "--output",
        "b.png",
        "--seed",
        "6",
        "--json",
    ];
    let again = generate(
        &folder,
        &[&again[..], &["--device", super::DEVICE]].concat(),
    );
    let again: Value = serde_json::from_str(&succeeds(&again)).unwrap();
    assert_eq!(again["settings"]["sampler"], "heun");
    assert_eq!(again["settings"]["seeds"], serde_json::json!([6]));
    let empty = TempDir::new().unwrap();
    RgbImage::new(16, 16)
        .save(empty.path().join("plain.png"))
        .unwrap();
    fs::write(empty.path().join("text.png"), "not an image").unwrap();
    for (name, text) in [
        ("plain.png", "does not say how it was made"),
        ("text.png", "text.png is not a PNG file"),
        ("none.png", "cannot read none.png"),
    ] {
        let output = generate(&empty, &["--from-image", name]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(text), "{}", stderr(&output));
    }
}

#[test]
fn what_another_program_says_is_asked_for() {
    let folder = TempDir::new().unwrap();
    let write = |text: &str| {
        let file = fs::File::create(folder.path().join("other.png")).unwrap();
        let mut encoder = png::Encoder::new(file, 1, 1);
        encoder
            .add_text_chunk("parameters".to_owned(), text.to_owned())
            .unwrap();
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[0]).unwrap();
    };
    let run = |more: &[&str]| {
        let arguments = [
            "--from-image",
            "other.png",
            "--device",
            super::DEVICE,
            "--json",
        ];
        generate(&folder, &[&arguments[..], more].concat())
    };
    write(
        "a cat, a mat\nNegative prompt: blurry\nSteps: 3, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 2.5, Seed: 11, Size: 64x32",
    );
    let summary: Value = serde_json::from_str(&succeeds(&run(&[]))).unwrap();
    let settings = &summary["settings"];
    assert_eq!(settings["prompts"], serde_json::json!(["a cat, a mat"]));
    assert_eq!(settings["negative_prompts"], serde_json::json!(["blurry"]));
    assert_eq!(
        (&settings["sampler"], &settings["sigma_spacing"]),
        (&"dpmpp-2m".into(), &"karras".into())
    );
    assert_eq!(
        (
            &settings["num_inference_steps"],
            &settings["guidance_scale"]
        ),
        (&3.into(), &2.5.into())
    );
    assert_eq!(
        (&settings["width"], &settings["height"]),
        (&64.into(), &32.into())
    );
    assert_eq!(settings["seeds"], serde_json::json!([11]));
    for (unknown, way_out) in [
        ("Sampler: DPM fast", "--sampler"),
        ("Sampler: Euler, Schedule type: KL Optimal", "--sigmas"),
    ] {
        write(&format!(
            "a cat\nSteps: 3, {unknown}, Seed: 11, Size: 64x32"
        ));
        let refused = run(&[]);
        let (_, name) = unknown.rsplit_once(": ").unwrap();
        assert_eq!(refused.status.code(), Some(2));
        for text in [&format!("`{name}`"), way_out] {
            assert!(stderr(&refused).contains(text), "{}", stderr(&refused));
        }
        let value = if way_out == "--sampler" {
            "heun"
        } else {
            "beta"
        };
        succeeds(&run(&[way_out, value]));
    }
}

#[test]
fn an_image_starts_from_another_and_keeps_what_the_mask_keeps() {
    let folder = TempDir::new().unwrap();
    let image = RgbImage::from_fn(64, 48, |x, y| Rgb([x as u8 * 3, y as u8 * 4, 90]));
    image.save(folder.path().join("start.png")).unwrap();
    let mask = GrayImage::from_fn(64, 48, |x, _| Luma([if x < 32 { 0 } else { 255 }]));
    mask.save(folder.path().join("mask.png")).unwrap();
    let base = [
        "--prompt",
        "a cat",
        "--steps",
        "4",
        "--device",
        super::DEVICE,
        "--json",
    ];
    let run = |more: &[&str]| -> Value {
        let output = generate(
            &folder,
            &[&base[..], &["--init-image", "start.png"], more].concat(),
        );
        serde_json::from_str(&succeeds(&output)).unwrap()
    };
    let whole = run(&["--strength", "0.5"]);
    // The image's own size is used without --width and --height.
    assert_eq!(
        (&whole["settings"]["width"], &whole["settings"]["height"]),
        (&64.into(), &48.into())
    );
    assert_eq!(whole["settings"]["sigmas"].as_array().unwrap().len(), 3);
    run(&["--mask", "mask.png", "--strength", "0.9"]);
    let result = pixels(&folder, "image.png");
    for (row, original) in result.chunks(3 * 64).zip(image.as_raw().chunks(3 * 64)) {
        assert_eq!(row[..3 * 32], original[..3 * 32]);
        assert_ne!(row[3 * 32..], original[3 * 32..]);
    }
    let again = [
        "--from-image",
        "image.png",
        "--output",
        "again.png",
        "--device",
        super::DEVICE,
    ];
    succeeds(&generate(&folder, &again));
    assert!(result == pixels(&folder, "again.png"));
}

#[test]
fn sources_that_cannot_be_used_are_refused() {
    cannot(&["--init-image", "none.png"], &["none.png"]);
    refuses(&["--strength", "0.5"], &[]);
}

#[test]
fn previews_are_written_and_the_profile_is_said() {
    let folder = TempDir::new().unwrap();
    let output = small(&folder, &["--preview", "soon.png", "--profile"]);
    succeeds(&output);
    assert_eq!(names(&folder), ["image.png", "soon.png"]);
    // 64 pixels are 8 latents, each four pixels of the preview.
    assert_eq!(pixels(&folder, "soon.png").len(), 3 * 32 * 32);
    let said = stderr(&output);
    for part in [
        "text encoding",
        "double blocks",
        "single blocks",
        "VAE decoding",
        "4 forwards",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_grid_holds_an_image_for_each_combination() {
    let folder = TempDir::new().unwrap();
    succeeds(&small(&folder, &["--seed", "2"]));
    let alone = pixels(&folder, "image.png");
    let grid = [
        "--grid",
        "seed=1,2,3",
        "--grid",
        "sampler=euler,heun",
        "--output",
        "grid.png",
    ];
    succeeds(&small(&folder, &grid));
    let sheet = image::open(folder.path().join("grid.png"))
        .unwrap()
        .to_rgb8();
    assert!(sheet.width() > 3 * 64 && sheet.height() > 2 * 64);
    // The first image of the grid is the image of seed 2 with Euler, unchanged.
    let first_row: Vec<u8> = alone[..3 * 64].to_vec();
    let found = sheet.rows().any(|row| {
        let row: Vec<u8> = row.flat_map(|pixel| pixel.0).collect();
        row.windows(3 * 64).any(|part| part == first_row)
    });
    assert!(found);
    refuses(&["--grid", "seed=x"], &["`x` is not a valid seed"]);
}

#[test]
fn sizes_beyond_the_training_are_warned_of() {
    let folder = TempDir::new().unwrap();
    let narrow = small(
        &folder,
        &["--width", "320", "--steps", "1", "--guidance-scale", "1"],
    );
    succeeds(&narrow);
    assert!(
        stderr(&narrow).contains("aspect ratios from 1:4 to 4:1"),
        "{}",
        stderr(&narrow)
    );
}

#[cfg(all(feature = "flex", feature = "plot"))]
#[test]
fn the_schedule_and_the_latents_are_plotted() {
    let folder = TempDir::new().unwrap();
    let plot = |arguments: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_plot_schedule"))
            .current_dir(&folder)
            .args(["--steps", "3", "--side", "32"])
            .args(arguments)
            .output()
            .unwrap()
    };
    succeeds(&plot(&["--sigmas", "karras"]));
    let svg = fs::read_to_string(folder.path().join("schedule.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("Noise level"));
    let refused = plot(&["--output", "plot.png"]);
    assert!(!refused.status.success());
}
