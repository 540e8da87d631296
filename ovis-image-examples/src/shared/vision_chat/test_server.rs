//! Local server for tests, which may misbehave.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};

/// Requests that the server received.
#[derive(Debug, Default)]
pub struct Seen {
    /// Number of requests by the red value of the image's only color and the text.
    pub attempts: HashMap<(u8, String), u32>,
    /// Time of each request.
    pub times: Vec<Instant>,
    /// Values of the header `Authorization`.
    pub keys: Vec<String>,
}

/// Request for an answer.
#[derive(Debug)]
pub struct Request {
    /// Red value of the image's first pixel.
    pub red: u8,
    /// Instruction or question.
    pub text: String,
    /// Number of requests with this image and text so far, from 1.
    pub attempt: u32,
}

/// Returns the bytes that the server sends.
pub type Answer = fn(&Request) -> String;

/// Starts a server, which runs until the test ends. Returns its address.
pub fn serve(answer: Answer) -> (String, Arc<Mutex<Seen>>) {
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
    let (_, image) = url.split_once(";base64,").unwrap();
    let image = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, image).unwrap();
    let red = image::load_from_memory(&image)
        .unwrap()
        .to_rgb8()
        .get_pixel(0, 0)[0];
    let text = content[1]["text"].as_str().unwrap().to_owned();
    let attempt = {
        let mut seen = seen.lock().unwrap();
        seen.times.push(Instant::now());
        let key = head
            .lines()
            .find_map(|line| line.strip_prefix("authorization: "));
        seen.keys.extend(key.map(str::to_owned));
        let attempt = seen.attempts.entry((red, text.clone())).or_default();
        *attempt += 1;
        *attempt
    };
    let request = Request { red, text, attempt };
    let _ = stream.write_all(answer(&request).as_bytes());
}

/// Returns an answer with a status, headers that each end in a line break, and a body.
pub fn reply(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}

/// Returns an answer with a text of the model.
pub fn says(text: &str) -> String {
    let answer = json!({"choices": [{"message": {"role": "assistant", "content": text}}]});
    reply("200 OK", "", &answer.to_string())
}

/// Reads a file of JSON lines, which a program under test wrote.
pub fn json_lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
