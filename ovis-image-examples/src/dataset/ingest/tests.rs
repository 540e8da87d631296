//! Compares hashes and measures with those that Python computed: Pillow 13.0.0, ImageHash 4.3.2,
//! numpy 2.4.6.

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use super::measure::measure;
use super::perceptual_hash::from_hex;

/// Number of the image, `imagehash.phash`, variance of the Laplacian, and largest standard
/// deviation of a channel.
const RECORDED: [(i64, &str, f64, f64); 30] = [
    (0, "fa00b5208f7d837e", 5307.895, 73.893),
    (1, "c401a728d77e55ba", 4290.271, 73.88),
    (2, "eb3fc1946897b04a", 7200.061, 74.011),
    (3, "f7409500957fd572", 4206.778, 73.888),
    (4, "e732c99dc8326627", 13073.781, 73.912),
    (5, "a7539d30872da92b", 11009.984, 75.469),
    (6, "ea3ac391c03a6b3b", 8039.825, 73.961),
    (7, "8516a6696bc6b23d", 3178.822, 73.863),
    (8, "e72299d9d9622672", 14855.528, 73.9),
    (9, "a075cacbda716465", 8529.708, 73.936),
    (10, "85058505fafbfa07", 854.889, 76.875),
    (11, "9911c6e63b6c4e33", 492.006, 77.681),
    (12, "fa2a8aa02a807fdf", 817.893, 77.113),
    (13, "b333b333cccde408", 618.878, 77.305),
    (14, "a0758adf8a756174", 932.812, 77.247),
    (15, "a220170f1f3c7377", 855.379, 77.283),
    (16, "ff28d780d7287f00", 771.977, 77.253),
    (17, "88ab2c7157663ada", 235.199, 19.33),
    (18, "f622999cdc2263b6", 920.994, 77.261),
    (19, "a07dc0d5807f287f", 759.56, 77.264),
    (20, "9a1a1ae71af418e7", 567.142, 77.031),
    (21, "a92ed629d629d629", 574.202, 65.908),
    (22, "f80080807fff28ff", 594.966, 77.36),
    (23, "ab2b2bd4955d2a29", 539.33, 76.738),
    (24, "aa7f8a8f9a2a2a2a", 713.502, 77.245),
    (25, "a07dd6c0878c9bb6", 552.226, 77.308),
    (26, "fa7ecada8a6a2828", 607.29, 77.333),
    (27, "a487d89ac7e070eb", 242.992, 19.542),
    (28, "a227cd8dd9672233", 744.37, 77.217),
    (29, "a168c4d5917415ff", 616.292, 77.175),
];

const SIZES: [(i64, i64); 10] = [
    (64, 64),
    (32, 32),
    (200, 120),
    (33, 77),
    (640, 480),
    (1000, 31),
    (300, 300),
    (16, 16),
    (1024, 768),
    (511, 257),
];

/// Draws the image that Python drew, in integers.
pub(super) fn drawn(number: i64) -> DynamicImage {
    let (width, height) = SIZES[number as usize % SIZES.len()];
    let k = number + 1;
    let image = RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let (x, y) = (i64::from(x), i64::from(y));
        let mut color = [
            (x * x * k + y * 7 + x * y / (k + 3)) % 256,
            (((x - width / 2).pow(2) + (y - height / 3).pow(2) * k) / (17 * k)) % 256,
            (x * 255 / width + y * (3 + k)) % 256,
        ];
        if number >= 10 {
            let square = (x / (5 + number) + y / (9 + number)) % 2;
            let [r, g, b] = color;
            color = [r / 4 + square * 150, g / 8 + 60, b / 16 + square * 40];
        }
        Rgb(color.map(|value| value as u8))
    });
    image.into()
}

#[test]
fn hashes_and_measures_are_those_of_python() {
    let mut different = Vec::new();
    for (number, hash, sharpness, contrast) in RECORDED {
        let measures = measure(&drawn(number));
        let bits = (measures.phash ^ from_hex(hash).unwrap()).count_ones();
        if bits > 0 {
            different.push((number, bits));
        }
        let found = format!("image {number}: {measures:?}");
        assert!((measures.sharpness - sharpness).abs() <= 0.001, "{found}");
        assert!((measures.contrast - contrast).abs() <= 0.001, "{found}");
    }
    // Two frequencies whose values are close to the median change sides.
    let most = different.iter().map(|(_, bits)| *bits).max().unwrap_or(0);
    assert!(different.len() <= 1 && most <= 4, "{different:?}");
}

#[test]
fn alpha_gray_and_deep_images_are_measured() {
    let image = drawn(2);
    let plain = measure(&image);
    assert_eq!(measure(&image.to_rgba8().into()), plain);
    assert_eq!(measure(&image.to_rgb16().into()), plain);
    let gray = measure(&image.to_luma8().into());
    assert_eq!(measure(&image.to_luma8().into()), gray);
    assert_eq!(
        measure(&DynamicImage::from(image.to_luma_alpha8())).phash,
        gray.phash
    );
}

#[test]
fn an_image_that_changes_in_one_direction_has_a_stable_hash() {
    let bars = RgbImage::from_fn(100, 80, |x, _| Rgb([(x * 2) as u8; 3]));
    let turned = RgbImage::from_fn(80, 100, |_, y| Rgb([(y * 2) as u8; 3]));
    for image in [bars, turned] {
        let hash = measure(&image.into()).phash;
        // Of the 64 frequencies, only those of one direction are above the median.
        assert!(hash.count_ones() <= 8, "{hash:016x}");
    }
    assert_eq!(from_hex("00000000000000ff"), Some(255));
}

#[test]
fn small_changes_move_few_bits() {
    let image = drawn(14);
    let hash = measure(&image).phash;
    let mut jpeg = std::io::Cursor::new(Vec::new());
    image.write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
    let again = image::load_from_memory(jpeg.get_ref()).unwrap();
    let smaller = image.resize_exact(320, 240, image::imageops::FilterType::Triangle);
    for changed in [again, smaller] {
        let distance = (measure(&changed).phash ^ hash).count_ones();
        assert!(distance <= 4, "{distance} bits");
    }
}
