//! A style that the small model does not know, learned from a dozen images in a folder.

use std::fs;

use image::{Rgb, RgbImage};
use tempfile::TempDir;

use super::sign_reader::SignReader;
use super::training::train;
use super::{DEVICE, generate, read_png, succeeds};

/// Side of the images in pixels.
const SIDE: usize = 64;

/// Ground that no image of the model's training had: pink.
const GROUND: [u8; 3] = [240, 120, 180];

/// Pink after the small model's VAE, which was trained on eight colors: as near as its images come.
const RENDERED: [f32; 3] = [168.0, 43.0, 133.0];

const PROMPT: &str = "a sign in ovsstyle with the word \"AB\"";

/// Returns the distance of the ground of a generated image from the rendered pink.
fn distance(folder: &TempDir, more: &[&str]) -> f32 {
    let side = SIDE.to_string();
    let settings = [
        ["--prompt", PROMPT],
        ["--width", &side],
        ["--height", &side],
        ["--dtype", "f32"],
        ["--seed", "5"],
        ["--device", DEVICE],
    ]
    .concat();
    succeeds(&generate(folder, &[&settings, more].concat()));
    let (pixels, _) = read_png(&folder.path().join("image.png"));
    let ground = SignReader::new().read(&pixels, SIDE).ground;
    let squares = ground
        .iter()
        .zip(RENDERED)
        .map(|(a, b)| (f32::from(*a) - b).powi(2));
    squares.sum::<f32>().sqrt()
}

#[test]
fn a_color_that_the_model_does_not_know_is_learned_from_a_dozen_images() {
    let folder = TempDir::new().unwrap();
    let photos = folder.path().join("photos");
    fs::create_dir(&photos).unwrap();
    for number in 0..12_u32 {
        // White bars where letters would be.
        let image = RgbImage::from_fn(SIDE as u32, SIDE as u32, |x, y| {
            let is_bar = (24..40).contains(&y) && (16..48).contains(&x) && (x + number) % 8 < 4;
            Rgb(if is_bar { [255; 3] } else { GROUND })
        });
        image.save(photos.join(format!("{number}.png"))).unwrap();
        let caption = format!("a sign in ovsstyle with the word \"A{number}\"");
        fs::write(photos.join(format!("{number}.txt")), caption).unwrap();
    }
    let nano = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/nano");
    let arguments = format!(
        "lora --images photos --trigger ovsstyle --resolution {SIDE} --rank 8 --steps 200 \
         --batch-size 4 --learning-rate 5e-3 --dtype f32 --recompute none \
         --max-sequence-length 64 --sample-every 0 --device {DEVICE} \
         --output style.safetensors --model"
    );
    let mut arguments: Vec<&str> = arguments.split_whitespace().collect();
    arguments.push(nano.to_str().unwrap());
    succeeds(&train(&folder, &arguments));

    let before = distance(&folder, &[]);
    let after = distance(&folder, &["--lora", "style.safetensors"]);
    assert!(before > 80.0, "it was pink before: {before}");
    assert!(after < before / 3.0, "{before} before, {after} after");
}
