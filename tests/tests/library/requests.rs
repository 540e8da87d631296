//! Tests of the requests and their results.

use std::ops::ControlFlow;

use burn::tensor::TensorData;
use burn_flex::{Flex, FlexDevice};
use ovis_image::error::RuntimeError;
use ovis_image::{
    GenerationRequest, LoadOptions, OvisImageError, OvisImagePipeline, Progress, Schedule,
    WeightDtype,
};

use ovis_image_tests::compare::relative_error;

use crate::support::{base_model, pipeline, request, values};

#[test]
fn pipelines_can_be_sent_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<OvisImagePipeline<Flex>>();
    let image = std::thread::spawn(|| pipeline().generate(&request()).unwrap())
        .join()
        .unwrap();
    assert_eq!(image.images.len(), 1);
}

#[test]
fn one_request_gives_one_image_however_often_it_is_made() {
    let pipeline = pipeline();
    let first = pipeline.generate(&request()).unwrap();
    let again = pipeline.clone().generate(&request()).unwrap();
    assert_eq!(first.images[0].image, again.images[0].image);
    let other = pipeline.generate(&request().with_seed(1)).unwrap();
    assert_ne!(first.images[0].image, other.images[0].image);
}

#[test]
fn a_seed_per_image_gives_each_image_alone() {
    let pipeline = pipeline();
    let both = pipeline
        .generate(
            &request()
                .with_images_per_prompt(2)
                .with_seed_per_image([5, 9]),
        )
        .unwrap();
    assert_eq!(both.settings.parameters.seeds, [5, 9]);
    for (index, seed) in [5, 9].into_iter().enumerate() {
        let alone = pipeline.generate(&request().with_seed(seed)).unwrap();
        assert_eq!(both.images[index].seed, Some(seed));
        let (a, b) = (
            both.images[index].image.as_raw(),
            alone.images[0].image.as_raw(),
        );
        // A batch may round differently: by one level at most.
        assert!(a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) <= 1));
    }
}

#[test]
fn several_prompts_keep_their_order() {
    let output = pipeline()
        .generate(
            &GenerationRequest::from_prompts(["a cat", "a dog"])
                .with_negative_prompts(["x", "y"])
                .with_size(16, 16)
                .with_num_inference_steps(1)
                .with_images_per_prompt(2),
        )
        .unwrap();
    let order: Vec<usize> = output
        .images
        .iter()
        .map(|image| image.prompt_index)
        .collect();
    assert_eq!(order, [0, 0, 1, 1]);
    assert_eq!(output.image_tensor.dims(), [4, 3, 16, 16]);
}

#[test]
fn own_latents_and_embeddings_reproduce_a_request() {
    let pipeline = pipeline();
    let guided = request().with_guidance_scale(3.0);
    let first = pipeline.generate(&guided).unwrap();
    let negative = first.encoded_negative_prompts.as_ref().unwrap();
    let again = pipeline
        .generate(
            &GenerationRequest::from_prompt_embeds(first.encoded_prompts.embeds.to_data())
                .with_negative_prompt_embeds(negative.embeds.to_data())
                .with_latents(first.initial_latents.to_data())
                .with_size(16, 16)
                .with_num_inference_steps(2)
                .with_guidance_scale(3.0),
        )
        .unwrap();
    assert_eq!(first.images[0].image, again.images[0].image);
    assert_eq!(again.images[0].seed, None);
    assert!(
        again.settings.parameters.seeds.is_empty() && again.settings.parameters.prompts.is_empty()
    );
}

#[test]
fn own_sigmas_unshifted_are_used_as_they_are() {
    let output = pipeline()
        .generate(
            &request()
                .with_sigmas([1.0, 0.5, 0.25])
                .with_schedule(Schedule::Unshifted),
        )
        .unwrap();
    assert_eq!(output.settings.sigmas, [1.0, 0.5, 0.25, 0.0]);
    assert_eq!(output.settings.parameters.num_inference_steps, 3);
}

