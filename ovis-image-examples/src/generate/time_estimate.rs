//! The time that a long run will take, said after its first step with what would be quicker.

use std::time::Duration;

use indicatif::HumanDuration;
use ovis_image::memory::DeviceMemory;
use ovis_image::{GenerationParameters, GenerationRequest};

/// Estimate of the time of a run, from its first step.
#[derive(Debug, Clone)]
pub struct TimeEstimate {
    /// Work of the whole run in first steps.
    steps: f64,
    has_step_cache: bool,
    quicker: Vec<&'static str>,
    is_done: bool,
}

/// Shorter runs need no estimate.
const LONG: Duration = Duration::from_secs(60);

/// Number of tokens at which attention costs as much as all else: the parameters of the 7B model,
/// divided by its width, its number of blocks and 2.
const ATTENTION_TOKENS: f64 = 34_500.0;

/// Sides of the image that a token stands for.
const TOKEN_SIDE: usize = 16;

const GPU: &str = if cfg!(any(
    feature = "wgpu",
    feature = "vulkan",
    feature = "metal",
    feature = "cuda",
    feature = "rocm",
    feature = "tch"
)) {
    "a GPU (--device)"
} else {
    "a build for a GPU (--features vulkan, metal, cuda, rocm or tch)"
};

impl TimeEstimate {
    /// Prepares the estimate of a run of these requests. Only a CPU, which computes in the host's
    /// memory, is slow enough to need one.
    pub fn new(requests: &[GenerationRequest], memory: DeviceMemory) -> Self {
        let mut estimate = Self {
            steps: 0.0,
            has_step_cache: false,
            quicker: Vec::new(),
            is_done: true,
        };
        let (Some(first), DeviceMemory::Host) = (requests.first(), memory) else {
            return estimate;
        };
        let parameters = first.parameters();
        let first_step = step_work(first, first.size());
        let work: f64 = requests.iter().map(request_work).sum();
        estimate.steps = work / first_step.max(f64::MIN_POSITIVE);
        estimate.has_step_cache = parameters.step_cache.is_some();
        estimate.is_done = false;
        let hints = [
            (true, "fewer --steps"),
            (
                first.size().0 * first.size().1 > 512 * 512,
                "a smaller --width and --height",
            ),
            (parameters.second_pass.is_some(), "no --hires"),
            (requests.len() > 1 || first.num_images() > 1, "fewer images"),
            (!estimate.has_step_cache, "a --step-cache"),
            (
                parameters.guidance.uses_negative_prompt(),
                "--guidance-scale 1 (half the time)",
            ),
            (true, GPU),
        ];
        let hints = hints.into_iter().filter(|(applies, _)| *applies);
        estimate.quicker = hints.map(|(_, hint)| hint).collect();
        estimate
    }

    /// Makes the line to say after a step that took this long. Only the first step of a long run
    /// has one.
    pub fn after_step(&mut self, took: Duration) -> Option<String> {
        if std::mem::replace(&mut self.is_done, true) {
            return None;
        }
        let left = took.as_secs_f64() * (self.steps - 1.0);
        let left = Duration::try_from_secs_f64(left).ok()?;
        if left < LONG {
            return None;
        }
        let about = if self.has_step_cache {
            "at most"
        } else {
            "about"
        };
        Some(format!(
            "note: {about} {} of denoising left on this CPU (the first step took {:.1} s), then decoding; \
             quicker: {}",
            HumanDuration(left),
            took.as_secs_f64(),
            self.quicker.join(", ")
        ))
    }
}

/// Work of all steps of a request.
fn request_work(request: &GenerationRequest) -> f64 {
    let parameters = request.parameters();
    let steps = steps(parameters) as f64;
    let strength = request
        .source_image()
        .map_or(1.0, |source| source.settings().strength);
    let first = step_work(request, request.size()) * (steps * strength).ceil();
    let Some(second_pass) = parameters.second_pass else {
        return first;
    };
    let steps = second_pass.steps.map_or(steps, |steps| steps as f64);
    let size = second_pass.size_of(request.size(), TOKEN_SIDE);
    first + step_work(request, size) * (steps * second_pass.strength).ceil()
}

