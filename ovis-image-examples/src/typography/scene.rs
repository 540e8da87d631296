//! Plan of one image: its shapes, and its texts with their fonts, colors and places.

use zeno::{Command, PathBuilder, Point, Transform};

use super::canvas::{Gradient, Paint};
use super::colors::Color;
use super::error::TypographyError;
use super::fonts::Fonts;
use super::ground::{Backgrounds, Ground, across, standing_out};
use super::preset::{Align, Area, Field, Layout, Preset, Shape, ShapeKind, named};
use super::random::Random;
use super::shaping::{EM, ShapedLine, Shaper};
use super::texts::{self, Limits};

/// Pixels that stay free around a text for the soft edge of its letters.
const EDGE: f32 = 1.0;

/// Least contrast ratio between a shape and its background.
const SHAPE_CONTRAST: f32 = 1.3;

/// Sizes to try for a text of several lines, in decreasing order.
const SHRINKING: [f32; 8] = [1.0, 0.88, 0.77, 0.68, 0.6, 0.52, 0.46, 0.4];

/// Inputs of the plan of an image.
pub(super) struct Frame<'a> {
    pub(super) preset: &'a Preset,
    pub(super) fonts: &'a Fonts,
    pub(super) backgrounds: Option<&'a Backgrounds>,
    pub(super) limits: &'a Limits,
    pub(super) size: [u32; 2],
}

/// Plan of one image.
pub(super) struct Scene<'a> {
    pub(super) layout: &'a Layout,
    pub(super) ground: Ground,
    pub(super) shapes: Vec<PlacedShape<'a>>,
    pub(super) fields: Vec<PlacedField<'a>>,
}

/// Shape in pixels.
pub(super) struct PlacedShape<'a> {
    name: &'a str,
    pub(super) path: Vec<Command>,
    pub(super) color: &'static Color,
}

/// Text in pixels.
pub(super) struct PlacedField<'a> {
    pub(super) name: &'a str,
    /// The whole text in one line.
    pub(super) words: String,
    pub(super) lines: Vec<ShapedLine>,
    /// Start of each line on its baseline, before the rotation.
    pub(super) starts: Vec<[f32; 2]>,
    pub(super) size: f32,
    /// Angle in radians, clockwise, about the center of the text.
    pub(super) angle: f32,
    pub(super) center: Point,
    pub(super) font: &'a str,
    pub(super) color: &'static Color,
    pub(super) paint: Paint,
    pub(super) outline: Option<Outline>,
    pub(super) shadow: Option<Shadow>,
}

/// Outline around letters.
#[derive(Clone, Copy)]
pub(super) struct Outline {
    /// Width on each side in pixels.
    pub(super) width: f32,
    pub(super) rgb: [u8; 3],
}

/// Shadow of letters, in pixels.
#[derive(Clone, Copy)]
pub(super) struct Shadow {
    pub(super) offset: [i32; 2],
    pub(super) blur: usize,
    pub(super) opacity: f32,
}

/// A text that does not fit.
pub(super) struct NoRoom<'a> {
    pub(super) field: &'a str,
}

