//! Fitting a checkpoint and a request into so much memory.

use burn::module::Module;
use burn_flex::{Flex, FlexDevice};
use ovis_image::error::MemoryError;
use ovis_image::memory::{DeviceMemory, MemoryEstimate, MemoryPlan};
use ovis_image::vae::VaeTiling;
use ovis_image::{
    Checkpoint, GenerationRequest, LoadOptions, OvisImageError, OvisImagePipeline, Quantization,
    SourceImage, StepCacheKind, WeightDtype,
};

use crate::support::{base_model, request};

/// Most tests are of a device with memory of its own: its estimate counts tensors alone.
fn fit(request: GenerationRequest, limit: u64) -> Result<MemoryPlan, OvisImageError> {
    let checkpoint = Checkpoint::open(base_model()).unwrap();
    let options = LoadOptions::new();
    MemoryPlan::fit(&checkpoint, options, request, limit, DeviceMemory::Separate)
}

fn estimate(options: LoadOptions, request: &GenerationRequest) -> MemoryEstimate {
    estimate_in(DeviceMemory::Separate, options, request)
}

fn estimate_in(
    memory: DeviceMemory,
    options: LoadOptions,
    request: &GenerationRequest,
) -> MemoryEstimate {
    let checkpoint = Checkpoint::open(base_model()).unwrap();
    MemoryEstimate::new(&checkpoint, &options, request, memory).unwrap()
}

#[test]
fn every_weight_is_counted_where_it_is() {
    let pipeline =
        OvisImagePipeline::<Flex>::from_pretrained(base_model(), LoadOptions::new(), &FlexDevice)
            .unwrap();
    let all = estimate(LoadOptions::new(), &request());
    let parameters = pipeline.transformer().num_params() as u64;
    assert_eq!(all.transformer, 4 * parameters);
    assert_eq!(all.vae, 4 * pipeline.vae().decoder.num_params() as u64);
    let encoder = pipeline.text_encoder();
    let without_table = encoder.num_params() - encoder.embedding.val().shape().num_elements();
    assert_eq!(all.text_encoder, 4 * without_table as u64);
    assert_eq!((all.quantized, all.streamed_blocks), (0, 0));

    let half = estimate(LoadOptions::new().with_dtype(WeightDtype::BF16), &request());
    assert_eq!(half.transformer, 2 * parameters);
}

#[test]
fn what_a_step_cache_keeps_and_a_source_image_takes_is_counted() {
    let plain = request().with_size(64, 64).with_guidance_scale(3.0);
    let before = estimate(LoadOptions::new(), &plain);
    let cache = StepCacheKind::FirstBlock { threshold: 0.1 };
    let cached = estimate(LoadOptions::new(), &plain.clone().with_step_cache(cache));
    let config = Checkpoint::open(base_model()).unwrap();
    let hidden = config.transformer_config().hidden_size() as u64;
    // Two tensors of 16x16 tokens for each of two branches, f32.
    assert_eq!(
        cached.denoising - before.denoising,
        2 * 2 * 256 * hidden * 4
    );
    assert_eq!(before.image_encoding, 0);
    let source = SourceImage::new(image::RgbImage::new(64, 64));
    let from_image = estimate(LoadOptions::new(), &plain.with_source_image(source));
    assert!(from_image.image_encoding > from_image.transformer);
}

#[test]
fn rounded_blocks_take_8_or_4_bits_and_their_scales() {
    let request = request();
    let plain = estimate(LoadOptions::new(), &request);
    for (quantization, bits) in [(Quantization::Q8_0, 8.5), (Quantization::Q4_0, 4.5)] {
        let rounded = estimate(LoadOptions::new().with_quantization(quantization), &request);
        let moved = plain.transformer - rounded.transformer;
        assert_eq!(rounded.quantized as f64, moved as f64 / 32.0 * bits);
        assert_eq!(rounded.streamed_blocks, 4);
    }
}

#[test]
fn the_host_counts_quantized_weights_on_a_gpu_and_everything_on_a_cpu() {
    let options = LoadOptions::new().with_quantization(Quantization::Q8_0);
    let request = request();
    let gpu = estimate_in(DeviceMemory::Separate, options, &request);
    let cpu = estimate_in(DeviceMemory::Host, options, &request);
    assert_eq!(gpu.quantized, cpu.quantized);
    assert_eq!(gpu.host, cpu.host);
    assert!(gpu.host > gpu.quantized);
    let plain = estimate_in(DeviceMemory::Separate, LoadOptions::new(), &request);
    // On the device quantized weights take two blocks at a time, nothing else.
    assert_eq!(
        plain.loading - gpu.loading,
        plain.transformer - gpu.transformer
    );
    for (on_gpu, on_cpu) in [
        (gpu.loading, cpu.loading),
        (gpu.text_encoding, cpu.text_encoding),
        (gpu.denoising, cpu.denoising),
        (gpu.vae_decoding, cpu.vae_decoding),
    ] {
        assert!(on_cpu >= on_gpu + gpu.host);
    }
    assert_eq!(
        DeviceMemory::of::<Flex>(&Default::default()),
        DeviceMemory::Host
    );
}

