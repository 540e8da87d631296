//! Tests against a local server that misbehaves.

use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::shared::vision_chat::test_server::{json_lines, reply, says, serve};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

/// Creates a folder with images whose red values are 0, 1, 2…
fn images(count: u8) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = LineWriter::create(&folder.path().join("manifest.jsonl")).unwrap();
    for red in 0..count {
        let image = image::RgbImage::from_pixel(8, 8, image::Rgb([red, 0, 0]));
        image
            .save(folder.path().join(format!("{red}.png")))
            .unwrap();
        let row = Row {
            id: format!("id{red}"),
            image: format!("{red}.png").into(),
            ..Row::default()
        };
        writer.write(&row).unwrap();
    }
    writer.finish().unwrap();
    folder
}

fn ask(folder: &Path, server: &str, more: &[&str]) -> Result<()> {
    let folder = folder.to_str().unwrap();
    let all = [
        "recaption",
        folder,
        "--server",
        server,
        "--model",
        "m",
        "--backoff",
        "0.01",
    ];
    run(Command::parse_from(all.iter().chain(more)).arguments)
}

fn written(folder: &Path) -> Vec<Value> {
    json_lines(&folder.join("recaptions.jsonl"))
}

#[test]
fn every_misbehavior_is_outlived() {
    let (server, seen) = serve(|request| match (request.red, request.attempt) {
        (0, 1) => reply("429 Too Many Requests", "retry-after: 1\r\n", "slow down"),
        (1, 1 | 2) => reply("500 Internal Server Error", "", "oh"),
        // Promises more than it sends.
        (2, 1) => "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"choices\": [".to_owned(),
        (3, 1) => {
            std::thread::sleep(Duration::from_millis(1500));
            says("too late")
        }
        (4, 1) => reply("200 OK", "", "{\"choices\": [{\"message\""),
        (5, 1) => says("   "),
        // Not HTTP.
        (6, 1) => "hello\r\n\r\n".to_owned(),
        // No answer at all.
        (7, 1) => String::new(),
        (8, 1) => reply("200 OK", "", "{\"choices\": []}"),
        (red, _) => says(&format!("caption {red}")),
    });
    let folder = images(10);
    let started = Instant::now();
    ask(
        folder.path(),
        &server,
        &["--timeout", "0.7", "--languages", "en"],
    )
    .unwrap();
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "Retry-After is heeded"
    );
    let rows = written(folder.path());
    assert_eq!(rows.len(), 10);
    for (red, row) in rows.iter().enumerate() {
        assert_eq!(
            *row,
            json!({"id": format!("id{red}"), "caption_en": format!("caption {red}")})
        );
    }
    let english = Language::En.instruction().to_owned();
    assert_eq!(seen.lock().unwrap().attempts[&(1, english)], 3);
    assert!(!folder.path().join("recaptions.unfinished.jsonl").exists());
}

#[test]
fn what_fails_is_named_and_asked_for_again_by_the_next_run() {
    let (server, _) = serve(|request| match (request.red, request.attempt) {
        (1, 1..=2) => reply("503 Service Unavailable", "", ""),
        (2, 1) => reply("400 Bad Request", "", "no \u{1b}[2J"),
        _ => says("fine"),
    });
    let folder = images(4);
    let error = ask(
        folder.path(),
        &server,
        &["--retries", "1", "--languages", "en"],
    );
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("2 images") && error.contains("id1") && error.contains("400"),
        "{error}"
    );
    assert_eq!(written(folder.path()).len(), 2);
    ask(folder.path(), &server, &["--languages", "en"]).unwrap();
    let first = fs::read(folder.path().join("recaptions.jsonl")).unwrap();
    assert_eq!(written(folder.path()).len(), 4);
    // Nothing is missing, so nobody is asked: there is no such server.
    ask(folder.path(), "http://127.0.0.1:9", &["--languages", "en"]).unwrap();
    assert_eq!(
        fs::read(folder.path().join("recaptions.jsonl")).unwrap(),
        first
    );
}

#[test]
fn a_wrong_key_ends_the_run_and_keeps_what_is_there() {
    let (server, seen) = serve(|request| match request.red {
        0 => says("fine"),
        _ => reply("401 Unauthorized", "", "wrong key"),
    });
    let folder = images(50);
    let arguments = [
        "--concurrency",
        "1",
        "--api-key-env",
        "PATH",
        "--languages",
        "en,zh",
    ];
    let error = ask(folder.path(), &server, &arguments)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("401") && error.contains("wrong key"),
        "{error}"
    );
    let row = json!({"id": "id0", "caption_en": "fine", "caption_zh": "fine"});
    assert_eq!(written(folder.path()), [row]);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.times.len(), 3);
    let key = format!("bearer {}", std::env::var("PATH").unwrap().to_lowercase());
    assert!(seen.keys.iter().all(|found| *found == key));
}

#[test]
fn requests_keep_to_the_rate_and_dead_servers_are_given_up() {
    let (server, seen) = serve(|_| says("fine"));
    let folder = images(6);
    ask(
        folder.path(),
        &server,
        &["--max-rate", "20", "--languages", "en"],
    )
    .unwrap();
    let times = &seen.lock().unwrap().times;
    let whole = *times.iter().max().unwrap() - *times.iter().min().unwrap();
    // Five pauses of 50 ms; the first request may have come late.
    assert!(whole >= Duration::from_millis(200), "{whole:?}");

    let many = images(60);
    let error = ask(many.path(), "http://127.0.0.1:9", &["--retries", "0"]).unwrap_err();
    assert!(error.to_string().contains("one after another"), "{error}");
    for (flag, value) in [
        ("--max-rate", "0"),
        ("--timeout", "1e9"),
        ("--api-key-env", "NO_SUCH_KEY"),
    ] {
        let error = ask(many.path(), &server, &[flag, value]).unwrap_err();
        assert!(
            error.chain().any(|cause| cause.to_string().contains(flag)),
            "{flag}"
        );
    }
}
