//! Tests of `evaluate run`: images in the folders that the official scorers read.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::evaluation::put;
use super::{stderr, succeeds};

/// The smallest image of the embedded model, in one step.
const SMALL: [&str; 9] = [
    "-W",
    "64",
    "-H",
    "64",
    "-n",
    "1",
    "--guidance-scale",
    "1",
    "--device=flex",
];

fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_evaluate"))
        .current_dir(folder)
        .arg("run")
        .args(arguments)
        .args(SMALL)
        .output()
        .unwrap()
}

fn size(folder: &TempDir, name: &str) -> (u32, u32) {
    let image = image::open(folder.path().join(name));
    let image = image.unwrap_or_else(|error| panic!("{name}: {error}"));
    (image.width(), image.height())
}

fn cvtg(folder: &TempDir) {
    let items = json!([{"index": 0, "prompt": "a sign 'ONE'"}, {"index": 7, "prompt": "'TWO'"}]);
    put(
        folder,
        "prompts/CVTG/2.json",
        &json!({"data_list": items}).to_string(),
    );
}

#[cfg(feature = "flex")]
#[test]
fn images_of_cvtg_are_made_once_and_logged() {
    let folder = TempDir::new().unwrap();
    cvtg(&folder);
    let arguments = [
        "cvtg",
        "--prompts",
        "prompts",
        "-o",
        "out",
        "--batch-size",
        "2",
    ];
    let said = succeeds(&run(&folder, &arguments));
    assert!(said.contains("2 images of 2 prompts"), "{said}");
    for name in ["out/CVTG/2/0.png", "out/CVTG/2/7.png"] {
        assert_eq!(size(&folder, name), (64, 64));
    }
    let log = fs::read_to_string(folder.path().join("out/run.jsonl")).unwrap();
    let log: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&log[0]["seeds"], &log[1]["seeds"]),
        (&json!([0]), &json!([1]))
    );
    assert!(log[1]["seconds_per_image"].as_f64() > Some(0.0));

    // One image alone is that of the batch.
    let batch = fs::read(folder.path().join("out/CVTG/2/7.png")).unwrap();
    fs::remove_file(folder.path().join("out/CVTG/2/7.png")).unwrap();
    let said = succeeds(&run(&folder, &arguments));
    assert!(said.contains("1 images of 1 prompts"), "{said}");
    let alone = image::load_from_memory(&fs::read(folder.path().join("out/CVTG/2/7.png")).unwrap());
    let batch = image::load_from_memory(&batch).unwrap();
    let (alone, batch) = (alone.unwrap().into_rgb8(), batch.into_rgb8());
    let mut channels = alone.as_raw().iter().zip(batch.as_raw());
    assert!(channels.all(|(alone, batch)| alone.abs_diff(*batch) <= 1));

    let said = succeeds(&run(&folder, &arguments));
    assert!(said.contains("all 2 prompts have their images"), "{said}");
    let reseeded = run(&folder, &[&arguments[..], &["--seed", "5"]].concat());
    assert!(stderr(&reseeded).contains("seed: null then, 5 now"));
    let other = run(&folder, &[&arguments[..], &["--sampler", "heun"]].concat());
    assert_eq!(other.status.code(), Some(2));
    assert!(
        stderr(&other).contains("other settings"),
        "{}",
        stderr(&other)
    );

    let quantized = [&arguments[..], &["--quantize", "q4_0"]].concat();
    assert!(stderr(&run(&folder, &quantized)).contains("quantize: null then, \"q4_0\" now"));
    let mut elsewhere = [&quantized[..], &["--limit", "1"]].concat();
    elsewhere[4] = "quantized";
    succeeds(&run(&folder, &elsewhere));
    let image = |output: &str| fs::read(folder.path().join(output).join("CVTG/2/0.png")).unwrap();
    assert_ne!(image("quantized"), image("out"));

    let items = json!([{"index": 0, "prompt": "a sign 'ONE'"}, {"index": 7, "prompt": "'TEN'"}]);
    let text = json!({"data_list": items}).to_string();
    put(&folder, "prompts/CVTG/2.json", &text);
    let reworded = run(&folder, &arguments);
    assert!(stderr(&reworded).contains("prompts: \""));
}

#[cfg(feature = "flex")]
#[test]
fn parts_of_several_devices_fill_one_folder_with_the_images_of_one_run() {
    let folder = TempDir::new().unwrap();
    cvtg(&folder);
    let arguments = |output| ["cvtg", "--prompts", "prompts", "-o", output];
    for part in ["1/2", "2/2"] {
        let said = succeeds(&run(
            &folder,
            &[&arguments("parts")[..], &["--part", part]].concat(),
        ));
        assert!(said.contains("1 images of 1 prompts"), "{said}");
    }
    succeeds(&run(&folder, &arguments("whole")));
    for name in ["CVTG/2/0.png", "CVTG/2/7.png"] {
        let file = |output: &str| fs::read(folder.path().join(output).join(name)).unwrap();
        assert_eq!(file("parts"), file("whole"), "{name}");
    }
    let log = fs::read_to_string(folder.path().join("parts/run.jsonl")).unwrap();
    assert_eq!(log.matches("peak_memory_bytes").count(), 2, "{log}");
}

