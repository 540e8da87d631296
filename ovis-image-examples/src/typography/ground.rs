//! Ground of an image, below everything else: a color, a gradient, a texture or a photograph.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::error::{ImageError, LimitError, LimitErrorKind};
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};

use super::canvas::{Gradient, Paint, filled};
use super::captions::Language;
use super::colors::{Color, contrast};
use super::error::TypographyError;
use super::fonts::files_of;
use super::preset::{Area, Layout, named};
use super::random::Random;

/// Largest change of a channel by a texture, up or down.
const TEXTURE: u8 = 12;

/// Maximum number of pixels of a photograph, as in `dataset ingest`.
const MOST_PIXELS: u64 = 1 << 26;

/// Most bytes that decoding a photograph may use: 8 bytes per pixel, and as much for the decoder.
const MOST_BYTES: u64 = 16 * MOST_PIXELS;

/// Photographs to draw on.
#[derive(Clone, Debug)]
pub struct Backgrounds(Arc<Vec<PathBuf>>);

impl Backgrounds {
    /// Lists the images of a folder and of the folders in it.
    ///
    /// # Errors
    /// Returns an error that names the folder if it cannot be read or contains no image.
    pub fn of_folder(folder: &Path) -> Result<Self, TypographyError> {
        let files = files_of(folder, &["png", "jpg", "jpeg", "webp"])?;
        if files.is_empty() {
            return Err(TypographyError::NoBackgrounds(folder.to_owned()));
        }
        Ok(Self(Arc::new(files)))
    }

    /// Returns the files in the order in which they are numbered.
    pub fn files(&self) -> &[PathBuf] {
        &self.0
    }
}

