//! Presets: layouts of shapes and fields of text, read from TOML.

use std::path::Path;

use serde::Deserialize;

use super::captions;
use super::colors::{self, Color};
use super::error::TypographyError;

/// Embedded presets: names and contents.
static EMBEDDED: [(&str, &str); 6] = [
    ("plain", include_str!("presets/plain.toml")),
    ("signs", include_str!("presets/signs.toml")),
    ("signs-mono", include_str!("presets/signs-mono.toml")),
    ("posters", include_str!("presets/posters.toml")),
    ("screens", include_str!("presets/screens.toml")),
    ("bilingual", include_str!("presets/bilingual.toml")),
];

/// Layouts to draw from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Preset {
    /// Name of the embedded preset or of the file.
    #[serde(skip)]
    pub name: String,
    /// Description in one sentence, for lists of presets.
    pub description: String,
    /// Least contrast ratio between text and its background, from 1 to 21.
    #[serde(default = "usual_contrast")]
    pub contrast: f32,
    #[serde(rename = "layout")]
    pub(super) layouts: Vec<Layout>,
}

/// Layout of one kind of image.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Layout {
    pub(super) name: String,
    #[serde(default = "one")]
    pub(super) weight: f32,
    #[serde(default)]
    pub(super) ground: GroundWeights,
    #[serde(default = "all_colors")]
    pub(super) ground_colors: Vec<String>,
    /// Templates of captions. `captions` explains the placeholders.
    pub(super) captions_en: Vec<String>,
    pub(super) captions_zh: Vec<String>,
    #[serde(default, rename = "shape")]
    pub(super) shapes: Vec<Shape>,
    #[serde(rename = "field")]
    pub(super) fields: Vec<Field>,
}

/// Relative frequency of each kind of ground.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GroundWeights {
    pub(super) flat: f32,
    pub(super) gradient: f32,
    pub(super) grain: f32,
    pub(super) stripes: f32,
    /// Used only if there are photographs.
    pub(super) photograph: f32,
}

impl Default for GroundWeights {
    fn default() -> Self {
        Self {
            flat: 1.0,
            gradient: 0.0,
            grain: 0.0,
            stripes: 0.0,
            photograph: 0.0,
        }
    }
}

/// Area in fractions of the image: left, top, width, height.
pub(super) type Area = [f32; 4];

/// A shape of one color below the text.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) kind: ShapeKind,
    pub(super) area: Area,
    /// Share of the height that is drawn, from the bottom: the bars of a chart.
    #[serde(default = "whole")]
    pub(super) extent: [f32; 2],
    #[serde(default = "all_colors")]
    pub(super) colors: Vec<String>,
    /// Shape that this one stands on, if not the ground.
    pub(super) on: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ShapeKind {
    Rectangle,
    Rounded,
    Ellipse,
    Frame,
}

/// A field of text.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) area: Area,
    #[serde(rename = "text")]
    pub(super) texts: Vec<TextSource>,
    /// Size of the font in heights of the image.
    pub(super) size: [f32; 2],
    /// Size below which a text is refused; larger ones shrink until they fit.
    pub(super) least_size: Option<f32>,
    /// Least height of the ink of a line in heights of the image.
    #[serde(default)]
    pub(super) least_ink: f32,
    /// Number of lines, drawn one by one.
    #[serde(default = "one_line")]
    pub(super) lines: [usize; 2],
    #[serde(default = "usual_line_height")]
    pub(super) line_height: f32,
    /// True if long lines are broken between words.
    #[serde(default)]
    pub(super) wrap: bool,
    #[serde(default = "centered")]
    pub(super) align: Vec<Align>,
    #[serde(default = "centered")]
    pub(super) vertical: Vec<Align>,
    #[serde(default = "all_colors")]
    pub(super) colors: Vec<String>,
    /// Shape that the text stands on, if not the ground.
    pub(super) on: Option<String>,
    /// Fonts to prefer, if there are any.
    pub(super) weight: Option<FontWeight>,
    /// Angle in degrees.
    #[serde(default)]
    pub(super) rotation: [f32; 2],
    /// Probability of an outline, a shadow and a gradient of the letters, from 0 to 1.
    #[serde(default)]
    pub(super) outline: f32,
    #[serde(default)]
    pub(super) shadow: f32,
    #[serde(default)]
    pub(super) gradient: f32,
}

/// Place of a text in its area.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Align {
    /// Left or top.
    Start,
    Center,
    /// Right or bottom.
    End,
    Anywhere,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FontWeight {
    Bold,
    Regular,
}

