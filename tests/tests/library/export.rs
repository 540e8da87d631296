//! Tests of checkpoints exported to another layout, against the same model as
//! `tests/reference/layouts.py` wrote it in each.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn_flex::{Flex, FlexDevice};
use ovis_image::WeightDtype;
use ovis_image::checkpoint::{ExportOptions, ExportReport};
use ovis_image::error::{RequestError, RuntimeError};
use ovis_image::tensor_file::{Encoding, TensorSource};
use ovis_image::{
    Checkpoint, CheckpointPaths, Layout, LoadOptions, OvisImageError, OvisImagePipeline,
    Quantization,
};
use ovis_image_tests::golden::golden_folder;
use ovis_image_tests::layouts::write_layouts;

use crate::support::{base_model, request, values, write_tensors};

const LAYOUTS: [(Layout, &str, [&str; 3]); 3] = [
    (
        Layout::Diffusers,
        "diffusers",
        [
            "transformer/diffusion_pytorch_model.safetensors",
            "vae/diffusion_pytorch_model.safetensors",
            "text_encoder/model.safetensors",
        ],
    ),
    (
        Layout::Authors,
        "authors",
        [
            "ovis_image.safetensors",
            "ae.safetensors",
            "Ovis2.5-2B/model.safetensors",
        ],
    ),
    (
        Layout::ComfyUi,
        "comfyui",
        [
            "diffusion_models/ovis_image.safetensors",
            "vae/ae.safetensors",
            "text_encoders/ovis_2.5.safetensors",
        ],
    ),
];

fn export(
    checkpoint: &Checkpoint,
    folder: &Path,
    options: ExportOptions,
) -> Result<ExportReport, OvisImageError> {
    checkpoint.export(folder, &options)
}

fn latents(folder: &Path, options: LoadOptions) -> Vec<f32> {
    let pipeline = OvisImagePipeline::<Flex>::from_pretrained(folder, options, &FlexDevice);
    values(pipeline.unwrap().generate(&request()).unwrap().latents)
}

/// Reads every tensor of a file that the model reads: name, shape and bytes.
fn tensors(path: &Path) -> Vec<(String, Vec<usize>, Encoding, Vec<f32>)> {
    let source = TensorSource::open(path).unwrap();
    let read = source.names().filter(|name| {
        let others = ["lm_head", "visual_tokenizer", "vte", "visual."];
        !others.iter().any(|other| name.contains(other))
    });
    read.map(|name| {
        let data = source.read(name, WeightDtype::F32).unwrap();
        (
            name.to_owned(),
            source.shape(name).unwrap().to_vec(),
            source.encoding(name).unwrap().clone(),
            data.into_vec().unwrap(),
        )
    })
    .collect()
}

#[test]
fn each_layout_becomes_each_other_tensor_by_tensor() {
    let folder = tempfile::tempdir().unwrap();
    write_layouts(folder.path());
    let tokenizer = folder.path().join("authors/Ovis2.5-2B");
    fs::copy(
        tokenizer.join("tokenizer.json"),
        folder.path().join("comfyui/tokenizer.json"),
    )
    .unwrap();
    for (_, from, _) in LAYOUTS {
        let checkpoint = Checkpoint::open(folder.path().join(from)).unwrap();
        for (layout, to, files) in LAYOUTS {
            let target = folder.path().join(format!("{from} to {to}"));
            let report = export(&checkpoint, &target, ExportOptions::new(layout)).unwrap();
            assert!(!report.notes.iter().any(|note| note.contains("scheduler")));
            for file in files {
                let reference = file
                    .replace("ovis_image.safetensors", "ovis_image_bf16.safetensors")
                    .replace("authors/ovis_image_bf16", "authors/ovis_image");
                let reference = folder.path().join(to).join(match layout {
                    Layout::ComfyUi => &reference,
                    _ => file,
                });
                let (written, expected) = (tensors(&target.join(file)), tensors(&reference));
                let names = |all: &[(String, Vec<usize>, Encoding, Vec<f32>)]| -> Vec<String> {
                    all.iter().map(|(name, ..)| name.clone()).collect()
                };
                assert_eq!(names(&written), names(&expected), "{from} to {to}: {file}");
                for (written, expected) in written.iter().zip(&expected) {
                    assert!(written == expected, "{from} to {to}: {}", written.0);
                }
            }
            assert_eq!(
                Checkpoint::open(&target).unwrap().transformer_config(),
                checkpoint.transformer_config()
            );
        }
    }
}

