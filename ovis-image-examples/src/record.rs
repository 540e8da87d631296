//! How a picture was made, as it stands in the picture, to make it again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ovis_image::GenerationRequest;
use ovis_image::GenerationSettings;
use serde::{Deserialize, Serialize};

use crate::parameters::{Parameters, read_text_chunks};
use crate::png::{PARAMETERS_KEYWORD, SETTINGS_KEYWORD};

/// Settings and files of one picture.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// What the library was asked.
    #[serde(flatten)]
    pub settings: GenerationSettings,
    /// What the model is called.
    #[serde(default)]
    pub model: String,
    /// Which picture of the run it is.
    #[serde(default)]
    pub index: usize,
    /// How many there were.
    #[serde(default)]
    pub count: usize,
    /// What was read.
    #[serde(default)]
    pub inputs: Inputs,
}

/// The arguments that decide what a picture looks like and are not in the settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Inputs {
    /// `--model`.
    pub model: Option<PathBuf>,
    /// `--transformer`.
    pub transformer: Option<PathBuf>,
    /// `--vae`.
    pub vae: Option<PathBuf>,
    /// `--text-encoder`.
    pub text_encoder: Option<PathBuf>,
    /// `--tokenizer`.
    pub tokenizer: Option<PathBuf>,
    /// Each `--lora`.
    pub loras: Vec<String>,
    /// `--merge-loras`.
    pub merge_loras: bool,
    /// `--quantize`.
    pub quantize: Option<String>,
    /// `--protect-double-blocks`.
    pub protect_double_blocks: bool,
    /// `--init-image`.
    pub init_image: Option<PathBuf>,
    /// `--mask`.
    pub mask: Option<PathBuf>,
    /// `--latents`.
    pub latents: Option<PathBuf>,
}

/// What a picture says about how it was made.
#[derive(Debug, Clone)]
pub enum Origin {
    /// All of it: it is this program's.
    Record(Box<Record>),
    /// What other programs say in the form of AUTOMATIC1111's web UI.
    Parameters(Box<Parameters>),
}

impl Origin {
    /// Reads it from a picture.
    ///
    /// # Errors
    /// For files that are no PNG or have neither text, with the path.
    pub fn read(path: &Path) -> Result<Self> {
        let texts = read_text_chunks(path)?;
        if let Some(text) = texts.get(SETTINGS_KEYWORD) {
            let record = serde_json::from_str(text);
            return Ok(Self::Record(record.with_context(|| {
                format!("the text `{SETTINGS_KEYWORD}` of {}", path.display())
            })?));
        }
        match texts.get(PARAMETERS_KEYWORD) {
            Some(text) => Ok(Self::Parameters(Box::new(Parameters::parse(text)))),
            None => bail!(
                "{} does not say how it was made: it has neither a text `{SETTINGS_KEYWORD}` nor `{PARAMETERS_KEYWORD}`",
                path.display()
            ),
        }
    }
}

impl Record {
    /// The picture's request, and which of its images it is.
    ///
    /// # Errors
    /// For a picture that is none of its run.
    pub fn request(&self) -> Result<(GenerationRequest, usize)> {
        let mut settings = self.settings.clone();
        let parameters = &mut settings.parameters;
        // The noise of a shared seed was drawn for all pictures, one after another; own noise is a file's.
        if (parameters.is_seed_shared || parameters.seeds.is_empty()) && self.count > 1 {
            let request = GenerationRequest::from_settings(&settings);
            ensure!(
                self.index < request.num_images(),
                "the picture says that it is number {} of {}",
                self.index,
                request.num_images()
            );
            return Ok((request, self.index));
        }
        let prompt = self.index / parameters.images_per_prompt.max(1);
        let alone = |texts: &mut Vec<String>| {
            if texts.len() > 1 && prompt < texts.len() {
                texts.swap(0, prompt);
                texts.truncate(1);
            }
        };
        alone(&mut parameters.prompts);
        alone(&mut parameters.negative_prompts);
        parameters.images_per_prompt = 1;
        if let Some(seed) = parameters.seeds.get(self.index).copied() {
            parameters.seeds = vec![seed];
        }
        Ok((GenerationRequest::from_settings(&settings), 0))
    }
}
