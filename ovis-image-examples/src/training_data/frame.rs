//! Place of an image in its bucket: resized, then cropped or padded.

use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageBuffer, Pixel, Rgb, RgbImage};
use serde::de::DeserializeOwned;

use crate::manifest::Row;

/// Size of a bucket, and the place of the resized image in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Width and height of the bucket.
    pub bucket: [u32; 2],
    /// Width and height of the whole image after resizing.
    pub resize: [u32; 2],
    /// Left and top of the resized image in the bucket: negative where it is cropped, positive
    /// where it is padded.
    pub place: [i64; 2],
}

/// Maximum side of a bucket and of a resized image, in pixels.
pub(super) const MOST_SIDE: u32 = 16_384;

impl Frame {
    /// Keeps an image as it is.
    pub fn whole(size: [u32; 2]) -> Self {
        Self {
            bucket: size,
            resize: size,
            place: [0, 0],
        }
    }

    /// Crops a resized image to a bucket that it covers, around its center.
    pub fn cropped(bucket: [u32; 2], resize: [u32; 2]) -> Self {
        Self {
            bucket,
            resize,
            place: centered(bucket, resize),
        }
    }

    /// Chooses the size whose aspect ratio differs least from an image's. Images that show text are
    /// resized to fit and padded, others are resized to cover the bucket and cropped, both centered.
    /// Returns `None` without sizes.
    pub fn nearest(image: [u32; 2], sizes: &[[u32; 2]], shows_text: bool) -> Option<Self> {
        let aspect = |size: [u32; 2]| (f64::from(size[0]) / f64::from(size[1])).ln();
        let difference = |size: &[u32; 2]| (aspect(*size) - aspect(image)).abs();
        let nearest = sizes
            .iter()
            .min_by(|a, b| difference(a).total_cmp(&difference(b)));
        let bucket = *nearest?;
        let scale = |axis: usize| f64::from(bucket[axis]) / f64::from(image[axis]);
        let scale = if shows_text {
            scale(0).min(scale(1))
        } else {
            scale(0).max(scale(1))
        };
        let side = |axis: usize| {
            let side = (f64::from(image[axis]) * scale + 0.5) as u32;
            if shows_text {
                side.clamp(1, bucket[axis])
            } else {
                side.max(bucket[axis])
            }
        };
        let resize = [side(0), side(1)];
        Some(Self {
            bucket,
            resize,
            place: centered(bucket, resize),
        })
    }

    /// Reads the fields that `dataset buckets` writes. Returns `None` if there is no `bucket`.
    ///
    /// # Errors
    /// Returns a description of a field that is wrong.
    pub fn of_row(row: &Row) -> Result<Option<Self>, String> {
        let Some(bucket) = field::<[u32; 2]>(row, "bucket")? else {
            return Ok(None);
        };
        let resize = field(row, "resize")?.unwrap_or(bucket);
        let mut sides = bucket.iter().chain(&resize);
        if let Some(side) = sides.find(|side| !(1..=MOST_SIDE).contains(*side)) {
            return Err(format!(
                "a side of {side} pixels is not from 1 to {MOST_SIDE}"
            ));
        }
        let crop = field::<[u32; 4]>(row, "crop")?;
        let pad = field::<[u32; 4]>(row, "pad")?;
        let place = match (crop, pad) {
            (Some([left, top, ..]), _) => [-i64::from(left), -i64::from(top)],
            (None, Some([left, top, ..])) => [left.into(), top.into()],
            (None, None) => [0, 0],
        };
        let fits = (0..2).all(|axis| {
            let end = place[axis] + i64::from(resize[axis]);
            let bucket = i64::from(bucket[axis]);
            // Cropped: nothing of the bucket is empty. Padded: nothing of the image is outside.
            if crop.is_some() {
                place[axis] <= 0 && end >= bucket
            } else {
                place[axis] >= 0 && end <= bucket
            }
        });
        if !fits {
            return Err("its `bucket`, `resize` and `crop` or `pad` contradict one another: run `dataset buckets` again".to_owned());
        }
        Ok(Some(Self {
            bucket,
            resize,
            place,
        }))
    }

    /// Fits an image to the bucket. Transparent parts become white, and padding repeats the pixels
    /// of the edge.
    pub fn apply(&self, image: DynamicImage) -> RgbImage {
        self.fit(opaque(image), FilterType::Lanczos3)
    }

    /// Fits a mask to the bucket, without values beyond those that it has.
    pub fn apply_to_mask(&self, mask: GrayImage) -> GrayImage {
        self.fit(mask, FilterType::Triangle)
    }

    fn fit<P>(
        &self,
        mut image: ImageBuffer<P, Vec<u8>>,
        filter: FilterType,
    ) -> ImageBuffer<P, Vec<u8>>
    where
        P: Pixel<Subpixel = u8> + 'static,
    {
        let [width, height] = self.resize;
        if image.dimensions() != (width, height) {
            image = imageops::resize(&image, width, height, filter);
        }
        if self.place == [0, 0] && self.resize == self.bucket {
            return image;
        }
        let inside = |at: u32, axis: usize, side: u32| {
            let at = i64::from(at) - self.place[axis];
            at.clamp(0, i64::from(side) - 1) as u32
        };
        ImageBuffer::from_fn(self.bucket[0], self.bucket[1], |x, y| {
            *image.get_pixel(inside(x, 0, width), inside(y, 1, height))
        })
    }

