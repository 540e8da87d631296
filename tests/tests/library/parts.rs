//! Tests of replacing a model of a pipeline: a model that does not fit is rejected, and dependent
//! state is updated.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Tensor};
use burn_flex::{Flex, FlexDevice};
use ovis_image::config::TransformerConfig;
use ovis_image::error::{CheckpointError, RequestError};
use ovis_image::transformer::OvisImageTransformer;
use ovis_image::{LoadOptions, OvisImageError, OvisImagePipeline, WeightDtype};

use crate::support::{base_model, pipeline, request, values};

#[track_caller]
fn refused(pipeline: Result<OvisImagePipeline<Flex>, OvisImageError>, part: &str, words: &str) {
    let error = pipeline.unwrap_err();
    let message = error.to_string();
    assert!(
        matches!(&error, OvisImageError::Checkpoint(CheckpointError::InvalidConfig { part: known, .. }) if *known == part)
            && message.contains(words),
        "{message}"
    );
}

fn transformer(config: TransformerConfig) -> OvisImageTransformer<Flex> {
    config.init(&FlexDevice)
}

/// Casts every parameter.
struct Cast(DType);

impl ModuleMapper<Flex> for Cast {
    fn map_float<const D: usize>(
        &mut self,
        param: Param<Tensor<Flex, D>>,
    ) -> Param<Tensor<Flex, D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}

#[test]
fn a_transformer_of_other_latents_is_refused() {
    let mut config = pipeline().transformer().config();
    config.in_channels = 32;
    config.out_channels = Some(32);
    let other = pipeline().with_transformer(transformer(config));
    refused(other, "transformer", "latent_channels = 4 of the VAE");
}

#[test]
fn a_transformer_of_another_context_width_is_refused() {
    let mut config = pipeline().transformer().config();
    config.joint_attention_dim = 48;
    let other = pipeline().with_transformer(transformer(config));
    refused(other, "transformer", "joint_attention_dim = 48");
}

#[test]
fn a_transformer_of_several_dtypes_is_refused() {
    let mut mixed = pipeline().transformer().clone();
    mixed.image_embedder = mixed.image_embedder.map(&mut Cast(DType::BF16));
    let other = pipeline().with_transformer(mixed);
    refused(other, "transformer", "`image_embedder.weight` is BF16");
}

#[test]
fn a_dtype_that_weights_cannot_have_is_refused() {
    let wide = pipeline().transformer().clone().map(&mut Cast(DType::F64));
    let other = pipeline().with_transformer(wide);
    refused(other, "transformer", "its weights are F64");
}

#[test]
fn a_transformer_whose_sizes_do_not_fit_together_is_refused() {
    let mut odd = pipeline().transformer().clone();
    odd.image_embedder.bias = Some(Param::from_tensor(Tensor::zeros([3], &FlexDevice)));
    refused(
        pipeline().with_transformer(odd),
        "transformer",
        "`image_embedder.bias` has shape [3]",
    );
    let mut headless = pipeline().transformer().clone();
    headless.double_blocks.clear();
    headless.single_blocks.clear();
    refused(
        pipeline().with_transformer(headless),
        "transformer",
        "attention_head_dim",
    );
}

#[test]
fn a_vae_of_other_latents_is_refused() {
    let mut config = pipeline().vae().config();
    config.latent_channels = 8;
    let other = pipeline().with_vae(config.init(&FlexDevice));
    refused(other, "transformer", "latent_channels = 8 of the VAE");
}

#[test]
fn a_vae_of_several_dtypes_is_refused() {
    let mut mixed = pipeline().vae().clone();
    mixed.decoder.conv_in = mixed.decoder.conv_in.map(&mut Cast(DType::F16));
    refused(pipeline().with_vae(mixed), "VAE", "is F16");
}

#[test]
fn a_text_encoder_of_another_width_is_refused() {
    let mut config = pipeline().text_encoder().config();
    config.hidden_size = 48;
    let other = pipeline().with_text_encoder(config.init(&FlexDevice));
    refused(other, "transformer", "hidden_size = 48 of the text encoder");
}

#[test]
fn a_text_encoder_of_several_dtypes_is_refused() {
    let mut mixed = pipeline().text_encoder().clone();
    mixed.embedding = mixed.embedding.map(|table| table.cast(DType::BF16));
    let other = pipeline().with_text_encoder(mixed);
    refused(other, "text encoder", "`embedding` is BF16");
}

#[test]
fn models_that_were_loaded_fit_as_they_are() {
    let pipeline = pipeline();
    let same = pipeline
        .clone()
        .with_transformer(pipeline.transformer().clone())
        .and_then(|same| same.with_vae(pipeline.vae().clone()))
        .and_then(|same| same.with_text_encoder(pipeline.text_encoder().clone()))
        .unwrap();
    let (same, expected) = (same.generate(&request()), pipeline.generate(&request()));
    assert_eq!(
        same.unwrap().images[0].image,
        expected.unwrap().images[0].image
    );
}

#[test]
fn the_dtypes_follow_the_models() {
    let options = LoadOptions::new().with_dtype(WeightDtype::BF16);
    let half =
        OvisImagePipeline::<Flex>::from_pretrained(base_model(), options, &FlexDevice).unwrap();
    let guided = request().with_guidance_scale(3.0);
    let expected = half.generate(&guided).unwrap();
    // One model after another becomes bf16; the last image equals that of the bf16 pipeline.
    let mixed = pipeline()
        .with_transformer(half.transformer().clone())
        .unwrap();
    let output = mixed.generate(&guided).unwrap();
    assert_eq!(
        (output.settings.dtype, output.settings.vae_dtype),
        (WeightDtype::BF16, WeightDtype::F32)
    );
    let mixed = mixed.with_vae(half.vae().clone()).unwrap();
    assert_eq!(mixed.vae_dtype(), WeightDtype::BF16);
    mixed.generate(&guided).unwrap();
    let mixed = mixed
        .with_text_encoder(half.text_encoder().clone())
        .unwrap();
    let output = mixed.generate(&guided).unwrap();
    assert_eq!(values(output.latents), values(expected.latents));
    assert_eq!(output.images[0].image, expected.images[0].image);
}

#[test]
fn the_sizes_of_images_follow_the_vae() {
    let mut config = pipeline().vae().config();
    let widths = &mut config.block_out_channels;
    widths.push(widths[widths.len() - 1]);
    let multiple = pipeline().size_multiple();
    let other = pipeline().with_vae(config.init(&FlexDevice)).unwrap();
    assert_eq!(other.size_multiple(), 2 * multiple);
    let output = other.generate(&request()).unwrap();
    assert_eq!(output.images[0].image.dimensions(), (16, 16));
    let small = request().with_size(16 + multiple, 16);
    assert!(pipeline().generate(&small).is_ok());
    let error = other.generate(&small).unwrap_err();
    assert!(
        matches!(
            error,
            OvisImageError::Request(RequestError::InvalidSize { .. })
        ),
        "{error}"
    );
}