impl Frame<'_> {
    /// Draws a plan. Returns the field that has no room if a text does not fit.
    pub(super) fn plan(
        &self,
        random: &mut Random,
        shaper: &mut Shaper,
        shrunk: f32,
    ) -> Result<Result<Scene<'_>, NoRoom<'_>>, TypographyError> {
        let layouts = &self.preset.layouts;
        let weights = layouts.iter().map(|layout| layout.weight);
        // A checked preset has a layout.
        let layout = &layouts[random.weighted(weights).unwrap_or_default()];
        let ground = Ground::draw(random, layout, self.backgrounds, self.size)?;
        let mut scene = Scene {
            layout,
            ground,
            shapes: Vec::new(),
            fields: Vec::new(),
        };
        for shape in &layout.shapes {
            let placed = self.place_shape(random, &scene, shape);
            scene.shapes.push(placed);
        }
        for field in &layout.fields {
            match self.place_field(random, shaper, &scene, field, shrunk)? {
                Some(placed) => scene.fields.push(placed),
                None => return Ok(Err(NoRoom { field: &field.name })),
            }
        }
        Ok(Ok(scene))
    }

    fn place_shape<'a>(
        &self,
        random: &mut Random,
        scene: &Scene<'_>,
        shape: &'a Shape,
    ) -> PlacedShape<'a> {
        let below = scene.below(shape.on.as_deref(), &shape.area);
        let all = named(&shape.colors);
        let visible = standing_out(all.clone(), &below, SHAPE_CONTRAST);
        // If no color is visible, one that is not serves as well as a hole in the plan.
        let choice = random.choice(if visible.is_empty() { &all } else { &visible });
        let [left, top, width, height] = self.pixels(&shape.area);
        let tall = height * random.number(shape.extent);
        PlacedShape {
            name: &shape.name,
            path: shape.kind.path([left, top + height - tall, width, tall]),
            color: choice.copied().unwrap_or(&super::colors::COLORS[1]),
        }
    }

    fn place_field<'a>(
        &'a self,
        random: &mut Random,
        shaper: &mut Shaper,
        scene: &Scene<'_>,
        field: &'a Field,
        shrunk: f32,
    ) -> Result<Option<PlacedField<'a>>, TypographyError> {
        let below = scene.below(field.on.as_deref(), &field.area);
        let colors = standing_out(named(&field.colors), &below, self.preset.contrast);
        let Some(color) = random.choice(&colors).copied() else {
            return Ok(None);
        };
        let faces = &self.fonts.faces;
        let missing = |failure: texts::Failure| {
            failure.into_error(&self.preset.name, &field.name, self.fonts.origin())
        };
        let drawn =
            texts::draw(random, shaper, faces, field, self.limits, shrunk).map_err(missing)?;
        let on_photograph = field.on.is_none() && matches!(scene.ground, Ground::Photograph(_));
        let style = Style {
            angle: random.number(field.rotation).to_radians(),
            outline: (random.chance(field.outline) || on_photograph)
                .then(|| random.number([0.02, 0.06])),
            drawn_size: random.number(field.size),
        };
        let face = &faces[drawn.face];
        let area = self.pixels(&field.area);
        let Some(block) = self
            .fit(shaper, field, &drawn, &style, area)
            .map_err(|letter| missing(texts::Failure::NoGlyph(letter)))?
        else {
            return Ok(None);
        };
        let center = block.center(random, field, area);
        let paint = self.paint(random, field, color, &colors, &block);
        Ok(Some(PlacedField {
            name: &field.name,
            words: drawn.text.replace('\n', " "),
            starts: block.starts(random, field, center),
            size: block.size,
            angle: style.angle,
            center,
            font: &face.name,
            color,
            paint: paint.moved(center),
            outline: style.outline.map(|ems| Outline {
                width: ems * block.size,
                rgb: opposite(color.rgb),
            }),
            shadow: random
                .chance(field.shadow)
                .then(|| shadow(random, block.size)),
            lines: block.lines,
        }))
    }

    /// Finds the largest size, up to the drawn one, at which the text fits.
    fn fit(
        &self,
        shaper: &mut Shaper,
        field: &Field,
        drawn: &texts::FieldText,
        style: &Style,
        [_, _, width, height]: [f32; 4],
    ) -> Result<Option<Block>, char> {
        let faces = &self.fonts.faces;
        let room = [width - 2.0 * EDGE, height - 2.0 * EDGE];
        let tall = self.size[1] as f32;
        let least = field.least_size.unwrap_or(field.size[0]) * tall;
        let sizes = if field.wrap {
            &SHRINKING[..]
        } else {
            &SHRINKING[..1]
        };
        for shrinking in sizes {
            let asked = style.drawn_size * tall * shrinking;
            let ems = field.wrap.then(|| room[0].max(1.0) / asked);
            let lines = shaper.shape(&drawn.text, &faces[drawn.face], faces, ems)?;
            let Some(mut block) = Block::new(lines, field, style) else {
                return Ok(None);
            };
            let [wide, high] = block.rotated;
            let fitting = (room[0] / wide).min(room[1] / high);
            if field.wrap && fitting < asked {
                continue;
            }
            block.size = asked.min(fitting);
            let large =
                block.size >= least && block.least_ink * block.size >= field.least_ink * tall;
            return Ok(large.then_some(block));
        }
        Ok(None)
    }

    fn paint(
        &self,
        random: &mut Random,
        field: &Field,
        color: &'static Color,
        colors: &[&'static Color],
        block: &Block,
    ) -> Paint {
        let other = random.choice(colors).copied().unwrap_or(color);
        if random.chance(field.gradient) {
            let size = block.rotated.map(|ems| ems * block.size);
            Paint::Gradient(across(random, color, other, size))
        } else {
            Paint::Flat(color.rgb)
        }
    }

    fn pixels(&self, [left, top, width, height]: &Area) -> [f32; 4] {
        let [columns, rows] = self.size.map(|size| size as f32);
        [left * columns, top * rows, width * columns, height * rows]
    }
}

