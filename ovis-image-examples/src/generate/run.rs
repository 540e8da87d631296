//! The run: check, load, generate, save.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use burn::tensor::backend::Backend;
use image::RgbImage;
use ovis_image::GenerationSettings;
use ovis_image::device::BackendVisitor;
use ovis_image::error::Printable;
use ovis_image::memory::{DeviceMemory, MemoryEstimate, MemoryPlan};
use ovis_image::pipeline::{DenoisingProfile, StepCacheReport, Timings};
use ovis_image::{
    Checkpoint, GenerationOutput, GenerationRequest, LoadOptions, LoraFile, OvisImagePipeline,
    Progress,
};

use super::arguments::Arguments;
use super::grid::{self, GridRequests};
use super::preview::PreviewFile;
use super::requested::RequestedImages;
use super::summary::{self, Seconds, Summary};
use super::time_estimate::TimeEstimate;
use super::trust::{self, RecordedInputs};
use super::{dump, memory, output_names, profile, prompt_file, warnings};
use crate::shared::image_file::ImageFormat;
use crate::shared::lora::{self, AppliedLora};
use crate::shared::model::Model;
use crate::shared::program::{print, say};
use crate::shared::progress::StepBar;
use crate::shared::record::hashes::{self, Hashes};
use crate::shared::record::{Origin, PromptTemplate, Record};
use crate::shared::terminal::start_log;
use crate::shared::{embedded, interrupt, output_file, peak_memory, threads};

/// Number of previews that are checked before the work.
const MOST_FILES: usize = 4096;

/// Generates and saves what the arguments ask for.
///
/// # Errors
/// Returns an error if anything is wrong with the arguments or with the files that they name,
/// before weights are read if possible, and errors of the run.
pub fn run(arguments: Arguments) -> Result<()> {
    let start = Instant::now();
    start_log(arguments.verbose);
    interrupt::exit_between_files()?;
    arguments.name_settings();

    if let Some(threads) = arguments.memory.threads {
        threads::limit(threads.into())?;
    }

    // Everything is checked before a model is downloaded or read, which can take minutes.
    let Prepared {
        arguments,
        requested,
        hashes_before,
        lines,
        names,
        notes,
    } = prepare(arguments)?;
    let arguments = &arguments;
    let device = arguments.device.spec.open()?;
    threads::warn(arguments.memory.threads.is_some(), &device);
    let loras = lora::open(&arguments.lora, &arguments.model.hub)?;
    let model = arguments.model.resolve()?;
    if matches!(model, Model::Embedded) {
        say(&format!("note: {}", embedded::NOTICE));
    }
    for note in &notes {
        say(note);
    }

    let device_name = device.to_string();
    let run = device.visit(Generate {
        arguments,
        model: &model,
        requested: &requested,
        lines: lines.as_deref(),
        names: &names,
        loras: &loras,
        before: hashes_before.as_ref(),
    })?;
    let summary = Summary {
        model: model.name().to_owned(),
        device: device_name,
        settings: run.settings,
        seconds: Seconds::new(run.load, &run.timings, start.elapsed()),
        loras: run.loras,
        profile: run.profile,
        step_cache: run.step_cache,
        memory_estimate: run.memory,
        peak_memory_bytes: peak_memory::peak_memory_bytes(),
        files: run.files,
        dump: arguments.dump.as_deref().map(shown),
    };
    if arguments.json {
        return print(format!("{}\n", serde_json::to_string(&summary)?).as_bytes());
    }
    let files = summary.files.join(", ");
    let (files, seconds) = (Printable(&files), summary.seconds.total);
    if output_names::is_stdout(&arguments.output) {
        say(&format!("image in {seconds:.1} s on {}", summary.place()));
        return Ok(());
    }
    print(format!("{files} in {seconds:.1} s on {}\n", summary.place()).as_bytes())
}

