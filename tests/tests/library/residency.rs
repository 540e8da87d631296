//! Where weights are while nothing uses them, and that no image depends on it.

use burn::module::Module;
use burn::tensor::DType;
use burn_flex::{Flex, FlexDevice};
use image::RgbImage;
use ovis_image::transformer::TransformerInput;
use ovis_image::{LoadOptions, OvisImagePipeline, Residency};

use crate::support::{base_model, pipeline, request, values};

fn load_with(options: LoadOptions) -> OvisImagePipeline<Flex> {
    OvisImagePipeline::from_pretrained(base_model(), options, &FlexDevice).unwrap()
}

fn in_files() -> OvisImagePipeline<Flex> {
    load_with(
        LoadOptions::new()
            .text_encoder_residency(Residency::File)
            .modulation_residency(Residency::File),
    )
}

#[test]
fn an_image_does_not_depend_on_where_weights_lie() {
    let request = request().guidance_scale(5.0);
    let expected = pipeline().generate(&request).unwrap();
    for other in [in_files(), load_with(LoadOptions::new().in_place(false))] {
        let output = other.generate(&request).unwrap();
        assert_eq!(values(output.latents), values(expected.latents.clone()));
        assert_eq!(output.images[0].image, expected.images[0].image);
    }
}

#[test]
fn weights_in_files_are_given_back_after_each_use() {
    let pipeline = in_files();
    for _ in 0..2 {
        pipeline.generate(&request()).unwrap();
        let encoder = pipeline.text_encoder();
        assert!(!encoder.blocks[0].feed_forward.up.weight.is_initialized());
        let block = &pipeline.transformer().double_blocks[0];
        assert!(!block.image_modulation.linear.weight.is_initialized());
        // The blocks themselves are always there.
        assert!(block.image_attention.qkv.weight.is_initialized());
    }
}

#[test]
fn text_to_image_reads_neither_the_embedding_table_nor_the_vae_encoder() {
    let pipeline = load_with(LoadOptions::new());
    pipeline.generate(&request()).unwrap();
    assert!(!pipeline.text_encoder().embedding.is_initialized());
    assert!(!pipeline.vae().encoder.conv_in.weight.is_initialized());

    pipeline.encode_image(&RgbImage::new(16, 16)).unwrap();
    assert!(pipeline.vae().encoder.conv_in.weight.is_initialized());
}

#[test]
fn the_table_on_the_device_gives_what_its_rows_in_the_file_give() {
    let pipeline = pipeline();
    let rows = pipeline.encode_prompts(&["a cat"]).unwrap();
    // Another encoder, though with the same weights: its own table is read and used.
    let table = pipeline
        .clone()
        .with_text_encoder(pipeline.text_encoder().clone())
        .encode_prompts(&["a cat"])
        .unwrap();
    assert_eq!(values(rows.embeds), values(table.embeds));
}

#[test]
fn another_text_encoder_does_not_get_the_kept_empty_prompt() {
    let pipeline = load_with(LoadOptions::new());
    let kept = pipeline.encode_prompts(&[""]).unwrap();
    let again = pipeline.encode_prompts(&[""]).unwrap();
    assert_eq!(values(kept.embeds.clone()), values(again.embeds));

    struct Negate;
    impl burn::module::ModuleMapper<Flex> for Negate {
        fn map_float<const D: usize>(
            &mut self,
            param: burn::module::Param<burn::tensor::Tensor<Flex, D>>,
        ) -> burn::module::Param<burn::tensor::Tensor<Flex, D>> {
            param.map(|tensor| -tensor)
        }
    }
    let other = pipeline.text_encoder().clone().map(&mut Negate);
    let changed = pipeline
        .with_text_encoder(other)
        .encode_prompts(&[""])
        .unwrap();
    assert_ne!(values(kept.embeds), values(changed.embeds));
}

#[test]
fn modulation_of_all_steps_is_that_of_each_step() {
    let pipeline = pipeline();
    let transformer = pipeline.transformer();
    let rope = transformer.rope(256, [1, 1], &FlexDevice);
    let input = |timesteps| TransformerInput {
        latents: burn::tensor::Tensor::ones([1, 1, 16], (&FlexDevice, DType::F32)),
        prompt_embeds: burn::tensor::Tensor::ones([1, 256, 32], (&FlexDevice, DType::F32)),
        timesteps,
        rope: &rope,
    };
    let timesteps = [1.0, 0.6, 0.25];
    let all = transformer.modulation(transformer.conditioning(&timesteps));
    for (index, timestep) in timesteps.iter().enumerate() {
        let at_once = transformer.forward_modulated(input(&[]), &all.item(index));
        let alone = transformer.forward(input(std::slice::from_ref(timestep)));
        assert_eq!(values(at_once), values(alone));
    }
}

#[test]
fn more_steps_than_are_modulated_at_once() {
    let sigmas: Vec<f32> = (0..70).map(|i| 1.0 - i as f32 / 70.0).collect();
    let output = pipeline().generate(&request().sigmas(sigmas)).unwrap();
    assert_eq!(output.settings.num_inference_steps, 70);
}
