//! Records of how an image was made, stored in the image's file.
//!
//! [`parameters`] is the text that other programs understand, [`names`] translates what they call
//! samplers and schedules, [`second_pass`] what they say of a second pass. [`inputs`] lists the files
//! that were read. [`portable`] keeps
//! folders of this machine out of the files. This file holds the record of this program's own
//! images, from which they are made again.

pub mod hashes;
pub mod inputs;
pub mod names;
pub mod parameters;
pub mod portable;
pub mod second_pass;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use image::RgbImage;
use ovis_image::GenerationRequest;
use ovis_image::GenerationSettings;
use serde::{Deserialize, Serialize};

use super::image_file::png_text::{PARAMETERS_KEYWORD, SETTINGS_KEYWORD};
use super::image_file::{ImageFormat, exif_text, png_text};
use hashes::Hashes;
pub use inputs::{InputRole, Inputs};
use parameters::Parameters;

/// Settings and input files of one image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Settings that the library used.
    #[serde(flatten)]
    pub settings: GenerationSettings,
    /// Name of the model.
    #[serde(default)]
    pub model: String,
    /// Position of the image among those of its run.
    #[serde(default)]
    pub index: usize,
    /// Number of images of the run.
    #[serde(default)]
    pub count: usize,
    /// Files that were read.
    #[serde(default)]
    pub inputs: Inputs,
    /// Hashes of these files.
    #[serde(default)]
    pub hashes: Hashes,
    /// Prompts as they were written, where wildcards were drawn.
    #[serde(default, skip_serializing_if = "PromptTemplate::is_empty")]
    pub template: PromptTemplate,
}

/// Prompts of an image as they were written. Each is absent where the prompt is the same.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PromptTemplate {
    /// Prompt.
    pub prompt: Option<String>,
    /// Negative prompt.
    pub negative_prompt: Option<String>,
}

impl PromptTemplate {
    /// Returns whether both prompts are as they were written.
    pub fn is_empty(&self) -> bool {
        self.prompt.is_none() && self.negative_prompt.is_none()
    }
}

/// Information in an image about how it was made.
#[derive(Debug, Clone)]
pub enum Origin {
    /// The full record of an image of this program.
    Record(Box<Record>),
    /// The text `parameters` of another program's image.
    Parameters(Box<Parameters>),
}