/// The arguments, completed from the files that they name, and what follows from them.
struct Prepared {
    arguments: Arguments,
    requested: RequestedImages,
    /// Hashes of the files that an image to make again was made from.
    hashes_before: Option<Hashes>,
    /// Prompts of a file, each for a request of its own.
    lines: Option<Vec<String>>,
    /// Files of all images, in their order.
    names: Vec<PathBuf>,
    /// Notes about wildcards in prompts.
    notes: Vec<String>,
}

/// Checks everything that can be checked without a checkpoint.
fn prepare(arguments: Arguments) -> Result<Prepared> {
    output_names::check(&arguments.output, arguments.json)?;
    if let Some(path) = &arguments.preview {
        output_file::check("--preview", path, &["png"])?;
    }
    if let Some(path) = &arguments.dump {
        output_file::check("--dump", path, &["safetensors"])?;
    }
    let prompt_file = arguments.prompt_file.as_deref();
    let lines = prompt_file.map(prompt_file::read).transpose()?;
    let arguments = arguments.with_prompts_joined(lines.as_deref());
    let (arguments, record) = match arguments.from_image.as_deref().map(Origin::read) {
        None => (arguments, None),
        Some(origin) => match origin? {
            Origin::Record(record) => filled_from_record(arguments, *record)?,
            Origin::Parameters(said) => (arguments.filled_from_parameters(&said)?, None),
        },
    };
    let requested = arguments.request(record.as_ref())?;
    let (drawn, requests) = if arguments.grid.is_empty() {
        let requests = prompt_file::requests(&requested.request, lines.as_deref());
        let drawn = arguments.draw(requests, &requested)?;
        let requests = drawn.iter().map(|drawn| drawn.request.clone()).collect();
        (drawn, requests)
    } else {
        let grid = GridRequests::new(&requested.request, &arguments.grid)?;
        let drawn = arguments.draw(grid.requests, &requested)?;
        (drawn, vec![requested.request.clone()])
    };
    let names = output_names::names(&arguments.output, &requests, requested.places())?;
    if let Some(path) = &arguments.preview {
        // The check of the request refuses an absurd number.
        let count = requested.request.num_images().min(MOST_FILES);
        for index in 0..count {
            let path = output_file::numbered(path, index, count);
            output_file::check("--preview", &path, &["png"])?;
        }
    }
    let seeds = arguments.seed.iter().chain(&arguments.seeds);
    for seed in seeds.filter(|seed| seed.is_random) {
        say(&format!("seed: {}", seed.value));
    }
    let notes = arguments.wildcards.notes(&drawn);
    Ok(Prepared {
        arguments,
        requested,
        hashes_before: record.map(|record| record.hashes),
        lines,
        names,
        notes,
    })
}

/// Fills in the arguments that were not given from the record of an image, if the files that it
/// names may be read.
fn filled_from_record(
    arguments: Arguments,
    mut record: Record,
) -> Result<(Arguments, Option<Record>)> {
    let image = arguments.from_image.clone().unwrap_or_default();
    trust::look_beside(&image, &mut record.inputs);
    let (arguments, inputs) = RecordedInputs::fill(arguments, &record)?;
    if !arguments.trust_image {
        inputs.check(&image)?;
    }
    if let Some(description) = inputs.description(&image) {
        say(&format!("note: {description}"));
    }
    Ok((arguments, Some(record)))
}

/// The work, on the backend of the device.
struct Generate<'a> {
    arguments: &'a Arguments,
    model: &'a Model,
    requested: &'a RequestedImages,
    /// Prompts of a file, each for a request of its own.
    lines: Option<&'a [String]>,
    /// Files of all images, in their order.
    names: &'a [PathBuf],
    loras: &'a [LoraFile],
    /// Hashes of the files that an image to make again was made from.
    before: Option<&'a Hashes>,
}

/// The result of the work, without tensors of the backend.
struct Run {
    /// Settings of all images, or of the last one of a grid.
    settings: Option<GenerationSettings>,
    loras: Vec<AppliedLora>,
    memory: MemoryEstimate,
    load: Duration,
    timings: Timings,
    profile: Option<DenoisingProfile>,
    step_cache: Option<StepCacheReport>,
    files: Vec<String>,
}

