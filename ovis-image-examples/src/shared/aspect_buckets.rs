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
    use serde::Deserialize;

    use super::*;

    /// Cases of `tests/golden/dataset.json`, which `tests/reference/dataset.py` recorded.
    #[derive(Deserialize)]
    struct Recorded {
        buckets: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        side: u32,
        step: u32,
        sizes: Vec<Size>,
        /// Sizes of an image, of its bucket and of the resized image.
        choices: Vec<[Size; 3]>,
    }

    #[test]
    fn sizes_and_choices_are_those_of_kohyas_scripts() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path.join("../tests/golden/dataset.json")).unwrap();
        let recorded: Recorded = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(recorded.buckets.len(), 6);
        for case in recorded.buckets {
            let (side, step) = (case.side, case.step);
            let buckets = Buckets::new(side, step);
            assert_eq!(buckets.sizes, case.sizes, "{side}, {step}");
            assert!(case.choices.len() > 40);
            for [image, bucket, resized] in case.choices {
                let found = buckets.select(image);
                assert_eq!(found, (bucket, resized), "{image:?} at {side}, {step}");
            }
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
