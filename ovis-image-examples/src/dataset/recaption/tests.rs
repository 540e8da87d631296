//! Tests against a local server that misbehaves.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::{Value, json};

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

/// Requests that the server received.
#[derive(Default)]
struct Seen {
    /// Number of requests by the red value of the image's only color and the language.
    attempts: HashMap<(u8, bool), u32>,
    times: Vec<Instant>,
    keys: Vec<String>,
}

type Answer = fn(u8, u32) -> String;

/// Starts a server, which runs until the test ends.
fn serve(answer: Answer) -> (String, Arc<Mutex<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Seen::default()));
    let shared = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || respond(stream.unwrap(), answer, &shared));
        }
    });
    (address, seen)
}

fn respond(mut stream: TcpStream, answer: Answer, seen: &Mutex<Seen>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let (head, body) = loop {
        let read = stream.read(&mut buffer).unwrap_or(0);
        if read == 0 {
            return;
        }
        bytes.extend(&buffer[..read]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap().trim().parse().unwrap();
        if bytes.len() >= end + 4 + length {
            break (head, bytes[end + 4..].to_vec());
        }
    };
    let body: Value = serde_json::from_slice(&body).unwrap();
    let content = &body["messages"][0]["content"];
    let url = content[0]["image_url"]["url"].as_str().unwrap();
    let image = url.strip_prefix("data:image/png;base64,").unwrap();
    let image = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, image).unwrap();
    let red = image::load_from_memory(&image)
        .unwrap()
        .to_rgb8()
        .get_pixel(0, 0)[0];
    let is_chinese = !content[1]["text"].as_str().unwrap().is_ascii();
    let attempt = {
        let mut seen = seen.lock().unwrap();
        seen.times.push(Instant::now());
        let key = head
            .lines()
            .find_map(|line| line.strip_prefix("authorization: "));
        seen.keys.extend(key.map(str::to_owned));
        let attempt = seen.attempts.entry((red, is_chinese)).or_default();
        *attempt += 1;
        *attempt
    };
    let _ = stream.write_all(answer(red, attempt).as_bytes());
}

fn reply(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}

fn caption(text: &str) -> String {
    let answer = json!({"choices": [{"message": {"role": "assistant", "content": text}}]});
    reply("200 OK", "", &answer.to_string())
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
    let text = fs::read_to_string(folder.join("recaptions.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn every_misbehavior_is_outlived() {
    let (server, seen) = serve(|red, attempt| match (red, attempt) {
        (0, 1) => reply("429 Too Many Requests", "retry-after: 1\r\n", "slow down"),
        (1, 1 | 2) => reply("500 Internal Server Error", "", "oh"),
        // Promises more than it sends.
        (2, 1) => "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"choices\": [".to_owned(),
        (3, 1) => {
            std::thread::sleep(Duration::from_millis(1500));
            caption("too late")
        }
        (4, 1) => reply("200 OK", "", "{\"choices\": [{\"message\""),
        (5, 1) => caption("   "),
        // Not HTTP.
        (6, 1) => "hello\r\n\r\n".to_owned(),
        // No answer at all.
        (7, 1) => String::new(),
        (8, 1) => reply("200 OK", "", "{\"choices\": []}"),
        _ => caption(&format!("caption {red}")),
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
    assert_eq!(seen.lock().unwrap().attempts[&(1, false)], 3);
    assert!(!folder.path().join("recaptions.unfinished.jsonl").exists());
}

#[test]
fn what_fails_is_named_and_asked_for_again_by_the_next_run() {
    let (server, _) = serve(|red, attempt| match (red, attempt) {
        (1, 1..=2) => reply("503 Service Unavailable", "", ""),
        (2, 1) => reply("400 Bad Request", "", "no \u{1b}[2J"),
        _ => caption("fine"),
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
    let (server, seen) = serve(|red, _| match red {
        0 => caption("fine"),
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
    let (server, seen) = serve(|_, _| caption("fine"));
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
