//! What other programs write into their pictures about how they were made.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The text `parameters`, in the form that AUTOMATIC1111's web UI began: the prompt, the negative
/// prompt, and a last line of settings.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameters {
    /// What the picture shows; may have several lines.
    pub prompt: String,
    /// What it should not show.
    pub negative_prompt: Option<String>,
    /// `Steps`.
    pub steps: Option<usize>,
    /// `Sampler`, as the program calls it; stable-diffusion.cpp's ends with the schedule.
    pub sampler: Option<String>,
    /// `Schedule type`, as the program calls it.
    pub schedule_type: Option<String>,
    /// `CFG scale`.
    pub guidance_scale: Option<f32>,
    /// `Seed`.
    pub seed: Option<u64>,
    /// The first number of `Size`.
    pub width: Option<usize>,
    /// The second number of `Size`.
    pub height: Option<usize>,
    /// `Model`.
    pub model: Option<String>,
    /// All other settings by name, and those above whose values are not what they should be.
    pub others: BTreeMap<String, String>,
}

/// As many settings make a last line one of settings, and not of a prompt.
const FEWEST_FIELDS: usize = 3;

const NEGATIVE_PROMPT: &str = "Negative prompt:";

impl Parameters {
    /// Reads it. Any text is a prompt at least.
    pub fn parse(text: &str) -> Self {
        let text = text.trim_end();
        let (prompts, last_line) = text.rsplit_once('\n').unwrap_or(("", text));
        let (prompts, mut parameters) = match Self::from_settings(last_line) {
            Some(parameters) => (prompts, parameters),
            None => (text, Self::default()),
        };
        let lines = prompts.split_inclusive('\n');
        let before: usize = lines
            .take_while(|line| !line.starts_with(NEGATIVE_PROMPT))
            .map(str::len)
            .sum();
        let (prompt, negative) = prompts.split_at(before);
        let Some(negative) = negative.strip_prefix(NEGATIVE_PROMPT) else {
            parameters.prompt = prompt.to_owned();
            return parameters;
        };
        parameters.prompt = prompt.strip_suffix('\n').unwrap_or(prompt).to_owned();
        let negative = negative.strip_prefix(' ').unwrap_or(negative);
        parameters.negative_prompt = Some(negative.to_owned()).filter(|text| !text.is_empty());
        parameters
    }

    /// From the last line, if that is what it is: prompts hold commas and colons too.
    fn from_settings(line: &str) -> Option<Self> {
        let fields = fields(line)?;
        let count = fields.len();
        let mut parameters = Self::default();
        for (name, value) in fields {
            if !parameters.take(&name, &value) {
                parameters.add_other(name, &value);
            }
        }
        let is_sure =
            parameters.steps.is_some() || parameters.seed.is_some() || parameters.width.is_some();
        (count >= FEWEST_FIELDS && is_sure).then_some(parameters)
    }

    /// Whether the value is one of a setting that has its own place, and the first of it.
    fn take(&mut self, name: &str, value: &str) -> bool {
        match name {
            "Steps" => take_into(&mut self.steps, value),
            "Sampler" => take_into(&mut self.sampler, value),
            "Schedule type" => take_into(&mut self.schedule_type, value),
            "CFG scale" => take_into(&mut self.guidance_scale, value),
            "Seed" => take_into(&mut self.seed, value),
            "Model" => take_into(&mut self.model, value),
            "Size" => {
                let numbers = value
                    .split_once('x')
                    .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
                let (Some((width, height)), None) = (numbers, self.width) else {
                    return false;
                };
                (self.width, self.height) = (Some(width), Some(height));
                true
            }
            _ => false,
        }
    }

    /// stable-diffusion.cpp names each text encoder `TE`.
    fn add_other(&mut self, name: String, value: &str) {
        let known = self.others.entry(name).or_default();
        if !known.is_empty() && !value.is_empty() {
            known.push_str(", ");
        }
        known.push_str(value);
    }
}

fn take_into<T: FromStr>(place: &mut Option<T>, value: &str) -> bool {
    if place.is_some() {
        return false;
    }
    *place = Some(value)
        .filter(|value| !value.is_empty())
        .and_then(|value| value.parse().ok());
    place.is_some()
}

