//! Tests that every invalid argument of a request returns its error before any work, without a
//! panic.

use burn::backend::NdArray;
use burn::tensor::TensorData;
use burn_flex::{Flex, FlexDevice};
use ovis_image::device::{DeviceSpec, TchDevice};
use ovis_image::error::{DeviceError, MemoryError, RequestError, RuntimeError};
use ovis_image::{
    Checkpoint, GenerationRequest, LoadOptions, OvisImageError, OvisImagePipeline, Phase, Schedule,
    WeightDtype,
};

use crate::support::{base_model, pipeline, request, zeros};

fn refused(request: &GenerationRequest) -> OvisImageError {
    pipeline().generate(request).unwrap_err()
}

#[track_caller]
fn refuses_argument(request: &GenerationRequest, name: &str) {
    let error = refused(request);
    assert!(
        matches!(&error, OvisImageError::Request(RequestError::InvalidArgument { argument, .. }) if *argument == name),
        "{error}"
    );
}

#[test]
fn sizes_that_cannot_be_generated_are_refused() {
    for (width, height) in [
        (0, 16),
        (16, 0),
        (17, 16),
        (16, 30),
        (1, 1),
        (usize::MAX, 16),
        (usize::MAX - 3, usize::MAX - 3),
        (1 << 20, 16),
    ] {
        let error = refused(&request().with_size(width, height));
        assert!(
            matches!(error, OvisImageError::Request(RequestError::InvalidSize { width: w, height: h, .. }) if (w, h) == (width, height)),
            "{error}"
        );
    }
    let error = refused(&request().with_size(18, 17)).to_string();
    assert!(
        error.contains("multiples of 4") && error.contains("20x16"),
        "{error}"
    );
}

#[test]
fn a_request_that_cannot_fit_says_how_much_it_needs() {
    let options = LoadOptions::new().with_memory_limit(1 << 20);
    let pipeline =
        OvisImagePipeline::<Flex>::from_pretrained(base_model(), options, &FlexDevice).unwrap();
    let error = pipeline
        .generate(&request().with_size(512, 512))
        .unwrap_err();
    let OvisImageError::Memory(MemoryError::TooLargeForMemory {
        needed_mib,
        available_mib,
        ..
    }) = error
    else {
        panic!("{error}");
    };
    assert!(needed_mib > 1 && available_mib == 1);
    // Without a limit of the caller's own, the machine's memory is the limit.
    let error = refused(
        &request()
            .with_size(16_384, 16_384)
            .with_images_per_prompt(4000),
    );
    assert!(
        matches!(
            error,
            OvisImageError::Memory(MemoryError::TooLargeForMemory { .. })
        ),
        "{error}"
    );
}

#[test]
fn a_request_can_be_checked_before_weights_are_read() {
    let checkpoint = Checkpoint::open(base_model()).unwrap();
    let options = LoadOptions::new();
    assert!(request().check(&checkpoint, &options).is_ok());
    let error = request()
        .with_num_inference_steps(0)
        .check(&checkpoint, &options)
        .unwrap_err();
    assert!(
        matches!(
            error,
            OvisImageError::Request(RequestError::InvalidArgument { .. })
        ),
        "{error}"
    );
    let error = request()
        .with_size(17, 16)
        .check(&checkpoint, &options)
        .unwrap_err();
    assert!(
        matches!(
            error,
            OvisImageError::Request(RequestError::InvalidSize { .. })
        ),
        "{error}"
    );
}

#[test]
fn steps_and_guidance_out_of_range_are_refused() {
    refuses_argument(
        &request().with_num_inference_steps(0),
        "num_inference_steps",
    );
    refuses_argument(
        &request().with_num_inference_steps(usize::MAX),
        "num_inference_steps",
    );
    for scale in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        refuses_argument(&request().with_guidance_scale(scale), "guidance_scale");
    }
}

#[test]
fn impossible_batches_are_refused() {
    refuses_argument(&GenerationRequest::from_prompts([""; 0]), "prompts");
    refuses_argument(&request().with_images_per_prompt(0), "images_per_prompt");
    refuses_argument(
        &request().with_images_per_prompt(usize::MAX),
        "images_per_prompt",
    );
    refuses_argument(
        &request().with_images_per_prompt(2).with_seed_per_image([1]),
        "seed_per_image",
    );
    let two_of_one = request()
        .with_guidance_scale(2.0)
        .with_negative_prompts(["a", "b"]);
    refuses_argument(&two_of_one, "negative_prompts");
    let none = request()
        .with_guidance_scale(2.0)
        .with_negative_prompts([""; 0]);
    refuses_argument(&none, "negative_prompts");
}

#[test]
fn sigmas_and_schedules_out_of_range_are_refused() {
    refuses_argument(&request().with_sigmas([]), "sigmas");
    refuses_argument(&request().with_sigmas([0.5, 0.9]), "sigmas");
    refuses_argument(&request().with_sigmas([f32::NAN]), "sigmas");
    refuses_argument(
        &request().with_schedule(Schedule::FixedShift(-1.0)),
        "schedule",
    );
    // The value is positive, and yet 1 + (shift - 1) is 0 in floating point.
    refuses_argument(
        &request().with_schedule(Schedule::FixedShift(1e-17)),
        "schedule",
    );
    refuses_argument(
        &request().with_schedule(Schedule::FixedMu(f64::NAN)),
        "schedule",
    );
}

#[test]
fn sequences_that_the_model_cannot_read_are_refused() {
    for length in [0, 257, usize::MAX] {
        refuses_argument(
            &request().with_max_sequence_length(length),
            "max_sequence_length",
        );
        assert!(pipeline().encode_prompts_to(&["a"], length).is_err());
    }
    let embeds = GenerationRequest::from_prompt_embeds(zeros([1, 256, 32]))
        .with_size(16, 16)
        .with_max_sequence_length(64);
    refuses_shape(&embeds, "prompt_embeds");
}

