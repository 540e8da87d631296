//! Tests of what is not trusted: files that an argument or an image names, and names that hold what
//! a terminal obeys.

use std::fs;
use std::path::Path;
#[cfg(all(feature = "flex", unix))]
use std::process::Command;

use image::{GrayImage, RgbImage};
use ovis_image_examples::shared::image_file::ImageFormat;
use ovis_image_examples::shared::record::{Inputs, Origin};
use tempfile::TempDir;

#[cfg(feature = "flex")]
use super::checkpoints::inspect;
#[cfg(all(feature = "flex", unix))]
use super::processes::interrupt_at;
use super::{cannot, fails, generate, names, refuses, small, stderr, succeeds, write_latents};

/// Makes an image with one step and changes the inputs in its record.
fn image_with(folder: &TempDir, arguments: &[&str], change: impl FnOnce(&mut Inputs)) {
    succeeds(&small(folder, &[arguments, &["--steps", "1"]].concat()));
    let path = folder.path().join("image.png");
    let Origin::Record(mut record) = Origin::read(&path).unwrap() else {
        panic!("the image has a record");
    };
    change(&mut record.inputs);
    let pixels = image::open(&path).unwrap().into_rgb8();
    fs::write(&path, record.encode(ImageFormat::Png, &pixels).unwrap()).unwrap();
}

fn again(folder: &TempDir, image: &Path, more: &[&str]) -> std::process::Output {
    let image = image.to_str().unwrap();
    let arguments = ["--from-image", image, "--output", "again.png", "--device"];
    generate(folder, &[&arguments[..], &[super::DEVICE], more].concat())
}

#[cfg(unix)]
#[test]
fn devices_pipes_and_folders_are_refused_at_once() {
    let inputs = TempDir::new().unwrap();
    let pipe = inputs.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let plain = inputs.path().join("start.png");
    RgbImage::new(64, 64).save(&plain).unwrap();
    let (plain, folder) = (plain.to_str().unwrap(), inputs.path().to_str().unwrap());
    for path in ["/dev/zero", pipe.to_str().unwrap(), folder] {
        let kind = if path == folder {
            "folder"
        } else {
            "device or a pipe"
        };
        for arguments in [
            &["--latents", path][..],
            &["--init-image", path],
            &["--init-image", plain, "--mask", path],
            &["--from-image", path],
            &["--lora", path],
        ] {
            // The folder has no LoRA, which is another error.
            let is_lora = arguments[0] == "--lora" && path == folder;
            cannot(arguments, &[path, if is_lora { "" } else { kind }]);
        }
    }
}

#[test]
fn latents_larger_than_the_images_are_not_read() {
    let inputs = TempDir::new().unwrap();
    let path = inputs.path().join("large.safetensors");
    write_latents(&path, "latents", &[1, 16, 64, 64], 0.0);
    let path = path.to_str().unwrap();
    cannot(&["--latents", path], &[path, "[1, 16, 64, 64]"]);
}

#[test]
fn an_image_may_load_what_lies_in_its_folder_and_nothing_else() {
    let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for place in [&folder, &elsewhere] {
        RgbImage::new(64, 64)
            .save(place.path().join("start.png"))
            .unwrap();
        GrayImage::new(64, 64)
            .save(place.path().join("mask.png"))
            .unwrap();
    }
    let own = ["--init-image", "start.png", "--mask", "mask.png"];
    image_with(&folder, &own, |_| ());
    let image = folder.path().join("image.png");
    // From wherever it is called, and without trust.
    let run = TempDir::new().unwrap();
    let output = again(&run, &image, &[]);
    succeeds(&output);
    for said in ["note: ", "loads source image `", "mask `"] {
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }

    let foreign = elsewhere.path().join("start.png");
    let foreign = foreign.to_str().unwrap();
    image_with(&folder, &own, |inputs| {
        inputs.init_image = Some(foreign.into())
    });
    let run = TempDir::new().unwrap();
    let refused = [foreign, "outside the image's folder", "--trust-image"];
    fails(&run, &again(&run, &image, &[]), 2, &refused);
    // Given by the user, no trust is needed.
    let mask = folder.path().join("mask.png");
    let given = ["--init-image", foreign, "--mask", mask.to_str().unwrap()];
    succeeds(&again(&run, &image, &given));
    succeeds(&again(&run, &image, &["--trust-image"]));
}

