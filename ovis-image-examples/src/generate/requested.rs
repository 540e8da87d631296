//! The request that the arguments make, and which of its images to write.

use std::ops::Range;

use anyhow::{Result, ensure};
use ovis_image::vae::VaeTiling;
use ovis_image::{GenerationRequest, SourceImage};

use super::arguments::Arguments;
use super::dump;
use super::prompts::DrawnRequest;
use crate::shared::record::hashes::{Hashes, sha256};
use crate::shared::record::{PromptTemplate, Record};
use crate::shared::usage::UsageError;

/// A request, and which of its images to write.
#[derive(Debug, Clone)]
pub struct RequestedImages {
    /// The request.
    pub request: GenerationRequest,
    /// The one image to write; `None` for all.
    pub only: Option<usize>,
    /// Prompts of an image that is made again, as they were written.
    pub template: PromptTemplate,
    /// Hashes of the source image, the mask and the initial noise.
    pub hashes: Hashes,
}

impl RequestedImages {
    /// Returns the places in the batch of the images to write.
    pub fn places(&self) -> Range<usize> {
        match self.only {
            Some(only) => only..only + 1,
            None => 0..self.request.num_images(),
        }
    }
}

impl Arguments {
    /// Makes the request from the arguments, then from the record of an image to make again, then
    /// from the defaults of the model. Reads the files of the initial noise and of the image to
    /// start from.
    ///
    /// # Errors
    /// Returns the errors of [`dump::read_latents`], [`SourceArguments::read`](super::source_image::SourceArguments::read) and
    /// [`Record::request`], and an error if the number of seeds is not a multiple of the number of
    /// prompts.
    pub fn request(&self, record: Option<&Record>) -> Result<RequestedImages> {
        let before = record.and_then(|record| record.settings.source);
        let mut hashes = Hashes::default();
        let source = self.source.read(before)?.map(|read| {
            hashes.init_image = Some(read.image_sha256);
            hashes.mask = read.mask_sha256;
            read.source
        });
        let (request, only) = match record {
            Some(record) => {
                let (request, index) = record.request()?;
                (request, Some(index))
            }
            None => (self.default_request(source.as_ref()), None),
        };
        let mut request = self.with_given(request)?;
        if let Some(path) = &self.latents {
            let latents = dump::read_latents(path, most_latents(&request))?;
            hashes.latents = Some(sha256(latents.as_bytes()));
            request = request.with_latents(latents);
        }
        if let Some(source) = source {
            request = request.with_source_image(source);
        }
        request = self.sampling.apply(request).with_profile(self.profile);
        request = self.hires.apply(request)?;
        let changes_batch =
            !self.prompt.is_empty() || !self.seeds.is_empty() || self.num_images.is_some();
        let template = record.map(|record| record.template.clone());
        Ok(RequestedImages {
            request,
            only: only.filter(|_| !changes_batch),
            template: template.unwrap_or_default(),
            hashes,
        })
    }

    /// Makes a request with the defaults of the model and the size of the image to start from.
    fn default_request(&self, source: Option<&SourceImage>) -> GenerationRequest {
        let request = GenerationRequest::from_prompts(self.prompt.iter().cloned());
        let request = self.model.with_defaults(request);
        match source.map(|source| source.size_in_multiples_of(16)) {
            Some((width, height)) => request.with_size(width, height),
            None => request,
        }
    }

    /// Replaces what was given, except for what other groups of arguments replace.
    fn with_given(&self, mut request: GenerationRequest) -> Result<GenerationRequest> {
        if !self.prompt.is_empty() {
            request = request.with_prompts(self.prompt.iter().cloned());
        }
        let (width, height) = request.size();
        request = request.with_size(self.width.unwrap_or(width), self.height.unwrap_or(height));
        if let Some(steps) = self.steps {
            request = request.with_num_inference_steps(steps);
        }
        if let Some(prompt) = &self.negative_prompt {
            request = request.with_negative_prompt(prompt);
        }
        if let Some(seed) = self.seed {
            request = request.with_seed(seed.value);
        }
        if !self.seeds.is_empty() {
            request = request.with_seed_per_image(self.seeds.iter().map(|seed| seed.value));
            let prompts = request.num_prompts().max(1);
            ensure!(
                self.seeds.len().is_multiple_of(prompts),
                UsageError(format!(
                    "{} seeds cannot be divided among {prompts} prompts",
                    self.seeds.len()
                ))
            );
            request = request.with_images_per_prompt(self.seeds.len() / prompts);
        }
        if let Some(images) = self.num_images {
            request = request.with_images_per_prompt(images);
        }
        if let Some(tokens) = self.max_sequence_length {
            request = request.with_max_sequence_length(tokens);
        }
        if let Some(tile) = self.memory.vae_tile {
            request = request.with_vae_tiling(VaeTiling::new(tile));
        }
        Ok(request)
    }

    /// Draws the wildcards in the prompts of requests.
    ///
    /// # Errors
    /// Returns the errors of [`WildcardArguments::draw_all`](super::prompts::WildcardArguments::draw_all).
    pub fn draw(
        &self,
        requests: Vec<GenerationRequest>,
        requested: &RequestedImages,
    ) -> Result<Vec<DrawnRequest>> {
        self.wildcards.draw_all(requests, &requested.template)
    }
}

/// Returns the number of elements that the latents of a request cannot exceed: those of its images,
/// and a gigabyte.
fn most_latents(request: &GenerationRequest) -> usize {
    const MOST: usize = (1 << 30) / size_of::<f32>();
    let (width, height) = request.size();
    [width, height, request.num_images()]
        .into_iter()
        .fold(3, usize::saturating_mul)
        .min(MOST)
}