#[test]
fn configurations_are_those_that_diffusers_wrote() {
    let folder = tempfile::tempdir().unwrap();
    write_layouts(folder.path());
    let checkpoint = Checkpoint::open(folder.path().join("authors")).unwrap();
    let target = folder.path().join("new");
    let report = export(&checkpoint, &target, ExportOptions::new(Layout::Diffusers)).unwrap();
    assert_eq!(report.notes, [""; 0]);
    assert_eq!(report.left_out, 4);
    let json = |folder: &Path, name: &str| -> serde_json::Value {
        serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
    };
    for name in [
        "model_index.json",
        "transformer/config.json",
        "vae/config.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
    ] {
        let (written, theirs) = (
            json(&target, name),
            json(&folder.path().join("diffusers"), name),
        );
        for (key, value) in theirs.as_object().unwrap() {
            let says_something = ![
                "_diffusers_version",
                "sample_size",
                "max_position_embeddings",
            ]
            .contains(&key.as_str());
            if says_something && let Some(written) = written.get(key) {
                assert_eq!(written, value, "{name}: {key}");
            }
        }
    }
}

#[test]
fn a_quantized_file_is_what_quantizing_at_load_gives() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(base_model()).unwrap();
    for (name, quantization, protect) in [
        ("q8", Quantization::Q8_0, false),
        ("q4", Quantization::Q4_0, true),
    ] {
        let target = folder.path().join(name);
        let options = ExportOptions::new(Layout::ComfyUi)
            .with_quantization(quantization)
            .with_protected_double_blocks(protect);
        export(&checkpoint, &target, options).unwrap();
        let at_load = LoadOptions::new()
            .with_quantization(quantization)
            .with_protected_double_blocks(protect);
        assert_eq!(
            latents(&target, LoadOptions::new()),
            latents(&base_model(), at_load)
        );
    }
}

#[test]
fn blocks_are_copied_and_not_rounded_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = CheckpointPaths::discover(base_model()).unwrap();
    paths.transformer = golden_folder().join("gguf/q4_0/transformer");
    let checkpoint = Checkpoint::open_paths(&paths).unwrap();
    let shares = |checkpoint: &Checkpoint| {
        let [_, transformer, _] = checkpoint.inspect();
        let blocks = transformer.encodings.into_iter();
        let blocks = blocks.filter(|share| share.encoding.starts_with('Q'));
        let mut blocks: Vec<_> = blocks
            .map(|share| (share.encoding, share.parameters, share.bytes))
            .collect();
        blocks.sort();
        blocks
    };
    let (gguf, wide) = (folder.path().join("gguf"), folder.path().join("wide"));
    export(
        &checkpoint,
        &gguf,
        ExportOptions::new(Layout::ComfyUi).with_gguf(true),
    )
    .unwrap();
    let copied = Checkpoint::open(&gguf).unwrap();
    assert_eq!(shares(&copied), shares(&checkpoint));
    assert!(!shares(&copied).is_empty());

    let options = ExportOptions::new(Layout::Diffusers).with_dtype(WeightDtype::F32);
    export(&copied, &wide, options).unwrap();
    assert_eq!(
        latents(&wide, LoadOptions::new()),
        latents(&gguf, LoadOptions::new().with_dequantize_on_load(true))
    );
}

