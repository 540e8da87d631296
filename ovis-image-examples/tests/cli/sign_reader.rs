//! A reader of signs for tests: compares letters with those of the fonts that the embedded model
//! was trained with. It reads capitals and digits in one or two centered lines, except Q and J, which
//! descend below the others.

use std::collections::HashMap;

use ovis_image_examples::typography::{Fonts, Preset, SyntheticTypography};

/// Characters that are read.
const CHARACTERS: &str = "ABCDEFGHIKLMNOPRSTUVWXYZ0123456789";

const FONTS: [&str; 3] = [
    "DejaVu Sans Bold",
    "DejaVu Serif Bold",
    "DejaVu Sans Mono Bold",
];

/// Height of a capital in templates and in scaled lines, in pixels.
const CAPITAL: usize = 24;

/// Rows above and below capitals, for round letters, which are higher.
const MARGIN: usize = 3;

/// Error that each letter costs, so that one letter is not read as several.
const LETTER: f32 = 4.0;

/// Ink of an image or of a part, from 0 to 1, by rows.
#[derive(Clone)]
struct Ink {
    width: usize,
    height: usize,
    values: Vec<f32>,
}

/// A sign as it was read.
#[derive(Debug, PartialEq)]
pub(super) struct Sign {
    pub(super) text: String,
    pub(super) ground: [u8; 3],
    pub(super) letters: [u8; 3],
}

/// Letters of a font.
struct Font {
    letters: Vec<(char, Ink)>,
    /// Height of round letters above capitals, and their depth below them, in capitals.
    overshoot: f32,
}

/// Letters of each font.
pub(super) struct SignReader {
    fonts: Vec<Font>,
}

impl SignReader {
    pub(super) fn new() -> Self {
        Self {
            fonts: FONTS.iter().map(|name| Font::new(name)).collect(),
        }
    }

    /// Reads an image of `side` x `side` pixels, three bytes each.
    pub(super) fn read(&self, pixels: &[u8], side: usize) -> Sign {
        let pixels: Vec<[u8; 3]> = pixels
            .chunks_exact(3)
            .map(|pixel| [pixel[0], pixel[1], pixel[2]])
            .collect();
        let (ground, letters) = colors(&pixels, side);
        let axis = difference(letters, ground);
        let length: f32 = dot(axis, axis).max(1.0);
        let ink = Ink {
            width: side,
            height: side,
            values: pixels
                .iter()
                .map(|pixel| (dot(difference(*pixel, ground), axis) / length).clamp(0.0, 1.0))
                .collect(),
        };
        let words: Vec<String> = ink.lines().iter().map(|line| self.line(line)).collect();
        Sign {
            text: words.join(" "),
            ground,
            letters,
        }
    }

    /// Reads a line in the font that fits it best, with and without round letters in it.
    fn line(&self, line: &Ink) -> String {
        let mut best = (f32::INFINITY, String::new());
        for font in &self.fonts {
            for [top, bottom] in [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]] {
                let [top, bottom] = [top, bottom].map(|part| part * font.overshoot);
                let capital = line.height as f32 / (1.0 + top + bottom);
                let scaled = line.scaled(top * capital, capital);
                let read = spell(&scaled, &font.letters);
                if read.0 < best.0 {
                    best = read;
                }
            }
        }
        best.1
    }
}

impl Font {
    fn new(name: &str) -> Self {
        let letters: Vec<(char, [f32; 2], Ink)> = CHARACTERS
            .chars()
            .map(|character| template(character, name))
            .collect();
        let round = letters.iter().find(|(character, ..)| *character == 'O');
        Self {
            overshoot: round.map_or(0.0, |(_, [above, below], _)| (above + below) / 2.0),
            letters: letters
                .into_iter()
                .map(|(character, _, ink)| (character, ink))
                .collect(),
        }
    }
}

