//! Sizes of buckets and the choice of one, in the arithmetic of kohya's scripts
//! (`make_bucket_resolutions` and `BucketManager.select_bucket`).

/// Width and height in pixels.
pub type Size = (u32, u32);

/// Buckets of one resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets {
    /// Side of the square bucket.
    pub side: u32,
    /// Sizes, sorted.
    pub sizes: Vec<Size>,
}

impl Buckets {
    /// Lists the sizes of about `side * side` pixels whose sides are multiples of `step`, between
    /// half and twice `side`: aspect ratios from 0.25 to 4.
    #[must_use]
    pub fn new(side: u32, step: u32) -> Self {
        // Of sides that `step` does not divide, kohya's scripts make sizes that it does not divide.
        let (least, most) = ((side / 2).next_multiple_of(step), side * 2 / step * step);
        let area = side * side;
        let square = (side / step * step).max(step);
        let mut sizes = vec![(square, square)];
        let mut width = least;
        while width <= most {
            let height = most.min(area / width / step * step);
            if height >= least {
                sizes.extend([(width, height), (height, width)]);
            }
            width += step;
        }
        sizes.sort_unstable();
        sizes.dedup();
        Self { side, sizes }
    }

    /// Chooses the bucket whose aspect ratio differs least from an image's, and the size to which
    /// the image is resized so that it covers the bucket.
    pub fn select(&self, image: Size) -> (Size, Size) {
        let (width, height) = (f64::from(image.0), f64::from(image.1));
        let aspect = width / height;
        let difference = |size: &Size| (ratio(*size) - aspect).abs();
        let nearest = self
            .sizes
            .iter()
            // Of equal ones, the first.
            .min_by(|a, b| difference(a).total_cmp(&difference(b)));
        let same = self.sizes.binary_search(&image).is_ok();
        let bucket = if same {
            image
        } else {
            nearest.copied().unwrap_or(image)
        };
        let scale = if aspect > ratio(bucket) {
            f64::from(bucket.1) / height
        } else {
            f64::from(bucket.0) / width
        };
        (
            bucket,
            ((width * scale + 0.5) as u32, (height * scale + 0.5) as u32),
        )
    }
}

/// Returns the size to which an image is resized so that it fits into a bucket.
pub fn fit(image: Size, bucket: Size) -> Size {
    let (width, height) = (f64::from(image.0), f64::from(image.1));
    let scale = (f64::from(bucket.0) / width).min(f64::from(bucket.1) / height);
    let side = |length: f64, most: u32| ((length * scale + 0.5) as u32).clamp(1, most);
    (side(width, bucket.0), side(height, bucket.1))
}

fn ratio(size: Size) -> f64 {
    f64::from(size.0) / f64::from(size.1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn sizes_are_those_of_kohyas_scripts() {
        for (side, step, count, hash) in [
            (256, 16, 33, "f77726592c5cefa6"),
            (256, 64, 9, "e97e5deb0b0fbde6"),
            (512, 16, 65, "c29d6ae06bd89c8a"),
            (512, 64, 17, "162f28b7fd340b9b"),
            (1024, 16, 129, "38a179f5a9cf8a44"),
            (1024, 64, 33, "bae208340d1f5b60"),
        ] {
            let sizes = Buckets::new(side, step).sizes;
            assert_eq!(sizes.len(), count, "{side}, {step}");
            let text: Vec<String> = sizes.iter().map(|(w, h)| format!("{w}x{h}")).collect();
            let found = Sha256::digest(text.join(" ").as_bytes());
            let found: String = found
                .iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(found, hash, "{side}, {step}: {text:?}");
        }
    }

    #[test]
    fn choices_are_those_of_kohyas_scripts() {
        for (side, step, image, bucket, resized) in [
            (256, 16, (1024, 1024), (256, 256), (256, 256)),
            (512, 16, (1920, 1080), (672, 384), (683, 384)),
            (512, 64, (1080, 1920), (384, 640), (384, 683)),
            (512, 64, (512, 512), (512, 512), (512, 512)),
            (256, 16, (3000, 700), (512, 128), (549, 128)),
            (512, 16, (700, 3000), (256, 1024), (256, 1097)),
            (512, 64, (300, 299), (512, 512), (514, 512)),
            (1024, 16, (256, 1024), (512, 2048), (512, 2048)),
            (1024, 64, (1190, 3055), (640, 1600), (640, 1643)),
            (256, 16, (3792, 1400), (416, 144), (416, 154)),
            (256, 16, (204, 2760), (128, 512), (128, 1732)),
            (1024, 16, (3946, 3709), (1056, 992), (1056, 993)),
            (512, 16, (1828, 3073), (384, 656), (390, 656)),
            (256, 16, (3228, 1893), (320, 192), (327, 192)),
            (512, 16, (1515, 1045), (608, 416), (608, 419)),
            (1024, 16, (3216, 1982), (1296, 800), (1298, 800)),
            (512, 16, (1804, 3530), (368, 704), (368, 720)),
            (1024, 16, (861, 2677), (576, 1792), (576, 1792)),
            (1024, 64, (595, 3143), (512, 2048), (512, 2705)),
            (512, 64, (2179, 3499), (384, 640), (399, 640)),
            (1024, 16, (1342, 1263), (1056, 992), (1056, 994)),
            (1024, 64, (3566, 3953), (960, 1088), (981, 1088)),
            (1024, 64, (2512, 3595), (832, 1216), (850, 1216)),
            (256, 64, (1094, 3146), (128, 384), (134, 384)),
        ] {
            let buckets = Buckets::new(side, step);
            assert_eq!(
                buckets.select(image),
                (bucket, resized),
                "{image:?} at {side}, {step}"
            );
        }
    }

    proptest! {
        #[test]
        fn an_image_covers_its_bucket_and_fits_into_it(
            width in 64_u32..8000,
            height in 64_u32..8000,
            side in 64_u32..2048,
            step in prop::sample::select(vec![16_u32, 64]),
        ) {
            prop_assume!(width <= 4 * height && height <= 4 * width);
            let (bucket, resized) = Buckets::new(side, step).select((width, height));
            prop_assert!(resized.0 >= bucket.0 && resized.1 >= bucket.1);
            prop_assert_eq!((bucket.0 % step, bucket.1 % step), (0, 0));
            prop_assert!(resized.0 == bucket.0 || resized.1 == bucket.1);
            let fitted = fit((width, height), bucket);
            prop_assert!(fitted.0 <= bucket.0 && fitted.1 <= bucket.1);
            prop_assert!(fitted.0 == bucket.0 || fitted.1 == bucket.1);
        }
    }
}
