//! Tests of the autoencoder with random weights.

use burn::module::Param;

use super::{AutoencoderKl, VaeTiling};
use crate::config::VaeConfig;
use crate::testing::{TestBackend, TestTensor, assert_close, random, randomized, tensor, values};

fn model() -> AutoencoderKl<TestBackend> {
    randomized(VaeConfig::tiny().init(&Default::default()), 1)
}

/// Equal latents of 20 x 20.
fn constant_latents() -> TestTensor<4> {
    let pixel: TestTensor<4> = random(2, [1, 4, 1, 1]);
    pixel.expand([1, 4, 20, 20])
}

#[test]
fn decoding_doubles_the_side_for_each_level_but_one() {
    let model = model();
    let decoded = model.decode(random(3, [2, 4, 3, 5]));
    assert_eq!(decoded.dims(), [2, 3, 6, 10]);
    assert!(values(decoded).iter().all(|value| value.is_finite()));
}

#[test]
fn an_item_alone_is_decoded_as_in_a_batch() {
    let model = model();
    let latents: TestTensor<4> = random(3, [2, 4, 4, 4]);
    let batch = model.decode(latents.clone());
    for index in 0..2 {
        let alone = model.decode(latents.clone().narrow(0, index, 1));
        assert_close(alone, batch.clone().narrow(0, index, 1), 1e-5);
    }
}

#[test]
fn encoding_halves_the_side_for_each_level_but_one() {
    let distribution = model().encode(random(3, [2, 3, 6, 10]));
    assert_eq!(distribution.mean.dims(), [2, 4, 3, 5]);
    assert_eq!(distribution.log_variance.dims(), [2, 4, 3, 5]);
    let variance = values(distribution.log_variance.clone());
    assert!(variance.iter().all(|value| (-30.0..=20.0).contains(value)));

    let zeros = distribution.mean.zeros_like();
    assert_close(
        distribution.sample(zeros.clone()),
        distribution.mean.clone(),
        0.0,
    );
    let one_deviation = distribution.sample(zeros + 1.0) - distribution.mean;
    let deviation = (distribution.log_variance * 0.5).exp();
    assert_close(one_deviation, deviation, 1e-5);
}

#[test]
fn scaling_is_undone_by_decoding() {
    let model = model();
    let latents: TestTensor<4> = random(3, [1, 4, 4, 4]);
    let decoded = model.decode(model.scale(latents.clone()));
    assert_close(decoded, model.decoder.forward(latents), 1e-4);
}

#[test]
fn one_color_stays_one_color_in_tiles() {
    let mut model = model();
    let color = [0.25, -0.5, 0.75];
    let last = &mut model.decoder.conv_out;
    last.weight = Param::from_tensor(last.weight.val().zeros_like());
    last.bias = Param::from_tensor(tensor([3], color));
    let expected: TestTensor<4> = tensor([1, 3, 1, 1], color);
    let tiled = model.decode_tiled(constant_latents(), VaeTiling::new(16));
    assert_close(tiled, expected.expand([1, 3, 40, 40]), 0.0);
}

#[test]
fn equal_latents_give_equal_tiles() {
    // Tiles of 8 latents start at 0, 6, 12 and 18. The second and the third are complete and
    // each follows a complete one.
    let tiled = model().decode_tiled(constant_latents(), VaeTiling::new(16));
    assert_eq!(tiled.dims(), [1, 3, 40, 40]);
    let band = |axis, from| tiled.clone().narrow(axis, from, 12);
    for axis in [2, 3] {
        assert_close(band(axis, 12), band(axis, 24), 1e-6);
        assert_ne!(values(band(axis, 0)), values(band(axis, 12)));
    }
}

#[test]
fn a_tile_that_holds_all_is_the_whole_decode() {
    let model = model();
    let latents: TestTensor<4> = random(3, [1, 4, 8, 6]);
    let tiled = model.decode_tiled(latents.clone(), VaeTiling::new(16));
    assert_close(tiled, model.decode(latents), 0.0);
}

#[test]
fn the_only_matrices_are_those_of_attention() {
    // An export to the authors' layout makes 1 x 1 convolutions of them.
    for parameter in VaeConfig::tiny().parameters() {
        let is_matrix = parameter.shape.len() == 2;
        let path = &parameter.path;
        let is_attention = path.contains(".attention.") && path.ends_with(".weight");
        assert_eq!(
            is_matrix,
            is_attention && !path.contains(".norm."),
            "{path}"
        );
    }
}
