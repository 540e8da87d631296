//! Tests of `evaluate score` with benchmarks that other models judge: GenEval, DPG-Bench and
//! OneIG-Bench.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::{stderr, succeeds};
use super::{evaluate, fails, put};

/// Arguments of a benchmark whose prompts and judgments are in the folder.
fn arguments<'a>(benchmark: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let base = [
        "score",
        benchmark,
        "--readings",
        "found.jsonl",
        "--prompts",
        ".",
    ];
    [&base[..], more].concat()
}

#[track_caller]
fn score(folder: &TempDir, benchmark: &str, more: &[&str]) -> Value {
    let arguments = arguments(benchmark, &[more, &["--json"]].concat());
    serde_json::from_str(&succeeds(&evaluate(folder, &arguments))).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// Two prompts for one object, and one for a red cup.
fn geneval_prompts(folder: &TempDir) {
    let object = |class: &str| {
        json!({"tag": "single_object", "include": [{"class": class, "count": 1}],
               "prompt": format!("a photo of a {class}")})
    };
    let red = json!({"tag": "colors", "include": [{"class": "cup", "count": 1, "color": "red"}],
                     "prompt": "a photo of a red cup"});
    let lines = [object("dog"), object("cow"), red].map(|line| line.to_string());
    put(folder, "evaluation_metadata.jsonl", &lines.join("\n"));
}

fn geneval_line(prompt: usize, image: usize, rest: &str) -> String {
    format!(r#"{{"image": "run/{prompt:05}/samples/{image:04}.png", {rest}}}"#)
}

fn object(class: &str, score: f64) -> String {
    format!(r#""objects": [{{"class": "{class}", "score": {score}, "box": [0, 0, 9.5, 9]}}]"#)
}

#[test]
fn geneval_is_the_mean_of_its_tasks() {
    let folder = TempDir::new().unwrap();
    geneval_prompts(&folder);
    let red = r#""objects": [{"class": "cup", "score": 0.9, "box": [0, 0, 9, 9], "color": "red"}]"#;
    let lines = [
        geneval_line(0, 0, &object("dog", 0.31)),
        geneval_line(0, 1, &object("dog", 0.29)),
        geneval_line(1, 0, &object("dog", 0.9)),
        geneval_line(1, 1, r#""error": "truncated""#),
        geneval_line(2, 0, red),
        geneval_line(3, 0, &object("dog", 0.9)),
    ];
    put(&folder, "found.jsonl", &lines.join("\n"));
    let result = score(&folder, "geneval", &["--images-per-prompt", "2"]);
    // One of four images of an object, one of two images of a color.
    assert_eq!(result["score"], (0.25 + 0.5) / 2.0);
    assert_eq!(result["image_accuracy"], 2.0 / 6.0);
    assert_eq!(result["prompt_accuracy"], 2.0 / 3.0);
    assert_eq!(result["tasks"]["single_object"]["score"], 0.25);
    assert_eq!(result["coverage"], 4.0 / 6.0);
    assert_eq!(result["ignored"], json!(["run/00003/samples/0000.png"]));
    assert!(number(&result["intervals_95"]["score"][0]) <= number(&result["score"]));
}

#[test]
fn results_of_the_official_scorer_of_geneval_are_taken_as_they_are() {
    let folder = TempDir::new().unwrap();
    geneval_prompts(&folder);
    let line = |image: usize, correct: bool| {
        format!(
            r#"{{"filename":"run\/00000\/samples\/{image:05}.png","tag":"single_object","prompt":"a photo of a dog","correct":{correct},"reason":"","metadata":"","details":"{{}}"}}"#
        )
    };
    put(
        &folder,
        "found.jsonl",
        &[line(0, true), line(1, false)].join("\n"),
    );
    let result = score(&folder, "geneval", &[]);
    assert_eq!(result["tasks"]["single_object"]["correct_images"], 1);
    assert_eq!(result["expected_images"], 12);
    let other = line(0, true).replace("a photo of a dog", "a photo of a cat");
    put(&folder, "found.jsonl", &other);
    let said = [
        "line 1 of found.jsonl",
        "another prompt than `a photo of a dog`",
    ];
    fails(&folder, &arguments("geneval", &[]), 1, &said);
}

#[test]
fn judgments_of_geneval_that_are_invalid_are_named() {
    let folder = TempDir::new().unwrap();
    geneval_prompts(&folder);
    let fine = geneval_line(0, 0, &object("dog", 0.9));
    for (line, text) in [
        ("no JSON".to_owned(), "it is not a judgment"),
        (
            geneval_line(
                1,
                0,
                r#""objects": [{"class": "cow", "score": NaN, "box": [0, 0, 1, 1]}]"#,
            ),
            "it is not a judgment",
        ),
        (
            geneval_line(1, 0, &object("cow", 1e39)),
            "number out of range",
        ),
        (
            geneval_line(1, 0, r#""words": []"#),
            "none of `objects`, `correct` and `error`",
        ),
        (
            geneval_line(2, 0, &object("cup", 0.9)),
            "`cup` has no color",
        ),
        (geneval_line(0, 0, &object("dog", 0.9)), "in line 1 already"),
    ] {
        put(&folder, "found.jsonl", &format!("{fine}\n{line}"));
        fails(
            &folder,
            &arguments("geneval", &[]),
            1,
            &["line 2 of found.jsonl", text],
        );
    }
    put(
        &folder,
        "evaluation_metadata.jsonl",
        r#"{"prompt_id": 0, "prompt": "…", "text": []}"#,
    );
    let said = ["evaluation_metadata.jsonl", "GenEval", "line 1"];
    fails(&folder, &arguments("geneval", &[]), 1, &said);
}

/// The first item has two questions, of which the second depends on the first; the others have one
/// and two.
const DPG: &str = "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,question_natural_language
0,…,,1,0,entity,whole,entity - whole (cat),Is there a cat?
0,…,,2,1,attribute,color,\"attribute - color (cat, black)\",Is the cat black?
a1,…,,1,0,entity,whole,entity - whole (dog),Is there a dog?
a2,…,,1,0,entity,whole,entity - whole (cow),Is there a cow?
a2,…,,2,1,attribute,color,\"attribute - color (cow, red)\",Is the cow red?
";

#[test]
fn dpg_counts_questions_whose_parents_are_answered_with_yes() {
    let folder = TempDir::new().unwrap();
    put(&folder, "dpg_bench.csv", DPG);
    let lines = r#"{"image": "run/0.png", "answers": {"1": "yes", "2": "yes"}}
{"image": "run/a2.png", "answers": {"1": "no", "2": "yes"}}
{"image": "run/a9.png", "answers": {"1": "no"}}"#;
    put(&folder, "found.jsonl", lines);
    let one = ["--images-per-prompt", "1"];
    let output = evaluate(
        &folder,
        &arguments("dpg", &[&one[..], &["--json"]].concat()),
    );
    let result: Value = serde_json::from_str(&succeeds(&output)).unwrap();
    // The official script skips the first row, so it drops the image whose second question depends
    // on it. The missing image counts as wrong.
    assert_eq!(result["score"], 0.0);
    assert_eq!(result["coverage"], 2.0 / 3.0);
    assert_eq!(result["dropped_prompts"], 1);
    assert_eq!(result["ignored"], json!(["run/a9.png"]));
    let said = stderr(&output);
    assert!(
        said.contains("drop 1 of 3 prompts") && said.contains(": 0"),
        "{said}"
    );
    // Categories are counted as answered, without dependencies.
    assert_eq!(result["categories"]["attribute"]["score"], 1.0);
    assert_eq!(
        result["detailed_categories"]["entity - whole"]["score"],
        0.0
    );

    let strict = score(&folder, "dpg", &[&one[..], &["--mode", "strict"]].concat());
    assert_eq!(strict["score"], 1.0 / 3.0);
    assert_eq!(strict["dropped_prompts"], 0);
    assert_eq!(strict["categories"]["attribute"]["score"], 0.5);
}

#[test]
fn dpg_takes_the_mean_of_the_images_in_a_grid() {
    let folder = TempDir::new().unwrap();
    put(&folder, "dpg_bench.csv", DPG);
    let image = |one: u8, two: u8| format!(r#"{{"1": {one}, "2": {two}}}"#);
    let images = [image(1, 1), image(1, 0), image(0, 1), image(1, 1)].join(", ");
    put(
        &folder,
        "found.jsonl",
        &format!(r#"{{"image": "a2.png", "answers": [{images}]}}"#),
    );
    let result = score(&folder, "dpg", &["--mode", "strict"]);
    let mean = (1.0 + 0.5 + 0.0 + 1.0) / 4.0 / 3.0;
    assert!((number(&result["score"]) - mean).abs() < 1e-12, "{result}");
}

#[test]
fn answers_of_dpg_that_are_invalid_are_named() {
    let folder = TempDir::new().unwrap();
    put(&folder, "dpg_bench.csv", DPG);
    let one = arguments("dpg", &["--images-per-prompt", "1"]);
    for (line, text) in [
        (
            r#"{"image": "a1.png", "answers": {"1": NaN}}"#,
            "it is not a line",
        ),
        (
            r#"{"image": "a1.png", "answers": {"7": "yes"}}"#,
            "question 7 does not exist",
        ),
        (
            r#"{"image": "a2.png", "answers": {"2": "yes"}}"#,
            "question 1 has no answer",
        ),
        (
            r#"{"image": "a1.png", "answers": [{"1": 1}, {"1": 1}]}"#,
            "about 2 of 1 images",
        ),
    ] {
        put(&folder, "found.jsonl", line);
        fails(&folder, &one, 1, &["line 1 of found.jsonl", text]);
    }
    put(&folder, "dpg_bench.csv", &DPG.replace(",2,1,", ",2,one,"));
    fails(&folder, &one, 1, &["dpg_bench.csv", "row 2", "`one`"]);
    put(&folder, "dpg_bench.csv", "category,id,prompt_en\n");
    fails(&folder, &one, 1, &["dpg_bench.csv", "DPG-Bench"]);
}

fn oneig_prompts(folder: &TempDir) {
    put(
        folder,
        "OneIG-Bench.csv",
        "category,id,prompt_en,type,prompt_length,class
Anime_Stylization,000,…,NP,short,
Anime_Stylization,001,…,NP,short,Cubism
Text_Rendering,000,…,NP,short,poster
Text_Rendering,001,…,NP,long,poster
Knowledge_Reasoning,000,…,NP,long,biology
",
    );
    put(
        folder,
        "scripts/text/text_content.csv",
        ",id,prompt_en,text_content\n0,000,…,['Big Sale']\n1,001,…,\"['Two', 'more words']\"\n",
    );
}

const ONEIG: [&str; 2] = ["--images-per-prompt", "2"];

#[test]
fn oneig_scores_the_text_of_each_part_of_a_grid() {
    let folder = TempDir::new().unwrap();
    oneig_prompts(&folder);
    let lines = r#"{"image": "text/ovis-image/000.webp", "words": ["Big", "Sale"]}
{"image": "text/ovis-image/000.webp", "part": 1, "words": ["Big"]}
{"image": "text/ovis-image/001.webp", "words": ["Two more words"]}
{"image": "anime/ovis-image/001.webp", "words": []}"#;
    put(&folder, "found.jsonl", lines);
    let result = score(&folder, "oneig", &ONEIG);
    // The missing image is as wrong as one without text.
    let distance = (5.0 + 14.0) / 4.0;
    let (complete, accuracy) = (0.5, 6.0 / 10.0);
    let text = 1.0 - distance * (1.0 - complete) * (1.0 - accuracy) / 100.0;
    for (name, value) in [
        ("text", text),
        ("edit_distance", distance),
        ("completion_rate", complete),
        ("word_accuracy", accuracy),
        ("coverage", 0.75),
    ] {
        assert!(
            (number(&result[name]) - value).abs() < 1e-12,
            "{name}: {result}"
        );
    }
    assert_eq!(result["lengths"]["short"]["edit_distance"], 2.5);
    assert_eq!(result["ignored"], json!(["anime/ovis-image/001.webp"]));
    assert_eq!(result["overall"], Value::Null);
}

#[test]
fn oneig_has_an_overall_score_with_official_results_of_the_other_dimensions() {
    let folder = TempDir::new().unwrap();
    oneig_prompts(&folder);
    put(&folder, "found.jsonl", "");
    let file = |dimension: &str, time: &str, rows: &str| {
        let name = format!("results/{dimension}_prompt_score_EN_{time}.csv");
        put(&folder, &name, &format!(",other,ovis-image\n{rows}"));
    };
    file("alignment", "2026-11-29", "anime_000,0,0\nanime_001,0,0\n");
    file(
        "alignment",
        "2026-11-30",
        "anime_000,0,0.5\nanime_001,0,\nhuman_000,0,1\n",
    );
    file("reasoning", "2026-11-30", "000,0,0.25\n");
    file("style", "2026-11-30", "001,0,0.75\n");
    let results = [&ONEIG[..], &["--results", "results"]].concat();
    let missing = ["results", "diversity_prompt_score_EN….csv is missing"];
    fails(&folder, &arguments("oneig", &results), 1, &missing);

    let all = "anime_000,0,1\nanime_001,0,1\ntext_000,0,1\ntext_001,0,1\n";
    file("diversity", "2026-11-30", all);
    let result = score(&folder, "oneig", &results);
    // An empty cell is a missing image, and so is a missing row.
    for (dimension, score, coverage) in [
        ("alignment", 0.25, 0.5),
        ("reasoning", 0.25, 1.0),
        ("style", 0.75, 1.0),
        ("diversity", 0.8, 0.8),
    ] {
        let found = &result["dimensions"][dimension];
        assert_eq!(
            (&found["score"], &found["coverage"]),
            (&json!(score), &json!(coverage))
        );
    }
    let text = number(&result["text"]);
    let overall = (0.25 + 0.25 + 0.75 + 0.8 + text) / 5.0;
    assert!(
        (number(&result["overall"]) - overall).abs() < 1e-12,
        "{result}"
    );
    assert_eq!(result["ignored"], json!(["alignment human_000"]));
    let table = succeeds(&evaluate(&folder, &arguments("oneig", &results)));
    assert!(table.contains("dimensions: diversity"), "{table}");

    for (rows, text) in [
        ("anime_000,0,nan\n", "`nan` of anime_000"),
        ("anime_000,0,1\nanime_000,0,1\n", "two rows of anime_000"),
    ] {
        file("diversity", "2026-11-30", rows);
        let said = ["diversity_prompt_score_EN_2026-11-30.csv", text];
        fails(&folder, &arguments("oneig", &results), 1, &said);
    }
    let other = [&results[..], &["--model-name", "b"]].concat();
    let said = ["there is no model `b`, only: other, ovis-image"];
    fails(&folder, &arguments("oneig", &other), 1, &said);
}

#[test]
fn flags_of_other_benchmarks_are_refused() {
    let folder = TempDir::new().unwrap();
    for (benchmark, flags) in [
        ("cvtg", ["--images-per-prompt", "2"]),
        ("geneval", ["--language", "zh"]),
        ("dpg", ["--results", "results"]),
        ("oneig", ["--images", "."]),
    ] {
        fails(&folder, &arguments(benchmark, &flags), 2, &[flags[0]]);
    }
}

#[test]
fn judged_runs_are_compared_prompt_by_prompt() {
    let folder = TempDir::new().unwrap();
    geneval_prompts(&folder);
    put(&folder, "a.jsonl", &geneval_line(0, 0, &object("dog", 0.9)));
    put(&folder, "b.jsonl", &geneval_line(0, 0, &object("cow", 0.9)));
    let compare = [
        "compare",
        "geneval",
        "a.jsonl",
        "b.jsonl",
        "--prompts",
        ".",
        "--json",
        "--images-per-prompt",
        "1",
    ];
    let result: Value = serde_json::from_str(&succeeds(&evaluate(&folder, &compare))).unwrap();
    let metric = &result["metrics"]["score"];
    // One of two prompts of one of two tasks.
    assert_eq!((&metric["a"], &metric["b"]), (&json!(0.25), &json!(0.0)));
    assert_eq!(metric["worse"], 1);
    assert_eq!(result["worst"][0]["b"], "0 of 1 correct");
}