#[test]
fn an_image_cannot_make_the_program_ask_the_hub() {
    let folder = TempDir::new().unwrap();
    image_with(&folder, &[], |inputs| {
        inputs.model = Some("owner/name".into());
        inputs.loras = vec!["hf:owner/style/style.safetensors:0.5".to_owned()];
        inputs.vae = Some("/somewhere\u{1b}[2J\n/vae".into());
    });
    let image = folder.path().join("image.png");
    let run = TempDir::new().unwrap();
    let refused = [
        "model `owner/name` (from the Hub)",
        "LoRA `hf:owner/style/style.safetensors` (from the Hub)",
        "VAE `/somewhere\\u{1b}[2J\\n/vae` (outside the image's folder)",
        "--trust-image",
    ];
    fails(&run, &again(&run, &image, &[]), 2, &refused);
    refuses(&["--trust-image"], &["--from-image"]);
}

#[cfg(unix)]
#[test]
fn a_model_beside_an_image_may_not_lead_out_of_its_folder() {
    let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let model = folder.path().join("model");
    super::checkpoints::copy_folder(&super::checkpoints::tiny(), &model);
    image_with(&folder, &["--model", "model"], |_| ());
    let image = folder.path().join("image.png");
    let weights = model.join("vae/diffusion_pytorch_model.safetensors");
    let blob = folder.path().join("blob");
    fs::rename(&weights, &blob).unwrap();
    std::os::unix::fs::symlink("../../blob", &weights).unwrap();
    let run = TempDir::new().unwrap();
    succeeds(&again(&run, &image, &[]));

    let run = TempDir::new().unwrap();
    let foreign = elsewhere.path().join("blob");
    fs::rename(&blob, &foreign).unwrap();
    fs::remove_file(&weights).unwrap();
    std::os::unix::fs::symlink(&foreign, &weights).unwrap();
    let refused = [
        "model `",
        "vae/diffusion_pytorch_model.safetensors` leads out of the image's folder",
        "--trust-image",
    ];
    fails(&run, &again(&run, &image, &[]), 2, &refused);
    succeeds(&again(&run, &image, &["--trust-image"]));
}

#[test]
fn files_that_changed_since_the_image_was_made_are_named() {
    let folder = TempDir::new().unwrap();
    let start = folder.path().join("start.png");
    RgbImage::new(64, 64).save(&start).unwrap();
    write_latents(
        &folder.path().join("noise.safetensors"),
        "latents",
        &[1, 16, 8, 8],
        0.5,
    );
    let inputs = [
        "--init-image",
        "start.png",
        "--latents",
        "noise.safetensors",
    ];
    image_with(&folder, &inputs, |_| ());
    let image = folder.path().join("image.png");
    let same = again(&folder, &image, &[]);
    succeeds(&same);
    assert!(!stderr(&same).contains("another file"), "{}", stderr(&same));

    RgbImage::from_pixel(64, 64, image::Rgb([1, 2, 3]))
        .save(&start)
        .unwrap();
    write_latents(
        &folder.path().join("noise.safetensors"),
        "latents",
        &[1, 16, 8, 8],
        0.25,
    );
    let changed = again(&folder, &image, &[]);
    succeeds(&changed);
    for what in [
        "the source image is another file",
        "the initial noise is another",
    ] {
        assert!(stderr(&changed).contains(what), "{}", stderr(&changed));
    }
}

