//! The text `parameters`, in which most programs write how an image was made.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The content of the text `parameters`, in the form that AUTOMATIC1111's web UI began: the prompt,
/// the negative prompt, and a last line of settings. [`parse`](Self::parse) reads it, and `Display`
/// writes it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameters {
    /// Prompt, which may have several lines.
    pub prompt: String,
    /// Negative prompt.
    pub negative_prompt: Option<String>,
    /// `Steps`.
    pub steps: Option<usize>,
    /// `Sampler`, as the program calls it. Some programs append the schedule.
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
    /// All other settings by name, and settings above whose values are malformed.
    pub others: BTreeMap<String, String>,
}

/// Number of settings from which a last line is taken for settings, and not for a part of the
/// prompt.
const FEWEST_FIELDS: usize = 3;

const NEGATIVE_PROMPT: &str = "Negative prompt:";

impl Parameters {
    /// Reads a text. Any text is a prompt at least.
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

    /// Reads the line of settings. `None` if it is a part of the prompt, which has commas and
    /// colons, too.
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

    /// Stores a setting that has a field, and says whether it did: the value must be well formed
    /// and the first of its setting.
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

    /// Stores a setting that has no field. Values of a repeated name are joined, because
    /// stable-diffusion.cpp lists each text encoder as `TE`.
    fn add_other(&mut self, name: String, value: &str) {
        let known = self.others.entry(name).or_default();
        if !known.is_empty() && !value.is_empty() {
            known.push_str(", ");
        }
        known.push_str(value);
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.prompt)?;
        if let Some(negative) = &self.negative_prompt {
            writeln!(f, "{NEGATIVE_PROMPT} {negative}")?;
        }
        let size = self.width.zip(self.height);
        let known = [
            ("Steps", self.steps.map(|steps| steps.to_string())),
            ("Sampler", self.sampler.clone()),
            ("Schedule type", self.schedule_type.clone()),
            (
                "CFG scale",
                self.guidance_scale.map(|scale| scale.to_string()),
            ),
            ("Seed", self.seed.map(|seed| seed.to_string())),
            (
                "Size",
                size.map(|(width, height)| format!("{width}x{height}")),
            ),
            ("Model", self.model.clone()),
        ];
        let known = known
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let others = self
            .others
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()));
        let fields: Vec<String> = known
            .chain(others)
            .map(|(name, value)| format!("{name}: {}", quoted(value)))
            .collect();
        f.write_str(&fields.join(", "))
    }
}

/// Quotes a value that would be read otherwise than it was written.
fn quoted(value: String) -> String {
    let is_plain = !value.contains([',', ':', '\n'])
        && !value.starts_with(['"', '['])
        && value.trim() == value;
    if is_plain {
        value
    } else {
        serde_json::Value::from(value).to_string()
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

/// Splits `NAME: VALUE, NAME: VALUE`. `None` for a line that does not begin so.
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
            // A switch that is on is written as its name alone.
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

/// Splits a value from what follows its comma. The value is a JSON string, a list in brackets, or
/// everything before the next comma.
fn split_value(text: &str) -> (String, &str) {
    let ends_at = |end: usize| {
        let rest = text.get(end..)?.trim_start();
        if rest.is_empty() {
            Some(rest)
        } else {
            rest.strip_prefix(',')
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(prompt: &str, negative: &str) -> Parameters {
        Parameters {
            prompt: prompt.to_owned(),
            negative_prompt: Some(negative.to_owned()).filter(|text| !text.is_empty()),
            steps: Some(20),
            sampler: Some("Euler".to_owned()),
            schedule_type: Some("shift:3 karras".to_owned()),
            guidance_scale: Some(3.5),
            seed: Some(5),
            width: Some(512),
            height: Some(768),
            model: Some("folder, with: commas".to_owned()),
            others: BTreeMap::from([("Version".to_owned(), "[1]\"".to_owned())]),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let parameters = written("a cat,\nSteps: of marble", "blurry\nNegative prompt: dogs");
        let text = parameters.to_string();
        assert_eq!(Parameters::parse(&text), parameters, "{text}");
        for model in ["", "\"a\"", " a", "[a] b", "a\nb"] {
            let mut parameters = written("a cat", "");
            parameters.model = Some(model.to_owned()).filter(|model| !model.is_empty());
            let text = parameters.to_string();
            assert_eq!(Parameters::parse(&text), parameters, "{text}");
        }
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

    proptest! {
        #[test]
        fn prompts_survive_whatever_they_hold(
            prompt in "([ -~猫\n]|Steps: 2, |\nSeed: 3, |: \"){0,40}",
            negative in "([ -~猫\n]|Steps: 2, |\nSeed: 3, |: \"){0,40}",
        ) {
            prop_assume!(!prompt.lines().any(|line| line.starts_with(NEGATIVE_PROMPT)));
            let parameters = Parameters::parse(&written(&prompt, &negative).to_string());
            prop_assert_eq!(parameters, written(&prompt, &negative));
        }

        #[test]
        fn hostile_texts_are_read_as_something(
            text in r#"(\PC|[:,"\[\]\\\n ]|Steps: |Size: 1x|Negative prompt:){0,60}"#,
        ) {
            Parameters::parse(&text);
            Parameters::parse(&format!("{text}\nSteps: 1, Seed: 2, Size: 3x4, {text}"));
        }

    }
}