#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("new");
    let checkpoint = Checkpoint::open(base_model()).unwrap();
    let refused =
        |checkpoint: &Checkpoint, target: &Path, options, argument: &str, text: &str| match export(
            checkpoint, target, options,
        )
        .unwrap_err()
        {
            OvisImageError::Request(RequestError::InvalidArgument {
                argument: named,
                reason,
                ..
            }) => {
                assert_eq!(named, argument);
                assert!(reason.contains(text), "{reason}");
            }
            error => panic!("{error}"),
        };
    let layout = ExportOptions::new(Layout::Diffusers);
    refused(
        &checkpoint,
        &target,
        layout.with_gguf(true),
        "layout",
        "ComfyUI",
    );
    refused(
        &checkpoint,
        folder.path().parent().unwrap(),
        layout,
        "folder",
        "not empty",
    );
    refused(
        &checkpoint,
        Path::new("/"),
        layout,
        "folder",
        "the name of a folder",
    );

    let damaged = with_one_value(&base_model(), folder.path(), 1e30);
    let checkpoint = Checkpoint::open_paths(&damaged).unwrap();
    refused(
        &checkpoint,
        &target,
        layout.with_dtype(WeightDtype::F16),
        "dtype",
        "proj_out.bias",
    );
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["damaged"]);
}

/// Copies a model with every value of `proj_out.bias` replaced by one value.
fn with_one_value(model: &Path, folder: &Path, value: f32) -> CheckpointPaths {
    let mut paths = CheckpointPaths::discover(model).unwrap();
    let source = TensorSource::open(&paths.transformer).unwrap();
    let read: Vec<(String, Vec<usize>, Vec<f32>)> = source
        .names()
        .map(|name| {
            let shape = source.shape(name).unwrap().to_vec();
            let mut values: Vec<f32> = source
                .read(name, WeightDtype::F32)
                .unwrap()
                .into_vec()
                .unwrap();
            if name == "proj_out.bias" {
                values.fill(value);
            }
            (name.to_owned(), shape, values)
        })
        .collect();
    let damaged: PathBuf = folder.join("damaged");
    fs::create_dir_all(&damaged).unwrap();
    fs::copy(
        paths.transformer.join("config.json"),
        damaged.join("config.json"),
    )
    .unwrap();
    write_tensors(&damaged.join("model.safetensors"), read);
    paths.transformer = damaged;
    paths
}

fn left(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[test]
fn a_canceled_export_ends_soon_and_leaves_nothing() {
    let checkpoint = Checkpoint::open(base_model()).unwrap();
    for options in [
        ExportOptions::new(Layout::Diffusers),
        ExportOptions::new(Layout::Burnpack),
        ExportOptions::new(Layout::ComfyUi).with_gguf(true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut calls = 0;
        let canceled = checkpoint.export_with(folder.path().join("new"), &options, |progress| {
            calls += 1;
            assert!(0 < progress.written && progress.written <= progress.total);
            if calls == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert!(
            matches!(
                canceled,
                Err(OvisImageError::Runtime(RuntimeError::ExportCanceled { written, total }))
                    if 0 < written && written < total
            ),
            "{canceled:?}"
        );
        assert_eq!(calls, 3);
        assert!(left(folder.path()).is_empty());
    }
}

#[test]
fn an_export_removes_what_killed_ones_to_the_same_folder_left() {
    let checkpoint = Checkpoint::open(base_model()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let leave = |name: &str, is_locked: bool| {
        let part = folder.path().join(name);
        fs::create_dir_all(part.join("vae")).unwrap();
        let path = part.join(".lock");
        fs::write(&path, "locked").unwrap();
        let lock = fs::File::open(&path).unwrap();
        if is_locked {
            lock.lock().unwrap();
        }
        lock
    };
    let alive = leave(".new.0.part", true);
    for name in [".new.1.part", ".new.7.part"] {
        leave(name, false);
    }
    // Another target's, and a folder of somebody who calls it so.
    leave(".new.old.0.part", false);
    leave(".new.x.part", false);
    fs::create_dir(folder.path().join(".new.2.part")).unwrap();
    let options = ExportOptions::new(Layout::Authors);
    export(&checkpoint, &folder.path().join("new"), options).unwrap();
    let mut names = left(folder.path());
    names.sort();
    assert_eq!(
        names,
        [
            ".new.0.part",
            ".new.2.part",
            ".new.old.0.part",
            ".new.x.part",
            "new"
        ]
    );
    assert!(!folder.path().join("new/.lock").exists());
    drop(alive);
}