/// Source of the words of a field.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
pub(super) enum TextSource {
    /// Random characters of an alphabet such as `A-Z0-9`.
    Random {
        #[serde(default = "one")]
        weight: f32,
        alphabet: String,
        characters: [usize; 2],
    },
    /// Words of the list of English words, one or more.
    Words {
        #[serde(default = "one")]
        weight: f32,
        characters: [usize; 2],
        #[serde(default = "one_line")]
        count: [usize; 2],
        case: Case,
    },
    /// A text of this list, where `#` stands for a digit and `@` for a digit other than 0.
    Phrases {
        #[serde(default = "one")]
        weight: f32,
        of: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Case {
    Upper,
    Lower,
    Title,
    Any,
}

impl TextSource {
    pub(super) fn weight(&self) -> f32 {
        match self {
            Self::Random { weight, .. }
            | Self::Words { weight, .. }
            | Self::Phrases { weight, .. } => *weight,
        }
    }
}

fn usual_contrast() -> f32 {
    2.5
}

fn usual_line_height() -> f32 {
    1.2
}

fn one() -> f32 {
    1.0
}

fn one_line() -> [usize; 2] {
    [1, 1]
}

fn whole() -> [f32; 2] {
    [1.0, 1.0]
}

fn centered() -> Vec<Align> {
    vec![Align::Center]
}

fn all_colors() -> Vec<String> {
    colors::COLORS
        .iter()
        .map(|color| color.name.to_owned())
        .collect()
}

/// Looks up the colors of a list that [`Preset::check`] has accepted.
pub(super) fn named(names: &[String]) -> Vec<&'static Color> {
    names
        .iter()
        .filter_map(|name| colors::by_name(name))
        .collect()
}

impl Preset {
    /// Returns the names of the embedded presets.
    pub fn embedded() -> impl Iterator<Item = &'static str> {
        EMBEDDED.iter().map(|(name, _)| *name)
    }

    /// Returns an embedded preset, or reads a file if the name ends in `.toml`. Also returns the
    /// text of the preset.
    ///
    /// # Errors
    /// Returns an error that lists the presets if the name is unknown, or that describes what is
    /// wrong with the file.
    pub fn open(name: &str) -> Result<(Self, String), TypographyError> {
        if let Some((name, text)) = EMBEDDED.iter().find(|(known, _)| *known == name) {
            return Ok((Self::parse(name, text)?, (*text).to_owned()));
        }
        let path = Path::new(name);
        if path.extension().is_none_or(|found| found != "toml") {
            let known: Vec<&str> = Self::embedded().collect();
            return Err(TypographyError::UnknownPreset {
                name: name.to_owned(),
                known: known.join(", "),
            });
        }
        let read = std::fs::read_to_string(path);
        let text = read.map_err(|source| TypographyError::Read {
            path: path.to_owned(),
            source,
        })?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok((Self::parse(&stem, &text)?, text))
    }

    /// Reads a preset from TOML.
    ///
    /// # Errors
    /// Returns an error that says what is wrong with the preset.
    pub fn parse(name: &str, text: &str) -> Result<Self, TypographyError> {
        let wrong = |reason: String| TypographyError::Preset {
            name: name.to_owned(),
            reason,
        };
        let mut preset: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        name.clone_into(&mut preset.name);
        preset.check().map_err(wrong)?;
        Ok(preset)
    }

    fn check(&self) -> Result<(), String> {
        if self.layouts.is_empty() {
            return Err("it has no [[layout]]".to_owned());
        }
        if !(1.0..=21.0).contains(&self.contrast) {
            return Err(format!("contrast = {} is not from 1 to 21", self.contrast));
        }
        for layout in &self.layouts {
            layout
                .check()
                .map_err(|reason| format!("layout `{}`: {reason}", layout.name))?;
        }
        if self.layouts.iter().all(|layout| layout.weight == 0.0) {
            return Err("the weights of all layouts are 0".to_owned());
        }
        Ok(())
    }
}

impl Layout {
    fn check(&self) -> Result<(), String> {
        check_weights([self.weight])?;
        let ground = &self.ground;
        check_weights([ground.flat, ground.gradient, ground.grain, ground.stripes])?;
        check_weights([ground.photograph])?;
        check_colors(&self.ground_colors)?;
        if self.fields.is_empty() {
            return Err("it has no [[layout.field]]".to_owned());
        }
        for (index, shape) in self.shapes.iter().enumerate() {
            let below = &self.shapes[..index];
            let checked = check_area(&shape.area)
                .and_then(|()| check_fractions("extent", shape.extent))
                .and_then(|()| check_colors(&shape.colors))
                .and_then(|()| check_on(shape.on.as_deref(), below));
            checked.map_err(|reason| format!("shape `{}`: {reason}", shape.name))?;
        }
        for (index, field) in self.fields.iter().enumerate() {
            let mut checked = field.check(&self.shapes);
            if self.fields[..index]
                .iter()
                .any(|other| other.name == field.name)
            {
                checked = Err("another field has this name".to_owned());
            }
            checked.map_err(|reason| format!("field `{}`: {reason}", field.name))?;
        }
        let names: Vec<&str> = self
            .fields
            .iter()
            .map(|field| field.name.as_str())
            .collect();
        captions::check(&self.captions_en, &names)?;
        captions::check(&self.captions_zh, &names)
    }
}

