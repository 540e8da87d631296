//! Photographs that are stored turned, with an EXIF orientation, through all steps.

use std::fs;
use std::path::Path;

use image::codecs::png::PngEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder};
use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

use super::super::DEVICE;
use super::{dataset, pattern, put, put_image, rows, succeeds, text};

/// Encodes an image with an EXIF orientation: a little-endian TIFF with the tag 0x112 alone.
fn with_orientation(image: &DynamicImage, orientation: u8) -> Vec<u8> {
    let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let mut bytes = Vec::new();
    let mut encoder = PngEncoder::new(&mut bytes);
    encoder.set_exif_metadata(exif).unwrap();
    let image = image.to_rgb8();
    let (width, height) = image.dimensions();
    encoder
        .write_image(&image, width, height, ExtendedColorType::Rgb8)
        .unwrap();
    bytes
}

/// A folder with an image of 96x160 as it is, and stored turned in three ways.
fn turned_images(input: &Path) {
    let upright = pattern(3, 96, 160);
    let caption = Some("a pattern");
    put_image(input, "0.png", &upright, caption);
    // Each is turned back when it is shown.
    for (orientation, stored) in [
        (3, upright.rotate180()),
        (6, upright.rotate270()),
        (8, upright.rotate90()),
    ] {
        let bytes = with_orientation(&stored, orientation);
        put(input, &format!("{orientation}.png"), &bytes, caption);
    }
}

/// Latents of each row of a cache.
fn latents(cache: &Path) -> Vec<Vec<u8>> {
    let shard = fs::read(cache.join("shard-000000.safetensors")).unwrap();
    let shard = SafeTensors::deserialize(&shard).unwrap();
    let rows = rows(&cache.join("cache.jsonl"));
    let of = |row: &Value| {
        let name = row["latents"].as_str().unwrap();
        shard.tensor(name).unwrap().data().to_vec()
    };
    rows[1..].iter().map(of).collect()
}

#[test]
fn turned_images_are_treated_as_they_are_shown_in_every_step() {
    let folder = TempDir::new().unwrap();
    let [input, output, cache] = ["in", "out", "cache"].map(|name| folder.path().join(name));
    turned_images(&input);
    let all = ["ingest", text(&input), "-o", text(&output)];
    let keep = ["--min-side", "64", "--keep-duplicates"];
    succeeds(&dataset(&[&all[..], &keep].concat()));
    // A bucket of another shape, so that each image is cropped.
    let resolutions = ["--resolutions", "64", "--step", "64"];
    succeeds(&dataset(
        &[&["buckets", text(&output)], &resolutions[..]].concat(),
    ));
    let kept = rows(&output.join("manifest.jsonl"));
    assert_eq!(kept.len(), 4);
    let upright = &kept[0];
    assert_eq!(
        (&upright["width"], &upright["height"]),
        (&96.into(), &160.into())
    );
    assert!(upright.get("crop").is_some());
    for row in &kept[1..] {
        for field in [
            "width",
            "height",
            "phash",
            "contrast",
            "sharpness",
            "bucket",
            "resize",
            "crop",
        ] {
            assert_eq!(row[field], upright[field], "{field} of {}", row["id"]);
        }
    }
    // Without the flag, they are duplicates.
    succeeds(&dataset(&[&all[..], &keep[..2]].concat()));
    assert_eq!(rows(&output.join("manifest.jsonl")).len(), 1);
    succeeds(&dataset(&[&all[..], &keep].concat()));
    succeeds(&dataset(
        &[&["buckets", text(&output)], &resolutions[..]].concat(),
    ));

    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/base/model");
    let step = ["cache", text(&output), "--model", text(&model)];
    let target = ["--device", DEVICE, "--output", text(&cache)];
    succeeds(&dataset(&[&step[..], &target].concat()));
    let latents = latents(&cache);
    assert!(latents[1..].iter().all(|turned| *turned == latents[0]));
}
