use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::open::{Checkpoint, TokenizerFile};
use crate::error::{OvisImageError, Result};
use crate::text_encoder::PromptTokenizer;

/// A tokenizer that is parsed on its own thread while the weights are prepared. The first use waits
/// for it. Parsing the release's tokenizer takes longer than mapping its weights.
#[derive(Debug, Clone)]
pub(crate) struct PendingTokenizer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: TokenizerFile,
    /// Number of ids in the text encoder's table.
    vocab_size: usize,
    parsing: Mutex<Option<JoinHandle<Result<PromptTokenizer>>>>,
    parsed: OnceLock<PromptTokenizer>,
}

impl PendingTokenizer {
    /// Starts parsing a checkpoint's tokenizer.
    pub(crate) fn start(checkpoint: &Checkpoint) -> Self {
        let file = checkpoint.tokenizer.clone();
        let vocab_size = checkpoint.text_encoder.config.vocab_size;
        // If no thread can be started, the tokenizer is parsed on first use.
        let parsing = Builder::new()
            .name("tokenizer".into())
            .spawn({
                let file = file.clone();
                move || read(&file, vocab_size)
            })
            .ok();
        Self {
            shared: Arc::new(Shared {
                file,
                vocab_size,
                parsing: Mutex::new(parsing),
                parsed: OnceLock::new(),
            }),
        }
    }

    /// Returns the tokenizer, or the error in its file.
    pub(crate) fn get(&self) -> Result<&PromptTokenizer> {
        let shared = &*self.shared;
        if let Some(parsed) = shared.parsed.get() {
            return Ok(parsed);
        }
        // The lock is held while waiting, so that a second caller finds the result. A panic of a
        // holder leaves no partial state behind.
        let mut parsing = shared
            .parsing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(parsed) = shared.parsed.get() {
            return Ok(parsed);
        }
        let tokenizer = match parsing.take().and_then(|thread| thread.join().ok()) {
            Some(result) => result?,
            // Called again after an error: reading again returns the same error.
            None => read(&shared.file, shared.vocab_size)?,
        };
        Ok(shared.parsed.get_or_init(|| tokenizer))
    }
}

fn read(file: &TokenizerFile, vocab_size: usize) -> Result<PromptTokenizer> {
    let tokenizer = match file {
        TokenizerFile::Path(path) => PromptTokenizer::from_file(path)?,
        TokenizerFile::Static(bytes) => PromptTokenizer::from_bytes(bytes, file.name())?,
    };
    if tokenizer.vocab_size() > vocab_size {
        return Err(OvisImageError::config(
            "text encoder",
            format!(
                "vocab_size = {vocab_size}, but the tokenizer has {} ids: they belong to different models",
                tokenizer.vocab_size()
            ),
        ));
    }
    Ok(tokenizer)
}