impl Field {
    fn check(&self, shapes: &[Shape]) -> Result<(), String> {
        check_area(&self.area)?;
        check_fractions("size", self.size)?;
        check_colors(&self.colors)?;
        check_on(self.on.as_deref(), shapes)?;
        check_fractions(
            "outline and shadow",
            [self.outline.min(self.shadow), self.outline.max(self.shadow)],
        )?;
        check_fractions("gradient", [0.0, self.gradient])?;
        check_fractions("least-ink", [0.0, self.least_ink])?;
        check_fractions("least-size", [0.0, self.least_size.unwrap_or_default()])?;
        check_counts("lines", self.lines)?;
        if !(0.5..=4.0).contains(&self.line_height) {
            return Err("line-height is not from 0.5 to 4".to_owned());
        }
        let [from, to] = self.rotation;
        if !(-180.0..=180.0).contains(&from) || !(from..=180.0).contains(&to) {
            return Err("rotation is not a range of degrees from -180 to 180".to_owned());
        }
        if self.align.is_empty() || self.vertical.is_empty() {
            return Err("align and vertical must not be empty".to_owned());
        }
        check_weights(self.texts.iter().map(TextSource::weight))?;
        if self.texts.iter().all(|source| source.weight() == 0.0) {
            return Err("it has no text".to_owned());
        }
        self.texts.iter().try_for_each(TextSource::check)
    }
}

impl TextSource {
    fn check(&self) -> Result<(), String> {
        match self {
            Self::Random {
                alphabet,
                characters,
                ..
            } => {
                check_counts("characters", *characters)?;
                let letters = letters(alphabet);
                check_text(&letters.iter().collect::<String>())?;
                if letters.is_empty() || letters.iter().any(|letter| letter.is_whitespace()) {
                    return Err(format!("alphabet `{alphabet}` is empty or has spaces"));
                }
                Ok(())
            }
            Self::Words {
                characters, count, ..
            } => {
                check_counts("characters", *characters)?;
                check_counts("count", *count)
            }
            Self::Phrases { of, .. } => {
                if of.is_empty() || of.iter().any(|phrase| phrase.trim().is_empty()) {
                    return Err("a phrase is empty".to_owned());
                }
                of.iter().try_for_each(|phrase| check_text(phrase))
            }
        }
    }
}

/// Expands ranges such as `A-Z`.
pub(super) fn letters(alphabet: &str) -> Vec<char> {
    let characters: Vec<char> = alphabet.chars().collect();
    let mut letters = Vec::new();
    let mut rest = &characters[..];
    loop {
        match rest {
            [from, '-', to, tail @ ..] => {
                letters.extend(*from..=*to);
                rest = tail;
            }
            [one, tail @ ..] => {
                letters.push(*one);
                rest = tail;
            }
            [] => return letters,
        }
    }
}

/// Checks that a text may stand between double quotes in captions.
fn check_text(text: &str) -> Result<(), String> {
    match text
        .chars()
        .find(|letter| matches!(letter, '"' | '“' | '”') || letter.is_control())
    {
        Some(letter) => Err(format!(
            "{letter:?} in a text would make captions ambiguous"
        )),
        None => Ok(()),
    }
}

fn check_weights(weights: impl IntoIterator<Item = f32>) -> Result<(), String> {
    for weight in weights {
        if !(0.0..=1e6).contains(&weight) {
            return Err(format!("weight = {weight} is not from 0 to 1000000"));
        }
    }
    Ok(())
}

fn check_area(area: &Area) -> Result<(), String> {
    let [left, top, width, height] = *area;
    let inside = |start: f32, size: f32| start >= 0.0 && size > 0.0 && start + size <= 1.0001;
    if inside(left, width) && inside(top, height) {
        Ok(())
    } else {
        Err("area is not left, top, width, height inside the image, from 0 to 1".to_owned())
    }
}

fn check_fractions(name: &str, [from, to]: [f32; 2]) -> Result<(), String> {
    if (0.0..=1.0).contains(&from) && (from..=1.0).contains(&to) {
        Ok(())
    } else {
        Err(format!(
            "{name} is not between 0 and 1, the smaller number first"
        ))
    }
}

fn check_counts(name: &str, [from, to]: [usize; 2]) -> Result<(), String> {
    if 1 <= from && from <= to && to <= 1000 {
        Ok(())
    } else {
        Err(format!(
            "{name} is not between 1 and 1000, the smaller number first"
        ))
    }
}

fn check_colors(names: &[String]) -> Result<(), String> {
    if names.is_empty() {
        return Err("a list of colors is empty".to_owned());
    }
    match names.iter().find(|name| colors::by_name(name).is_none()) {
        Some(unknown) => {
            let known = all_colors().join(", ");
            Err(format!("no color is called `{unknown}`. Colors: {known}"))
        }
        None => Ok(()),
    }
}

fn check_on(on: Option<&str>, shapes: &[Shape]) -> Result<(), String> {
    match on {
        Some(name) if shapes.iter().all(|shape| shape.name != name) => {
            Err(format!("on = `{name}` is not a shape that is drawn before"))
        }
        _ => Ok(()),
    }
}
