//! Bucket of an image and its crop or padding, as fields of its row.

use serde_json::{Value, json};

use super::focus::Point;
use crate::dataset::manifest::Row;
use crate::shared::aspect_buckets::{Buckets, Size, fit};

/// Fields that this step writes.
const FIELDS: [&str; 4] = ["bucket", "crop", "pad", "resize"];

/// Bucket of an image, and the size to which the image is resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// Size of the image in training.
    pub bucket: Size,
    /// Size of the whole image after resizing.
    pub resize: Size,
    /// True if the image is padded to the bucket instead of cropped.
    pub is_padded: bool,
}

impl Choice {
    /// Chooses the bucket from the largest resolution that enlarges the image by at most a factor,
    /// or else from the smallest resolution. Images that show text are padded.
    pub(super) fn new(row: &Row, image: Size, all: &[Buckets], most_enlarged: f64) -> Self {
        let is_padded = shows_text(row);
        let of = |buckets: &Buckets| {
            let (bucket, cover) = buckets.select(image);
            let resize = if is_padded { fit(image, bucket) } else { cover };
            Self {
                bucket,
                resize,
                is_padded,
            }
        };
        let is_enlarged = |choice: &Self| {
            f64::from(choice.resize.0) > most_enlarged * f64::from(image.0)
                && f64::from(choice.resize.1) > most_enlarged * f64::from(image.1)
        };
        let mut choices = all.iter().rev().map(of);
        let smallest = all.first().map_or(
            Self {
                bucket: image,
                resize: image,
                is_padded,
            },
            of,
        );
        choices
            .find(|choice| !is_enlarged(choice))
            .unwrap_or(smallest)
    }

    /// Returns true if the image is cropped, so that the position of the crop matters.
    pub(super) fn is_cropped(&self) -> bool {
        !self.is_padded && self.resize != self.bucket
    }

    /// Returns true if a row already has this choice, with a crop.
    pub(super) fn is_in(&self, row: &Row) -> bool {
        let field = |name: &str| row.other.get(name);
        let is_whole = field("crop").is_some_and(|crop| {
            crop.as_array().is_some_and(|crop| {
                crop.len() == 4 && crop[2] == self.bucket.0 && crop[3] == self.bucket.1
            })
        });
        is_whole
            && field("bucket") == Some(&pair(self.bucket))
            && field("resize") == Some(&pair(self.resize))
    }

    /// Writes the choice into a row. The crop is centered on a point as well as the image allows.
    pub(super) fn write(&self, row: &mut Row, focus: Point) {
        for field in FIELDS {
            row.other.remove(field);
        }
        let mut write = |name: &str, value: Value| row.other.insert(name.to_owned(), value);
        write("bucket", pair(self.bucket));
        write("resize", pair(self.resize));
        let (bucket, resize) = (self.bucket, self.resize);
        if self.is_padded {
            let (left, top) = ((bucket.0 - resize.0) / 2, (bucket.1 - resize.1) / 2);
            let (right, bottom) = (bucket.0 - resize.0 - left, bucket.1 - resize.1 - top);
            write("pad", json!([left, top, right, bottom]));
        } else {
            let start = |focus: f64, whole: u32, part: u32| {
                let start = focus * f64::from(whole) - f64::from(part) / 2.0;
                start.round().clamp(0.0, f64::from(whole - part)) as u32
            };
            let left = start(focus.0, resize.0, bucket.0);
            let top = start(focus.1, resize.1, bucket.1);
            write("crop", json!([left, top, bucket.0, bucket.1]));
        }
    }
}

/// Returns true if a row lists text that its image shows.
pub(super) fn shows_text(row: &Row) -> bool {
    !row.texts.is_empty()
}

fn pair(size: Size) -> Value {
    json!([size.0, size.1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::manifest::Text;

    fn all() -> Vec<Buckets> {
        [256, 512, 1024].map(|side| Buckets::new(side, 64)).into()
    }

    #[test]
    fn text_is_padded_and_photographs_are_cropped_around_the_focus() {
        let mut row = Row::default();
        let photograph = Choice::new(&row, (1920, 1080), &all(), 1.0);
        photograph.write(&mut row, (0.95, 0.5));
        let [width, height] = [&row.other["bucket"][0], &row.other["bucket"][1]];
        assert_eq!(
            row.other["crop"],
            json!([photograph.resize.0 - photograph.bucket.0, 0, width, height])
        );
        assert!(photograph.is_in(&row) && !row.other.contains_key("pad"));

        row.texts.push(Text::default());
        let sign = Choice::new(&row, (1920, 1080), &all(), 1.0);
        sign.write(&mut row, (0.5, 0.5));
        assert!(!row.other.contains_key("crop") && sign.resize.1 <= sign.bucket.1);
        let pad: Vec<u64> = serde_json::from_value(row.other["pad"].clone()).unwrap();
        assert_eq!(
            pad[1] + pad[3] + u64::from(sign.resize.1),
            u64::from(sign.bucket.1)
        );
        assert_eq!(
            pad[0] + pad[2] + u64::from(sign.resize.0),
            u64::from(sign.bucket.0)
        );
    }

    #[test]
    fn images_are_enlarged_only_below_the_smallest_resolution() {
        let side = |size| Choice::new(&Row::default(), size, &all(), 1.0).bucket.0;
        assert_eq!(
            [
                (1024, 1024),
                (1000, 1000),
                (512, 512),
                (300, 300),
                (100, 100)
            ]
            .map(side),
            [1024, 512, 512, 256, 256]
        );
    }
}
