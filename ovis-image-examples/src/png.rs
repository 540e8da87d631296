//! Pictures with their settings inside.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result};
use image::RgbImage;
use ovis_image::pipeline::GenerationSettings;
use ovis_image::{SamplerKind, SigmaSpacing};

use crate::record::Record;

/// Where other programs look for settings, in the form that AUTOMATIC1111's web UI began.
pub const PARAMETERS_KEYWORD: &str = "parameters";

/// Where this program's settings are, as JSON.
pub const SETTINGS_KEYWORD: &str = "ovis-image";

impl Record {
    /// Prompt, negative prompt, and the settings in one line.
    pub fn parameters(&self) -> String {
        let settings = &self.settings;
        let prompt_index = self.index / settings.images_per_prompt.max(1);
        let mut text = settings
            .prompts
            .get(prompt_index)
            .cloned()
            .unwrap_or_default();
        let negative = settings
            .negative_prompts
            .get(prompt_index)
            .or(settings.negative_prompts.first());
        if let Some(negative) = negative.filter(|prompt| !prompt.is_empty()) {
            text += &format!("\nNegative prompt: {negative}");
        }

        let mut fields = vec![
            ("Steps", settings.num_inference_steps.to_string()),
            ("Sampler", sampler_name(settings.sampler)),
            ("Schedule type", schedule_name(settings)),
            ("CFG scale", settings.guidance_scale.to_string()),
        ];
        if let Some(seed) = settings.seeds.get(self.index) {
            fields.push(("Seed", seed.to_string()));
        }
        fields.push(("Size", format!("{}x{}", settings.width, settings.height)));
        fields.push(("Model", self.model.clone()));
        if let Some(source) = settings.source {
            fields.push(("Denoising strength", source.strength.to_string()));
        }
        if self.count > 1 {
            // The noise of a shared seed depends on the place in the batch.
            fields.push(("Batch size", self.count.to_string()));
            fields.push(("Batch pos", self.index.to_string()));
        }
        fields.push((
            "Version",
            concat!("ovis-image ", env!("CARGO_PKG_VERSION")).to_owned(),
        ));
        let fields: Vec<String> = fields
            .into_iter()
            .map(|(name, value)| format!("{name}: {}", quoted(value)))
            .collect();
        text + "\n" + &fields.join(", ")
    }
}

/// The bytes of a PNG file that says how it was made.
///
/// # Errors
/// Those of the encoder.
pub fn encode(image: &RgbImage, record: &Record) -> Result<Vec<u8>> {
    let settings = serde_json::to_string(record)?;
    encode_with(
        image,
        &[
            (PARAMETERS_KEYWORD, record.parameters()),
            (SETTINGS_KEYWORD, settings),
        ],
    )
}

/// The bytes of a PNG file that was not made by one run.
///
/// # Errors
/// Those of the encoder.
pub fn encode_without_record(image: &RgbImage) -> Result<Vec<u8>> {
    encode_with(image, &[])
}

fn encode_with(image: &RgbImage, texts: &[(&str, String)]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    for (keyword, text) in texts {
        // As Pillow chooses: the plain chunk, which more programs read, holds Latin-1 only.
        if text.chars().all(|c| u32::from(c) < 0x100) {
            encoder.add_text_chunk((*keyword).to_owned(), text.clone())?;
        } else {
            encoder.add_itxt_chunk((*keyword).to_owned(), text.clone())?;
        }
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(image.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

/// The texts of a PNG file by keyword.
///
/// # Errors
/// One that names the file.
pub fn texts(path: &Path) -> Result<BTreeMap<String, String>> {
    let read = || -> Result<BTreeMap<String, String>> {
        let file = BufReader::new(File::open(path)?);
        let mut reader = png::Decoder::new_with_limits(file, LIMITS).read_info()?;
        // Texts may stand after the pixels.
        reader.finish()?;
        let info = reader.info();
        let mut texts = BTreeMap::new();
        for chunk in &info.uncompressed_latin1_text {
            texts.insert(chunk.keyword.clone(), chunk.text.clone());
        }
        for chunk in &info.compressed_latin1_text {
            texts.insert(chunk.keyword.clone(), chunk.get_text()?);
        }
        for chunk in &info.utf8_text {
            texts.insert(chunk.keyword.clone(), chunk.get_text()?);
        }
        Ok(texts)
    };
    read().with_context(|| format!("cannot read {} as a PNG", path.display()))
}

/// Larger texts are nobody's settings.
const LIMITS: png::Limits = png::Limits { bytes: 64 << 20 };

/// As AUTOMATIC1111's web UI writes it, where it has it.
fn sampler_name(sampler: SamplerKind) -> String {
    match sampler {
        SamplerKind::Euler => "Euler".to_owned(),
        SamplerKind::Heun => "Heun".to_owned(),
        SamplerKind::DpmSolver2M => "DPM++ 2M".to_owned(),
        SamplerKind::UniPc => "UniPC".to_owned(),
        SamplerKind::Lcm => "LCM".to_owned(),
        SamplerKind::EulerAncestral { eta: 1.0 } => "Euler a".to_owned(),
        other => other.to_string(),
    }
}

/// Bending, and spacing where it is not the plain one.
fn schedule_name(settings: &GenerationSettings) -> String {
    match settings.sigma_spacing {
        SigmaSpacing::Linear => settings.schedule.clone(),
        spacing => format!("{} {spacing}", settings.schedule),
    }
}

/// A value that holds a separator stands in quotes.
fn quoted(value: String) -> String {
    if value.contains([',', ':', '\n']) {
        serde_json::Value::from(value).to_string()
    } else {
        value
    }
}