/// Random choices for a text that are made before it is placed.
struct Style {
    /// Angle in radians.
    angle: f32,
    /// Width of the outline on each side in ems.
    outline: Option<f32>,
    /// Drawn size of the font in heights of the image.
    drawn_size: f32,
}

/// Lines of a text in ems, before they are placed.
struct Block {
    lines: Vec<ShapedLine>,
    /// Left and right end of the ink of each line.
    extents: Vec<[f32; 2]>,
    /// Top and bottom of the ink, from the first baseline.
    vertical: [f32; 2],
    /// Width and height of the ink after the rotation, with its outline.
    rotated: [f32; 2],
    /// Height of the ink of the lowest line.
    least_ink: f32,
    line_height: f32,
    /// Pixels of one em.
    size: f32,
}

impl Block {
    /// Measures lines. Returns `None` if one has no ink.
    fn new(lines: Vec<ShapedLine>, field: &Field, style: &Style) -> Option<Self> {
        let inks: Vec<_> = lines.iter().map(ShapedLine::ink).collect::<Option<_>>()?;
        let width = inks.iter().map(|ink| ink.width()).reduce(f32::max)?;
        let down = |index: usize| index as f32 * field.line_height;
        let tops = inks
            .iter()
            .enumerate()
            .map(|(index, ink)| down(index) + ink.min.y);
        let bottoms = inks
            .iter()
            .enumerate()
            .map(|(index, ink)| down(index) + ink.max.y);
        let vertical = [tops.reduce(f32::min)?, bottoms.reduce(f32::max)?];
        let height = vertical[1] - vertical[0];
        let (sin, cos) = (style.angle.sin().abs(), style.angle.cos().abs());
        let around = 2.0 * style.outline.unwrap_or_default();
        Some(Self {
            rotated: [
                width * cos + height * sin + around,
                width * sin + height * cos + around,
            ],
            extents: inks.iter().map(|ink| [ink.min.x, ink.max.x]).collect(),
            least_ink: inks.iter().map(|ink| ink.height()).reduce(f32::min)?,
            line_height: field.line_height,
            size: 0.0,
            vertical,
            lines,
        })
    }

    /// Returns the center of the block in pixels.
    fn center(
        &self,
        random: &mut Random,
        field: &Field,
        [left, top, width, height]: [f32; 4],
    ) -> Point {
        let [wide, high] = self.rotated.map(|ems| ems * self.size + 2.0 * EDGE);
        let x = left + place(random, &field.align) * (width - wide).max(0.0) + wide / 2.0;
        let y = top + place(random, &field.vertical) * (height - high).max(0.0) + high / 2.0;
        Point::new(x, y)
    }

