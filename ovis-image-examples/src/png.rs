//! Pictures with their settings inside.

use anyhow::Result;
use image::RgbImage;
use ovis_image::GenerationSettings;
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
        let parameters = &settings.parameters;
        let prompt_index = self.index / parameters.images_per_prompt.max(1);
        let mut text = parameters
            .prompts
            .get(prompt_index)
            .cloned()
            .unwrap_or_default();
        let negative = parameters
            .negative_prompts
            .get(prompt_index)
            .or(parameters.negative_prompts.first());
        if let Some(negative) = negative.filter(|prompt| !prompt.is_empty()) {
            text += &format!("\nNegative prompt: {negative}");
        }

        let mut fields = vec![
            ("Steps", parameters.num_inference_steps.to_string()),
            ("Sampler", sampler_name(parameters.sampler)),
            ("Schedule type", schedule_name(settings)),
            ("CFG scale", parameters.guidance.scale.to_string()),
        ];
        if let Some(seed) = parameters.seeds.get(self.index) {
            fields.push(("Seed", seed.to_string()));
        }
        fields.push((
            "Size",
            format!("{}x{}", parameters.width, parameters.height),
        ));
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

/// Samplers as AUTOMATIC1111's web UI calls them, where it has them, and as stable-diffusion.cpp does.
const SAMPLERS: [(&str, &str, SamplerKind); 6] = [
    ("Euler", "euler", SamplerKind::Euler),
    ("Heun", "heun", SamplerKind::Heun),
    ("DPM++ 2M", "dpm++2m", SamplerKind::DpmSolver2M),
    ("UniPC", "unipc", SamplerKind::UniPc),
    ("LCM", "lcm", SamplerKind::Lcm),
    (
        "Euler a",
        "euler_a",
        SamplerKind::EulerAncestral { eta: 1.0 },
    ),
];

fn sampler_name(sampler: SamplerKind) -> String {
    let known = SAMPLERS.iter().find(|(.., kind)| *kind == sampler);
    known.map_or_else(|| sampler.to_string(), |(name, ..)| (*name).to_owned())
}

/// The sampler that a program calls so; stable-diffusion.cpp adds the schedule.
pub fn sampler_of_name(name: &str) -> Option<SamplerKind> {
    let first = name.split(' ').next().unwrap_or_default();
    let known = SAMPLERS
        .iter()
        .find(|(a1111, sd_cpp, _)| *a1111 == name || *sd_cpp == first);
    known.map(|(.., kind)| *kind).or_else(|| name.parse().ok())
}

/// Bending, and spacing where it is not the plain one.
fn schedule_name(settings: &GenerationSettings) -> String {
    match settings.parameters.sigma_spacing {
        SigmaSpacing::Linear => settings.parameters.schedule.to_string(),
        spacing => format!("{} {spacing}", settings.parameters.schedule),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_samplers_are_read_as_this_and_other_programs_write_them() {
        for (_, _, kind) in SAMPLERS {
            assert_eq!(sampler_of_name(&sampler_name(kind)), Some(kind));
        }
        let other = SamplerKind::EulerAncestral { eta: 0.5 };
        assert_eq!(sampler_of_name(&sampler_name(other)), Some(other));
        assert_eq!(
            sampler_of_name("euler_a karras"),
            sampler_of_name("Euler a")
        );
        assert_eq!(sampler_of_name("DPM fast"), None);
    }
}
