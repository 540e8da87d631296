//! Tests of where weights are kept while unused, and that the images do not depend on it.

use burn::module::Module;
use burn::tensor::DType;
use burn_flex::{Flex, FlexDevice};
use image::RgbImage;
use ovis_image::transformer::TransformerInput;
use ovis_image::{LoadOptions, OvisImagePipeline, Quantization, Residency};
use ovis_image_tests::compare::relative_error;

use crate::support::{base_model, pipeline, request, values};

fn load_with(options: LoadOptions) -> OvisImagePipeline<Flex> {
    OvisImagePipeline::from_pretrained(base_model(), options, &FlexDevice).unwrap()
}

fn in_files() -> OvisImagePipeline<Flex> {
    load_with(
        LoadOptions::new()
            .with_text_encoder_residency(Residency::File)
            .with_modulation_residency(Residency::File),
    )
}

#[test]
fn an_image_does_not_depend_on_where_weights_lie() {
    let request = request().with_guidance_scale(5.0);
    let expected = pipeline().generate(&request).unwrap();
    for other in [
        in_files(),
        load_with(LoadOptions::new().with_in_place(false)),
    ] {
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
        // The blocks themselves are always initialized.
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
    // Use another encoder with the same weights: its own table is read and used.
    let table = pipeline
        .clone()
        .with_text_encoder(pipeline.text_encoder().clone())
        .unwrap()
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
        .unwrap()
        .encode_prompts(&[""])
        .unwrap();
    assert_ne!(values(kept.embeds), values(changed.embeds));
}

#[test]
fn modulation_of_all_steps_is_that_of_each_step() {
    let pipeline = pipeline();
    let transformer = pipeline.transformer();
    let rope = transformer.rope(256, [1, 1], &FlexDevice);
    let input = || TransformerInput {
        latents: burn::tensor::Tensor::ones([1, 1, 16], (&FlexDevice, DType::F32)),
        prompt_embeds: burn::tensor::Tensor::ones([1, 256, 32], (&FlexDevice, DType::F32)),
        rope: &rope,
    };
    let timesteps = [1.0, 0.6, 0.25];
    let all = transformer.modulation(transformer.conditioning(&timesteps));
    for (index, timestep) in timesteps.iter().enumerate() {
        let at_once = transformer.forward_modulated(input(), &all.item(index));
        let alone = transformer.forward(input(), std::slice::from_ref(timestep));
        assert_eq!(values(at_once), values(alone));
    }
}

#[test]
fn more_steps_than_are_modulated_at_once() {
    let sigmas: Vec<f32> = (0..70).map(|i| 1.0 - i as f32 / 70.0).collect();
    let output = pipeline().generate(&request().with_sigmas(sigmas)).unwrap();
    assert_eq!(output.settings.parameters.num_inference_steps, 70);
}

#[test]
fn streamed_blocks_make_the_same_image_and_keep_nothing() {
    let request = request();
    let expected = pipeline().generate(&request).unwrap();
    // The base model has two double and two single blocks.
    for blocks in [1, 3, 4, 99] {
        let streaming = load_with(LoadOptions::new().with_streamed_blocks(blocks));
        assert_eq!(streaming.transformer().streamed_blocks(), blocks.min(4));
        for _ in 0..2 {
            let output = streaming.generate(&request).unwrap();
            assert_eq!(values(output.latents), values(expected.latents.clone()));
        }
        let kept = streaming
            .transformer()
            .single_blocks
            .iter()
            .filter(|block| block.qkv_mlp.weight.is_initialized())
            .count();
        assert!(kept <= 4 - blocks.min(4), "{blocks} streamed, {kept} kept");
    }
}

#[test]
fn guidance_in_one_pass_is_guidance_in_two() {
    let request = request().with_guidance_scale(4.0);
    let two = pipeline().generate(&request).unwrap();
    let one = load_with(LoadOptions::new().with_streamed_blocks(4))
        .generate(&request)
        .unwrap();
    // Sums of a batch may be computed in another order; guidance multiplies the difference.
    let error = relative_error(&values(one.latents), &values(two.latents));
    assert!(error < 1e-5, "{error:.1e}");
}

#[test]
fn a_streamed_text_encoder_gives_the_same_embeddings() {
    let streaming = in_files();
    let prompts = ["a cat", "a much longer prompt about a dog"];
    assert_eq!(
        values(streaming.encode_prompts(&prompts).unwrap().embeds),
        values(pipeline().encode_prompts(&prompts).unwrap().embeds)
    );
}

#[test]
fn quantization_rounds_the_matrices_of_the_blocks_and_nothing_else() {
    let exact = load_with(LoadOptions::new());
    for (quantization, allowed) in [
        (Quantization::Q8_0, 1.0 / 127.0),
        (Quantization::Q4_0, 0.15),
    ] {
        let options = LoadOptions::new().with_quantization(quantization);
        for (options, protected) in [
            (options, false),
            (options.with_protected_double_blocks(true), true),
        ] {
            let quantized = load_with(options);
            let (a, b) = (quantized.transformer().clone(), exact.transformer());
            assert_eq!(a.streamed_blocks(), if protected { 2 } else { 4 });
            let error =
                |a: &burn::module::Param<burn::tensor::Tensor<Flex, 2>>,
                 b: &burn::module::Param<burn::tensor::Tensor<Flex, 2>>| {
                    relative_error(&values(a.val()), &values(b.val()))
                };
            // Half a level of the block's largest value, against a block's root mean square.
            let single = error(
                &a.single_blocks[1].output.weight,
                &b.single_blocks[1].output.weight,
            );
            assert!(
                single > 0.0 && single < allowed,
                "{quantization}: {single:.1e}"
            );
            let double = error(
                &a.double_blocks[0].image_attention.qkv.weight,
                &b.double_blocks[0].image_attention.qkv.weight,
            );
            assert_eq!(double == 0.0, protected, "{double:.1e}");
            for (a, b) in [
                (
                    &a.single_blocks[0].modulation.linear.weight,
                    &b.single_blocks[0].modulation.linear.weight,
                ),
                (&a.text_embedder.weight, &b.text_embedder.weight),
                (&a.final_layer.output.weight, &b.final_layer.output.weight),
            ] {
                assert_eq!(error(a, b), 0.0);
            }
        }
    }
}

#[test]
fn fewer_bits_are_further_from_the_image() {
    let request = request().with_guidance_scale(3.0);
    let exact = values(pipeline().generate(&request).unwrap().latents);
    let error = |options: LoadOptions| {
        let output = load_with(options).generate(&request).unwrap();
        relative_error(&values(output.latents), &exact)
    };
    let eight = error(LoadOptions::new().with_quantization(Quantization::Q8_0));
    let four = error(LoadOptions::new().with_quantization(Quantization::Q4_0));
    assert!(
        0.0 < eight && eight < four && four < 1.0,
        "{eight:.1e} {four:.1e}"
    );
}