/// `NAME: VALUE, NAME: VALUE`, or `None` for a line that does not begin so.
fn fields(line: &str) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let end = rest.find([':', ',']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let name = name.trim();
        rest = match after.strip_prefix(':') {
            Some(after) => {
                let (value, rest) = split_value(after.trim_start());
                fields.push((name.to_owned(), value));
                rest
            }
            None if fields.is_empty() => return None,
            // A switch that is on: its name alone.
            None => {
                if !name.is_empty() {
                    fields.push((name.to_owned(), name.to_owned()));
                }
                after.strip_prefix(',').unwrap_or(after)
            }
        };
        rest = rest.trim_start();
    }
    Some(fields)
}

/// A value and what stands after its comma: a string of JSON, a list in brackets, or whatever comes before
/// the next comma.
fn split_value(text: &str) -> (String, &str) {
    let ends_at = |end: usize| {
        let rest = text.get(end..)?.trim_start();
        match rest.is_empty() {
            true => Some(rest),
            false => rest.strip_prefix(','),
        }
    };
    if text.starts_with('"') {
        let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
        if let Some(Ok(value)) = strings.next()
            && let Some(rest) = ends_at(strings.byte_offset())
        {
            return (value, rest);
        }
    }
    if let Some(list) = text.strip_prefix('[')
        && let Some(end) = list.find(['[', ']'])
        && list[end..].starts_with(']')
        && let Some(rest) = ends_at(end + 2)
    {
        return (text[..end + 2].to_owned(), rest);
    }
    let (value, rest) = text.split_once(',').unwrap_or((text, ""));
    (value.trim_end().to_owned(), rest)
}

/// Why a file's texts cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextChunksError {
    /// The file system's.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It begins otherwise.
    #[error("{} is no PNG file: give the file that the program wrote", path.display())]
    NotPng {
        /// The file.
        path: PathBuf,
    },
    /// It begins as a PNG.
    #[error("cannot read {} as a PNG to its end: if it was cut off, fetch it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        source: png::DecodingError,
    },
    /// A compressed text cannot be expanded, or would be too long.
    #[error("the text `{keyword}` of {} is damaged or longer than {MOST_TEXT} bytes", path.display())]
    DamagedText {
        /// The file.
        path: PathBuf,
        /// Which text.
        keyword: String,
        /// Which of the two.
        source: png::DecodingError,
    },
    /// Nobody's settings.
    #[error("the text `{keyword}` of {} is longer than {MOST_TEXT} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Which text.
        keyword: String,
    },
}

/// The longest text that is read, in bytes, when it is expanded.
pub const MOST_TEXT: usize = 1 << 20;