/// Draws a white letter beside an H on black, and cuts it out. Also returns its height above the H
/// and its depth below, in heights of the H.
fn template(character: char, font: &str) -> (char, [f32; 2], Ink) {
    let preset = format!(
        r##"
        description = "one letter"
        [[layout]]
        name = "letter"
        ground-colors = ["black"]
        captions-en = ["{{text}}"]
        captions-zh = ["{{text}}"]
        [[layout.field]]
        name = "text"
        area = [0.0, 0.0, 1.0, 1.0]
        colors = ["white"]
        size = [0.3, 0.3]
        [[layout.field.text]]
        kind = "phrases"
        of = ["H {character}"]
        "##
    );
    let preset = Preset::parse("letter", &preset).unwrap();
    let source = SyntheticTypography::new(preset, Fonts::embedded())
        .with_fonts(&[font.to_owned()])
        .unwrap()
        .with_size(256, 256)
        .unwrap();
    let image = source.sample(0, 0).unwrap().image;
    let ink = Ink {
        width: 256,
        height: 256,
        values: image
            .pixels()
            .map(|pixel| f32::from(pixel.0[1]) / 255.0)
            .collect(),
    };
    // The letter and the H are apart by a space.
    let columns: Vec<usize> = (0..256).filter(|x| ink.column(*x).any(inked)).collect();
    let gap = columns
        .windows(2)
        .max_by_key(|pair| pair[1] - pair[0])
        .unwrap();
    let cut = |from: usize, to: usize| ink.part(from..to + 1, 0..256);
    let (capital, letter) = (
        cut(columns[0], gap[0]),
        cut(gap[1], columns[columns.len() - 1]),
    );
    let [top, bottom] = capital.rows();
    let [first, last] = letter.rows();
    let height = (bottom - top) as f32;
    let above = (top as f32 - first as f32) / height;
    let below = (last as f32 - bottom as f32) / height;
    let letter = letter.part(0..letter.width, first..last);
    (
        character,
        [above, below],
        letter.scaled(above * height, height),
    )
}

fn inked(value: f32) -> bool {
    value > 0.5
}

/// Finds the spelling of a line with the least squared error: each column belongs to a letter or
/// is blank. Returns the error and the text.
fn spell(line: &Ink, letters: &[(char, Ink)]) -> (f32, String) {
    // The least error of the columns before each, and the letter that ends there.
    let mut best: Vec<(f32, Option<(char, usize)>)> = vec![(0.0, None)];
    for end in 1..=line.width {
        let blank = line.column(end - 1).map(|value| value * value).sum::<f32>();
        let mut least = (best[end - 1].0 + blank, None);
        for (character, letter) in letters {
            for width in letter.width.saturating_sub(1)..=letter.width + 1 {
                let Some(start) = end.checked_sub(width).filter(|_| width > 0) else {
                    continue;
                };
                let error = best[start].0 + LETTER + distance(line, start, width, letter);
                if error < least.0 {
                    least = (error, Some((*character, width)));
                }
            }
        }
        best.push(least);
    }
    let (mut text, mut end) = (Vec::new(), line.width);
    while end > 0 {
        match best[end].1 {
            Some((character, width)) => {
                text.push(character);
                end -= width;
            }
            None => end -= 1,
        }
    }
    (best[line.width].0, text.into_iter().rev().collect())
}

/// Squared error between columns of a line and a letter stretched to their width.
fn distance(line: &Ink, start: usize, width: usize, letter: &Ink) -> f32 {
    let mut sum = 0.0;
    for column in 0..width {
        let source = (column * letter.width) / width;
        let pairs = line.column(start + column).zip(letter.column(source));
        sum += pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    }
    sum
}

impl Ink {
    fn column(&self, x: usize) -> impl Iterator<Item = f32> {
        self.values.iter().skip(x).step_by(self.width).copied()
    }

    fn part(&self, columns: std::ops::Range<usize>, rows: std::ops::Range<usize>) -> Self {
        let values = rows.clone().flat_map(|y| {
            let row = &self.values[y * self.width..];
            row[columns.clone()].iter().copied()
        });
        Self {
            width: columns.len(),
            height: rows.len(),
            values: values.collect(),
        }
    }

