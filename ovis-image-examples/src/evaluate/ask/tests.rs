//! Tests against a local server that misbehaves.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use image::{Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::shared::vision_chat::test_server::{json_lines, reply, says, serve};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

/// Creates a folder with two grids of DPG-Bench, whose images have the red values 10, 11… and 20,
/// 21…, and a file with two questions about each.
fn dpg() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (item, first) in [("a", 10), ("b", 20)] {
        let grid = RgbImage::from_fn(16, 16, |x, y| {
            Rgb([first + (x / 8 + 2 * (y / 8)) as u8, 0, 0])
        });
        grid.save(folder.path().join(format!("{item}.png")))
            .unwrap();
    }
    let head = "item_id,proposition_id,dependency,tuple,question_natural_language";
    let rows = ["a", "b"].map(|item| {
        format!("{item},1,0,entity - whole (cube),Is it a cube?\n{item},2,1,color (red),Is it red?")
    });
    let questions = format!("{head}\n{}\n{}\n", rows[0], rows[1]);
    fs::write(folder.path().join("dpg_bench.csv"), questions).unwrap();
    folder
}

fn ask(folder: &Path, benchmark: &str, server: &str, more: &[&str]) -> Result<()> {
    let text = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (images, prompts, output) = (text(""), text(""), text("answers.jsonl"));
    let all = [
        "ask",
        benchmark,
        &images,
        "--prompts",
        &prompts,
        "-o",
        &output,
        "--server",
        server,
        "--model",
        "m",
        "--backoff",
        "0.01",
    ];
    run(&Command::parse_from(all.iter().chain(more)).arguments)
}

fn written(folder: &Path) -> Vec<Value> {
    json_lines(&folder.join("answers.jsonl"))
}

#[test]
fn every_misbehavior_is_outlived_and_answers_are_yes_or_no() {
    let (server, seen) = serve(|request| match (request.red, request.attempt) {
        (10, 1) => reply("429 Too Many Requests", "retry-after: 1\r\n", "slow down"),
        (11, 1 | 2) => reply("500 Internal Server Error", "", "oh"),
        (12, 1) => "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"choices\": [".to_owned(),
        (13, 1) => {
            std::thread::sleep(Duration::from_millis(1500));
            says("too late")
        }
        (20, 1) => reply("200 OK", "", "{\"choices\": [{\"message\""),
        (21, 1) => says("   "),
        (22, 1) => "hello\r\n\r\n".to_owned(),
        (23, 1) => String::new(),
        (10, _) if request.text == "Is it red? Answer with yes or no only." => says("Perhaps"),
        (red, _) => says(if red % 2 == 0 {
            "Yes, it is."
        } else {
            "**No**"
        }),
    });
    let folder = dpg();
    let started = Instant::now();
    ask(folder.path(), "dpg", &server, &["--timeout", "0.7"]).unwrap();
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "Retry-After is heeded"
    );
    let (yes, no) = (
        json!({"1": "yes", "2": "yes"}),
        json!({"1": "no", "2": "no"}),
    );
    let first = json!({"1": "yes", "2": "Perhaps"});
    let expected = [
        json!({"image": "a.png", "answers": [first, no, yes, no]}),
        json!({"image": "b.png", "answers": [yes, no, yes, no]}),
    ];
    assert_eq!(written(folder.path()), expected);
    let question = "Is it a cube? Answer with yes or no only.".to_owned();
    assert_eq!(seen.lock().unwrap().attempts[&(11, question)], 3);
}