#[test]
fn a_model_that_changed_since_the_image_was_made_is_named() {
    let folder = TempDir::new().unwrap();
    let model = folder.path().join("model");
    super::checkpoints::copy_folder(&super::checkpoints::tiny(), &model);
    image_with(&folder, &["--model", "model"], |_| ());
    let image = folder.path().join("image.png");
    let same = again(&folder, &image, &[]);
    succeeds(&same);
    assert!(!stderr(&same).contains("another"), "{}", stderr(&same));
    let weights = model.join("vae/diffusion_pytorch_model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let changed = again(&folder, &image, &[]);
    succeeds(&changed);
    assert!(
        stderr(&changed).contains("the model is another"),
        "{}",
        stderr(&changed)
    );
}

#[test]
fn names_in_files_cannot_write_to_the_terminal() {
    let folder = TempDir::new().unwrap();
    let hostile = "x\u{1b}[2J\u{202e}\nerror: y";
    write_latents(&folder.path().join("noise.safetensors"), hostile, &[1], 0.0);
    let output = small(&folder, &["--latents", "noise.safetensors"]);
    assert_eq!(output.status.code(), Some(1));
    is_harmless(&stderr(&output));
    #[cfg(feature = "flex")]
    {
        let model = folder.path().join("model");
        super::checkpoints::copy_folder(&super::checkpoints::tiny(), &model);
        let weights = model.join("vae/diffusion_pytorch_model.safetensors");
        write_latents(&weights, &format!("decoder.conv_in.{hostile}"), &[1], 0.0);
        let output = inspect(&["--model", model.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        is_harmless(&String::from_utf8_lossy(&output.stdout));
        is_harmless(&stderr(&output));
    }
}

#[track_caller]
fn is_harmless(text: &str) {
    let treacherous = ['\u{1b}', '\u{202e}', '\r'];
    assert!(!text.contains(treacherous), "{text:?}");
    assert!(!text.contains("\nerror: y"), "{text:?}");
}

#[cfg(feature = "flex")]
#[test]
fn inspect_refuses_the_sizes_that_generate_refuses() {
    for (size, reason) in [
        (
            ["--width", "70"],
            "cannot generate 70x1024: sides must be multiples of 16",
        ),
        (["--height", "0"], "cannot generate 1024x0: a side is zero"),
        (["--width", "1600000"], "sides must be at most"),
    ] {
        let output = inspect(&size);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(reason), "{}", stderr(&output));
        refuses(&size, &["cannot generate"]);
    }
}

/// A model whose export takes some tenths of a second: its vocabulary is large.
#[cfg(all(feature = "flex", unix))]
fn slow_to_convert(folder: &Path) {
    const VOCABULARY: usize = 2_000_000;
    super::checkpoints::copy_folder(&super::checkpoints::tiny(), folder);
    let config = folder.join("text_encoder/config.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    json["vocab_size"] = VOCABULARY.into();
    fs::write(&config, json.to_string()).unwrap();
    let path = folder.join("text_encoder/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let table = vec![0; VOCABULARY * 64 * 2];
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let view = if name.ends_with("embed_tokens.weight") {
            let shape = vec![VOCABULARY, 64];
            safetensors::tensor::TensorView::new(view.dtype(), shape, &table).unwrap()
        } else {
            view
        };
        (name, view)
    });
    safetensors::serialize_to_file(tensors.collect::<Vec<_>>(), None, &path).unwrap();
}

#[cfg(all(feature = "flex", unix))]
#[test]
fn an_interrupted_conversion_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let model = TempDir::new().unwrap();
    slow_to_convert(model.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_convert"));
    command
        .current_dir(&folder)
        .args([
            "--to", "authors", "--dtype", "f32", "--output", "new", "--model",
        ])
        .arg(model.path());
    let output = interrupt_at(command, &folder.path().join(".new.0.part/.lock"));
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("canceled"), "{}", stderr(&output));
    assert!(names(&folder).is_empty(), "{:?}", names(&folder));
}

#[cfg(all(feature = "flex", unix))]
#[test]
fn an_interrupted_generation_leaves_no_temporary_files() {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_generate"));
    command
        .current_dir(&folder)
        .args([
            "--prompt", "x", "--steps", "1000", "--width", "64", "--height", "64",
        ])
        .args(["--device", super::DEVICE, "--preview", "soon.png"]);
    let output = interrupt_at(command, &folder.path().join("soon.png"));
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert_eq!(names(&folder), ["soon.png"]);
}