    /// First row with ink, and the row after the last.
    fn rows(&self) -> [usize; 2] {
        let has_ink = |y: &usize| {
            let row = &self.values[y * self.width..(y + 1) * self.width];
            row.iter().copied().any(inked)
        };
        let mut rows = (0..self.height).filter(has_ink);
        let first = rows.next().unwrap_or(0);
        [first, rows.next_back().unwrap_or(first) + 1]
    }

    /// Cuts out the lines of text, each without a margin.
    fn lines(&self) -> Vec<Self> {
        let row = |y: usize| &self.values[y * self.width..(y + 1) * self.width];
        let mut lines = Vec::new();
        let mut start = None;
        for y in 0..=self.height {
            let has_ink = y < self.height && row(y).iter().copied().any(inked);
            match (start, has_ink) {
                (None, true) => start = Some(y),
                (Some(first), false) => {
                    start = None;
                    // Anything smaller is a speck.
                    if y - first >= 6 {
                        let line = self.part(0..self.width, first..y);
                        let mut columns = (0..line.width).filter(|x| line.column(*x).any(inked));
                        let left = columns.next().unwrap_or(0);
                        let right = columns.next_back().unwrap_or(left);
                        lines.push(line.part(left..right + 1, 0..line.height));
                    }
                }
                _ => {}
            }
        }
        lines
    }

    /// Scales a line whose capitals start at a row and have a height, both in pixels, so that they
    /// have the height of those in templates. Nothing is around the line.
    fn scaled(&self, top: f32, capital: f32) -> Self {
        let factor = capital / CAPITAL as f32;
        let width = ((self.width as f32 / factor).round() as usize).max(1);
        let height = CAPITAL + 2 * MARGIN;
        let at = |x: isize, y: isize| {
            let inside = |value: isize, size: usize| (0..size as isize).contains(&value);
            if inside(x, self.width) && inside(y, self.height) {
                self.values[y as usize * self.width + x as usize]
            } else {
                0.0
            }
        };
        let sample = |x: f32, y: f32| {
            let (left, upper) = (x.floor(), y.floor());
            let (right, lower) = (x - left, y - upper);
            let (left, upper) = (left as isize, upper as isize);
            let row = |y| at(left, y) * (1.0 - right) + at(left + 1, y) * right;
            row(upper) * (1.0 - lower) + row(upper + 1) * lower
        };
        let horizontal = self.width as f32 / width as f32;
        let values = (0..height).flat_map(|y| {
            let y = (y as f32 - MARGIN as f32 + 0.5) * factor + top - 0.5;
            (0..width).map(move |x| ((x as f32 + 0.5) * horizontal - 0.5, y))
        });
        Self {
            width,
            height,
            values: values.map(|(x, y)| sample(x, y)).collect(),
        }
    }
}

/// The color of the edges, and the mean of those that differ most from it.
fn colors(pixels: &[[u8; 3]], side: usize) -> ([u8; 3], [u8; 3]) {
    let edges = pixels.iter().enumerate().filter(|(index, _)| {
        let (x, y) = (index % side, index / side);
        x < 2 || y < 2 || x + 2 >= side || y + 2 >= side
    });
    let ground = mean(edges.map(|(_, pixel)| *pixel));
    let far = |pixel: &[u8; 3]| {
        let difference = difference(*pixel, ground);
        dot(difference, difference)
    };
    let most = pixels.iter().map(far).fold(0.0, f32::max);
    let letters = pixels.iter().filter(|pixel| far(pixel) > 0.6 * most);
    (ground, mean(letters.copied()))
}

fn mean(pixels: impl Iterator<Item = [u8; 3]>) -> [u8; 3] {
    let mut sums: HashMap<usize, (u64, u64)> = HashMap::new();
    for pixel in pixels {
        for (channel, value) in pixel.into_iter().enumerate() {
            let sum = sums.entry(channel).or_default();
            *sum = (sum.0 + u64::from(value), sum.1 + 1);
        }
    }
    std::array::from_fn(|channel| {
        let (sum, count) = sums.get(&channel).copied().unwrap_or((0, 1));
        (sum / count) as u8
    })
}

fn difference(a: [u8; 3], b: [u8; 3]) -> [f32; 3] {
    std::array::from_fn(|channel| f32::from(a[channel]) - f32::from(b[channel]))
}

fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
