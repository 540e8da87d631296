//! `dataset recaption`: captions in two languages from a vision-language model behind HTTP.

#[cfg(test)]
mod tests;
mod upload;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::{Map, Value};

use super::ingest::{Budget, Decoding};
use super::manifest::{Joined, Journal, LineWriter, Row, Rows, file_in, image_path};
use crate::shared::program::print;
use crate::shared::vision_chat::{self, Client, Failure, ServerArguments};

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
    /// Server and limits.
    #[command(flatten)]
    server: ServerArguments,
    /// Languages of the captions
    #[arg(long, value_delimiter = ',', default_value = "en,zh")]
    languages: Vec<Language>,
    /// Instruction for English captions
    #[arg(long, value_name = "TEXT")]
    instruction_en: Option<String>,
    /// Instruction for Chinese captions
    #[arg(long, value_name = "TEXT")]
    instruction_zh: Option<String>,
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
    let client = Client::new(arguments.server.settings()?);
    let manifest = file_in(&arguments.manifest);
    let finished = manifest.with_file_name("recaptions.jsonl");
    let unfinished = manifest.with_file_name("recaptions.unfinished.jsonl");
    let rows = Rows::open(&manifest)?;
    let journal = Journal::open(&unfinished)?;
    let known = [known(&unfinished)?, known(&finished)?];
    let run = Run {
        known: known.into_iter().flatten().collect(),
        client,
        journal,
        decoding: Decoding {
            most_pixels: 256 << 20,
            budget: Budget::new(448 << 20),
        },
        manifest: manifest.clone(),
        arguments,
    };
    let server = &run.arguments.server;
    let (failures, result) = vision_chat::for_each(
        server.concurrency,
        &server.server,
        rows.map(|row| Ok(row?)),
        |row| row.id.clone(),
        |row| run.caption(row),
    );
    let written = gather(&manifest, &unfinished, &finished)?;
    result?;
    print(format!("{written} captions in {}\n", finished.display()).as_bytes())?;
    if failures.is_empty() {
        return Ok(());
    }
    bail!(
        "{} images have no caption, run again to ask for them: {}",
        failures.len(),
        failures.examples()
    )
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
}

impl Run {
    /// Requests the missing captions of an image.
    fn caption(&self, row: &Row) -> Result<Result<(), Failure>> {
        if self.is_known(&row.id)? {
            return Ok(Ok(()));
        }
        let mut line = Map::new();
        line.insert("id".to_owned(), row.id.clone().into());
        let asked = self.ask(row, &mut line);
        if asked.is_ok() {
            self.journal.add(&line)?;
        }
        Ok(asked)
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
        let image = upload::data_url(&path, self.arguments.server.max_side, &self.decoding)
            .map_err(|problem| Failure::Image(format!("cannot send the image: {problem}")))?;
        for language in &self.arguments.languages {
            let own = match language {
                Language::En => &self.arguments.instruction_en,
                Language::Zh => &self.arguments.instruction_zh,
            };
            let instruction = own.as_deref().unwrap_or_else(|| language.instruction());
            let caption = self.client.ask(instruction, &image)?;
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
