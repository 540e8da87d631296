//! Runs a golden case on one backend stage by stage, each from the reference's own inputs, so that
//! a failure shows its location.

use std::ops::ControlFlow;

use burn::module::Param;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor, TensorData};
use image::RgbImage;
use ovis_image::device::{BackendVisitor, OpenDevice};
use ovis_image::error::RuntimeError;
use ovis_image::ops::{RotaryTable, pack_latents};
use ovis_image::sampling::FlowMatchEulerScheduler;
use ovis_image::text_encoder::TextEncoderInput;
use ovis_image::transformer::{JointHiddenStates, TransformerInput};
use ovis_image::{
    GenerationOutput, LoadOptions, OvisImageError, OvisImagePipeline, Progress, WeightDtype,
};

use crate::compare::{largest_difference, relative_error};
use crate::golden::{Case, Golden};
use crate::tolerance::{SIGMAS_AND_NOISE, Tolerance};

/// Error of a stage, with its limit.
#[derive(Debug, Clone)]
pub struct StageError {
    /// Name of the stage in the golden file.
    pub stage: String,
    /// Measured error.
    pub error: f64,
    /// Largest allowed error.
    pub allowed: f64,
}

/// Runs a case on an open device and returns every stage's error.
///
/// It is not generic, so the pipelines of all backends are compiled once, with this library, and not
/// in each test binary.
///
/// # Errors
/// Returns the library's error as text.
pub fn run_case_on(
    device: OpenDevice,
    case: &Case,
    dtype: WeightDtype,
    tolerance: Tolerance,
) -> Result<Vec<StageError>, String> {
    device.visit(RunCase {
        case,
        dtype,
        tolerance,
    })
}

struct RunCase<'a> {
    case: &'a Case,
    dtype: WeightDtype,
    tolerance: Tolerance,
}

impl BackendVisitor for RunCase<'_> {
    type Output = Result<Vec<StageError>, String>;

    fn visit<B: Backend>(self, device: B::Device) -> Self::Output {
        run_case::<B>(self.case, self.dtype, self.tolerance, &device)
    }
}

/// Generates the images of a case on an open device, and returns the first. Like [`run_case_on`], it
/// is not generic.
///
/// # Errors
/// Returns the library's error as text.
pub fn generate_on(
    device: OpenDevice,
    case: &Case,
    dtype: WeightDtype,
) -> Result<RgbImage, String> {
    device.visit(GenerateCase { case, dtype })
}

struct GenerateCase<'a> {
    case: &'a Case,
    dtype: WeightDtype,
}

impl BackendVisitor for GenerateCase<'_> {
    type Output = Result<RgbImage, String>;

    fn visit<B: Backend>(self, device: B::Device) -> Self::Output {
        let folder = self.case.model_folder();
        let options = LoadOptions::new().with_dtype(self.dtype);
        let mut output = OvisImagePipeline::<B>::from_pretrained(folder, options, &device)
            .and_then(|pipeline| pipeline.generate(&self.case.request()))
            .map_err(|error| error.to_string())?;
        Ok(output.images.swap_remove(0).image)
    }
}

/// Runs a case and returns every stage's error.
///
/// # Errors
/// Returns the library's error as text.
pub fn run_case<B: Backend>(
    case: &Case,
    dtype: WeightDtype,
    tolerance: Tolerance,
    device: &B::Device,
) -> Result<Vec<StageError>, String> {
    let golden = case
        .golden(dtype)
        .ok_or("the case has no golden of this dtype")?;
    // With f16 the library keeps the VAE in f32, the reference does not.
    let options = LoadOptions::new().with_dtype(dtype);
    let pipeline = OvisImagePipeline::<B>::from_pretrained(case.model_folder(), options, device)
        .map_err(|error| error.to_string())?;
    let mut stages = Stages {
        case,
        golden: &golden,
        dtype,
        device,
        tolerance,
        errors: Vec::new(),
    };
    stages.tokens(&pipeline)?;
    stages.text_encoder(&pipeline)?;
    stages.transformer(&pipeline);
    stages.vae(&pipeline);
    stages.whole(&pipeline)?;
    stages.not_finite(pipeline)?;
    Ok(stages.errors)
}

struct Stages<'a, B: Backend> {
    case: &'a Case,
    golden: &'a Golden,
    dtype: WeightDtype,
    device: &'a B::Device,
    tolerance: Tolerance,
    errors: Vec<StageError>,
}

