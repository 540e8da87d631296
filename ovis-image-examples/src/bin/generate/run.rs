//! The run: check, load, generate, save. It is compiled for every backend, so it stands in the
//! binary: in the library, its tests would compile it once more.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use burn::tensor::backend::Backend;
use ovis_image::GenerationSettings;
use ovis_image::device::BackendVisitor;
use ovis_image::error::Printable;
use ovis_image::memory::{DeviceMemory, MemoryEstimate, MemoryPlan};
use ovis_image::pipeline::{DenoisingProfile, StepCacheReport, Timings};
use ovis_image::{
    Checkpoint, GenerationOutput, GenerationRequest, LoraFile, OvisImagePipeline, Progress,
};

use ovis_image_examples::generate::arguments::{Arguments, RequestedImages};
use ovis_image_examples::generate::grid::{self, GridRequests};
use ovis_image_examples::generate::preview::PreviewFile;
use ovis_image_examples::generate::summary::{self, Seconds, Summary};
use ovis_image_examples::generate::trust::{self, RecordedInputs};
use ovis_image_examples::generate::{dump, memory, profile};
use ovis_image_examples::shared::interrupt;
use ovis_image_examples::shared::lora::{self, AppliedLora};
use ovis_image_examples::shared::model::Model;
use ovis_image_examples::shared::program::say;
use ovis_image_examples::shared::progress::StepBar;
use ovis_image_examples::shared::record::hashes::{self, Hashes};
use ovis_image_examples::shared::record::{Origin, Record, png_text};
use ovis_image_examples::shared::terminal::start_log;
use ovis_image_examples::shared::{output_file, peak_memory, tiny};

/// Number of output files that are checked before the work.
const MOST_FILES: usize = 4096;

/// Generates and saves what the arguments ask for.
///
/// # Errors
/// Returns an error if anything is wrong with the arguments or with the files that they name,
/// before weights are read if possible, and errors of the run.
pub(super) fn run(arguments: Arguments) -> Result<()> {
    let start = Instant::now();
    start_log(arguments.verbose);
    interrupt::exit_between_files()?;

    // Everything is checked before weights are read, which can take minutes.
    for path in [&arguments.output].into_iter().chain(&arguments.preview) {
        output_file::check(path, "png")?;
    }
    if let Some(path) = &arguments.dump {
        output_file::check(path, "safetensors")?;
    }
    let (arguments, record) = match arguments.from_image.as_deref().map(Origin::read) {
        None => (arguments, None),
        Some(origin) => match origin? {
            Origin::Record(record) => filled_from_record(arguments, *record)?,
            Origin::Parameters(said) => (arguments.filled_from_parameters(&said)?, None),
        },
    };
    let arguments = &arguments;
    let model = arguments.model.resolve()?;
    let requested = arguments.request(&model, record.as_ref())?;
    // The check of the request refuses an absurd number.
    let count = requested.count().min(MOST_FILES);
    for path in [&arguments.output].into_iter().chain(&arguments.preview) {
        for index in 0..count {
            output_file::check(&output_file::numbered(path, index, count), "png")?;
        }
    }
    if !arguments.grid.is_empty() {
        GridRequests::new(&requested.request, &arguments.grid)?;
    }
    let loras = lora::open(&arguments.lora, &arguments.model.hub)?;
    let device = arguments.device.spec.open()?;
    if matches!(model, Model::Tiny) {
        say(&format!("note: {}", tiny::NOTICE));
    }

    let device_name = device.to_string();
    let run = device.visit(Generate {
        arguments,
        model: &model,
        requested: &requested,
        loras: &loras,
        before: record.as_ref().map(|record| &record.hashes),
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
    let line = if arguments.json {
        serde_json::to_string(&summary)?
    } else {
        format!(
            "{} in {:.1} s on {}",
            Printable(&summary.files.join(", ")),
            summary.seconds.total,
            summary.device
        )
    };
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
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
        let dtype = self.arguments.device.dtype;
        let dtype = dtype.unwrap_or_else(|| self.model.default_dtype::<B>(&device));
        let mut options = self.arguments.load_options(dtype);
        let mut request = self.requested.request.clone();
        let checkpoint = self.model.open()?;
        let hashes = self.hashes(&checkpoint)?;
        let device_memory = DeviceMemory::of::<B>();
        if let Some(limit) = self.arguments.max_memory {
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
            Some(grid) => &grid.requests[..],
            None => std::slice::from_ref(&request),
        };
        for request in requests {
            request.check(&checkpoint, &options)?;
        }
        let memory = MemoryEstimate::new(&checkpoint, &options, &request, device_memory)?;
        let mut pipeline = OvisImagePipeline::<B>::from_checkpoint(&checkpoint, options, &device)?;
        drop(checkpoint);
        let loras = lora::load(&mut pipeline, &self.arguments.lora, self.loras)?;
        for lora in &loras {
            say(&format!("note: {}: {}", Printable(&lora.file), lora.report));
        }
        if self.arguments.merge_loras {
            pipeline.merge_loras()?;
        }
        let load = start.elapsed();

        let preview = match &self.arguments.preview {
            Some(path) => Some(PreviewFile::new(path, pipeline.preview_decoder()?)),
            None => None,
        };
        let mut run = Run {
            settings: None,
            loras,
            memory,
            load,
            timings: Timings::default(),
            profile: None,
            step_cache: None,
            files: Vec::new(),
        };
        let mut cells = Vec::new();
        for request in requests {
            let output = self.generate(&pipeline, request, &bar, preview.as_ref())?;
            summary::add(&mut run.timings, &output.timings);
            (run.profile, run.step_cache) = (output.profile, output.step_cache);
            match &grid {
                Some(_) => cells.extend(output.images.into_iter().map(|image| image.image)),
                None => run.files = self.save(&output, &hashes)?,
            }
            run.settings = Some(output.settings);
        }
        drop(bar);
        if let Some(grid) = &grid {
            let sheet = grid::render(&grid.rows, &grid.columns, &cells)?;
            let path = &self.arguments.output;
            output_file::write_whole(path, &png_text::encode(&sheet, &[])?)?;
            run.files.push(shown(path));
        }
        if self.arguments.profile {
            let (profile, cache) = (run.profile.as_ref(), run.step_cache.as_ref());
            say(&profile::report(&run.timings, profile, cache));
        }
        Ok(run)
    }
}

impl Generate<'_> {
    fn generate<B: Backend>(
        &self,
        pipeline: &OvisImagePipeline<B>,
        request: &GenerationRequest,
        bar: &StepBar,
        preview: Option<&PreviewFile>,
    ) -> Result<GenerationOutput<B>> {
        let mut preview_error = None;
        let output = pipeline.generate_with(request, |progress| {
            bar.show(&progress);
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

    fn save<B: Backend>(
        &self,
        output: &GenerationOutput<B>,
        hashes: &Hashes,
    ) -> Result<Vec<String>> {
        let only = self.requested.only;
        let count = output.images.len();
        let mut files = Vec::with_capacity(count);
        for (index, generated) in output.images.iter().enumerate() {
            let record = Record {
                settings: output.settings.clone(),
                model: self.model.name().to_owned(),
                index,
                count,
                inputs: self.arguments.inputs(),
                hashes: hashes.clone(),
            };
            let path = match only {
                Some(only) if only != index => continue,
                Some(_) => self.arguments.output.clone(),
                None => output_file::numbered(&self.arguments.output, index, count),
            };
            output_file::write_whole(&path, &record.encode(&generated.image)?)?;
            files.push(shown(&path));
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