#[test]
fn what_fails_is_named_and_only_that_is_asked_again() {
    let (server, seen) = serve(|request| match (request.red, request.attempt) {
        (21, 1) if request.text.starts_with("Is it a cube?") => {
            reply("400 Bad Request", "", "no \u{1b}[2J")
        }
        _ => says("yes"),
    });
    let folder = dpg();
    let error = ask(folder.path(), "dpg", &server, &[]).unwrap_err();
    let error = error.to_string();
    for text in ["1 images", "b.png", "400"] {
        assert!(error.contains(text), "{error}");
    }
    assert_eq!(written(folder.path()).len(), 1);
    ask(folder.path(), "dpg", &server, &[]).unwrap();
    assert_eq!(written(folder.path()).len(), 2);
    // 16 questions, of which one was asked twice.
    assert_eq!(seen.lock().unwrap().times.len(), 17);
    // Nothing is missing, so nobody is asked: there is no such server.
    ask(folder.path(), "dpg", "http://127.0.0.1:9", &[]).unwrap();
    assert_eq!(written(folder.path()).len(), 2);
    // An image that has changed is asked about again.
    RgbImage::from_pixel(16, 16, Rgb([30, 0, 0]))
        .save(folder.path().join("b.png"))
        .unwrap();
    let none = ["--retries", "0"];
    ask(folder.path(), "dpg", "http://127.0.0.1:9", &none).unwrap_err();
    // What could not be asked is left out.
    assert_eq!(written(folder.path()).len(), 1);
}

#[test]
fn a_wrong_key_ends_the_run_and_keeps_what_is_there() {
    let (server, seen) = serve(|request| match request.red {
        10..=13 => says("no"),
        _ => reply("401 Unauthorized", "", "wrong key"),
    });
    let folder = dpg();
    let arguments = ["--concurrency", "1", "--api-key-env", "PATH"];
    let error = ask(folder.path(), "dpg", &server, &arguments).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("401") && error.contains("wrong key"),
        "{error}"
    );
    assert_eq!(written(folder.path()).len(), 1);
    assert_eq!(seen.lock().unwrap().times.len(), 9);
}

#[test]
fn requests_keep_to_the_rate_and_wrong_flags_are_named() {
    let (server, seen) = serve(|_| says("yes"));
    let folder = dpg();
    ask(folder.path(), "dpg", &server, &["--max-rate", "40"]).unwrap();
    let times = &seen.lock().unwrap().times;
    let whole = *times.iter().max().unwrap() - *times.iter().min().unwrap();
    // Fifteen pauses of 25 ms; the first request may have come late.
    assert!(whole >= Duration::from_millis(300), "{whole:?}");
    for (flag, value) in [
        ("--max-rate", "0"),
        ("--timeout", "1e9"),
        ("--api-key-env", "NO_SUCH_KEY"),
    ] {
        let error = ask(folder.path(), "dpg", &server, &[flag, value]).unwrap_err();
        assert!(error.to_string().contains(flag), "{error}");
    }
}

#[test]
fn black_missing_and_unreadable_images_are_not_asked_about() {
    let (server, seen) = serve(|_| says("yes"));
    let folder = dpg();
    fs::write(folder.path().join("b.png"), "not an image").unwrap();
    RgbImage::new(16, 16)
        .save(folder.path().join("a.png"))
        .unwrap();
    ask(folder.path(), "dpg", &server, &[]).unwrap();
    let lines = written(folder.path());
    assert_eq!(lines[0]["answers"][3], json!({"1": "no", "2": "no"}));
    assert!(lines[1]["error"].as_str().unwrap().contains("b.png"));
    assert!(seen.lock().unwrap().times.is_empty());
}

#[test]
fn images_of_geneval_match_their_prompt_or_not() {
    let (server, seen) = serve(|request| says(if request.red == 1 { "yes" } else { "no" }));
    let folder = tempfile::tempdir().unwrap();
    let prompt = json!({"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"});
    fs::write(
        folder.path().join("evaluation_metadata.jsonl"),
        prompt.to_string(),
    )
    .unwrap();
    let samples = folder.path().join("00000/samples");
    fs::create_dir_all(&samples).unwrap();
    for red in [1, 2] {
        let image = RgbImage::from_pixel(8, 8, Rgb([red, 0, 0]));
        image.save(samples.join(format!("000{red}.png"))).unwrap();
    }
    ask(folder.path(), "geneval", &server, &[]).unwrap();
    let line =
        |name: &str, correct| json!({"image": format!("00000/samples/{name}"), "correct": correct});
    let expected = [line("0001.png", true), line("0002.png", false)];
    assert_eq!(written(folder.path()), expected);
    let seen = seen.lock().unwrap();
    assert!(
        seen.attempts
            .keys()
            .all(|(_, text)| text.contains("\"a photo of a bench\""))
    );
}