/// Ground of one image.
pub(super) enum Ground {
    Flat(&'static Color),
    Gradient(&'static Color, &'static Color, Gradient),
    Grain(&'static Color, u64),
    Stripes(&'static Color, Stripes),
    Photograph(RgbImage),
}

/// Alternating stripes, slightly lighter and slightly darker.
pub(super) struct Stripes {
    /// Width of one stripe in pixels.
    width: f32,
    /// Direction across the stripes.
    across: [f32; 2],
}

impl Ground {
    /// Draws a ground of a layout.
    pub(super) fn draw(
        random: &mut Random,
        layout: &Layout,
        backgrounds: Option<&Backgrounds>,
        [width, height]: [u32; 2],
    ) -> Result<Self, TypographyError> {
        let weights = &layout.ground;
        let photograph = if backgrounds.is_some() {
            weights.photograph
        } else {
            0.0
        };
        let weights = [
            weights.flat,
            weights.gradient,
            weights.grain,
            weights.stripes,
            photograph,
        ];
        let colors = named(&layout.ground_colors);
        // A checked layout has colors, and white is known.
        let color = *random.choice(&colors).unwrap_or(&&super::colors::COLORS[1]);
        Ok(match (random.weighted(weights.into_iter()), backgrounds) {
            (Some(1), _) => {
                let other = *random.choice(&colors).unwrap_or(&color);
                let gradient = across(random, color, other, [width as f32, height as f32]);
                Self::Gradient(color, other, gradient)
            }
            (Some(2), _) => Self::Grain(color, random.below(1 << 30) as u64),
            (Some(3), _) => {
                let angle = random.number([0.0, std::f32::consts::TAU]);
                Self::Stripes(
                    color,
                    Stripes {
                        width: random.number([0.02, 0.08]) * width.min(height) as f32,
                        across: [angle.cos(), angle.sin()],
                    },
                )
            }
            (Some(4), Some(backgrounds)) => {
                Self::Photograph(photograph_of(random, backgrounds, [width, height])?)
            }
            _ => Self::Flat(color),
        })
    }

    /// Returns an adjective: `red`, `red to blue gradient`, `textured red`.
    pub(super) fn name(&self, language: Language) -> String {
        let english = language == Language::English;
        match self {
            Self::Flat(color) if english => color.name.to_owned(),
            Self::Flat(color) => color.chinese.to_owned(),
            Self::Gradient(from, to, _) if english => {
                format!("{} to {} gradient", from.name, to.name)
            }
            Self::Gradient(from, to, _) => format!("{}到{}渐变", from.chinese, to.chinese),
            Self::Grain(color, _) if english => format!("grainy {}", color.name),
            Self::Grain(color, _) => format!("带颗粒的{}", color.chinese),
            Self::Stripes(color, _) if english => format!("striped {}", color.name),
            Self::Stripes(color, _) => format!("带条纹的{}", color.chinese),
            Self::Photograph(_) if english => "photographic".to_owned(),
            Self::Photograph(_) => "照片".to_owned(),
        }
    }

    /// Returns the colors that a text in the area must stand out from.
    pub(super) fn colors(&self, area: &Area) -> Vec<[u8; 3]> {
        match self {
            Self::Flat(color) | Self::Grain(color, _) | Self::Stripes(color, _) => vec![color.rgb],
            Self::Gradient(from, to, _) => {
                let middle =
                    std::array::from_fn(|channel| from.rgb[channel].midpoint(to.rgb[channel]));
                vec![from.rgb, middle, to.rgb]
            }
            Self::Photograph(image) => vec![mean(image, area)],
        }
    }

    pub(super) fn paint(&self, [width, height]: [u32; 2]) -> RgbImage {
        match self {
            Self::Flat(color) => filled(width, height, &Paint::Flat(color.rgb)),
            Self::Gradient(_, _, gradient) => filled(width, height, &Paint::Gradient(*gradient)),
            Self::Grain(color, seed) => {
                let mut random = fastrand::Rng::with_seed(*seed);
                let mut image = filled(width, height, &Paint::Flat(color.rgb));
                for pixel in image.pixels_mut() {
                    let change = random.u8(0..=2 * TEXTURE);
                    pixel.0 = pixel
                        .0
                        .map(|channel| (channel.saturating_add(change)).saturating_sub(TEXTURE));
                }
                image
            }
            Self::Stripes(color, stripes) => {
                let mut image = filled(width, height, &Paint::Flat(color.rgb));
                for (x, y, pixel) in image.enumerate_pixels_mut() {
                    let place = x as f32 * stripes.across[0] + y as f32 * stripes.across[1];
                    if (place / stripes.width.max(1.0)).rem_euclid(2.0) < 1.0 {
                        pixel.0 = pixel.0.map(|channel| {
                            if channel < 128 {
                                channel + TEXTURE
                            } else {
                                channel - TEXTURE
                            }
                        });
                    }
                }
                image
            }
            Self::Photograph(image) => image.clone(),
        }
    }
}

/// Returns a gradient across a rectangle of this size, at a random angle.
pub(super) fn across(
    random: &mut Random,
    from: &Color,
    to: &Color,
    [width, height]: [f32; 2],
) -> Gradient {
    let angle = random.number([0.0, std::f32::consts::TAU]);
    let reach = (width * angle.cos()).abs() + (height * angle.sin()).abs();
    let way = [reach * angle.cos(), reach * angle.sin()];
    Gradient {
        from: from.rgb,
        to: to.rgb,
        start: [(width - way[0]) / 2.0, (height - way[1]) / 2.0],
        way,
    }
}

/// Decodes a photograph and crops a random part with the aspect ratio of the image.
fn photograph_of(
    random: &mut Random,
    backgrounds: &Backgrounds,
    [width, height]: [u32; 2],
) -> Result<RgbImage, TypographyError> {
    let files = backgrounds.files();
    let path = &files[random.below(files.len())];
    let photograph = upright(path)?;
    let scale =
        (photograph.width() as f32 / width as f32).min(photograph.height() as f32 / height as f32);
    let side = |size: u32, most: u32| ((size as f32 * scale) as u32).clamp(1, most);
    let part = [
        side(width, photograph.width()),
        side(height, photograph.height()),
    ];
    let left = random.below((photograph.width() - part[0]) as usize + 1) as u32;
    let top = random.below((photograph.height() - part[1]) as usize + 1) as u32;
    let part = image::imageops::crop_imm(&photograph, left, top, part[0], part[1]).to_image();
    Ok(image::imageops::resize(
        &part,
        width,
        height,
        FilterType::Triangle,
    ))
}

/// Decodes a photograph and turns it as its EXIF orientation says.
fn upright(path: &Path) -> Result<RgbImage, TypographyError> {
    let failed = |source| TypographyError::Background {
        path: path.to_owned(),
        source,
    };
    let opened = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    let mut reader = opened.map_err(|source| TypographyError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        let kind = LimitErrorKind::DimensionError;
        return Err(failed(ImageError::Limits(LimitError::from_kind(kind))));
    }
    // If the metadata is damaged, the photograph is taken as it is stored.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut photograph = DynamicImage::from_decoder(decoder).map_err(failed)?;
    photograph.apply_orientation(orientation);
    Ok(photograph.into_rgb8())
}

/// Returns the mean color of an area.
fn mean(image: &RgbImage, [left, top, width, height]: &Area) -> [u8; 3] {
    let scaled = |share: f32, size: u32| ((share * size as f32) as u32).min(size);
    let columns = scaled(*left, image.width())..scaled(left + width, image.width());
    let rows = scaled(*top, image.height())..scaled(top + height, image.height());
    let mut sums = [0_u64; 3];
    let mut count = 0;
    for y in rows {
        for x in columns.clone() {
            for (sum, value) in sums.iter_mut().zip(image.get_pixel(x, y).0) {
                *sum += u64::from(value);
            }
            count += 1;
        }
    }
    sums.map(|sum| (sum / count.max(1)) as u8)
}

/// Returns the colors of a list that stand out from all others.
pub(super) fn standing_out(
    colors: Vec<&'static Color>,
    from: &[[u8; 3]],
    least: f32,
) -> Vec<&'static Color> {
    let stands_out = |color: &&Color| {
        from.iter()
            .all(|other| contrast(color.rgb, *other) >= least)
    };
    colors.into_iter().filter(stands_out).collect()
}

#[cfg(test)]
mod tests {
    use image::codecs::png::PngEncoder;
    use image::{ExtendedColorType, ImageEncoder};

    use super::*;

    #[test]
    fn photographs_are_turned_and_those_that_are_too_large_are_not_decoded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("photograph.png");
        // A little-endian TIFF with the tag of the orientation alone: a quarter turn.
        let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let mut bytes = Vec::new();
        let mut encoder = PngEncoder::new(&mut bytes);
        encoder.set_exif_metadata(exif.to_vec()).unwrap();
        encoder
            .write_image(&[255, 0, 0, 0, 0, 255], 2, 1, ExtendedColorType::Rgb8)
            .unwrap();
        std::fs::write(&path, bytes).unwrap();
        let turned = upright(&path).unwrap();
        assert_eq!(
            (turned.dimensions(), turned[(0, 0)].0),
            ((1, 2), [255, 0, 0])
        );

        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 100_000, 100_000);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        let mut writer = encoder.write_header().unwrap();
        let empty = [0x78, 0x9c, 0x03, 0, 0, 0, 0, 1];
        writer.write_chunk(png::chunk::IDAT, &empty).unwrap();
        drop(writer);
        std::fs::write(&path, bytes).unwrap();
        let refused = upright(&path).unwrap_err();
        assert!(refused.to_string().contains("photograph.png"), "{refused}");
    }
}