    /// Returns the start of each line, before the rotation about the center.
    fn starts(&self, random: &mut Random, field: &Field, center: Point) -> Vec<[f32; 2]> {
        let align = random
            .choice(&field.align)
            .copied()
            .unwrap_or(Align::Center);
        let width = self
            .extents
            .iter()
            .map(|[from, to]| to - from)
            .fold(0.0, f32::max);
        let middle = f32::midpoint(self.vertical[0], self.vertical[1]);
        let lines = self.extents.iter().enumerate();
        lines
            .map(|(index, [from, to])| {
                let x = match align {
                    Align::Start => -width / 2.0 - from,
                    Align::End => width / 2.0 - to,
                    Align::Center | Align::Anywhere => -f32::midpoint(*from, *to),
                };
                let y = index as f32 * self.line_height - middle;
                [center.x + x * self.size, center.y + y * self.size]
            })
            .collect()
    }
}

fn place(random: &mut Random, choices: &[Align]) -> f32 {
    match random.choice(choices).copied().unwrap_or(Align::Center) {
        Align::Start => 0.0,
        Align::Center => 0.5,
        Align::End => 1.0,
        Align::Anywhere => random.number([0.0, 1.0]),
    }
}

/// Returns black for light colors and white for dark ones.
fn opposite(rgb: [u8; 3]) -> [u8; 3] {
    let light = rgb.iter().map(|channel| u32::from(*channel)).sum::<u32>() > 3 * 128;
    if light { [0; 3] } else { [255; 3] }
}

fn shadow(random: &mut Random, size: f32) -> Shadow {
    let offset = (size * random.number([0.03, 0.08])).ceil() as i32;
    Shadow {
        offset: [if random.chance(0.8) { offset } else { -offset }, offset],
        blur: (size * random.number([0.0, 0.04])) as usize,
        opacity: random.number([0.3, 0.6]),
    }
}

impl Paint {
    /// Moves a gradient of a block, which starts at its corner, to the block's place.
    fn moved(self, center: Point) -> Self {
        match self {
            Self::Flat(color) => Self::Flat(color),
            Self::Gradient(gradient) => {
                let [dx, dy] = gradient.way;
                Self::Gradient(Gradient {
                    start: [center.x - dx / 2.0, center.y - dy / 2.0],
                    ..gradient
                })
            }
        }
    }
}

impl PlacedField<'_> {
    /// Returns the place of a glyph of a line. Outlines point up, images down.
    pub(super) fn transform(&self, line: usize, x: f32, y: f32) -> Transform {
        let [left, baseline] = self.starts[line];
        let scale = self.size / EM;
        let (sin, cos) = self.angle.sin_cos();
        // From the center to the glyph's origin, before the rotation.
        let right = left + x * self.size - self.center.x;
        let down = baseline + y * self.size - self.center.y;
        Transform {
            xx: scale * cos,
            xy: scale * sin,
            yx: scale * sin,
            yy: -scale * cos,
            x: self.center.x + right * cos - down * sin,
            y: self.center.y + right * sin + down * cos,
        }
    }
}

impl Scene<'_> {
    /// Returns the colors below a field or shape.
    fn below(&self, on: Option<&str>, area: &Area) -> Vec<[u8; 3]> {
        let shape = on.and_then(|name| self.shapes.iter().find(|shape| shape.name == name));
        match shape {
            Some(shape) => vec![shape.color.rgb],
            None => self.ground.colors(area),
        }
    }
}

impl ShapeKind {
    fn path(self, [left, top, width, height]: [f32; 4]) -> Vec<Command> {
        let mut path = Vec::new();
        let least = width.min(height);
        match self {
            Self::Rectangle => {
                path.add_rect((left, top), width, height);
            }
            Self::Rounded => {
                let radius = least * 0.2;
                path.add_round_rect((left, top), width, height, radius, radius);
            }
            Self::Ellipse => {
                let (x, y) = (width / 2.0, height / 2.0);
                path.add_ellipse((left + x, top + y), x, y);
            }
            Self::Frame => {
                let line = (least * 0.015).max(1.0);
                path.add_rect((left, top), width, height);
                // The other way around: a hole.
                let (right, bottom) = (left + width - line, top + height - line);
                path.move_to((left + line, top + line));
                path.line_to((left + line, bottom));
                path.line_to((right, bottom));
                path.line_to((right, top + line));
                path.close();
            }
        }
        path
    }
}