#[track_caller]
fn refuses_shape(request: &GenerationRequest, name: &str) {
    let error = refused(request);
    assert!(
        matches!(&error, OvisImageError::Request(RequestError::ShapeMismatch { argument, .. }) if *argument == name),
        "{error}"
    );
}

#[test]
fn tensors_of_the_wrong_shape_are_refused() {
    refuses_shape(&request().with_latents(zeros([1, 4, 8, 9])), "latents");
    refuses_shape(&request().with_latents(zeros([2, 4, 8, 8])), "latents");
    refuses_shape(&request().with_latents(zeros([1, 64, 16])), "latents");
    let base = |embeds| {
        GenerationRequest::from_prompt_embeds(embeds)
            .with_size(16, 16)
            .with_num_inference_steps(1)
    };
    refuses_shape(&base(zeros([1, 255, 32])), "prompt_embeds");
    refuses_shape(&base(zeros([1, 256, 31])), "prompt_embeds");
    refuses_shape(&base(zeros([256, 32])), "prompt_embeds");
    refuses_argument(&base(zeros([0, 256, 32])), "prompts");
    refuses_shape(
        &base(zeros([2, 256, 32])).with_negative_prompt_embeds(zeros([3, 256, 32])),
        "negative_prompt_embeds",
    );
    let decoded =
        pipeline().decode_latents(burn::tensor::Tensor::zeros([1, 5, 8, 8], &FlexDevice), None);
    assert!(matches!(
        decoded,
        Err(OvisImageError::Request(RequestError::ShapeMismatch {
            argument: "latents",
            ..
        }))
    ));
}

#[test]
fn tensors_with_bad_values_are_refused() {
    let nan = TensorData::new(vec![f32::NAN; 256], [1, 4, 8, 8]);
    refuses_argument(&request().with_latents(nan), "latents");
    let ints = TensorData::new(vec![1i32; 256], [1, 4, 8, 8]);
    refuses_argument(&request().with_latents(ints), "latents");
}

#[test]
fn nan_in_a_result_names_its_phase() {
    use burn::module::Param;
    use burn::tensor::Tensor;

    let latents = TensorData::new(vec![f32::MAX; 256], [1, 4, 8, 8]);
    let error = refused(&request().with_latents(latents));
    assert!(
        matches!(error, OvisImageError::Runtime(RuntimeError::NonFinite { phase: Phase::Denoising, count }) if count > 0),
        "{error}"
    );
    // A damaged weight in each of the other models.
    let nan = |length: usize| {
        Param::from_tensor(Tensor::<Flex, 1>::full([length], f32::NAN, &FlexDevice))
    };
    let mut text_encoder = pipeline().text_encoder().clone();
    text_encoder.final_norm.weight = nan(32);
    let mut vae = pipeline().vae().clone();
    vae.decoder.norm_out.bias = nan(8);
    let mut overflowing = pipeline().vae().clone();
    // The clamp to 0..1 must not hide it.
    overflowing.decoder.conv_out.bias =
        Param::from_tensor(Tensor::<Flex, 1>::full([3], f32::INFINITY, &FlexDevice));
    for (pipeline, expected) in [
        (
            pipeline().with_text_encoder(text_encoder),
            Phase::TextEncoding,
        ),
        (pipeline().with_vae(vae), Phase::Vae),
        (pipeline().with_vae(overflowing), Phase::Vae),
    ] {
        let error = pipeline.unwrap().generate(&request()).unwrap_err();
        assert!(
            matches!(&error, OvisImageError::Runtime(RuntimeError::NonFinite { phase, .. }) if *phase == expected),
            "{error}"
        );
    }
}

#[test]
fn a_dtype_that_the_device_lacks_is_refused() {
    let options = LoadOptions::new().with_dtype(WeightDtype::BF16);
    let error = OvisImagePipeline::<NdArray<f32>>::from_pretrained(
        base_model(),
        options,
        &Default::default(),
    )
    .unwrap_err();
    assert!(
        matches!(&error, OvisImageError::Device(DeviceError::UnsupportedDtype { dtype, alternative: "f32", .. }) if dtype == "bf16"),
        "{error}"
    );
    assert!("f8".parse::<WeightDtype>().is_err());
}

#[test]
fn a_device_that_is_not_there_is_an_error_not_a_panic() {
    let absent = [
        DeviceSpec::Cuda(0),
        DeviceSpec::Cuda(999),
        DeviceSpec::Rocm(0),
        DeviceSpec::Rocm(999),
        DeviceSpec::Metal(0),
        DeviceSpec::Tch(TchDevice::Cuda(999)),
        DeviceSpec::Tch(TchDevice::Mps),
        DeviceSpec::Wgpu(999),
    ];
    for spec in absent {
        if let Err(error) = spec.open() {
            let named = match &error {
                OvisImageError::Device(
                    DeviceError::NotCompiled { device, .. }
                    | DeviceError::Unavailable { device, .. }
                    | DeviceError::NoSuchIndex { device, .. },
                ) => device,
                other => panic!("{other}"),
            };
            assert_eq!(*named, spec.to_string());
        }
    }
    for spec in [
        DeviceSpec::Wgpu(999),
        DeviceSpec::Cuda(999),
        DeviceSpec::Rocm(999),
        DeviceSpec::Tch(TchDevice::Cuda(999)),
    ] {
        assert!(spec.open().is_err(), "{spec}");
    }
}