impl BackendVisitor for Generate<'_> {
    type Output = Result<Run>;

    fn visit<B: Backend>(self, device: B::Device) -> Self::Output {
        let start = Instant::now();
        let bar = StepBar::loading();
        let Planned {
            checkpoint,
            hashes,
            options,
            grid,
            requests,
            templates,
            memory,
        } = self.plan::<B>(&device)?;
        let mut pipeline = OvisImagePipeline::<B>::from_checkpoint(&checkpoint, options, &device)?;
        drop(checkpoint);
        let loras = self.attach_loras(&mut pipeline)?;
        let mut run = Run {
            settings: None,
            loras,
            memory,
            load: start.elapsed(),
            timings: Timings::default(),
            profile: None,
            step_cache: None,
            files: Vec::new(),
        };

        let preview = match &self.arguments.preview {
            Some(path) => Some(PreviewFile::new(path, pipeline.preview_decoder()?)),
            None => None,
        };
        let mut cells = Vec::new();
        let mut estimate = TimeEstimate::new(&requests, DeviceMemory::of::<B>(&device));
        for (request, templates) in requests.iter().zip(&templates) {
            let preview = preview.as_ref();
            let output = self.generate(&pipeline, request, &bar, preview, &mut estimate)?;
            summary::add(&mut run.timings, &output.timings);
            (run.profile, run.step_cache) = (output.profile, output.step_cache);
            if grid.is_some() {
                cells.extend(output.images.into_iter().map(|image| image.image));
            } else {
                let files = self.save(&output, templates, &hashes, run.files.len())?;
                run.files.extend(files);
            }
            run.settings = Some(output.settings);
        }
        drop(bar);
        if let Some(grid) = &grid {
            run.files = self.save_grid(grid, &cells)?;
        }
        if self.arguments.profile {
            let (profile, cache) = (run.profile.as_ref(), run.step_cache.as_ref());
            say(&profile::report(&run.timings, profile, cache));
        }
        Ok(run)
    }
}

/// Settings of loading and requests of images, checked against the checkpoint.
struct Planned {
    checkpoint: Checkpoint,
    hashes: Hashes,
    options: LoadOptions,
    grid: Option<GridRequests>,
    requests: Vec<GenerationRequest>,
    /// Prompts of each request, as they were written.
    templates: Vec<Vec<PromptTemplate>>,
    memory: MemoryEstimate,
}

