//! Tests of wildcards in prompts.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::{DEVICE, cannot, generate, names, read_png, refuses, small, stderr, succeeds};

/// Draws one of 64, so that two seeds rarely draw the same.
const TEMPLATE: &str = "{red|blue|{2::green|gray}|gold} {cat|dog|fox|owl}, __place__";

fn with_places() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("words")).unwrap();
    let places = "# places\nby the sea\nin a wood\non a hill\n";
    fs::write(folder.path().join("words/place.txt"), places).unwrap();
    folder
}

fn record(folder: &TempDir, name: &str) -> (Vec<u8>, String, Value) {
    let (pixels, texts) = read_png(&folder.path().join(name));
    let json = serde_json::from_str(&texts["ovis-image"]).unwrap();
    (pixels, texts["parameters"].clone(), json)
}

fn images(folder: &TempDir) -> Vec<String> {
    let mut names = names(folder);
    names.retain(|name| name.ends_with(".png"));
    names
}

#[test]
fn each_image_draws_its_prompt_and_its_record_has_prompt_and_template() {
    let folder = with_places();
    let base = ["--wildcards", "words", "--negative-prompt", "{blurry|dark}"];
    let prompt = ["--prompt", TEMPLATE];
    let seeds = ["--seeds", "1,2,3", "--output", "batch.png"];
    let output = small(&folder, &[&base[..], &prompt, &seeds].concat());
    succeeds(&output);
    let names = images(&folder);
    assert_eq!(names, ["batch-0.png", "batch-1.png", "batch-2.png"]);
    let mut prompts = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let (pixels, parameters, json) = record(&folder, name);
        let drawn = json["prompts"][index].as_str().unwrap().to_owned();
        let start = drawn.split(',').next().unwrap();
        assert_eq!(start.split(' ').count(), 2, "{drawn}");
        assert!(!drawn.contains(['{', '|', '_']), "{drawn}");
        assert!(parameters.starts_with(&format!("{drawn}\nNegative prompt: ")));
        assert!(
            parameters.contains("Template: \"{red|blue|"),
            "{parameters}"
        );
        assert!(parameters.contains("Negative Template: {blurry|dark}"));
        assert_eq!(json["template"]["prompt"], TEMPLATE);
        assert_eq!(json["template"]["negative_prompt"], "{blurry|dark}");
        assert!(stderr(&output).contains(&format!("the prompt is {drawn:?}")));

        // The seed draws the same prompt alone, and the image is the same.
        let seed = (index + 1).to_string();
        let alone = ["--seed", &seed, "--output", "alone.png"];
        succeeds(&small(&folder, &[&base[..], &prompt, &alone].concat()));
        assert!(record(&folder, "alone.png").0 == pixels, "{name}");

        // The image is made again from the drawn prompt, without the folder.
        let again = [
            "--from-image",
            name,
            "--output",
            "again.png",
            "--device",
            DEVICE,
        ];
        succeeds(&generate(&folder, &again));
        let (again, _, again_json) = record(&folder, "again.png");
        assert!(again == pixels, "{name}");
        assert_eq!(again_json["template"], json["template"]);
        prompts.push(drawn);
    }
    assert!(prompts[0] != prompts[1] || prompts[1] != prompts[2]);
}

#[test]
fn images_that_share_a_seed_draw_their_own_prompts_and_are_made_again() {
    let folder = with_places();
    let arguments = ["--prompt", TEMPLATE, "--num-images", "4", "--seed", "8"];
    succeeds(&small(
        &folder,
        &[&arguments[..], &["--wildcards", "words"]].concat(),
    ));
    let names = images(&folder);
    let (_, _, json) = record(&folder, &names[0]);
    let prompts = json["prompts"].as_array().unwrap();
    assert_eq!(prompts.len(), 4);
    assert!(prompts.iter().any(|prompt| *prompt != prompts[0]));
    let again = [
        "--from-image",
        &names[3],
        "--output",
        "again.png",
        "--device",
        DEVICE,
    ];
    succeeds(&generate(&folder, &again));
    let (pixels, parameters, _) = record(&folder, &names[3]);
    let (again, again_parameters, _) = record(&folder, "again.png");
    assert!(pixels == again);
    assert_eq!(parameters.lines().next(), again_parameters.lines().next());
}

