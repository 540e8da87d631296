//! Tests of image to image, with and without a mask.

use image::{GrayImage, Luma, Rgb, RgbImage};
use ovis_image::error::RequestError;
use ovis_image::{GenerationRequest, OvisImageError, SourceImage};

use crate::support::{pipeline, request, values};

const SIDE: u32 = 32;

fn picture() -> RgbImage {
    RgbImage::from_fn(SIDE, SIDE, |x, y| Rgb([(7 * x) as u8, (5 * y) as u8, 128]))
}

fn base() -> GenerationRequest {
    request()
        .with_size(SIDE as usize, SIDE as usize)
        .with_num_inference_steps(5)
}

fn from(source: SourceImage) -> GenerationRequest {
    base().with_source_image(source)
}

#[test]
fn strength_0_gives_back_the_reconstruction() {
    let pipeline = pipeline();
    let output = pipeline
        .generate(&from(SourceImage::new(picture()).with_strength(0.0)))
        .unwrap();
    let latents = pipeline.encode_image(&picture()).unwrap();
    assert_eq!(values(output.latents), values(latents.clone()));
    let reconstruction = pipeline.decode_latents(latents, None).unwrap();
    assert_eq!(values(output.image_tensor), values(reconstruction));
    assert_eq!(output.settings.sigmas, [0.0]);
}

#[test]
fn strength_1_is_text_to_image() {
    let pipeline = pipeline();
    let output = pipeline
        .generate(&from(SourceImage::new(picture()).with_strength(1.0)))
        .unwrap();
    let plain = pipeline.generate(&base()).unwrap();
    assert_eq!(values(output.latents), values(plain.latents));
}

#[test]
fn the_last_steps_are_taken() {
    let pipeline = pipeline();
    let all = pipeline.generate(&base()).unwrap().settings.sigmas;
    let output = pipeline
        .generate(&from(SourceImage::new(picture()).with_strength(0.6)))
        .unwrap();
    assert_eq!(output.settings.sigmas, all[2..]);
    assert_eq!(output.settings.parameters.num_inference_steps, 5);
    assert_eq!(output.settings.source.unwrap().strength, 0.6);
}

#[test]
fn more_strength_is_further_from_the_picture() {
    let pipeline = pipeline();
    let source = values(pipeline.encode_image(&picture()).unwrap());
    let distance = |strength| {
        let request = from(SourceImage::new(picture()).with_strength(strength));
        let latents = values(pipeline.generate(&request).unwrap().latents);
        let squares = latents.iter().zip(&source).map(|(a, b)| (a - b).powi(2));
        squares.sum::<f32>()
    };
    assert!(distance(0.2) < distance(0.6) && distance(0.6) < distance(1.0));
}

fn mask(keep_below: u32) -> GrayImage {
    GrayImage::from_fn(SIDE, SIDE, |_, y| {
        Luma([if y < keep_below { 0 } else { 255 }])
    })
}

#[test]
fn pixels_outside_of_the_mask_are_kept() {
    let source = SourceImage::new(picture())
        .with_strength(0.8)
        .with_mask(mask(13));
    for source in [source.clone(), source.with_mask_blur(1.0)] {
        let output = pipeline().generate(&from(source)).unwrap();
        let image = &output.images[0].image;
        // The softened edge reaches a few pixels up.
        let kept = (0..8).flat_map(|y| (0..SIDE).map(move |x| (x, y)));
        for (x, y) in kept {
            assert_eq!(image.get_pixel(x, y), picture().get_pixel(x, y), "{x}, {y}");
        }
        let repainted = image.rows().skip(16).flatten();
        let original = picture();
        let original = original.rows().skip(16).flatten();
        assert!(repainted.zip(original).any(|(new, old)| new != old));
    }
}

#[test]
fn a_mask_that_keeps_all_gives_back_the_picture_and_one_that_keeps_nothing_is_none() {
    let pipeline = pipeline();
    let source = SourceImage::new(picture()).with_strength(0.7);
    let kept = pipeline
        .generate(&from(source.clone().with_mask(mask(SIDE))))
        .unwrap();
    assert_eq!(kept.images[0].image, picture());
    let free = pipeline
        .generate(&from(source.clone().with_mask(mask(0))))
        .unwrap();
    let unmasked = pipeline.generate(&from(source)).unwrap();
    assert_eq!(values(free.latents), values(unmasked.latents));
}

#[test]
fn the_kept_part_follows_the_noise_from_step_to_step() {
    let pipeline = pipeline();
    let source = SourceImage::new(picture())
        .with_strength(0.8)
        .with_mask(mask(16));
    let clean = pipeline.encode_image(&picture()).unwrap();
    let noise = pipeline.generate(&base()).unwrap().initial_latents;
    let [_, channels, rows, columns] = clean.dims();
    let upper = |tensor: burn::tensor::Tensor<burn_flex::Flex, 4>| {
        values(tensor.slice([0..1, 0..channels, 0..rows / 2, 0..columns]))
    };
    for step in pipeline.denoiser(&from(source)).unwrap() {
        let sigma = step.sigma_next;
        let expected = clean.clone() * (1.0 - sigma) + noise.clone() * sigma;
        assert_eq!(upper(step.latents()), upper(expected));
    }
}

#[test]
fn a_picture_of_any_size_is_fitted_and_starts_every_image() {
    let pipeline = pipeline();
    let wide = image::imageops::resize(&picture(), 50, 21, image::imageops::FilterType::Triangle);
    let request = from(SourceImage::new(wide).with_strength(0.4))
        .with_images_per_prompt(2)
        .with_seed_per_image([1, 2]);
    let output = pipeline.generate(&request).unwrap();
    for (index, image) in output.images.iter().enumerate() {
        let alone = request
            .clone()
            .with_images_per_prompt(1)
            .with_seed_per_image([index as u64 + 1]);
        let alone = pipeline.generate(&alone).unwrap();
        assert_eq!(image.image, alone.images[0].image);
    }
}

#[test]
fn what_is_no_source_is_refused_before_the_work() {
    let source = || SourceImage::new(picture());
    for (source, name) in [
        (source().with_strength(-0.1), "strength"),
        (source().with_strength(1.1), "strength"),
        (source().with_strength(f64::NAN), "strength"),
        (source().with_mask(GrayImage::new(3, 3)), "mask"),
        (
            source().with_mask(mask(3)).with_mask_blur(-1.0),
            "mask_blur",
        ),
        (
            source().with_mask(mask(3)).with_mask_blur(f32::NAN),
            "mask_blur",
        ),
        (SourceImage::new(RgbImage::new(0, 0)), "source_image"),
    ] {
        match pipeline().generate(&from(source)).unwrap_err() {
            OvisImageError::Request(RequestError::InvalidArgument { argument, .. }) => {
                assert_eq!(argument, name)
            }
            error => panic!("{error}"),
        }
    }
}