#[cfg(feature = "flex")]
#[test]
fn two_prompts_with_one_file_are_refused() {
    let folder = TempDir::new().unwrap();
    let line = r#"{"prompt_id": 5, "prompt": "a poster", "text": ["A"]}"#;
    put(&folder, "text_prompts.jsonl", &format!("{line}\n{line}\n"));
    let output = run(&folder, &["longtext", "--prompts", ".", "-o", "out"]);
    let message = stderr(&output);
    assert!(
        message.contains("two prompts would write 5.png"),
        "{message}"
    );
    assert!(!folder.path().join("out").exists());
}

#[cfg(feature = "flex")]
#[test]
fn cut_prompts_are_counted() {
    let folder = TempDir::new().unwrap();
    let long = "a poster ".repeat(300);
    let items = json!([{"index": 0, "prompt": "a sign 'ONE'"}, {"index": 7, "prompt": long}]);
    let text = json!({"data_list": items}).to_string();
    put(&folder, "prompts/CVTG/2.json", &text);
    let output = run(&folder, &["cvtg", "--prompts", "prompts", "-o", "out"]);
    succeeds(&output);
    let message = stderr(&output);
    assert!(message.contains("1 prompts were too long"), "{message}");
    let log = fs::read_to_string(folder.path().join("out/run.jsonl")).unwrap();
    assert_eq!(log.matches("truncated_tokens").count(), 1, "{log}");
}

#[cfg(feature = "flex")]
#[test]
fn every_benchmark_has_its_layout() {
    let folder = TempDir::new().unwrap();
    put(
        &folder,
        "evaluation_metadata.jsonl",
        "{\"tag\": \"single_object\", \"include\": [{\"class\": \"bench\", \"count\": 1}], \"prompt\": \"a photo of a bench\"}\n",
    );
    put(
        &folder,
        "text_prompts_zh.jsonl",
        "{\"prompt_id\": 5, \"prompt\": \"海报\", \"text\": [\"你好\"]}",
    );
    put(&folder, "dpg/3.txt", "a red cube\n");
    put(
        &folder,
        "OneIG-Bench.csv",
        "category,id,prompt_en,type,prompt_length,class\nText_Rendering,007,\"a sign, \"\"HI\"\"\",\"T, P\",short,None\n",
    );
    put(
        &folder,
        "signs.jsonl",
        r#"{"prompt": "a red sign", "text": "OPEN", "text_color": "white", "ground_color": "red", "seed": 3}"#,
    );
    for (benchmark, prompts, files, expected) in [
        (
            "geneval",
            ".",
            &["00000/samples/0000.png", "00000/samples/0001.png"][..],
            (64, 64),
        ),
        ("longtext-zh", ".", &["5_0.png", "5_1.png"], (64, 64)),
        ("dpg", "dpg", &["3.png"], (128, 64)),
        ("oneig", ".", &["text/ovis-image/007.webp"], (128, 64)),
        ("signs", ".", &["0000_0.png", "0000_1.png"], (64, 64)),
        ("signs", "signs.jsonl", &["0000_0.png"], (64, 64)),
    ] {
        let output = format!("{benchmark}-images");
        let arguments = [benchmark, "--prompts", prompts, "-o", &output];
        succeeds(&run(
            &folder,
            &[&arguments[..], &["--images-per-prompt", "2"]].concat(),
        ));
        for file in files {
            assert_eq!(
                size(&folder, &format!("{output}/{file}")),
                expected,
                "{file}"
            );
        }
    }
    let metadata = folder.path().join("geneval-images/00000/metadata.jsonl");
    let metadata: Value = serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
    assert_eq!(metadata["tag"], "single_object");
}

#[test]
fn wrong_prompts_and_flags_are_refused_before_the_work() {
    let folder = TempDir::new().unwrap();
    cvtg(&folder);
    put(&folder, "signs.jsonl", "{\"prompt\": \"a red sign\"}");
    put(
        &folder,
        "escape/CVTG/2.json",
        "{\"data_list\": [{\"index\": \"../../x\", \"prompt\": \"p\"}]}",
    );
    put(
        &folder,
        "escape.csv",
        "category,id,prompt_en\nText_Rendering,../../x,p\n",
    );
    let cases: [(&[&str], i32, &str); 8] = [
        (&["cvtg", "--prompts", "signs.jsonl"], 1, "CVTG-2K"),
        (&["signs", "--prompts", "."], 1, "line 1"),
        (&["geneval", "--prompts", "signs.jsonl"], 1, "GenEval"),
        (&["dpg", "--prompts", "prompts"], 1, "0.txt"),
        (&["oneig", "--prompts", "signs.jsonl"], 1, "OneIG-Bench"),
        (&["oneig", "--prompts", "escape.csv"], 1, "is not an id"),
        (&["cvtg", "--prompts", "escape"], 1, "is not an index"),
        (&["signs", "--prompts", ".", "--seed", "3"], 2, "--seed"),
    ];
    for (arguments, code, text) in cases {
        let output = run(&folder, &[arguments, &["-o", "out"]].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(text), "{arguments:?}: {said}");
        assert!(
            !Path::new(&folder.path().join("out")).exists(),
            "{arguments:?}"
        );
    }
    for wrong in [
        ["--part", "3/2"],
        ["--limit", "0"],
        ["--images-per-prompt", "65"],
    ] {
        let output = run(
            &folder,
            &[&["cvtg", "--prompts", "prompts", "-o", "out"][..], &wrong].concat(),
        );
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}
