//! Tests of `evaluate`: figures of readings, and files that are not what they should be.

mod judged;

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{stderr, succeeds};

fn evaluate(folder: &TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_evaluate"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap()
}

pub(super) fn put(folder: &TempDir, name: &str, content: &str) {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Two prompts of two regions, and one of three in the other set.
fn cvtg_prompts(folder: &TempDir) {
    let file = |prompts: &[(u32, &str)]| {
        let items = prompts
            .iter()
            .map(|(index, prompt)| json!({"index": index, "prompt": prompt, "carrier_list": []}));
        json!({"data_list": items.collect::<Vec<_>>()}).to_string()
    };
    put(
        folder,
        "prompts/CVTG/2.json",
        &file(&[(0, "A sign 'Big Sale' and 'NOW'"), (1, "Two: 'one' 'two'")]),
    );
    put(
        folder,
        "prompts/CVTG-Style/3.json",
        &file(&[(0, "'red' 'green' 'blue'")]),
    );
}

const CVTG: [&str; 7] = [
    "score",
    "cvtg",
    "--readings",
    "readings.jsonl",
    "--prompts",
    "prompts",
    "--json",
];

fn cvtg(folder: &TempDir, readings: &str, more: &[&str]) -> Value {
    put(folder, "readings.jsonl", readings);
    let output = evaluate(folder, &[&CVTG[..], more].concat());
    serde_json::from_str(&succeeds(&output)).unwrap()
}

#[test]
fn cvtg_is_scored_over_all_regions_and_by_region() {
    let folder = TempDir::new().unwrap();
    cvtg_prompts(&folder);
    let readings = r#"{"image": "CVTG/2/0.png", "words": ["BIG sale", "now"]}
{"image": "run/CVTG/2/1.png", "words": ["One"]}

{"image": "CVTG-Style/3/0.png", "words": []}"#;
    let result = cvtg(&folder, readings, &[]);
    assert_eq!(result["word_accuracy"], 0.5);
    assert_eq!(result["coverage"], 1.0);
    assert_eq!(
        (&result["words"], &result["correct_words"]),
        (&json!(8), &json!(4))
    );
    let two = &result["regions"]["2"];
    assert_eq!(two["word_accuracy"], 0.8);
    assert_eq!(result["regions"]["3"]["word_accuracy"], 0.0);
    assert_eq!(result["sets"]["CVTG/2"]["word_accuracy"], 0.8);
    // "two" is closest to "one", one of three letters apart from it at two places.
    let ned = (4.0 + (1.0 - 3.0 / (3.0 + 1e-5))) / 5.0;
    assert!((two["ned"].as_f64().unwrap() - ned).abs() < 1e-12, "{two}");
    let interval = &result["intervals_95"]["word_accuracy"];
    assert!(interval[0].as_f64() <= Some(0.5) && interval[1].as_f64() >= Some(0.5));
}

#[test]
fn a_missing_image_counts_as_wrong_and_lowers_the_coverage() {
    let folder = TempDir::new().unwrap();
    cvtg_prompts(&folder);
    let readings = r#"{"image": "CVTG/2/0.png", "words": ["big sale now"]}
{"image": "CVTG/2/1.png", "error": "truncated"}
{"image": "CVTG/2/9.png", "words": ["no such prompt"]}
{"image": "notes.txt", "words": []}"#;
    put(&folder, "readings.jsonl", readings);
    let output = evaluate(&folder, &CVTG);
    let result: Value = serde_json::from_str(&succeeds(&output)).unwrap();
    assert_eq!(result["word_accuracy"], 3.0 / 8.0);
    assert_eq!(result["coverage"], 1.0 / 3.0);
    assert_eq!(result["ignored"], json!(["CVTG/2/9.png", "notes.txt"]));
    let said = stderr(&output);
    for text in ["2 of 3 images", "2 readings", "CVTG/2/9.png"] {
        assert!(said.contains(text), "{said}");
    }
    let strict = cvtg(
        &folder,
        readings,
        &["--mode", "strict", "--reader", "PP-OCRv4"],
    );
    assert_eq!(
        (&strict["mode"], &strict["reader"]),
        (&json!("strict"), &json!("PP-OCRv4"))
    );
}

#[test]
fn clip_scores_are_averaged_over_all_prompts() {
    let folder = TempDir::new().unwrap();
    cvtg_prompts(&folder);
    let scores = r#"{"image": "CVTG/2/0.png", "clip_score": 0.9}
{"image": "CVTG-Style/3/0.png", "image_features": [3, 0], "text_features": [6, 8]}
{"image": "CVTG/2/8.png", "clip_score": 1}"#;
    put(&folder, "clip.jsonl", scores);
    put(&folder, "readings.jsonl", "");
    let more = [&CVTG[..], &["--clip-scores", "clip.jsonl"]].concat();
    let output = evaluate(&folder, &more);
    let result: Value = serde_json::from_str(&succeeds(&output)).unwrap();
    assert_eq!(result["clip_score"], (0.9 + 1.5) / 3.0);
    assert_eq!(result["regions"]["2"]["clip_score"], 0.45);
    assert_eq!(result["sets"]["CVTG-Style/3"]["clip_score"], 1.5);
    assert_eq!(result["clip_scored_images"], 2);
    assert_eq!(result["ignored"], json!(["CVTG/2/8.png"]));
    let said = stderr(&output);
    assert!(said.contains("1 of 3 images have no CLIP score"), "{said}");
    assert!(cvtg(&folder, "", &[])["clip_score"].is_null());

    let nan = "{\"image\": \"CVTG/2/0.png\", \"clip_score\": NaN}";
    put(&folder, "clip.jsonl", &format!("{scores}\n{nan}"));
    fails(&folder, &more, 1, &["line 4", "clip.jsonl"]);
    let mut other = more.clone();
    other[1] = "longtext";
    fails(&folder, &other, 2, &["--clip-scores"]);
}

#[test]
fn clip_scores_of_two_runs_are_compared() {
    let folder = TempDir::new().unwrap();
    cvtg_prompts(&folder);
    put(&folder, "readings.jsonl", "");
    let score = |image: &str, score: f64| json!({"image": image, "clip_score": score}).to_string();
    put(&folder, "a.jsonl", &score("CVTG/2/0.png", 0.75));
    let second = [score("CVTG/2/0.png", 0.5), score("CVTG/2/1.png", 1.0)];
    put(&folder, "b.jsonl", &second.join("\n"));
    let runs = "readings.jsonl readings.jsonl --prompts prompts --json";
    let files = "--clip-scores-a a.jsonl --clip-scores-b b.jsonl";
    let arguments = |bench: &str, files: &str| format!("compare {bench} {runs} {files}");
    let words = arguments("cvtg", files);
    let words: Vec<&str> = words.split(' ').collect();
    let result: Value = serde_json::from_str(&succeeds(&evaluate(&folder, &words))).unwrap();
    let clip = &result["metrics"]["clip_score"];
    assert_eq!((&clip["a"], &clip["b"]), (&json!(0.25), &json!(0.5)));
    assert_eq!(
        [&clip["worse"], &clip["equal"], &clip["better"]],
        [&json!(1), &json!(1), &json!(1)]
    );
    assert_eq!(result["worst"][0]["image"], "CVTG/2/0.png");

    for (bench, files, named) in [
        ("cvtg", "--clip-scores-a a.jsonl", "--clip-scores-b"),
        ("signs", files, "--clip-scores-a"),
    ] {
        let words = arguments(bench, files);
        fails(&folder, &words.split(' ').collect::<Vec<_>>(), 2, &[named]);
    }
}

#[test]
fn longtext_is_scored_in_both_languages() {
    let folder = TempDir::new().unwrap();
    put(
        &folder,
        "text_prompts.jsonl",
        "{\"prompt_id\": 0, \"prompt\": \"…\", \"text\": [\"The cat\", \"THE DOG!\"]}\n{\"prompt_id\": 1, \"prompt\": \"…\", \"text\": [\"Bird\"]}",
    );
    put(
        &folder,
        "text_prompts_zh.jsonl",
        "{\"prompt_id\": 0, \"prompt\": \"…\", \"text\": [\"你好，世界\"]}",
    );
    put(
        &folder,
        "readings.jsonl",
        "{\"image\": \"0.png\", \"words\": [\"the the\", \"dog 好世\"]}",
    );
    let score = |language: &[&str]| {
        let base = [
            "score",
            "longtext",
            "--readings",
            "readings.jsonl",
            "--prompts",
            ".",
            "--json",
        ];
        let output = evaluate(&folder, &[&base[..], language].concat());
        serde_json::from_str::<Value>(&succeeds(&output)).unwrap()
    };
    let english = score(&[]);
    assert_eq!(english["text_accuracy"], 0.6);
    // The official reader is a large model, so the result must say which one was used.
    let note = |result: &Value| result["notes"][0].as_str().unwrap_or_default().to_owned();
    assert!(note(&english).contains("Qwen2.5-VL-7B"), "{english}");
    assert_eq!(note(&score(&["--reader", "PP-OCRv4"])), "");
    assert_eq!(english["coverage"], 0.5);
    assert_eq!(score(&["--language", "zh"])["text_accuracy"], 0.5);
}

/// Checks a failure: its exit code, and every text in the message.
#[track_caller]
fn fails(folder: &TempDir, arguments: &[&str], code: i32, texts: &[&str]) {
    let output = evaluate(folder, arguments);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for text in texts {
        assert!(said.contains(text), "{text}: {said}");
    }
}

#[test]
fn files_that_are_not_what_they_should_be_are_named() {
    let folder = TempDir::new().unwrap();
    put(&folder, "readings.jsonl", "");
    fails(&folder, &CVTG, 1, &["prompts", "CVTG/2.json"]);
    put(
        &folder,
        "prompts/CVTG/2.json",
        "[{\"tag\": \"two_object\"}]",
    );
    fails(&folder, &CVTG, 1, &["2.json", "CVTG-2K"]);
    fs::remove_dir_all(folder.path().join("prompts")).unwrap();
    cvtg_prompts(&folder);
    for (line, texts) in [
        ("no JSON", &["line 2", "readings.jsonl"][..]),
        ("{\"image\": \"CVTG/2/1.png\"}", &["line 2", "words"]),
        (
            "{\"image\": \"CVTG/2/1.png\", \"words\": [NaN]}",
            &["line 2"],
        ),
        (
            "{\"image\": \"CVTG/2/0.jpg\", \"words\": []}",
            &["line 2", "CVTG/2/0.jpg", "line 1"],
        ),
    ] {
        let first = "{\"image\": \"CVTG/2/0.png\", \"words\": []}";
        put(&folder, "readings.jsonl", &format!("{first}\n{line}"));
        fails(&folder, &CVTG, 1, texts);
    }
    put(&folder, "readings.jsonl", "");
    fails(
        &folder,
        &[&CVTG[..], &["--language", "zh"]].concat(),
        2,
        &["--language"],
    );
    fails(&folder, &["score", "unknown"], 2, &["unknown", "cvtg"]);
    let missing = [
        "score",
        "cvtg",
        "--readings",
        "none",
        "--prompts",
        "prompts",
    ];
    fails(&folder, &missing, 1, &["none"]);
    put(&folder, "text_prompts.jsonl", "{\"prompt\": \"…\"}");
    let longtext = [
        "score",
        "longtext",
        "--readings",
        "readings.jsonl",
        "--prompts",
        ".",
    ];
    fails(
        &folder,
        &longtext,
        1,
        &["text_prompts.jsonl", "LongText-Bench", "line 1"],
    );
}

#[test]
fn the_table_has_a_row_for_each_group() {
    let folder = TempDir::new().unwrap();
    cvtg_prompts(&folder);
    put(&folder, "readings.jsonl", "");
    let table = succeeds(&evaluate(&folder, &CVTG[..6]));
    for text in [
        "cvtg, official rules, reader: not named",
        "word_accuracy",
        "regions: 2",
        "sets: CVTG-Style/3",
        "all",
        "0 of 3",
    ] {
        assert!(table.contains(text), "{table}");
    }
}

#[test]
fn signs_are_scored_by_whole_texts_and_colors() {
    let folder = TempDir::new().unwrap();
    let prompt = |text: &str| json!({"prompt": text, "text": text, "text_color": "white", "ground_color": "red", "seed": 0});
    let prompts = [prompt("OPEN"), prompt("OPEN TODAY"), prompt("BUS")];
    let lines = prompts.map(|prompt| prompt.to_string());
    put(&folder, "signs.jsonl", &lines.join("\n"));
    put(
        &folder,
        "readings.jsonl",
        "{\"image\": \"0000.png\", \"words\": [\"0pen\"]}\n{\"image\": \"0001.png\", \"words\": [\"OPEN\", \"TODAX\"]}",
    );
    let mut image = image::RgbImage::from_pixel(16, 16, image::Rgb([210, 40, 30]));
    for x in 4..12 {
        image.put_pixel(x, 8, image::Rgb([250, 250, 250]));
    }
    image.save(folder.path().join("0000.png")).unwrap();
    let base = [
        "score",
        "signs",
        "--readings",
        "readings.jsonl",
        "--prompts",
        ".",
    ];
    let output = evaluate(&folder, &[&base[..], &["--json", "--images", "."]].concat());
    let result: Value = serde_json::from_str(&succeeds(&output)).unwrap();
    for (name, value) in [
        ("exact", 1.0 / 3.0),
        ("ned", (1.0 + 8.0 / 9.0) / 3.0),
        ("ground_color", 1.0 / 3.0),
        ("text_color", 1.0 / 3.0),
        ("coverage", 2.0 / 3.0),
    ] {
        let found = result[name].as_f64().unwrap();
        assert!((found - value).abs() < 1e-12, "{name}: {found}");
    }
    assert_eq!(result["lines"]["2"]["exact"], 0.0);
    assert_eq!(result["characters"]["3-4"]["exact"], 0.5);
    let plain = succeeds(&evaluate(&folder, &base));
    assert!(
        plain.contains("characters: 8-10") && !plain.contains("color"),
        "{plain}"
    );
    fails(
        &folder,
        &[&CVTG[..6], &["--images", "."]].concat(),
        2,
        &["--images"],
    );
}

#[test]
fn two_runs_are_compared_prompt_by_prompt() {
    let folder = TempDir::new().unwrap();
    let prompt = |text: &str| json!({"prompt": text, "text": text, "text_color": "white", "ground_color": "red", "seed": 0});
    let prompts = [prompt("OPEN"), prompt("<TODAY>"), prompt("BUS")];
    let lines = prompts.map(|prompt| prompt.to_string());
    put(&folder, "signs.jsonl", &lines.join("\n"));
    let reading = |image: &str, word: &str| json!({"image": image, "words": [word]}).to_string();
    let readings = |words: &[(&str, &str)]| {
        let lines: Vec<String> = words
            .iter()
            .map(|(image, word)| reading(image, word))
            .collect();
        lines.join("\n")
    };
    let first = [
        ("0000.png", "OPEN"),
        ("0001.png", "<TODAY>"),
        ("0002.png", "BUT"),
    ];
    let second = [
        ("0000.png", "OPEN"),
        ("0001.png", "<TODAX>"),
        ("0002.png", "BUS"),
    ];
    put(&folder, "a.jsonl", &readings(&first));
    put(&folder, "b.jsonl", &readings(&second));
    for name in ["a", "b"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let image = image::RgbImage::from_pixel(16, 16, image::Rgb([210, 40, 30]));
    image.save(folder.path().join("a/0001.png")).unwrap();

    let base = ["compare", "signs", "a.jsonl", "b.jsonl", "--prompts", "."];
    let output = evaluate(&folder, &[&base[..], &["--json"]].concat());
    let result: Value = serde_json::from_str(&succeeds(&output)).unwrap();
    let exact = &result["metrics"]["exact"];
    assert_eq!(exact["difference"], 0.0);
    assert_eq!(
        [&exact["worse"], &exact["equal"], &exact["better"]],
        [&json!(1), &json!(1), &json!(1)]
    );
    let [lower, upper] = [0, 1].map(|end| exact["interval_95"][end].as_f64().unwrap());
    assert!(lower < 0.0 && upper > 0.0, "{exact}");
    assert_eq!(result["worst"][0]["image"], "0001.png");
    assert_eq!(result["worst"].as_array().map(Vec::len), Some(1));

    let page = ["--html", "page.html", "--images-a", "a", "--images-b", "b"];
    let table = succeeds(&evaluate(&folder, &[&base[..], &page].concat()));
    assert!(table.contains("ground_color"), "{table}");
    assert!(
        table.contains("0001.png: \"<TODAY>\", A \"<TODAY>\", B \"<TODAX>\""),
        "{table}"
    );
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert_eq!(page.matches("data:image/png;base64,").count(), 1);
    assert!(page.contains("&lt;TODAX&gt;") && !page.contains("<TODAX>"));

    let one = [&base[..], &["--images-a", "a"]].concat();
    fails(&folder, &one, 2, &["--images-b"]);
    let other = [&base[..], &["--images-a", "a", "--images-b", "c"]].concat();
    fails(&folder, &other, 2, &["c is not a folder"]);
}
