//! Shaping: turns a string into placed glyphs, in units of the font's size, and their outlines.
//!
//! All results depend on the font and the text only, never on what was drawn before. Each thread
//! has one [`Shaper`], which caches earlier results.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use cosmic_text::fontdb::{Database, ID};
use cosmic_text::{
    Attrs, Buffer, CacheKey, CacheKeyFlags, Command, Family, FontSystem, Metrics, Shaping,
    SwashCache, Wrap,
};
use zeno::{Bounds, Fill, Point, Transform};

use super::fonts::Face;

/// Size at which glyphs are shaped and their outlines kept. Unhinted, they are scaled from it.
pub(super) const EM: f32 = 256.0;

/// Most outlines that a thread keeps.
const MOST_OUTLINES: usize = 8192;

/// Shapes text with the fonts of one thread.
pub(super) struct Shaper {
    fonts: FontSystem,
    swash: SwashCache,
    outlines: HashMap<(ID, u16), Option<Arc<[Command]>>>,
    covered: HashMap<(ID, char), bool>,
    buffer: Buffer,
}

/// Shaped line of text.
#[derive(Clone, Debug)]
pub(super) struct ShapedLine {
    pub(super) text: String,
    pub(super) glyphs: Vec<ShapedGlyph>,
}

/// Glyph at its place: `x` from the start of the line, `y` down from the baseline, in ems.
#[derive(Clone, Debug)]
pub(super) struct ShapedGlyph {
    pub(super) outline: Arc<[Command]>,
    /// Bytes of the line that the glyph stands for.
    pub(super) range: Range<usize>,
    pub(super) x: f32,
    pub(super) y: f32,
}

impl Shaper {
    pub(super) fn new(database: &Database) -> Self {
        let locale = "en-US".to_owned();
        Self {
            fonts: FontSystem::new_with_locale_and_db(locale, database.clone()),
            swash: SwashCache::new(),
            outlines: HashMap::new(),
            covered: HashMap::new(),
            buffer: Buffer::new_empty(Metrics::new(EM, EM)),
        }
    }

    /// Returns true if the font has a glyph for the character other than its empty box.
    pub(super) fn covers(&mut self, face: &Face, character: char) -> bool {
        if let Some(known) = self.covered.get(&(face.id, character)) {
            return *known;
        }
        let covered = self.check(face, character);
        self.covered.insert((face.id, character), covered);
        covered
    }

    fn check(&mut self, face: &Face, character: char) -> bool {
        let Some(font) = self.fonts.get_font(face.id, face.weight) else {
            return false;
        };
        let glyph = font.as_swash().charmap().map(character);
        if glyph == 0 {
            return false;
        }
        if character.is_whitespace() {
            return true;
        }
        let Some(outline) = self.outline(face, glyph) else {
            return false;
        };
        // Some fonts map what they lack to a copy of the empty box.
        self.outline(face, 0).is_none_or(|empty| empty != outline)
    }

    /// Returns the outline of a glyph at [`EM`], or `None` if it has no ink.
    fn outline(&mut self, face: &Face, glyph: u16) -> Option<Arc<[Command]>> {
        let key = (face.id, glyph);
        if let Some(known) = self.outlines.get(&key) {
            return known.clone();
        }
        let cache_key = CacheKey {
            font_id: face.id,
            glyph_id: glyph,
            font_size_bits: EM.to_bits(),
            x_bin: cosmic_text::SubpixelBin::Zero,
            y_bin: cosmic_text::SubpixelBin::Zero,
            font_weight: face.weight,
            flags: CacheKeyFlags::DISABLE_HINTING,
        };
        let commands = self
            .swash
            .get_outline_commands_uncached(&mut self.fonts, cache_key);
        let outline = commands
            .filter(|commands| !commands.is_empty())
            .map(Arc::from);
        if self.outlines.len() >= MOST_OUTLINES {
            self.outlines.clear();
        }
        self.outlines.insert(key, outline.clone());
        outline
    }