fn steps(parameters: &GenerationParameters) -> usize {
    match &parameters.custom_sigmas {
        Some(sigmas) => sigmas.len(),
        None => parameters.num_inference_steps,
    }
}

/// Work of one step: its tokens, and what attention costs on top.
fn step_work(request: &GenerationRequest, (width, height): (usize, usize)) -> f64 {
    let parameters = request.parameters();
    let guidance = &parameters.guidance;
    let branches = 1
        + usize::from(guidance.uses_negative_prompt())
        + usize::from(guidance.skip_layers.is_some());
    let image_tokens = (width / TOKEN_SIDE) as f64 * (height / TOKEN_SIDE) as f64;
    let tokens = parameters.max_sequence_length as f64 + image_tokens;
    let sequences = request.num_images() as f64 * branches as f64;
    sequences * tokens * (1.0 + tokens / ATTENTION_TOKENS)
}

#[cfg(test)]
mod tests {
    use ovis_image::SecondPass;

    use super::*;

    fn estimate(requests: &[GenerationRequest]) -> TimeEstimate {
        TimeEstimate::new(requests, DeviceMemory::Host)
    }

    fn line(request: GenerationRequest, seconds: f64) -> Option<String> {
        estimate(&[request]).after_step(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn a_long_run_is_estimated_from_its_first_step_once() {
        let request = GenerationRequest::new("a cat").with_num_inference_steps(21);
        let mut on_gpu = TimeEstimate::new(std::slice::from_ref(&request), DeviceMemory::Separate);
        assert_eq!(on_gpu.after_step(Duration::from_secs(30)), None);
        let mut estimate = estimate(&[request]);
        let said = estimate.after_step(Duration::from_secs(30)).unwrap();
        assert!(said.contains("about 10 minutes"), "{said}");
        for hint in [
            "--steps",
            "--width",
            "--step-cache",
            "--guidance-scale 1",
            "GPU",
        ] {
            assert!(said.contains(hint), "{said}");
        }
        assert_eq!(estimate.after_step(Duration::from_secs(30)), None);
    }

    #[test]
    fn short_runs_are_not_estimated() {
        let request = GenerationRequest::new("a cat").with_num_inference_steps(11);
        assert_eq!(line(request.clone(), 5.9), None);
        assert!(line(request, 6.1).is_some());
        assert_eq!(estimate(&[]).after_step(LONG), None);
        let none = GenerationRequest::from_prompts([""; 0]);
        assert_eq!(line(none, 1e9), None);
    }

    #[test]
    fn only_what_would_be_quicker_is_named() {
        let request = GenerationRequest::new("a cat")
            .with_size(256, 256)
            .with_guidance_scale(1.0)
            .with_step_cache("taylor:2".parse().unwrap());
        let said = line(request, 30.0).unwrap();
        assert!(said.contains("at most"), "{said}");
        for hint in [
            "--width",
            "--step-cache",
            "--guidance-scale",
            "--hires",
            "images",
        ] {
            assert!(!said.contains(hint), "{said}");
        }
    }

    #[test]
    fn a_second_pass_and_a_grid_count() {
        let one = GenerationRequest::new("a cat").with_num_inference_steps(10);
        let steps = |requests: &[GenerationRequest]| estimate(requests).steps;
        assert_eq!(steps(std::slice::from_ref(&one)), 10.0);
        assert_eq!(
            steps(&[one.clone(), one.clone().with_num_inference_steps(5)]),
            15.0
        );
        let two = one.with_second_pass(SecondPass::new(2.0).with_strength(0.5));
        // Five steps with four times as many image tokens.
        assert!((30.0..40.0).contains(&steps(&[two])));
    }
}
