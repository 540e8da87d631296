//! Colors with names in both languages, and the contrast between colors.

/// A color that captions can name.
#[derive(Debug, PartialEq)]
pub(super) struct Color {
    /// English name.
    pub(super) name: &'static str,
    /// Chinese name.
    pub(super) chinese: &'static str,
    /// Red, green and blue.
    pub(super) rgb: [u8; 3],
}

const fn color(name: &'static str, chinese: &'static str, rgb: [u8; 3]) -> Color {
    Color { name, chinese, rgb }
}

/// All colors. Presets choose by name.
pub(super) static COLORS: [Color; 18] = [
    color("red", "红色", [214, 32, 32]),
    color("white", "白色", [255, 255, 255]),
    color("blue", "蓝色", [24, 60, 204]),
    color("black", "黑色", [0, 0, 0]),
    color("yellow", "黄色", [255, 224, 24]),
    color("green", "绿色", [16, 136, 48]),
    color("purple", "紫色", [120, 32, 156]),
    color("orange", "橙色", [255, 140, 0]),
    color("pink", "粉色", [255, 176, 200]),
    color("brown", "棕色", [104, 60, 28]),
    color("gray", "灰色", [128, 128, 128]),
    color("light gray", "浅灰色", [216, 216, 216]),
    color("dark gray", "深灰色", [56, 56, 60]),
    color("cyan", "青色", [64, 208, 224]),
    color("navy", "藏青色", [12, 24, 84]),
    color("dark green", "深绿色", [8, 72, 36]),
    color("maroon", "栗色", [104, 8, 32]),
    color("beige", "米色", [244, 232, 208]),
];

/// Returns the color of this English name.
pub(super) fn by_name(name: &str) -> Option<&'static Color> {
    COLORS.iter().find(|color| color.name == name)
}

/// Returns the one of some named colors that is nearest to a color, by the distance of red, green
/// and blue. Unknown names are passed over.
pub fn nearest_color<'n>(rgb: [u8; 3], names: &[&'n str]) -> Option<&'n str> {
    let distance = |name: &&&str| {
        by_name(name).map(|color| {
            let channels = color.rgb.iter().zip(rgb);
            channels
                .map(|(own, other)| u32::from(own.abs_diff(other)).pow(2))
                .sum::<u32>()
        })
    };
    let known = names.iter().filter(|name| by_name(name).is_some());
    known.min_by_key(distance).copied()
}

/// Returns the contrast ratio of two colors as WCAG defines it: 1 for equal ones, 21 for black and
/// white.
pub(super) fn contrast(first: [u8; 3], second: [u8; 3]) -> f32 {
    let (first, second) = (luminance(first), luminance(second));
    (first.max(second) + 0.05) / (first.min(second) + 0.05)
}

/// Relative luminance of sRGB, from 0 for black to 1 for white.
fn luminance(rgb: [u8; 3]) -> f32 {
    let linear = rgb.map(|channel| {
        let value = f32::from(channel) / 255.0;
        if value <= 0.04045 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_is_that_of_the_definition() {
        assert!((contrast([0; 3], [255; 3]) - 21.0).abs() < 1e-4);
        assert!((contrast([9, 8, 7], [9, 8, 7]) - 1.0).abs() < 1e-6);
        // Known from tables: #777777 on white.
        assert!((contrast([0x77; 3], [255; 3]) - 4.48).abs() < 0.01);
    }

    #[test]
    fn the_nearest_color_is_among_the_named_ones() {
        let names = ["white", "red", "orange", "no color"];
        assert_eq!(nearest_color([255, 120, 10], &names), Some("orange"));
        assert_eq!(nearest_color([200, 40, 40], &names), Some("red"));
        assert_eq!(nearest_color([0; 3], &["no color"]), None);
    }

    #[test]
    fn names_are_unique_in_both_languages() {
        for (index, color) in COLORS.iter().enumerate() {
            for other in &COLORS[..index] {
                assert!(color.name != other.name && color.chinese != other.chinese);
            }
        }
    }
}