    /// Shapes a text in the font; characters that it lacks are drawn in the first other font that
    /// has them. Lines end at line feeds and, with a width in ems, also between words.
    ///
    /// # Errors
    /// Returns a character that no font has.
    pub(super) fn shape(
        &mut self,
        text: &str,
        face: &Face,
        others: &[Face],
        width: Option<f32>,
    ) -> Result<Vec<ShapedLine>, char> {
        let spans = self.spans(text, face, others)?;
        let mut buffer =
            std::mem::replace(&mut self.buffer, Buffer::new_empty(Metrics::new(EM, EM)));
        buffer.set_wrap(if width.is_some() {
            Wrap::Word
        } else {
            Wrap::None
        });
        buffer.set_size(width.map(|ems| ems * EM), None);
        let plain = attributes(face);
        let parts = spans
            .iter()
            .map(|(range, face)| (&text[range.clone()], attributes(face)));
        buffer.set_rich_text(parts, &plain, Shaping::Advanced, None);
        buffer.shape_until_scroll(&mut self.fonts, false);
        let lines = self.lines(&buffer, face, others);
        self.buffer = buffer;
        lines
    }

    /// Divides a text into pieces that one font can draw.
    fn spans<'a>(
        &mut self,
        text: &str,
        face: &'a Face,
        others: &'a [Face],
    ) -> Result<Vec<(Range<usize>, &'a Face)>, char> {
        let mut spans: Vec<(Range<usize>, &Face)> = Vec::new();
        for (start, character) in text.char_indices() {
            let end = start + character.len_utf8();
            if character == '\n' {
                match spans.last_mut() {
                    Some((range, _)) => range.end = end,
                    None => spans.push((start..end, face)),
                }
                continue;
            }
            let mut candidates = std::iter::once(face).chain(others);
            let Some(chosen) = candidates.find(|face| self.covers(face, character)) else {
                return Err(character);
            };
            match spans.last_mut() {
                Some((range, last)) if last.id == chosen.id => range.end = end,
                _ => spans.push((start..end, chosen)),
            }
        }
        Ok(spans)
    }

    fn lines(
        &mut self,
        buffer: &Buffer,
        face: &Face,
        others: &[Face],
    ) -> Result<Vec<ShapedLine>, char> {
        let mut lines = Vec::new();
        for run in buffer.layout_runs() {
            let first = run.glyphs.iter().map(|glyph| glyph.start).min();
            let last = run.glyphs.iter().map(|glyph| glyph.end).max();
            let (Some(first), Some(last)) = (first, last) else {
                continue;
            };
            let text = &run.text[first..last];
            let trimmed = text.trim();
            let from = first + (text.len() - text.trim_start().len());
            let until = from + trimmed.len();
            let mut glyphs = Vec::new();
            for glyph in run.glyphs {
                if glyph.start < from || glyph.end > until {
                    continue;
                }
                let cluster = &run.text[glyph.start..glyph.end];
                let missing = || {
                    cluster
                        .chars()
                        .next()
                        .unwrap_or(char::REPLACEMENT_CHARACTER)
                };
                let mut known = std::iter::once(face).chain(others);
                let face = known
                    .find(|face| face.id == glyph.font_id)
                    .ok_or_else(missing)?;
                if glyph.glyph_id == 0 {
                    return Err(missing());
                }
                let Some(outline) = self.outline(face, glyph.glyph_id) else {
                    continue;
                };
                glyphs.push(ShapedGlyph {
                    outline,
                    range: glyph.start - from..glyph.end - from,
                    x: (glyph.x + glyph.x_offset * glyph.font_size) / EM,
                    y: (glyph.y - glyph.y_offset * glyph.font_size) / EM,
                });
            }
            lines.push(ShapedLine {
                text: trimmed.to_owned(),
                glyphs,
            });
        }
        Ok(lines)
    }
}

fn attributes(face: &Face) -> Attrs<'_> {
    Attrs::new()
        .family(Family::Name(&face.alias))
        .weight(face.weight)
        .style(face.style)
        .stretch(face.stretch)
}

impl ShapedLine {
    /// Returns the box of the ink in ems, `y` down from the baseline, or `None` if there is none.
    pub(super) fn ink(&self) -> Option<Bounds> {
        let boxes = self.glyphs.iter().map(|glyph| {
            let place = Transform::new(1.0 / EM, 0.0, 0.0, -1.0 / EM, glyph.x, glyph.y);
            zeno::bounds(&*glyph.outline, Fill::NonZero, Some(place))
        });
        boxes.reduce(|first, second| {
            Bounds::new(
                Point::new(first.min.x.min(second.min.x), first.min.y.min(second.min.y)),
                Point::new(first.max.x.max(second.max.x), first.max.y.max(second.max.y)),
            )
        })
    }
}
