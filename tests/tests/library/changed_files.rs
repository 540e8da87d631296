//! Files that change while their weights are in use.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use burn_flex::{Flex, FlexDevice};
use image::RgbImage;
use ovis_image::checkpoint::ExportOptions;
use ovis_image::error::CheckpointError;
use ovis_image::{
    Checkpoint, Layout, LoadOptions, OvisImageError, OvisImagePipeline, Progress, Residency,
    WeightDtype,
};

use crate::support::{damaged, load, pipeline, request, values};

const WEIGHTS: [&str; 3] = [
    "text_encoder/model.safetensors",
    "transformer/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
];

fn shorten(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(512).unwrap();
}

/// Writes to a file without changing its length, a minute from now.
fn overwrite(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    let later = SystemTime::now() + Duration::from_secs(60);
    file.set_modified(later).unwrap();
}

#[track_caller]
fn assert_names<T>(result: Result<T, OvisImageError>, expected: &Path) {
    match result.err().unwrap() {
        OvisImageError::Checkpoint(CheckpointError::FileChanged { path, .. }) => {
            assert_eq!(path, expected);
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_file_that_was_shortened_or_overwritten_is_named_before_it_is_read() {
    for change in [shorten, overwrite] {
        for name in WEIGHTS {
            let folder = damaged(|_| {});
            // In the dtype of the files, weights are computed with in place.
            let options = LoadOptions::new().with_dtype(WeightDtype::BF16);
            let pipeline =
                OvisImagePipeline::<Flex>::from_pretrained(folder.path(), options, &FlexDevice)
                    .unwrap();
            let path = folder.path().join(name);
            change(&path);
            assert_names(pipeline.generate(&request()), &path);
            assert_names(pipeline.denoiser(&request()), &path);
        }
    }
}

#[test]
fn each_phase_checks_the_files_that_it_reads() {
    let folder = damaged(|_| {});
    let pipeline = load(folder.path().to_owned()).unwrap();
    let latents = pipeline.generate(&request()).unwrap().latents;
    let [text_encoder, _, vae] = WEIGHTS.map(|name| folder.path().join(name));
    shorten(&text_encoder);
    assert!(pipeline.decode_latents(latents.clone(), None).is_ok());
    assert_names(pipeline.encode_prompts(&["a cat"]), &text_encoder);
    shorten(&vae);
    assert_names(pipeline.decode_latents(latents, None), &vae);
    assert_names(pipeline.encode_image(&RgbImage::new(16, 16)), &vae);
}

#[test]
fn a_change_between_two_steps_ends_the_run() {
    let options = LoadOptions::new()
        .with_in_place(false)
        .with_streamed_blocks(4);
    let folder = damaged(|_| {});
    let pipeline =
        OvisImagePipeline::<Flex>::from_pretrained(folder.path(), options, &FlexDevice).unwrap();
    let path = folder.path().join(WEIGHTS[1]);
    let mut steps = 0;
    let request = request().with_num_inference_steps(4);
    let result = pipeline.generate_with(&request, |progress| {
        if let Progress::Denoising(step) = progress {
            steps = step.completed;
            overwrite(&path);
        }
        ControlFlow::Continue(())
    });
    assert_names(result, &path);
    assert_eq!(steps, 1);
}

/// A file that is not read again may change: the transformer's, once all of it is on the device.
#[test]
fn files_that_are_no_longer_read_may_change() {
    let folder = damaged(|_| {});
    let options = LoadOptions::new()
        .with_in_place(false)
        .with_modulation_residency(Residency::Device);
    let copied =
        OvisImagePipeline::<Flex>::from_pretrained(folder.path(), options, &FlexDevice).unwrap();
    shorten(&folder.path().join(WEIGHTS[1]));
    let expected = pipeline().generate(&request()).unwrap().latents;
    let output = copied.generate(&request()).unwrap();
    assert_eq!(values(output.latents), values(expected));
}

#[test]
fn a_replaced_or_deleted_file_is_used_to_the_end() {
    let folder = damaged(|_| {});
    let loaded = load(folder.path().to_owned()).unwrap();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let other = path("other");
    fs::write(&other, b"another file").unwrap();
    if cfg!(unix) {
        fs::rename(&other, path(WEIGHTS[0])).unwrap();
        fs::remove_file(path(WEIGHTS[1])).unwrap();
    }
    let expected = pipeline().generate(&request()).unwrap().latents;
    let output = loaded.generate(&request()).unwrap();
    assert_eq!(values(output.latents), values(expected));
}

#[test]
fn loading_and_exporting_check_the_files_of_an_opened_checkpoint() {
    let folder = damaged(|_| {});
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let path = folder.path().join(WEIGHTS[1]);
    shorten(&path);
    let options = LoadOptions::new();
    assert_names(
        OvisImagePipeline::<Flex>::from_checkpoint(&checkpoint, options, &FlexDevice),
        &path,
    );
    let target = folder.path().join("new");
    let export = checkpoint.export(&target, &ExportOptions::new(Layout::Authors));
    assert_names(export, &path);
    assert!(!target.exists());
}
