//! `dataset recaption`: captions in two languages from a vision-language model behind HTTP.

mod client;
mod journal;
#[cfg(test)]
mod tests;
mod upload;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde_json::{Map, Value};

use super::ingest::{Budget, Decoding};
use super::manifest::{Joined, LineWriter, Row, Rows, file_in, image_path};
use crate::shared::program::print;
use crate::shared::terminal::printable_lines;
use crate::shared::usage::UsageError;
use client::{Client, Failure, Settings};
use journal::Journal;
use ureq::http::HeaderValue;

/// Number of consecutive failures, without a caption between them, that end a run.
const MOST_FAILURES_IN_A_ROW: u64 = 20;

/// Requests captions of a manifest's images from a vision-language model.
///
/// The server speaks OpenAI's chat format (vLLM, SGLang, llama.cpp, Ollama). Writes
/// recaptions.jsonl, which `dataset ingest --recaptions` joins. A second run requests only the
/// missing captions.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Manifest, or its folder
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
    /// Address of the server, for example http://localhost:8000/v1
    #[arg(long, value_name = "URL")]
    server: String,
    /// Name of the model
    #[arg(long, value_name = "NAME")]
    model: String,
    /// Languages of the captions
    #[arg(long, value_delimiter = ',', default_value = "en,zh")]
    languages: Vec<Language>,
    /// Environment variable that contains the server's API key
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    /// Instruction for English captions
    #[arg(long, value_name = "TEXT")]
    instruction_en: Option<String>,
    /// Instruction for Chinese captions
    #[arg(long, value_name = "TEXT")]
    instruction_zh: Option<String>,
    /// Number of concurrent requests
    #[arg(long, value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=256))]
    concurrency: u32,
    /// Maximum number of requests per second [default: no limit]
    #[arg(long, value_name = "N")]
    max_rate: Option<f64>,
    /// Maximum number of times that a failed request is repeated
    #[arg(long, value_name = "N", default_value_t = 5)]
    retries: u32,
    /// Wait before the first repetition, in seconds; it doubles each time
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    backoff: f64,
    /// Timeout of a request, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120.0)]
    timeout: f64,
    /// Maximum number of tokens of a caption
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_tokens: u32,
    /// Maximum length of the longer side of the images that are sent
    #[arg(long, value_name = "PIXELS", default_value_t = 1024,
        value_parser = clap::value_parser!(u32).range(64..=8192))]
    max_side: u32,
}

/// Language of a caption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// English
    En,
    /// Chinese
    Zh,
}

impl Language {
    fn field(self) -> &'static str {
        match self {
            Self::En => "caption_en",
            Self::Zh => "caption_zh",
        }
    }

    fn instruction(self) -> &'static str {
        match self {
            Self::En => {
                "Describe this image in English in one paragraph: subjects, their looks and places, \
                 colors, style. Quote all text that it shows, letter by letter, in double quotes. \
                 Answer with the description only."
            }
            Self::Zh => {
                "用一段中文描述这张图片:主体、外观、位置、颜色和风格。图中出现的所有文字都要逐字写在双引号里。只回答描述本身。"
            }
        }
    }
}

/// Requests the captions.
///
/// # Errors
/// Returns an error if an argument is wrong, the server refuses every request, or images remain
/// without a caption.
pub fn run(arguments: Arguments) -> Result<()> {
    let settings = settings(&arguments)?;
    let manifest = file_in(&arguments.manifest);
    let finished = manifest.with_file_name("recaptions.jsonl");
    let unfinished = manifest.with_file_name("recaptions.unfinished.jsonl");
    let rows = Rows::open(&manifest)?;
    let journal = Journal::open(&unfinished)?;
    let known = [known(&unfinished)?, known(&finished)?];
    let run = Run {
        known: known.into_iter().flatten().collect(),
        client: Client::new(settings),
        journal,
        decoding: Decoding {
            most_pixels: 256 << 20,
            budget: Budget::new(448 << 20),
        },
        manifest: manifest.clone(),
        arguments,
        rows: Mutex::new(rows),
        failures: Mutex::new(BTreeMap::new()),
        in_a_row: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    };
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..run.arguments.concurrency)
            .map(|_| scope.spawn(|| run.work()))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|result| result.unwrap_or_else(|_| bail!("a thread panicked")))
            .collect()
    });
    let failures = run
        .failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let written = gather(&manifest, &unfinished, &finished)?;
    results.into_iter().collect::<Result<()>>()?;
    print(format!("{written} captions in {}\n", finished.display()).as_bytes())?;
    if failures.is_empty() {
        return Ok(());
    }
    let examples: Vec<String> = failures
        .iter()
        .take(5)
        .map(|(id, reason)| printable_lines(&format!("`{id}`: {reason}")))
        .collect();
    bail!(
        "{} images have no caption, run again to ask for them: {}",
        failures.len(),
        examples.join("; ")
    )
}