impl Generate<'_> {
    /// Opens the checkpoint, fits options and request into the memory limit, and checks everything
    /// before weights are read.
    fn plan<B: Backend>(&self, device: &B::Device) -> Result<Planned> {
        let dtype = self.arguments.device.dtype;
        let dtype = dtype.unwrap_or_else(|| self.model.default_dtype::<B>(device));
        let mut options = self.arguments.memory.load_options(dtype);
        let mut request = self.requested.request.clone();
        let checkpoint = self.model.open()?;
        let hashes = self.hashes(&checkpoint)?;
        let device_memory = DeviceMemory::of::<B>(device);
        if let Some(limit) = self.arguments.memory.max_memory {
            let loras: u64 = self.loras.iter().map(LoraFile::bytes).sum();
            let limit = limit.as_u64().saturating_sub(loras);
            let plan = MemoryPlan::fit(&checkpoint, options, request, limit, device_memory)?;
            say(&memory::report(&plan));
            (options, request) = (plan.options, plan.request);
        }
        let grid = match &self.arguments.grid[..] {
            [] => None,
            axes => Some(GridRequests::new(&request, axes)?),
        };
        let requests = match &grid {
            Some(grid) => grid.requests.clone(),
            None => prompt_file::requests(&request, self.lines),
        };
        let drawn = self.arguments.draw(requests, self.requested)?.into_iter();
        let (requests, templates): (Vec<_>, Vec<_>) =
            drawn.map(|drawn| (drawn.request, drawn.templates)).unzip();
        for request in &requests {
            request.check(&checkpoint, &options)?;
        }
        warnings::say_all(self.arguments, &request, &checkpoint);
        Ok(Planned {
            memory: MemoryEstimate::new(&checkpoint, &options, &request, device_memory)?,
            checkpoint,
            hashes,
            options,
            grid,
            requests,
            templates,
        })
    }

    /// Loads the LoRAs, says what of them applies, and merges them if requested.
    fn attach_loras<B: Backend>(
        &self,
        pipeline: &mut OvisImagePipeline<B>,
    ) -> Result<Vec<AppliedLora>> {
        let loras = lora::load(pipeline, &self.arguments.lora, self.loras)?;
        for lora in &loras {
            say(&format!("note: {}: {}", Printable(&lora.file), lora.report));
        }
        if self.arguments.merge_loras {
            pipeline.merge_loras()?;
        }
        Ok(loras)
    }

    fn generate<B: Backend>(
        &self,
        pipeline: &OvisImagePipeline<B>,
        request: &GenerationRequest,
        bar: &StepBar,
        preview: Option<&PreviewFile>,
        estimate: &mut TimeEstimate,
    ) -> Result<GenerationOutput<B>> {
        let mut preview_error = None;
        let output = pipeline.generate_with(request, |progress| {
            bar.show(&progress);
            if let Progress::Denoising(step) = &progress
                && let Some(line) = estimate.after_step(step.elapsed)
            {
                bar.say(&line);
            }
            if let (Some(preview), Progress::Denoising(step)) = (preview, &progress)
                && let Err(error) = preview.write(step)
            {
                preview_error = Some(error);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        match preview_error {
            Some(error) => Err(error.context("cannot write the preview")),
            None => Ok(output?),
        }
    }

    /// Hashes all input files, and warns of those that an image to make again was not made from.
    fn hashes(&self, checkpoint: &Checkpoint) -> Result<Hashes> {
        let loras = self.loras.iter().map(LoraFile::files);
        let hashes = Hashes {
            model: Model::hash(checkpoint)?,
            loras: loras
                .map(hashes::of_weights)
                .collect::<std::io::Result<_>>()?,
            ..self.requested.hashes.clone()
        };
        if let (Some(before), Some(image)) = (self.before, &self.arguments.from_image) {
            for change in trust::changes(image, &hashes.differences(before)) {
                say(&format!("warning: {change}"));
            }
        }
        Ok(hashes)
    }

    /// Saves the images of a grid as one.
    fn save_grid(&self, grid: &GridRequests, cells: &[RgbImage]) -> Result<Vec<String>> {
        let sheet = grid::render(&grid.rows, &grid.columns, cells)?;
        for path in self.names {
            output_names::write(path, &ImageFormat::of(path).encode(&sheet, &[])?)?;
        }
        Ok(self.names.iter().map(|path| shown(path)).collect())
    }

    /// Saves the images of a request, with what was written for each of its prompts. Earlier
    /// requests have written as many files as `written`.
    fn save<B: Backend>(
        &self,
        output: &GenerationOutput<B>,
        templates: &[PromptTemplate],
        hashes: &Hashes,
        written: usize,
    ) -> Result<Vec<String>> {
        let images = output.images.iter().enumerate();
        let asked_for = images.filter(|(index, _)| self.requested.places().contains(index));
        let mut files = Vec::new();
        for ((index, generated), path) in asked_for.zip(self.names.iter().skip(written)) {
            let template = templates.get(generated.prompt_index);
            let record = Record {
                settings: output.settings.clone(),
                model: self.model.name().to_owned(),
                index,
                count: output.images.len(),
                inputs: self.arguments.inputs(),
                template: template.cloned().unwrap_or_default(),
                hashes: hashes.clone(),
            };
            let format = ImageFormat::of(path);
            let bytes = if self.arguments.no_metadata {
                format.encode(&generated.image, &[])?
            } else {
                let record = record.without_folders(path);
                record.encode(format, &generated.image)?
            };
            output_names::write(path, &bytes)?;
            files.push(shown(path));
        }
        if let Some(path) = &self.arguments.dump {
            dump::write(path, output)?;
        }
        Ok(files)
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