impl Origin {
    /// Reads the texts of an image.
    ///
    /// # Errors
    /// Returns an error that names the file if it has neither text, or is none of PNG, JPEG and
    /// WebP.
    pub fn read(path: &Path) -> Result<Self> {
        if let Some(text) = exif_text::read(path) {
            return Ok(Self::Parameters(Box::new(Parameters::parse(&text))));
        }
        let texts = png_text::read(path)?;
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
    /// Encodes an image with this record and with what other programs understand of it. Formats
    /// other than PNG carry only the latter.
    ///
    /// # Errors
    /// Returns the encoder's error.
    pub fn encode(&self, format: ImageFormat, image: &RgbImage) -> Result<Vec<u8>> {
        let parameters = Parameters::from(self).to_string();
        let settings = serde_json::to_string(self)?;
        format.encode(
            image,
            &[
                (PARAMETERS_KEYWORD, parameters),
                (SETTINGS_KEYWORD, settings),
            ],
        )
    }

    /// Makes the request that generates the image again, and says which of its images that is.
    ///
    /// # Errors
    /// Returns an error if the run has no image with this index.
    pub fn request(&self) -> Result<(GenerationRequest, usize)> {
        let mut settings = self.settings.clone();
        let parameters = &mut settings.parameters;
        // The noise of a shared seed was drawn for all images in turn, and custom noise is a
        // file's, with the noise of all images.
        let is_noise_given = parameters.seeds.is_empty() || self.inputs.latents.is_some();
        if (parameters.is_seed_shared || is_noise_given) && self.count > 1 {
            let request = GenerationRequest::from_settings(&settings);
            ensure!(
                self.index < request.num_images(),
                "the image says that it is number {} of {}",
                self.index,
                request.num_images()
            );
            return Ok((request, self.index));
        }
        let prompt = self.prompt_index();
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

    fn prompt_index(&self) -> usize {
        self.index / self.settings.parameters.images_per_prompt.max(1)
    }
}

impl From<&Record> for Parameters {
    fn from(record: &Record) -> Self {
        let settings = &record.settings.parameters;
        let prompt = settings.prompts.get(record.prompt_index());
        let negative = settings
            .negative_prompts
            .get(record.prompt_index())
            .or(settings.negative_prompts.first());
        let mut others = BTreeMap::new();
        let mut add = |name: &str, value: String| others.insert(name.to_owned(), value);
        add(
            "Version",
            concat!("ovis-image ", env!("CARGO_PKG_VERSION")).to_owned(),
        );
        if let Some(source) = record.settings.source {
            add("Denoising strength", source.strength.to_string());
        }
        // The names are those of A1111's dynamic prompts.
        let template = &record.template;
        for (name, text) in [
            ("Template", &template.prompt),
            ("Negative Template", &template.negative_prompt),
        ] {
            if let Some(text) = text {
                add(name, text.clone());
            }
        }
        for (name, value) in second_pass::fields(&record.settings) {
            add(name, value);
        }
        if record.count > 1 {
            // The noise of a shared seed depends on the position in the batch.
            add("Batch size", record.count.to_string());
            add("Batch pos", record.index.to_string());
        }
        Self {
            prompt: prompt.cloned().unwrap_or_default(),
            negative_prompt: negative.filter(|prompt| !prompt.is_empty()).cloned(),
            steps: Some(settings.num_inference_steps),
            sampler: Some(names::of_sampler(settings.sampler)),
            schedule_type: Some(names::of_schedule(
                &settings.schedule.to_string(),
                settings.sigma_spacing,
            )),
            guidance_scale: Some(settings.guidance.scale),
            // With noise from a file, a seed is only that of a sampler that adds noise.
            seed: match record.inputs.latents {
                Some(_) => None,
                None => settings.seeds.get(record.index).copied(),
            },
            width: Some(settings.width),
            height: Some(settings.height),
            model: Some(record.model.clone()).filter(|model| !model.is_empty()),
            others,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of 512x768 as this program says it was made.
    fn record(prompt: &str, negative: &str) -> Record {
        let settings = serde_json::json!({
            "prompts": [prompt], "negative_prompts": [negative], "prompt_reports": [],
            "width": 512, "height": 768, "num_inference_steps": 20, "guidance_scale": 3.5,
            "images_per_prompt": 1, "seeds": [5], "schedule": "shift:3", "sigmas": [1.0, 0.0],
            "dtype": "bf16", "vae_dtype": "f32", "loras": [], "vae_tiling": null, "backend": "flex",
            "model": "folder, with: commas", "index": 0, "count": 1,
        });
        serde_json::from_value(settings).unwrap()
    }

    fn file(record: &Record) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            &file,
            record
                .encode(ImageFormat::Png, &RgbImage::new(1, 1))
                .unwrap(),
        )
        .unwrap();
        file
    }

    #[test]
    fn what_this_program_writes_is_read_back() {
        let record = record(
            "a cat,\nSteps: of marble",
            "blurry\nNegative prompt: dogs, 猫",
        );
        let image = file(&record);
        let texts = png_text::read(image.path()).unwrap();
        let parameters = Parameters::parse(&texts[PARAMETERS_KEYWORD]);
        let version = concat!("ovis-image ", env!("CARGO_PKG_VERSION"));
        let expected = Parameters {
            prompt: "a cat,\nSteps: of marble".to_owned(),
            negative_prompt: Some("blurry\nNegative prompt: dogs, 猫".to_owned()),
            steps: Some(20),
            sampler: Some("Euler".to_owned()),
            schedule_type: Some("shift:3".to_owned()),
            guidance_scale: Some(3.5),
            seed: Some(5),
            width: Some(512),
            height: Some(768),
            model: Some("folder, with: commas".to_owned()),
            others: BTreeMap::from([("Version".to_owned(), version.to_owned())]),
        };
        assert_eq!(parameters, expected);
        let Origin::Record(read) = Origin::read(image.path()).unwrap() else {
            panic!("the image has a record");
        };
        assert_eq!(
            read.settings.parameters.prompts,
            record.settings.parameters.prompts
        );
    }

    #[test]
    fn an_image_of_a_batch_says_which_it_is() {
        let mut record = record("a cat", "");
        record.count = 3;
        record.index = 2;
        let parameters = Parameters::from(&record);
        assert_eq!(parameters.others["Batch size"], "3");
        assert_eq!(parameters.others["Batch pos"], "2");
    }
}
