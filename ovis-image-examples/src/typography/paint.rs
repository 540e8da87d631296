//! Paints a plan to pixels and records the boxes of what was painted.

use std::collections::BTreeMap;

use image::RgbImage;
use zeno::{Fill, Join, Stroke, Style};

use super::canvas::{Paint, Stencil, blend};
use super::ground_truth::{DrawnCharacter, DrawnField, DrawnLine, InkBox};
use super::scene::{PlacedField, Scene};

/// Paints the ground and the shapes.
pub(super) fn below_the_text(scene: &Scene<'_>, size: [u32; 2]) -> RgbImage {
    let mut image = scene.ground.paint(size);
    for shape in &scene.shapes {
        let stencil = Stencil::of(&shape.path, Fill::NonZero, zeno::Transform::IDENTITY);
        blend(&mut image, &stencil, &Paint::Flat(shape.color.rgb), 1.0);
    }
    image
}

/// Paints the shadows of all texts. Shadows do not count as ink.
pub(super) fn shadows(scene: &Scene<'_>, image: &mut RgbImage) {
    for field in &scene.fields {
        let Some(shadow) = field.shadow else {
            continue;
        };
        let [x, y] = shadow.offset;
        for stencil in field.stencils(Fill::NonZero.into()) {
            let soft = stencil.stencil.moved(x, y).blurred(shadow.blur);
            blend(image, &soft, &Paint::Flat([0; 3]), shadow.opacity);
        }
    }
}

/// Paints all texts. Returns the painted fields with their boxes.
pub(super) fn text(scene: &Scene<'_>, image: &mut RgbImage) -> Vec<DrawnField> {
    let fields = scene.fields.iter();
    fields.filter_map(|field| field.paint_text(image)).collect()
}

/// Glyph that is ready to be painted.
struct Placed {
    line: usize,
    /// First byte, and the byte after the last, of the characters that the glyph stands for.
    cluster: (usize, usize),
    stencil: Stencil,
}

impl PlacedField<'_> {
    fn stencils<'a>(&'a self, style: Style<'static>) -> impl Iterator<Item = Placed> + 'a {
        self.lines
            .iter()
            .enumerate()
            .flat_map(move |(line, shaped)| {
                shaped.glyphs.iter().map(move |glyph| Placed {
                    line,
                    cluster: (glyph.range.start, glyph.range.end),
                    stencil: Stencil::of(
                        &glyph.outline,
                        style,
                        self.transform(line, glyph.x, glyph.y),
                    ),
                })
            })
    }

    /// Returns `None` if there is no ink at all.
    fn paint_text(&self, image: &mut RgbImage) -> Option<DrawnField> {
        // Ink of each cluster of each line.
        let mut ink: Vec<BTreeMap<(usize, usize), InkBox>> =
            vec![BTreeMap::new(); self.lines.len()];
        let mut paint = |style: Style<'static>, paint: &Paint| {
            for placed in self.stencils(style) {
                if let Some(bounds) = blend(image, &placed.stencil, paint, 1.0) {
                    let known = ink[placed.line].entry(placed.cluster).or_insert(bounds);
                    *known = known.union(bounds);
                }
            }
        };
        if let Some(outline) = self.outline {
            let mut stroke = Stroke::new(2.0 * outline.width);
            // Widths are pixels, not units of the font, and corners have no spikes.
            stroke.scale(false).join(Join::Round);
            paint(stroke.into(), &Paint::Flat(outline.rgb));
        }
        paint(Fill::NonZero.into(), &self.paint);
        let lines: Vec<DrawnLine> = ink
            .into_iter()
            .zip(&self.lines)
            .filter_map(|(clusters, shaped)| {
                let bounds = InkBox::around(clusters.values().copied())?;
                let character = |((start, end), bounds): ((usize, usize), InkBox)| DrawnCharacter {
                    text: shaped.text[start..end].to_owned(),
                    bounds,
                };
                Some(DrawnLine {
                    text: shaped.text.clone(),
                    bounds,
                    characters: clusters.into_iter().map(character).collect(),
                })
            })
            .collect();
        Some(DrawnField {
            name: self.name.to_owned(),
            words: self.words.clone(),
            bounds: InkBox::around(lines.iter().map(|line| line.bounds))?,
            lines,
            font: self.font.to_owned(),
            color: self.color.name,
        })
    }
}