#[test]
fn the_settings_say_what_was_really_used() {
    let long = "word ".repeat(600);
    let output = pipeline()
        .generate(
            &GenerationRequest::new(long)
                .with_size(16, 16)
                .with_num_inference_steps(1)
                .with_guidance_scale(0.5),
        )
        .unwrap();
    let settings = output.settings;
    assert_eq!(settings.parameters.schedule, Schedule::Dynamic);
    assert_eq!(settings.prompt_reports[0].tokens, 284);
    assert!(settings.prompt_reports[0].truncated_tokens > 300);
    assert!(
        settings.parameters.negative_prompts.is_empty(),
        "guidance was off"
    );
    assert!(output.encoded_negative_prompts.is_none());
    assert_eq!(
        (settings.dtype, settings.backend.as_str()),
        (WeightDtype::F32, "flex")
    );
    assert!(output.timings.total >= output.timings.denoising);
}

#[test]
fn progress_tells_each_phase_and_step_in_order() {
    let mut seen = Vec::new();
    pipeline()
        .generate_with(&request(), |progress| {
            seen.push(match progress {
                Progress::EncodingPrompts {
                    prompts,
                    total_steps,
                } => format!("encode {prompts}, {total_steps} steps"),
                Progress::Denoising(step) => {
                    assert_eq!(step.latents().dims(), [1, 4, 8, 8]);
                    assert!(step.sigma > step.sigma_next);
                    format!("step {}/{}", step.completed, step.total)
                }
                Progress::DecodingLatents { images } => format!("decode {images}"),
                _ => "?".into(),
            });
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(
        seen,
        ["encode 1, 2 steps", "step 1/2", "step 2/2", "decode 1"]
    );
}

#[test]
fn the_last_step_predicts_the_latents_that_come_out() {
    let mut clean = Vec::new();
    let output = pipeline()
        .generate_with(&request(), |progress| {
            if let Progress::Denoising(step) = progress {
                clean = values(step.predicted_clean_latents());
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    // The last step goes from sigma to 0: x + (0 - sigma) v is the prediction itself.
    assert_eq!(clean, values(output.latents));
}

#[test]
fn a_callback_can_cancel_between_steps() {
    let error = pipeline()
        .generate_with(
            &request().with_num_inference_steps(5),
            |progress| match progress {
                Progress::Denoising(step) if step.completed == 2 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            },
        )
        .unwrap_err();
    assert!(matches!(
        error,
        OvisImageError::Runtime(RuntimeError::Canceled {
            completed_steps: 2,
            total_steps: 5
        })
    ));
}

#[test]
fn the_loop_is_an_iterator_that_its_caller_owns() {
    let pipeline = pipeline();
    let mut denoiser = pipeline
        .denoiser(&request().with_num_inference_steps(3))
        .unwrap();
    assert_eq!(denoiser.total_steps(), 3);
    let sigmas: Vec<f32> = denoiser.by_ref().map(|step| step.sigma).collect();
    assert_eq!(sigmas.len(), 3);
    let image = pipeline.decode_latents(denoiser.latents(), None).unwrap();
    let whole = pipeline
        .generate(&request().with_num_inference_steps(3))
        .unwrap();
    assert_eq!(values(image), values(whole.image_tensor));
}

#[test]
fn a_picture_encodes_to_latents_of_its_size() {
    let pipeline = pipeline();
    let picture =
        image::RgbImage::from_fn(16, 32, |x, y| image::Rgb([x as u8 * 8, y as u8 * 4, 99]));
    assert_eq!(
        pipeline.encode_image(&picture).unwrap().dims(),
        [1, 4, 16, 8]
    );
}

#[test]
fn half_precision_weights_run_with_the_vae_in_f32() {
    for dtype in [WeightDtype::F16, WeightDtype::BF16] {
        let options = LoadOptions::new().with_dtype(dtype);
        let pipeline =
            OvisImagePipeline::<Flex>::from_pretrained(base_model(), options, &FlexDevice).unwrap();
        let output = pipeline.generate(&request()).unwrap();
        let expected = if dtype == WeightDtype::F16 {
            WeightDtype::F32
        } else {
            dtype
        };
        assert_eq!(
            (output.settings.dtype, output.settings.vae_dtype),
            (dtype, expected)
        );
        // bf16 rounds timesteps to three digits, so its image differs; the goldens cover it.
        if dtype == WeightDtype::F16 {
            let exact = crate::support::pipeline().generate(&request()).unwrap();
            let error = relative_error(&values(output.image_tensor), &values(exact.image_tensor));
            // f16 has a unit roundoff of 4.9e-4; a forward has some dozen roundings in a row.
            assert!(error < 1e-2, "{dtype}: {error:.1e}");
        }
    }
}

#[test]
fn own_latents_are_rounded_to_the_models_dtype() {
    let options = LoadOptions::new().with_dtype(WeightDtype::BF16);
    let pipeline =
        OvisImagePipeline::<Flex>::from_pretrained(base_model(), options, &FlexDevice).unwrap();
    let exact: Vec<f32> = (0..256).map(|i| (i as f32 * 0.37).sin()).collect();
    let rounded: Vec<f32> = exact
        .iter()
        .map(|v| half::bf16::from_f32(*v).to_f32())
        .collect();
    let image = |values: Vec<f32>| {
        let request = request().with_latents(TensorData::new(values, [1, 4, 8, 8]));
        pipeline.generate(&request).unwrap().images[0].image.clone()
    };
    assert!(image(exact) == image(rounded));
}

#[test]
fn latents_may_come_in_any_float_dtype() {
    let wide = TensorData::new(vec![0.5f64; 4 * 8 * 8], [1, 4, 8, 8]);
    let narrow = TensorData::new(vec![half::bf16::from_f32(0.5); 4 * 8 * 8], [1, 4, 8, 8]);
    let image = |latents| {
        pipeline()
            .generate(&request().with_latents(latents))
            .unwrap()
            .images[0]
            .image
            .clone()
    };
    assert_eq!(image(wide), image(narrow));
}

#[test]
fn a_shorter_sequence_gives_the_first_rows_and_is_recorded() {
    let pipeline = pipeline();
    let long = pipeline.encode_prompts(&["a cat", ""]).unwrap().embeds;
    let short = pipeline.encode_prompts_to(&["a cat", ""], 64).unwrap();
    let [prompts, _, context] = long.dims();
    assert_eq!(short.embeds.dims(), [prompts, 64, context]);
    assert_eq!(values(short.embeds), values(long.clone().narrow(1, 0, 64)));
    // The cached empty prompt has the requested length.
    let again = pipeline.encode_prompts(&["a cat", ""]).unwrap().embeds;
    assert_eq!(values(again), values(long));

    let guided = request().with_guidance_scale(3.0);
    let output = pipeline
        .generate(&guided.clone().with_max_sequence_length(64))
        .unwrap();
    assert_eq!(output.encoded_prompts.embeds.dims()[1], 64);
    let negative = output.encoded_negative_prompts.unwrap();
    assert_eq!(negative.embeds.dims()[1], 64);
    assert_eq!(output.settings.parameters.max_sequence_length, 64);
    // The zero rows are part of the computation.
    let whole = pipeline.generate(&guided).unwrap();
    assert_ne!(values(output.latents), values(whole.latents.clone()));
    let said = guided.with_max_sequence_length(256);
    let said = pipeline.generate(&said).unwrap();
    assert_eq!(values(said.latents), values(whole.latents));
}

#[test]
fn a_prompt_is_cut_to_the_sequence_and_its_prefix() {
    let long = "word ".repeat(600);
    let cut = pipeline().encode_prompts_to(&[&long], 16).unwrap();
    assert_eq!(cut.tokens[0].ids.len(), 28 + 16);
    assert_eq!(cut.tokens[0].padded_ids().len(), 28 + 16);
    let whole = pipeline().encode_prompts(&[&long]).unwrap();
    assert_eq!(
        cut.reports()[0].truncated_tokens,
        whole.reports()[0].truncated_tokens + 240
    );
}
