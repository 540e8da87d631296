//! Captions, in the bitmap font GNU Unifont, which has the characters of nearly every language.

use image::{Rgb, RgbImage};
use unifont::Glyph;

/// Height of a line in pixels of the font.
pub const HEIGHT: u32 = 16;

const BLACK: Rgb<u8> = Rgb([0; 3]);

/// Character that stands for one that the font lacks.
const UNKNOWN: char = '\u{fffd}';

/// Ellipsis at the end of a caption that was shortened.
const REST: &str = "..";

/// Computes the width of a text in pixels of the font.
pub fn width(text: &str) -> u32 {
    text.chars().map(character_width).sum()
}

/// Writes a caption, shortened to a width and `scale` times as large as the font.
pub fn write(sheet: &mut RgbImage, caption: &str, [x, y]: [u32; 2], most: u32, scale: u32) {
    let mut left = x;
    for character in shortened(caption, most / scale).chars() {
        if let Some(glyph) = glyph(character) {
            draw(sheet, glyph, [left, y], scale);
        }
        left = left.saturating_add(character_width(character) * scale);
    }
}

fn shortened(caption: &str, most: u32) -> String {
    if width(caption) <= most {
        return caption.to_owned();
    }
    let Some(most) = most.checked_sub(width(REST)) else {
        return String::new();
    };
    let mut used = 0;
    let fitting = caption.chars().take_while(|character| {
        used += character_width(*character);
        used <= most
    });
    fitting.chain(REST.chars()).collect()
}

fn draw(sheet: &mut RgbImage, glyph: &Glyph, [x, y]: [u32; 2], scale: u32) {
    let width = glyph.get_width() as u32;
    for (down, across) in
        (0..HEIGHT * scale).flat_map(|down| (0..width * scale).map(move |x| (down, x)))
    {
        let (column, row) = ((across / scale) as usize, (down / scale) as usize);
        if glyph.get_pixel(column, row)
            && let Some(pixel) = sheet.get_pixel_mut_checked(x + across, y + down)
        {
            *pixel = BLACK;
        }
    }
}

fn character_width(character: char) -> u32 {
    glyph(character).map_or(0, |glyph| glyph.get_width() as u32)
}

fn glyph(character: char) -> Option<&'static Glyph> {
    unifont::get_glyph(character).or_else(|| unifont::get_glyph(UNKNOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns that have ink.
    fn inked(caption: &str, most: u32, scale: u32) -> Vec<u32> {
        let mut sheet = RgbImage::from_pixel(200, 40, Rgb([255; 3]));
        write(&mut sheet, caption, [4, 4], most, scale);
        let has_ink = |x: &u32| (0..40).any(|y| *sheet.get_pixel(*x, y) == BLACK);
        (0..200).filter(has_ink).collect()
    }

    #[test]
    fn chinese_and_latin_are_drawn_apart() {
        assert_eq!((width("seed 1"), width("猫")), (48, 16));
        let ink = |text: &str| {
            let mut sheet = RgbImage::from_pixel(32, 16, Rgb([255; 3]));
            write(&mut sheet, text, [0, 0], 32, 1);
            sheet
        };
        let sheets = ["猫", "狗", "é", "ß", "\u{10ffff}"].map(ink);
        for (index, sheet) in sheets.iter().enumerate() {
            assert!(sheet.pixels().any(|pixel| *pixel == BLACK), "{index}");
            assert!(!sheets[..index].contains(sheet), "{index}");
        }
        // Emoji are beyond the font.
        assert_eq!(ink("🐈"), ink("\u{fffd}"));
    }

    #[test]
    fn captions_stay_within_their_width_at_every_scale() {
        for (caption, most, scale) in [
            ("a caption that is far too long", 80, 1),
            ("一只很长很长的猫的说明文字", 81, 1),
            ("a caption that is far too long", 80, 2),
        ] {
            let columns = inked(caption, most, scale);
            assert!(!columns.is_empty());
            assert!(
                columns.iter().all(|x| (4..4 + most).contains(x)),
                "{columns:?}"
            );
        }
        assert!(inked("", 80, 1).is_empty());
        assert!(inked("long", 10, 1).is_empty());
    }

    #[test]
    fn the_edge_of_the_sheet_is_no_fault() {
        let mut sheet = RgbImage::new(3, 3);
        write(&mut sheet, "猫", [1, 1], 100, 3);
    }
}
