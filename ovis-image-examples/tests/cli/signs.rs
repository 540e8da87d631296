//! The small model of `assets/nano`, end to end: the text and the colors of what it draws are those
//! of the prompt.

use ovis_image_examples::typography::{Fonts, Preset, SyntheticTypography, nearest_color};
use serde::Deserialize;

use super::sign_reader::SignReader;
use super::*;

/// The model's side in pixels.
const SIDE: usize = 128;

const COLORS: [&str; 8] = [
    "red", "white", "blue", "black", "yellow", "green", "purple", "orange",
];

#[derive(Deserialize)]
struct SignPrompt {
    prompt: String,
    text: String,
    text_color: String,
    ground_color: String,
    seed: u64,
}

/// Replaces the letters that look like digits: O by 0 and I by 1.
fn folded(text: &str) -> String {
    text.replace('O', "0").replace('I', "1")
}

#[test]
fn the_reader_reads_what_is_drawn() {
    let (preset, _) = Preset::open("signs").unwrap();
    let signs = SyntheticTypography::new(preset, Fonts::embedded())
        .with_fonts(&[
            "DejaVu Sans Bold".to_owned(),
            "DejaVu Serif Bold".to_owned(),
            "DejaVu Sans Mono Bold".to_owned(),
        ])
        .unwrap()
        .with_size(SIDE as u32, SIDE as u32)
        .unwrap();
    let reader = SignReader::new();
    let samples = (0..24).map(|index| signs.sample(7, index).unwrap());
    let samples: Vec<_> = samples
        .filter(|sample| !sample.text().contains(['J', 'Q']))
        .collect();
    let mut misread = Vec::new();
    for sample in &samples {
        let sign = reader.read(sample.image.as_raw(), SIDE);
        let ground = nearest_color(sign.ground, &COLORS);
        assert_eq!(ground, Some(sample.ground.as_str()));
        if folded(&sign.text) != folded(&sample.text()) {
            misread.push((sample.text(), sign.text));
        }
    }
    assert!(misread.len() * 10 <= samples.len(), "{misread:?}");
}

/// Prompts of `tests/data/signs.jsonl` that the model draws well, of one and of two words.
const PROMPTS: [usize; 5] = [0, 2, 6, 9, 11];

#[cfg(feature = "flex")]
#[test]
fn the_small_model_draws_the_words_and_colors_that_prompts_ask_for() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/signs.jsonl");
    let lines = fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    let reader = SignReader::new();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/nano");
    let settings = [
        ["--model", model.to_str().unwrap()],
        ["--dtype", "f32"],
        ["--width", "128"],
        ["--height", "128"],
        ["--steps", "20"],
        ["--guidance-scale", "3"],
        ["--max-sequence-length", "64"],
        ["--device", "flex"],
    ]
    .concat();
    for index in PROMPTS {
        let sign: SignPrompt = serde_json::from_str(lines[index]).unwrap();
        let folder = TempDir::new().unwrap();
        let seed = sign.seed.to_string();
        let prompt = ["--prompt", &sign.prompt, "--seed", &seed];
        succeeds(&generate(&folder, &[&prompt[..], &settings].concat()));
        let (pixels, _) = read_png(&folder.path().join("image.png"));
        let read = reader.read(&pixels, SIDE);
        assert_eq!(folded(&read.text), folded(&sign.text), "{}", sign.prompt);
        let colors = [read.letters, read.ground].map(|color| nearest_color(color, &COLORS));
        let asked = [&sign.text_color, &sign.ground_color];
        assert_eq!(
            colors,
            asked.map(|name| Some(name.as_str())),
            "{}",
            sign.prompt
        );
    }
}