#[test]
fn what_fits_is_left_as_it_is() {
    let plan = fit(request(), 1 << 30).unwrap();
    assert_eq!(plan.estimate, estimate(LoadOptions::new(), &request()));
    assert!(plan.request.parameters().vae_tiling.is_none());
}

#[test]
fn savings_are_made_one_after_another_until_it_fits() {
    let all = fit(request(), 1 << 30).unwrap().estimate;
    let mut last = all;
    let mut least = all.peak;
    loop {
        let plan = match fit(request(), least - 1) {
            Ok(plan) => plan,
            Err(error) => {
                assert!(
                    matches!(
                        error,
                        OvisImageError::Memory(MemoryError::MemoryLimit { .. })
                    ),
                    "{error}"
                );
                break;
            }
        };
        let now = plan.estimate;
        assert!(now.peak < least);
        assert!(now.text_encoder <= last.text_encoder && now.transformer <= last.transformer);
        assert!(now.streamed_blocks >= last.streamed_blocks);
        (last, least) = (now, now.peak);
    }
    assert!(least < all.peak);
    assert!(last.text_encoder < all.text_encoder, "{last:?}");
    assert!(last.transformer < all.transformer, "{last:?}");
}

#[test]
fn a_plan_makes_the_image_that_was_asked_for() {
    let all = fit(request(), 1 << 30).unwrap().estimate;
    let limit = all.peak - all.text_encoder - all.transformer / 4;
    let plan = fit(request(), limit).unwrap();
    assert!(plan.estimate.peak <= limit);
    let load = |options| {
        OvisImagePipeline::<Flex>::from_pretrained(base_model(), options, &FlexDevice).unwrap()
    };
    let saving = load(plan.options);
    assert_eq!(
        saving.transformer().streamed_blocks(),
        plan.estimate.streamed_blocks
    );
    let expected = load(LoadOptions::new()).generate(&request()).unwrap();
    let actual = saving.generate(&plan.request).unwrap();
    assert_eq!(actual.images[0].image, expected.images[0].image);
}

#[test]
fn large_images_are_decoded_in_tiles_where_nothing_else_helps() {
    let large = request().with_size(1024, 1024);
    let whole = fit(large.clone(), 1 << 30).unwrap();
    assert!(whole.request.parameters().vae_tiling.is_none());
    let in_tiles = estimate(
        LoadOptions::new(),
        &large.clone().with_vae_tiling(VaeTiling::new(512)),
    );
    let limit = in_tiles.peak + (1 << 20);
    assert!(limit < whole.estimate.peak);
    let plan = fit(large, limit).unwrap();
    assert!(plan.request.parameters().vae_tiling.is_some());
    assert_eq!(plan.estimate.streamed_blocks, 0);
}

#[test]
fn too_little_is_said_with_a_setting_that_does() {
    let all = fit(request(), 1 << 30).unwrap().estimate;
    let least = (1..)
        .map(|eighths| all.peak * eighths / 64)
        .find(|limit| fit(request(), *limit).is_ok())
        .unwrap();
    let hint = |limit| match fit(request(), limit).unwrap_err() {
        OvisImageError::Memory(MemoryError::MemoryLimit { hint, .. }) => hint,
        error => panic!("{error}"),
    };
    let bf16 = hint(least * 3 / 4);
    assert_eq!(bf16, "It fits with bf16 weights");
    let checkpoint = Checkpoint::open(base_model()).unwrap();
    let options = LoadOptions::new().with_dtype(WeightDtype::BF16);
    let memory = DeviceMemory::Separate;
    MemoryPlan::fit(&checkpoint, options, request(), least * 3 / 4, memory).unwrap();

    let several = request().with_size(256, 256).with_images_per_prompt(8);
    let one = fit(several.clone().with_images_per_prompt(1), 1 << 40).unwrap();
    let half = LoadOptions::new().with_dtype(WeightDtype::BF16);
    let limit = estimate(half, &one.request).peak;
    let error = MemoryPlan::fit(&checkpoint, half, several, limit, memory).unwrap_err();
    assert!(error.to_string().contains("one image at a time"), "{error}");
}

#[test]
fn what_no_setting_makes_fit_is_said_with_what_is_needed() {
    let error = fit(request(), 1000).unwrap_err();
    let OvisImageError::Memory(MemoryError::MemoryLimit { hint, .. }) = &error else {
        panic!("{error}");
    };
    assert!(hint.contains("No setting makes this fit"), "{error}");
}
