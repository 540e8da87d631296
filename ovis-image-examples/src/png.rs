//! Pictures with their settings inside.

use anyhow::Result;
use image::RgbImage;
use ovis_image::pipeline::GenerationSettings;

/// Where other programs look for settings, in the form that AUTOMATIC1111's web UI began.
pub const PARAMETERS_KEYWORD: &str = "parameters";

/// Where this program's settings are, as JSON.
pub const SETTINGS_KEYWORD: &str = "ovis-image";

/// What a picture's metadata says.
#[derive(Debug, Clone, Copy)]
pub struct Metadata<'a> {
    /// The settings of the run.
    pub settings: &'a GenerationSettings,
    /// What the model is called.
    pub model: &'a str,
    /// Which picture of the run it is.
    pub index: usize,
    /// How many there are.
    pub count: usize,
}

impl Metadata<'_> {
    /// Prompt, negative prompt, and the settings in one line.
    pub fn parameters(&self) -> String {
        let settings = self.settings;
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
            ("Sampler", "Euler".to_owned()),
            ("Schedule type", settings.schedule.clone()),
            ("CFG scale", settings.guidance_scale.to_string()),
        ];
        if let Some(seed) = settings.seeds.get(self.index) {
            fields.push(("Seed", seed.to_string()));
        }
        fields.push(("Size", format!("{}x{}", settings.width, settings.height)));
        fields.push(("Model", self.model.to_owned()));
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

/// The bytes of a PNG file.
///
/// # Errors
/// Those of the encoder.
pub fn encode(image: &RgbImage, metadata: &Metadata<'_>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let settings = serde_json::to_string(metadata.settings)?;
    for (keyword, text) in [
        (PARAMETERS_KEYWORD, metadata.parameters()),
        (SETTINGS_KEYWORD, settings),
    ] {
        // As Pillow chooses: the plain chunk, which more programs read, holds Latin-1 only.
        if text.chars().all(|c| u32::from(c) < 0x100) {
            encoder.add_text_chunk(keyword.to_owned(), text)?;
        } else {
            encoder.add_itxt_chunk(keyword.to_owned(), text)?;
        }
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(image.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

/// A value that holds a separator stands in quotes.
fn quoted(value: String) -> String {
    if value.contains([',', ':', '\n']) {
        serde_json::Value::from(value).to_string()
    } else {
        value
    }
}