#[test]
fn braces_are_text_where_they_are_meant_to_be() {
    let folder = TempDir::new().unwrap();
    for (prompt, flags, expected) in [
        ("a sign \"{hello}\"", &[][..], "a sign \"{hello}\""),
        ("a sign \"\\{yes|no\\}\"", &[], "a sign \"{yes|no}\""),
        (
            "a sign \"{yes|no}\"",
            &["--no-wildcards"],
            "a sign \"{yes|no}\"",
        ),
        ("def __init__(self)", &[], "def __init__(self)"),
    ] {
        let output = small(&folder, &[&["--prompt", prompt], flags].concat());
        succeeds(&output);
        let (pixels, _, json) = record(&folder, "image.png");
        assert_eq!(json["prompts"][0], expected);
        let is_named = prompt.contains("__");
        assert_eq!(stderr(&output).contains("without --wildcards"), is_named);
        // What an image says is not drawn again.
        let again = [
            "--from-image",
            "image.png",
            "--output",
            "again.png",
            "--device",
            DEVICE,
        ];
        succeeds(&generate(&folder, &again));
        assert!(record(&folder, "again.png").0 == pixels);
    }
}

#[test]
fn what_another_program_says_is_not_drawn() {
    let folder = TempDir::new().unwrap();
    let file = fs::File::create(folder.path().join("other.png")).unwrap();
    let mut encoder = png::Encoder::new(file, 1, 1);
    let text = "a {red|blue} cat\nNegative prompt: {x|y}\nSteps: 2, Seed: 1, Size: 32x32";
    encoder
        .add_text_chunk("parameters".to_owned(), text.to_owned())
        .unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[0]).unwrap();
    writer.finish().unwrap();
    let run = |more: &[&str]| {
        let arguments = ["--from-image", "other.png", "--device", DEVICE];
        succeeds(&generate(&folder, &[&arguments[..], more].concat()));
        record(&folder, "image.png").2
    };
    let json = run(&[]);
    assert_eq!(json["prompts"][0], "a {red|blue} cat");
    assert_eq!(json["negative_prompts"][0], "{x|y}");
    assert_eq!(json.get("template"), None);
    let json = run(&["--prompt", "a {red|red} dog"]);
    assert_eq!(json["prompts"][0], "a red dog");
    assert_eq!(json["negative_prompts"][0], "{x|y}");
}

#[test]
fn each_cell_of_a_grid_draws_its_prompt() {
    let folder = TempDir::new().unwrap();
    let grid = ["--grid", "seed=1,2,3,4", "--prompt", "a {red|blue} cat"];
    let output = small(&folder, &[&grid[..], &["--steps", "1"]].concat());
    succeeds(&output);
    assert_eq!(stderr(&output).matches("the prompt is").count(), 4);
}

#[test]
fn wildcards_that_cannot_be_drawn_are_refused_by_name() {
    let words = with_places();
    let words = words.path().join("words");
    let words = words.to_str().unwrap();
    for (prompt, text) in [
        ("__../words/place__", "does not name a file in"),
        ("{2$$a|b}", "$$"),
        ("{0::a|0::b}", "weights"),
    ] {
        refuses(&["--prompt", prompt, "--wildcards", words], &[text]);
    }
    refuses(&["--wildcards", "no-such-folder"], &["no-such-folder"]);
    cannot(
        &["--prompt", "__none__", "--wildcards", words],
        &["none.txt"],
    );
    let folder = TempDir::new().unwrap();
    let both = small(&folder, &["--wildcards", words, "--no-wildcards"]);
    assert!(!both.status.success());
}
