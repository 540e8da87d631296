//! Tests of the commands of `dataset` on files as they come: good ones, hostile ones, and runs that
//! are killed.

mod hostile;
mod ingest;
mod killed;
mod orientation;
#[cfg(feature = "parquet")]
mod parquet;
mod steps;
mod synthesize;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::Value;

use super::{stderr, succeeds};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dataset"));
    command.args(arguments);
    command
}

fn dataset(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An image whose hash is its number's: bars of a binary pattern, and edges enough to be sharp.
fn pattern(number: u32, width: u32, height: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, y| {
        let cell = (x * 8 / width) + 8 * (y * 8 / height);
        let bit = number.wrapping_mul(2_654_435_761).rotate_left(cell) ^ (number + cell).pow(2);
        Rgb([
            (bit % 251) as u8,
            ((bit >> 8) % 241) as u8,
            (x * 255 / width) as u8,
        ])
    })
    .into()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Writes an image in the format of its name, and its caption beside it.
fn put_image(folder: &Path, name: &str, image: &DynamicImage, caption: Option<&str>) {
    let format = ImageFormat::from_path(name).unwrap();
    put(folder, name, &encoded(image, format), caption);
}

fn put(folder: &Path, name: &str, bytes: &[u8], caption: Option<&str>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    if let Some(caption) = caption {
        fs::write(path.with_extension("txt"), caption).unwrap();
    }
}

fn rows(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Reasons by id.
fn reasons(output: &Path) -> BTreeMap<String, String> {
    let of = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let dropped = rows(&output.join("dropped.jsonl"));
    dropped
        .iter()
        .map(|row| (of(row, "id"), of(row, "reason")))
        .collect()
}

fn ids(output: &Path) -> Vec<String> {
    let kept = rows(&output.join("manifest.jsonl"));
    kept.iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect()
}

/// All files below a folder, with their bytes.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Writes lines of JSON to a file, and returns its path.
fn put_table(folder: &Path, name: &str, lines: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, lines).unwrap();
    path
}

fn add_to_tar(archive: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, bytes).unwrap();
}

/// A folder and an archive with enough work to be killed in.
fn work(folder: &Path) -> [PathBuf; 2] {
    let (input, shard) = (folder.join("in"), folder.join("shard.tar"));
    let mut archive = tar::Builder::new(Vec::new());
    for number in 0..40 {
        let png = encoded(&pattern(number, 500, 400), ImageFormat::Png);
        let caption = format!("the pattern that has the number {number}");
        if number % 2 == 0 {
            put(&input, &format!("{number}.png"), &png, Some(&caption));
        } else {
            add_to_tar(&mut archive, &format!("{number:04}.png"), &png);
            add_to_tar(
                &mut archive,
                &format!("{number:04}.txt"),
                caption.as_bytes(),
            );
        }
    }
    fs::write(&shard, archive.into_inner().unwrap()).unwrap();
    [input, shard]
}