/// For all texts of a file together, and what else is kept of it.
const LIMITS: png::Limits = png::Limits { bytes: 64 << 20 };

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// The texts of a PNG file by keyword, compressed ones too. Pixels are not decoded.
///
/// # Errors
/// For files that cannot be read, are no PNG or are damaged, and for texts of more than [`MOST_TEXT`].
pub fn read_text_chunks(path: &Path) -> Result<BTreeMap<String, String>, TextChunksError> {
    let unread = |source| TextChunksError::Read {
        path: path.to_owned(),
        source,
    };
    let damaged = |source| TextChunksError::Damaged {
        path: path.to_owned(),
        source,
    };
    let mut file = BufReader::new(File::open(path).map_err(unread)?);
    if !file.fill_buf().map_err(unread)?.starts_with(&SIGNATURE) {
        return Err(TextChunksError::NotPng {
            path: path.to_owned(),
        });
    }
    let decoder = png::Decoder::new_with_limits(file, LIMITS);
    let mut reader = decoder.read_info().map_err(damaged)?;
    // Texts may stand after the pixels.
    reader.finish().map_err(damaged)?;

    let mut texts = BTreeMap::new();
    let mut add = |keyword: &str, text: Result<String, png::DecodingError>| {
        let (path, keyword) = (path.to_owned(), keyword.to_owned());
        match text {
            Err(source) => Err(TextChunksError::DamagedText {
                path,
                keyword,
                source,
            }),
            Ok(text) if text.len() > MOST_TEXT => Err(TextChunksError::TooLong { path, keyword }),
            Ok(text) => {
                texts.insert(keyword, text);
                Ok(())
            }
        }
    };
    let info = reader.info();
    for chunk in &info.uncompressed_latin1_text {
        add(&chunk.keyword, Ok(chunk.text.clone()))?;
    }
    // A few bytes may expand to gigabytes: nothing is, beyond the limit.
    for chunk in &info.compressed_latin1_text {
        let mut chunk = chunk.clone();
        let expanded = chunk.decompress_text_with_limit(MOST_TEXT);
        add(&chunk.keyword, expanded.and_then(|()| chunk.get_text()))?;
    }
    for chunk in &info.utf8_text {
        let mut chunk = chunk.clone();
        let expanded = chunk.decompress_text_with_limit(MOST_TEXT);
        add(&chunk.keyword, expanded.and_then(|()| chunk.get_text()))?;
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use image::RgbImage;
    use proptest::prelude::*;
    use tempfile::NamedTempFile;

    use super::*;
    use crate::shared::png::{PARAMETERS_KEYWORD, SETTINGS_KEYWORD, encode};
    use crate::shared::record::Record;

    /// A picture of 512x768 as this program says it was made.
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

    fn file(bytes: &[u8]) -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(&file, bytes).unwrap();
        file
    }

    /// A PNG of one pixel that is encoded with what the caller adds.
    fn png_with(add: impl FnOnce(&mut png::Encoder<'_, &mut Vec<u8>>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
        add(&mut encoder);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[0]).unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn what_this_program_writes_is_read_back() {
        let record = record("a cat,\nSteps: of marble", "blurry\nNegative prompt: dogs");
        let picture = file(&encode(&RgbImage::new(1, 1), &record).unwrap());
        let texts = read_text_chunks(picture.path()).unwrap();
        assert!(texts.contains_key(SETTINGS_KEYWORD));
        let parameters = Parameters::parse(&texts[PARAMETERS_KEYWORD]);
        let version = concat!("ovis-image ", env!("CARGO_PKG_VERSION"));
        let expected = Parameters {
            prompt: "a cat,\nSteps: of marble".to_owned(),
            negative_prompt: Some("blurry\nNegative prompt: dogs".to_owned()),
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
    }

    #[test]
    fn a_text_of_automatic1111_is_read() {
        let parameters = Parameters::parse(
            "portrait, (detailed eyes:1.2), \"sale: 50%\"\n\
             second line, <lora:moss:0.8>\n\
             Negative prompt: blurry, low quality\n\
             watermark\n\
             Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 4294967295, \
             Size: 512x768, Model hash: 6ce0161689, Model: v1-5-pruned, Denoising strength: 0.7, \
             Tiling, ADetailer prompt: \"a \\\"face\\\",\\nfrowning\", \
             Lora hashes: \"moss: 0123abcd, fern: 4567\", Version: v1.10.1\n",
        );
        assert_eq!(
            parameters.prompt,
            "portrait, (detailed eyes:1.2), \"sale: 50%\"\nsecond line, <lora:moss:0.8>"
        );
        let negative = "blurry, low quality\nwatermark";
        assert_eq!(parameters.negative_prompt.as_deref(), Some(negative));
        assert_eq!(parameters.steps, Some(20));
        assert_eq!(parameters.sampler.as_deref(), Some("DPM++ 2M"));
        assert_eq!(parameters.schedule_type.as_deref(), Some("Karras"));
        assert_eq!(parameters.guidance_scale, Some(7.0));
        assert_eq!(parameters.seed, Some(4_294_967_295));
        assert_eq!(
            (parameters.width, parameters.height),
            (Some(512), Some(768))
        );
        assert_eq!(parameters.model.as_deref(), Some("v1-5-pruned"));
        let others = [
            ("ADetailer prompt", "a \"face\",\nfrowning"),
            ("Denoising strength", "0.7"),
            ("Lora hashes", "moss: 0123abcd, fern: 4567"),
            ("Model hash", "6ce0161689"),
            ("Tiling", "Tiling"),
            ("Version", "v1.10.1"),
        ];
        let others = others.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parameters.others, BTreeMap::from(others));
    }

    #[test]
    fn a_text_of_stable_diffusion_cpp_is_read() {
        let parameters = Parameters::parse(
            "a lovely cat\n\
             Steps: 20, CFG scale: 5.000000, SLG scale: 5.000000, Skip layers: [7, 8, 9, ], \
             Skip layer start: 0.010000, Guidance: 3.500000, Eta: inf, Seed: 42, Size: 1024x512, \
             Model: , RNG: cuda, Sampler: euler discrete, TE: clip.safetensors, TE: qwen3.gguf, \
             Unet: ovis_image.gguf, VAE: ae.safetensors, Version: stable-diffusion.cpp",
        );
        assert_eq!(parameters.prompt, "a lovely cat");
        assert_eq!(parameters.negative_prompt, None);
        assert_eq!(parameters.steps, Some(20));
        assert_eq!(parameters.guidance_scale, Some(5.0));
        assert_eq!(parameters.seed, Some(42));
        assert_eq!(
            (parameters.width, parameters.height),
            (Some(1024), Some(512))
        );
        assert_eq!(parameters.sampler.as_deref(), Some("euler discrete"));
        assert_eq!(parameters.model, None);
        assert_eq!(parameters.others["Skip layers"], "[7, 8, 9, ]");
        assert_eq!(parameters.others["TE"], "clip.safetensors, qwen3.gguf");
        assert_eq!(parameters.others["Eta"], "inf");
    }

    #[test]
    fn a_text_without_settings_is_a_prompt() {
        for prompt in [
            "",
            "a cat",
            "Steps: 20",
            "color: red, light: warm, mood: sad",
            "a stair, Steps: 12, seen: from above, light: warm",
            "Steps: steep, Seed: of doubt, Size: large",
            "first line\nSteps: many, light: warm, mood: sad",
        ] {
            let expected = Parameters {
                prompt: prompt.to_owned(),
                ..Parameters::default()
            };
            assert_eq!(Parameters::parse(prompt), expected);
        }
        let both = Parameters::parse("a cat\nNegative prompt: a dog");
        assert_eq!(
            (both.prompt.as_str(), both.negative_prompt.as_deref()),
            ("a cat", Some("a dog"))
        );
    }

    #[test]
    fn settings_alone_have_an_empty_prompt() {
        let parameters = Parameters::parse("Negative prompt: dogs\nSteps: 2, Seed: 1, Size: 64x64");
        assert_eq!(parameters.prompt, "");
        assert_eq!(parameters.negative_prompt.as_deref(), Some("dogs"));
        assert_eq!(parameters.steps, Some(2));
        let parameters = Parameters::parse("Steps: 2, Seed: 1, Size: 64x64");
        assert_eq!((parameters.prompt.as_str(), parameters.seed), ("", Some(1)));
    }

    #[test]
    fn values_that_are_not_what_they_should_be_are_kept_as_texts() {
        let parameters =
            Parameters::parse("x\nSteps: 20, Seed: -1, Size: 64, CFG scale: high, Steps: 30");
        assert_eq!((parameters.steps, parameters.seed), (Some(20), None));
        let others = [
            ("CFG scale", "high"),
            ("Seed", "-1"),
            ("Size", "64"),
            ("Steps", "30"),
        ];
        let others = others.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parameters.others, BTreeMap::from(others));
    }

    #[test]
    fn quotes_and_brackets_that_do_not_close_end_at_a_comma() {
        let parameters = Parameters::parse(
            "x\nSteps: 20, A: \"open, B: [1, C: \"shut\" late, D: [1], E: \"\\q\"",
        );
        let others = [
            ("A", "\"open"),
            ("B", "[1"),
            ("C", "\"shut\" late"),
            ("D", "[1]"),
            ("E", "\"\\q\""),
        ];
        let others = others.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parameters.others, BTreeMap::from(others));
    }

    #[test]
    fn plain_compressed_and_unicode_texts_are_read_before_and_after_the_pixels() {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
        let text = |name: &str| name.to_owned();
        encoder
            .add_text_chunk(text("plain"), text("déjà vu"))
            .unwrap();
        encoder
            .add_ztxt_chunk(text("compressed"), text("señor"))
            .unwrap();
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[0]).unwrap();
        let mut unicode = png::text_metadata::ITXtChunk::new("unicode", "一只猫");
        unicode.compressed = true;
        writer.write_text_chunk(&unicode).unwrap();
        writer.finish().unwrap();

        let texts = read_text_chunks(file(&bytes).path()).unwrap();
        let expected = [
            ("compressed", "señor"),
            ("plain", "déjà vu"),
            ("unicode", "一只猫"),
        ];
        let expected = expected.map(|(keyword, text)| (keyword.to_owned(), text.to_owned()));
        assert_eq!(texts, BTreeMap::from(expected));
    }

    #[test]
    fn texts_that_expand_beyond_the_limit_are_refused_by_name() {
        let keyword = || "long".to_owned();
        let long = |length: usize| " ".repeat(length);
        let fits = png_with(|png| png.add_ztxt_chunk(keyword(), long(MOST_TEXT)).unwrap());
        let texts = read_text_chunks(file(&fits).path()).unwrap();
        assert_eq!(texts["long"].len(), MOST_TEXT);

        let compressed = png_with(|png| png.add_ztxt_chunk(keyword(), long(100 << 20)).unwrap());
        assert!(compressed.len() < MOST_TEXT);
        let refused = read_text_chunks(file(&compressed).path());
        assert!(
            matches!(&refused, Err(TextChunksError::DamagedText { keyword, .. }) if keyword == "long"),
            "{refused:?}"
        );
        let plain = png_with(|png| png.add_text_chunk(keyword(), long(MOST_TEXT + 1)).unwrap());
        let refused = read_text_chunks(file(&plain).path());
        assert!(
            matches!(refused, Err(TextChunksError::TooLong { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn what_is_no_png_is_told_from_a_damaged_and_from_a_missing_one() {
        for bytes in [&b""[..], b"\x89PNG", b"\xff\xd8\xff\xe0 JFIF"] {
            let refused = read_text_chunks(file(bytes).path());
            assert!(
                matches!(refused, Err(TextChunksError::NotPng { .. })),
                "{refused:?}"
            );
        }
        let whole = png_with(|_| ());
        for length in [8, 20, whole.len() - 13] {
            let refused = read_text_chunks(file(&whole[..length]).path());
            assert!(
                matches!(refused, Err(TextChunksError::Damaged { .. })),
                "{refused:?}"
            );
        }
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path(), &folder.path().join("missing.png")] {
            let refused = read_text_chunks(path);
            assert!(
                matches!(refused, Err(TextChunksError::Read { .. })),
                "{refused:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn prompts_survive_whatever_they_hold(
            prompt in "([ -~猫\n]|Steps: 2, |\nSeed: 3, |: \"){0,40}",
            negative in "([ -~猫\n]|Steps: 2, |\nSeed: 3, |: \"){0,40}",
        ) {
            prop_assume!(!prompt.lines().any(|line| line.starts_with(NEGATIVE_PROMPT)));
            let parameters = Parameters::parse(&record(&prompt, &negative).parameters());
            prop_assert_eq!(parameters.prompt, prompt);
            prop_assert_eq!(parameters.negative_prompt.unwrap_or_default(), negative);
            prop_assert_eq!(parameters.seed, Some(5));
        }

        #[test]
        fn hostile_texts_are_read_as_something(
            text in r#"(\PC|[:,"\[\]\\\n ]|Steps: |Size: 1x|Negative prompt:){0,60}"#,
        ) {
            Parameters::parse(&text);
            Parameters::parse(&format!("{text}\nSteps: 1, Seed: 2, Size: 3x4, {text}"));
        }

        #[test]
        fn hostile_text_chunks_are_read_or_refused(
            kind in prop::sample::select(vec![png::chunk::tEXt, png::chunk::zTXt, png::chunk::iTXt]),
            keyword in "[a-z]{0,3}",
            data in prop::collection::vec(prop_oneof![0..=1_u8, any::<u8>()], 0..40),
        ) {
            let mut bytes = Vec::new();
            let mut writer = png::Encoder::new(&mut bytes, 1, 1).write_header().unwrap();
            writer.write_chunk(kind, &[keyword.as_bytes(), b"\0", &data].concat()).unwrap();
            writer.write_image_data(&[0]).unwrap();
            writer.finish().unwrap();
            let _ = read_text_chunks(file(&bytes).path());
        }

        #[test]
        fn hostile_files_are_read_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = encode(&RgbImage::new(2, 2), &record("猫", "")).unwrap();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = read_text_chunks(file(&bytes).path());
            bytes.truncate(cut.index(bytes.len()));
            let _ = read_text_chunks(file(&bytes).path());
        }
    }
}