fn settings(arguments: &Arguments) -> Result<Settings> {
    let server = arguments.server.trim_end_matches('/');
    ensure!(
        server.starts_with("http://") || server.starts_with("https://"),
        UsageError::new(format!(
            "invalid --server `{server}`: it must start with http:// or https://"
        ))
    );
    let seconds = |name: &str, value: f64| {
        Duration::try_from_secs_f64(value)
            .ok()
            .filter(|duration| duration.as_secs() < 86_400)
            .with_context(|| {
                UsageError::new(format!(
                    "invalid {name} {value}: it must be from 0 to 86400"
                ))
            })
    };
    let interval = match arguments.max_rate {
        None => Duration::ZERO,
        Some(rate) => seconds("--max-rate", 1.0 / rate)?,
    };
    let authorization = arguments
        .api_key_env
        .as_ref()
        .map(|name| -> Result<HeaderValue> {
            let key = std::env::var(name)
                .ok()
                .filter(|key| !key.trim().is_empty());
            let missing =
                || UsageError::new(format!("--api-key-env: the variable {name} is not set"));
            let bearer = format!("Bearer {}", key.with_context(missing)?.trim());
            let invalid =
                || UsageError::new(format!("--api-key-env: the variable {name} is not a key"));
            let mut value = HeaderValue::from_str(&bearer).ok().with_context(invalid)?;
            value.set_sensitive(true);
            Ok(value)
        });
    Ok(Settings {
        address: if server.ends_with("/chat/completions") {
            server.to_owned()
        } else {
            format!("{server}/chat/completions")
        },
        model: arguments.model.clone(),
        authorization: authorization.transpose()?,
        timeout: seconds("--timeout", arguments.timeout)?,
        retries: arguments.retries,
        backoff: seconds("--backoff", arguments.backoff)?,
        interval,
        max_tokens: arguments.max_tokens,
    })
}

/// Opens the captions of earlier runs.
fn known(path: &Path) -> Result<Option<Joined>> {
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(Joined::open(path)?))
}

/// State shared by all threads.
struct Run {
    arguments: Arguments,
    manifest: PathBuf,
    client: Client,
    decoding: Decoding,
    known: Vec<Joined>,
    journal: Journal,
    rows: Mutex<Rows>,
    failures: Mutex<BTreeMap<String, String>>,
    in_a_row: AtomicU64,
    is_over: AtomicBool,
}

impl Run {
    /// Takes rows until none are left, or until no request can succeed.
    fn work(&self) -> Result<()> {
        while !self.is_over.load(Ordering::Relaxed) {
            let row = self
                .rows
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next();
            let Some(row) = row else {
                break;
            };
            self.caption(&row?)
                .inspect_err(|_| self.is_over.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    }

    fn caption(&self, row: &Row) -> Result<()> {
        if self.is_known(&row.id)? {
            return Ok(());
        }
        let mut line = Map::new();
        line.insert("id".to_owned(), row.id.clone().into());
        match self.ask(row, &mut line) {
            Ok(()) => {
                self.in_a_row.store(0, Ordering::Relaxed);
                Ok(self.journal.add(&line)?)
            }
            Err(Failure::Server(problem)) => bail!("{}: {problem}", self.arguments.server),
            Err(Failure::Image(problem)) => {
                let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
                failures.insert(row.id.clone(), problem.clone());
                let in_a_row = self.in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
                ensure!(
                    in_a_row < MOST_FAILURES_IN_A_ROW,
                    "{in_a_row} images failed one after another, the last with: {problem}"
                );
                Ok(())
            }
        }
    }

    fn is_known(&self, id: &str) -> Result<bool> {
        for known in &self.known {
            let Some(line) = known.find(id)? else {
                continue;
            };
            if self
                .arguments
                .languages
                .iter()
                .all(|language| line.contains_key(language.field()))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn ask(&self, row: &Row, line: &mut Map<String, Value>) -> Result<(), Failure> {
        let path = image_path(&self.manifest, row);
        let image = upload::data_url(&path, self.arguments.max_side, &self.decoding)
            .map_err(|problem| Failure::Image(format!("cannot send the image: {problem}")))?;
        for language in &self.arguments.languages {
            let own = match language {
                Language::En => &self.arguments.instruction_en,
                Language::Zh => &self.arguments.instruction_zh,
            };
            let instruction = own.as_deref().unwrap_or_else(|| language.instruction());
            let caption = self.client.caption(instruction, &image)?;
            line.insert(language.field().to_owned(), caption.into());
        }
        Ok(())
    }
}

/// Writes all captions in the order of the manifest, and removes the journal.
fn gather(manifest: &Path, unfinished: &Path, finished: &Path) -> Result<u64> {
    let sources: Vec<Joined> = [known(finished)?, known(unfinished)?]
        .into_iter()
        .flatten()
        .collect();
    let mut writer = LineWriter::create(finished)?;
    let mut written = 0;
    for row in Rows::open(manifest)? {
        let row = row?;
        let mut merged = Map::new();
        for source in &sources {
            merged.extend(source.find(&row.id)?.unwrap_or_default());
        }
        if !merged.is_empty() {
            writer.write(&merged)?;
            written += 1;
        }
    }
    writer.finish()?;
    fs::remove_file(unfinished)
        .with_context(|| format!("cannot remove {}", unfinished.display()))?;
    Ok(written)
}
