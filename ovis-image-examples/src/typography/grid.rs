//! Characters of an image as classes of the cells of a grid, the targets of an auxiliary
//! cross-entropy in training.

use super::ground_truth::{DrawnCharacter, InkBox};
use super::source::TypographySample;

/// Number of classes: nothing, A to Z, 0 to 9.
pub const CELL_CLASSES: usize = 37;

/// Returns the class of a letter or digit, or `None` for other characters.
pub fn cell_class(character: char) -> Option<u8> {
    match character.to_ascii_uppercase() {
        letter @ 'A'..='Z' => Some(letter as u8 - b'A' + 1),
        digit @ '0'..='9' => Some(digit as u8 - b'0' + 27),
        _ => None,
    }
}

impl TypographySample {
    /// Divides the image into cells and returns the class of each, row by row: 0 for nothing, then
    /// A to Z and 0 to 9 ([`cell_class`]).
    ///
    /// A cell belongs to the character that covers most of it, if that is half of the cell or more
    /// or contains its center. A character that has no cell by this rule gets the one at its own
    /// center.
    pub fn character_grid(&self, rows: u32, columns: u32) -> Vec<u8> {
        let (width, height) = self.image.dimensions();
        let cell = [width as f32 / columns as f32, height as f32 / rows as f32];
        let mut classes = vec![0; rows as usize * columns as usize];
        let mut shares = vec![0.0_f32; classes.len()];
        let mut without = Vec::new();
        for (class, bounds) in self.characters() {
            let mut found = false;
            for (row, column) in cells(bounds, cell, rows, columns) {
                let index = (row * columns + column) as usize;
                let share = share(bounds, cell, row, column);
                if share > shares[index] {
                    (classes[index], shares[index]) = (class, share);
                    found = true;
                }
            }
            if !found {
                without.push((class, bounds));
            }
        }
        for (class, bounds) in without {
            let center = |from: u32, to: u32, size: f32, count: u32| {
                ((f32::midpoint(from as f32, to as f32) / size) as u32).min(count - 1)
            };
            let row = center(bounds.top, bounds.bottom, cell[1], rows);
            let column = center(bounds.left, bounds.right, cell[0], columns);
            let index = (row * columns + column) as usize;
            if classes[index] == 0 {
                classes[index] = class;
            }
        }
        classes
    }

    fn characters(&self) -> impl Iterator<Item = (u8, InkBox)> {
        let lines = self.fields.iter().flat_map(|field| &field.lines);
        let characters = lines.flat_map(|line| &line.characters);
        characters.filter_map(|DrawnCharacter { text, bounds }| {
            let class = cell_class(text.chars().next()?)?;
            Some((class, *bounds))
        })
    }
}

/// Returns the cells that a box touches, as rows and columns.
fn cells(
    bounds: InkBox,
    cell: [f32; 2],
    rows: u32,
    columns: u32,
) -> impl Iterator<Item = (u32, u32)> {
    let range = |from: u32, to: u32, size: f32, count: u32| {
        (from as f32 / size) as u32..((to as f32 / size).ceil() as u32).min(count)
    };
    let across = range(bounds.left, bounds.right, cell[0], columns);
    let down = range(bounds.top, bounds.bottom, cell[1], rows);
    down.flat_map(move |row| across.clone().map(move |column| (row, column)))
}

/// Returns the share of a cell that a box covers, or 0 if the box covers less than half of the cell
/// and not its center.
fn share(bounds: InkBox, cell: [f32; 2], row: u32, column: u32) -> f32 {
    let along = |from: u32, to: u32, index: u32, size: f32| {
        let start = index as f32 * size;
        let covered = ((to as f32).min(start + size) - (from as f32).max(start)).max(0.0) / size;
        let center = start + size / 2.0;
        (covered, (from as f32..to as f32).contains(&center))
    };
    let (wide, x) = along(bounds.left, bounds.right, column, cell[0]);
    let (high, y) = along(bounds.top, bounds.bottom, row, cell[1]);
    let share = wide * high;
    if share >= 0.5 || (x && y) { share } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;
    use crate::typography::captions::Captions;
    use crate::typography::ground_truth::{DrawnField, DrawnLine};

    fn sample(characters: &[(&str, [u32; 4])]) -> TypographySample {
        let characters: Vec<DrawnCharacter> = characters
            .iter()
            .map(|(text, [left, top, right, bottom])| DrawnCharacter {
                text: (*text).to_owned(),
                bounds: InkBox {
                    left: *left,
                    top: *top,
                    right: *right,
                    bottom: *bottom,
                },
            })
            .collect();
        let bounds = characters[0].bounds;
        let line = DrawnLine {
            text: String::new(),
            bounds,
            characters,
        };
        TypographySample {
            image: RgbImage::new(32, 16),
            captions: Captions {
                english: String::new(),
                chinese: String::new(),
            },
            fields: vec![DrawnField {
                name: String::new(),
                words: String::new(),
                bounds,
                lines: vec![line],
                font: String::new(),
                color: "red",
            }],
            layout: String::new(),
            ground: String::new(),
        }
    }

    #[test]
    fn cells_belong_to_the_character_that_covers_most_of_them() {
        // 2 rows of 4 cells of 8x8 pixels.
        let grid = sample(&[("A", [0, 0, 10, 8]), ("9", [11, 0, 16, 8])]).character_grid(2, 4);
        assert_eq!(grid, [1, 36, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_thin_character_has_the_cell_of_its_center() {
        let grid = sample(&[
            ("I", [8, 0, 10, 16]),
            ("b", [24, 8, 32, 16]),
            ("-", [0, 0, 8, 8]),
        ])
        .character_grid(2, 4);
        assert_eq!(grid, [0, 0, 0, 0, 0, 9, 0, 2]);
    }

    #[test]
    fn every_class_is_used_once() {
        let characters = ('A'..='Z').chain('0'..='9');
        let classes: Vec<u8> = characters.filter_map(cell_class).collect();
        assert_eq!(classes, (1..CELL_CLASSES as u8).collect::<Vec<_>>());
        assert_eq!(
            (cell_class('z'), cell_class('!'), cell_class('招')),
            (Some(26), None, None)
        );
    }
}