    /// Returns 1 for each cell of a grid over the bucket that shows a part of the image, and 0 for
    /// one that is all padding; row by row. `None` if the image fills the bucket.
    pub fn shown_cells(&self, [rows, columns]: [usize; 2]) -> Option<Vec<f32>> {
        let covers = |axis: usize| {
            self.place[axis] <= 0
                && self.place[axis] + i64::from(self.resize[axis]) >= i64::from(self.bucket[axis])
        };
        if covers(0) && covers(1) {
            return None;
        }
        let shows = |index: usize, count: usize, axis: usize| {
            let side = u64::from(self.bucket[axis]);
            let edge = |index: usize| (side * index as u64 / count.max(1) as u64) as i64;
            let end = self.place[axis] + i64::from(self.resize[axis]);
            edge(index) < end && edge(index + 1) > self.place[axis]
        };
        let cells = (0..rows).flat_map(|row| {
            (0..columns).map(move |column| {
                let shown = shows(row, rows, 1) && shows(column, columns, 0);
                f32::from(u8::from(shown))
            })
        });
        Some(cells.collect())
    }
}

/// Returns the place of a resized image in the middle of a bucket.
fn centered(bucket: [u32; 2], resize: [u32; 2]) -> [i64; 2] {
    [0, 1].map(|axis| (i64::from(bucket[axis]) - i64::from(resize[axis])) / 2)
}

fn field<T: DeserializeOwned>(row: &Row, name: &str) -> Result<Option<T>, String> {
    let Some(value) = row.other.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let read = serde_json::from_value(value.clone());
    read.map(Some)
        .map_err(|error| format!("its `{name}` is {value}: {error}"))
}

/// Blends an image with white where it is transparent.
fn opaque(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let image = image.into_rgba8();
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [red, green, blue, alpha] = image.get_pixel(x, y).0;
        let blend = |level: u8| {
            let (level, alpha) = (u32::from(level), u32::from(alpha));
            ((level * alpha + 255 * (255 - alpha) + 127) / 255) as u8
        };
        Rgb([red, green, blue].map(blend))
    })
}

#[cfg(test)]
mod tests {
    use image::Rgba;
    use serde_json::json;

    use super::*;

    fn row(fields: serde_json::Value) -> Row {
        let mut row = fields;
        row["image"] = json!("a.png");
        serde_json::from_value(row).unwrap()
    }

    #[test]
    fn crops_and_pads_of_the_manifest_are_applied() {
        let image = RgbImage::from_fn(8, 4, |x, y| Rgb([x as u8, y as u8, 0]));
        let cropped = row(json!({"bucket": [4, 4], "resize": [8, 4], "crop": [3, 0, 4, 4]}));
        let frame = Frame::of_row(&cropped).unwrap().unwrap();
        let cut = frame.apply(image.clone().into());
        assert_eq!(
            (cut.dimensions(), cut.get_pixel(0, 1).0),
            ((4, 4), [3, 1, 0])
        );
        assert_eq!(frame.shown_cells([2, 2]), None);

        let padded = row(json!({"bucket": [8, 16], "resize": [8, 4], "pad": [0, 6, 0, 6]}));
        let frame = Frame::of_row(&padded).unwrap().unwrap();
        let sheet = frame.apply(image.into());
        assert_eq!(sheet.dimensions(), (8, 16));
        assert_eq!(
            [0, 6, 9, 15].map(|y| sheet.get_pixel(5, y)[1]),
            [0, 0, 3, 3]
        );
        let cells = frame.shown_cells([4, 2]).unwrap();
        assert_eq!(cells, [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn fields_that_contradict_one_another_are_refused() {
        for fields in [
            json!({"bucket": [4, 4], "resize": [8, 4], "crop": [5, 0, 4, 4]}),
            json!({"bucket": [4, 4], "resize": [8, 4]}),
            json!({"bucket": [4, 4], "resize": [3, 4], "pad": [2, 0, 0, 0]}),
            json!({"bucket": [0, 4]}),
            json!({"bucket": [4, 1_000_000]}),
            json!({"bucket": "4x4"}),
            json!({"bucket": [4, 4], "crop": [-1, 0, 4, 4]}),
        ] {
            assert!(Frame::of_row(&row(fields.clone())).is_err(), "{fields}");
        }
        assert_eq!(Frame::of_row(&row(json!({}))), Ok(None));
    }

    #[test]
    fn the_nearest_shape_is_chosen_and_text_stays_whole() {
        let sizes = [[64, 64], [128, 32], [32, 128]];
        let photograph = Frame::nearest([400, 100], &sizes, false).unwrap();
        assert_eq!(
            photograph,
            Frame {
                bucket: [128, 32],
                resize: [128, 32],
                place: [0, 0]
            }
        );
        let wide = Frame::nearest([300, 200], &sizes, false).unwrap();
        assert_eq!(
            (wide.bucket, wide.resize, wide.place),
            ([64, 64], [96, 64], [-16, 0])
        );
        let sign = Frame::nearest([300, 200], &sizes, true).unwrap();
        assert_eq!((sign.resize, sign.place), ([64, 43], [0, 10]));
        assert_eq!(Frame::nearest([1, 1], &[], true), None);
    }

    #[test]
    fn transparent_parts_become_white() {
        let image = image::RgbaImage::from_pixel(2, 2, Rgba([0, 0, 0, 0]));
        let white = Frame::whole([2, 2]).apply(image.into());
        assert_eq!(white.get_pixel(1, 1).0, [255; 3]);
    }
}
