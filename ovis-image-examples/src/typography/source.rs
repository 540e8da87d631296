//! Source of samples, drawn by seed and index without files.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use image::RgbImage;
use thread_local::ThreadLocal;

use super::captions::{self, Captions, Language};
use super::error::TypographyError;
use super::fonts::Fonts;
use super::ground::Backgrounds;
use super::ground_truth::DrawnField;
use super::paint;
use super::preset::Preset;
use super::random::Random;
use super::scene::{Frame, Scene};
use super::shaping::Shaper;
use super::split::Split;
use super::texts::Limits;

/// Number of plans to try before reporting that a preset does not fit an image.
const ATTEMPTS: u32 = 60;

/// Smallest and largest side of an image.
const SIDES: RangeInclusive<u32> = 16..=16_384;

/// Images of text with exact ground truth: a function of a seed and an index.
///
/// Threads may share a source and draw from it at the same time. Earlier draws of a thread affect
/// only the time that later ones take.
///
/// ```
/// use ovis_image_examples::typography::{Fonts, Preset, SyntheticTypography};
///
/// let (preset, _) = Preset::open("signs")?;
/// let signs = SyntheticTypography::new(preset, Fonts::embedded()).with_size(128, 128)?;
/// let sample = signs.sample(0, 7)?;
/// assert!(sample.captions.english.contains(&sample.text()));
/// assert_eq!(sample.character_grid(16, 16).len(), 256);
/// # Ok::<(), ovis_image_examples::typography::TypographyError>(())
/// ```
pub struct SyntheticTypography {
    preset: Preset,
    fonts: Fonts,
    backgrounds: Option<Backgrounds>,
    limits: Limits,
    size: [u32; 2],
    shapers: ThreadLocal<RefCell<Shaper>>,
}

/// An image with its ground truth and captions.
#[derive(Clone, Debug, PartialEq)]
pub struct TypographySample {
    /// The image.
    pub image: RgbImage,
    /// Captions, one in each language.
    pub captions: Captions,
    /// Fields of text in the order of the layout.
    pub fields: Vec<DrawnField>,
    /// Name of the layout.
    pub layout: String,
    /// English name of the ground.
    pub ground: String,
}

impl TypographySample {
    /// Returns all texts, with a space between lines and between fields.
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self
            .fields
            .iter()
            .map(|field| field.words.as_str())
            .collect();
        texts.join(" ")
    }
}

impl SyntheticTypography {
    /// Creates a source of images of 512x512 pixels.
    pub fn new(preset: Preset, fonts: Fonts) -> Self {
        Self {
            preset,
            fonts,
            backgrounds: None,
            limits: Limits::default(),
            size: [512, 512],
            shapers: ThreadLocal::new(),
        }
    }

    /// Sets the size of the images.
    ///
    /// # Errors
    /// Returns an error unless both sides are from 16 to 16384.
    pub fn with_size(mut self, width: u32, height: u32) -> Result<Self, TypographyError> {
        if !SIDES.contains(&width) || !SIDES.contains(&height) {
            return Err(TypographyError::Argument(format!(
                "an image of {width}x{height} cannot be drawn: each side must be from {} to {}",
                SIDES.start(),
                SIDES.end()
            )));
        }
        self.size = [width, height];
        Ok(self)
    }

    /// Draws only words and random strings of this half of the texts.
    pub fn with_split(mut self, split: Split) -> Self {
        self.limits.split = split;
        self
    }

    /// Sets the number of characters of each random string and word.
    ///
    /// # Errors
    /// Returns an error if the range is empty or contains 0.
    pub fn with_characters(
        mut self,
        range: RangeInclusive<usize>,
    ) -> Result<Self, TypographyError> {
        self.limits.characters = Some(checked("characters of a line", &range)?);
        Ok(self)
    }

    /// Sets the number of lines of each field that may have several.
    ///
    /// # Errors
    /// Returns an error if the range is empty or contains 0.
    pub fn with_lines(mut self, range: RangeInclusive<usize>) -> Result<Self, TypographyError> {
        self.limits.lines = Some(checked("lines", &range)?);
        Ok(self)
    }

    /// Draws with the fonts of these names or families only.
    ///
    /// # Errors
    /// Returns an error that lists the fonts if a name is unknown.
    pub fn with_fonts(mut self, names: &[String]) -> Result<Self, TypographyError> {
        self.fonts = self.fonts.only(names)?;
        Ok(self)
    }

    /// Allows photographs as the ground of layouts that have one.
    pub fn with_backgrounds(mut self, backgrounds: Backgrounds) -> Self {
        self.backgrounds = Some(backgrounds);
        self
    }

    /// Draws sample `index`.
    ///
    /// # Errors
    /// Returns an error if no font has a character that must be drawn, if no text fits, or if a
    /// photograph cannot be read.
    pub fn sample(&self, seed: u64, index: u64) -> Result<TypographySample, TypographyError> {
        self.with_scene(seed, index, |scene| {
            let mut image = paint::below_the_text(scene, self.size);
            paint::shadows(scene, &mut image);
            let fields = paint::text(scene, &mut image);
            let mut random = Random::new(seed, index, "captions", 0);
            let mut caption = |templates, language| {
                let ground = scene.ground.name(language);
                captions::write(&mut random, templates, language, &ground, &fields)
            };
            TypographySample {
                captions: Captions {
                    english: caption(&scene.layout.captions_en, Language::English),
                    chinese: caption(&scene.layout.captions_zh, Language::Chinese),
                },
                layout: scene.layout.name.clone(),
                ground: scene.ground.name(Language::English),
                image,
                fields,
            }
        })
    }

    /// Draws sample `index` without its text, but with the shadows of the text.
    ///
    /// # Errors
    /// Returns the errors of [`sample`](Self::sample).
    pub fn without_text(&self, seed: u64, index: u64) -> Result<RgbImage, TypographyError> {
        self.with_scene(seed, index, |scene| {
            let mut image = paint::below_the_text(scene, self.size);
            paint::shadows(scene, &mut image);
            image
        })
    }

    fn with_scene<T>(
        &self,
        seed: u64,
        index: u64,
        draw: impl FnOnce(&Scene<'_>) -> T,
    ) -> Result<T, TypographyError> {
        let shaper = self
            .shapers
            .get_or(|| RefCell::new(Shaper::new(&self.fonts.database)));
        let frame = Frame {
            preset: &self.preset,
            fonts: &self.fonts,
            backgrounds: self.backgrounds.as_ref(),
            limits: &self.limits,
            size: self.size,
        };
        let mut full = String::new();
        for attempt in 0..ATTEMPTS {
            let mut random = Random::new(seed, index, "scene", attempt);
            // The first attempts keep the distribution, later ones look for what fits at all.
            let shrunk = (attempt.saturating_sub(5) as f32 / 30.0).min(1.0);
            let planned = frame.plan(&mut random, &mut shaper.borrow_mut(), shrunk)?;
            match planned {
                Ok(scene) => return Ok(draw(&scene)),
                Err(no_room) => no_room.field.clone_into(&mut full),
            }
        }
        Err(TypographyError::NoRoom {
            preset: self.preset.name.clone(),
            field: full,
            width: self.size[0],
            height: self.size[1],
        })
    }
}

fn checked(what: &str, range: &RangeInclusive<usize>) -> Result<[usize; 2], TypographyError> {
    if range.is_empty() || *range.start() == 0 {
        let (from, to) = (range.start(), range.end());
        return Err(TypographyError::Argument(format!(
            "{from} to {to} {what}: the first number must be 1 or more and not above the second"
        )));
    }
    Ok([*range.start(), *range.end()])
}
