//! Requests to a server with OpenAI's chat format: checks answers, and repeats failures.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::HeaderValue;

/// Maximum size of a whole answer, in bytes.
const MOST_ANSWER_BYTES: u64 = 1 << 20;

/// Maximum size of the text in an answer, in bytes.
const MOST_TEXT_BYTES: usize = 8192;

/// Longest wait that a server may request.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Settings of the requests.
#[derive(Debug)]
pub struct Settings {
    /// Address of the completions endpoint.
    pub address: String,
    /// Name of the model.
    pub model: String,
    /// Value of the header `Authorization`, marked as sensitive: it is never printed.
    pub authorization: Option<HeaderValue>,
    /// Timeout of a request.
    pub timeout: Duration,
    /// Maximum number of times that a request is repeated.
    pub retries: u32,
    /// Wait before the first repetition; it doubles each time.
    pub backoff: Duration,
    /// Minimum time between two requests.
    pub interval: Duration,
    /// Maximum number of tokens of an answer.
    pub max_tokens: u32,
}

/// Failure of a request about an image.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// This image has no answer. Other images may succeed.
    Image(String),
    /// No request can succeed.
    Server(String),
}

/// Connection to a server, shared by all threads.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    agent: Agent,
    /// Time at which the next request may be made.
    next: Mutex<Instant>,
}

/// Failure of an attempt.
enum Attempt {
    Again(String, Option<Duration>),
    Never(Failure),
}

impl Client {
    /// Creates a client.
    pub fn new(settings: Settings) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(settings.timeout))
            .http_status_as_error(false)
            // The key is for this server.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build();
        Self {
            settings,
            agent: config.into(),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Asks the model about an image, given as a data URL. Returns the text of its answer.
    ///
    /// # Errors
    /// Returns the reason if all attempts fail.
    pub fn ask(&self, instruction: &str, image: &str) -> Result<String, Failure> {
        let body = json!({
            "model": self.settings.model,
            "max_tokens": self.settings.max_tokens,
            "temperature": 0,
            "messages": [{
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": image}},
                    {"type": "text", "text": instruction},
                ],
            }],
        });
        let mut backoff = self.settings.backoff;
        let mut attempt = 0;
        loop {
            self.wait_for_turn();
            let (problem, asked) = match self.request(&body) {
                Ok(answer) => return Ok(answer),
                Err(Attempt::Never(failure)) => return Err(failure),
                Err(Attempt::Again(problem, asked)) => (problem, asked),
            };
            if attempt == self.settings.retries {
                return Err(Failure::Image(format!(
                    "{problem} ({} attempts)",
                    attempt + 1
                )));
            }
            attempt += 1;
            // Threads that failed together must not come back together.
            let jitter = backoff.mul_f64(0.5 + fastrand::f64());
            std::thread::sleep(asked.unwrap_or(jitter).min(LONGEST_WAIT));
            backoff = (backoff * 2).min(LONGEST_WAIT);
        }
    }

    /// Waits until the rate limit allows a request.
    fn wait_for_turn(&self) {
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(Instant::now());
            *next = turn + self.settings.interval;
            turn
        };
        std::thread::sleep(turn.saturating_duration_since(Instant::now()));
    }

    fn request(&self, body: &Value) -> Result<String, Attempt> {
        let again = |problem: String| Attempt::Again(problem, None);
        let mut request = self.agent.post(&self.settings.address);
        if let Some(authorization) = &self.settings.authorization {
            request = request.header("authorization", authorization);
        }
        let response = request
            .send_json(body)
            .map_err(|error| again(error.to_string()))?;
        let status = response.status().as_u16();
        let asked = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok());
        let asked = asked
            .and_then(|value| value.trim().parse().ok())
            .map(Duration::from_secs);
        let mut body = response.into_body();
        let bytes = body.with_config().limit(MOST_ANSWER_BYTES).read_to_vec();
        match status {
            200 => {}
            408 | 425 | 429 | 500..=599 => {
                return Err(Attempt::Again(
                    format!("the server answers {status}"),
                    asked,
                ));
            }
            400 | 413 | 415 | 422 => {
                let said = said(&bytes.unwrap_or_default());
                let problem = format!("the server refuses it with {status}: {said}");
                return Err(Attempt::Never(Failure::Image(problem)));
            }
            _ => {
                let said = said(&bytes.unwrap_or_default());
                let problem = format!("the server answers {status}: {said}");
                return Err(Attempt::Never(Failure::Server(problem)));
            }
        }
        let bytes = bytes.map_err(|error| again(format!("the answer broke off: {error}")))?;
        let answer: Value = serde_json::from_slice(&bytes)
            .map_err(|error| again(format!("the answer is not JSON: {error}")))?;
        read(&answer).map_err(|problem| again(problem.to_owned()))
    }
}

/// Returns the beginning of a server's answer.
fn said(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().take(200).collect()
}

/// Reads the text of an answer.
fn read(answer: &Value) -> Result<String, &'static str> {
    let choice = &answer["choices"][0];
    if choice["finish_reason"] == "length" {
        return Err("the text was cut off: raise --max-tokens");
    }
    let text = match &choice["message"]["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect(),
        _ => return Err("the answer has no text"),
    };
    // Models that think say so first.
    let text = text.rsplit("</think>").next().unwrap_or_default().trim();
    let quoted = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let text = quoted
        .filter(|text| !text.contains('"'))
        .unwrap_or(text)
        .trim();
    if text.is_empty() {
        return Err("the text is empty");
    }
    if text.len() > MOST_TEXT_BYTES {
        return Err("the text is too long");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(content: Value) -> Result<String, &'static str> {
        read(&json!({"choices": [{"message": {"content": content}}]}))
    }

    #[test]
    fn texts_are_read_from_all_forms_of_answers() {
        assert_eq!(
            content("\"A red sign.\"\n".into()),
            Ok("A red sign.".to_owned())
        );
        assert_eq!(
            content("\"A\" and \"B\"".into()),
            Ok("\"A\" and \"B\"".to_owned())
        );
        assert_eq!(
            content("<think>hm</think> A cat".into()),
            Ok("A cat".to_owned())
        );
        assert_eq!(
            content(json!([{"type": "text", "text": "A"}])),
            Ok("A".to_owned())
        );
        for bad in [
            json!(""),
            json!("  "),
            json!(null),
            json!({}),
            "x".repeat(9000).into(),
        ] {
            assert!(content(bad).is_err());
        }
        assert!(read(&json!([])).is_err());
    }
}