impl<B: Backend> Stages<'_, B> {
    fn input<const D: usize>(&self, name: &str) -> Tensor<B, D> {
        Tensor::<B, D>::from_data(self.golden.floats(name), (self.device, DType::F32))
            .cast(self.dtype.to_burn())
    }

    fn record(&mut self, stage: &str, error: f64, allowed: f64) {
        self.errors.push(StageError {
            stage: stage.to_owned(),
            error,
            allowed,
        });
    }

    fn compare<const D: usize>(&mut self, stage: &str, actual: Tensor<B, D>, allowed: f64) {
        let expected = self.golden.floats(stage);
        let error = if actual.dims()[..] == expected.shape[..] {
            relative_error(&floats(actual), &self.golden.values(stage))
        } else {
            f64::INFINITY
        };
        self.record(stage, error, allowed);
    }

    fn compare_exactly(&mut self, stage: &str, same: bool) {
        self.record(stage, if same { 0.0 } else { f64::INFINITY }, 0.0);
    }

    fn tokens(&mut self, pipeline: &OvisImagePipeline<B>) -> Result<(), String> {
        let sides = [
            ("", self.case.prompt.to_vec(), true),
            (
                "negative_",
                self.case.negative_prompt.to_vec(),
                self.case.guided(),
            ),
        ];
        for (prefix, prompts, present) in sides {
            if !present {
                continue;
            }
            let tokenized = prompts
                .iter()
                .map(|prompt| pipeline.tokenizer()?.tokenize(prompt))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| error.to_string())?;
            let golden_rows = self.golden.ints(&format!("{prefix}input_ids")).len() / 284;
            // The reference repeats a single negative prompt for several prompts.
            let rows = |f: fn(&ovis_image::text_encoder::TokenizedPrompt) -> Vec<i64>| -> Vec<i64> {
                (0..golden_rows)
                    .flat_map(|row| f(&tokenized[row % tokenized.len()]))
                    .collect()
            };
            let ids = rows(|prompt| prompt.padded_ids())
                == self.golden.ints(&format!("{prefix}input_ids"));
            let mask = rows(|prompt| prompt.attention_mask())
                == self.golden.ints(&format!("{prefix}attention_mask"));
            self.compare_exactly(&format!("{prefix}input_ids"), ids);
            self.compare_exactly(&format!("{prefix}attention_mask"), mask);
            if prefix.is_empty() {
                let counts: Vec<usize> = tokenized
                    .iter()
                    .map(|prompt| prompt.ids.len() + prompt.truncated)
                    .collect();
                self.compare_exactly("prompt_tokens", counts == self.case.prompt_tokens);
            }
        }
        Ok(())
    }

    fn text_encoder(&mut self, pipeline: &OvisImagePipeline<B>) -> Result<(), String> {
        if self.golden.has("text_encoder.last_hidden_state") {
            // The padded batch with its mask, which the pipeline itself does not use.
            let ids = self.golden.ints("input_ids");
            let mask = self.golden.ints("attention_mask");
            let shape = [ids.len() / 284, 284];
            let real: Vec<bool> = mask.iter().map(|flag| *flag != 0).collect();
            let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
            let hidden_states = pipeline.text_encoder().forward(TextEncoderInput {
                input_ids: Tensor::<B, 2, Int>::from_data(TensorData::new(ids, shape), self.device),
                attention_mask: Some(Tensor::from_data(TensorData::new(real, shape), self.device)),
            });
            let width = hidden_states.dims()[2];
            let rows = |values: Vec<f32>| -> Vec<f32> {
                let kept = values
                    .chunks(width)
                    .zip(&mask)
                    .filter(|(_, flag)| **flag != 0);
                kept.flat_map(|(row, _)| row.to_vec()).collect()
            };
            let expected = rows(self.golden.values("text_encoder.last_hidden_state"));
            let error = relative_error(&rows(floats(hidden_states)), &expected);
            self.record(
                "text_encoder.last_hidden_state",
                error,
                self.tolerance.stage,
            );
        }
        let sides = [
            ("prompt_embeds", self.case.prompt.to_vec()),
            ("negative_prompt_embeds", self.case.negative_prompt.to_vec()),
        ];
        for (name, prompts) in sides {
            if !self.golden.has(name) {
                continue;
            }
            let encoded = pipeline
                .encode_prompts(&prompts)
                .map_err(|error| error.to_string())?;
            let images = self.golden.floats(name).shape[0];
            let [rows, tokens, width] = encoded.embeds.dims();
            let per_image = encoded
                .embeds
                .unsqueeze_dim::<4>(1)
                .repeat_dim(1, images / rows)
                .reshape([images, tokens, width]);
            self.compare(name, per_image, self.tolerance.stage);
        }
        Ok(())
    }

    fn transformer(&mut self, pipeline: &OvisImagePipeline<B>) {
        let transformer = pipeline.transformer();
        let timesteps = self.golden.values("forward.timestep");
        let scale = pipeline.size_multiple();
        let rope = transformer.rope(
            256,
            [self.case.height / scale, self.case.width / scale],
            self.device,
        );
        if self.golden.has("rope.cos") {
            self.rope("rope.cos", &rope.cos);
            self.rope("rope.sin", &rope.sin);
        }

        let sigma = self.golden.values("sigmas")[0];
        let timestep = pipeline.scheduler().model_timestep(sigma, self.dtype);
        self.record(
            "forward.timestep",
            f64::from((timestep - timesteps[0]).abs()),
            SIGMAS_AND_NOISE,
        );
        let conditioning = transformer.conditioning(&timesteps);
        self.compare("time.conditioning", conditioning, self.tolerance.stage);

        if self.golden.has("double_block.0.in_hidden") {
            self.double_block(pipeline, &rope);
            self.single_block(pipeline, &rope);
        }
        let input = TransformerInput {
            latents: self.input("packed_latents_in"),
            prompt_embeds: self.input("prompt_embeds"),
            rope: &rope,
        };
        let sample =
            transformer.forward_conditioned(input.clone(), self.input("time.conditioning"));
        self.compare("forward.sample", sample, self.tolerance.forward);
        if self.golden.has("forward_uncond.sample") && self.golden.has("negative_prompt_embeds") {
            let input = TransformerInput {
                prompt_embeds: self.input("negative_prompt_embeds"),
                ..input.clone()
            };
            let sample = transformer.forward_conditioned(input, self.input("time.conditioning"));
            self.compare("forward_uncond.sample", sample, self.tolerance.forward);
        }
        let expected = self.golden.values("forward.sample");
        let error = relative_error(&floats(transformer.forward(input, &timesteps)), &expected);
        self.record(
            "forward.sample, from the timestep",
            error,
            self.tolerance.from_timestep,
        );
    }

    /// Compares a RoPE table with the reference's, which stores each value twice in a row.
    fn rope(&mut self, name: &str, table: &Tensor<B, 2>) {
        let doubled: Vec<f32> = floats(table.clone())
            .iter()
            .flat_map(|value| [*value, *value])
            .collect();
        let error = largest_difference(&doubled, &self.golden.values(name));
        // f64 angles, one rounding to f32: equal up to the last bit of the host's cosine.
        self.record(name, error, SIGMAS_AND_NOISE);
    }

    fn double_block(&mut self, pipeline: &OvisImagePipeline<B>, rope: &RotaryTable<B>) {
        let streams = JointHiddenStates {
            image: self.input("double_block.0.in_hidden"),
            text: self.input("double_block.0.in_encoder"),
        };
        let block = &pipeline.transformer().double_blocks[0];
        let out = block.forward(streams, self.input("double_block.0.temb"), rope);
        self.compare("double_block.0.out_hidden", out.image, self.tolerance.stage);
        self.compare("double_block.0.out_encoder", out.text, self.tolerance.stage);
    }

    fn single_block(&mut self, pipeline: &OvisImagePipeline<B>, rope: &RotaryTable<B>) {
        let text: Tensor<B, 3> = self.input("single_block.0.in_encoder");
        let text_tokens = text.dims()[1];
        let joint = Tensor::cat(vec![text, self.input("single_block.0.in_hidden")], 1);
        let image_tokens = joint.dims()[1] - text_tokens;
        let block = &pipeline.transformer().single_blocks[0];
        let out = block.forward(joint, self.input("double_block.0.temb"), rope);
        let text = out.clone().narrow(1, 0, text_tokens);
        self.compare("single_block.0.out_encoder", text, self.tolerance.stage);
        self.compare(
            "single_block.0.out_hidden",
            out.narrow(1, text_tokens, image_tokens),
            self.tolerance.stage,
        );
    }

    fn vae(&mut self, pipeline: &OvisImagePipeline<B>) {
        let dtype = pipeline.vae().decoder.conv_in.weight.val().dtype();
        let decode_in = self.input("vae.decode_in").cast(dtype);
        let decoded = pipeline.vae().decoder.forward(decode_in);
        self.compare("vae.decode_out", decoded, self.tolerance.stage);
        if self.golden.has("vae.encode_in") {
            let distribution = pipeline
                .vae()
                .encode(self.input("vae.encode_in").cast(dtype));
            self.compare("vae.encode_mean", distribution.mean, self.tolerance.stage);
            self.compare(
                "vae.encode_logvar",
                distribution.log_variance,
                self.tolerance.stage,
            );
        }
    }

    fn whole(&mut self, pipeline: &OvisImagePipeline<B>) -> Result<(), String> {
        let mut first_step = None;
        let output: GenerationOutput<B> = pipeline
            .generate_with(&self.case.request(), |progress| {
                if let Progress::Denoising(step) = progress {
                    first_step.get_or_insert_with(|| step.clone());
                }
                ControlFlow::Continue(())
            })
            .map_err(|error| error.to_string())?;
        let first_step = first_step.ok_or("no step was reported")?;

        let difference = largest_difference(&output.settings.sigmas, &self.golden.values("sigmas"));
        self.record("sigmas", difference, SIGMAS_AND_NOISE);
        let timesteps: Vec<f32> = output
            .settings
            .sigmas
            .iter()
            .map(|sigma| sigma * 1000.0)
            .collect();
        let steps = timesteps.len() - 1;
        let difference = largest_difference(&timesteps[..steps], &self.golden.values("timesteps"));
        self.record("timesteps", difference, 1000.0 * SIGMAS_AND_NOISE);
        let noise = floats(output.initial_latents.clone());
        let difference = largest_difference(&noise, &self.golden.values("latents_in"));
        // A value near a rounding boundary may round to the other side: from 2 on, neighbors are 1/64
        // apart in bf16 and 1/512 in f16.
        let allowed = match self.dtype {
            WeightDtype::F32 => SIGMAS_AND_NOISE,
            WeightDtype::F16 => 1.0 / 512.0,
            _ => 1.0 / 64.0,
        };
        self.record("latents_in", difference, allowed);

        let velocity = pack_latents(first_step.velocity());
        self.compare("noise_pred.0", velocity, self.tolerance.guided);
        self.compare("latents_step1", first_step.latents(), self.tolerance.result);
        self.compare("latents_out", output.latents, self.tolerance.result);
        self.compare("image", output.image_tensor, self.tolerance.result);

        // Recomputing the clean latents from the step must agree with the sampler's formula.
        let clean = FlowMatchEulerScheduler::predicted_clean(
            output.initial_latents,
            first_step.velocity(),
            first_step.sigma,
        );
        let error = relative_error(
            &floats(first_step.predicted_clean_latents()),
            &floats(clean),
        );
        self.record("predicted_clean_latents", error, 1e-6);
        self.rounded_image(&output.images);
        Ok(())
    }

    /// Checks that NaN and infinity are detected on this device, regardless of how its comparisons
    /// treat them.
    fn not_finite(&mut self, pipeline: OvisImagePipeline<B>) -> Result<(), String> {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut vae = pipeline.vae().clone();
            // Only one of the three colors is affected.
            let bias = Tensor::<B, 1>::from_data([0.0, bad, 0.0], (self.device, DType::F32));
            let dtype = vae.decoder.conv_out.bias.val().dtype();
            vae.decoder.conv_out.bias = Param::from_tensor(bias.cast(dtype));
            let damaged = pipeline
                .clone()
                .with_vae(vae)
                .map_err(|error| error.to_string())?;
            let channels = pipeline.vae().config().latent_channels;
            let latents = Tensor::zeros([1, channels, 4, 4], (self.device, DType::F32));
            let decoded = damaged.decode_latents(latents, None);
            let side = 4 * pipeline.vae().config().scale_factor();
            let found = matches!(
                decoded,
                Err(OvisImageError::Runtime(RuntimeError::NonFinite { count, .. })) if count == side * side
            );
            self.compare_exactly(&format!("{bad} is found"), found);
        }
        Ok(())
    }

    /// Compares eight-bit levels, which may differ on average by as much as the image may.
    fn rounded_image(&mut self, images: &[ovis_image::GeneratedImage]) {
        let ours: Vec<u8> = images
            .iter()
            .flat_map(|image| image.image.as_raw().clone())
            .collect();
        let theirs = self.golden.bytes("image_u8");
        let same_size = ours.len() == theirs.len();
        let difference = ours
            .iter()
            .zip(&theirs)
            .map(|(a, b)| f64::from(a.abs_diff(*b)));
        let mean = difference.sum::<f64>() / theirs.len().max(1) as f64;
        let error = if same_size {
            mean / 255.0
        } else {
            f64::INFINITY
        };
        self.record("image_u8", error, self.tolerance.result);
    }
}

#[allow(clippy::expect_used)]
fn floats<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor
        .into_data()
        .convert::<f32>()
        .into_vec()
        .expect("just converted")
}
