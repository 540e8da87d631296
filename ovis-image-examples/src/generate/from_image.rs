//! The arguments that were not given, from what an image says about how it was made.

use anyhow::{Context, Result, bail};

use super::arguments::Arguments;
use crate::shared::record::parameters::Parameters;
use crate::shared::record::{Inputs, Record, names, second_pass};
use crate::shared::seed::Seed;
use crate::shared::usage::UsageError;

impl Arguments {
    /// Fills in the arguments that were not given from the record of an image to make again.
    ///
    /// # Errors
    /// Returns an error if the record names something that this program does not know.
    pub fn filled_from(mut self, record: &Record) -> Result<Self> {
        let Inputs {
            model,
            transformer,
            vae,
            text_encoder,
            tokenizer,
            loras,
            merge_loras,
            quantize,
            protect_double_blocks,
            init_image,
            mask,
            latents,
        } = record.inputs.clone();
        let own = &mut self.model;
        if !own.is_given() {
            own.model = model;
            own.transformer = transformer;
            own.vae = vae;
            own.text_encoder = text_encoder;
            own.tokenizer = tokenizer;
        }
        if self.lora.is_empty() {
            let read = |text: &String| text.parse();
            let Ok(loras) = loras.iter().map(read).collect();
            self.lora = loras;
            self.merge_loras |= merge_loras;
        }
        if let (None, Some(name)) = (self.memory.quantize, quantize) {
            self.memory.quantize = Some(name.parse()?);
            self.memory.protect_double_blocks |= protect_double_blocks;
        }
        if self.source.init_image.is_none() {
            self.source.init_image = init_image;
            self.source.mask = self.source.mask.take().or(mask);
        }
        let other_noise = self.seed.is_some() || !self.seeds.is_empty();
        if self.latents.is_none() && !other_noise {
            self.latents = latents;
        }
        self.wildcards.is_prompt_drawn = self.prompt.is_empty();
        self.wildcards.is_negative_prompt_drawn = self.negative_prompt.is_none();
        self.device.dtype = self.device.dtype.or(Some(record.settings.dtype));
        Ok(self)
    }

    /// Fills in the arguments that were not given from the text of another program's image. The
    /// result is similar at best, because programs differ in noise and schedules.
    ///
    /// # Errors
    /// Returns an error if the image was made with a sampler or schedule that this program does not
    /// have, unless another was given.
    pub fn filled_from_parameters(mut self, said: &Parameters) -> Result<Self> {
        if self.prompt.is_empty() {
            self.prompt = vec![said.prompt.clone()];
            self.wildcards.is_prompt_drawn = true;
        }
        self.wildcards.is_negative_prompt_drawn = self.negative_prompt.is_none();
        self.negative_prompt = self
            .negative_prompt
            .or_else(|| said.negative_prompt.clone());
        self.steps = self.steps.or(said.steps);
        self.width = self.width.or(said.width);
        self.height = self.height.or(said.height);
        if self.seeds.is_empty() && self.latents.is_none() {
            self.seed = self.seed.or(said.seed.map(Seed::from));
        }
        if let Some(second_pass) = second_pass::read(said) {
            self.hires = self.hires.filled_from(second_pass);
        }
        let sampling = &mut self.sampling;
        sampling.guidance_scale = sampling.guidance_scale.or(said.guidance_scale);
        let mut schedules = Vec::new();
        if let Some(name) = &said.sampler {
            let known = names::sampler(name);
            if sampling.sampler.is_none() {
                let known = known.with_context(|| {
                    UsageError(format!(
                        "the image was made with the sampler `{name}`, which is not supported here: choose \
                         another with --sampler"
                    ))
                })?;
                sampling.sampler = Some(known.kind.into());
            }
            schedules.extend(known.and_then(|known| known.schedule));
        }
        if let Some(name) = &said.schedule_type {
            match names::schedule(name) {
                Some(known) => schedules.insert(0, known),
                None if sampling.sigmas.is_some() => {}
                None => bail!(UsageError(format!(
                    "the image was made with the schedule `{name}`, which is not supported here: choose \
                     another with --sigmas"
                ))),
            }
        }
        for known in schedules {
            sampling.sigmas = sampling.sigmas.or(known.spacing);
            sampling.schedule = sampling.schedule.or(known.schedule);
        }
        Ok(self)
    }
}
