//! `dataset synthesize`: equal arguments give equal bytes, and a run that stopped is resumed.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use super::{contents, dataset, rows, stderr, succeeds, text};

/// Draws six small signs.
fn synthesize(output: &Path, more: &[&str]) -> Output {
    let set = ["synthesize", "--preset", "signs", "--count", "6"];
    let size = ["-W", "96", "-H", "64", "-o", text(output)];
    dataset(&[&set[..], &size, more].concat())
}

#[test]
fn equal_arguments_give_equal_bytes_on_any_number_of_threads() {
    let folder = TempDir::new().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let said = succeeds(&synthesize(&one, &["--threads", "1"]));
    assert!(said.contains("6 images"), "{said}");
    succeeds(&synthesize(&two, &["--threads", "2"]));
    let one = contents(&one);
    assert!(one == contents(&two));
    // Images, the manifest and the settings, and nothing unfinished.
    assert_eq!(one.len(), 8);
    let other = folder.path().join("other");
    succeeds(&synthesize(&other, &["--seed", "1"]));
    assert!(contents(&other)["images/00000000.png"] != one["images/00000000.png"]);
}

#[test]
fn the_manifest_names_captions_texts_and_boxes_within_the_image() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("out");
    succeeds(&synthesize(&output, &[]));
    let rows = rows(&output.join("manifest.jsonl"));
    assert_eq!(rows.len(), 6);
    for row in &rows {
        let image = image::open(output.join(row["image"].as_str().unwrap())).unwrap();
        assert_eq!((image.width(), image.height()), (96, 64));
        for caption in ["caption_en", "caption_zh"] {
            assert!(!row[caption].as_str().unwrap().is_empty(), "{row}");
        }
        let texts = row["texts"].as_array().unwrap();
        assert!(!texts.is_empty());
        for text in texts {
            let ends = |at: usize| {
                let side = |index: usize| text["box"][index].as_f64().unwrap();
                side(at) + side(at + 2)
            };
            assert!(ends(0) <= 96.0 && ends(1) <= 64.0, "{row}");
        }
    }
}

#[test]
fn parts_of_a_set_are_those_of_the_whole() {
    let folder = TempDir::new().unwrap();
    let (whole, part) = (folder.path().join("whole"), folder.path().join("part"));
    succeeds(&synthesize(&whole, &[]));
    let set = ["synthesize", "--preset", "signs", "--count", "2"];
    let part_of_it = ["--first", "4", "-W", "96", "-H", "64", "-o", text(&part)];
    succeeds(&dataset(&[&set[..], &part_of_it].concat()));
    let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
    let of = |folder: &Path| -> Vec<String> {
        let rows = rows(&folder.join("manifest.jsonl"));
        rows.iter().map(id).collect()
    };
    assert_eq!(of(&part), of(&whole)[4..]);
    let (whole, part) = (contents(&whole), contents(&part));
    assert!(part["images/00000005.png"] == whole["images/00000005.png"]);
}

#[test]
fn a_run_that_stopped_is_resumed_with_the_images_that_are_missing() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("out");
    succeeds(&synthesize(&output, &[]));
    let whole = contents(&output);
    fs::remove_file(output.join("manifest.jsonl")).unwrap();
    fs::remove_file(output.join("images/00000003.png")).unwrap();
    // What a killed run and a failed disk leave.
    fs::write(output.join("images/00000004.png"), b"").unwrap();
    fs::write(output.join("images/00000005.png.part"), b"half").unwrap();
    fs::remove_file(output.join("images/00000005.png")).unwrap();
    succeeds(&synthesize(&output, &[]));
    assert!(contents(&output) == whole);
}

#[test]
fn other_settings_and_foreign_folders_are_refused() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("out");
    succeeds(&synthesize(&output, &[]));
    let before = contents(&output);
    let refused = synthesize(&output, &["--seed", "1"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("other settings"),
        "{}",
        stderr(&refused)
    );
    assert!(contents(&output) == before);
    let foreign = folder.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("notes.txt"), "mine").unwrap();
    let refused = synthesize(&foreign, &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("not an empty folder"),
        "{}",
        stderr(&refused)
    );
    assert_eq!(contents(&foreign).len(), 1);
}

#[test]
fn arguments_that_cannot_work_are_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("out");
    for (arguments, word) in [
        (&["--font", "Nothing Sans"][..], "Nothing Sans"),
        (&["--characters", "4-1"], "--characters"),
        (&["--threads", "0"], "--threads"),
        (&["--first", "18446744073709551615"], "--first"),
    ] {
        let refused = synthesize(&output, arguments);
        assert_eq!(refused.status.code(), Some(2), "{word}");
        assert!(stderr(&refused).contains(word), "{}", stderr(&refused));
    }
    let unknown = ["synthesize", "--preset", "none", "--count", "1", "-o", "x"];
    let refused = dataset(&unknown);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("bilingual"),
        "{}",
        stderr(&refused)
    );
    assert!(!output.exists());
}
