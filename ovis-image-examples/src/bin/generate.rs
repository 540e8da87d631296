//! Prompt to PNG from the command line; `--help` lists everything.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use burn::tensor::backend::Backend;
use clap::Parser;
use ovis_image::device::BackendVisitor;
use ovis_image::memory::{DeviceMemory, MemoryEstimate, MemoryPlan};
use ovis_image::pipeline::{DenoisingProfile, GenerationSettings, StepCacheReport, Timings};
use ovis_image::{GenerationOutput, GenerationRequest, LoraFile, OvisImagePipeline, Progress};
use ovis_image_examples::arguments::{Arguments, RequestedImages};
use ovis_image_examples::grid::{self, GridRequests};
use ovis_image_examples::lora::AppliedLora;
use ovis_image_examples::model::Model;
use ovis_image_examples::preview::PreviewFile;
use ovis_image_examples::progress::StepBar;
use ovis_image_examples::record::{Origin, Record};
use ovis_image_examples::summary::{self, Seconds, Summary};
use ovis_image_examples::{
    dump, error_chain, lora, memory, output_file, peak_memory, png, profile, tiny,
};
use tracing_subscriber::filter::LevelFilter;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Fails only when the terminal is gone. Help goes to stdout and is a success.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {}", error_chain::one_line(&error)));
            ExitCode::FAILURE
        }
    }
}

/// As many names are looked at before the work.
const MOST_FILES: usize = 4096;

fn run(arguments: Arguments) -> Result<()> {
    let start = Instant::now();
    start_log(arguments.verbose);

    // All that can be wrong is looked at before weights are read, which can take minutes.
    for path in [&arguments.output].into_iter().chain(&arguments.preview) {
        output_file::check(path, "png")?;
    }
    if let Some(path) = &arguments.dump {
        output_file::check(path, "safetensors")?;
    }
    let (arguments, record) = match arguments.from_image.as_deref().map(Origin::read) {
        None => (arguments, None),
        Some(origin) => match origin? {
            Origin::Record(record) => (arguments.filled_from(&record)?, Some(*record)),
            Origin::Parameters(said) => (arguments.filled_from_parameters(&said)?, None),
        },
    };
    let arguments = &arguments;
    let model = arguments.model.resolve()?;
    let requested = arguments.request(&model, record.as_ref())?;
    // An absurd number is refused by the request's own check.
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
    let device = arguments.device.open()?;
    if matches!(model, Model::Tiny) {
        say(&format!("note: {}", tiny::NOTICE));
    }

    let device_name = device.to_string();
    let run = device.visit(Generate {
        arguments,
        model: &model,
        requested: &requested,
        loras: &loras,
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
            summary.files.join(", "),
            summary.seconds.total,
            summary.device
        )
    };
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// The work, on whichever backend the device needs.
struct Generate<'a> {
    arguments: &'a Arguments,
    model: &'a Model,
    requested: &'a RequestedImages,
    loras: &'a [LoraFile],
}

/// What is left of the work without the backend's tensors.
struct Run {
    /// Of the last picture, where there is a grid; of all, where not.
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
        let dtype = self.arguments.dtype;
        let dtype = dtype.unwrap_or_else(|| self.model.default_dtype::<B>(&device));
        let mut options = self.arguments.load_options(dtype);
        let mut request = self.requested.request.clone();
        let checkpoint = self.model.open()?;
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
            say(&format!("note: {}: {}", lora.file, lora.report));
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
                None => run.files = self.save(&output)?,
            }
            run.settings = Some(output.settings);
        }
        drop(bar);
        if let Some(grid) = &grid {
            let sheet = grid::render(&grid.rows, &grid.columns, &cells)?;
            let path = &self.arguments.output;
            output_file::write_whole(path, &png::encode_without_record(&sheet)?)?;
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
            Some(error) => Err(error.context("the preview")),
            None => Ok(output?),
        }
    }

    fn save<B: Backend>(&self, output: &GenerationOutput<B>) -> Result<Vec<String>> {
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
            };
            let path = match only {
                Some(only) if only != index => continue,
                Some(_) => self.arguments.output.clone(),
                None => output_file::numbered(&self.arguments.output, index, count),
            };
            output_file::write_whole(&path, &png::encode(&generated.image, &record)?)?;
            files.push(shown(&path));
        }
        if let Some(path) = &self.arguments.dump {
            dump::write(path, output)?;
        }
        Ok(files)
    }
}

fn start_log(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(verbose > 1)
        .without_time()
        .init();
}

/// A line on stderr, unlike `eprintln` without a panic when nobody reads it.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
